//! Retention by age and by size: what has ended goes, a bounded batch at a time. What is unfinished never goes.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use domain::id::EventId;
use domain::store::{NoSpace, StoreError};
use domain::time::Timestamp;

use super::deliveries::{self, DeliveryRow};
use super::engine::Engine;
use super::events::Aged;
use super::fault::Fault;
use super::{audit, events, idempotency, replays, sizes};

/// How many of the oldest replays that are over a batch looks at.
const REPLAYS_AT_ONCE: usize = 8;
/// By what part of its bound what is kept may be over it before nothing more is accepted, while what has ended goes.
const OVER: u64 = 10;

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

/// What is over its size, and what is therefore not accepted.
#[derive(Debug, Default)]
pub(super) struct Shrinking {
    passes: HashMap<Option<u32>, Pass>,
    full: HashSet<Option<u32>>,
}

/// One way through the events, from the oldest to the newest.
#[derive(Debug, Default, Clone, Copy)]
struct Pass {
    after: u64,
    deleted: usize,
}

impl Shrinking {
    /// Why nothing is accepted for an account, if that is so.
    pub(super) fn refuses(&self, account: u32) -> Option<NoSpace> {
        if self.full.contains(&None) {
            return Some(NoSpace::Store);
        }
        self.full.contains(&Some(account)).then_some(NoSpace::Account)
    }

    fn set(&mut self, of: Option<u32>, full: bool) {
        if full {
            self.full.insert(of);
        } else {
            self.full.remove(&of);
        }
    }
}

impl Engine {
    /// Looks at up to `budget` events, from where the last call stopped, and deletes those whose deliveries have all ended
    /// before `now` less `keep`, or less what their account says: retention counts from a delivery's end, and never touches
    /// what is unfinished. Deletes up to `budget` entries of the audit log that are older than `keep`, and forgets up to
    /// `budget` idempotency keys that have been kept long enough. In a transaction.
    ///
    /// # Errors
    /// [`StoreError`], after which the transaction cannot be committed.
    pub fn retain(&mut self, now: Timestamp, keep: Duration, budget: usize) -> Result<Retained, StoreError> {
        Ok(self.retain_some(now, keep, budget)?)
    }

    /// Deletes the oldest events whose deliveries have all ended, up to `budget` of them, as far as more is kept than
    /// `size` bytes, or than an account's own bound. Where a bound cannot be kept since all that is left is unfinished, or is
    /// left behind by far, [`Self::accept`] refuses until it can. In a transaction.
    ///
    /// # Errors
    /// [`StoreError`], after which the transaction cannot be committed.
    pub fn shrink(&mut self, size: Option<u64>, budget: usize) -> Result<Retained, StoreError> {
        Ok(self.shrink_some(size, budget)?)
    }

    fn retain_some(&mut self, now: Timestamp, keep: Duration, budget: usize) -> Result<Retained, Fault> {
        let own: HashMap<u32, Duration> = {
            let directory = self.shared.directory.read();
            let accounts = directory.accounts();
            accounts.filter_map(|account| Some((account.number, account.log.retention?))).collect()
        };
        let until = now.minus(keep);
        let latest = own.values().map(|keep| now.minus(*keep)).max().map_or(until, |own| own.max(until));
        // No delivery ends before its event is accepted.
        let keys_until = EventId::first_at(latest.0.max(0)).0;
        let seen = events::between(&self.conn, None, self.retained_after, keys_until, budget)?;
        let mut retained = Retained { more: seen.len() == budget, ..Retained::default() };
        for event in &seen {
            let until = own.get(&event.account).map_or(until, |keep| now.minus(*keep));
            retained.events += usize::from(self.delete_if_ended(event, until)?.is_some());
        }
        self.retained_after = match seen.last() {
            Some(event) if retained.more => event.id.0,
            Some(_) | None => 0,
        };
        retained.entries = audit::prune(&self.conn, until, budget)?;
        retained.more |= retained.entries == budget;
        retained.keys = idempotency::prune(&self.conn, now, budget)?;
        retained.more |= retained.keys == budget;
        for number in replays::ended_before(&self.conn, until, REPLAYS_AT_ONCE)? {
            replays::delete(&self.conn, number)?;
        }
        self.sizes.save(&self.conn)?;
        Ok(retained)
    }

