//! Erasing an account: nothing of it is left, in the tables or between them.
//!
//! One transaction closes the account: its own row, its keys and its webhooks with their secrets are gone, and a row of
//! `erasures` remembers what is left to do. Its events follow in bounded batches, also after a crash. Then zeros are laid over
//! the pages that rows have left which went before, by retention, and were not overwritten then. At last SQLite's log is
//! emptied, which held what was there; then the row goes too.

use domain::audit::Act;
use domain::store::{ChangeError, Fact, StoreError};
use domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};

use super::checksum::Checksum;
use super::engine::{Engine, Entry};
use super::fault::Fault;
use super::{accounts, audit, cancelling, deliveries, due, events, figures, keys, sessions, webhooks};

/// How many free pages are overwritten in one transaction: 8 MiB.
const PAGES_AT_ONCE: i64 = 2_048;
/// So many zeros leave no place for a second row in a page.
const ZEROS: i64 = 4_000;

/// Where an erasure stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Events = 0,
    Zeros = 1,
    Clearing = 2,
}

impl Step {
    fn read(number: i64) -> Option<Self> {
        [Self::Events, Self::Zeros, Self::Clearing].into_iter().find(|step| *step as i64 == number)
    }
}

/// What a batch of an erasure did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erased {
    /// There was nothing to erase.
    Nothing,
    /// There is more to erase.
    Some,
    /// All rows of this account are erased; [`Engine::erasure_ends`] once the log is emptied.
    All(u32),
}

/// Where rows of an account are, and that they go with it. A test over the tables keeps the list whole.
#[cfg(test)]
const WITH_THE_ACCOUNT: &[&str] = &[
    "accounts",
    "webhooks",
    "webhooks_gone",
    "cancellings",
    "keys",
    "events",
    "deliveries",
    "attempts",
    "due",
    "sessions",
    "erasures",
    "audit",
    "stats_minutes",
    "stats_hours",
    "stats_journal",
    "events_young",
    "events_by_type",
    "deliveries_young",
    "deliveries_by_webhook",
    "replays",
    "replay_pages",
    "replayed",
];
/// Tables that hold nothing of an account, or forget it by themselves: what an idempotency key was answered is sealed, and
/// goes after a day.
#[cfg(test)]
const WITHOUT: &[&str] = &["marks", "event_types", "idempotency", "zeros"];

impl Engine {
    /// Closes an account: it is gone for everybody, and its erasure is certain.
    pub(super) fn delete_account(&mut self, now: Timestamp, number: u32) -> Result<Act, ChangeError> {
        let directory = self.shared.directory.read();
        let act = Act::account_deleted(directory.account_numbered(number).ok_or(ChangeError::NotFound)?);
        let gone: Vec<_> = directory.webhooks_of(number).cloned().collect();
        drop(directory);
        self.overwriting(|engine| {
            for webhook in &gone {
                webhooks::delete(&engine.conn, webhook, false)?;
            }
            keys::delete_of_account(&engine.conn, number)?;
            audit::delete_of_account(&engine.conn, number)?;
            cancelling::delete_of_account(&engine.conn, number)?;
            sessions::delete_of_account(&engine.conn, number)?;
            accounts::delete(&engine.conn, number)?;
            engine.erase_replays(now, number)?;
            put(&engine.conn, number, Step::Events)
        })?;
        let fresh = self.shared.fresh();
        let rows: Vec<_> = fresh.iter().filter(|(_, delivery)| delivery.account == number).map(|(id, _)| id).collect();
        drop(fresh);
        self.staged.rows.extend(rows);
        for webhook in gone {
            self.staged.facts.push(Fact::WebhookDeleted { webhook: webhook.number });
        }
        self.staged.directory.push(Entry::AccountGone(number));
        Ok(act)
    }

    /// Erases up to `budget` events of a closed account, with their deliveries and attempts; then overwrites a bounded number
    /// of pages. In a transaction.
    ///
    /// # Errors
    /// [`StoreError`], after which the transaction cannot be committed.
    pub fn erase(&mut self, budget: usize) -> Result<Erased, StoreError> {
        let Some((account, step)) = first(&self.conn)? else { return Ok(Erased::Nothing) };
        let erased = match step {
            Step::Events => self.overwriting(|engine| engine.erase_events(account, budget))?,
            Step::Zeros => self.lay_zeros(account)?,
            Step::Clearing => self.clear_zeros(account)?,
        };
        Ok(erased)
    }

