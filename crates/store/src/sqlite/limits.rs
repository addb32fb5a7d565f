//! Bounds of what the store keeps in memory. A test may make them small; nobody else has a reason to change them.

/// The bounds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Deliveries of one webhook without a row; a further one is written to disk when it is accepted.
    pub fresh_per_webhook: usize,
    /// Deliveries that are sent from memory, over all webhooks: those without a row, and those that got theirs while they
    /// waited.
    pub fresh: usize,
    /// Bytes of the events that these keep in memory.
    pub fresh_bytes: u64,
    /// How many events the oldest delivery without a row may be behind: what a start has to read through.
    pub fresh_behind: u64,
    /// Events that wait to be written; a further one is refused.
    pub waiting_events: usize,
    /// Bytes of the events that wait to be written.
    pub waiting_bytes: usize,
    /// Deliveries that one transaction cancels, where all of a webhook's are cancelled.
    pub cancelled_at_once: usize,
    /// Bytes of the disk that are kept back, to be given up when it is full; 0 for none.
    pub ballast: u64,
    /// Connections that read.
    pub readers: usize,
    /// Whether a commit waits for the disk. Only a simulation says no.
    pub durable: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fresh_per_webhook: 10_000,
            fresh: 100_000,
            fresh_bytes: 256 * 1024 * 1024,
            fresh_behind: 50_000,
            waiting_events: 20_000,
            waiting_bytes: 128 * 1024 * 1024,
            cancelled_at_once: 1_000,
            ballast: 0,
            readers: 4,
            durable: true,
        }
    }
}
