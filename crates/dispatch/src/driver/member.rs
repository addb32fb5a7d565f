//! One of many: the driver's part in sharing the work with other nodes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::cluster::{Arrivals, Cluster, Report};
use domain::shard::{Holdings, SHARDS, Shard};
use domain::time::Timestamp;
use domain::webhook::Webhook;
use tokio::time::Instant;

use super::{Driver, Gauges, Message};
use crate::leases::{Input, Leases, Output};
use crate::{scheduler, unread};

/// How often the disk is looked at for what other nodes have accepted and has not been named: what they say may be lost.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// What the work is shared through.
#[derive(Clone)]
pub struct Sharing {
    /// What all nodes share.
    pub cluster: Arc<dyn Cluster>,
    /// Where deliveries are read that other nodes have accepted.
    pub arrivals: Arc<dyn Arrivals>,
    /// The shards that this node holds: the driver's to write, the store's to read.
    pub holdings: Holdings,
}

/// This node among the others.
pub(super) struct Member {
    cluster: Arc<dyn Cluster>,
    pub(super) arrivals: Arc<dyn Arrivals>,
    holdings: Holdings,
    leases: Leases,
    /// The zero of its monotonic clock.
    began: Instant,
    /// Attempts may be started before this.
    start_until: Duration,
    look_at: Instant,
    left: bool,
}

impl Member {
    pub(super) fn new(sharing: Sharing) -> Self {
        let Sharing { cluster, arrivals, holdings } = sharing;
        let leases = Leases::new(cluster.terms(), SHARDS);
        let began = Instant::now();
        Self { cluster, arrivals, holdings, leases, began, start_until: Duration::ZERO, look_at: began, left: false }
    }

    /// Whether attempts may be started now.
    pub(super) fn may_start(&self) -> bool {
        self.began.elapsed() < self.start_until
    }

    /// Whether everything was given back.
    pub(super) const fn left(&self) -> bool {
        self.left
    }

    /// When there is something to do next, if nothing happens before.
    pub(super) fn wake_at(&self) -> Instant {
        self.leases.wake_at().map_or(self.look_at, |at| self.look_at.min(self.began + at))
    }

    /// The wall clock has stepped ahead: the machine may have stood still, and its monotonic clock with it. Nothing is started
    /// before the leases have been renewed.
    pub(super) const fn stood_still(&mut self) {
        self.start_until = Duration::ZERO;
    }

    /// Whether it is time to look for what others have accepted.
    fn looks(&mut self) -> bool {
        let now = Instant::now();
        let looks = now >= self.look_at;
        if looks {
            self.look_at = now + LOOKS_EVERY;
        }
        looks
    }
}

impl Driver {
    /// Does what it is time for as one of many.
    pub(super) fn share(&mut self, now: Timestamp) {
        if self.member.as_mut().is_some_and(Member::looks) {
            self.scheduler.take(now, scheduler::Input::LookForArrivals);
        }
        self.lease(now, Input::Tick);
        if let Some(member) = &self.member {
            self.scheduler.may_start(member.may_start());
        }
    }

    /// Something has happened that concerns the leases.
    pub(super) fn lease(&mut self, now: Timestamp, input: Input) {
        let Some(member) = &mut self.member else { return };
        for output in member.leases.step(member.began.elapsed(), input) {
            match output {
                Output::Beat(beat) => {
                    let (cluster, messages) = (Arc::clone(&member.cluster), self.messages.clone());
                    let report = report(&self.gauges);
                    tokio::spawn(async move {
                        let number = beat.number;
                        let input = match cluster.beat(beat, report).await {
                            Ok(seen) => Input::Answered { beat: number, seen },
                            Err(error) => {
                                unread::say(&error, "the leases could not be renewed");
                                Input::Failed { beat: number }
                            }
                        };
                        // The loop has ended: the process is about to.
                        let _ = messages.send(Message::Lease(input));
                    });
                }
                Output::Hold(leases) => {
                    leases.iter().for_each(|lease| member.holdings.hold(*lease));
                    let held = |webhook: &&Arc<Webhook>| {
                        let shard = Shard::of(webhook.account, webhook.number);
                        leases.binary_search_by_key(&shard, |lease| lease.shard).is_ok()
                    };
                    let webhooks: Vec<_> = self.directory.read().webhooks().filter(held).cloned().collect();
                    tracing::info!(shards = leases.len(), webhooks = webhooks.len(), "took shards");
                    self.scheduler.take(now, scheduler::Input::Hold { leases, webhooks });
                }
                Output::LetGo(shards) => {
                    shards.iter().for_each(|shard| member.holdings.let_go(*shard));
                    tracing::info!(shards = shards.len(), "let go of shards");
                    self.scheduler.take(now, scheduler::Input::LetGo(shards));
                }
                Output::WindDown(shards) => self.scheduler.take(now, scheduler::Input::WindDown(shards)),
                Output::StartUntil(at) => member.start_until = at,
                Output::Left => member.left = true,
            }
        }
    }
}

/// How this node is, as its figures have it.
fn report(gauges: &Gauges) -> Report {
    let count = |figure: usize| u32::try_from(figure).unwrap_or(u32::MAX);
    let oldest_due = gauges.oldest_due.load(Ordering::Relaxed);
    Report {
        in_flight: count(gauges.in_flight.load(Ordering::Relaxed)),
        known: count(gauges.known.load(Ordering::Relaxed)),
        oldest_due: (oldest_due > 0).then_some(Timestamp(oldest_due)),
    }
}
