//! Figures of what a store of the first layout holds: summed up once, when a release that keeps them opens it first.

use domain::attempt::Attempt;
use domain::stats::{MINUTES_KEPT, minute};
use domain::time::Timestamp;
use rusqlite::{Connection, Row};

use super::attempts;
use super::counted::{Counted, add_to_hours, set_rolled};
use super::deliveries::{self, DeliveryRow, columns};
use super::fault::Fault;
use super::figures::{self, Key, Table};

/// After how many deliveries what was counted is written.
const COUNTED_AT_ONCE: usize = 20_000;
/// Where [`columns`] are followed by the first attempt's record.
const RECORD: usize = 16;

/// Counts every delivery and attempt that is kept; returns from where on minutes are not yet in their hours.
pub(super) fn build(conn: &Connection, now: Timestamp) -> Result<Key, Fault> {
    let transaction = conn.unchecked_transaction()?;
    let mut statement =
        transaction.prepare(concat!("SELECT ", columns!(), ", record FROM deliveries ORDER BY event, place"))?;
    let mut rows = statement.query([])?;
    let (mut counted, mut number) = (Counted::default(), 0);
    let mut last = minute(now);
    while let Some(row) = rows.next()? {
        match count(&transaction, row, &mut counted) {
            // It stays as it is, for a person to look at.
            Err(Fault::Damaged(row)) => tracing::error!(row, "left out of the figures"),
            counted => counted?,
        }
        number += 1;
        if number % COUNTED_AT_ONCE == 0 {
            last = last.max(write(&transaction, now, &mut counted)?);
        }
    }
    last = last.max(write(&transaction, now, &mut counted)?);
    drop(rows);
    drop(statement);
    // Every minute is in its hour, the present one too: none is added twice.
    let rolled = Key { start: last + 1, ..Key::default() };
    set_rolled(&transaction, rolled)?;
    transaction.commit()?;
    if number > 0 {
        tracing::info!(deliveries = number, "summed up what was delivered so far");
    }
    Ok(rolled)
}

fn count(conn: &Connection, row: &Row<'_>, counted: &mut Counted) -> Result<(), Fault> {
    let mut delivery = deliveries::read(row)?;
    if delivery.test {
        return Ok(());
    }
    delivery.was = None;
    for attempt in attempts_of(conn, row, &delivery)? {
        counted.attempted(&delivery, &attempt);
    }
    counted.written(&delivery);
    Ok(())
}

fn attempts_of(conn: &Connection, row: &Row<'_>, delivery: &DeliveryRow) -> Result<Vec<Attempt>, Fault> {
    let id = delivery.id;
    let record = row.get_ref(RECORD)?.as_blob_or_null().map_err(|error| Fault::damaged(id, error))?;
    let mut all = Vec::with_capacity(usize::from(delivery.attempts_made));
    if let Some(record) = record {
        all.push(attempts::decode(id, 1, record)?);
    }
    if usize::from(delivery.attempts_made) > all.len() {
        all.extend(attempts::later(conn, id)?);
    }
    Ok(all)
}

/// Writes what was counted; returns the last minute of it.
fn write(conn: &Connection, now: Timestamp, counted: &mut Counted) -> Result<i64, Fault> {
    let kept_from = minute(now.minus(MINUTES_KEPT));
    let mut last = i64::MIN;
    for (key, figures) in counted.take_figures() {
        if key.start >= kept_from {
            figures::add(conn, Table::Minutes, key, &figures)?;
        }
        add_to_hours(conn, key, &figures)?;
        last = last.max(key.start);
    }
    Ok(last)
}
