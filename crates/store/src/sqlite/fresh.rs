//! Deliveries that have no row yet: their event's row names them, and they are sent from memory.
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
        }
    }
}

/// All deliveries without a row, as committed.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    map: BTreeMap<DeliveryId, FreshDelivery>,
    of_webhook: HashMap<u32, usize>,
    bytes: u64,
}

impl Fresh {
    pub(super) fn get(&self, id: DeliveryId) -> Option<&FreshDelivery> {
        self.map.get(&id)
    }

    pub(super) fn insert(&mut self, id: DeliveryId, delivery: FreshDelivery) {
        *self.of_webhook.entry(delivery.webhook).or_default() += 1;
        self.bytes += u64::from(delivery.bytes);
        self.map.insert(id, delivery);
    }

    pub(super) fn remove(&mut self, id: DeliveryId) {
        if let Some(delivery) = self.map.remove(&id) {
            self.bytes -= u64::from(delivery.bytes);
            if let Some(count) = self.of_webhook.get_mut(&delivery.webhook) {
                *count -= 1;
                if *count == 0 {
                    self.of_webhook.remove(&delivery.webhook);
                }
            }
        }
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
