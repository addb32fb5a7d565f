//! Figures that were just counted: a row for each transaction, until a number of them goes over to their minutes.
//!
//! To change the row of every webhook's minute in every transaction would read and write as many rows as webhooks had
//! deliveries in it. So a transaction writes all that it counts as one row; every so often the sum of these is added to the
//! minutes. Readers add what is still here, so figures are exact at any time, and a crash loses none.

use std::collections::BTreeMap;

use domain::stats::Figures;
use rusqlite::{Connection, params};

use super::counted::add_to_hours;
use super::fault::Fault;
use super::figures::{self, Key, Table};
use crate::rows;
use crate::rows::checksum::Checksum;

/// From how many rows on they go over to their minutes.
pub(super) const FOLDED_FROM: usize = 64;
/// The first byte of what is stored: how the rest is to be read.
const LAYOUT: u8 = 1;

/// Writes what a transaction has counted.
pub(super) fn insert(conn: &Connection, counted: &BTreeMap<Key, Figures>) -> Result<(), Fault> {
    let mut pairs = Vec::with_capacity(counted.len());
    for (key, figures) in counted {
        pairs.push((key.start, key.account, key.webhook, rows::figures::encode(figures)?));
    }
    let bytes = postcard::to_extend(&pairs, vec![LAYOUT]).map_err(|error| Fault::damaged("figures", error))?;
    conn.prepare_cached("INSERT INTO stats_journal (crc, counted) VALUES (?1, ?2)")?
        .execute(params![sum(&bytes).sum(), bytes])?;
    Ok(())
}

/// How many rows there are.
pub(super) fn rows(conn: &Connection) -> Result<usize, Fault> {
    Ok(conn.query_row("SELECT count(*) FROM stats_journal", [], |row| row.get::<_, i64>(0))? as usize)
}

/// The sum of all rows.
pub(super) fn counted(conn: &Connection) -> Result<BTreeMap<Key, Figures>, Fault> {
    sum_up(conn, |row| Err(Fault::Damaged(row)))
}

/// The sum of all rows; `damaged` is told which cannot be read.
fn sum_up(
    conn: &Connection,
    mut damaged: impl FnMut(String) -> Result<(), Fault>,
) -> Result<BTreeMap<Key, Figures>, Fault> {
    let mut all: BTreeMap<Key, Figures> = BTreeMap::new();
    each(conn, |row| match row {
        Ok(counted) => {
            counted.into_iter().for_each(|(key, figures)| all.entry(key).or_default().add(&figures));
            Ok(())
        }
        Err(row) => damaged(row),
    })?;
    Ok(all)
}

/// Adds all rows to their minutes, and those of minutes before `rolled`, which are in their hours already, to these too;
/// then there is none left. One that cannot be read is lost: figures are no reason to refuse a write.
pub(super) fn fold(conn: &Connection, rolled: Key) -> Result<(), Fault> {
    let lose = |row| {
        tracing::error!(row, "figures were lost");
        Ok(())
    };
    for (key, figures) in sum_up(conn, lose)? {
        figures::add(conn, Table::Minutes, key, &figures)?;
        // A clock was set back, or somebody was very slow.
        if key < rolled {
            add_to_hours(conn, key, &figures)?;
        }
    }
    conn.prepare_cached("DELETE FROM stats_journal")?.execute([])?;
    Ok(())
}

/// Compares the checksum of every row.
pub(super) fn verify(conn: &Connection) -> Result<u64, Fault> {
    let mut number = 0;
    each(conn, |row| {
        number += 1;
        row.map(|_| ()).map_err(Fault::Damaged)
    })?;
    Ok(number)
}

/// Calls `each` with what every row holds, or with what to call it if it is damaged.
fn each(
    conn: &Connection,
    mut each: impl FnMut(Result<Vec<(Key, Figures)>, String>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut statement = conn.prepare_cached("SELECT number, crc, counted FROM stats_journal ORDER BY number")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let crc: i64 = row.get(1)?;
        let decoded = row.get_ref(2)?.as_blob().ok().filter(|bytes| sum(bytes).sum() == crc).and_then(decode);
        each(decoded.ok_or_else(|| format!("figures stats_journal {number}")))?;
    }
    Ok(())
}

fn decode(bytes: &[u8]) -> Option<Vec<(Key, Figures)>> {
    let (&LAYOUT, rest) = bytes.split_first()? else { return None };
    let decoded: Vec<(i64, u32, u32, &[u8])> = postcard::from_bytes(rest).ok()?;
    decoded
        .into_iter()
        .map(|(start, account, webhook, figures)| {
            Some((Key { start, account, webhook }, rows::figures::decode(figures)?))
        })
        .collect()
}

/// The number of a row is not covered: rows are only ever summed up.
fn sum(bytes: &[u8]) -> Checksum {
    Checksum::of("stats_journal").bytes(bytes)
}
