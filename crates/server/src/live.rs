//! What has been committed, as it happens: a bounded ring that streams and tests read from, each at its own place.
//!
//! The store's hook publishes; that costs a lock and a small record, whoever listens. What a listener is shown is made
//! by the listener.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::delivery::{Due, Settlement};
use domain::id::{DeliveryId, EventId};
use domain::replay::Replay;
use domain::store::Fact;
use domain::time::Timestamp;
use domain::webhook::Webhook;
use tokio::sync::watch;

use crate::event_counts::EventCounts;
use crate::metrics::Metrics;

/// How many records the ring holds: what a listener may miss and still resume from.
const RING: usize = 4_096;
/// How many bytes of answers and lists the ring keeps alive.
const WEIGHT_MAX: usize = 8 * 1024 * 1024;

/// A fact as a listener needs it.
#[derive(Debug, Clone)]
pub(crate) enum Record {
    /// An event was accepted with its deliveries. Its data is left out: the ring may not hold that.
    Accepted { event: EventId, account: u32, event_type: Arc<str>, timestamp: Timestamp, test: bool, targets: Vec<u32> },
    /// A webhook was created or changed.
    Webhook(Arc<Webhook>),
    /// A webhook was deleted.
    WebhookDeleted { webhook: u32 },
    /// A delivery is to be sent again.
    Replayed(Due),
    /// A replay in bulk was started, has moved on or has ended.
    BulkReplay(Arc<Replay>),
    /// A delivery was cancelled.
    Cancelled { delivery: DeliveryId, webhook: u32 },
    /// An attempt was recorded, or a delivery ended without one.
    Settled(Arc<Settlement>),
}

impl Record {
    /// How many bytes it keeps in memory that others would not.
    fn weight(&self) -> usize {
        match self {
            Self::Settled(settlement) => {
                let answer = settlement.attempt.as_ref().and_then(|attempt| attempt.answer.as_ref());
                answer.map_or(0, |answer| {
                    let headers = answer.headers.iter().map(|(name, value)| name.len() + value.len());
                    answer.body.len() + headers.sum::<usize>()
                })
            }
            Self::Accepted { targets, .. } => targets.len() * size_of::<u32>(),
            Self::Webhook(_)
            | Self::WebhookDeleted { .. }
            | Self::Replayed(_)
            | Self::BulkReplay(_)
            | Self::Cancelled { .. } => 0,
        }
    }
}

#[derive(Debug, Default)]
struct Ring {
    records: VecDeque<Record>,
    /// What the records weigh together.
    weight: usize,
    /// The place of the next record; the ring ends just before it.
    next: u64,
}

impl Ring {
    fn push(&mut self, record: Record) {
        self.weight += record.weight();
        self.records.push_back(record);
        self.next += 1;
        while self.records.len() > RING || self.weight > WEIGHT_MAX {
            let Some(oldest) = self.records.pop_front() else { break };
            self.weight -= oldest.weight();
        }
    }
}

/// The feed of what has been committed. Cloned, it is the same feed.
#[derive(Debug, Clone)]
pub struct Live {
    ring: Arc<Mutex<Ring>>,
    grown: watch::Sender<u64>,
    /// Tells places of this process from those of others before it.
    epoch: u64,
    metrics: Arc<Metrics>,
    counts: Arc<EventCounts>,
}

/// What a reader gets from its place on.
#[derive(Debug)]
pub(crate) enum Reading {
    /// These records; the next place is after them.
    Records(Vec<Record>),
    /// Something after the place is no longer there.
    Lost,
}

impl Live {
    /// An empty feed of a process that started at `started_at`.
    #[must_use]
    pub fn new(started_at: Timestamp) -> Self {
        Self {
            ring: Arc::default(),
            grown: watch::Sender::new(0),
            epoch: started_at.0.unsigned_abs() / 1_000,
            metrics: Arc::default(),
            counts: Arc::new(EventCounts::new(started_at)),
        }
    }

