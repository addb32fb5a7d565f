//! A lane: what waits in memory for one webhook, and how much of it may be in flight.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::attempt::{ErrorCode, Reason};
use domain::delivery::Due;
use domain::event::Event;
use domain::id::DeliveryId;
use domain::policy::Policy;
use domain::time::Timestamp;
use domain::webhook::Webhook;

/// How many successes widen the window by one.
const SUCCESSES_TO_WIDEN: u16 = 20;
/// After how many failures in a row a lane holds no more than one slot.
const FAILURES_TO_SHRINK: u32 = 20;
/// One start in so many goes to old work while new work waits: retries never starve first attempts, nor are starved.
const TURNS_PER_OLD: u8 = 5;

/// A delivery that is to be tried.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) due: Due,
    /// The event, if it is still in memory from its acceptance.
    pub(crate) event: Option<Arc<Event>>,
}

/// What of a webhook waits on disk.
#[derive(Debug, Default)]
pub(crate) struct OnDisk {
    /// Whether there may be rows that are not in memory.
    pub(crate) more: bool,
    /// Whether a load is under way.
    pub(crate) loading: bool,
    /// Whether rows came to the disk while the load was under way: it may have missed them.
    pub(crate) grown_meanwhile: bool,
    /// The last delivery that a load brought.
    pub(crate) after: Option<DeliveryId>,
    /// Deliveries settled while the load was under way: what it brings of them is out of date.
    pub(crate) settled_meanwhile: HashSet<DeliveryId>,
}

impl OnDisk {
    /// There are rows on disk that are not in memory.
    pub(crate) const fn grown(&mut self) {
        self.more = true;
        self.grown_meanwhile = self.loading;
    }
}

/// The lane of one webhook.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) webhook: Arc<Webhook>,
    /// First attempts of events that were just accepted, oldest first.
    pub(crate) new: VecDeque<Job>,
    /// Retries, replays and what was loaded from disk, in the order in which they came due.
    pub(crate) old: VecDeque<Job>,
    /// Tests: they go out also while the webhook is paused.
    pub(crate) tests: VecDeque<Job>,
    pub(crate) in_flight: u16,
    /// How many may be in flight now; adapts between 1 and the webhook's cap.
    window: u16,
    successes: u16,
    pub(crate) failures_in_a_row: u32,
    /// Since when every attempt fails.
    pub(crate) failing_since: Option<Timestamp>,
    /// Whether the store knows `failing_since`.
    pub(crate) failing_recorded: bool,
    /// Set from our decision to pause until the store's fact.
    pub(crate) pausing: bool,
    /// Set once the webhook is deleted.
    pub(crate) deleted: bool,
    /// The earliest next start, where the webhook has a rate.
    pub(crate) next_start: Timestamp,
    /// The rate at which held work is sent after a pause, and the earliest next start of such.
    pub(crate) held_rate: Option<u32>,
    pub(crate) next_held_start: Timestamp,
    turns_since_old: u8,
    pub(crate) on_disk: OnDisk,
    /// Slot time used, in microseconds: what fair turns are taken by.
    pub(crate) cost: u64,
    /// Running mean of the time that an attempt holds its slot, in microseconds.
    pub(crate) mean_held: u64,
    /// The key under which the lane waits for its turn, if it does.
    pub(crate) queued_at: Option<u64>,
}

impl Lane {
    pub(crate) fn new(webhook: Arc<Webhook>, policy: &Policy) -> Self {
        let window = webhook.cap(policy).div_ceil(2);
        let failing_since = webhook.failing_since;
        Self {
            webhook,
            new: VecDeque::new(),
            old: VecDeque::new(),
            tests: VecDeque::new(),
            in_flight: 0,
            window,
            successes: 0,
            failures_in_a_row: 0,
            failing_since,
            failing_recorded: failing_since.is_some(),
            pausing: false,
            deleted: false,
            next_start: Timestamp(0),
            held_rate: None,
            next_held_start: Timestamp(0),
            turns_since_old: 0,
            on_disk: OnDisk::default(),
            cost: 0,
            mean_held: 1_000,
            queued_at: None,
        }
    }

