//! The URL of a webhook: a strict grammar on the raw text, so that no two parsers can read it differently, and one stored
//! form, which is what is dialled. The rules stand in the head of the table of hostile inputs ("URL:").

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use crate::address::AddressRules;
use crate::refusal::Refusal;
use crate::transport::Names;

mod host;
mod path;
mod raw;

use host::judge_host;
pub use host::{HostName, LISTEN_SUFFIX};
use raw::RawUrl;

/// Where every refusal of a URL points.
const POINTER: &str = "/url";
/// The most bytes that path and query may have together.
const PATH_AND_QUERY_MAX: usize = 2_048;
/// Ports from 1024 up that belong to other protocols (WHATWG Fetch, "bad port").
const BAD_PORTS: [u16; 19] =
    [1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080];

/// Which URLs a webhook may have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UrlRules {
    /// Which addresses may be dialled.
    pub addresses: AddressRules,
    /// Whether `http://` may be used (`--allow-http`).
    pub allow_http: bool,
    /// Host names of this very service, in lower case (from `--public-url`): a webhook that called them would loop.
    pub own_hosts: Vec<String>,
}

/// A webhook's URL in its stored form: what is dialled, with all parts at hand.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl {
    text: String,
    https: bool,
    host: HostName,
    port: u16,
    /// Where the authority stands in `text`.
    authority: Range<usize>,
}

/// A stored URL that cannot be read back: the store is damaged, or another program wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadStoredUrl(String);

impl EndpointUrl {
    /// Reads and judges the URL that a person or a program gives, and normalises it: scheme and host in lower case, the
    /// scheme's own port left out, dot segments resolved, percent-encoding kept.
    ///
    /// A name that may only be used when it resolves into an opened range is taken here; see
    /// [`Self::needs_opened_range`].
    ///
    /// # Errors
    /// A refusal of `/url` with one of the codes `url_…` of the table of hostile inputs.
    pub fn parse(text: &str, rules: &UrlRules) -> Result<Self, Refusal> {
        let raw = RawUrl::split(text)?;
        if !raw.https && !rules.allow_http {
            let detail = "The URL starts with http://, but only https:// is allowed: use https, or ask the operator for \
                          `--allow-http`.";
            return Err(Refusal::new(POINTER, "url_scheme", detail));
        }
        let port = raw.port()?;
        let host = judge_host(raw.host, rules)?;
        check_port(port, raw.https, &host, &rules.addresses)?;
        let url = Self::build(&raw, host, port);
        if url.path_and_query().len() > PATH_AND_QUERY_MAX {
            return Err(raw::too_long(url.path_and_query().len()));
        }
        url.agrees_with_another_parser()?;
        Ok(url)
    }

    /// Reads back a URL that was once taken. Today's rules do not matter: the guard judges the addresses at each attempt.
    ///
    /// # Errors
    /// When the text is not one that [`Self::as_str`] gives.
    pub fn stored(text: &str) -> Result<Self, BadStoredUrl> {
        let bad = |refusal: Refusal| BadStoredUrl(refusal.detail);
        let raw = RawUrl::split(text).map_err(bad)?;
        let url = Self::build(&raw, HostName::read(raw.host), raw.port().map_err(bad)?);
        if url.text == text { Ok(url) } else { Err(BadStoredUrl(format!("{text} is not the stored form of a URL"))) }
    }

    fn build(raw: &RawUrl<'_>, host: HostName, port: u16) -> Self {
        let mut text = String::with_capacity(raw.host.len() + raw.path_and_query.len() + 16);
        text.push_str(if raw.https { "https://" } else { "http://" });
        let start = text.len();
        text.push_str(&host.to_string());
        if port != scheme_port(raw.https) {
            text.push(':');
            text.push_str(&port.to_string());
        }
        let authority = start..text.len();
        path::normalise_into(&mut text, raw.path_and_query);
        Self { text, https: raw.https, host, port, authority }
    }

    /// One parser decides, but what another one reads differently is not taken: receivers and proxies use others.
    fn agrees_with_another_parser(&self) -> Result<(), Refusal> {
        let agrees = url::Url::parse(&self.text).is_ok_and(|other| {
            other.host_str().is_some_and(|host| host == self.host.to_string())
                && other.port_or_known_default() == Some(self.port)
                && other.username().is_empty()
                && other.password().is_none()
        });
        if agrees {
            return Ok(());
        }
        let detail =
            format!("The host {} is not read alike by all programs: use a plain DNS name.", raw::quote(&self.host));
        Err(Refusal::new(POINTER, "url_host_invalid", detail))
    }

    /// The stored form, such as `https://hooks.crm.example.com/crondb`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the scheme is `https`; else it is `http`.
    #[must_use]
    pub const fn https(&self) -> bool {
        self.https
    }

    /// The host.
    #[must_use]
    pub const fn host(&self) -> &HostName {
        &self.host
    }

    /// The port to dial.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The host and, if it is not the scheme's own, the port: what the `Host` header says.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.text[self.authority.clone()]
    }

    /// Scheme and authority, such as `https://hooks.example.com:8443`: what connections can be shared by.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.text[..self.authority.end]
    }

    /// Path and query, from the first `/` on.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        &self.text[self.authority.end..]
    }

    /// Whether the host is a name that is never public (`.test`, `.internal`, `.local` …): it may be used only if all of
    /// its addresses lie in opened ranges. Whoever saves the URL has to look it up; [`Self::judge_addresses`] decides.
    #[must_use]
    pub fn needs_opened_range(&self) -> bool {
        matches!(&self.host, HostName::Name(name) if host::is_never_public(name) && !host::is_localhost(name))
    }

    /// Judges what the host's name resolves to when the URL is saved; `addresses` is empty where the look-up failed,
    /// which is no fault by itself.
    ///
    /// # Errors
    /// `url_private_address` if an address may not be dialled, `url_host_not_public` for a name that
    /// [`Self::needs_opened_range`] and resolves to nothing, or to something that is not opened.
    pub fn judge_addresses(&self, addresses: &[IpAddr], names: &dyn Names) -> Result<(), Refusal> {
        let HostName::Name(name) = &self.host else { return Ok(()) };
        if self.needs_opened_range() && (addresses.is_empty() || !addresses.iter().all(|ip| names.opened(*ip))) {
            return Err(host::not_public(name));
        }
        let Some((address, why)) = addresses.iter().find_map(|ip| names.refusal(*ip).map(|why| (ip, why))) else {
            return Ok(());
        };
        let detail = format!(
            "{name} resolves to {address}, which is not public ({why}): use a name with public addresses only, or ask \
             the operator for `--allow-private`."
        );
        Err(Refusal::new(POINTER, "url_private_address", detail))
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

const fn scheme_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// The scheme's own port, or one from 1024 up that belongs to no other protocol. Inside an opened range any port will do.
fn check_port(port: u16, https: bool, host: &HostName, addresses: &AddressRules) -> Result<(), Refusal> {
    let opened = match host {
        // A literal that was taken lies in an opened range.
        HostName::Ip(_) => true,
        HostName::Name(name) => host::is_never_public(name) && !addresses.opened.is_empty(),
    };
    let usual = port == 443 || port == scheme_port(https) || (port >= 1024 && !BAD_PORTS.contains(&port));
    if usual || (opened && port != 0) {
        return Ok(());
    }
    let detail = format!(
        "Port {port} cannot be used: take 443, or a port from 1024 to 65535 that belongs to no other protocol."
    );
    Err(Refusal::new(POINTER, "url_port", detail))
}

#[cfg(test)]
mod tests;
