//! Retention: what has ended long enough ago goes, a bounded batch at a time.

use std::time::Duration;

use domain::id::EventId;
use domain::store::StoreError;
use domain::time::Timestamp;

use super::deliveries::{self, DeliveryRow};
use super::engine::Engine;
use super::fault::Fault;
use super::{audit, events, idempotency, replays};

/// How many of the oldest replays that are over a batch looks at.
const REPLAYS_AT_ONCE: usize = 8;

/// What a batch of retention did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retained {
    /// How many events went, with their deliveries and attempts.
    pub events: usize,
    /// How many entries of the audit log went.
    pub entries: usize,
    /// How many idempotency keys were forgotten.
    pub keys: usize,
    /// Whether there may be more to do at once. If not, the next call starts from the oldest event again.
    pub more: bool,
}

impl Engine {
    /// Looks at up to `budget` events, from where the last call stopped, and deletes those whose deliveries have all ended
    /// before `now` less `keep`: retention counts from a delivery's end, and never touches what is unfinished. Deletes up
    /// to `budget` entries of the audit log that are older than that, and forgets up to `budget` idempotency keys that have
    /// been kept long enough. In a transaction.
    ///
    /// # Errors
    /// [`StoreError`], after which the transaction cannot be committed.
    pub fn retain(&mut self, now: Timestamp, keep: Duration, budget: usize) -> Result<Retained, StoreError> {
        Ok(self.retain_some(now, keep, budget)?)
    }

    fn retain_some(&mut self, now: Timestamp, keep: Duration, budget: usize) -> Result<Retained, Fault> {
        let until = now.minus(keep);
        // No delivery ends before its event is accepted.
        let keys_until = EventId::first_at(until.0.max(0)).0;
        let seen = events::keys_between(&self.conn, self.retained_after, keys_until, budget)?;
        let mut retained = Retained { more: seen.len() == budget, ..Retained::default() };
        for (event, targets) in &seen {
            let rows = match deliveries::of_event(&self.conn, *event) {
                // A bad row stays where it is, for a person to look at, and keeps no other from going.
                Err(Fault::Damaged(_)) => continue,
                rows => rows?,
            };
            let ended = |row: &DeliveryRow| row.ended_at.is_some_and(|at| at < until);
            if rows.len() == *targets && rows.iter().all(ended) {
                deliveries::delete_of_event(&self.conn, *event)?;
                events::delete(&self.conn, *event)?;
                retained.events += 1;
            }
        }
        self.retained_after = match seen.last() {
            Some((event, _)) if retained.more => event.0,
            Some(_) | None => 0,
        };
        retained.entries = audit::prune(&self.conn, until, budget)?;
        retained.more |= retained.entries == budget;
        retained.keys = idempotency::prune(&self.conn, now, budget)?;
        retained.more |= retained.keys == budget;
        for number in replays::ended_before(&self.conn, until, REPLAYS_AT_ONCE)? {
            replays::delete(&self.conn, number)?;
        }
        Ok(retained)
    }
}
