//! Talk with systemd (`Type=notify`): a datagram to the socket that `NOTIFY_SOCKET` names.

use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::settings::source::Environment;

/// How often it is told that all is well, where it does not ask for more.
const SIGN_EVERY: Duration = Duration::from_secs(5);

/// The service manager, if there is one.
#[derive(Debug, Clone)]
pub(crate) struct ServiceManager {
    /// Where it listens.
    socket: Option<String>,
    /// How often it is to be told that all is well.
    pub(crate) sign_every: Duration,
}

impl ServiceManager {
    /// None: nobody is told.
    pub(crate) const fn none() -> Self {
        Self { socket: None, sign_every: SIGN_EVERY }
    }

    /// The one that started this process, if one did.
    pub(crate) fn of(environment: &Environment) -> Self {
        let socket = environment.get("NOTIFY_SOCKET").map(str::to_owned);
        Self { socket, sign_every: sign_every(environment, std::process::id()) }
    }

    /// Everything is up; requests are answered.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// It works: with `WatchdogSec` set, the process is started again once it no longer says so.
    pub(crate) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// The end has begun.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=letting attempts in flight end");
    }

    fn tell(&self, state: &str) {
        let Some(name) = &self.socket else { return };
        if let Err(error) = send(name, state) {
            tracing::warn!(%error, "the service manager cannot be told");
        }
    }
}

/// Twice in the time that `WATCHDOG_USEC` allows (`WatchdogSec`), if that is meant for the process with this id.
fn sign_every(environment: &Environment, pid: u32) -> Duration {
    let number = |name: &str| environment.get(name).map(|text| text.parse::<u64>().ok());
    let ours = number("WATCHDOG_PID").is_none_or(|meant| meant == Some(u64::from(pid)));
    let allowed = number("WATCHDOG_USEC").flatten().filter(|micros| ours && *micros > 0);
    allowed.map_or(SIGN_EVERY, |micros| Duration::from_micros(micros.div_ceil(2)).min(SIGN_EVERY))
}

fn send(name: &str, state: &str) -> std::io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    match name.strip_prefix('@') {
        #[cfg(target_os = "linux")]
        Some(hidden) => {
            use std::os::linux::net::SocketAddrExt as _;
            socket.send_to_addr(state.as_bytes(), &SocketAddr::from_abstract_name(hidden)?)?;
        }
        _ => {
            socket.send_to_addr(state.as_bytes(), &SocketAddr::from_pathname(name)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_that_we_are_ready() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let environment = Environment::from([("NOTIFY_SOCKET", path.to_str().expect("a plain path"))]);
        ServiceManager::of(&environment).ready("listening");
        let mut heard = [0; 64];
        let length = socket.recv(&mut heard).expect("it was told");
        assert_eq!(&heard[..length], b"READY=1\nSTATUS=listening");
    }

    #[test]
    fn the_manager_is_told_twice_as_often_as_it_asks_for() {
        for (usec, pid, expected) in [
            (None, None, 5_000),
            (Some("60000000"), None, 5_000),
            (Some("3000000"), None, 1_500),
            (Some("3000000"), Some("4711"), 1_500),
            (Some("3000000"), Some("1"), 5_000),
            (Some("0"), Some("4711"), 5_000),
            (Some("soon"), None, 5_000),
        ] {
            let given = [("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)];
            let environment =
                Environment::from(given.map(|(name, value)| (value.map_or("", |_| name), value.unwrap_or(""))));
            assert_eq!(sign_every(&environment, 4711), Duration::from_millis(expected), "{given:?}");
        }
    }

    #[test]
    fn nobody_is_told_where_nobody_listens() {
        ServiceManager::of(&Environment::default()).ready("listening");
    }
}
