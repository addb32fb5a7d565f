//! Many equal nodes over one shared store: the real leases and the real schedulers under virtual time, while nodes die, come,
//! go and stand still, and the store is away.
//!
//! The store is scripted ([`shared`]): it does what the statements on PostgreSQL are meant to do. So this shows that the leases
//! and the scheduler are right if the statements are; those have tests of their own, with a real database.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use domain::id::{DeliveryId, EventId};
use domain::policy::Policy;
use domain::retry::RetrySchedule;
use domain::shard::{Shard, Terms};
use domain::time::Timestamp;
use domain::webhook::Webhook;

mod judge;
mod node;
mod play;
mod shared;
mod trouble;

use crate::ledger::Violation;
use crate::receiver::Mood;
use node::{Message, Node, Request};
use shared::Shared;

/// When a run begins.
const START: Timestamp = Timestamp(1_795_392_000_000_000);

/// How large a run is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Nodes at the beginning.
    pub nodes: u16,
    /// Shards.
    pub shards: u16,
    /// Webhooks.
    pub webhooks: u32,
    /// For how long things go wrong.
    pub trouble: Duration,
    /// How long after one event the next is accepted, on average.
    pub event_every: Duration,
    /// How long after one trouble the next begins, on average.
    pub trouble_every: Duration,
}

impl Size {
    /// A few nodes: many seeds of this take no time.
    pub const SMALL: Self = Self {
        nodes: 3,
        shards: 24,
        webhooks: 40,
        trouble: Duration::from_secs(900),
        event_every: Duration::from_millis(700),
        trouble_every: Duration::from_secs(45),
    };
    /// A hundred nodes and ten thousand shards.
    pub const LARGE: Self = Self {
        nodes: 100,
        shards: 10_000,
        webhooks: 20_000,
        trouble: Duration::from_secs(900),
        event_every: Duration::from_millis(5),
        trouble_every: Duration::from_secs(20),
    };
}

/// A fault that is put in on purpose, to see that it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// What is written is not compared with the epoch of the lease.
    EpochUnchecked,
    /// Leases of 15 s where an attempt takes up to 20 s.
    LeaseTooShort,
    /// A node that has requests in flight does not come to renew its leases.
    NotRenewedUnderLoad,
    /// Attempts are started up to the very end of the lease.
    NoMargin,
    /// A node that was stopped goes on where it was.
    StopUnnoticed,
}

/// What a run has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// What happened, a line each.
    pub story: Vec<String>,
    /// Events acknowledged.
    pub events: usize,
    /// Requests made.
    pub requests: usize,
    /// Requests that were made again since nobody knew of the first.
    pub repeats: usize,
    /// Nodes that died.
    pub deaths: usize,
    /// Nodes that came.
    pub joins: usize,
    /// Nodes that went.
    pub leaves: usize,
    /// Nodes that stood still.
    pub stops: usize,
    /// Outages of the store.
    pub outages: usize,
    /// Shards taken.
    pub takes: usize,
    /// Ends of attempts that were refused, since another node had the shard.
    pub refused: usize,
    /// The longest time from a node's death to another having read what is due in its last shard.
    pub slowest_take_over: Duration,
}

/// What is to happen.
enum Action {
    Post,
    /// Something reaches a node.
    To(u32, Message),
    /// A request of a node reaches the store.
    Ask(u32, Request),
    Trouble,
    Continue(u32),
    StoreIsBack,
    /// A node's shards must have another owner by now, if nothing else went wrong since.
    TakenOver {
        from: u32,
        since: Timestamp,
    },
    /// All nodes must hold their shares by now, if nothing happened since.
    Balanced {
        since: Timestamp,
    },
    /// A node must have left by now, if the store was there since.
    Left {
        node: u32,
        since: Timestamp,
    },
}

struct Running {
    node: u32,
    until: Timestamp,
}

