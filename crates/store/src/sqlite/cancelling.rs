//! Cancelling all that waits for a webhook: a bounded number of deliveries in each transaction, so that others write in
//! between.
//!
//! A webhook is deleted at once. What is left of it to be cancelled then, a row of `cancellings` remembers over crashes; it is
//! shown as cancelled from the deletion on, and is never sent, since nothing is sent to a webhook that is not there. A pause
//! that ends by cancelling ends with the last of what it held: until then the webhook is paused, also after a crash.

use domain::attempt::Reason;
use domain::id::EventId;
use domain::store::{Fact, StoreError};
use domain::time::Timestamp;
use domain::webhook::Webhook;
use rusqlite::{Connection, params};

use super::checksum::Checksum;
use super::deliveries::{self, State};
use super::due;
use super::engine::{Engine, Entry};
use super::fault::Fault;
use super::replaying;

/// What of a webhook is cancelled where its pause ends so.
#[derive(Debug, Clone, Copy)]
pub struct HeldUntil {
    /// Due before this instant.
    pub due: Timestamp,
    /// Of events before this one, whatever the clock does meanwhile.
    pub event: EventId,
}

impl Engine {
    /// What a webhook that is paused holds now.
    #[must_use]
    pub fn held_until(&self, now: Timestamp) -> HeldUntil {
        let due = now.plus(std::time::Duration::from_micros(1));
        HeldUntil { due, event: EventId(self.stamps.next_key()) }
    }

    /// Cancels some of what a paused webhook holds, before `resumed` takes its place: a bounded number. In a transaction.
    /// Returns whether there may be more.
    ///
    /// # Errors
    /// [`StoreError`], after which the transaction cannot be committed.
    pub fn cancel_held(&mut self, now: Timestamp, resumed: &Webhook, until: HeldUntil) -> Result<bool, StoreError> {
        let stored = self.shared.directory.read().webhook_numbered(resumed.number).cloned();
        let may = stored.is_some_and(|stored| stored.pause.is_some() && stored.version + 1 == resumed.version);
        if !may {
            // The resuming itself says why not.
            return Ok(false);
        }
        let at_once = self.limits.cancelled_at_once;
        self.resuming = Some((resumed.number, until));
        let cancelled = self.cancel_held_of(now, resumed.number, until, at_once)?;
        self.write_replays(now)?;
        Ok(cancelled == at_once)
    }

    /// Cancels up to `budget` deliveries that a webhook holds, oldest first, tests left out; says how many.
    pub(super) fn cancel_held_of(
        &mut self,
        now: Timestamp,
        webhook: u32,
        until: HeldUntil,
        budget: usize,
    ) -> Result<usize, Fault> {
        let (mut after, mut cancelled) = (None, 0);
        while cancelled < budget {
            let waiting = due::of_webhook(&self.conn, webhook, after, until.due, budget - cancelled)?;
            let Some(last) = waiting.last() else { break };
            after = Some(last.delivery);
            let held = waiting.iter().filter(|due| due.reason != Reason::Test && due.delivery.event < until.event);
            for due in held {
                self.cancel_waiting(now, webhook, due.delivery)?;
                self.staged.facts.push(Fact::Cancelled { delivery: due.delivery, webhook });
                cancelled += 1;
            }
        }
        Ok(cancelled)
    }

    /// Whether something of deleted webhooks is left to be cancelled.
    #[must_use]
    pub fn cancels(&self) -> bool {
        !self.shared.cancelling().is_empty()
    }

    /// Cancels some of what deleted webhooks have left: a bounded number. In a transaction. Returns whether there may be
    /// more.
    ///
    /// # Errors
    /// [`StoreError`], after which the transaction cannot be committed.
    pub fn cancel_some(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        let first = self.shared.cancelling().iter().map(|(webhook, (_, at))| (*webhook, *at)).min();
        let Some((webhook, at)) = first else { return Ok(false) };
        if !self.cancel_all_of(at, webhook)? {
            delete(&self.conn, webhook)?;
            self.staged.directory.push(Entry::AllCancelled(webhook));
        }
        self.write_replays(now)?;
        Ok(true)
    }

    /// Cancels a bounded number of a deleted webhook's deliveries, as of `at`; returns whether there may be more.
    pub(super) fn cancel_all_of(&mut self, at: Timestamp, webhook: u32) -> Result<bool, Fault> {
        let at_once = self.limits.cancelled_at_once;
        let mut fresh = self.fresh_of(webhook, |_| true);
        fresh.truncate(at_once);
        let mut insert = deliveries::prepare_insert(&self.conn)?;
        for (id, delivery) in &fresh {
            let mut row = delivery.row(*id);
            row.end(State::Cancelled, at);
            deliveries::insert(&mut insert, &mut self.staged.counted, &row, None)?;
            self.staged.rows.insert(*id);
        }
        drop(insert);
        let waiting = due::of_webhook(&self.conn, webhook, None, Timestamp(i64::MAX), at_once - fresh.len())?;
        for due in &waiting {
            self.cancel_waiting(at, webhook, due.delivery)?;
        }
        Ok(fresh.len() + waiting.len() == at_once)
    }

    /// Cancels a delivery that waits on disk.
    fn cancel_waiting(&mut self, at: Timestamp, webhook: u32, id: domain::id::DeliveryId) -> Result<(), Fault> {
        due::delete(&self.conn, webhook, id)?;
        let mut row = match deliveries::get(&self.conn, id) {
            Ok(Some(row)) => row,
            // A bad row stays where it is, for a person to look at, and keeps no other from being cancelled.
            Ok(None) | Err(Fault::Damaged(_)) => {
                tracing::error!(delivery = %id, "waits, and its row is missing or damaged: it cannot be cancelled");
                return Ok(());
            }
            Err(fault) => return Err(fault),
        };
        row.end(State::Cancelled, at);
        deliveries::update(&self.conn, &mut self.staged.counted, &row, None)?;
        replaying::count(&self.conn, &mut self.staged.replays, &row, None)
    }
}

/// Remembers that a webhook was deleted, and that something of it is left to be cancelled.
pub(super) fn put(conn: &Connection, webhook: u32, account: u32, at: Timestamp) -> Result<(), Fault> {
    conn.prepare_cached("INSERT INTO cancellings (webhook, account, at, crc) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![webhook, account, at.0, sum(webhook, account, at).sum()])?;
    Ok(())
}

fn delete(conn: &Connection, webhook: u32) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM cancellings WHERE webhook = ?1")?.execute([webhook])?;
    Ok(())
}

/// Forgets those of an account: its deliveries are erased.
pub(super) fn delete_of_account(conn: &Connection, account: u32) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM cancellings WHERE account = ?1")?.execute([account])?;
    Ok(())
}

/// All, each a webhook, its account, and when it was deleted.
pub(super) fn load(conn: &Connection) -> Result<Vec<(u32, u32, Timestamp)>, Fault> {
    let mut statement = conn.prepare("SELECT webhook, account, at, crc FROM cancellings")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (webhook, account, at) = (row.get(0)?, row.get(1)?, Timestamp(row.get(2)?));
        sum(webhook, account, at).verify(row.get(3)?, || format!("cancelling of webhook {webhook}"))?;
        found.push((webhook, account, at));
    }
    Ok(found)
}

fn sum(webhook: u32, account: u32, at: Timestamp) -> Checksum {
    Checksum::of("cancellings").numbers([webhook.into(), account.into(), at.0])
}
