//! The scheduler: what is tried when. A state machine without I/O: time and what has happened go in, what is to be done
//! comes out.
//!
//! It hears only what has been committed, so nothing that it knows can be lost: after a restart the store tells it again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use domain::attempt::Reason;
use domain::delivery::Due;
use domain::id::DeliveryId;
use domain::policy::Policy;
use domain::shard::Lease;
use domain::time::Timestamp;

mod arrivals;
mod ends;
mod facts;
mod in_order;
mod messages;
mod planned;
mod shards;
#[cfg(test)]
mod tests;
mod waits;

use crate::horizon::Horizon;
pub use crate::horizon::LoadDue;
use crate::lane::{Job, Lane, Queued, Startable, keeps_order};
use crate::replays::{Replays, Step};
use crate::turns::{Kind, Turns};
pub use messages::{Ended, Input, Output, Start, with_keys};
use shards::Parts;

/// How much the scheduler keeps in memory. A test may make it small; nobody else has a reason to change it.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Deliveries known before no more planned ones are loaded.
    pub known: usize,
    /// Rows that one load of planned attempts brings.
    pub due: usize,
    /// Rows that one load of a webhook's backlog brings.
    pub backlog: usize,
    /// Deliveries of one webhook that wait in memory, those apart that are in memory only.
    pub lane: usize,
    /// Keys of one webhook's order whose heads wait for a retry, before no further key is begun.
    pub keys: usize,
    /// The same over all webhooks; beyond it each is left a few.
    pub all_keys: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { known: 200_000, due: 5_000, backlog: 500, lane: 1_000, keys: 10_000, all_keys: 200_000 }
    }
}

/// How many ends may wait to be recorded before no further attempt starts. Attempts hold their slots until then, so this
/// bounds only deliveries that are given up without one.
const UNRECORDED_MAX: usize = 10_000;
/// For how long a webhook must fail before the store is told.
const FAILING_RECORDED_AFTER: Duration = Duration::from_secs(60);
/// From which length on a receiver's wish to be left alone is remembered over a restart.
const REMEMBERED_FROM: Duration = Duration::from_secs(10);
/// How long after the end of its schedule a delivery that could not be sent is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(86_400);

/// What the scheduler knows of a delivery.
#[derive(Debug)]
enum Known {
    /// In its lane's queue.
    Waiting,
    /// Planned for later.
    Planned(Timestamp),
    /// Being sent.
    Sending { due: Due, lease: Lease, slot: Slot, again: Option<Due>, cancelled: bool },
    /// Ended, and not recorded yet; what follows once it is. The slot is held until then: what was sent and whose
    /// outcome is not on disk is in flight still, since a crash now would send it again. So the caps bound what a crash repeats.
    Recording { due: Due, lease: Lease, then: Option<Job>, slot: Option<Slot> },
}

/// A slot that an attempt holds.
#[derive(Debug, Clone, Copy)]
struct Slot {
    since: Timestamp,
    /// What was charged in advance for the time that it is held, in microseconds.
    charged: u64,
    ration: Ration,
    kind: Kind,
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
    bounds: Bounds,
    chance: fastrand::Rng,
    started_at: Timestamp,
    lanes: HashMap<u32, Lane>,
    known: HashMap<DeliveryId, Known>,
    horizon: Horizon,
    turns: Turns,
    failing_turns: Turns,
    /// Lanes that wait for their rate, by when they may start.
    paced: BTreeSet<(Timestamp, u32)>,
    replays: Replays,
    /// The shards that are held; `None` where one process owns everything.
    parts: Option<Parts>,
    in_flight: usize,
    failing_in_flight: usize,
    unrecorded: usize,
    /// Loads asked for.
    loads: u64,
    /// The number of the last load of planned attempts.
    planned_load: u64,
    /// Heads of orders that are planned for later: in memory however far ahead, and no reason to load less of others.
    planned_in_order: usize,
    draining: bool,
    /// The leases are about to end: nothing starts.
    still: bool,
    out: Vec<Output>,
}

impl Scheduler {
    /// A scheduler that knows nothing yet. The chance numbers of its jitter come from `seed`.
    #[must_use]
    pub fn new(policy: Arc<Policy>, seed: u64, now: Timestamp) -> Self {
        Self {
            policy,
            bounds: Bounds::default(),
            chance: fastrand::Rng::with_seed(seed),
            started_at: now,
            lanes: HashMap::new(),
            known: HashMap::new(),
            horizon: Horizon::default(),
            turns: Turns::default(),
            failing_turns: Turns::default(),
            paced: BTreeSet::new(),
            replays: Replays::default(),
            parts: None,
            in_flight: 0,
            failing_in_flight: 0,
            unrecorded: 0,
            loads: 0,
            planned_load: 0,
            planned_in_order: 0,
            draining: false,
            still: false,
            out: Vec::new(),
        }
    }

