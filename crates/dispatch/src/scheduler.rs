//! The scheduler: what is tried when. A state machine without I/O: time and what has happened go in, what is to be done
//! comes out.
//!
//! It hears only what has been committed, so nothing that it knows can be lost: after a restart the store tells it again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use domain::attempt::{Outcome, Reason};
use domain::delivery::{Due, Settlement};
use domain::event::Event;
use domain::id::DeliveryId;
use domain::policy::Policy;
use domain::signature::SentRequest;
use domain::store::Fact;
use domain::time::Timestamp;
use domain::webhook::{PauseCause, Webhook};

mod ends;
mod facts;
#[cfg(test)]
mod tests;

use crate::horizon::Horizon;
pub use crate::horizon::LoadDue;
use crate::lane::{Job, Lane, Startable};
use crate::turns::Turns;

/// How many deliveries the scheduler knows at most before it stops loading more from disk.
const KNOWN_MAX: usize = 200_000;
/// How many rows one load of a webhook's backlog brings at most.
pub const BACKLOG_MAX: usize = 500;
/// How many ends may wait to be recorded before no further attempt starts. Attempts hold their slots until then, so this
/// bounds only deliveries that are given up without one.
const UNRECORDED_MAX: usize = 10_000;
/// For how long a webhook must fail before the store is told.
const FAILING_RECORDED_AFTER: Duration = Duration::from_secs(60);
/// How long after the end of its schedule a delivery that could not be sent is given up (settled question 11).
const GIVEN_UP_AFTER: Duration = Duration::from_secs(86_400);

/// Something has happened.
#[derive(Debug)]
pub enum Input {
    /// The store has committed something.
    Fact(Fact),
    /// An attempt has ended.
    Ended(Box<Ended>),
    /// The event of a delivery that was to be started no longer exists (its account was erased).
    Gone(DeliveryId),
    /// A [`LoadDue`] has ended.
    Due(Vec<Due>),
    /// A [`LoadDue`] could not be done.
    DueFailed,
    /// A [`Output::LoadBacklog`] has ended.
    Backlog {
        /// The webhook's number.
        webhook: u32,
        /// The rows; fewer than [`BACKLOG_MAX`] are the last.
        rows: Vec<Due>,
    },
    /// The wall clock has stepped by so many microseconds.
    ClockStepped(i64),
    /// Time has passed.
    Tick,
}

/// The end of an attempt.
#[derive(Debug)]
pub struct Ended {
    /// Its delivery.
    pub delivery: DeliveryId,
    /// The request as it was sent.
    pub request: SentRequest,
    /// When it started.
    pub started_at: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
}

/// Something is to be done.
#[derive(Debug)]
#[must_use]
pub enum Output {
    /// Make an attempt; [`Input::Ended`] is expected.
    Start(Start),
    /// Record the end of an attempt; [`Fact::Settled`] is expected.
    Settle(Box<Settlement>),
    /// Load planned attempts; [`Input::Due`] is expected.
    LoadDue(LoadDue),
    /// Load what waits on disk for a webhook; [`Input::Backlog`] is expected.
    LoadBacklog {
        /// The webhook's number.
        webhook: u32,
        /// From after this delivery on.
        after: Option<DeliveryId>,
        /// Only what is due before this instant.
        until: Timestamp,
    },
    /// Pause the webhook, for this cause.
    Pause {
        /// The webhook's number.
        webhook: u32,
        /// Why.
        cause: PauseCause,
    },
    /// Remember since when every attempt of the webhook fails.
    Failing {
        /// The webhook's number.
        webhook: u32,
        /// The first failure after the last success; `None` after a success.
        since: Option<Timestamp>,
    },
}

/// An attempt that is to be made.
#[derive(Debug, Clone)]
pub struct Start {
    /// What is due.
    pub due: Due,
    /// The webhook as it is now.
    pub webhook: Arc<Webhook>,
    /// The event, unless it has to be loaded.
    pub event: Option<Arc<Event>>,
}

impl Start {
    /// The number of the attempt.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.due.attempts_made.saturating_add(1)
    }
}

/// What the scheduler knows of a delivery.
#[derive(Debug)]
enum Known {
    /// In its lane's queue.
    Waiting,
    /// Planned for later.
    Planned(Timestamp),
    /// Being sent.
    Sending { due: Due, slot: Slot, again: Option<Due>, cancelled: bool },
    /// Ended, and not recorded yet; what follows once it is. The slot is held until then: a crash now would send again, so
    /// this is in flight still (settled question 14), and the caps bound what a crash repeats.
    Recording { attempts_made: u16, then: Option<Job>, slot: Option<Slot> },
}