    /// Takes committed facts in: for the store's hook, in the order of commits. Never waits. Whoever listens is woken once.
    pub fn publish(&self, facts: &[Fact]) {
        self.counts.observe(facts);
        let mut ring = self.ring();
        let before = ring.next;
        for fact in facts {
            self.metrics.observe(fact);
            if let Some(record) = record(fact) {
                ring.push(record);
            }
        }
        let next = ring.next;
        drop(ring);
        if next != before {
            self.grown.send_replace(next);
        }
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn counts(&self) -> &EventCounts {
        &self.counts
    }

    /// Which process the places belong to.
    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The place after the last record.
    pub(crate) fn end(&self) -> u64 {
        self.ring().next
    }

    /// The records from `place` on.
    pub(crate) fn read(&self, place: u64) -> Reading {
        let ring = self.ring();
        let first = ring.next - ring.records.len() as u64;
        if place < first || place > ring.next {
            return Reading::Lost;
        }
        let skip = usize::try_from(place - first).unwrap_or(usize::MAX);
        Reading::Records(ring.records.iter().skip(skip).cloned().collect())
    }

    /// Waits until there is a record at `place`.
    pub(crate) async fn wait(&self, place: u64) {
        let mut grown = self.grown.subscribe();
        // The sender lives as long as `self`: the wait cannot fail.
        let _ended = grown.wait_for(|next| *next > place).await;
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn record(fact: &Fact) -> Option<Record> {
    Some(match fact {
        Fact::Accepted { event, .. } if event.targets.is_empty() => return None,
        Fact::Accepted { event, .. } => Record::Accepted {
            event: event.id,
            account: event.account,
            event_type: Arc::clone(&event.event_type),
            timestamp: event.timestamp,
            test: event.test,
            targets: event.targets.clone(),
        },
        Fact::Webhook(webhook) => Record::Webhook(Arc::clone(webhook)),
        // The webhook's own change is a fact beside it.
        Fact::Resumed { .. } => return None,
        Fact::WebhookDeleted { webhook } => Record::WebhookDeleted { webhook: *webhook },
        Fact::Replayed(due) => Record::Replayed(*due),
        Fact::BulkReplay(replay) => Record::BulkReplay(Arc::clone(replay)),
        Fact::Cancelled { delivery, webhook } => Record::Cancelled { delivery: *delivery, webhook: *webhook },
        Fact::Settled(settlement) => Record::Settled(Arc::clone(settlement)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(live: &Live, webhook: u32) {
        live.publish(&[Fact::WebhookDeleted { webhook }]);
    }

    fn deleted(reading: Reading) -> Option<Vec<u32>> {
        let Reading::Records(records) = reading else { return None };
        let numbers = records.iter().map(|record| {
            let Record::WebhookDeleted { webhook } = record else { unreachable!("only deletions were published") };
            *webhook
        });
        Some(numbers.collect())
    }

    #[test]
    fn a_reader_resumes_where_it_was_and_is_told_of_a_gap() {
        let live = Live::new(Timestamp(0));
        (0..3).for_each(|webhook| publish(&live, webhook));
        assert_eq!(deleted(live.read(1)), Some(vec![1, 2]));
        assert_eq!(deleted(live.read(live.end())), Some(vec![]));
        assert_eq!(deleted(live.read(live.end() + 1)), None, "a place that was never given");
        (0..RING as u32).for_each(|webhook| publish(&live, webhook));
        assert_eq!(deleted(live.read(2)), None);
        assert_eq!(deleted(live.read(3)).map(|numbers| numbers.len()), Some(RING));
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let live = Live::new(Timestamp(0));
        let place = live.end();
        let (woken, ()) = tokio::join!(live.wait(place), async { publish(&live, 7) });
        assert_eq!(woken, ());
        assert_eq!(deleted(live.read(place)), Some(vec![7]));
    }
}
