//! Figures of a store's writer.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use domain::histogram::Histogram;

/// Figures of the writer, for metrics.
#[derive(Debug, Default)]
pub struct Figures {
    /// Events that wait to be written.
    pub waiting_events: AtomicUsize,
    /// Bytes of the events that wait to be written.
    pub waiting_bytes: AtomicUsize,
    /// Transactions committed.
    pub commits: AtomicU64,
    /// From the start of a transaction to its end, until it is on disk.
    pub commit_durations: Histogram,
    /// Events that were refused since too many waited, the disk was full, or the database away.
    pub refused_events: AtomicU64,
    /// Events that retention has deleted.
    pub retained_events: AtomicU64,
    /// Deliveries that are sent from memory, since they came there by their acceptance.
    pub fresh: AtomicUsize,
    /// Milliseconds by which the latest event's timestamp led the clock: over 5,000, the clock was set back.
    pub timestamp_lead_ms: AtomicU64,
    /// The size of the tables of a database that is elsewhere, in bytes, as of the last minute.
    pub table_bytes: AtomicU64,
    /// Whether ends of attempts wait to be written, since there is no space, or no right to.
    pub blocked: AtomicBool,
    /// Whether a database that is elsewhere is away.
    pub away: AtomicBool,
    /// How often it was lost.
    pub connections_lost: AtomicU64,
}
