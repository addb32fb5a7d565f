//! The address guard: the operator's rules and this machine's own addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use domain::address::{AddressRules, IpRange};
use tokio::time::Instant;

/// How long the list of this machine's addresses is believed.
const OWN_FRESH: Duration = Duration::from_secs(30);

/// Judges addresses. Knows this machine's interfaces, as they change.
#[derive(Debug)]
pub(crate) struct Guard {
    rules: RwLock<Rules>,
    /// Addresses that are this machine's though no interface has them.
    egress: Vec<IpAddr>,
}

#[derive(Debug)]
struct Rules {
    rules: AddressRules,
    /// When the interfaces were last asked.
    asked_at: Instant,
}

impl Guard {
    /// A guard over what the operator `opened`, for a machine that sends from `egress`.
    ///
    /// # Errors
    /// When the interfaces cannot be listed.
    pub(crate) fn new(opened: Vec<IpRange>, egress: &[IpAddr]) -> std::io::Result<Self> {
        let own = own_addresses(egress)?;
        let rules = Rules { rules: AddressRules { opened, own }, asked_at: Instant::now() };
        Ok(Self { rules: RwLock::new(rules), egress: egress.to_vec() })
    }

    fn read(&self) -> RwLockReadGuard<'_, Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the interfaces again if it is time to; says whether that changed anything. Costs system calls, so it is for
    /// the path of a look-up only.
    pub(crate) fn refresh(&self, now: Instant) -> bool {
        if now.saturating_duration_since(self.read().asked_at) < OWN_FRESH {
            return false;
        }
        // A machine that cannot say what it has keeps what it said before: refusing too much beats too little.
        let own =
            own_addresses(&self.egress).inspect_err(|error| tracing::warn!(%error, "interfaces cannot be listed"));
        let mut state = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        state.asked_at = now;
        match own {
            Ok(own) if own != state.rules.own => {
                state.rules.own = own;
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// Why `address` may not be dialled; `None` if it may.
    pub(crate) fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        self.read().rules.refusal(address)
    }

    /// Whether the operator opened `address`.
    pub(crate) fn opens(&self, address: IpAddr) -> bool {
        self.read().rules.opens(address)
    }

    /// What `localhost` means here: the loopback addresses that are opened, or the usual two if none is, so that they
    /// are refused by their own name.
    pub(crate) fn localhost(&self) -> Vec<IpAddr> {
        let usual = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let state = self.read();
        let singles = state.rules.opened.iter().filter_map(IpRange::single).filter(IpAddr::is_loopback);
        let mut opened: Vec<IpAddr> = usual.into_iter().filter(|ip| state.rules.opens(*ip)).chain(singles).collect();
        opened.sort_unstable();
        opened.dedup();
        if opened.is_empty() { usual.to_vec() } else { opened }
    }
}

/// The addresses of all interfaces, and the egress addresses, sorted.
fn own_addresses(egress: &[IpAddr]) -> std::io::Result<Vec<IpAddr>> {
    let mut own: Vec<IpAddr> = if_addrs::get_if_addrs()?.iter().map(if_addrs::Interface::ip).collect();
    own.extend(egress);
    own.sort_unstable();
    own.dedup();
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(opened: &[&str], egress: &[&str]) -> Guard {
        let opened = opened.iter().map(|range| range.parse().expect("a range")).collect();
        let egress: Vec<IpAddr> = egress.iter().map(|ip| ip.parse().expect("an address")).collect();
        Guard::new(opened, &egress).expect("interfaces can be listed")
    }

    #[tokio::test]
    async fn egress_addresses_are_this_machine_s() {
        let guard = guard(&[], &["8.8.4.4"]);
        assert_eq!(guard.refusal("8.8.4.4".parse().expect("an address")), Some("this machine's own"));
        assert_eq!(guard.refusal("8.8.4.5".parse().expect("an address")), None);
    }

    #[tokio::test]
    async fn localhost_is_what_is_opened() {
        for (opened, expect) in [
            (&["127.0.0.0/8", "::1"][..], &["127.0.0.1", "::1"][..]),
            (&["127.0.0.0/8"], &["127.0.0.1"]),
            (&["::1"], &["::1"]),
            (&["127.0.0.2"], &["127.0.0.2"]),
            (&[], &["127.0.0.1", "::1"]),
        ] {
            let expect: Vec<IpAddr> = expect.iter().map(|ip| ip.parse().expect("an address")).collect();
            assert_eq!(guard(opened, &[]).localhost(), expect, "{opened:?}");
        }
    }
}
