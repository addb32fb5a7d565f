//! Bounds of what the store keeps in memory. A test may make them small; nobody else has a reason to change them.

use std::time::Duration;

use super::lack::COMMITS_WITHIN;

/// The bounds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Deliveries of one webhook that are told to be sent from memory; a further one waits in the database alone.
    pub fresh_per_webhook: usize,
    /// The same over all webhooks.
    pub fresh: usize,
    /// Bytes of the events that these keep in memory.
    pub fresh_bytes: u64,
    /// Events that wait to be written; a further one is refused.
    pub waiting_events: usize,
    /// Bytes of the events that wait to be written.
    pub waiting_bytes: usize,
    /// Deliveries that one transaction cancels, where all of a webhook's are cancelled.
    pub cancelled_at_once: usize,
    /// Connections that read.
    pub readers: usize,
    /// After so long whoever has asked for something to be written is told that it may be done yet, or not: a commit waits for a lock or for
    /// a standby as long as it takes, and who asked would be gone. A node on which something waits for so long is not ready.
    pub answered_within: Duration,
    /// How long after a day's tables could not be had to be dropped they are asked for again: whoever writes or reads waits behind that.
    pub drop_again_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fresh_per_webhook: 10_000,
            fresh: 100_000,
            fresh_bytes: 256 * 1024 * 1024,
            waiting_events: 20_000,
            waiting_bytes: 128 * 1024 * 1024,
            cancelled_at_once: 1_000,
            readers: 8,
            answered_within: COMMITS_WITHIN,
            drop_again_after: Duration::from_secs(60),
        }
    }
}
