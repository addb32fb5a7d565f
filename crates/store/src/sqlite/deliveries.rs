//! Rows of deliveries: where each stands, with its first attempt inline.

use std::time::Duration;

use domain::attempt::Attempt;
use domain::id::{DeliveryId, EventId};
use domain::time::Timestamp;
use rusqlite::{CachedStatement, Connection, Row, ToSql, params};

use super::counted::Counted;
use super::fault::Fault;
use super::{attempts, replayed, young};
pub(super) use crate::rows::delivery::{DeliveryRow, State, error_code, error_number};

/// What [`read`] reads, in its order.
macro_rules! columns {
    () => {
        "event, place, account, webhook, type, lead, state, test, attempts_made, retries_made, code, error, duration, \
         due_at, ended_at, crc"
    };
}
pub(super) use columns;

/// The statements for [`insert`].
pub(super) struct Insert<'c> {
    row: CachedStatement<'c>,
    young: CachedStatement<'c>,
}

/// The statements for [`insert`].
pub(super) fn prepare_insert(conn: &Connection) -> Result<Insert<'_>, Fault> {
    let row = conn.prepare_cached(concat!(
        "INSERT INTO deliveries (",
        columns!(),
        ", record) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
         ON CONFLICT DO NOTHING"
    ))?;
    Ok(Insert { row, young: young::prepare_delivery(conn)? })
}

/// Writes a new row and counts it, with its first attempt's record if there is one; returns whether there was none yet.
pub(super) fn insert(
    statements: &mut Insert<'_>,
    counted: &mut Counted,
    row: &DeliveryRow,
    record: Option<&[u8]>,
) -> Result<bool, Fault> {
    let written = statements.row.execute(params![
        row.id.event.0 as i64,
        row.id.place,
        row.account,
        row.webhook,
        row.event_type,
        row.lead,
        row.state as i64,
        row.test,
        row.attempts_made,
        row.retries_made,
        row.code,
        row.error.map(error_number),
        row.duration_micros(),
        row.due_at.map(|at| at.0),
        row.ended_at.map(|at| at.0),
        row.sum(),
        record,
    ])? > 0;
    if written {
        young::insert_delivery(&mut statements.young, row.id, row.webhook)?;
        counted.inserted(row);
    }
    Ok(written)
}

/// Writes where a delivery stands now, and counts it; with `record`, its first attempt.
pub(super) fn update(
    conn: &Connection,
    counted: &mut Counted,
    row: &DeliveryRow,
    record: Option<&[u8]>,
) -> Result<(), Fault> {
    let mut statement = conn.prepare_cached(
        "UPDATE deliveries SET state = ?3, attempts_made = ?4, retries_made = ?5, code = ?6, error = ?7, duration = ?8,
                due_at = ?9, ended_at = ?10, crc = ?11, record = coalesce(record, ?12)
         WHERE event = ?1 AND place = ?2",
    )?;
    statement.execute(params![
        row.id.event.0 as i64,
        row.id.place,
        row.state as i64,
        row.attempts_made,
        row.retries_made,
        row.code,
        row.error.map(error_number),
        row.duration_micros(),
        row.due_at.map(|at| at.0),
        row.ended_at.map(|at| at.0),
        row.sum(),
        record,
    ])?;
    counted.written(row);
    Ok(())
}

/// The row of this id.
pub(super) fn get(conn: &Connection, id: DeliveryId) -> Result<Option<DeliveryRow>, Fault> {
    let sql = concat!("SELECT ", columns!(), " FROM deliveries WHERE event = ?1 AND place = ?2");
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![id.event.0 as i64, id.place])?;
    rows.next()?.map(read).transpose()
}

/// The rows of an event.
pub(super) fn of_event(conn: &Connection, event: EventId) -> Result<Vec<DeliveryRow>, Fault> {
    each(conn, concat!("SELECT ", columns!(), " FROM deliveries WHERE event = ?1 ORDER BY place"), &[&(event.0 as i64)])
}

/// The rows that a statement over [`columns`] finds.
pub(super) fn each(conn: &Connection, sql: &str, parameters: &[&dyn ToSql]) -> Result<Vec<DeliveryRow>, Fault> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// The ids of all rows of events from a key on, in order.
pub(super) fn ids_from(conn: &Connection, event: u64) -> Result<Vec<DeliveryId>, Fault> {
    let mut statement = conn.prepare("SELECT event, place FROM deliveries WHERE event >= ?1 ORDER BY event, place")?;
    let rows = statement.query_map([event as i64], |row| {
        Ok(DeliveryId { event: EventId(row.get::<_, i64>(0)? as u64), place: row.get(1)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The record of the first attempt, if the row has one.
pub(super) fn first_attempt(conn: &Connection, id: DeliveryId) -> Result<Option<Attempt>, Fault> {
    let mut statement = conn.prepare_cached("SELECT record FROM deliveries WHERE event = ?1 AND place = ?2")?;
    let mut rows = statement.query(params![id.event.0 as i64, id.place])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let record = row.get_ref(0)?.as_blob_or_null().map_err(|error| Fault::damaged(id, error))?;
    Ok(record.map(|record| attempts::decode(id, 1, record)).transpose()?)
}

/// How many bytes the records of an event's attempts have.
pub(super) fn record_bytes(conn: &Connection, event: EventId) -> Result<i64, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT (SELECT ifnull(sum(length(record)), 0) FROM deliveries WHERE event = ?1)
              + (SELECT ifnull(sum(length(record)), 0) FROM attempts WHERE event = ?1)",
    )?;
    Ok(statement.query_row([event.0 as i64], |row| row.get(0))?)
}

/// Deletes the deliveries of an event, with their attempts.
pub(super) fn delete_of_event(conn: &Connection, event: EventId) -> Result<(), Fault> {
    young::delete_deliveries(conn, event)?;
    conn.prepare_cached("DELETE FROM deliveries WHERE event = ?1")?.execute([event.0 as i64])?;
    conn.prepare_cached("DELETE FROM attempts WHERE event = ?1")?.execute([event.0 as i64])?;
    replayed::delete_of_event(conn, event.0 as i64)
}

/// Reads a row of [`columns`].
pub(super) fn read(row: &Row<'_>) -> Result<DeliveryRow, Fault> {
    let id = DeliveryId { event: EventId(row.get::<_, i64>(0)? as u64), place: row.get(1)? };
    let damaged = || Fault::Damaged(format!("delivery {id}"));
    let state = State::read(row.get(6)?).ok_or_else(damaged)?;
    let read = DeliveryRow {
        id,
        account: row.get(2)?,
        webhook: row.get(3)?,
        event_type: row.get(4)?,
        lead: row.get(5)?,
        state,
        test: row.get(7)?,
        attempts_made: row.get(8)?,
        retries_made: row.get(9)?,
        code: row.get(10)?,
        error: row.get::<_, Option<i64>>(11)?.map(|number| error_code(number).ok_or_else(damaged)).transpose()?,
        duration: row.get::<_, Option<i64>>(12)?.map(|micros| Duration::from_micros(micros as u64)),
        due_at: row.get::<_, Option<i64>>(13)?.map(Timestamp),
        ended_at: row.get::<_, Option<i64>>(14)?.map(Timestamp),
        was: Some(state),
    };
    if read.sum() == row.get::<_, i64>(15)? { Ok(read) } else { Err(damaged()) }
}
