//! What the scheduler is told, and what it says is to be done.

use std::sync::Arc;

use domain::attempt::Outcome;
use domain::cluster::Arrival;
use domain::delivery::{Due, Settlement};
use domain::event::Event;
use domain::id::DeliveryId;
use domain::order::{Order, OrderKey};
use domain::replay::Cause;
use domain::shard::{Epoch, Lease, Shard};
use domain::signature::SentRequest;
use domain::store::Fact;
use domain::time::Timestamp;
use domain::webhook::{PauseCause, Webhook};

use crate::horizon::LoadDue;

/// Something has happened.
#[derive(Debug)]
pub enum Input {
    /// The store has committed something.
    Fact(Fact),
    /// An attempt has ended.
    Ended(Box<Ended>),
    /// The event of a delivery that was to be started no longer exists (its account was erased).
    Gone {
        /// The delivery.
        delivery: DeliveryId,
        /// [`Start::epoch`].
        epoch: Epoch,
    },
    /// No attempt was made of a delivery that was to be started: its event could not be read, or this machine had nothing left for
    /// a connection.
    Unmade {
        /// The delivery.
        delivery: DeliveryId,
        /// [`Start::epoch`].
        epoch: Epoch,
    },
    /// This node holds these shards from now on. What is known under older leases of them is forgotten.
    Hold {
        /// The leases.
        leases: Vec<Lease>,
        /// The webhooks in them.
        webhooks: Vec<Arc<Webhook>>,
    },
    /// It is time to look for what other nodes have accepted and this one has not heard of.
    LookForArrivals,
    /// Other nodes have accepted more than they have named.
    ManyAccepted,
    /// An [`Output::LoadArrivals`] has ended; `None` if it could not be done.
    Arrivals(Option<Vec<Due>>),
    /// Other nodes have accepted these.
    Accepted(Vec<Arrival>),
    /// An [`Output::LoadNamed`] has ended: those that wait; `None` if they could not be read.
    Named(Option<Vec<Due>>),
    /// These shards are to be given back: nothing more of them is started. [`Output::Quiet`] answers.
    WindDown(Vec<Shard>),
    /// This node holds these shards no longer.
    LetGo(Vec<Shard>),
    /// A [`LoadDue`] has ended.
    Due(Vec<Due>),
    /// A [`LoadDue`] could not be done.
    DueFailed,
    /// A [`Output::LoadBacklog`] has ended.
    Backlog {
        /// The webhook's number.
        webhook: u32,
        /// The load's number.
        load: u64,
        /// The rows, each with its key in the webhook's order; fewer than were asked for are the last. `None` if they
        /// could not be read.
        rows: Option<Vec<(Due, OrderKey)>>,
    },
    /// An [`Output::HandOver`] or [`Output::PauseReplay`] has ended, and its facts have been told.
    ReplayStepped {
        /// The replay's number.
        replay: u32,
        /// Whether it was made.
        made: bool,
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
    /// [`Start::epoch`].
    pub epoch: Epoch,
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
    /// Load what other nodes may have accepted; [`Input::Arrivals`] is expected.
    LoadArrivals(LoadDue),
    /// Load those of these that wait, which other nodes have accepted; [`Input::Named`] is expected.
    LoadNamed(Vec<Arrival>),
    /// Load what waits on disk for a webhook; [`Input::Backlog`] is expected.
    LoadBacklog {
        /// The webhook's number.
        webhook: u32,
        /// The load's number.
        load: u64,
        /// From after this delivery on.
        after: Option<DeliveryId>,
        /// Only what is due before this instant.
        until: Timestamp,
        /// At most so many rows.
        limit: usize,
        /// The webhook's order, by which the rows' keys are read.
        order: Option<Order>,
    },
    /// Pause the webhook, for this cause.
    Pause {
        /// The webhook's number.
        webhook: u32,
        /// Why.
        cause: PauseCause,
    },
    /// Make deliveries of a replay in bulk due; [`Input::ReplayStepped`] is expected.
    HandOver {
        /// The account that it is of.
        account: u32,
        /// The replay's number.
        replay: u32,
        /// How many.
        count: u32,
    },
    /// Let a replay in bulk stand still; [`Input::ReplayStepped`] is expected.
    PauseReplay {
        /// The account that it is of.
        account: u32,
        /// The replay's number.
        replay: u32,
        /// Why.
        cause: Cause,
    },
    /// What a pause has held has been started: its rate is over.
    HeldSent {
        /// The webhook's number.
        webhook: u32,
        /// Its version.
        version: u64,
    },
    /// Remember until when the receiver has asked to be left alone: no request goes there before, also after a restart.
    LeaveAlone {
        /// The webhook's number.
        webhook: u32,
        /// Until when.
        until: Timestamp,
    },
    /// An attempt has ended whose shard was lost meanwhile: nothing is recorded of it.
    Dropped(DeliveryId),
    /// Of these shards, which were wound down, nothing is in flight, and everything is recorded.
    Quiet(Vec<Shard>),
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
    /// The epoch under which its webhook's shard is held.
    pub epoch: Epoch,
}

impl Start {
    /// The number of the attempt.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.due.attempts_made.saturating_add(1)
    }
}

/// The keys of rows that an [`Output::LoadBacklog`] has brought, from the events that the store has of them.
#[must_use]
pub fn with_keys(rows: Vec<Due>, events: &[Arc<Event>], order: Option<&Order>) -> Vec<(Due, OrderKey)> {
    let key = |due: &Due| {
        let event = events.binary_search_by_key(&due.delivery.event, |event| event.id).ok().map(|place| &events[place]);
        order.zip(event).map_or(OrderKey::NONE, |(order, event)| order.key(&event.data))
    };
    rows.into_iter().map(|due| (due, key(&due))).collect()
}
