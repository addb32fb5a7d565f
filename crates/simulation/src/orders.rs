//! The order that some webhooks ask for, judged from what is on disk alone: nothing of a key starts before everything older of
//! it has ended.

use std::collections::BTreeMap;

use domain::delivery::Next;
use domain::id::{DeliveryId, EventId};
use domain::store::Fact;

use crate::ledger::{Violation, check};

/// What is unfinished, and keeps its place.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// By webhook; each with what its data has as `k`.
    unfinished: BTreeMap<u32, BTreeMap<DeliveryId, Option<String>>>,
    /// The last event that was accepted: a start tells older ones again.
    last: Option<EventId>,
}

/// Data of an event, mostly with a key.
pub(crate) fn some_data(chance: &mut fastrand::Rng) -> String {
    let n = chance.u32(..);
    match chance.u8(..8) {
        0 => format!(r#"{{"n":{n}}}"#),
        key => format!(r#"{{"n":{n},"k":"{}"}}"#, char::from(b'a' + key % 3)),
    }
}

impl Orders {
    /// Something was committed.
    pub(crate) fn learn(&mut self, facts: &[Fact]) {
        for fact in facts {
            match fact {
                Fact::Accepted { event, .. } if self.last.is_none_or(|last| last < event.id) => {
                    self.last = Some(event.id);
                    let data: serde_json::Value = serde_json::from_slice(&event.data).unwrap_or_default();
                    let key = data.pointer("/k").and_then(serde_json::Value::as_str).map(str::to_owned);
                    for (place, webhook) in (0u16..).zip(&event.targets) {
                        let id = DeliveryId { event: event.id, place };
                        self.unfinished.entry(*webhook).or_default().insert(id, key.clone());
                    }
                }
                Fact::Settled(settlement) => match settlement.next {
                    Next::Delivered | Next::Failed => self.ended(settlement.webhook, settlement.delivery),
                    Next::Retry { .. } => {}
                },
                // A replay goes outside of the order, and stops nobody.
                Fact::Replayed(due) => self.ended(due.webhook, due.delivery),
                Fact::Cancelled { delivery, webhook } => self.ended(*webhook, *delivery),
                Fact::WebhookDeleted { webhook } => {
                    self.unfinished.remove(webhook);
                }
                Fact::Accepted { .. } | Fact::BulkReplay(_) | Fact::Webhook(_) | Fact::Resumed { .. } => {}
            }
        }
    }

    fn ended(&mut self, webhook: u32, delivery: DeliveryId) {
        if let Some(unfinished) = self.unfinished.get_mut(&webhook) {
            unfinished.remove(&delivery);
        }
    }

    /// A request of a webhook goes out, whose order is `by`.
    pub(crate) fn starts(&self, webhook: u32, by: Option<&str>, delivery: DeliveryId) -> Result<(), Violation> {
        let Some(unfinished) = self.unfinished.get(&webhook) else { return Ok(()) };
        let (Some(by), Some(key)) = (by, unfinished.get(&delivery)) else { return Ok(()) };
        let older = unfinished.range(..delivery).find(|(_, other)| by == "webhook" || *other == key);
        check(older.is_none(), || format!("order: {delivery} starts before {older:?} has ended, by {by}"))
    }
}
