//! The raw text of a URL, cut into its parts without mending anything.

use std::fmt;

use super::{PATH_AND_QUERY_MAX, POINTER, scheme_port};
use crate::refusal::Refusal;

/// The longest piece of the input that a refusal repeats, in characters.
const QUOTED_MAX: usize = 80;

/// A URL cut into its parts, each as it was written.
#[derive(Debug)]
pub(super) struct RawUrl<'a> {
    pub(super) https: bool,
    /// With its brackets, if it has them.
    pub(super) host: &'a str,
    port: Option<&'a str>,
    /// From the first `/` or `?` on; may be empty.
    pub(super) path_and_query: &'a str,
}

impl<'a> RawUrl<'a> {
    /// Cuts `text`, and refuses what no part may hold: control characters, spaces, backslashes, a user name, a fragment.
    pub(super) fn split(text: &'a str) -> Result<Self, Refusal> {
        if let Some(bad) = text.chars().find(|c| *c <= ' ' || *c == '\u{7f}' || *c == '\\') {
            let detail = format!("The URL holds {bad:?}: remove spaces, control characters and backslashes.");
            return Err(Refusal::new(POINTER, "url_invalid", detail));
        }
        let (https, rest) = split_scheme(text)?;
        let (authority, path_and_query) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.is_empty() {
            return Err(invalid(text));
        }
        if authority.contains('@') {
            // The value is not repeated: it is likely to be a password.
            let detail = "The URL carries a user name or password before `@`: send credentials in a header instead.";
            return Err(Refusal::new(POINTER, "url_userinfo", detail));
        }
        if path_and_query.contains('#') {
            let detail = "The URL has a fragment (`#…`), which is never sent: remove it.";
            return Err(Refusal::new(POINTER, "url_fragment", detail));
        }
        if path_and_query.len() > PATH_AND_QUERY_MAX {
            return Err(too_long(path_and_query.len()));
        }
        let (host, port) = split_port(authority).ok_or_else(|| invalid(text))?;
        Ok(Self { https, host, port, path_and_query })
    }

    /// The port to dial.
    pub(super) fn port(&self) -> Result<u16, Refusal> {
        let Some(digits) = self.port else { return Ok(scheme_port(self.https)) };
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| plain).ok_or_else(|| {
            let detail = format!("{} is no port: write a number up to 65535, or leave it out.", quote(&digits));
            Refusal::new(POINTER, "url_invalid", detail)
        })
    }
}

/// `text` behind `https://` or `http://`, and whether it was the former.
fn split_scheme(text: &str) -> Result<(bool, &str), Refusal> {
    let (scheme, rest) = text.split_once(':').ok_or_else(|| invalid(text))?;
    let https = scheme.eq_ignore_ascii_case("https");
    if !https && !scheme.eq_ignore_ascii_case("http") {
        let mut letters = scheme.bytes();
        let is_scheme = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
            && letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme {
            return Err(invalid(text));
        }
        let detail =
            format!("The URL starts with {}: it has to start with https://.", quote(&format_args!("{scheme}:")));
        return Err(Refusal::new(POINTER, "url_scheme", detail));
    }
    Ok((https, rest.strip_prefix("//").ok_or_else(|| invalid(text))?))
}

/// Host and port of an authority; `None` if the host is missing, or more than one colon stands outside of brackets.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let (host, port) = if authority.starts_with('[') {
        let (host, rest) = authority.split_at(authority.find(']')? + 1);
        if rest.is_empty() { (host, None) } else { (host, Some(rest.strip_prefix(':')?)) }
    } else {
        authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)))
    };
    (!host.is_empty() && !port.is_some_and(|port| port.contains(':'))).then_some((host, port))
}

/// The refusal of a text that is no URL of the form that we take.
pub(super) fn invalid(text: &str) -> Refusal {
    let detail = format!("{} is no URL: write one such as https://hooks.example.com/crondb.", quote(&text));
    Refusal::new(POINTER, "url_invalid", detail)
}

/// The refusal of `bytes` of path and query.
pub(super) fn too_long(bytes: usize) -> Refusal {
    let detail = format!("Path and query have {bytes} bytes, at most {PATH_AND_QUERY_MAX} are taken: shorten them.");
    Refusal::new(POINTER, "url_too_long", detail)
}

/// A piece of the input for a refusal's sentence: cut short, and with nothing that could act on a terminal.
pub(super) fn quote(text: &dyn fmt::Display) -> String {
    let text = text.to_string();
    let mut quoted: String = text.chars().take(QUOTED_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(QUOTED_MAX).is_some() {
        quoted.push('…');
    }
    format!("`{quoted}`")
}
