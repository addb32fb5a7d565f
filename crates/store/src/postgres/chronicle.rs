//! Rows of the chronicle: what was committed in accounts that somebody follows. They are written in the transaction that they
//! speak of, and read by every node.
//!
//! A moment is a snapshot of the server: it says of each transaction whether it was over. So what happened between two of them is
//! the same on every node and at any time, however long a transaction takes, and comes once. Causes come before what follows
//! from them: a transaction that has read another's rows has the greater number.

mod reading;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use domain::attempt::{Attempt, Reason};
use domain::delivery::{Next, Settlement};
use domain::event::NewEvent;
use domain::id::{DeliveryId, EventId};
use domain::store::Fact;
use serde::{Deserialize, Serialize};

use super::connection::Link;
use super::engine::Engine;
use super::fault::Fault;
use super::shared::Shared;
use crate::rows::checksum::Checksum;
use crate::rows::delivery::DeliveryRow;
use crate::rows::stamps::micros;

/// Answers with longer bodies come without it.
const ANSWER_MAX: usize = 4 * 1024;

/// Something that has happened, as it is written. The order of the variants never changes.
#[derive(Serialize, Deserialize)]
enum Item {
    Accepted {
        event: u64,
        head: HeadItem,
        targets: Vec<u32>,
    },
    Webhook(u32),
    WebhookDeleted(u32),
    Replayed {
        delivery: (u64, u16),
        webhook: u32,
        due_at: i64,
        attempts_made: u16,
    },
    BulkReplay(u32),
    Cancelled {
        delivery: (u64, u16),
        webhook: u32,
    },
    Settled {
        delivery: (u64, u16),
        webhook: u32,
        head: Option<HeadItem>,
        attempt: Option<Box<Attempt>>,
        next: NextItem,
    },
}

/// An event, its type by number: whoever records an attempt of it need not have met the name.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct HeadItem {
    event_type: u32,
    timestamp: i64,
    test: bool,
}

#[derive(Serialize, Deserialize)]
enum NextItem {
    Delivered,
    Failed,
    Retry { due_at: i64, retries_made: u16, reason: Reason },
}

/// What the events of recorded attempts are: type, lead, and whether they are tests.
#[derive(Debug, Default)]
pub(super) struct Heads(Vec<(EventId, u32, i64, bool)>);

impl Heads {
    pub(super) fn push(&mut self, row: &DeliveryRow) {
        self.0.push((row.id.event, row.event_type, row.lead, row.test));
    }
}

impl Engine {
    /// Writes down what has happened in the present transaction in accounts that somebody follows.
    pub(super) async fn write_down(&self, link: &Link) -> Result<(), Fault> {
        let mut happened: BTreeMap<u32, Vec<&Fact>> = BTreeMap::new();
        for fact in &self.staged.facts {
            if let Some(account) = self.account_of(fact) {
                happened.entry(account).or_default().push(fact);
            }
        }
        if happened.is_empty() {
            return Ok(());
        }
        let followed = match &self.staged.followed {
            Some(followed) => followed.clone(),
            None => followed(link, happened.keys().copied()).await?,
        };
        let followed: Vec<i32> = followed.into_iter().map(|account| account as i32).collect();
        if followed.is_empty() {
            return Ok(());
        }
        let head = |&(event, event_type, lead, test): &(EventId, u32, i64, bool)| {
            (event, HeadItem { event_type, timestamp: micros(event).0 + lead, test })
        };
        let heads: HashMap<EventId, HeadItem> = self.staged.heads.0.iter().map(head).collect();
        let (mut sums, mut items) = (Vec::new(), Vec::new());
        for account in &followed {
            let facts = happened.get(&(*account as u32)).into_iter().flatten();
            let written: Vec<Item> = facts.filter_map(|fact| self.item(fact, &heads)).collect();
            let bytes = postcard::to_stdvec(&written).map_err(|error| Fault::damaged("what has happened", error))?;
            sums.push(sum(*account, &bytes).sum());
            items.push(bytes);
        }
        link.run(
            "INSERT INTO chronicle (account, crc, items)
             SELECT k.* FROM unnest($1::integer[], $2::bigint[], $3::bytea[]) AS k",
            &[&followed, &sums, &items],
        )
        .await?;
        Ok(())
    }