    /// The same with other bounds.
    #[must_use]
    pub const fn with_bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
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

    /// Whether everything that has ended is recorded.
    #[must_use]
    pub const fn recorded(&self) -> bool {
        self.unrecorded == 0
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
        let planned = if self.crowded() { self.horizon.next_planned() } else { self.horizon.next() };
        let ours = |account| Self::replays_of(self.parts.as_ref(), account);
        let replays = if self.draining { None } else { self.replays.wake_at(ours) };
        let arrivals =
            self.parts.iter().flat_map(|parts| [parts.arrivals.ask_at(), parts.arrivals.look_at()]).flatten();
        self.paced.first().map(|(at, _)| *at).into_iter().chain(planned).chain(replays).chain(arrivals).min()
    }

    /// Takes one thing that has happened. What is to be done about it comes from [`Self::outputs`].
    pub fn take(&mut self, now: Timestamp, input: Input) {
        match input {
            Input::Fact(fact) => self.fact(now, fact),
            Input::Ended(ended) => self.ended(now, *ended),
            Input::Gone { delivery, epoch } => self.gone(now, delivery, epoch),
            Input::Unmade { delivery, epoch } => self.unmade(now, delivery, epoch),
            Input::Hold { leases, webhooks } => self.hold(now, &leases, webhooks),
            Input::LookForArrivals => self.want_look(false),
            Input::ManyAccepted => self.want_look(true),
            Input::Arrivals(rows) => self.arrived(now, rows),
            Input::Accepted(arrivals) => self.accepted_elsewhere(arrivals),
            Input::Named(rows) => self.named(now, rows),
            Input::WindDown(shards) => self.wind_down(&shards),
            Input::LetGo(shards) => self.let_go(&shards),
            Input::Due(rows) => self.planned(now, rows),
            Input::DueFailed => self.horizon.load_failed(now.plus(Duration::from_secs(1))),
            Input::Backlog { webhook, load, rows } => self.backlog(now, webhook, load, rows),
            Input::ReplayStepped { replay, made } => self.replays.stepped(now, replay, made),
            Input::ClockStepped(micros) => self.clock_stepped(now, micros),
            Input::Tick => {}
        }
    }

    /// What is to be done now, after everything that was taken.
    pub fn outputs(&mut self, now: Timestamp) -> Vec<Output> {
        self.come_due(now);
        self.fill_slots(now);
        self.come_to_rest();
        self.look_for_arrivals(now);
        self.ask_for_named(now);
        self.load_planned(now);
        if !self.draining {
            let ours = |account| Self::replays_of(self.parts.as_ref(), account);
            let steps = self.replays.steps(now, self.policy.replay_failures, ours);
            self.out.extend(steps.into_iter().map(|step| match step {
                Step::HandOver { account, replay, count } => Output::HandOver { account, replay, count },
                Step::Pause { account, replay, cause } => Output::PauseReplay { account, replay, cause },
            }));
        }
        std::mem::take(&mut self.out)
    }

    /// [`Self::take`] and [`Self::outputs`] in one.
    pub fn step(&mut self, now: Timestamp, input: Input) -> Vec<Output> {
        self.take(now, input);
        self.outputs(now)
    }

    fn crowded(&self) -> bool {
        self.known.len().saturating_sub(self.planned_in_order) >= self.bounds.known
    }

    /// Takes in a delivery that is to be tried, unless it is known already.
    fn learn_of(&mut self, now: Timestamp, job: Job) {
        let due = job.due;
        if self.known.contains_key(&due.delivery) {
            return;
        }
        // A deleted webhook's lane is there until nothing of it is in flight.
        let Some(lane) = self.lanes.get_mut(&due.webhook).filter(|lane| !lane.deleted) else { return };
        if let Some(ordered) = &lane.ordered
            && keeps_order(&due)
        {
            // Others are found by reading the disk in the order of events.
            if ordered.is_head(due.delivery) {
                self.lead(now, job);
            }
            return;
        }
        if due.due_at > now {
            if self.horizon.plan(job) {
                self.known.insert(due.delivery, Known::Planned(due.due_at));
            }
            return;
        }
        if lane.webhook.pause.is_some() && due.reason != Reason::Test {
            lane.on_disk.grown();
            return;
        }
        lane.push(job);
        self.known.insert(due.delivery, Known::Waiting);
        self.enqueue(now, due.webhook);
    }