    /// The log is emptied: nothing of the account is left, and nothing of its erasure. In a transaction.
    ///
    /// # Errors
    /// [`StoreError`], after which the transaction cannot be committed.
    pub fn erasure_ends(&mut self, account: u32) -> Result<(), StoreError> {
        let ended = self
            .conn
            .prepare_cached("DELETE FROM erasures WHERE account = ?1")
            .map_err(Fault::from)?
            .execute([account]);
        ended.map_err(Fault::from)?;
        self.sizes.forget(account);
        Ok(())
    }

    fn erase_events(&mut self, account: u32, budget: usize) -> Result<Erased, Fault> {
        let oldest = events::oldest_of_account(&self.conn, account, budget)?;
        for event in &oldest {
            due::delete_of_event(&self.conn, *event)?;
            deliveries::delete_of_event(&self.conn, *event)?;
            events::delete(&self.conn, *event)?;
        }
        if oldest.len() == budget {
            return Ok(Erased::Some);
        }
        self.fold()?;
        figures::delete_of_account(&self.conn, account)?;
        webhooks::delete_gone_of_account(&self.conn, account)?;
        put(&self.conn, account, Step::Zeros)?;
        Ok(Erased::Some)
    }

    /// New rows take free pages first: as many rows of zeros as there are of those overwrite them all.
    fn lay_zeros(&self, account: u32) -> Result<Erased, Fault> {
        let free: i64 = self.conn.query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
        let mut statement = self.conn.prepare_cached("INSERT INTO zeros (filler) VALUES (zeroblob(?1))")?;
        for _ in 0..free.min(PAGES_AT_ONCE) {
            statement.execute([ZEROS])?;
        }
        if free <= PAGES_AT_ONCE {
            put(&self.conn, account, Step::Clearing)?;
        }
        Ok(Erased::Some)
    }

    /// The zeros go again, and leave free pages that hold nothing else.
    fn clear_zeros(&self, account: u32) -> Result<Erased, Fault> {
        let sql = "DELETE FROM zeros WHERE rowid IN (SELECT rowid FROM zeros LIMIT ?1)";
        let gone = self.conn.prepare_cached(sql)?.execute([PAGES_AT_ONCE])?;
        Ok(if gone == 0 { Erased::All(account) } else { Erased::Some })
    }

    /// What is deleted is overwritten, so that the file no longer holds it.
    fn overwriting<T>(&mut self, erase: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.conn.execute_batch("PRAGMA secure_delete = ON")?;
        let erased = erase(self);
        self.conn.execute_batch("PRAGMA secure_delete = FAST")?;
        erased
    }
}

fn put(conn: &Connection, account: u32, step: Step) -> Result<(), Fault> {
    conn.prepare_cached("INSERT OR REPLACE INTO erasures (account, step, crc) VALUES (?1, ?2, ?3)")?.execute((
        account,
        step as i64,
        sum(account, step as i64).sum(),
    ))?;
    Ok(())
}

/// The first account whose erasure has not ended.
fn first(conn: &Connection) -> Result<Option<(u32, Step)>, Fault> {
    let found: Option<(u32, i64, i64)> = conn
        .prepare_cached("SELECT account, step, crc FROM erasures ORDER BY account LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((account, step, crc)) = found else { return Ok(None) };
    sum(account, step).verify(crc, || format!("erasure of account {account}"))?;
    let step = Step::read(step).ok_or_else(|| Fault::damaged("an erasure", "it stands nowhere"))?;
    Ok(Some((account, step)))
}

/// Compares the checksum of every row.
pub(super) fn verify(conn: &Connection) -> Result<u64, Fault> {
    let mut statement = conn.prepare("SELECT account, step, crc FROM erasures")?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let account: u32 = row.get(0)?;
        sum(account, row.get(1)?).verify(row.get(2)?, || format!("erasure of account {account}"))?;
        count += 1;
    }
    Ok(count)
}

fn sum(account: u32, step: i64) -> Checksum {
    Checksum::of("erasures").numbers([account.into(), step])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema::tests::{columns, empty};

    #[test]
    fn no_table_is_forgotten() {
        for column in columns(&empty()) {
            let table = &*column.table;
            assert!(
                WITH_THE_ACCOUNT.contains(&table) != WITHOUT.contains(&table),
                "{table}: either its rows go with their account, here, or it holds nothing of an account"
            );
        }
    }
}
