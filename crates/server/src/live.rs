//! What has been committed, as it happens: a bounded ring that streams and tests read from, each at its own place.
//!
//! The store's hook publishes; that costs a lock and a small record, whoever listens. What a listener is shown is made
//! by the listener. Where many nodes share the work, the ring holds what happens on all of them instead (`following.rs`).

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use domain::chronicle::{Happened, Head, Mark};
use domain::delivery::{Due, Settlement};
use domain::id::{DeliveryId, EventId};
use domain::replay::Replay;
use domain::store::Fact;
use domain::time::Timestamp;
use domain::webhook::Webhook;
use tokio::sync::watch;

use crate::event_counts::EventCounts;
use crate::following::Following;
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
    /// An attempt was recorded, or a delivery ended without one. Its event, where it was told with it.
    Settled(Arc<Settlement>, Option<Arc<Head>>),
}

/// Where a listener stands in what happens in its account on all nodes: any node can go on from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cursor {
    /// At a mark.
    At(Mark),
    /// Between two marks, after so much of what happened in the account between them.
    Within { after: Mark, until: Mark, count: u32 },
}

impl Cursor {
    /// What [`fmt::Display`] has written. Whether its marks are any, the store tells.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let first = Mark::new(parts.next().filter(|text| text.contains('.'))?);
        let cursor = match (parts.next(), parts.next()) {
            (None, None) => Self::At(first),
            (Some(until), Some(count)) => {
                Self::Within { after: first, until: Mark::new(until), count: count.parse().ok()? }
            }
            (Some(_), None) | (None, Some(_)) => return None,
        };
        parts.next().is_none().then_some(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(mark) => write!(f, "{mark}"),
            Self::Within { after, until, count } => write!(f, "{after}-{until}-{count}"),
        }
    }
}

/// A record, and where a listener stands that has seen it: nothing where one process does all, whose places say it.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) record: Record,
    pub(crate) cursor: Option<Cursor>,
}

impl Placed {
    /// What happened between two marks.
    pub(crate) fn of(happened: Happened, after: &Mark, until: &Mark) -> Option<Self> {
        let Happened { account: _, place, fact, head } = happened;
        let record = match (fact, head) {
            (Fact::Settled(settlement), head) => Record::Settled(settlement, head.map(Arc::new)),
            (fact, _) => record(&fact)?,
        };
        let cursor = Cursor::Within { after: after.clone(), until: until.clone(), count: place };
        Some(Self { record, cursor: Some(cursor) })
    }
}