    /// Lets a lane wait for its turn, if it could start an attempt; asks for its backlog, if it runs low.
    fn enqueue(&mut self, now: Timestamp, webhook: u32) {
        self.ask_for_backlog(now, webhook);
        let Some(lane) = self.lanes.get_mut(&webhook) else { return };
        lane.look(now, &self.policy);
        let startable = lane.startable(now, &self.policy);
        if let Some(queued) = lane.queued {
            if matches!(startable, Startable::Now(kinds) if kinds == queued.kinds) {
                return;
            }
            self.leave_turns(webhook);
        }
        let Some(lane) = self.lanes.get_mut(&webhook) else { return };
        match startable {
            Startable::Now(kinds) => {
                let failing = lane.failing();
                let turns = if failing { &mut self.failing_turns } else { &mut self.turns };
                lane.cost = turns.enqueue(lane.webhook.account, webhook, lane.cost, kinds);
                lane.queued = Some(Queued { cost: lane.cost, kinds, failing });
            }
            Startable::At(at) => {
                self.paced.insert((at, webhook));
            }
            Startable::Never => {}
        }
    }

    fn ask_for_backlog(&mut self, now: Timestamp, webhook: u32) {
        let Some(lane) = self.lanes.get_mut(&webhook) else { return };
        if lane.held_rate.is_some() && lane.nothing_held() {
            lane.held_rate = None;
            self.out.push(Output::HeldSent { webhook, version: lane.webhook.version });
        }
        if lane.paused() || lane.on_disk.loading.is_some() {
            return;
        }
        let low = self.bounds.backlog.div_ceil(2);
        let after = match &mut lane.ordered {
            Some(ordered) => ordered.next_read(low),
            None => (lane.on_disk.more && lane.waiting() < low).then_some(lane.on_disk.after),
        };
        let Some(after) = after else { return };
        if lane.on_disk.not_before > now {
            self.paced.insert((lane.on_disk.not_before, webhook));
            return;
        }
        self.loads += 1;
        lane.on_disk.loading = Some(self.loads);
        let order = lane.webhook.order.clone();
        let until = if order.is_some() { Timestamp(i64::MAX) } else { self.horizon.until(now) };
        let (load, limit) = (self.loads, self.bounds.backlog);
        self.out.push(Output::LoadBacklog { webhook, load, after, until, limit, order });
    }

    fn leave_turns(&mut self, webhook: u32) {
        if let Some(lane) = self.lanes.get_mut(&webhook)
            && let Some(Queued { cost, failing, .. }) = lane.queued.take()
        {
            let turns = if failing { &mut self.failing_turns } else { &mut self.turns };
            turns.remove(lane.webhook.account, webhook, cost);
        }
    }

    fn fill_slots(&mut self, now: Timestamp) {
        // Lanes whose attempts keep failing share a quarter of the slots, however many they are.
        while !self.draining && !self.still && self.unrecorded < UNRECORDED_MAX && self.in_flight < self.policy.slots {
            let failing =
                if self.failing_in_flight < (self.policy.slots / 4).max(1) { self.failing_turns.next() } else { None };
            let Some((webhook, kind)) = failing.or_else(|| self.turns.next()) else { return };
            self.start_one(now, webhook, kind);
        }
    }

    fn start_one(&mut self, now: Timestamp, webhook: u32, kind: Kind) {
        let Some(lane) = self.lanes.get_mut(&webhook) else { return };
        lane.queued = None;
        let lease = lane.lease;
        if matches!(lane.startable(now, &self.policy), Startable::Now(_))
            && let Some(job) = lane.pop(now, kind)
        {
            if self.too_old(now, &job) {
                self.give_up(job.due, lease);
            } else {
                self.start(now, job, kind);
            }
        }
        self.enqueue(now, webhook);
    }

    fn start(&mut self, now: Timestamp, job: Job, kind: Kind) {
        let due = job.due;
        let Some(lane) = self.lanes.get_mut(&due.webhook) else { return };
        let ration = if lane.failing() { Ration::Failing } else { Ration::Ordinary };
        lane.in_flight += 1;
        let charged = lane.mean_held;
        lane.cost = lane.cost.saturating_add(charged);
        let (webhook, lease) = (Arc::clone(&lane.webhook), lane.lease);
        self.in_flight += 1;
        self.begun(lease);
        let slot = Slot { since: now, charged, ration, kind };
        self.charge(slot, webhook.account, i64::try_from(charged).unwrap_or(i64::MAX));
        if ration == Ration::Failing {
            self.failing_in_flight += 1;
        }
        self.known.insert(due.delivery, Known::Sending { due, lease, slot, again: None, cancelled: false });
        self.out.push(Output::Start(Start { due, webhook, event: job.event, epoch: lease.epoch }));
    }
}
