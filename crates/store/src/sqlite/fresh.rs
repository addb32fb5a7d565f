//! Deliveries that have no row yet: their event's row names them, and they are sent from memory. And how many wait beside
//! them on disk.
//!
//! They can be rebuilt from the events at any time; readers merge them with the rows, so lists and counts are exact.

use std::collections::{BTreeMap, HashMap};

use domain::id::DeliveryId;
use domain::time::Timestamp;

use super::deliveries::{DeliveryRow, State};

/// A delivery without a row: waiting for its first attempt, or in it.
#[derive(Debug, Clone)]
pub(super) struct FreshDelivery {
    pub(super) account: u32,
    pub(super) webhook: u32,
    pub(super) event_type: u32,
    pub(super) lead: i64,
    pub(super) due_at: Timestamp,
    pub(super) test: bool,
    /// How many events the engine had taken before this one.
    pub(super) turn: u64,
    /// Its share of the event's bytes, which are in memory for as long as it is.
    pub(super) bytes: u32,
}

impl FreshDelivery {
    /// The row that it would have.
    pub(super) const fn row(&self, id: DeliveryId) -> DeliveryRow {
        DeliveryRow {
            id,
            account: self.account,
            webhook: self.webhook,
            event_type: self.event_type,
            lead: self.lead,
            state: State::Waiting,
            test: self.test,
            attempts_made: 0,
            retries_made: 0,
            code: None,
            error: None,
            duration: None,
            due_at: Some(self.due_at),
            ended_at: None,
            was: None,
        }
    }
}

/// All deliveries without a row, as committed.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    map: BTreeMap<DeliveryId, FreshDelivery>,
    of_webhook: HashMap<u32, usize>,
    /// How many of [`Self::of_webhook`] are tests.
    tests_of: HashMap<u32, usize>,
    /// How many of each webhook's deliveries wait on disk, tests left out.
    on_disk: HashMap<u32, u64>,
    bytes: u64,
}

impl Fresh {
    pub(super) fn get(&self, id: DeliveryId) -> Option<&FreshDelivery> {
        self.map.get(&id)
    }

    pub(super) fn insert(&mut self, id: DeliveryId, delivery: FreshDelivery) {
        *self.of_webhook.entry(delivery.webhook).or_default() += 1;
        if delivery.test {
            *self.tests_of.entry(delivery.webhook).or_default() += 1;
        }
        self.bytes += u64::from(delivery.bytes);
        self.map.insert(id, delivery);
    }

    pub(super) fn remove(&mut self, id: DeliveryId) {
        if let Some(delivery) = self.map.remove(&id) {
            self.bytes -= u64::from(delivery.bytes);
            less(&mut self.of_webhook, delivery.webhook);
            if delivery.test {
                less(&mut self.tests_of, delivery.webhook);
            }
        }
    }

    /// So many more, or fewer, deliveries of a webhook wait on disk.
    pub(super) fn add_on_disk(&mut self, webhook: u32, change: i64) {
        let count = self.on_disk.entry(webhook).or_default();
        *count = count.saturating_add_signed(change);
        if *count == 0 {
            self.on_disk.remove(&webhook);
        }
    }

    /// A webhook is gone, and with it what waited on disk.
    pub(super) fn forget_on_disk(&mut self, webhook: u32) {
        self.on_disk.remove(&webhook);
    }

    /// How many of a webhook's deliveries wait on disk, tests left out.
    pub(super) fn on_disk(&self, webhook: u32) -> u64 {
        self.on_disk.get(&webhook).copied().unwrap_or(0)
    }

    /// How many a webhook has, tests left out.
    pub(super) fn untested_of(&self, webhook: u32) -> usize {
        self.len_of(webhook) - self.tests_of.get(&webhook).copied().unwrap_or(0)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// How many a webhook has.
    pub(super) fn len_of(&self, webhook: u32) -> usize {
        self.of_webhook.get(&webhook).copied().unwrap_or(0)
    }

    /// How many bytes of events they keep in memory.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (DeliveryId, &FreshDelivery)> {
        self.map.iter().map(|(id, delivery)| (*id, delivery))
    }

    /// Those before `before`, newest first.
    pub(super) fn before(&self, before: DeliveryId) -> impl Iterator<Item = (DeliveryId, &FreshDelivery)> {
        self.map.range(..before).rev().map(|(id, delivery)| (*id, delivery))
    }

    /// The oldest.
    pub(super) fn first(&self) -> Option<(DeliveryId, &FreshDelivery)> {
        self.map.first_key_value().map(|(id, delivery)| (*id, delivery))
    }
}

/// Counts one fewer of a webhook.
fn less(counts: &mut HashMap<u32, usize>, webhook: u32) {
    if let Some(count) = counts.get_mut(&webhook) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&webhook);
        }
    }
}