    /// Deletes an event, if all its deliveries have ended before `until`; how many bytes that frees.
    fn delete_if_ended(&mut self, event: &Aged, until: Timestamp) -> Result<Option<i64>, Fault> {
        let rows = match deliveries::of_event(&self.conn, event.id) {
            // A bad row stays where it is, for a person to look at, and keeps no other from going.
            Err(Fault::Damaged(_)) => return Ok(None),
            rows => rows?,
        };
        let ended = |row: &DeliveryRow| row.ended_at.is_some_and(|at| at < until);
        if rows.len() != event.targets || !rows.iter().all(ended) {
            return Ok(None);
        }
        let freed = sizes::of_event(event.bytes, event.targets) + deliveries::record_bytes(&self.conn, event.id)?;
        deliveries::delete_of_event(&self.conn, event.id)?;
        events::delete(&self.conn, event.id)?;
        *self.staged.sizes.entry(event.account).or_default() -= freed;
        Ok(Some(freed))
    }

    fn shrink_some(&mut self, size: Option<u64>, budget: usize) -> Result<Retained, Fault> {
        let mut bounds: Vec<(Option<u32>, u64, u64)> = Vec::new();
        if let Some(size) = size {
            bounds.push((None, self.used()?, size));
        }
        let directory = self.shared.directory.read();
        for account in directory.accounts() {
            if let Some(size) = account.log.retention_size {
                bounds.push((Some(account.number), self.sizes.of(account.number), size));
            }
        }
        drop(directory);
        // A bound that is no more is no reason to refuse.
        self.shrinking.full.retain(|of| bounds.iter().any(|(bounded, ..)| bounded == of));
        let mut shrunk = Retained::default();
        for (of, used, size) in bounds {
            let Some(over) = used.checked_sub(size).filter(|over| *over > 0) else {
                self.shrinking.set(of, false);
                self.shrinking.passes.remove(&of);
                continue;
            };
            let mut pass = self.shrinking.passes.get(&of).copied().unwrap_or_default();
            let seen = events::between(&self.conn, of, pass.after, u64::MAX, budget)?;
            let mut freed = 0;
            for event in &seen {
                pass.after = event.id.0;
                if let Some(bytes) = self.delete_if_ended(event, Timestamp(i64::MAX))? {
                    freed += u64::try_from(bytes).unwrap_or(0);
                    pass.deleted += 1;
                    shrunk.events += 1;
                }
                if freed >= over {
                    break;
                }
            }
            let to_the_end = seen.len() < budget && freed < over;
            let stuck = to_the_end && pass.deleted == 0;
            self.shrinking.set(of, stuck || over - over.min(freed) > size / OVER);
            shrunk.more |= !stuck;
            self.shrinking.passes.insert(of, if to_the_end { Pass::default() } else { pass });
        }
        Ok(shrunk)
    }

    /// About how many bytes are kept of an account.
    #[must_use]
    pub fn kept_of(&self, account: u32) -> u64 {
        self.sizes.of(account)
    }

    /// How many bytes of the file are in use; 0 if that cannot be read.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used().unwrap_or(0)
    }

    fn used(&self) -> Result<u64, Fault> {
        let read = |pragma: &str| self.conn.prepare_cached(pragma)?.query_row([], |row| row.get::<_, i64>(0));
        let pages = read("PRAGMA page_count")? - read("PRAGMA freelist_count")?;
        Ok(u64::try_from(pages * read("PRAGMA page_size")?).unwrap_or(0))
    }
}