    fn account_of(&self, fact: &Fact) -> Option<u32> {
        match fact {
            Fact::Accepted { event, .. } => Some(event.account),
            Fact::Webhook(webhook) => Some(webhook.account),
            Fact::BulkReplay(replay) => Some(replay.account),
            Fact::WebhookDeleted { webhook } | Fact::Cancelled { webhook, .. } => self.shared.account_of(*webhook),
            Fact::Replayed(due) => self.shared.account_of(due.webhook),
            Fact::Settled(settlement) => self.shared.account_of(settlement.webhook),
            // The webhook's own change is beside it.
            Fact::Resumed { .. } => None,
        }
    }

    fn item(&self, fact: &Fact, heads: &HashMap<EventId, HeadItem>) -> Option<Item> {
        let numbers = |delivery: DeliveryId| (delivery.event.0, delivery.place);
        Some(match fact {
            Fact::Accepted { event, .. } => Item::Accepted {
                event: event.id.0,
                head: HeadItem {
                    event_type: self.shared.types().number(&event.event_type)?,
                    timestamp: event.timestamp.0,
                    test: event.test,
                },
                targets: event.targets.clone(),
            },
            Fact::Webhook(webhook) => Item::Webhook(webhook.number),
            Fact::WebhookDeleted { webhook } => Item::WebhookDeleted(*webhook),
            Fact::Replayed(due) => Item::Replayed {
                delivery: numbers(due.delivery),
                webhook: due.webhook,
                due_at: due.due_at.0,
                attempts_made: due.attempts_made,
            },
            Fact::BulkReplay(replay) => Item::BulkReplay(replay.number),
            Fact::Cancelled { delivery, webhook } => {
                Item::Cancelled { delivery: numbers(*delivery), webhook: *webhook }
            }
            Fact::Settled(settlement) => Item::Settled {
                delivery: numbers(settlement.delivery),
                webhook: settlement.webhook,
                head: heads.get(&settlement.delivery.event).copied(),
                attempt: settlement.attempt.as_ref().map(|attempt| Box::new(shortened(attempt))),
                next: match settlement.next {
                    Next::Delivered => NextItem::Delivered,
                    Next::Failed => NextItem::Failed,
                    Next::Retry { due_at, retries_made, reason } => {
                        NextItem::Retry { due_at: due_at.0, retries_made, reason }
                    }
                },
            },
            Fact::Resumed { .. } => return None,
        })
    }
}

/// Asks which accounts of these events and deliveries somebody follows, in their transaction.
pub(super) async fn followed_of(
    link: &Link,
    shared: &Shared,
    events: &[NewEvent],
    ends: &[Arc<Settlement>],
) -> Result<BTreeSet<u32>, Fault> {
    let accounts = events.iter().map(|event| event.account);
    let of_ends = ends.iter().filter_map(|settlement| shared.account_of(settlement.webhook));
    let accounts: BTreeSet<u32> = accounts.chain(of_ends).collect();
    followed(link, accounts.into_iter()).await
}

/// Those of these accounts that somebody follows.
async fn followed(link: &Link, accounts: impl Iterator<Item = u32>) -> Result<BTreeSet<u32>, Fault> {
    let accounts: Vec<i32> = accounts.map(|account| account as i32).collect();
    let sql = "SELECT account FROM followed WHERE account = ANY ($1::integer[]) AND until > clock_timestamp()";
    let followed = link.rows(sql, &[&accounts]).await?;
    Ok(followed.iter().map(|row| row.get::<_, i32>(0) as u32).collect())
}

fn sum(account: i32, items: &[u8]) -> Checksum {
    Checksum::of("chronicle").numbers([account.into()]).bytes(items)
}

/// An attempt with as much of its answer as a line about it says.
fn shortened(attempt: &Attempt) -> Attempt {
    let mut attempt = attempt.clone();
    if let Some(answer) = &mut attempt.answer {
        if attempt.failure.is_none() {
            answer.headers.clear();
        }
        if attempt.failure.is_none() || answer.body.len() > ANSWER_MAX {
            answer.body.clear();
        }
    }
    attempt
}

/// Forgets what happened long ago, and who is no longer followed.
pub(super) async fn prune(link: &Link, budget: i64) -> Result<u64, Fault> {
    link.run("DELETE FROM followed WHERE until < now() - interval '1 hour'", &[]).await?;
    link.run(
        "DELETE FROM chronicle WHERE (account, tx) IN
             (SELECT account, tx FROM chronicle WHERE at < now() - interval '4 minutes' ORDER BY at LIMIT $1)",
        &[&budget],
    )
    .await
}
