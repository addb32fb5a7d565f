//! The binary as a process: started, killed, stopped, started again on the same data.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use store::conformance::cluster::Cluster;
use tempfile::TempDir;

use crate::api::Api;

/// The platform key of every server here.
pub(crate) const PLATFORM_KEY: &str = "phk_of_the_tests_0123456789abcdef";
/// The encryption key of every server that keeps everything in a database.
pub(crate) const ENCRYPTION_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
/// Set to `postgres`, servers keep everything in a database of their own there, and not in a folder.
const STORE: &str = "POSTHASTE_TESTS_STORE";
/// What a server prints on stdout once it is ready.
pub(crate) const READY: &str = "listening on http://";
/// For a start on a machine that does much else.
const START_MAX: Duration = Duration::from_secs(60);
/// For an end that was asked for.
const END_MAX: Duration = Duration::from_secs(20);

/// How to start a server.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    wrapper: Vec<String>,
    address: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: Arc<TempDir>,
    /// The database that keeps everything, where the tests are run on PostgreSQL.
    database: Option<String>,
}

/// A server that runs; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its API, called with the platform key.
    pub(crate) api: Api,
    /// Its process.
    pub(crate) pid: u32,
    launch: Launch,
    child: Child,
    said: Said,
}

/// A server that did not start.
#[derive(Debug)]
pub(crate) struct Refused {
    /// How the process ended.
    pub(crate) status: ExitStatus,
    /// All that it wrote.
    pub(crate) said: String,
}

/// All that a process has written to stdout and stderr.
#[derive(Debug, Clone, Default)]
struct Said(Arc<Mutex<String>>);

impl Said {
    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps every line; those of one stream are handed on too.
    fn follow(&self, stream: impl Read + Send + 'static) -> Receiver<String> {
        let (sender, receiver) = mpsc::channel();
        let said = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let mut text = said.0.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&line);
                text.push('\n');
                drop(text);
                let _nobody_waits_any_more = sender.send(line);
            }
        });
        receiver
    }
}

impl Launch {
    /// `posthaste serve` on data of its own, with the tests' platform key.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the data");
        Self {
            wrapper: Vec::new(),
            address: "127.0.0.1:0".to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: Arc::new(folder),
            database: database(),
        }
        .environment("POSTHASTE_PLATFORM_KEY", PLATFORM_KEY)
    }

    /// The same on the embedded store, whatever the tests are run on: where that is what it is about.
    pub(crate) fn embedded() -> Self {
        Self { database: None, ..Self::new() }
    }

    /// The same with a flag and its value.
    pub(crate) fn flag(mut self, name: &str, value: impl ToString) -> Self {
        self.arguments.extend([name.to_owned(), value.to_string()]);
        self
    }

    /// The same with flags as they stand on a command line.
    pub(crate) fn flags(mut self, text: &str) -> Self {
        self.arguments.extend(text.split_whitespace().map(str::to_owned));
        self
    }

    /// The same with a variable of the environment.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same, started by another program.
    pub(crate) fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|part| (*part).to_owned()).collect();
        self
    }

    /// The same, at this address, for those who have to find it there again after its end.
    pub(crate) fn at(mut self, address: SocketAddr) -> Self {
        self.address = address.to_string();
        self
    }

    /// The same, with everything in this database.
    pub(crate) fn on(self, database: &str) -> Self {
        Self { database: Some(database.to_owned()), ..self }
    }

    /// The same, on other data.
    pub(crate) fn elsewhere(self) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder for the data"));
        let database = self.database.as_ref().and_then(|_| database());
        Self { folder, database, ..self }
    }

    /// The database in which it keeps everything, if it does.
    pub(crate) fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// Where it keeps its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A folder beside the data, for files that it is told of.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_posthaste").to_owned();
        let line: Vec<String> = self.wrapper.iter().cloned().chain([binary]).collect();
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).arg("serve").args(["--listen", &self.address]);
        match &self.database {
            Some(database) => command.args(["--database", database]),
            None => command.arg("--data").arg(self.data()),
        };
        command.args(&self.arguments).current_dir(self.folder.path()).env_clear();
        // What Debian's tools need to be found; nothing of the surroundings reaches the server.
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        if self.database.is_some() {
            command.env("POSTHASTE_ENCRYPTION_KEY", ENCRYPTION_KEY);
        }
        command.envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When the process ends instead.
    pub(crate) fn try_start(&self) -> Result<Server, Refused> {
        let mut child = self.command().spawn().expect("the binary runs");
        let said = Said::default();
        let lines = said.follow(child.stdout.take().expect("stdout is piped"));
        let errors = said.follow(child.stderr.take().expect("stderr is piped"));
        let end = Instant::now() + START_MAX;
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let Some((_, rest)) = line.split_once(READY) else { continue };
                    let address: SocketAddr =
                        rest.split_whitespace().next().and_then(|text| text.parse().ok()).expect("an address");
                    let api = Api::new(address, PLATFORM_KEY);
                    return Ok(Server { api, pid: child.id(), launch: self.clone(), child, said });
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let status = ended(&mut child, END_MAX).expect("a process without stdout ends");
                    // To the last line: its other stream may be read later than this one.
                    errors.iter().for_each(drop);
                    return Err(Refused { status, said: said.text() });
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let _gone_already = child.kill();
                    panic!("not ready within {START_MAX:?}; it said:\n{}", said.text());
                }
            }
        }
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When the process ends instead.
    pub(crate) fn start(&self) -> Server {
        self.try_start().unwrap_or_else(|refused| panic!("ended with {}:\n{}", refused.status, refused.said))
    }
}

