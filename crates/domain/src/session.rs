//! Sessions: what opens the API besides keys. Each comes from a key, may do no more than it, and ends with it.

use std::time::Duration;

use crate::id::SessionId;
use crate::key::Scope;
use crate::time::Timestamp;

/// For how long a session that has ended is remembered, so that it can be said why it no longer opens anything.
pub const REMEMBERED: Duration = Duration::from_secs(86_400);

/// How a session is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionKind {
    /// A one-time link: it is spent for a [`SessionKind::Browser`] session, and opens nothing itself.
    Link,
    /// A browser's, in a cookie.
    Browser,
    /// A portal's in a page of the platform's, sent as a bearer token.
    Embed,
}

impl SessionKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Link, Self::Browser, Self::Embed];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Browser => "browser",
            Self::Embed => "embed",
        }
    }
}

/// A session; its token is shown once and kept as its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// How it is used.
    pub kind: SessionKind,
    /// SHA-256 of the token's text.
    pub hash: [u8; 32],
    /// The hash of the key that it comes from; it ends with that key.
    pub key: [u8; 32],
    /// The account that it is limited to; `None` for the platform.
    pub account: Option<u32>,
    /// Whether it was made for a customer to look after one account: it manages webhooks, and no keys or sessions.
    pub portal: bool,
    /// What it may do; a platform's session may do everything.
    pub scopes: Vec<Scope>,
    /// Who uses it, as the log says it: 1–200 characters.
    pub name: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// For how long the session lasts that a link is spent for; zero for the other kinds.
    pub opens_for: Duration,
    /// Whether a link has been spent.
    pub spent: bool,
}
