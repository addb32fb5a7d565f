//! What the present transaction changes of the figures: gathered in memory, and written by its commit.
//!
//! Every way in which a delivery can end goes through [`super::deliveries::insert`] or [`super::deliveries::update`], and
//! these count. So no end is forgotten, none is counted without its row, and a crash loses neither or both.

use std::collections::{BTreeMap, HashMap};

use domain::attempt::Attempt;
use domain::stats::{End, Figures, minute};
use domain::store::StoreError;
use domain::time::Timestamp;
use rusqlite::Connection;

use super::deliveries::{DeliveryRow, State};
use super::engine::Engine;
use super::fault::Fault;
use super::figures::{self, Key, Table, WHOLE_ACCOUNT};
use super::{journal, marks};

/// How many rows by the minute are added to those by the hour in one transaction.
const ROLLED_AT_ONCE: usize = 500;
/// Minutes that may still get figures: the present one and the one before.
const OPEN_MINUTES: i64 = 1;

/// What a transaction changes.
#[derive(Debug, Default)]
pub(super) struct Counted {
    figures: BTreeMap<Key, Figures>,
    waiting: HashMap<u32, i64>,
    inserted: usize,
}

impl Counted {
    /// Counts an attempt of a delivery.
    pub(super) fn attempted(&mut self, row: &DeliveryRow, attempt: &Attempt) {
        if !row.test {
            self.at(row, attempt.ended_at()).attempted(attempt);
        }
    }

    /// Counts a delivery's new row.
    pub(super) fn inserted(&mut self, row: &DeliveryRow) {
        self.inserted += 1;
        self.written(row);
    }

    /// Counts what has become of a delivery whose row is written.
    pub(super) fn written(&mut self, row: &DeliveryRow) {
        if row.test {
            return;
        }
        let waited = row.was == Some(State::Waiting);
        let change = i64::from(row.state == State::Waiting) - i64::from(waited);
        if change != 0 {
            *self.waiting.entry(row.webhook).or_default() += change;
        }
        let end = match row.state {
            _ if row.was == Some(row.state) => return,
            State::Waiting => return,
            State::Delivered => End::Delivered,
            State::Failed => End::Failed,
            State::Cancelled => End::Cancelled,
        };
        self.at(row, row.ended_at.unwrap_or_default()).ended(end, row.retries_made > 0);
    }

    fn at(&mut self, row: &DeliveryRow, at: Timestamp) -> &mut Figures {
        let key = Key { start: minute(at), account: row.account, webhook: row.webhook };
        self.figures.entry(key).or_default()
    }

    /// The figures counted so far, in the order of their rows.
    pub(super) fn take_figures(&mut self) -> BTreeMap<Key, Figures> {
        std::mem::take(&mut self.figures)
    }

    /// How many deliveries have got their rows.
    pub(super) fn take_inserted(&mut self) -> usize {
        std::mem::take(&mut self.inserted)
    }

    /// By how many the deliveries that wait on disk become more, for each webhook.
    pub(super) fn take_waiting(&mut self) -> HashMap<u32, i64> {
        std::mem::take(&mut self.waiting)
    }
}

impl Engine {
    /// Writes what the present transaction changes of the figures.
    pub(super) fn write_counted(&mut self) -> Result<(), Fault> {
        let counted = self.staged.counted.take_figures();
        if counted.is_empty() {
            return Ok(());
        }
        journal::insert(&self.conn, &counted)?;
        self.journaled += 1;
        if self.journaled >= journal::FOLDED_FROM { self.fold() } else { Ok(()) }
    }

    /// Adds what the journal has to its minutes. In a transaction.
    pub(super) fn fold(&mut self) -> Result<(), Fault> {
        if self.journaled > 0 {
            journal::fold(&self.conn, self.rolled)?;
            self.journaled = 0;
        }
        Ok(())
    }

    /// Adds a bounded number of minutes that have ended to their hours, and deletes what is old enough. In a transaction.
    /// Returns whether there may be more to do.
    ///
    /// # Errors
    /// [`StoreError`], after which the transaction cannot be committed.
    pub fn keep_figures(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        self.fold()?;
        // What is deleted has to be in its hours first.
        Ok(self.roll(minute(now) - OPEN_MINUTES, ROLLED_AT_ONCE)? || self.prune(now)?)
    }

    /// Adds up to `budget` rows of minutes before `before` to their hours.
    fn roll(&mut self, before: i64, budget: usize) -> Result<bool, Fault> {
        let rows = figures::minutes_from(&self.conn, self.rolled, before, budget)?;
        let Some((last, _)) = rows.last() else { return Ok(false) };
        self.rolled = Key { webhook: last.webhook.saturating_add(1), ..*last };
        let mut hours: BTreeMap<Key, Figures> = BTreeMap::new();
        for (key, figures) in &rows {
            let hour = hour(*key);
            hours.entry(hour).or_default().add(figures);
            hours.entry(Key { webhook: WHOLE_ACCOUNT, ..hour }).or_default().add(figures);
        }
        for (key, figures) in hours {
            figures::add(&self.conn, Table::Hours, key, &figures)?;
        }
        set_rolled(&self.conn, self.rolled)?;
        Ok(rows.len() == budget)
    }

    /// Deletes the oldest minute and hour, if they have been kept long enough.
    fn prune(&self, now: Timestamp) -> Result<bool, Fault> {
        let minutes = minute(now.minus(domain::stats::MINUTES_KEPT));
        let hours = minute(now.minus(domain::stats::HOURS_KEPT)).div_euclid(60);
        let mut more = false;
        for (table, before) in [(Table::Minutes, minutes), (Table::Hours, hours)] {
            if let Some(start) = figures::first_start(&self.conn, table, i64::MIN)?.filter(|start| *start < before) {
                figures::delete(&self.conn, table, start, None)?;
                more = true;
            }
        }
        Ok(more)
    }
}

/// Adds a minute's figures to its hour, the webhook's and the account's.
pub(super) fn add_to_hours(conn: &Connection, minute: Key, figures: &Figures) -> Result<(), Fault> {
    let hour = hour(minute);
    figures::add(conn, Table::Hours, hour, figures)?;
    figures::add(conn, Table::Hours, Key { webhook: WHOLE_ACCOUNT, ..hour }, figures)
}

const fn hour(minute: Key) -> Key {
    Key { start: minute.start.div_euclid(60), ..minute }
}

/// From where on minutes are not yet in the hours; `None` if figures were never written.
pub(super) fn rolled(conn: &Connection) -> Result<Option<Key>, Fault> {
    let Some(bytes) = marks::get(conn, marks::STATS_ROLLED)? else { return Ok(None) };
    let damaged = || Fault::Damaged("mark stats_rolled".to_owned());
    let (start, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (account, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    let webhook = rest.try_into().map_err(|_| damaged())?;
    Ok(Some(Key {
        start: i64::from_le_bytes(*start),
        account: u32::from_le_bytes(*account),
        webhook: u32::from_le_bytes(webhook),
    }))
}

/// Sets from where on minutes are not yet in the hours.
pub(super) fn set_rolled(conn: &Connection, key: Key) -> Result<(), Fault> {
    let bytes = [&key.start.to_le_bytes()[..], &key.account.to_le_bytes(), &key.webhook.to_le_bytes()].concat();
    marks::set(conn, marks::STATS_ROLLED, &bytes)
}
