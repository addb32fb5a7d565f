//! A lane: what waits in memory for one webhook, and how much of it may be in flight.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::attempt::{ErrorCode, Reason};
use domain::delivery::Due;
use domain::event::Event;
use domain::id::DeliveryId;
use domain::policy::Policy;
use domain::shard::Lease;
use domain::time::Timestamp;
use domain::waiting::Waits;
use domain::webhook::Webhook;

use crate::ordered::Ordered;
use crate::turns::{Kind, Kinds};

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
    /// When its turn in its webhook's order came, if it had to wait for that.
    pub(crate) in_turn_since: Timestamp,
}

impl Job {
    pub(crate) const fn new(due: Due, event: Option<Arc<Event>>) -> Self {
        Self { due, event, in_turn_since: Timestamp(0) }
    }

    /// What waits on disk.
    pub(crate) const fn on_disk(due: Due) -> Self {
        Self::new(due, None)
    }
}

/// Whether a delivery keeps its place in its webhook's order: its first attempt, and the retries that follow from it.
/// Tests and replays go outside of it, and so does a replay's retry, which is known by its attempts: there are more than the
/// present schedule has made.
pub(crate) const fn keeps_order(due: &Due) -> bool {
    match due.reason {
        Reason::First => true,
        Reason::Retry => due.attempts_made == due.retries_made,
        Reason::Replay | Reason::Test => false,
    }
}

/// What of a webhook waits on disk, and the pass that brings it to memory.
#[derive(Debug, Default)]
pub(crate) struct OnDisk {
    /// Whether there may be rows that are not in memory.
    pub(crate) more: bool,
    /// Whether they are what a pause has held: the pass brings whatever of it is due, oldest first.
    pub(crate) held: bool,
    /// The number of the load under way.
    pub(crate) loading: Option<u64>,
    /// Whether the disk got rows since the pass began: it may have missed them.
    pub(crate) again: bool,
    /// The last delivery that the pass brought; `None` at its beginning.
    pub(crate) after: Option<DeliveryId>,
    /// No load before this instant: the last one failed.
    pub(crate) not_before: Timestamp,
    /// Deliveries that ended while the load was under way: what it brings of them is out of date.
    pub(crate) settled_meanwhile: HashSet<DeliveryId>,
}

impl OnDisk {
    /// A pause is over, and what it has held is there.
    pub(crate) const fn resumed(&mut self) {
        self.grown();
        self.held = true;
    }

    /// A pass has come to its end.
    pub(crate) fn passed(&mut self) {
        self.more = std::mem::take(&mut self.again);
        self.held &= self.more;
    }

    /// There are rows on disk that are not in memory.
    pub(crate) const fn grown(&mut self) {
        self.more = true;
        self.again = self.loading.is_some() || self.after.is_some();
    }

    /// Memory has let go of what the passes brought: the next one begins at the beginning, and what a load under way brings
    /// is of no use.
    pub(crate) fn start_over(&mut self) {
        *self = Self { not_before: self.not_before, held: self.held, more: true, ..Self::default() };
    }

    /// A delivery has ended.
    pub(crate) fn ended(&mut self, delivery: DeliveryId) {
        if self.loading.is_some() {
            self.settled_meanwhile.insert(delivery);
        }
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
    /// No start before this instant: the receiver asked for it.
    pub(crate) hold_until: Timestamp,
    /// What of that the store knows.
    pub(crate) hold_recorded: Timestamp,
    turns_since_old: u8,
    pub(crate) on_disk: OnDisk,
    /// What waits in the webhook's order, if it has one. Few have, and it is larger than all the rest of a lane.
    pub(crate) ordered: Option<Box<Ordered>>,
    /// Slot time used, in microseconds: what fair turns are taken by.
    pub(crate) cost: u64,
    /// Running mean of the time that an attempt holds its slot, in microseconds.
    pub(crate) mean_held: u64,
    /// Since when nothing of its own keeps its deliveries from being sent.
    pub(crate) free_since: Option<Timestamp>,
    /// How the lane waits for its turn, if it does.
    pub(crate) queued: Option<Queued>,
    /// The lease of its shard.
    pub(crate) lease: Lease,
    /// How many loads had been asked for when it was made.
    pub(crate) loads_before: u64,
    /// Its shard is to be given back: nothing more is started.
    pub(crate) winding_down: bool,
}

/// How a lane waits for its turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queued {
    pub(crate) cost: u64,
    pub(crate) kinds: Kinds,
    /// Among the turns of lanes whose attempts keep failing.
    pub(crate) failing: bool,
}

