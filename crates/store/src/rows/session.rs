//! Sessions as every store keeps them: the hashes of their tokens, never the tokens.

use std::time::Duration;

use domain::session::{Session, SessionKind};

use super::checksum::Checksum;

/// The numbers by which kinds are stored: they never change.
pub(crate) const fn code(kind: SessionKind) -> i64 {
    match kind {
        SessionKind::Link => 0,
        SessionKind::Browser => 1,
        SessionKind::Embed => 2,
    }
}

/// The kind that is stored as this number.
pub(crate) fn kind(number: i64) -> Option<SessionKind> {
    [SessionKind::Link, SessionKind::Browser, SessionKind::Embed].into_iter().find(|kind| code(*kind) == number)
}

/// A span as it is stored.
pub(crate) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// The checksum of a row.
pub(crate) fn sum(session: &Session, scopes: &str) -> Checksum {
    Checksum::of("sessions")
        .numbers([
            code(session.kind),
            session.account.map_or(-1, i64::from),
            session.portal.into(),
            session.created_at.0,
            session.expires_at.0,
            micros(session.opens_for),
            session.spent.into(),
        ])
        .bytes(&session.hash)
        .bytes(&session.key)
        .text(session.id.as_str())
        .text(scopes)
        .text(&session.name)
}
