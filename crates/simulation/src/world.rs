//! One run: the real scheduler and the real store, virtual time, scripted receivers, people, crashes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use dispatch::build_request;
use dispatch::scheduler::{Bounds, Ended, Input, Output, Scheduler, Start};
use domain::delivery::{Due, Settlement};
use domain::event::NewEvent;
use domain::id::DeliveryId;
use domain::order::OrderKey;
use domain::policy::Policy;
use domain::replay::ReplayChange;
use domain::store::{Accepted, Change, Fact};
use domain::time::Timestamp;
use domain::webhook::Pause;

mod judge;
mod replays;
mod trouble;

use crate::disk::Disk;
use crate::ledger::{Ledger, Violation, check};
use crate::orders::{self, Orders};
use crate::people;
use crate::receiver::Mood;

/// When a run begins: 2026-11-23 in UTC.
const START: Timestamp = Timestamp(1_795_392_000_000_000);
/// For how long events come in, people act and things break.
const TROUBLE: Duration = Duration::from_secs(12 * 3_600);
/// For how long everything is well afterwards: longer than the schedule of a delivery.
const HEALED: Duration = Duration::from_secs(9 * 3_600);
/// The accounts of a run.
pub(crate) const ACCOUNTS: u32 = 2;

/// Something that is to happen.
enum Action {
    Post,
    Commit,
    End { ended: Box<Ended>, life: u32 },
    Loaded { rows: Vec<Due>, life: u32 },
    BacklogLoaded { webhook: u32, load: u64, rows: Vec<(Due, OrderKey)>, life: u32 },
    ReplayStep { replay: u32, change: ReplayChange, life: u32 },
    Moods,
    Person,
    ReplayPerson,
    Crash,
    Cancel,
    ClockStep,
    Tick,
}

/// Something that waits for the next commit.
enum Write {
    Post(Vec<NewEvent>),
    Settle(Box<Settlement>),
}

impl Write {
    fn settles(&self) -> Option<DeliveryId> {
        match self {
            Self::Settle(settlement) => Some(settlement.delivery),
            Self::Post(_) => None,
        }
    }
}

/// What a run has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What happened, a line each.
    pub story: Vec<String>,
    /// Events acknowledged.
    pub events: usize,
    /// Requests made.
    pub requests: usize,
    /// Crashes survived.
    pub crashes: u32,
    /// Requests that a crash made again.
    pub repeats: u32,
    /// Deliveries that replays in bulk have handed over.
    pub handed_over: usize,
}

/// A world with its own time and chance.
pub(crate) struct World {
    pub(crate) chance: fastrand::Rng,
    policy: Arc<Policy>,
    bounds: Bounds,
    pub(crate) disk: Disk,
    scheduler: Scheduler,
    pub(crate) ledger: Ledger,
    orders: Orders,
    moods: BTreeMap<u32, Mood>,
    agenda: BTreeMap<(Timestamp, u64), Action>,
    scheduled: u64,
    /// How many replays were started.
    pub(crate) replays: u32,
    writes: Vec<Write>,
    committing: bool,
    in_flight: BTreeMap<DeliveryId, u32>,
    /// What each webhook held when it was resumed, oldest first, as far as it has not been sent since.
    pub(crate) resumed: BTreeMap<u32, VecDeque<DeliveryId>>,
    /// The time that passes steadily.
    steady: Timestamp,
    /// What the wall clock shows beyond it.
    wall_offset: i64,
    clock_stepped: bool,
    /// Grows with every crash: what was under way before it does not come back.
    life: u32,
    requests: usize,
    next_tick: Option<Timestamp>,
    /// How long a load may take: in some runs long enough for much to happen meanwhile.
    load_time: Duration,
    pub(crate) story: Vec<String>,
}