impl Record {
    /// How many bytes it keeps in memory that others would not.
    fn weight(&self) -> usize {
        match self {
            Self::Settled(settlement, _) => {
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
    records: VecDeque<Placed>,
    /// What the records weigh together.
    weight: usize,
    /// The place of the next record; the ring ends just before it.
    next: u64,
    /// The mark at its end, where it holds what happens on all nodes.
    mark: Option<Mark>,
}

impl Ring {
    fn push(&mut self, placed: Placed) {
        self.weight += placed.record.weight();
        self.records.push_back(placed);
        self.next += 1;
        while self.records.len() > RING || self.weight > WEIGHT_MAX {
            let Some(oldest) = self.records.pop_front() else { break };
            self.weight -= oldest.record.weight();
        }
    }

    /// Something is missing here: whoever is before it is told.
    fn lose(&mut self) {
        self.records.clear();
        self.weight = 0;
        self.next += 1;
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
    /// Who reads what happens on all nodes, where there are many.
    following: Arc<OnceLock<Arc<Following>>>,
}

/// What a reader gets from its place on.
#[derive(Debug)]
pub(crate) enum Reading {
    /// These records; the next place is after them. And the mark at their end, where there is one.
    Records(Vec<Placed>, Option<Mark>),
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
            following: Arc::default(),
        }
    }

    /// Who reads what happens on all nodes, where there are many.
    pub(crate) fn following(&self) -> &OnceLock<Arc<Following>> {
        &self.following
    }

    /// Takes committed facts in: for the store's hook, in the order of commits. Never waits. Whoever listens is woken once.
    pub fn publish(&self, facts: &[Fact]) {
        self.counts.observe(facts);
        facts.iter().for_each(|fact| self.metrics.observe(fact));
        if let Some(following) = self.following.get() {
            // It comes with what happens on the other nodes.
            following.look_soon();
            return;
        }
        self.grow(|ring| {
            for record in facts.iter().filter_map(record) {
                ring.push(Placed { record, cursor: None });
            }
        });
    }

    /// Takes in what has happened on all nodes between two marks; the place after it.
    pub(crate) fn happened(&self, happened: Vec<Happened>, after: &Mark, until: &Mark) -> u64 {
        self.grow(|ring| {
            for placed in happened.into_iter().filter_map(|happened| Placed::of(happened, after, until)) {
                ring.push(placed);
            }
            ring.mark = Some(until.clone());
        })
    }

    /// Something that happened on any of the nodes before this mark is missing; the place after that.
    pub(crate) fn lost(&self, until: &Mark) -> u64 {
        self.grow(|ring| {
            ring.lose();
            ring.mark = Some(until.clone());
        })
    }

    /// Changes the ring, and wakes whoever waits for more; the place after the last record.
    fn grow(&self, change: impl FnOnce(&mut Ring)) -> u64 {
        let mut ring = self.ring();
        let before = ring.next;
        change(&mut ring);
        let next = ring.next;
        drop(ring);
        if next != before {
            self.grown.send_replace(next);
        }
        next
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

    /// The place after the last record, and the mark there.
    pub(crate) fn end(&self) -> (u64, Option<Mark>) {
        let ring = self.ring();
        (ring.next, ring.mark.clone())
    }

    /// The records from `place` on.
    pub(crate) fn read(&self, place: u64) -> Reading {
        let ring = self.ring();
        let first = ring.next - ring.records.len() as u64;
        if place < first || place > ring.next {
            return Reading::Lost;
        }
        let skip = usize::try_from(place - first).unwrap_or(usize::MAX);
        Reading::Records(ring.records.iter().skip(skip).cloned().collect(), ring.mark.clone())
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
        Fact::Settled(settlement) => Record::Settled(Arc::clone(settlement), None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(live: &Live, webhook: u32) {
        live.publish(&[Fact::WebhookDeleted { webhook }]);
    }

    fn deleted(reading: Reading) -> Option<Vec<u32>> {
        let Reading::Records(records, _) = reading else { return None };
        let numbers = records.iter().map(|placed| {
            let Record::WebhookDeleted { webhook } = &placed.record else {
                unreachable!("only deletions were published")
            };
            *webhook
        });
        Some(numbers.collect())
    }

    #[test]
    fn a_reader_resumes_where_it_was_and_is_told_of_a_gap() {
        let live = Live::new(Timestamp(0));
        (0..3).for_each(|webhook| publish(&live, webhook));
        assert_eq!(deleted(live.read(1)), Some(vec![1, 2]));
        assert_eq!(deleted(live.read(live.end().0)), Some(vec![]));
        assert_eq!(deleted(live.read(live.end().0 + 1)), None, "a place that was never given");
        (0..RING as u32).for_each(|webhook| publish(&live, webhook));
        assert_eq!(deleted(live.read(2)), None);
        assert_eq!(deleted(live.read(3)).map(|numbers| numbers.len()), Some(RING));
    }

    #[test]
    fn a_cursor_is_read_as_it_is_written_and_a_place_of_one_process_is_none() {
        let (after, until) = (Mark::new("17.5:9:7"), Mark::new("18.9:9:"));
        for cursor in [Cursor::At(after.clone()), Cursor::Within { after, until, count: 3 }] {
            assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        }
        let none = ["", "5-7", "1.1:1:-2.2:2:", "1.1:1:-2.2:2:-x", "1.1:1:-2.2:2:-1-1"];
        assert_eq!(none.into_iter().find(|text| Cursor::parse(text).is_some()), None);
    }

    #[test]
    fn a_loss_is_told_to_whoever_is_before_it() {
        let live = Live::new(Timestamp(0));
        publish(&live, 1);
        let place = live.end().0;
        let next = live.lost(&Mark::new("1.2:2:"));
        assert_eq!((deleted(live.read(place)), deleted(live.read(next))), (None, Some(vec![])));
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let live = Live::new(Timestamp(0));
        let place = live.end().0;
        let (woken, ()) = tokio::join!(live.wait(place), async { publish(&live, 7) });
        assert_eq!(woken, ());
        assert_eq!(deleted(live.read(place)), Some(vec![7]));
    }
}
