//! Rows of deliveries that a replay in bulk has handed over: which attempts are its own, and what came of them.

use domain::attempt::{Attempt, LoggedAttempt};
use domain::id::{DeliveryId, EventId};
use rusqlite::{CachedStatement, Connection, Row, params};

use super::deliveries::{error_code, error_number};
use super::fault::Fault;
use super::replays;
pub(super) use crate::rows::replayed::Link;
use crate::rows::replayed::{part_of, standing, standing_number};

/// What [`read`] reads after the delivery's id, in its order.
macro_rules! columns {
    () => {
        "replay, before, standing, error, crc"
    };
}

/// The statement for [`put`].
pub(super) fn prepare_put(conn: &Connection) -> Result<CachedStatement<'_>, Fault> {
    let sql =
        concat!("INSERT OR REPLACE INTO replayed (event, place, ", columns!(), ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
    Ok(conn.prepare_cached(sql)?)
}

/// Writes a row, in place of the one of the same delivery and replay.
pub(super) fn put(statement: &mut CachedStatement<'_>, link: &Link) -> Result<(), Fault> {
    statement.execute(params![
        link.delivery.event.0 as i64,
        link.delivery.place,
        link.replay,
        link.before,
        standing_number(link.standing),
        link.error.map(error_number),
        link.sum().sum(),
    ])?;
    Ok(())
}

/// The last replay that has handed a delivery over.
pub(super) fn last(conn: &Connection, id: DeliveryId) -> Result<Option<Link>, Fault> {
    let mut statement = conn.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        " FROM replayed WHERE event = ?1 AND place = ?2 ORDER BY replay DESC LIMIT 1"
    ))?;
    let mut rows = statement.query(params![id.event.0 as i64, id.place])?;
    rows.next()?.map(|row| read(id, row)).transpose()
}

/// The attempts of a delivery, each with the replay that it is part of: the first replay's attempt after a replay has
/// handed it over, and the retries that follow.
pub(super) fn logged(conn: &Connection, id: DeliveryId, made: Vec<Attempt>) -> Result<Vec<LoggedAttempt>, Fault> {
    let mut statement = conn.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        " FROM replayed WHERE event = ?1 AND place = ?2 ORDER BY replay"
    ))?;
    let mut rows = statement.query(params![id.event.0 as i64, id.place])?;
    let mut links = Vec::new();
    while let Some(row) = rows.next()? {
        links.push(read(id, row)?);
    }
    let mut ids = std::collections::HashMap::new();
    for link in &links {
        ids.extend(replays::id_of(conn, link.replay)?.map(|id| (link.replay, id)));
    }
    Ok(part_of(id, made, &links, &ids))
}

/// Compares the checksum of every row.
pub(super) fn verify(conn: &Connection) -> Result<u64, Fault> {
    let mut statement = conn.prepare(concat!("SELECT ", columns!(), ", event, place FROM replayed"))?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        read(DeliveryId { event: EventId(row.get::<_, i64>(5)? as u64), place: row.get(6)? }, row)?;
        count += 1;
    }
    Ok(count)
}

/// Forgets the deliveries of an event.
pub(super) fn delete_of_event(conn: &Connection, event: i64) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM replayed WHERE event = ?1")?.execute([event])?;
    Ok(())
}

fn read(delivery: DeliveryId, row: &Row<'_>) -> Result<Link, Fault> {
    let damaged = || Fault::Damaged(format!("replay of delivery {delivery}"));
    let link = Link {
        delivery,
        replay: row.get(0)?,
        before: row.get(1)?,
        standing: standing(row.get(2)?).ok_or_else(damaged)?,
        error: row.get::<_, Option<i64>>(3)?.map(|number| error_code(number).ok_or_else(damaged)).transpose()?,
    };
    link.sum().verify(row.get(4)?, || format!("replay of delivery {delivery}"))?;
    Ok(link)
}
