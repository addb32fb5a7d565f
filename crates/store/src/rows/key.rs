//! API keys as every store keeps them: their hashes, never the keys.

use domain::key::{ApiKey, Scope};

use super::checksum::Checksum;
use super::damaged::Damaged;

/// What a key may do, as it is stored.
pub(crate) fn scopes_text(scopes: &[Scope]) -> Result<String, Damaged> {
    serde_json::to_string(scopes).map_err(|error| Damaged::of("scopes of a key", error))
}

/// The checksum of a row.
pub(crate) fn sum(key: &ApiKey, scopes: &str) -> Checksum {
    let expires_at = key.expires_at.map_or(i64::MIN, |at| at.0);
    let sum = Checksum::of("keys")
        .numbers([key.account.map_or(-1, i64::from), key.created_at.0, expires_at])
        .bytes(&key.hash)
        .text(key.id.as_str())
        .text(&key.name)
        .text(scopes)
        .text(&key.hint);
    match key.last_used_at {
        Some(at) => sum.numbers([at.0]),
        // As in layout 1, which did not know of it.
        None => sum,
    }
}
