//! The seam to what equal nodes share: who lives, who holds which shard, and the word that something has changed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::delivery::Due;
use crate::event::Event;
use crate::id::DeliveryId;
use crate::shard::{Lease, Terms};
use crate::store::StoreError;
use crate::time::Timestamp;

/// What a node asks, again and again, all in one transaction: it says that it lives, gives back what it has wound down, renews
/// what it holds, and takes what is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Its number, from 1.
    pub number: u64,
    /// How many shards this node is to hold afterwards at most: free ones are taken up to this.
    pub want: u16,
    /// Whether only what was given back is taken, and not what a node has lost whose lease has ended: it may be about to come back.
    pub patient: bool,
    /// What is given back.
    pub release: Vec<Lease>,
    /// Whether this node leaves: it is no longer counted among those that share.
    pub leaving: bool,
}

/// What the database has seen in a beat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// How many nodes live and stay, this one included if it stays.
    pub nodes: u16,
    /// This node's place among them, from 0, the oldest first.
    pub place: u16,
    /// Everything that this node holds now.
    pub held: Vec<Lease>,
    /// In how long the first lease of another node ends, if that is not renewed.
    pub next_end: Option<Duration>,
}

/// How a node is, by its own word: others see it beside its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Attempts in flight.
    pub in_flight: u32,
    /// Deliveries in memory.
    pub known: u32,
    /// When the oldest delivery of its shards that is due was due, if one is.
    pub oldest_due: Option<Timestamp>,
}

/// A node, as the others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is called: by default the name of its machine.
    pub name: String,
    /// The release that it runs.
    pub version: String,
    /// When it came.
    pub since: Timestamp,
    /// When it was last heard.
    pub heard: Timestamp,
    /// Whether it counts: it was heard within the length of a lease, and is not leaving.
    pub lives: bool,
    /// Whether it is the one that was asked.
    pub here: bool,
    /// How many shards it holds.
    pub shards: u16,
    /// How it is.
    pub report: Report,
}

/// All nodes, and what becomes of the shards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nodes {
    /// The nodes, the oldest first. One that has died stays for a while, with an empty report; one that has left does not.
    pub nodes: Vec<Node>,
    /// How many shards there are.
    pub shards: u16,
    /// How many of them nobody holds.
    pub free: u16,
    /// How many ends of attempts were refused on the node that was asked, since another had taken the shard.
    pub refused: u64,
}

/// A word from another node. It may be lost, and nothing depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// A node has come or has gone.
    Nodes,
    /// Shards were given back.
    Freed,
    /// These deliveries were accepted.
    Accepted(Vec<Arrival>),
    /// More deliveries were accepted than are worth naming.
    Many,
}

/// A delivery that one node has accepted and another is to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    /// The number of its account.
    pub account: u32,
    /// The number of its webhook.
    pub webhook: u32,
    /// The delivery.
    pub delivery: DeliveryId,
}

/// Where deliveries are read that other nodes have accepted.
#[async_trait]
pub trait Arrivals: Send + Sync {
    /// Those of these deliveries that wait, and their events.
    async fn arrived(&self, arrivals: Vec<Arrival>) -> Result<(Vec<Due>, Vec<Arc<Event>>), StoreError>;
}

/// What equal nodes share.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// For how long leases hold.
    fn terms(&self) -> Terms;

    /// Carries out a beat. After an error nobody knows whether it was.
    async fn beat(&self, beat: Beat, report: Report) -> Result<Seen, StoreError>;

    /// All nodes as they are.
    async fn nodes(&self) -> Result<Nodes, StoreError>;
}
