//! Cancelling all that waits for a webhook: a bounded number of deliveries in each transaction, so that others write in
//! between.
//!
//! A webhook is deleted at once; a row of `cancellings` remembers that something of it may be left. Another node may have been
//! accepting for it at the same instant: so the row stays for a while after the last was found.

use std::time::Duration;

use domain::id::DeliveryId;
use domain::store::Fact;
use domain::time::Timestamp;

use super::connection::Link;
use super::directory::Entry;
use super::engine::Engine;
use super::fault::Fault;
use super::hot;
use super::replaying::may_be_of_replay;
use crate::rows::checksum::Checksum;
use crate::rows::delivery::State;

/// For how long after its deletion something of a webhook may still come: longer than any transaction that accepts.
const LATE: Duration = Duration::from_secs(60);

/// What of a webhook is cancelled where its pause ends so: what is due before this instant, of events before this key.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeldUntil {
    pub(super) due: Timestamp,
    pub(super) key: u64,
}

impl Engine {
    /// Cancels up to `budget` deliveries that a webhook holds, oldest first, tests left out; says how many.
    pub(super) async fn cancel_held_of(
        &mut self,
        now: Timestamp,
        (account, webhook): (u32, u32),
        until: HeldUntil,
        budget: usize,
    ) -> Result<usize, Fault> {
        let link = self.link()?;
        let (mut after, mut cancelled) = (None, 0);
        while cancelled < budget {
            let waiting =
                hot::of_webhook(&link, (account, webhook), after, until.due, (budget - cancelled).min(5_000)).await?;
            let Some(last) = waiting.last() else { break };
            after = Some(last.row.id);
            let held: Vec<_> =
                waiting.iter().map(|waiting| waiting.row.id).filter(|id| id.event.0 < until.key).collect();
            let ids = self.cancel_waiting(now, (account, webhook), &held).await?;
            cancelled += ids.len();
            self.staged.facts.extend(ids.into_iter().map(|delivery| Fact::Cancelled { delivery, webhook }));
        }
        Ok(cancelled)
    }

    /// Cancels a bounded number of a deleted webhook's deliveries, as of `at`; returns whether there may be more.
    pub(super) async fn cancel_all_of(&mut self, at: Timestamp, (account, webhook): (u32, u32)) -> Result<bool, Fault> {
        let link = self.link()?;
        let rows = link
            .rows(
                "SELECT event, place FROM hot WHERE shard = $1 AND webhook = $2 ORDER BY event, place LIMIT $3",
                &[&hot::shard(account, webhook), &(webhook as i32), &(self.limits.cancelled_at_once as i64)],
            )
            .await?;
        let id = |row: &tokio_postgres::Row| DeliveryId {
            event: domain::id::EventId(row.get::<_, i64>(0) as u64),
            place: row.get::<_, i16>(1) as u16,
        };
        let ids: Vec<_> = rows.iter().map(id).collect();
        self.cancel_waiting(at, (account, webhook), &ids).await?;
        Ok(ids.len() == self.limits.cancelled_at_once)
    }

    /// Cancels deliveries that wait; gives those that did.
    async fn cancel_waiting(
        &mut self,
        at: Timestamp,
        (account, webhook): (u32, u32),
        ids: &[DeliveryId],
    ) -> Result<Vec<DeliveryId>, Fault> {
        let link = self.link()?;
        let mut keys = hot::Keys::default();
        ids.iter().for_each(|id| keys.push(account, webhook, *id));
        let (mut cancelled, mut replayed) = (Vec::new(), Vec::new());
        for mut waiting in hot::take(&link, &keys).await? {
            let replays = may_be_of_replay(&waiting.row, waiting.reason);
            waiting.row.end(State::Cancelled, at);
            self.staged.counted.written(&waiting.row);
            if replays {
                replayed.push((waiting.row.clone(), None));
            }
            cancelled.push(waiting.row.id);
            self.staged.moves.ended.push((waiting.row, None));
        }
        self.count_in_replays(&replayed).await?;
        self.write_moves().await?;
        Ok(cancelled)
    }

    /// Cancels some of what deleted webhooks have left, if this node is to: a bounded number. In a transaction. Returns
    /// whether there may be more.
    pub(super) async fn cancel_some(&mut self, now: Timestamp) -> Result<bool, Fault> {
        let left: Vec<_> = self.shared.cancelling().iter().map(|(webhook, (of, at))| (*webhook, *of, *at)).collect();
        let link = self.link()?;
        let mut more = false;
        for (webhook, account, at) in left {
            // One node at a time: the others pass it over.
            let held = link
                .row(
                    "SELECT at FROM cancellings WHERE account = $1 AND webhook = $2 FOR UPDATE SKIP LOCKED",
                    &[&(account as i32), &(webhook as i32)],
                )
                .await?;
            if held.is_none() {
                continue;
            }
            if self.cancel_all_of(at, (account, webhook)).await? {
                more = true;
            } else if now.since(at) > LATE {
                let sql = "DELETE FROM cancellings WHERE account = $1 AND webhook = $2";
                link.run(sql, &[&(account as i32), &(webhook as i32)]).await?;
                self.staged.directory.push(Entry::AllCancelled(webhook));
            }
        }
        self.write_replays(now).await?;
        Ok(more)
    }
}

/// Remembers that a webhook was deleted, and that something of it may be left to be cancelled.
pub(super) async fn put(link: &Link, webhook: u32, account: u32, at: Timestamp) -> Result<(), Fault> {
    link.run(
        "INSERT INTO cancellings (webhook, account, at, crc) VALUES ($1, $2, $3, $4)",
        &[&(webhook as i32), &(account as i32), &at.0, &sum(webhook, account, at).sum()],
    )
    .await?;
    Ok(())
}

/// All, each a webhook, its account, and when it was deleted.
pub(super) async fn load(link: &Link) -> Result<Vec<(u32, u32, Timestamp)>, Fault> {
    let mut found = Vec::new();
    for row in link.rows("SELECT webhook, account, at, crc FROM cancellings", &[]).await? {
        let (webhook, account) = (row.get::<_, i32>(0) as u32, row.get::<_, i32>(1) as u32);
        let at = Timestamp(row.get(2));
        sum(webhook, account, at).verify(row.get(3), || format!("cancelling of webhook {webhook}"))?;
        found.push((webhook, account, at));
    }
    Ok(found)
}

fn sum(webhook: u32, account: u32, at: Timestamp) -> Checksum {
    Checksum::of("cancellings").numbers([webhook.into(), account.into(), at.0])
}