/// A slot that an attempt holds.
#[derive(Debug, Clone, Copy)]
struct Slot {
    since: Timestamp,
    /// What was charged in advance for the time that it is held, in microseconds.
    charged: u64,
    ration: Ration,
}

/// Which ration an attempt's slot counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ration {
    Ordinary,
    Failing,
}

/// The scheduler.
#[derive(Debug)]
pub struct Scheduler {
    policy: Arc<Policy>,
    chance: fastrand::Rng,
    started_at: Timestamp,
    lanes: HashMap<u32, Lane>,
    known: HashMap<DeliveryId, Known>,
    horizon: Horizon,
    turns: Turns,
    failing_turns: Turns,
    /// Lanes that wait for their rate, by when they may start.
    paced: BTreeSet<(Timestamp, u32)>,
    in_flight: usize,
    failing_in_flight: usize,
    unrecorded: usize,
    draining: bool,
    out: Vec<Output>,
}

impl Scheduler {
    /// A scheduler that knows nothing yet. The chance numbers of its jitter come from `seed`.
    #[must_use]
    pub fn new(policy: Arc<Policy>, seed: u64, now: Timestamp) -> Self {
        Self {
            policy,
            chance: fastrand::Rng::with_seed(seed),
            started_at: now,
            lanes: HashMap::new(),
            known: HashMap::new(),
            horizon: Horizon::default(),
            turns: Turns::default(),
            failing_turns: Turns::default(),
            paced: BTreeSet::new(),
            in_flight: 0,
            failing_in_flight: 0,
            unrecorded: 0,
            draining: false,
            out: Vec::new(),
        }
    }

    /// How many attempts are in flight.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Starts no further attempt: the process is about to end.
    pub const fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether nothing is in flight and everything that ended is recorded.
    #[must_use]
    pub const fn idle(&self) -> bool {
        self.in_flight == 0 && self.unrecorded == 0
    }

    /// How many deliveries are in memory: waiting, planned, being sent or being recorded.
    #[must_use]
    pub fn known(&self) -> usize {
        self.known.len()
    }

    /// How many lanes hold no more than one slot because their attempts keep failing.
    #[must_use]
    pub fn failing_lanes(&self) -> usize {
        self.lanes.values().filter(|lane| lane.failing()).count()
    }

    /// How many attempts of a webhook are in flight, and how many may be.
    #[must_use]
    pub fn lane(&self, webhook: u32) -> Option<(u16, u16)> {
        self.lanes.get(&webhook).map(|lane| (lane.in_flight, lane.webhook.cap(&self.policy)))
    }

    /// When [`Input::Tick`] is due next, if nothing else happens before.
    #[must_use]
    pub fn wake_at(&self) -> Option<Timestamp> {
        let planned = if self.known.len() < KNOWN_MAX { self.horizon.next() } else { None };
        self.paced.first().map(|(at, _)| *at).into_iter().chain(planned).min()
    }

    /// Takes one thing that has happened. What is to be done about it comes from [`Self::outputs`].
    pub fn take(&mut self, now: Timestamp, input: Input) {
        match input {
            Input::Fact(fact) => self.fact(now, fact),
            Input::Ended(ended) => self.ended(now, *ended),
            Input::Gone(delivery) => self.gone(now, delivery),
            Input::Due(rows) => {
                for due in self.horizon.loaded(rows) {
                    self.learn_of(now, Job { due, event: None });
                }
            }
            Input::DueFailed => self.horizon.load_failed(now.plus(Duration::from_secs(1))),
            Input::Backlog { webhook, rows } => self.backlog(now, webhook, rows),
            Input::ClockStepped(micros) => self.clock_stepped(micros),
            Input::Tick => {}
        }
    }

    /// What is to be done now, after everything that was taken.
    pub fn outputs(&mut self, now: Timestamp) -> Vec<Output> {
        self.come_due(now);
        self.fill_slots(now);
        if self.known.len() < KNOWN_MAX
            && let Some(load) = self.horizon.load(now)
        {
            self.out.push(Output::LoadDue(load));
        }
        std::mem::take(&mut self.out)
    }

    /// [`Self::take`] and [`Self::outputs`] in one.
    pub fn step(&mut self, now: Timestamp, input: Input) -> Vec<Output> {
        self.take(now, input);
        self.outputs(now)
    }

