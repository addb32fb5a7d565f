//! Which addresses may be dialled: only public ones, and what the operator opened.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A block of addresses: `127.0.0.0/8`, `::1/128`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IpRange {
    /// The first address of the block.
    start: IpAddr,
    /// How many leading bits are common to all of its addresses: 0–32, or 0–128.
    prefix: u8,
}

/// The text was no block of addresses; it says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRange(String);

impl IpRange {
    const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Self {
        Self { start: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    /// A block by the first three groups of its first IPv6 address; the rest is zero.
    const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Self {
        Self { start: IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)), prefix }
    }

    /// Whether `address` lies in the block. An IPv4 block never holds an IPv6 spelling of its addresses.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.start, address) {
            (IpAddr::V4(start), IpAddr::V4(address)) => {
                (start.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(start), IpAddr::V6(address)) => {
                (start.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// The address, if it is one only.
    #[must_use]
    pub fn single(&self) -> Option<IpAddr> {
        (self.prefix == width(self.start)).then_some(self.start)
    }

    /// Whether `other` lies wholly in this block.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.start)
    }

    /// Whether the two have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Whether opening it would open the internet at large rather than a network of the operator's: shorter than /8
    /// (IPv4) or /16 (IPv6), and not inside one special-purpose block.
    #[must_use]
    pub fn is_absurd(&self) -> bool {
        let shortest = if self.start.is_ipv4() { 8 } else { 16 };
        self.prefix < shortest && !REFUSED.iter().any(|(special, _)| special.covers(self))
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.start, self.prefix)
    }
}

impl From<IpAddr> for IpRange {
    fn from(address: IpAddr) -> Self {
        Self { start: address, prefix: width(address) }
    }
}

impl FromStr for IpRange {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<Self, BadRange> {
        let bad = || BadRange(format!("{text:?} is no range of addresses such as 127.0.0.0/8, ::1/128 or 10.0.0.7"));
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let Some(prefix) = prefix else { return Ok(address.into()) };
        if prefix.is_empty() || prefix.len() > 3 || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        if prefix > width(address) {
            return Err(bad());
        }
        let start = first(address, prefix);
        if start != address {
            return Err(BadRange(format!("{text} does not start at its first address: write {start}/{prefix}")));
        }
        Ok(Self { start, prefix })
    }
}

/// The first address of the block of `prefix` bits that holds `address`.
fn first(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            Ipv4Addr::from_bits(v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)).into()
        }
        IpAddr::V6(v6) => {
            Ipv6Addr::from_bits(v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)).into()
        }
    }
}

/// What is refused, and what to call it: for IPv4 every special-purpose block of IANA's registry, multicast and 240/4;
/// for IPv6 what must not be reached inside 2000::/3, and names for the best known blocks outside it. The first match
/// gives the name, so the narrower block comes first.
const REFUSED: [(IpRange, &str); 37] = [
    (IpRange::v4(0, 0, 0, 0, 8), "this network"),
    (IpRange::v4(10, 0, 0, 0, 8), "private"),
    (IpRange::v4(100, 64, 0, 0, 10), "shared by carriers"),
    (IpRange::v4(127, 0, 0, 0, 8), "loopback"),
    (IpRange::v4(169, 254, 0, 0, 16), "link-local"),
    (IpRange::v4(172, 16, 0, 0, 12), "private"),
    (IpRange::v4(192, 0, 0, 0, 24), "for protocols"),
    (IpRange::v4(192, 0, 2, 0, 24), "documentation"),
    (IpRange::v4(192, 31, 196, 0, 24), "special-purpose"),
    (IpRange::v4(192, 52, 193, 0, 24), "special-purpose"),
    (IpRange::v4(192, 88, 99, 0, 24), "6to4"),
    (IpRange::v4(192, 168, 0, 0, 16), "private"),
    (IpRange::v4(192, 175, 48, 0, 24), "special-purpose"),
    (IpRange::v4(198, 18, 0, 0, 15), "benchmarking"),
    (IpRange::v4(198, 51, 100, 0, 24), "documentation"),
    (IpRange::v4(203, 0, 113, 0, 24), "documentation"),
    (IpRange::v4(224, 0, 0, 0, 4), "multicast"),
    (IpRange::v4(255, 255, 255, 255, 32), "broadcast"),
    (IpRange::v4(240, 0, 0, 0, 4), "reserved"),
    (IpRange { start: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 }, "loopback"),
    (IpRange { start: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 128 }, "unspecified"),
    (IpRange { start: IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0)), prefix: 96 }, "IPv4 in IPv6"),
    (IpRange { start: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 96 }, "IPv4 in IPv6"),
    (IpRange::v6(0x64, 0xff9b, 0, 96), "NAT64"),
    (IpRange::v6(0x64, 0xff9b, 1, 48), "NAT64"),
    (IpRange::v6(0x100, 0, 0, 64), "discard"),
    (IpRange::v6(0x2001, 0, 0, 32), "Teredo"),
    (IpRange::v6(0x2001, 0, 0, 23), "for protocols"),
    (IpRange::v6(0x2001, 0xdb8, 0, 32), "documentation"),
    (IpRange::v6(0x2002, 0, 0, 16), "6to4"),
    (IpRange::v6(0x2620, 0x4f, 0x8000, 48), "special-purpose"),
    (IpRange::v6(0x3ffe, 0, 0, 16), "special-purpose"),
    (IpRange::v6(0x3fff, 0, 0, 20), "documentation"),
    (IpRange::v6(0xfc00, 0, 0, 7), "private"),
    (IpRange::v6(0xfe80, 0, 0, 10), "link-local"),
    (IpRange::v6(0xfec0, 0, 0, 10), "site-local"),
    (IpRange::v6(0xff00, 0, 0, 8), "multicast"),
];

