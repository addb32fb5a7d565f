//! The shared store, scripted: what the statements on PostgreSQL do to the tables of nodes, leases and unfinished deliveries.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use domain::cluster::{Beat, Seen};
use domain::delivery::{Due, Next, Settlement};
use domain::event::Event;
use domain::id::{DeliveryId, EventId};
use domain::shard::{Epoch, Lease, Shard, Terms};
use domain::time::Timestamp;

/// A row of the table of leases.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Row {
    pub(super) epoch: Epoch,
    pub(super) owner: Option<u32>,
    pub(super) until: Timestamp,
}

/// What became of a settlement.
pub(super) enum Recorded {
    /// It is on disk, now or since an earlier try whose answer was lost.
    Yes,
    /// Another node has the shard: nothing was changed.
    Refused,
}

/// An unfinished delivery.
#[derive(Debug, Clone, Copy)]
struct Hot {
    shard: Shard,
    due: Due,
}

pub(super) struct Shared {
    terms: Terms,
    /// Mutation: what is written is not compared with the lease.
    pub(super) epoch_unchecked: bool,
    /// Each node that lives: until when, and whether it stays.
    nodes: BTreeMap<u32, (Timestamp, bool)>,
    pub(super) leases: Vec<Row>,
    hot: HashMap<DeliveryId, Hot>,
    by_time: BTreeMap<(Timestamp, DeliveryId), Shard>,
    pub(super) events: HashMap<EventId, Arc<Event>>,
    /// The attempts of each delivery that are recorded, and by whom the last was.
    pub(super) attempts: HashMap<DeliveryId, (u16, Epoch)>,
    /// From whom shards were taken whose lease had ended.
    pub(super) taken_from: Vec<u32>,
    pub(super) takes: usize,
    pub(super) refused: usize,
}

impl Shared {
    pub(super) fn new(terms: Terms, shards: u16) -> Self {
        Self {
            terms,
            epoch_unchecked: false,
            nodes: BTreeMap::new(),
            leases: vec![Row::default(); shards.into()],
            hot: HashMap::new(),
            by_time: BTreeMap::new(),
            events: HashMap::new(),
            attempts: HashMap::new(),
            taken_from: Vec::new(),
            takes: 0,
            refused: 0,
        }
    }

    pub(super) fn row(&self, shard: Shard) -> Row {
        self.leases[usize::from(shard.0)]
    }

    /// One beat: says that the node lives, gives back, renews, takes; all in one transaction.
    pub(super) fn beat(&mut self, now: Timestamp, node: u32, beat: &Beat) -> Seen {
        let until = now.plus(self.terms.length);
        if beat.leaving {
            self.nodes.remove(&node);
        } else {
            self.nodes.insert(node, (until, true));
        }
        for lease in &beat.release {
            let row = &mut self.leases[usize::from(lease.shard.0)];
            if row.owner == Some(node) && row.epoch == lease.epoch {
                (row.owner, row.until) = (None, Timestamp(0));
            }
        }
        let mut held = Vec::new();
        let mut next_end = None;
        for (number, row) in (0u16..).zip(&mut self.leases) {
            if row.owner == Some(node) {
                row.until = until;
                held.push(Lease { shard: Shard(number), epoch: row.epoch });
            } else if row.owner.is_some() && row.until > now {
                next_end = Some(next_end.map_or(row.until, |end: Timestamp| end.min(row.until)));
            }
        }
        let mut room = usize::from(beat.want).saturating_sub(held.len());
        for (number, row) in (0u16..).zip(&mut self.leases) {
            if room == 0 {
                break;
            }
            let theirs = row.owner.is_some_and(|owner| owner != node && beat.patient);
            if row.owner != Some(node) && row.until <= now && !theirs {
                let shard = Shard(number);
                if let Some(from) = row.owner {
                    self.taken_from.push(from);
                }
                *row = Row { epoch: Epoch(row.epoch.0 + 1), owner: Some(node), until };
                self.takes += 1;
                held.push(Lease { shard, epoch: row.epoch });
                room -= 1;
            }
        }
        let living = |(_, (until, stays)): &(&u32, &(Timestamp, bool))| *until > now && *stays;
        let nodes: Vec<u32> = self.nodes.iter().filter(living).map(|(node, _)| *node).collect();
        let place = nodes.iter().position(|other| *other == node).unwrap_or(0);
        let short = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        Seen { nodes: short(nodes.len()), place: short(place), held, next_end: next_end.map(|end| end.since(now)) }
    }

    pub(super) fn accept(&mut self, event: &Arc<Event>, rows: &[(Shard, Due)]) {
        self.events.insert(event.id, Arc::clone(event));
        for (shard, due) in rows {
            self.put(Hot { shard: *shard, due: *due });
        }
    }

    fn put(&mut self, hot: Hot) {
        self.by_time.insert((hot.due.due_at, hot.due.delivery), hot.shard);
        self.hot.insert(hot.due.delivery, hot);
    }

    /// Records the end of an attempt, if its epoch is the shard's.
    pub(super) fn settle(&mut self, shard: Shard, settlement: &Settlement) -> Recorded {
        let delivery = settlement.delivery;
        if self.row(shard).epoch != settlement.epoch && !self.epoch_unchecked {
            self.refused += 1;
            return Recorded::Refused;
        }
        let number = settlement.attempt.as_ref().map_or(0, |attempt| attempt.number);
        if self.attempts.get(&delivery).is_some_and(|(made, _)| *made >= number) {
            return Recorded::Yes;
        }
        self.attempts.insert(delivery, (number, settlement.epoch));
        let Some(hot) = self.hot.remove(&delivery) else { return Recorded::Yes };
        self.by_time.remove(&(hot.due.due_at, delivery));
        if let Next::Retry { due_at, retries_made, reason } = settlement.next {
            self.put(Hot { due: Due { due_at, retries_made, reason, attempts_made: number, ..hot.due }, ..hot });
        }
        Recorded::Yes
    }

    /// An unfinished delivery as it is on disk.
    pub(super) fn unfinished(&self, delivery: DeliveryId) -> Option<Due> {
        self.hot.get(&delivery).map(|hot| hot.due)
    }

    pub(super) fn unfinished_count(&self) -> usize {
        self.hot.len()
    }

    pub(super) fn due(
        &self,
        holds: impl Fn(Shard) -> bool,
        after: Option<(Timestamp, DeliveryId)>,
        until: Timestamp,
        limit: usize,
    ) -> Vec<Due> {
        let first = after.unwrap_or((Timestamp(0), DeliveryId { event: EventId(0), place: 0 }));
        if (until, first.1) <= first {
            return Vec::new();
        }
        let rows = self.by_time.range(first..(until, DeliveryId { event: EventId(0), place: 0 }));
        let rows = rows.filter(|(key, shard)| Some(**key) != after && holds(**shard)).take(limit);
        rows.filter_map(|((_, delivery), _)| Some(self.hot.get(delivery)?.due)).collect()
    }

    pub(super) fn backlog(&self, webhook: u32, after: Option<DeliveryId>, until: Timestamp, limit: usize) -> Vec<Due> {
        let rows = self.hot.values().map(|hot| hot.due);
        let mut rows: Vec<_> =
            rows.filter(|due| due.webhook == webhook && due.due_at < until && Some(due.delivery) > after).collect();
        rows.sort_by_key(|due| due.delivery);
        rows.truncate(limit);
        rows
    }
}