    pub(crate) fn paused(&self) -> bool {
        self.pausing || self.deleted || self.webhook.pause.is_some()
    }

    /// Whether the lane's attempts keep failing, so that it holds one slot, and those slots are rationed.
    pub(crate) const fn failing(&self) -> bool {
        self.failures_in_a_row >= FAILURES_TO_SHRINK || (self.window == 1 && self.failures_in_a_row >= 3)
    }

    pub(crate) fn window(&self, policy: &Policy) -> u16 {
        if self.failing() { 1 } else { self.window.min(self.webhook.cap(policy)) }
    }

    /// How many jobs wait in memory.
    pub(crate) fn waiting(&self) -> usize {
        self.new.len() + self.old.len() + self.tests.len()
    }

    /// Puts a job where it belongs. What comes from disk keeps its order, whether it was tried before or not: what a pause
    /// has held is sent oldest first.
    pub(crate) fn push(&mut self, job: Job) {
        match job.due.reason {
            Reason::Test => self.tests.push_back(job),
            Reason::First if job.event.is_some() => self.new.push_back(job),
            Reason::First | Reason::Retry | Reason::Replay => self.old.push_back(job),
        }
    }

    /// When the lane could start an attempt: now, later because of a rate, or not at all.
    pub(crate) fn startable(&self, now: Timestamp, policy: &Policy) -> Startable {
        if !self.deleted && !self.tests.is_empty() && self.in_flight < self.webhook.cap(policy) {
            return Startable::Now;
        }
        if self.paused() || self.in_flight >= self.window(policy) {
            return Startable::Never;
        }
        let old_at = self.next_start.max(if self.held_rate.is_some() { self.next_held_start } else { Timestamp(0) });
        let at = match (self.new.is_empty(), self.old.is_empty()) {
            (true, true) => return Startable::Never,
            (true, false) => old_at,
            (false, _) => self.next_start,
        };
        if at <= now { Startable::Now } else { Startable::At(at) }
    }

    /// The next job to start; [`Self::startable`] said that there is one.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<Job> {
        if let Some(test) = self.tests.pop_front() {
            return Some(test);
        }
        let old_may = !self.old.is_empty() && (self.held_rate.is_none() || self.next_held_start <= now);
        let old_turn = old_may && (self.new.is_empty() || self.turns_since_old + 1 >= TURNS_PER_OLD);
        let job = if old_turn {
            self.turns_since_old = 0;
            if let Some(rate) = self.held_rate {
                self.next_held_start = paced(self.next_held_start, now, rate);
            }
            self.old.pop_front()
        } else {
            self.turns_since_old = self.turns_since_old.saturating_add(1);
            self.new.pop_front()
        };
        if job.is_some()
            && let Some(rate) = self.webhook.rate_limit
        {
            self.next_start = paced(self.next_start, now, rate);
        }
        job
    }

    /// Learns from an attempt: more room after successes, half after a sign of overload.
    pub(crate) fn learn(&mut self, succeeded: bool, overload: bool, policy: &Policy) {
        if succeeded {
            self.failures_in_a_row = 0;
            self.successes += 1;
            if self.successes >= SUCCESSES_TO_WIDEN {
                self.successes = 0;
                self.window = (self.window + 1).min(self.webhook.cap(policy));
            }
            return;
        }
        self.successes = 0;
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        if overload {
            self.window = (self.window / 2).max(1);
        }
    }
}

/// When a lane could start an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Startable {
    Now,
    At(Timestamp),
    Never,
}

/// The start after one at or after `next`, at `rate` per second.
fn paced(next: Timestamp, now: Timestamp, rate: u32) -> Timestamp {
    next.max(now).plus(Duration::from_secs(1) / rate.max(1))
}

/// Whether an attempt's end says that the receiver has more than it can take.
pub(crate) const fn overload(error: Option<ErrorCode>, status: Option<u16>) -> bool {
    matches!(error, Some(ErrorCode::ResponseTimeout | ErrorCode::ConnectTimeout))
        || matches!(status, Some(429 | 502 | 503 | 504))
}