impl Lane {
    pub(crate) fn new(webhook: Arc<Webhook>, lease: Lease, loads_before: u64, policy: &Policy, now: Timestamp) -> Self {
        // A clock that was set back meanwhile makes nobody wait for longer than a receiver can ask for.
        let longest = now.plus(webhook.schedule(policy).longest());
        let hold_until = webhook.leave_alone_until.unwrap_or_default().min(longest);
        let window = webhook.cap(policy).div_ceil(2);
        let failing_since = webhook.failing_since.map(|since| since.min(now));
        let ordered = webhook.order.clone().map(Ordered::new).map(Box::new);
        // What a pause has held and was not sent before a restart is on disk, and goes on at its rate.
        let held_rate = webhook.held_rate.filter(|_| webhook.pause.is_none());
        let on_disk = OnDisk { more: held_rate.is_some(), ..OnDisk::default() };
        Self {
            webhook,
            ordered,
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
            held_rate,
            next_held_start: Timestamp(0),
            hold_until,
            hold_recorded: hold_until,
            turns_since_old: 0,
            on_disk,
            cost: 0,
            mean_held: 1_000,
            free_since: Some(now),
            queued: None,
            lease,
            loads_before,
            winding_down: false,
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

    /// How many jobs wait in memory, those in order apart.
    pub(crate) fn waiting(&self) -> usize {
        self.new.len() + self.old.len() + self.tests.len()
    }

    /// A row came to the disk that memory does not know, at the place `to`; from `from` on there may be others that came before it.
    pub(crate) fn grown(&mut self, from: DeliveryId, to: DeliveryId) {
        match &mut self.ordered {
            Some(ordered) => ordered.grown(from, to),
            None => self.on_disk.grown(),
        }
    }

    /// Whether everything that a pause has held has been started.
    pub(crate) fn nothing_held(&self) -> bool {
        let in_order = self.ordered.as_ref().is_none_or(|it| it.all_in_memory() && it.none_from_disk());
        self.old.is_empty() && in_order && (self.ordered.is_some() || !self.on_disk.more)
    }

    /// Lets go of all jobs that wait, tests and those in order apart.
    pub(crate) fn drain(&mut self) -> Vec<Job> {
        self.new.drain(..).chain(self.old.drain(..)).collect()
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

    /// When the lane could start an attempt: now, later, or not as things are.
    pub(crate) fn startable(&self, now: Timestamp, policy: &Policy) -> Startable {
        if self.winding_down {
            return Startable::Never;
        }
        if !self.deleted && !self.tests.is_empty() && self.in_flight < self.webhook.cap(policy) {
            return Startable::Now(Kinds { new: true, old: false });
        }
        if self.paused() || self.in_flight >= self.window(policy) {
            return Startable::Never;
        }
        let fresh_at = self.next_start.max(self.hold_until);
        let held_at = if self.held_rate.is_some() { fresh_at.max(self.next_held_start) } else { fresh_at };
        let new_at = (!self.new.is_empty()).then_some(fresh_at);
        let old_at = (!self.old.is_empty()).then_some(held_at);
        let ordered = self.ordered.as_deref().and_then(Ordered::next);
        let ordered_at = ordered.map(|job| if job.event.is_some() { fresh_at } else { held_at });
        let Some(at) = new_at.into_iter().chain(old_at).chain(ordered_at).min() else { return Startable::Never };
        if at > now {
            return Startable::At(at);
        }
        let may = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let (ordered_new, ordered_old) = match ordered {
            Some(job) if may(ordered_at) => (job.due.reason == Reason::First, job.due.reason != Reason::First),
            Some(_) | None => (false, false),
        };
        let new = may(new_at) || ordered_new;
        let old = ordered_old || (may(old_at) && (!new || self.turns_since_old.saturating_add(1) >= TURNS_PER_OLD));
        Startable::Now(Kinds { new, old })
    }

    /// The next job of a kind to start; [`Self::startable`] said that there is one.
    pub(crate) fn pop(&mut self, now: Timestamp, kind: Kind) -> Option<Job> {
        if let Some(test) = self.tests.pop_front() {
            return Some(test);
        }
        let held_may = self.held_rate.is_none() || self.next_held_start <= now;
        let ordered = self.ordered.as_deref().and_then(Ordered::next);
        let ordered = ordered.filter(|job| held_may || job.event.is_some()).map(|job| job.due.reason == Reason::First);
        let old_may = held_may && !self.old.is_empty();
        let job = match kind {
            Kind::New => {
                self.turns_since_old = self.turns_since_old.saturating_add(1);
                if ordered == Some(true) { self.pop_ordered() } else { self.new.pop_front() }
            }
            Kind::Old => {
                // What is in order and what goes outside of it take turns.
                let in_order = ordered == Some(false) && (!old_may || self.turns_since_old > 0);
                self.turns_since_old = 0;
                if in_order {
                    self.pop_ordered()
                } else if old_may {
                    self.old.pop_front()
                } else {
                    None
                }
            }
        };
        if let Some(job) = &job {
            if let Some(rate) = self.held_rate.filter(|_| job.event.is_none()) {
                self.next_held_start = paced(self.next_held_start, now, rate);
            }
            if let Some(rate) = self.webhook.rate_limit {
                self.next_start = paced(self.next_start, now, rate);
            }
        }
        job
    }

    fn pop_ordered(&mut self) -> Option<Job> {
        self.ordered.as_deref_mut().and_then(Ordered::pop)
    }

    /// What keeps a delivery from being sent that is due and in this lane, tests apart.
    pub(crate) fn waits(&self, now: Timestamp, policy: &Policy) -> Waits {
        let full = self.in_flight >= self.window(policy);
        if self.hold_until > now {
            Waits::RetryAfter(self.hold_until)
        } else if full && self.failing() {
            Waits::Probe
        } else if !full && (self.next_start > now || (self.held_rate.is_some() && self.next_held_start > now)) {
            Waits::Rate
        } else {
            Waits::Slot
        }
    }

    /// Notes whether something of its own keeps its deliveries from being sent, and since when nothing does.
    pub(crate) fn look(&mut self, now: Timestamp, policy: &Policy) -> Option<Timestamp> {
        self.free_since = if self.is_patient(now, policy) { None } else { Some(self.free_since.unwrap_or(now)) };
        self.free_since
    }

    /// Whether what keeps its deliveries from being sent is its own: its receiver, its cap, its rate, its order, a pause.
    fn is_patient(&self, now: Timestamp, policy: &Policy) -> bool {
        let in_order = |ordered: &Ordered| ordered.next().is_none() && ordered.waits_for_turn();
        self.paused()
            || self.failing()
            || self.in_flight >= self.window(policy)
            || self.waits(now, policy) != Waits::Slot
            || self.ordered.as_deref().is_some_and(in_order)
    }

    /// Forgets what was learnt of the receiver: it is another one, or a person says that it is well.
    pub(crate) fn begin_anew(&mut self, policy: &Policy) {
        self.failures_in_a_row = 0;
        self.hold_until = Timestamp(0);
        self.hold_recorded = Timestamp(0);
        self.window = self.webhook.cap(policy).div_ceil(2);
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
    Now(Kinds),
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
