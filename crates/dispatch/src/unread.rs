//! What the log says of a store that could not be asked.

use domain::store::StoreError;

/// Says that something could not be read, or done. Of a database that is away, or has no connection left, its store has said so already: each
/// thing that waits for it is no news.
pub(crate) fn say(error: &StoreError, what: &str) {
    if matches!(error, StoreError::Away(_) | StoreError::Crowded(_)) {
        tracing::debug!(%error, "{what}");
    } else {
        tracing::error!(%error, "{what}");
    }
}