impl Server {
    /// How it was started.
    pub(crate) fn launch(&self) -> &Launch {
        &self.launch
    }

    /// All that it keeps, as text; the bytes of a database in hexadecimal.
    pub(crate) fn stored(&self) -> String {
        fn files(folder: &Path) -> String {
            let entries = std::fs::read_dir(folder).expect("the data").map(|entry| entry.expect("an entry").path());
            let text = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
            entries.map(|path| if path.is_dir() { files(&path) } else { text(&path) }).collect()
        }
        match &self.launch.database {
            Some(database) => Cluster::shared().dump(database),
            None => files(&self.launch.data()),
        }
    }

    /// All that it has written so far.
    pub(crate) fn said(&self) -> String {
        self.said.text()
    }

    /// What the client, asked of this server for `account`, prints on stdout.
    pub(crate) fn client(&self, account: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
        command.args(arguments).current_dir(self.launch.folder()).env_clear();
        command.env("POSTHASTE_URL", format!("http://{}", self.api.address)).env("POSTHASTE_KEY", PLATFORM_KEY);
        let output = command.env("POSTHASTE_ACCOUNT", account).output().expect("the binary runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?} ended with {}: {errors}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) -> Launch {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
        self.launch.clone()
    }

    /// SIGTERM; the way in which it ended.
    ///
    /// # Panics
    /// When it does not end in time.
    pub(crate) fn terminate(self) -> ExitStatus {
        self.signal("TERM")
    }

    /// As [`Self::terminate`], by another signal.
    pub(crate) fn signal(mut self, name: &str) -> ExitStatus {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid)]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} can be sent");
        ended(&mut self.child, END_MAX)
            .unwrap_or_else(|| panic!("not ended {END_MAX:?} after SIG{name}:\n{}", self.said()))
    }

    /// The largest resident size of the process so far, in bytes; `None` where the system does not tell.
    pub(crate) fn memory_peak(&self) -> Option<u64> {
        self.status("VmHWM:").map(|kib| kib * 1024)
    }

    /// Its threads, where the system tells.
    pub(crate) fn threads(&self) -> Option<u64> {
        self.status("Threads:")
    }

    fn status(&self, name: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

/// A new, empty database, if the tests are run on PostgreSQL.
#[expect(clippy::disallowed_methods, reason = "who runs the tests says on which store")]
fn database() -> Option<String> {
    (std::env::var(STORE).as_deref() == Ok("postgres")).then(|| Cluster::shared().database())
}

/// How a process ended, if it does within `within`.
fn ended(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + within;
    let (_nobody, never) = mpsc::channel::<()>();
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= end {
            return None;
        }
        // The standard library has no wait with a deadline.
        let _always_times_out = never.recv_timeout(Duration::from_millis(10));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}
