//! Figures of a store's writer.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    /// Whether ends of attempts wait to be written, since there is no space, no right to, or no table.
    pub blocked: AtomicBool,
    /// Ends of attempts that cannot be written, each for itself, and are tried again now and then.
    pub set_aside: AtomicUsize,
    /// What the database says that refuses all of them, and not for want of space.
    refusal: Mutex<Option<String>>,
    /// Whether a database that is elsewhere is away.
    pub away: AtomicBool,
    /// How often it was lost.
    pub connections_lost: AtomicU64,
    /// For how long it has not committed what the writer has begun.
    pub writing: Lasting,
}

/// Something that may last.
#[derive(Debug, Default)]
pub struct Lasting(Mutex<Option<Instant>>);

impl Lasting {
    /// It begins, unless it goes on.
    pub(crate) fn begin(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    }

    /// It is over.
    pub(crate) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it goes on, and has for so long.
    #[must_use]
    pub fn is_over(&self, span: Duration) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|begun| begun.elapsed() >= span)
    }
}

impl Figures {
    /// Ends of attempts wait: with what the database says, where it refuses whatever is written.
    pub(crate) fn block(&self, refusal: Option<String>) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
        self.blocked.store(true, Ordering::Relaxed);
    }

    /// They wait no longer.
    pub(crate) fn unblock(&self) {
        if self.blocked.swap(false, Ordering::Relaxed) {
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// What the database says that refuses whatever is written.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