/// Runs the world of `seed` to its end.
///
/// # Errors
/// The first invariant that does not hold, with the story so far as its last line.
pub fn run(seed: u64) -> Result<Told, Violation> {
    let mut world = World::new(seed);
    let result = world.play();
    let World { story, ledger, requests, .. } = world;
    match result {
        Ok(()) => Ok(Told {
            events: ledger.acknowledged.len(),
            requests,
            crashes: ledger.crashes,
            repeats: ledger.repeats,
            handed_over: ledger.bulk.values().map(|bulk| bulk.handed_over.len()).sum(),
            story,
        }),
        Err(Violation(text)) => {
            let last = story.iter().rev().take(12).rev().cloned().collect::<Vec<_>>().join("\n  ");
            Err(Violation(format!("seed {seed}: {text}\n  {last}")))
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let policy = Arc::new(Policy { slots: 8 + chance.usize(..64), ..Policy::default() });
        let load_time = Duration::from_millis(if chance.bool() { 50 } else { 60_000 });
        let (disk, facts) = Disk::make(chance.u64(..));
        // In some runs memory holds so little that most of what waits does so on disk.
        let small = Bounds { known: 40, due: 6, backlog: 3, lane: 4, keys: 4, all_keys: 12 };
        let bounds = if chance.bool() { small } else { Bounds::default() };
        let mut scheduler = Scheduler::new(Arc::clone(&policy), chance.u64(..), START).with_bounds(bounds);
        for fact in facts {
            scheduler.take(START, Input::Fact(fact));
        }
        Self {
            chance,
            policy,
            bounds,
            disk,
            scheduler,
            ledger: Ledger::default(),
            orders: Orders::default(),
            moods: BTreeMap::new(),
            agenda: BTreeMap::new(),
            scheduled: 0,
            replays: 0,
            writes: Vec::new(),
            committing: false,
            in_flight: BTreeMap::new(),
            resumed: BTreeMap::new(),
            steady: START,
            wall_offset: 0,
            clock_stepped: false,
            life: 0,
            requests: 0,
            next_tick: None,
            load_time,
            story: Vec::new(),
        }
    }

    /// The wall clock.
    pub(crate) const fn now(&self) -> Timestamp {
        Timestamp(self.steady.0 + self.wall_offset)
    }

    /// Adds a line to the story.
    pub(crate) fn tell(&mut self, text: impl Into<String>) {
        let at = self.steady.since(START);
        self.story.push(format!("{:>9.3}  {}", at.as_secs_f64(), text.into()));
    }

    fn plan(&mut self, within: Duration, action: Action) {
        self.scheduled += 1;
        self.agenda.insert((self.steady.plus(within), self.scheduled), action);
    }

    fn some_time(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.chance.u64(..=u64::try_from(most.as_micros()).unwrap_or(u64::MAX)))
    }

    fn play(&mut self) -> Result<(), Violation> {
        people::settle_in(self)?;
        for _ in 0..10 + self.chance.u32(..20) {
            let at = self.some_time(TROUBLE);
            for _ in 0..1 + self.chance.u32(..4) {
                let later = self.some_time(Duration::from_secs(40));
                self.plan(at + later, Action::Post);
            }
        }
        for _ in 0..self.chance.u32(..12) {
            let at = self.some_time(TROUBLE);
            self.plan(at, Action::Moods);
        }
        for _ in 0..self.chance.u32(..20) {
            let at = self.some_time(TROUBLE);
            self.plan(at, Action::Person);
        }
        for _ in 0..self.chance.u32(..8) {
            let at = self.some_time(TROUBLE);
            self.plan(at, Action::Crash);
        }
        if self.chance.u8(..5) == 0 {
            let at = self.some_time(TROUBLE);
            self.plan(at, Action::ClockStep);
        }
        self.until(START.plus(TROUBLE))?;
        self.heal()?;
        self.until(START.plus(TROUBLE + HEALED))?;
        self.judge_the_end()
    }

    fn until(&mut self, end: Timestamp) -> Result<(), Violation> {
        self.advance(Input::Tick)?;
        while let Some((&(at, id), _)) = self.agenda.first_key_value() {
            if at > end {
                break;
            }
            let Some(action) = self.agenda.remove(&(at, id)) else { break };
            self.steady = self.steady.max(at);
            self.act(action)?;
        }
        self.steady = self.steady.max(end);
        Ok(())
    }

    fn act(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Post => self.post(),
            Action::Commit => return self.commit(),
            Action::End { ended, life } if life == self.life => {
                let delivery = ended.delivery;
                self.in_flight.remove(&delivery);
                self.ledger.ended(delivery, self.steady);
                self.advance(Input::Ended(ended))?;
                if self.chance.u8(..100) == 0 {
                    // Before the end is recorded.
                    return people::replay(self, delivery);
                }
                return Ok(());
            }
            Action::Loaded { rows, life } if life == self.life => return self.advance(Input::Due(rows)),
            Action::BacklogLoaded { webhook, load, rows, life } if life == self.life => {
                return self.advance(Input::Backlog { webhook, load, rows: Some(rows) });
            }
            Action::ReplayStep { replay, change, life } if life == self.life => {
                return self.replay_step(replay, change);
            }
            // From before a crash.
            Action::ReplayStep { .. } | Action::End { .. } | Action::Loaded { .. } | Action::BacklogLoaded { .. } => {}
            Action::Moods => self.change_moods(),
            Action::Person => return people::act(self),
            Action::ReplayPerson => return people::change_replay(self),
            Action::Cancel => return self.cancel_some(),
            Action::Crash => return self.crash("at random"),
            Action::ClockStep => {
                let step = self.chance.i64(-3_600_000_000..=3_600_000_000);
                self.wall_offset += step;
                self.clock_stepped = true;
                self.tell(format!("the wall clock steps by {} s", step / 1_000_000));
                // What a start takes from the disk must hold against a clock that stepped back.
                self.plan(Duration::from_millis(900), Action::Crash);
                for _ in 0..3 {
                    let at = self.some_time(Duration::from_secs(4_000));
                    self.plan(at, Action::Post);
                }
                return self.advance(Input::ClockStepped(step));
            }
            Action::Tick => {
                self.next_tick = None;
                return self.advance(Input::Tick);
            }
        }
        Ok(())
    }

    fn post(&mut self) {
        let account = 1 + self.chance.u32(..ACCOUNTS);
        let Some(account) = self.disk.account(account) else { return };
        let kinds = ["alert.rule_created", "alert.rule_deleted", "watchlist.domain_added", "enrichment.completed"];
        let events = (0..1 + self.chance.usize(..6))
            .map(|_| NewEvent {
                account,
                event_type: kinds[self.chance.usize(..kinds.len())].into(),
                data: orders::some_data(&mut self.chance).into(),
                test_for: None,
                flagged: false,
                trace: None,
                idempotency: None,
                only_repeated: false,
            })
            .collect();
        self.write(Write::Post(events));
    }

    fn write(&mut self, write: Write) {
        self.writes.push(write);
        if !self.committing {
            self.committing = true;
            let within = self.some_time(Duration::from_millis(30));
            self.plan(within, Action::Commit);
        }
    }

    /// Everything that waits goes into one transaction; sometimes the process dies just before or just after it.
    fn commit(&mut self) -> Result<(), Violation> {
        self.committing = false;
        let (now, writes) = (self.now(), std::mem::take(&mut self.writes));
        let dies = self.chance.u16(..400);
        self.disk.begin();
        let mut acknowledgements = Vec::new();
        let mut recorded = Vec::new();
        for write in writes {
            match write {
                Write::Post(events) => {
                    let results = self.disk.accept(now, &events);
                    acknowledgements.extend(events.into_iter().zip(results));
                }
                Write::Settle(settlement) => {
                    let delivery = settlement.delivery;
                    recorded.extend(settlement.attempt.as_ref().map(|a| (delivery, a.failure.is_none())));
                    self.disk.settle(now, *settlement);
                }
            }
        }
        if dies == 0 {
            return self.crash("before a commit");
        }
        let facts = self.disk.commit();
        self.orders.learn(&facts);
        for (delivery, success) in recorded {
            self.ledger.recorded(delivery, success);
        }
        if dies == 1 {
            // On disk, though nobody was told: not acknowledged, and yet delivered.
            return self.crash("after a commit");
        }
        for (event, result) in acknowledgements {
            if let Ok(accepted) = result {
                self.acknowledge(&event, &accepted, &facts)?;
            }
        }
        self.learn(facts)
    }

    fn acknowledge(&mut self, event: &NewEvent, accepted: &Accepted, facts: &[Fact]) -> Result<(), Violation> {
        let expected = self.disk.takers(event.account, &event.event_type);
        let targets = facts.iter().find_map(|fact| {
            let Fact::Accepted { event, .. } = fact else { return None };
            (event.id == accepted.id).then(|| event.targets.clone())
        });
        let targets = targets.unwrap_or_default();
        check(targets == expected, || format!("I2: {} goes to {targets:?}, {expected:?} take it", accepted.id))?;
        self.tell(format!("accepted {} {} for {targets:?}", accepted.id, event.event_type));
        self.ledger.acknowledged(event.account, accepted, &targets)
    }

    /// The scheduler hears what was committed.
    pub(crate) fn learn(&mut self, facts: Vec<Fact>) -> Result<(), Violation> {
        let now = self.now();
        self.orders.learn(&facts);
        for fact in facts {
            self.scheduler.take(now, Input::Fact(fact));
        }
        self.advance(Input::Tick)
    }

    fn advance(&mut self, input: Input) -> Result<(), Violation> {
        let now = self.now();
        for output in self.scheduler.step(now, input) {
            match output {
                Output::Start(start) => self.start(start)?,
                Output::Settle(settlement) => self.write(Write::Settle(settlement)),
                Output::LoadDue(load) => {
                    let rows = self.disk.due(load.after, load.until, load.limit);
                    let (within, life) = (self.some_time(self.load_time), self.life);
                    self.plan(within, Action::Loaded { rows, life });
                }
                Output::LoadBacklog { webhook, load, after, until, limit, order } => {
                    let rows = self.disk.backlog(webhook, after, until, limit);
                    let rows = self.disk.with_keys(rows, order.as_ref());
                    let (within, life) = (self.some_time(self.load_time), self.life);
                    self.plan(within, Action::BacklogLoaded { webhook, load, rows, life });
                }
                Output::Pause { webhook, cause } => {
                    let pause = Pause { since: now, cause };
                    people::pause(self, webhook, pause)?;
                }
                Output::HandOver { account, replay, count } => {
                    let change = ReplayChange::HandOver { account, replay, count };
                    self.plan_step(replay, change);
                }
                Output::PauseReplay { account, replay, cause } => {
                    let change = ReplayChange::Pause { account, replay, cause };
                    self.plan_step(replay, change);
                }
                Output::Quiet(_) | Output::Dropped(_) | Output::LoadArrivals(_) | Output::LoadNamed(_) => {
                    return Err(Violation("one process owns everything, and loses nothing".to_owned()));
                }
                Output::HeldSent { webhook, version } => {
                    let _ = self.disk.change(now, Change::HeldSent { webhook, version });
                }
                Output::LeaveAlone { webhook, until } => {
                    // A webhook that is gone by now is left alone anyway.
                    let _ = self.disk.change(now, Change::LeaveAlone { webhook, until });
                }
                Output::Failing { webhook, since } => {
                    // A webhook that is gone by now needs no record of its failures.
                    let _ = self.disk.change(now, Change::Failing { webhook, since });
                }
            }
        }
        if let Some(wake_at) = self.scheduler.wake_at() {
            let at = Timestamp(wake_at.0 - self.wall_offset).max(self.steady);
            if self.next_tick.is_none_or(|planned| at < planned) {
                self.next_tick = Some(at);
                self.plan(at.since(self.steady), Action::Tick);
            }
        }
        Ok(())
    }

    fn start(&mut self, start: Start) -> Result<(), Violation> {
        let now = self.now();
        let Due { delivery, webhook, due_at, reason, retries_made, .. } = start.due;
        check(due_at <= now, || format!("I6: {delivery} starts before it is due"))?;
        let paused = self.disk.webhook(webhook).is_none_or(|webhook| webhook.pause.is_some());
        check(!paused, || format!("I11: {delivery} starts, though its webhook is paused or deleted"))?;
        let lane = self.scheduler.lane(webhook);
        check(lane.is_some_and(|(in_flight, cap)| in_flight <= cap), || format!("I5: {lane:?} in flight"))?;
        let Some(event) = start.event.clone().or_else(|| self.disk.load(delivery.event)) else {
            return Err(Violation(format!("I1: the event of {delivery} is gone")));
        };
        self.in_turn(webhook, delivery)?;
        let by = start.webhook.order.as_ref().map(domain::order::Order::by);
        self.orders.starts(webhook, by.as_deref(), delivery)?;
        let (outgoing, request) = build_request(&self.policy, &start, &event, now);
        let delays = start.webhook.schedule(&self.policy).delays();
        let least = delays.get(usize::from(retries_made).wrapping_sub(1)).copied().unwrap_or_default();
        let least = if self.clock_stepped { Duration::ZERO } else { least };
        self.requests += 1;
        self.tell(format!("sends {delivery} to {webhook}, attempt {}, {reason:?}", start.number()));
        self.ledger.request(self.steady, delivery, reason, least, &outgoing.body)?;
        let known = self.in_flight.insert(delivery, webhook);
        check(known.is_none(), || format!("{delivery} is in flight twice"))?;
        let mood = self.moods.get(&webhook).copied().unwrap_or(Mood::Well);
        let outcome = mood.answer(outgoing.timeout, &mut self.chance);
        let (took, life) = (outcome.duration, self.life);
        let ended = Box::new(Ended { delivery, request, started_at: now, outcome, epoch: start.epoch });
        self.plan(took, Action::End { ended, life });
        Ok(())
    }
}