    /// Takes in a delivery that is to be tried, unless it is known already.
    fn learn_of(&mut self, now: Timestamp, job: Job) {
        let due = job.due;
        if self.known.contains_key(&due.delivery) {
            return;
        }
        if due.due_at > now {
            if self.horizon.plan(job) {
                self.known.insert(due.delivery, Known::Planned(due.due_at));
            }
            return;
        }
        let Some(lane) = self.lanes.get_mut(&due.webhook) else { return };
        if lane.paused() && due.reason != Reason::Test {
            lane.on_disk.grown();
            return;
        }
        lane.push(job);
        self.known.insert(due.delivery, Known::Waiting);
        self.enqueue(now, due.webhook);
    }

    fn come_due(&mut self, now: Timestamp) {
        while let Some(job) = self.horizon.pop_due(now) {
            self.known.remove(&job.due.delivery);
            self.learn_of(now, job);
        }
        while let Some(&(at, webhook)) = self.paced.first() {
            if at > now {
                break;
            }
            self.paced.pop_first();
            self.enqueue(now, webhook);
        }
    }

    /// Lets a lane wait for its turn, if it could start an attempt; asks for its backlog, if it runs low.
    fn enqueue(&mut self, now: Timestamp, webhook: u32) {
        let Some(lane) = self.lanes.get_mut(&webhook) else { return };
        if lane.held_rate.is_some() && !lane.on_disk.more && lane.old.is_empty() {
            lane.held_rate = None;
        }
        if lane.on_disk.more && !lane.on_disk.loading && !lane.paused() && lane.waiting() < BACKLOG_MAX / 2 {
            lane.on_disk.loading = true;
            let until = self.horizon.covered().max(now);
            self.out.push(Output::LoadBacklog { webhook, after: lane.on_disk.after, until });
        }
        if lane.queued_at.is_some() {
            return;
        }
        match lane.startable(now, &self.policy) {
            Startable::Now => {
                let turns = if lane.failing() { &mut self.failing_turns } else { &mut self.turns };
                lane.cost = turns.enqueue(lane.webhook.account, webhook, lane.cost);
                lane.queued_at = Some(lane.cost);
            }
            Startable::At(at) => {
                self.paced.insert((at, webhook));
            }
            Startable::Never => {}
        }
    }

    fn leave_turns(&mut self, webhook: u32) {
        if let Some(lane) = self.lanes.get_mut(&webhook)
            && let Some(cost) = lane.queued_at.take()
        {
            self.turns.remove(lane.webhook.account, webhook, cost);
            self.failing_turns.remove(lane.webhook.account, webhook, cost);
        }
    }

    fn fill_slots(&mut self, now: Timestamp) {
        // Lanes whose attempts keep failing share a quarter of the slots, however many they are.
        while !self.draining && self.unrecorded < UNRECORDED_MAX && self.in_flight < self.policy.slots {
            let failing =
                if self.failing_in_flight < (self.policy.slots / 4).max(1) { self.failing_turns.next() } else { None };
            let Some(webhook) = failing.or_else(|| self.turns.next()) else { return };
            self.start_one(now, webhook);
        }
    }

    fn start_one(&mut self, now: Timestamp, webhook: u32) {
        let Some(lane) = self.lanes.get_mut(&webhook) else { return };
        lane.queued_at = None;
        if lane.startable(now, &self.policy) == Startable::Now
            && let Some(job) = lane.pop(now)
        {
            if self.too_old(now, &job.due) {
                self.give_up(job.due);
            } else {
                self.start(now, job);
            }
        }
        self.enqueue(now, webhook);
    }

    fn start(&mut self, now: Timestamp, job: Job) {
        let due = job.due;
        let Some(lane) = self.lanes.get_mut(&due.webhook) else { return };
        let ration = if lane.failing() { Ration::Failing } else { Ration::Ordinary };
        lane.in_flight += 1;
        let charged = lane.mean_held;
        lane.cost = lane.cost.saturating_add(charged);
        let webhook = Arc::clone(&lane.webhook);
        self.in_flight += 1;
        self.charge(ration, webhook.account, i64::try_from(charged).unwrap_or(i64::MAX));
        if ration == Ration::Failing {
            self.failing_in_flight += 1;
        }
        self.known.insert(
            due.delivery,
            Known::Sending { due, slot: Slot { since: now, charged, ration }, again: None, cancelled: false },
        );
        self.out.push(Output::Start(Start { due, webhook, event: job.event }));
    }
}
