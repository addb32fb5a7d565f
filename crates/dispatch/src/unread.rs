//! What the log says of a store that could not be asked.

use domain::store::StoreError;

/// Says that something could not be read, or done. Of a database that is away, has no connection left, or does not commit, its store says so: each
/// thing that waits for it is no news.
pub(crate) fn say(error: &StoreError, what: &str) {
    if matches!(error, StoreError::Away(_) | StoreError::Crowded(_) | StoreError::Stuck) {
        tracing::debug!(%error, "{what}");
    } else {
        tracing::error!(%error, "{what}");
    }
}
