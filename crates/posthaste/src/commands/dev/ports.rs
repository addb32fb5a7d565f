//! Ports of `dev`: the wanted one, or the next that is free.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;

/// How many ports after the wanted one are tried.
const TRIES: u16 = 50;

/// A listener, and the port that was wanted if it was taken.
#[derive(Debug)]
pub(super) struct Bound {
    /// The listener.
    pub(super) listener: TcpListener,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// The wanted port, if another process has it.
    pub(super) taken: Option<u16>,
}

/// Listens on `wanted`, or on the next free port after it that is not `reserved`. Port 0 takes any.
///
/// # Errors
/// When no port is free, or the address is none of this machine.
pub(super) fn bind(wanted: SocketAddr, reserved: Option<u16>) -> io::Result<Bound> {
    let mut last = None;
    for step in 0..=TRIES {
        let Some(port) = wanted.port().checked_add(step) else { break };
        if step > 0 && reserved == Some(port) {
            continue;
        }
        match server::bind(SocketAddr::new(wanted.ip(), port)) {
            Ok(listener) => {
                let address = listener.local_addr()?;
                return Ok(Bound { listener, address, taken: (step > 0).then_some(wanted.port()) });
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, "no port is free")))
}

/// The same port on `::1`, for a listener on `127.0.0.1`: `localhost` may mean either. `None` where that cannot be had.
pub(super) fn also_v6(bound: &Bound) -> Option<TcpListener> {
    match bound.address.ip() {
        IpAddr::V4(v4) if v4.is_loopback() => {
            server::bind(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), bound.address.port())).ok()
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_gives_the_next_free_one_and_says_so() {
        let first = bind("127.0.0.1:0".parse().expect("an address"), None).expect("a port");
        assert_eq!(first.taken, None);
        let next = first.address.port() + 1;
        let second = bind(first.address, Some(next)).expect("another port");
        assert_eq!(second.taken, Some(first.address.port()));
        assert!(second.address.port() > next);
    }
}
