//! TCP connections: one address after the other, from the fixed source addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::attempt::{ErrorCode, Failure, NOT_DIALLED};
use domain::transport::Untried;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// How long an address may keep silent before the next one is tried beside it.
const NEXT_AFTER: Duration = Duration::from_millis(300);

/// Opens connections.
#[derive(Debug)]
pub(crate) struct Dialler {
    egress: Arc<Egress>,
}

/// The addresses that connections come from, each used in turn; empty for whatever the system takes.
#[derive(Debug)]
struct Egress {
    addresses: Vec<IpAddr>,
    turn: AtomicUsize,
}

impl Egress {
    /// The source for a connection to `peer`.
    ///
    /// # Errors
    /// When there are fixed sources, but none of the peer's family: another one would break the operator's promise.
    fn source(&self, peer: SocketAddr) -> io::Result<Option<IpAddr>> {
        if self.addresses.is_empty() {
            return Ok(None);
        }
        let fitting: Vec<IpAddr> = self.addresses.iter().copied().filter(|ip| ip.is_ipv4() == peer.is_ipv4()).collect();
        if fitting.is_empty() {
            let family = if peer.is_ipv4() { "IPv4" } else { "IPv6" };
            return Err(io::Error::other(format!("no egress address for {family}")));
        }
        Ok(Some(fitting[self.turn.fetch_add(1, Ordering::Relaxed) % fitting.len()]))
    }

    async fn connect(&self, peer: SocketAddr) -> Result<TcpStream, Undialled> {
        let socket = if peer.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(source) = self.source(peer)? {
            socket.set_reuseaddr(true)?;
            // Every port of the address is in use, or this machine has lost the address.
            socket.bind(SocketAddr::new(source, 0)).map_err(Undialled::Short)?;
        }
        let stream = socket.connect(peer).await.map_err(|error| {
            let no_port = error.kind() == io::ErrorKind::AddrNotAvailable && has_source(peer);
            if no_port { Undialled::Short(error) } else { error.into() }
        })?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Why there is no connection.
#[derive(Debug)]
enum Undialled {
    /// What the peer, or the way there, had to say.
    Failed(io::Error),
    /// Nothing was dialled: this machine had no file descriptor, memory or port for it.
    Short(io::Error),
}

impl From<io::Error> for Undialled {
    fn from(error: io::Error) -> Self {
        if is_short(&error) { Self::Short(error) } else { Self::Failed(error) }
    }
}

/// Why an attempt or a look ends before there is an answer.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It has failed.
    Failed(Failure),
    /// It could not be made.
    Untried(Untried),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Stop {
    /// The same as a failure, for those who do not come again by themselves.
    pub(crate) fn failure(self, code: ErrorCode) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            Self::Untried(_) => Failure { code, detail: NOT_DIALLED.to_owned() },
        }
    }
}

impl Dialler {
    pub(crate) fn new(egress: &[IpAddr]) -> Self {
        Self { egress: Arc::new(Egress { addresses: egress.to_vec(), turn: AtomicUsize::new(0) }) }
    }

