//! The server that is measured: this same binary as `posthaste serve`, in a process of its own, on a store of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::Failed;
use super::load::{Connection, Target};

/// The key that the measured server takes: it listens on loopback only, for as long as the benchmark runs.
const KEY: &str = "phk_bench_0123456789abcdefghijklmnop";

/// The key that secrets are sealed with, the same for all nodes.
const ENCRYPTION_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// Requests in flight that a webhook may have whose receiver takes whatever comes. They count until their outcome is on disk, so that the
/// default would let such a receiver wait for commits.
pub(crate) const WIDE: Option<u16> = Some(200);

/// How many of its complaints are kept.
const COMPLAINTS_MAX: usize = 20;
/// For how long a server may take to end once it was asked to.
const END_MAX: Duration = Duration::from_secs(60);

/// What a server has said that it never should: lines of the level ERROR, and panics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Complaints(Arc<Mutex<Vec<String>>>);

impl Complaints {
    /// The first of them.
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn read(&self, line: String) {
        if is_complaint(&line) {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() < COMPLAINTS_MAX {
                all.push(line);
            }
        }
    }
}

/// A number of a process's `/proc/…/status`; sizes are in KiB.
pub(crate) fn of_status(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Whether a line of its log is of the level ERROR, or the first one of a panic.
fn is_complaint(line: &str) -> bool {
    line.split_whitespace().nth(1) == Some("ERROR") || (line.starts_with("thread '") && line.contains("panicked at"))
}

/// A running server; it ends with this value, and its store is removed.
pub(crate) struct Server {
    child: Child,
    data: PathBuf,
    /// What it should not have said so far.
    pub(crate) complaints: Complaints,
    pub(crate) target: Target,
}

impl Server {
    /// Starts a server on an empty store below the temporary folder.
    pub(crate) async fn start(folder: PathBuf) -> Result<Self, Failed> {
        Self::start_with(folder, &[]).await
    }

    /// [`Self::start`] with further settings.
    pub(crate) async fn start_with(folder: PathBuf, settings: &[&str]) -> Result<Self, Failed> {
        let data = folder.display().to_string();
        Self::launch(folder, &[&["--data", &data], settings].concat()).await
    }

    /// Starts a node that keeps everything in a database; `folder` is its working directory.
    pub(crate) async fn start_on(database: &str, folder: PathBuf) -> Result<Self, Failed> {
        Self::launch(folder, &["--database", database]).await
    }

    /// Starts a server with `folder` as its working directory; the settings say where it keeps everything.
    pub(crate) async fn launch(folder: PathBuf, settings: &[&str]) -> Result<Self, Failed> {
        std::fs::create_dir_all(&folder)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--listen", "127.0.0.1:0", "--allow-private", "127.0.0.0/8", "--allow-http"])
            .args(settings)
            .env("POSTHASTE_PLATFORM_KEY", KEY)
            .env("POSTHASTE_ENCRYPTION_KEY", ENCRYPTION_KEY)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| Failed("the server has no stdout".to_owned()))?;
        let mut lines = BufReader::new(stdout).lines();
        let address = loop {
            match lines.next_line().await? {
                Some(line) => {
                    if let Some(address) = line.strip_prefix("listening on http://") {
                        break address.trim().parse::<SocketAddr>().map_err(|e| Failed(e.to_string()))?;
                    }
                }
                None => {
                    let output = child.wait_with_output().await?;
                    return Err(Failed(format!("serve did not start: {}", String::from_utf8_lossy(&output.stderr))));
                }
            }
        };
        // Both pipes are read to their end, so that the server never waits for us to do so.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let complaints = Complaints::default();
        if let Some(stderr) = child.stderr.take() {
            let complaints = complaints.clone();
            tokio::spawn(async move {
                let mut lines = BufReader::new(stderr).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    complaints.read(line);
                }
            });
        }
        let target = Target { address, path: "/v1/events", key: Some(Arc::from(KEY)) };
        Ok(Self { child, data: folder, complaints, target })
    }

    /// Creates a webhook of the default account that takes `event` and sends to `url`, with so many requests in flight at most, or the
    /// default; its id.
    pub(crate) async fn webhook(
        &self,
        name: &str,
        event: &str,
        url: &str,
        max_in_flight: Option<u16>,
    ) -> Result<String, Failed> {
        let mut connection = Connection::open(&self.target).await?;
        let body = json!({"name": name, "url": url, "events": [event], "max_in_flight": max_in_flight}).to_string();
        let path = "/v1/accounts/default/webhooks";
        let (status, text) = connection.call(Method::POST, path, Bytes::from(body)).await?;
        let answer: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        match answer["id"].as_str() {
            Some(id) if status.is_success() => Ok(id.to_owned()),
            _ => Err(Failed(format!("the webhook was not created: {status} {answer}"))),
        }
    }

    /// The number of its process.
    pub(crate) fn process(&self) -> Result<u32, Failed> {
        self.child.id().ok_or_else(|| Failed("the server has ended".to_owned()))
    }

    /// The most memory that it had resident, in MiB.
    pub(crate) fn peak_mib(&self) -> Result<u64, Failed> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process()?))?;
        let kib = of_status(&status, "VmHWM:");
        kib.map(|kib| kib / 1_024).ok_or_else(|| Failed("its memory is not told here".to_owned()))
    }

    /// Kills the server, counts the events that its store holds, every checksum compared, and removes the store.
    pub(crate) async fn kill_and_count(mut self) -> Result<u64, Failed> {
        self.child.kill().await?;
        let data = self.data.clone();
        let checked = tokio::task::spawn_blocking(move || store::sqlite::check(&data)).await??;
        std::fs::remove_dir_all(&self.data)?;
        let events = checked.rows.iter().find(|(table, _)| *table == "events");
        events.map(|(_, number)| *number).ok_or_else(|| Failed("the store has no events".to_owned()))
    }

    /// Asks the server to end, as an operator would, and waits until it has; its store stays.
    ///
    /// # Errors
    /// [`Failed`]: it ended with another code than 0, or not within a minute.
    pub(crate) async fn end(mut self) -> Result<(), Failed> {
        let id = i32::try_from(self.process()?).ok().and_then(rustix::process::Pid::from_raw);
        let id = id.ok_or_else(|| Failed("the server has no process".to_owned()))?;
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        match tokio::time::timeout(END_MAX, self.child.wait()).await {
            Err(_) => Err(Failed("the server did not end within a minute of SIGTERM".to_owned())),
            Ok(status) if status.as_ref().is_ok_and(|status| status.success()) => Ok(()),
            Ok(status) => Err(Failed(format!("the server ended with {}", status?))),
        }
    }

    /// Ends the server and removes its store.
    pub(crate) async fn stop(mut self) -> Result<(), Failed> {
        self.child.kill().await?;
        std::fs::remove_dir_all(&self.data)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_from_what_a_server_may_say() {
        for line in [
            "2026-11-26T13:33:17.000001Z ERROR posthaste::wiring: a part of the server has panicked",
            "thread 'tokio-rt-worker' (17) panicked at crates/dispatch/src/sender.rs:57:9:",
        ] {
            assert!(is_complaint(line), "{line}");
        }
        for line in ["2026-11-26T13:33:17.000001Z  WARN server: no ERROR", "listening on http://127.0.0.1:8400", ""] {
            assert!(!is_complaint(line), "{line}");
        }
    }
}
