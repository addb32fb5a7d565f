//! Rows of figures: one for each minute, or hour, and webhook in which something ended.

use domain::stats::Figures;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::checksum::Checksum;
use super::fault::Fault;
use crate::rows::figures::{decode, encode};

/// The webhook under which the hours hold the account as a whole.
pub(super) const WHOLE_ACCOUNT: u32 = 0;

/// A table of figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Minutes,
    Hours,
}

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Self::Minutes => "stats_minutes",
            Self::Hours => "stats_hours",
        }
    }
}

/// Where in a table a row stands, in the order of its rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    /// The minute, or hour, since 1970.
    pub(super) start: i64,
    pub(super) account: u32,
    pub(super) webhook: u32,
}

fn sum(table: Table, key: Key, bytes: &[u8]) -> Checksum {
    Checksum::of(table.name()).numbers([key.start, key.account.into(), key.webhook.into()]).bytes(bytes)
}

/// What a row holds; `row` has the checksum and the bytes at these places.
fn read(table: Table, key: Key, row: &Row<'_>, at: usize) -> Result<Figures, Fault> {
    let damaged =
        || Fault::Damaged(format!("figures {} of {} {} {}", table.name(), key.start, key.account, key.webhook));
    let crc: i64 = row.get(at)?;
    let bytes = row.get_ref(at + 1)?.as_blob().map_err(|_| damaged())?;
    if sum(table, key, bytes).sum() != crc {
        return Err(damaged());
    }
    decode(bytes).ok_or_else(damaged)
}

/// The figures of a row.
pub(super) fn get(conn: &Connection, table: Table, key: Key) -> Result<Option<Figures>, Fault> {
    let mut statement = conn.prepare_cached(match table {
        Table::Minutes => "SELECT crc, figures FROM stats_minutes WHERE start = ?1 AND account = ?2 AND webhook = ?3",
        Table::Hours => "SELECT crc, figures FROM stats_hours WHERE start = ?1 AND account = ?2 AND webhook = ?3",
    })?;
    let mut rows = statement.query(params![key.start, key.account, key.webhook])?;
    rows.next()?.map(|row| read(table, key, row, 0)).transpose()
}

/// Adds figures to a row. A row that cannot be read is lost, and starts again: figures are no reason to refuse a write.
pub(super) fn add(conn: &Connection, table: Table, key: Key, figures: &Figures) -> Result<(), Fault> {
    let stored = match get(conn, table, key) {
        Err(Fault::Damaged(row)) => {
            tracing::error!(row, "figures were lost");
            None
        }
        stored => stored?,
    };
    let bytes = match stored {
        None => encode(figures)?,
        Some(mut sum) => {
            sum.add(figures);
            encode(&sum)?
        }
    };
    let mut statement = conn.prepare_cached(match table {
        Table::Minutes => {
            "INSERT OR REPLACE INTO stats_minutes (start, account, webhook, crc, figures) VALUES (?1, ?2, ?3, ?4, ?5)"
        }
        Table::Hours => {
            "INSERT OR REPLACE INTO stats_hours (start, account, webhook, crc, figures) VALUES (?1, ?2, ?3, ?4, ?5)"
        }
    })?;
    statement.execute(params![key.start, key.account, key.webhook, sum(table, key, &bytes).sum(), bytes])?;
    Ok(())
}

/// The rows by the minute from `from` on, and before the minute `before`, at most `limit`; what cannot be read is empty.
pub(super) fn minutes_from(
    conn: &Connection,
    from: Key,
    before: i64,
    limit: usize,
) -> Result<Vec<(Key, Figures)>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT start, account, webhook, crc, figures FROM stats_minutes
         WHERE (start, account, webhook) >= (?1, ?2, ?3) AND start < ?4 ORDER BY start, account, webhook LIMIT ?5",
    )?;
    let mut rows = statement.query(params![from.start, from.account, from.webhook, before, limit as i64])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key = Key { start: row.get(0)?, account: row.get(1)?, webhook: row.get(2)? };
        match read(Table::Minutes, key, row, 3) {
            Err(Fault::Damaged(row)) => {
                tracing::error!(row, "figures were lost");
                found.push((key, Figures::default()));
            }
            figures => found.push((key, figures?)),
        }
    }
    Ok(found)
}

/// The figures of all webhooks of an account in one minute.
pub(super) fn minute_of_account(conn: &Connection, start: i64, account: u32) -> Result<Vec<(Key, Figures)>, Fault> {
    let mut statement =
        conn.prepare_cached("SELECT webhook, crc, figures FROM stats_minutes WHERE start = ?1 AND account = ?2")?;
    let mut rows = statement.query(params![start, account])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key = Key { start, account, webhook: row.get(0)? };
        found.push((key, read(Table::Minutes, key, row, 1)?));
    }
    Ok(found)
}

/// The first start of a table's rows from `from` on.
pub(super) fn first_start(conn: &Connection, table: Table, from: i64) -> Result<Option<i64>, Fault> {
    let mut statement = conn.prepare_cached(match table {
        Table::Minutes => "SELECT start FROM stats_minutes WHERE start >= ?1 ORDER BY start LIMIT 1",
        Table::Hours => "SELECT start FROM stats_hours WHERE start >= ?1 ORDER BY start LIMIT 1",
    })?;
    Ok(statement.query_row([from], |row| row.get(0)).optional()?)
}

/// Deletes the rows of one start: an account's, or all.
pub(super) fn delete(conn: &Connection, table: Table, start: i64, account: Option<u32>) -> Result<(), Fault> {
    let mut statement = conn.prepare_cached(match table {
        Table::Minutes => "DELETE FROM stats_minutes WHERE start = ?1 AND account BETWEEN ?2 AND ?3",
        Table::Hours => "DELETE FROM stats_hours WHERE start = ?1 AND account BETWEEN ?2 AND ?3",
    })?;
    statement.execute(params![start, account.unwrap_or(0), account.unwrap_or(u32::MAX)])?;
    Ok(())
}

/// Deletes all figures of an account.
pub(super) fn delete_of_account(conn: &Connection, account: u32) -> Result<(), Fault> {
    for table in [Table::Minutes, Table::Hours] {
        let mut from = i64::MIN;
        while let Some(start) = first_start(conn, table, from)? {
            delete(conn, table, start, Some(account))?;
            from = start + 1;
        }
    }
    Ok(())
}

/// Compares the checksum of every row.
pub(super) fn verify(conn: &Connection, table: Table) -> Result<u64, Fault> {
    let mut statement = conn.prepare(match table {
        Table::Minutes => "SELECT start, account, webhook, crc, figures FROM stats_minutes",
        Table::Hours => "SELECT start, account, webhook, crc, figures FROM stats_hours",
    })?;
    let mut rows = statement.query([])?;
    let mut number = 0;
    while let Some(row) = rows.next()? {
        let key = Key { start: row.get(0)?, account: row.get(1)?, webhook: row.get(2)? };
        read(table, key, row, 3)?;
        number += 1;
    }
    Ok(number)
}