struct World {
    chance: fastrand::Rng,
    size: Size,
    mutation: Option<Mutation>,
    policy: Arc<Policy>,
    terms: Terms,
    now: Timestamp,
    agenda: BTreeMap<(Timestamp, u64), Action>,
    planned: u64,
    shared: Shared,
    away_until: Option<Timestamp>,
    nodes: BTreeMap<u32, Node>,
    made: u32,
    webhooks: Vec<Arc<Webhook>>,
    in_shard: HashMap<Shard, Vec<u32>>,
    moods: Vec<Mood>,
    healed: bool,
    /// Requests that receivers are answering, by webhook.
    running: HashMap<u32, Vec<Running>>,
    /// Attempts that were started, by delivery and number.
    started: BTreeSet<(DeliveryId, u16)>,
    acknowledged: Vec<(EventId, usize)>,
    last_event: EventId,
    /// Attempts of which nobody knew when their node died, or lost the shard: each may be made again.
    excused: usize,
    /// When something last went wrong, and when the store was last not there for a node.
    disturbed: Timestamp,
    store_failed: Timestamp,
    /// When nodes died or were stopped.
    fell: BTreeMap<u32, Timestamp>,
    told: Told,
}

/// Runs the cluster of `seed` to its end.
///
/// # Errors
/// The first invariant that does not hold, with the story so far as its last lines.
pub fn run_cluster(seed: u64, size: Size, mutation: Option<Mutation>) -> Result<Told, Violation> {
    let mut world = World::new(seed, size, mutation);
    let result = world.play();
    let World { mut told, shared, acknowledged, .. } = world;
    (told.takes, told.refused, told.events) = (shared.takes, shared.refused, acknowledged.len());
    match result {
        Ok(()) => Ok(told),
        Err(Violation(text)) => {
            let last = told.story.iter().rev().take(12).rev().cloned().collect::<Vec<_>>().join("\n  ");
            Err(Violation(format!("seed {seed}: {text}\n  {last}")))
        }
    }
}

impl World {
    fn new(seed: u64, size: Size, mutation: Option<Mutation>) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let timeout = Duration::from_secs(if mutation == Some(Mutation::LeaseTooShort) { 20 } else { 5 });
        let policy = Policy {
            timeout,
            retry_schedule: RetrySchedule::new([5, 20, 60, 120].map(Duration::from_secs).into()).expect("a schedule"),
            max_in_flight: 1 + chance.u16(..4),
            slots: 64,
            ..Policy::default()
        };
        let mut terms = Terms::for_deadline(policy.timeout);
        if mutation == Some(Mutation::LeaseTooShort) {
            terms = Terms::for_deadline(Duration::from_secs(5));
        }
        let mut shared = Shared::new(terms, size.shards);
        shared.epoch_unchecked = mutation == Some(Mutation::EpochUnchecked);
        if mutation == Some(Mutation::NoMargin) {
            terms.margin = Duration::ZERO;
        }
        let webhooks: Vec<_> = (0..size.webhooks).map(|number| Arc::new(trouble::webhook(number))).collect();
        let mut in_shard: HashMap<Shard, Vec<u32>> = HashMap::new();
        for webhook in &webhooks {
            let shard = Shard::among(size.shards, webhook.account, webhook.number);
            in_shard.entry(shard).or_default().push(webhook.number);
        }
        Self {
            moods: webhooks.iter().map(|_| trouble::mood(&mut chance)).collect(),
            chance,
            size,
            mutation,
            policy: Arc::new(policy),
            terms,
            now: START,
            agenda: BTreeMap::new(),
            planned: 0,
            shared,
            away_until: None,
            nodes: BTreeMap::new(),
            made: 0,
            webhooks,
            in_shard,
            healed: false,
            running: HashMap::new(),
            started: BTreeSet::new(),
            acknowledged: Vec::new(),
            last_event: EventId(0),
            excused: 0,
            disturbed: START,
            store_failed: Timestamp(0),
            fell: BTreeMap::new(),
            told: Told::default(),
        }
    }

    fn tell(&mut self, text: impl Into<String>) {
        let at = self.now.since(START);
        self.told.story.push(format!("{:>9.3}  {}", at.as_secs_f64(), text.into()));
    }

    fn plan(&mut self, within: Duration, action: Action) {
        self.planned += 1;
        self.agenda.insert((self.now.plus(within), self.planned), action);
    }

    fn some_time(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.chance.u64(..=u64::try_from(most.as_micros()).unwrap_or(u64::MAX)))
    }

    fn shard(&self, webhook: u32) -> Shard {
        Shard::among(self.size.shards, self.webhooks[webhook as usize].account, webhook)
    }
}
