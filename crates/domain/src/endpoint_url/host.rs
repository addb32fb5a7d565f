//! The host of a URL: a DNS name with at least two labels, or what the operator opened.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::raw::{invalid, quote};
use super::{POINTER, UrlRules};
use crate::refusal::Refusal;

/// Endings of names that mean nothing on the internet, or something else everywhere.
const NEVER_PUBLIC: [&str; 10] =
    ["localhost", "local", "lan", "internal", "svc", "home.arpa", "onion", "test", "invalid", "example"];

/// What the hosts of webhooks end in whose requests `posthaste listen` makes, wherever it runs. Nobody can save such a URL: `.invalid`
/// is no public name.
pub const LISTEN_SUFFIX: &str = ".listen.invalid";

/// The host of a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostName {
    /// A DNS name in lower case, without a dot at its end.
    Name(String),
    /// An address; it was in a range that the operator opened.
    Ip(IpAddr),
}

/// As it stands in a URL: an IPv6 address in brackets.
impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(v4)) => v4.fmt(f),
            Self::Ip(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

impl HostName {
    /// What stands before [`LISTEN_SUFFIX`]; `None` for the host of a receiver.
    #[must_use]
    pub fn listened(&self) -> Option<&str> {
        match self {
            Self::Name(name) => name.strip_suffix(LISTEN_SUFFIX),
            Self::Ip(_) => None,
        }
    }

    /// The host as it is written, unjudged.
    pub(super) fn read(written: &str) -> Self {
        let v6 = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match v6.map(str::parse::<Ipv6Addr>) {
            Some(Ok(v6)) => Self::Ip(v6.into()),
            Some(Err(_)) | None => match written.parse::<Ipv4Addr>() {
                Ok(v4) => Self::Ip(v4.into()),
                Err(_) => Self::Name(written.to_ascii_lowercase()),
            },
        }
    }
}

/// Judges a host as it is written.
pub(super) fn judge_host(written: &str, rules: &UrlRules) -> Result<HostName, Refusal> {
    if !written.is_ascii() {
        return Err(not_ascii(written));
    }
    let host = HostName::read(written);
    match &host {
        HostName::Ip(ip) if rules.addresses.opens(*ip) => {}
        HostName::Ip(_) => return Err(ip_literal(written)),
        HostName::Name(_) if written.starts_with('[') => return Err(invalid(&format!("https://{written}/"))),
        HostName::Name(name) if ends_in_a_number(name) => return Err(ip_literal(written)),
        HostName::Name(name) => judge_name(name, rules)?,
    }
    Ok(host)
}

/// Whether programs would read the name as an IPv4 address in one of its old spellings (WHATWG "ends in a number").
fn ends_in_a_number(name: &str) -> bool {
    let last = name.strip_suffix('.').unwrap_or(name).rsplit('.').next().unwrap_or_default();
    let is_hex = last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    is_hex || (!last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()))
}

fn judge_name(name: &str, rules: &UrlRules) -> Result<(), Refusal> {
    if is_localhost(name) {
        return if rules.addresses.opens_loopback() { Ok(()) } else { Err(not_public(name)) };
    }
    if let Some(why) = fault(name) {
        let detail = format!("The host {} cannot be used: {why}.", quote(&name));
        return Err(Refusal::new(POINTER, "url_host_invalid", detail));
    }
    if rules.own_hosts.iter().any(|own| own == name) {
        let detail =
            format!("{name} is this service itself: a webhook there would call us for ever. Use another host.");
        return Err(Refusal::new(POINTER, "url_host_self", detail));
    }
    if is_never_public(name) && rules.addresses.opened.is_empty() {
        return Err(not_public(name));
    }
    Ok(())
}

/// What is wrong with a DNS name, in words.
fn fault(name: &str) -> Option<&'static str> {
    if name.len() > 253 {
        return Some("it is longer than 253 characters");
    }
    if name.ends_with('.') {
        return Some("it ends with a dot; leave it out");
    }
    if !name.contains('.') {
        return Some("it has one label only; write the full name, such as hooks.example.com");
    }
    name.split('.').find_map(label_fault)
}

fn label_fault(label: &str) -> Option<&'static str> {
    if label.is_empty() {
        return Some("it has an empty label");
    }
    if label.len() > 63 {
        return Some("a label is longer than 63 characters");
    }
    if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Some("a DNS name has letters, digits, hyphens and dots only");
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Some("a label starts or ends with a hyphen");
    }
    (label.starts_with("xn--") && !round_trips(label)).then_some("a label that starts with xn-- does not decode")
}

/// Whether a label in punycode decodes to what encodes back to it (CVE-2024-12224 and its like).
fn round_trips(label: &str) -> bool {
    let (decoded, result) = idna::domain_to_unicode(label);
    result.is_ok() && !decoded.is_ascii() && idna::domain_to_ascii(&decoded).is_ok_and(|encoded| encoded == label)
}

/// Whether the name ends like one that is never public.
pub(super) fn is_never_public(name: &str) -> bool {
    NEVER_PUBLIC
        .iter()
        .any(|ending| name.strip_suffix(ending).is_some_and(|before| before.is_empty() || before.ends_with('.')))
}

/// Whether the name means this machine (RFC 6761): no name server is asked for it.
pub(super) fn is_localhost(name: &str) -> bool {
    name.strip_suffix("localhost").is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

pub(super) fn not_public(name: &str) -> Refusal {
    let detail = format!(
        "{} is no name of the internet: use a public DNS name, or ask the operator to open its addresses with \
         `--allow-private`.",
        quote(&name)
    );
    Refusal::new(POINTER, "url_host_not_public", detail)
}

fn ip_literal(written: &str) -> Refusal {
    let detail = format!(
        "The host {} is an address: use a DNS name, or ask the operator to open the address with `--allow-private`.",
        quote(&written)
    );
    Refusal::new(POINTER, "url_ip_literal", detail)
}

fn not_ascii(written: &str) -> Refusal {
    let plain = idna::domain_to_ascii(written).ok().filter(|ascii| ascii.is_ascii() && fault(ascii).is_none());
    let way_out = match plain {
        Some(ascii) if !ends_in_a_number(&ascii) => format!("if you mean it, write {ascii}"),
        Some(_) | None => "write the DNS name in ASCII".to_owned(),
    };
    let detail = format!("The host {} has characters other than ASCII: {way_out}.", quote(&written));
    Refusal::new(POINTER, "url_host_not_ascii", detail)
}
