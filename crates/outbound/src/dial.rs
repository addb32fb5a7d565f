//! TCP connections: one address after the other, from the fixed source addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::attempt::{ErrorCode, Failure};
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

    async fn connect(&self, peer: SocketAddr) -> io::Result<TcpStream> {
        let socket = if peer.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(source) = self.source(peer)? {
            socket.set_reuseaddr(true)?;
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(peer).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
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
    ) -> Result<(TcpStream, SocketAddr), Failure> {
        let mut waiting = addresses.iter().map(|ip| SocketAddr::new(*ip, port));
        let mut tried: JoinSet<(SocketAddr, io::Result<TcpStream>)> = JoinSet::new();
        let mut worst: Option<(SocketAddr, io::Error)> = None;
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
                Some(Ok((peer, Err(error)))) if is_out_of_descriptors(&error) && !made_room => {
                    made_room = true;
                    make_room();
                    let egress = Arc::clone(&self.egress);
                    tried.spawn(async move { (peer, egress.connect(peer).await) });
                }
                Some(Ok((peer, Err(error)))) => {
                    // A refusal says more than an unreachable network.
                    if worst.is_none() || error.kind() == io::ErrorKind::ConnectionRefused {
                        worst = Some((peer, error));
                    }
                }
                Some(Err(_)) => {}
                None => {
                    let Some((peer, error)) = worst else {
                        return Err(Failure { code: ErrorCode::ConnectTimeout, detail: "no address".to_owned() });
                    };
                    *remote = Some(peer);
                    return Err(failure(&error));
                }
            }
        }
    }
}

/// Whether the process or the machine can open no more files (EMFILE, ENFILE).
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
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
