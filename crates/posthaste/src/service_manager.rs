//! Talk with systemd (`Type=notify`): a datagram to the socket that `NOTIFY_SOCKET` names.

use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::settings::source::Environment;

/// Where the service manager listens, if there is one.
#[derive(Debug, Clone)]
pub(crate) struct ServiceManager(Option<String>);

impl ServiceManager {
    /// None: nobody is told.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// The one that started this process, if one did.
    pub(crate) fn of(environment: &Environment) -> Self {
        Self(environment.get("NOTIFY_SOCKET").map(str::to_owned))
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
        let Some(name) = &self.0 else { return };
        if let Err(error) = send(name, state) {
            tracing::warn!(%error, "the service manager cannot be told");
        }
    }
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
    fn nobody_is_told_where_nobody_listens() {
        ServiceManager::of(&Environment::default()).ready("listening");
    }
}
