//! A node: the real leases and the real scheduler, what it has in memory, and what it asks of the shared store.

use std::collections::BTreeMap;
use std::time::Duration;

use dispatch::leases::Leases;
use dispatch::scheduler::{Ended, LoadDue, Scheduler};
use domain::cluster::{Arrival, Beat, Seen};
use domain::delivery::{Due, Settlement};
use domain::id::DeliveryId;
use domain::order::OrderKey;
use domain::shard::{Epoch, Shard};
use domain::store::Fact;
use domain::time::Timestamp;

/// What a node asks of the shared store.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Beat(Beat),
    Settle(Vec<Settlement>),
    Due(LoadDue),
    Arrivals(LoadDue),
    Named(Vec<Arrival>),
    Backlog { webhook: u32, load: u64, after: Option<DeliveryId>, until: Timestamp, limit: usize },
}

/// What reaches a node.
pub(super) enum Message {
    /// The store has answered a beat; `None` if nobody knows what became of it.
    Beaten {
        beat: u64,
        seen: Option<Seen>,
    },
    /// What was sent to be recorded is, or it is to be sent again.
    Settled(Option<Vec<Fact>>),
    Due(Option<Vec<Due>>),
    Arrivals(Option<Vec<Due>>),
    Named(Option<Vec<Due>>),
    Backlog {
        webhook: u32,
        load: u64,
        rows: Option<Vec<(Due, OrderKey)>>,
    },
    Ended(Box<Ended>),
    Fact(Fact),
    /// Others have come or gone, or have `freed` shards.
    Nudged {
        freed: bool,
    },
    Leave,
    /// Another node has accepted something for it, and says so: by name, or not.
    Accepted(Vec<Arrival>),
    Many,
    /// Its own clock.
    Tick,
    LeaseTick,
    Look,
}

pub(super) struct Node {
    pub(super) leases: Leases,
    pub(super) scheduler: Scheduler,
    /// When its process began: the zero of its monotonic clock.
    pub(super) began: Timestamp,
    /// Attempts may be started before this.
    pub(super) start_until: Duration,
    /// It is stopped until then.
    pub(super) stopped_until: Option<Timestamp>,
    /// What has reached it while it is stopped.
    pub(super) inbox: Vec<Message>,
    /// What it holds by its own knowledge.
    pub(super) held: BTreeMap<Shard, Epoch>,
    /// Ends of attempts that wait to be recorded, and how many of them are being recorded.
    pub(super) to_record: Vec<Settlement>,
    pub(super) recording: usize,
    /// What it has started and does not know to be recorded.
    pub(super) in_flight: BTreeMap<DeliveryId, u32>,
    /// Shards that it has taken over from a dead node, and when that died, until what is due of them has been read.
    pub(super) to_serve: Vec<Timestamp>,
    /// A load of planned attempts is under way, and it began before a shard was taken.
    pub(super) loading: bool,
    pub(super) load_again: bool,
    /// When it last went on after it stood still.
    pub(super) went_on: Timestamp,
    pub(super) tick: Option<Timestamp>,
    pub(super) lease_tick: Option<Timestamp>,
    pub(super) leaving: bool,
}

impl Node {
    /// The node's monotonic clock.
    pub(super) fn steady(&self, now: Timestamp) -> Duration {
        now.since(self.began)
    }
}