    /// Connects to the first of `addresses` that accepts; `remote` is set to the one that is being tried. `make_room` is
    /// called when this process has no file descriptor left.
    pub(crate) async fn dial(
        &self,
        addresses: &[IpAddr],
        port: u16,
        remote: &mut Option<SocketAddr>,
        make_room: impl Fn(),
    ) -> Result<(TcpStream, SocketAddr), Stop> {
        let mut waiting = addresses.iter().map(|ip| SocketAddr::new(*ip, port));
        let mut tried: JoinSet<(SocketAddr, Result<TcpStream, Undialled>)> = JoinSet::new();
        let mut worst: Option<(SocketAddr, io::Error)> = None;
        let mut short: Option<io::Error> = None;
        let mut made_room = false;
        loop {
            if let Some(peer) = waiting.next() {
                if worst.is_none() && tried.is_empty() {
                    *remote = Some(peer);
                }
                let egress = Arc::clone(&self.egress);
                tried.spawn(async move { (peer, egress.connect(peer).await) });
            }
            let next_after = if waiting.len() > 0 { NEXT_AFTER } else { Duration::MAX };
            // Silence is not the end of an attempt: the next address is tried beside it.
            let Ok(ended) = tokio::time::timeout(next_after, tried.join_next()).await else { continue };
            match ended {
                Some(Ok((peer, Ok(stream)))) => {
                    let peer = stream.peer_addr().unwrap_or(peer);
                    return Ok((stream, peer));
                }
                Some(Ok((peer, Err(Undialled::Short(_))))) if !made_room => {
                    made_room = true;
                    make_room();
                    let egress = Arc::clone(&self.egress);
                    tried.spawn(async move { (peer, egress.connect(peer).await) });
                }
                Some(Ok((_, Err(Undialled::Short(error))))) => short = Some(error),
                Some(Ok((peer, Err(Undialled::Failed(error))))) => {
                    // A refusal says more than an unreachable network.
                    if worst.is_none() || error.kind() == io::ErrorKind::ConnectionRefused {
                        worst = Some((peer, error));
                    }
                }
                Some(Err(_)) => {}
                None => {
                    return Err(match (worst, short) {
                        (Some((peer, error)), _) => {
                            *remote = Some(peer);
                            failure(&error).into()
                        }
                        (None, Some(error)) => Stop::Untried(Untried(error.to_string())),
                        (None, None) => {
                            Failure { code: ErrorCode::ConnectTimeout, detail: "no address".to_owned() }.into()
                        }
                    });
                }
            }
        }
    }
}

/// Whether the process or the machine can open no more files (ENFILE, EMFILE), or has no memory for a socket (ENOMEM, ENOBUFS).
pub(crate) fn is_short(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(12 | 23 | 24 | 105))
}

/// Whether this machine has an address from which `peer` is reached: then it was ports that it had none left of. Nothing is
/// sent to find out.
fn has_source(peer: SocketAddr) -> bool {
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(peer)).is_ok()
}

/// What it means that no connection came about.
#[expect(clippy::wildcard_enum_match_arm, reason = "whatever the system calls it, there is no connection")]
fn failure(error: &io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorCode::ConnectRefused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => ErrorCode::ConnectionReset,
        // Unreachable networks and hosts, blocked routes, and the kernel's own time-out.
        _ => ErrorCode::ConnectTimeout,
    };
    let detail = if code == ErrorCode::ConnectTimeout { error.to_string() } else { String::new() };
    Failure { code, detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::net::TcpListener;

    /// Dials a port of 127.0.0.1 from `egress`; says what came of it, and how often room was made.
    async fn dialled(egress: &str, port: u16) -> (Result<SocketAddr, Stop>, u32) {
        let (made_room, mut remote) = (Cell::new(0), None);
        let dialler = Dialler::new(&[egress.parse().expect("an address")]);
        let addresses = ["127.0.0.1".parse().expect("an address")];
        let dialled = dialler.dial(&addresses, port, &mut remote, || made_room.set(made_room.get() + 1)).await;
        (dialled.map(|(_, peer)| peer), made_room.get())
    }

    #[tokio::test]
    async fn what_this_machine_has_nothing_left_for_is_no_failure_of_the_peer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        assert_eq!(dialled("127.0.0.1", address.port()).await.0.ok(), Some(address));
        let (undialled, made_room) = dialled("192.0.2.1", address.port()).await;
        assert!(matches!(&undialled, Err(Stop::Untried(_))), "{undialled:?}");
        assert_eq!(made_room, 1);
        drop(listener);
        let (refused, _) = dialled("127.0.0.1", address.port()).await;
        let Err(Stop::Failed(failure)) = refused else { panic!("{refused:?}") };
        assert_eq!(failure.code, ErrorCode::ConnectRefused);
    }

    #[test]
    fn shortages_are_told_from_failures() {
        for (number, short) in
            [(12, true), (23, true), (24, true), (105, true), (101, false), (111, false), (113, false)]
        {
            assert_eq!(is_short(&io::Error::from_raw_os_error(number)), short, "{number}");
        }
        assert!(has_source("127.0.0.1:9".parse().expect("an address")));
    }
}
