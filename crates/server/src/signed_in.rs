//! Sessions as credentials: which one a request shows, and whether it still opens anything.

use std::sync::Arc;

use data_encoding::{Encoding, Specification};
use domain::key::{ApiKey, hash_key};
use domain::session::{Session, SessionKind};
use http::header::COOKIE;
use http::request::Parts;

use crate::app::Api;

/// What the token of a one-time link starts with.
pub(crate) const LINK: &str = "phl_";
/// What a browser's cookie starts with.
pub(crate) const BROWSER: &str = "phs_";

/// What a portal's token starts with.
pub(crate) const EMBED: &str = "phe_";

/// A new token: the prefix, and 32 digits of 5 chance bits.
pub(crate) fn new_token(api: &Api, prefix: &str) -> String {
    let mut digits = Specification::new();
    digits.symbols.push_str("0123456789abcdefghjkmnpqrstvwxyz");
    let encoding: Encoding = digits.encoding().expect("32 different symbols");
    format!("{prefix}{}", encoding.encode(&api.chance::<20>()))
}

/// The value of the session's cookie, if the request has one.
pub(crate) fn cookie<'a>(parts: &'a Parts, api: &Api) -> Option<&'a str> {
    let name = api.outside.cookie_name();
    let lines = parts.headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, value)| *found == name && !value.is_empty()).map(|(_, value)| value)
}

/// The session of this kind whose token this is, ended or not.
pub(crate) fn session(api: &Api, token: &str, kind: SessionKind) -> Option<Arc<Session>> {
    api.directory.read().session(&hash_key(token)).filter(|session| session.kind == kind).cloned()
}

/// The key behind a session that still opens something: `None` inside for the key of the settings.
pub(crate) fn key_behind(api: &Api, session: &Session) -> Option<Option<Arc<ApiKey>>> {
    let now = api.now();
    if now >= session.expires_at {
        return None;
    }
    if api.platform_key == Some(session.key) {
        return Some(None);
    }
    let key = api.directory.read().key(&session.key).cloned()?;
    key.expires_at.is_none_or(|ends| now < ends).then_some(Some(key))
}
