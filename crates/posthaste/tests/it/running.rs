//! The binary as a process whose lines are read as they come, piped, as a script would read them.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long a line may take on a busy machine.
const LINE_WITHIN: Duration = Duration::from_secs(30);

/// A running binary and the lines that it writes.
pub(crate) struct Running {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

impl Running {
    /// Starts the binary in this directory, with no variables.
    pub(crate) fn start(directory: &Path, arguments: &[&str]) -> Self {
        Self::start_with(directory, arguments, &[])
    }

    /// Starts the binary in this directory, with these variables and no others.
    pub(crate) fn start_with(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_posthaste"))
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let out = lines(child.stdout.take().expect("stdout is piped"));
        let err = lines(child.stderr.take().expect("stderr is piped"));
        Self { child, out, err }
    }

    /// Lines of stdout up to the one that has all of `words`.
    pub(crate) fn until(&self, words: &[&str]) -> Vec<String> {
        Self::read(&self.out, words).unwrap_or_else(|seen| {
            panic!("no line with {words:?}:\n{}\n{}", seen.join("\n"), self.err.try_iter().collect::<String>())
        })
    }

    /// Lines of stderr up to the one that has all of `words`.
    pub(crate) fn talks(&self, words: &[&str]) -> Vec<String> {
        Self::read(&self.err, words).unwrap_or_else(|seen| panic!("nothing said of {words:?}:\n{}", seen.join("\n")))
    }

    fn read(lines: &Receiver<String>, words: &[&str]) -> Result<Vec<String>, Vec<String>> {
        let mut seen = Vec::new();
        while let Ok(line) = lines.recv_timeout(LINE_WITHIN) {
            let found = words.iter().all(|word| line.contains(word));
            seen.push(line);
            if found {
                return Ok(seen);
            }
        }
        Err(seen)
    }

    /// The lines of stdout that nobody has read.
    pub(crate) fn rest(&self) -> Vec<String> {
        self.out.try_iter().collect()
    }

    /// Waits for an end that comes by itself.
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        let said = self.err.iter().collect::<Vec<_>>().join("\n");
        (self.child.wait().expect("it ends"), said)
    }

    /// Sends a signal, and waits for the end.
    pub(crate) fn end(mut self, signal: &str) -> (ExitStatus, String) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("kill is there");
        assert!(sent.success(), "the process was still there");
        let status = self.child.wait().expect("it ends");
        (status, self.err.iter().collect::<Vec<_>>().join("\n"))
    }
}

/// The binary to its end in this directory, as a person runs it beside another: its code, and what it says.
pub(crate) fn run(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    let done = command.args(arguments).current_dir(directory).env_clear().output().expect("the binary starts");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.code(), said(&done.stdout), said(&done.stderr))
}

impl Drop for Running {
    fn drop(&mut self) {
        // Where a test has failed it may still run.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ended = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}

fn lines(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
