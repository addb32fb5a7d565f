//! What the dispatcher was told to send from memory: counted, so that it is never told of more than memory should hold.
//! Everything has its row all the same.

use std::collections::HashMap;

use domain::id::DeliveryId;
use domain::store::Fact;

use super::limits::Limits;

/// Deliveries in the dispatcher's memory, as far as they came there by their acceptance.
#[derive(Debug, Default)]
pub(super) struct InMemory {
    known: HashMap<DeliveryId, (u32, u32)>,
    of_webhook: HashMap<u32, usize>,
    bytes: u64,
}

impl InMemory {
    /// Whether one more of a webhook may come there, beside `more` of it and `all` in all that will.
    pub(super) fn has_room(&self, limits: &Limits, webhook: u32, more: usize, (all, bytes): (usize, u64)) -> bool {
        self.of_webhook.get(&webhook).copied().unwrap_or(0) + more < limits.fresh_per_webhook
            && self.known.len() + all < limits.fresh
            && self.bytes + bytes < limits.fresh_bytes
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Something was committed.
    pub(super) fn follow(&mut self, fact: &Fact) {
        match fact {
            Fact::Accepted { event, on_disk } => {
                let share = (event.data.len() / event.targets.len().max(1)) as u32;
                for (place, (&webhook, _)) in (0u16..).zip(event.targets.iter().zip(on_disk)).filter(|(_, it)| !it.1) {
                    self.known.insert(DeliveryId { event: event.id, place }, (webhook, share));
                    *self.of_webhook.entry(webhook).or_default() += 1;
                    self.bytes += u64::from(share);
                }
            }
            Fact::Settled(settlement) => self.let_go(settlement.delivery),
            Fact::Cancelled { delivery, .. } => self.let_go(*delivery),
            Fact::Webhook(webhook) if webhook.pause.is_some() => self.let_go_of(|of| of == webhook.number),
            Fact::WebhookDeleted { webhook } => self.let_go_of(|of| of == *webhook),
            Fact::Webhook(_) | Fact::Resumed { .. } | Fact::Replayed(_) | Fact::BulkReplay(_) => {}
        }
    }

    fn let_go(&mut self, id: DeliveryId) {
        if let Some((webhook, share)) = self.known.remove(&id) {
            self.bytes -= u64::from(share);
            if let Some(count) = self.of_webhook.get_mut(&webhook) {
                *count -= 1;
                if *count == 0 {
                    self.of_webhook.remove(&webhook);
                }
            }
        }
    }

    /// Forgets the deliveries of these webhooks.
    pub(super) fn let_go_of(&mut self, wanted: impl Fn(u32) -> bool) {
        if !self.of_webhook.keys().any(|webhook| wanted(*webhook)) {
            return;
        }
        let gone = self.known.extract_if(|_, (webhook, _)| wanted(*webhook));
        self.bytes -= gone.map(|(_, (_, share))| u64::from(share)).sum::<u64>();
        self.of_webhook.retain(|webhook, _| !wanted(*webhook));
    }
}