/// All that IPv6 has given out for use on the internet so far; what lies outside is refused, named or not.
const GLOBAL_V6: IpRange = IpRange::v6(0x2000, 0, 0, 3);

/// What clouds answer credentials at, or steer machines by. A range never opens them, only the exact address does.
const METADATA: [IpAddr; 13] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 0, 23)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 42, 42)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
];

/// Whether it is a metadata address, in whatever spelling: an opened NAT64 range must not lead to one either.
fn is_metadata(address: IpAddr) -> bool {
    METADATA.contains(&address)
        || match address {
            IpAddr::V4(_) => false,
            IpAddr::V6(v6) => spelled_v4(v6).is_some_and(|v4| METADATA.contains(&IpAddr::V4(v4))),
        }
}

/// The IPv4 address that `v6` spells, if it does: behind the prefix of 6to4, inverted at the end of Teredo's, and elsewhere
/// in the last 32 bits (mapped, compatible, ISATAP, NAT64). A plain global address spells none, whatever it ends with.
fn spelled_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let low = u32::try_from(v6.to_bits() & u128::from(u32::MAX)).expect("32 bits are masked");
    let spelled = match v6.segments() {
        [0x2002, high, middle, ..] => (u32::from(high) << 16) | u32::from(middle),
        [0x2001, 0, ..] => !low,
        _ if GLOBAL_V6.contains(v6.into()) => return None,
        _ => low,
    };
    Some(Ipv4Addr::from_bits(spelled))
}

/// What may be dialled on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressRules {
    /// What the operator opened (`--allow-private`).
    pub opened: Vec<IpRange>,
    /// This machine's own addresses, and the egress addresses: refused unless opened.
    pub own: Vec<IpAddr>,
}

impl AddressRules {
    /// Why `address` may not be dialled, in a phrase such as `loopback` or `cloud metadata`; `None` if it may.
    #[must_use]
    pub fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        if self.opens(address) {
            return None;
        }
        if is_metadata(address) {
            return Some("cloud metadata");
        }
        if let Some((_, why)) = REFUSED.iter().find(|(range, _)| range.contains(address)) {
            return Some(why);
        }
        if self.own.contains(&address) {
            return Some("this machine's own");
        }
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(_) if GLOBAL_V6.contains(address) => None,
            IpAddr::V6(_) => Some("not given out for the internet"),
        }
    }

    /// Whether the operator opened `address`. A metadata address is opened only by itself.
    #[must_use]
    pub fn opens(&self, address: IpAddr) -> bool {
        let by_itself_only = !self.opened.is_empty() && is_metadata(address);
        self.opened.iter().any(|range| range.contains(address) && (range.single().is_some() || !by_itself_only))
    }

    /// Whether any part of the loopback is opened, so that `localhost` may be a host.
    #[must_use]
    pub fn opens_loopback(&self) -> bool {
        let v6 = IpRange::from(IpAddr::V6(Ipv6Addr::LOCALHOST));
        self.opened.iter().any(|range| range.overlaps(&IpRange::v4(127, 0, 0, 0, 8)) || range.overlaps(&v6))
    }
}

#[cfg(test)]
mod tests;
