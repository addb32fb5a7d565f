//! Figures: what became of deliveries and attempts, summed up by minute and by hour.
//!
//! An end or an attempt is counted once, in the minute in which it ended; a delivery that is replayed ends once more.
//! Tests are left out. Figures of several spans or webhooks can be added up, percentiles included.

mod health;
mod histogram;
mod window;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::attempt::{Attempt, ErrorCode};
use crate::time::Timestamp;

pub use health::Health;
pub use histogram::Histogram;
pub use window::{BadWindow, Step, Window, instant, minute};

/// For how long figures are kept by the minute.
pub const MINUTES_KEPT: Duration = Duration::from_secs(48 * 3_600);
/// For how long figures are kept by the hour.
pub const HOURS_KEPT: Duration = Duration::from_secs(400 * 86_400);

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It got a 2xx.
    Delivered,
    /// It failed for good.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// Why attempts missed: the error, and for those that come from a status code, the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Miss {
    /// The error.
    pub code: ErrorCode,
    /// The status code of `http_3xx`, `http_4xx` and `http_5xx`.
    pub status: Option<u16>,
}

/// What became of deliveries and attempts in a span of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Deliveries that got a 2xx.
    pub delivered: u64,
    /// Of those, after at least one retry.
    pub delivered_after_retry: u64,
    /// Deliveries that failed for good.
    pub failed: u64,
    /// Deliveries that were cancelled.
    pub cancelled: u64,
    /// Attempts that got a 2xx.
    pub succeeded: u64,
    /// All other attempts, by why.
    pub misses: BTreeMap<Miss, u64>,
    /// How long the receiver took, over the attempts that got an answer.
    pub latency: Histogram,
    /// How many attempts have missed since the last that got a 2xx.
    pub misses_in_a_row: u64,
    /// When the last attempt ended.
    pub last_attempt_at: Option<Timestamp>,
    /// When the last attempt that got a 2xx ended.
    pub last_success_at: Option<Timestamp>,
}

impl Figures {
    /// Counts the end of a delivery. `retried` says whether it took a retry.
    pub const fn ended(&mut self, end: End, retried: bool) {
        match end {
            End::Delivered => {
                self.delivered += 1;
                self.delivered_after_retry += retried as u64;
            }
            End::Failed => self.failed += 1,
            End::Cancelled => self.cancelled += 1,
        }
    }

    /// Counts an attempt.
    pub fn attempted(&mut self, attempt: &Attempt) {
        let ended_at = Some(attempt.ended_at());
        self.last_attempt_at = self.last_attempt_at.max(ended_at);
        match &attempt.failure {
            None => {
                self.succeeded += 1;
                self.misses_in_a_row = 0;
                self.last_success_at = self.last_success_at.max(ended_at);
            }
            Some(failure) => {
                let code = failure.code;
                let from_status = matches!(code, ErrorCode::Http3xx | ErrorCode::Http4xx | ErrorCode::Http5xx);
                let status = attempt.status_code().filter(|_| from_status);
                *self.misses.entry(Miss { code, status }).or_default() += 1;
                self.misses_in_a_row += 1;
            }
        }
        if attempt.answer.is_some() {
            self.latency.record(attempt.duration);
        }
    }

    /// Adds the figures of a later span, or of another webhook.
    pub fn add(&mut self, later: &Self) {
        self.delivered += later.delivered;
        self.delivered_after_retry += later.delivered_after_retry;
        self.failed += later.failed;
        self.cancelled += later.cancelled;
        self.misses_in_a_row = later.misses_in_a_row + if later.succeeded > 0 { 0 } else { self.misses_in_a_row };
        self.succeeded += later.succeeded;
        for (miss, number) in &later.misses {
            *self.misses.entry(*miss).or_default() += number;
        }
        self.latency.add(&later.latency);
        self.last_attempt_at = self.last_attempt_at.max(later.last_attempt_at);
        self.last_success_at = self.last_success_at.max(later.last_success_at);
    }

    /// The sum of figures, from the earliest on.
    pub fn sum<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        for figures in all {
            sum.add(figures);
        }
        sum
    }

    /// How many attempts were made.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.succeeded + self.misses.values().sum::<u64>()
    }

    /// Delivered of delivered and failed, 0 to 1; `None` if there are none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of deliveries are below 2^53")]
    pub fn success(&self) -> Option<f64> {
        let ended = self.delivered + self.failed;
        (ended > 0).then(|| self.delivered as f64 / ended as f64)
    }
}

/// Whose figures are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subjects {
    /// The account as a whole; webhooks that were deleted count.
    Account,
    /// These webhooks of the account, each by itself.
    Webhooks(Vec<u32>),
}

/// Which figures are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsQuery {
    /// The number of the account.
    pub account: u32,
    /// Whose figures.
    pub subjects: Subjects,
    /// Of which time, and in which steps.
    pub window: Window,
}

/// The figures of one step of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// When the step starts.
    pub start: Timestamp,
    /// What became of what ended in it.
    pub figures: Figures,
}

/// Figures over a window, and what waits now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// The steps in which something ended, oldest first.
    pub buckets: Vec<Bucket>,
    /// How many deliveries are unfinished now, of webhooks that are paused.
    pub held: u64,
    /// How many deliveries are unfinished now, of the other webhooks; those being sent count.
    pub pending: u64,
    /// When the oldest of the unfinished ones is, or was, due. Where very many wait, the oldest of those whose events are
    /// oldest.
    pub oldest_due: Option<Timestamp>,
}

impl Stats {
    /// The figures of the whole window.
    #[must_use]
    pub fn total(&self) -> Figures {
        Figures::sum(self.buckets.iter().map(|bucket| &bucket.figures))
    }
}

#[cfg(test)]
mod tests;
