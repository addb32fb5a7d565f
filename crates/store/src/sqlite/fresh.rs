//! Deliveries that have no row yet: their event's row names them, and they are sent from memory. And which others are sent
//! from memory too, and how many wait beside them on disk.
//!
//! They can be rebuilt from the events at any time; readers merge them with the rows, so lists and counts are exact.

use std::collections::{BTreeMap, HashMap};

use domain::id::DeliveryId;
use domain::store::Fact;
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
    /// Deliveries that have got their rows since they waited for so long, and are sent from memory all the same.
    kept: HashMap<DeliveryId, FreshDelivery>,
    /// How many of [`Self::kept`] each webhook has.
    kept_of: HashMap<u32, usize>,
    /// Bytes of the events that all in memory have.
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

    /// A delivery has got its row, and waits in memory as before.
    pub(super) fn keep(&mut self, id: DeliveryId, delivery: FreshDelivery) {
        self.remove(id);
        *self.kept_of.entry(delivery.webhook).or_default() += 1;
        self.bytes += u64::from(delivery.bytes);
        self.kept.insert(id, delivery);
    }

    /// Something was committed by which memory may let go of what it keeps.
    pub(super) fn follow(&mut self, fact: &Fact) {
        if self.kept.is_empty() {
            return;
        }
        match fact {
            Fact::Settled(settlement) => self.let_go(settlement.delivery),
            Fact::Cancelled { delivery, .. } => self.let_go(*delivery),
            Fact::Webhook(webhook) if webhook.pause.is_some() => self.let_go_of(webhook.number),
            Fact::WebhookDeleted { webhook } => self.let_go_of(*webhook),
            Fact::Webhook(_)
            | Fact::Accepted { .. }
            | Fact::Resumed { .. }
            | Fact::Replayed(_)
            | Fact::BulkReplay(_) => {}
        }
    }

    fn let_go(&mut self, id: DeliveryId) {
        if let Some(delivery) = self.kept.remove(&id) {
            self.bytes -= u64::from(delivery.bytes);
            less(&mut self.kept_of, delivery.webhook);
        }
    }

    fn let_go_of(&mut self, webhook: u32) {
        if self.kept_of.remove(&webhook).is_some() {
            let gone = self.kept.extract_if(|_, delivery| delivery.webhook == webhook);
            self.bytes -= gone.map(|(_, delivery)| u64::from(delivery.bytes)).sum::<u64>();
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

    /// Whether a webhook is so far behind that what waits for it in memory has got rows.
    pub(super) fn far_behind(&self, webhook: u32) -> bool {
        self.kept_of.contains_key(&webhook)
    }

    /// How many deliveries are sent from memory, with a row or without.
    pub(super) fn in_memory(&self) -> usize {
        self.map.len() + self.kept.len()
    }

    /// How many bytes of events these keep in memory.
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
