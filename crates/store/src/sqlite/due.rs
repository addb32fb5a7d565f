//! Rows of what waits on disk: one for each delivery whose own row says that it waits.

use domain::attempt::Reason;
use domain::delivery::Due;
use domain::id::{DeliveryId, EventId};
use domain::time::Timestamp;
use rusqlite::{CachedStatement, Connection, Row, params};

use super::checksum::Checksum;
use super::fault::Fault;
use crate::rows::delivery::{reason, reason_number};

/// At how many of the oldest rows [`oldest`] looks one by one.
const LOOKED_AT: usize = 1_000;

/// What [`read`] reads, in its order.
macro_rules! columns {
    () => {
        "webhook, event, place, due_at, attempts_made, retries_made, reason, crc"
    };
}

/// The statement for [`put`].
pub(super) fn prepare_put(conn: &Connection) -> Result<CachedStatement<'_>, Fault> {
    let sql = concat!("INSERT OR REPLACE INTO due (", columns!(), ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
    Ok(conn.prepare_cached(sql)?)
}

/// Writes what waits, in place of what waited for the same delivery.
pub(super) fn put(statement: &mut CachedStatement<'_>, due: &Due) -> Result<(), Fault> {
    statement.execute(params![
        due.webhook,
        due.delivery.event.0 as i64,
        due.delivery.place,
        due.due_at.0,
        due.attempts_made,
        due.retries_made,
        reason_number(due.reason),
        sum(due).sum()
    ])?;
    Ok(())
}

/// It waits no more.
pub(super) fn delete(conn: &Connection, webhook: u32, id: DeliveryId) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM due WHERE webhook = ?1 AND event = ?2 AND place = ?3")?.execute(params![
        webhook,
        id.event.0 as i64,
        id.place
    ])?;
    Ok(())
}

/// What waits for this delivery.
pub(super) fn get(conn: &Connection, webhook: u32, id: DeliveryId) -> Result<Option<Due>, Fault> {
    let sql = concat!("SELECT ", columns!(), " FROM due WHERE webhook = ?1 AND event = ?2 AND place = ?3");
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![webhook, id.event.0 as i64, id.place])?;
    rows.next()?.map(read).transpose()
}

/// What waits for a webhook and is due before `until`, oldest event first, from after `after` on.
pub(super) fn of_webhook(
    conn: &Connection,
    webhook: u32,
    after: Option<DeliveryId>,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<Due>, Fault> {
    let mut statement = conn.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        " FROM due WHERE webhook = ?1 AND (event, place) > (?2, ?3) AND due_at < ?4 ORDER BY event, place LIMIT ?5"
    ))?;
    let (event, place) = after.map_or((-1, 0), |id| (id.event.0 as i64, id.place));
    let mut rows = statement.query(params![webhook, event, place, until.0, limit as i64])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// What is due before `until`, by due time, from after `after` on; only webhooks that `wanted` names.
pub(super) fn by_time(
    conn: &Connection,
    after: Option<(Timestamp, DeliveryId)>,
    until: Timestamp,
    limit: usize,
    wanted: impl Fn(u32) -> bool,
) -> Result<Vec<Due>, Fault> {
    // The index holds the webhook, so what is not wanted is passed over without reading its row.
    let mut statement = conn.prepare_cached(
        "SELECT webhook, event, place FROM due INDEXED BY due_by_time
         WHERE (due_at, event, place) > (?1, ?2, ?3) AND due_at < ?4 ORDER BY due_at, event, place",
    )?;
    let (at, id) = after.map_or((i64::MIN, None), |(at, id)| (at.0, Some(id)));
    let (event, place) = id.map_or((-1, 0), |id| (id.event.0 as i64, id.place));
    let mut rows = statement.query(params![at, event, place, until.0])?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.next()?
    {
        let webhook: u32 = row.get(0)?;
        if wanted(webhook) {
            let id = DeliveryId { event: EventId(row.get::<_, i64>(1)? as u64), place: row.get(2)? };
            found.extend(get(conn, webhook, id)?);
        }
    }
    Ok(found)
}

/// When the oldest that is due at `now` was due, of webhooks that `wanted` names. Where the oldest rows are all of others,
/// however many they are, each webhook is asked for its own oldest.
pub(super) fn oldest(
    conn: &Connection,
    now: Timestamp,
    wanted: impl Fn(u32) -> bool,
) -> Result<Option<Timestamp>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT due_at, webhook FROM due INDEXED BY due_by_time
         WHERE due_at <= ?1 ORDER BY due_at, event, place LIMIT ?2",
    )?;
    let mut rows = statement.query(params![now.0, LOOKED_AT as i64])?;
    let mut looked_at = 0;
    while let Some(row) = rows.next()? {
        if wanted(row.get(1)?) {
            return Ok(Some(Timestamp(row.get(0)?)));
        }
        looked_at += 1;
    }
    if looked_at < LOOKED_AT {
        return Ok(None);
    }
    let mut next = conn.prepare_cached("SELECT min(webhook) FROM due INDEXED BY due_of_webhook WHERE webhook > ?1")?;
    let mut first = conn.prepare_cached("SELECT min(due_at) FROM due INDEXED BY due_of_webhook WHERE webhook = ?1")?;
    let (mut oldest, mut webhook) = (None::<i64>, -1i64);
    while let Some(found) = next.query_row([webhook], |row| row.get::<_, Option<i64>>(0))? {
        webhook = found;
        if u32::try_from(webhook).is_ok_and(&wanted) {
            let at: Option<i64> = first.query_row([webhook], |row| row.get(0))?;
            oldest = oldest.into_iter().chain(at).min();
        }
    }
    Ok(oldest.filter(|at| *at <= now.0).map(Timestamp))
}

/// How much waits for each webhook, tests left out.
pub(super) fn numbers(conn: &Connection) -> Result<Vec<(u32, i64)>, Fault> {
    let mut statement = conn.prepare("SELECT webhook, count(*) FROM due WHERE reason <> ?1 GROUP BY webhook")?;
    let rows = statement.query_map([reason_number(Reason::Test)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Nothing of an event waits any more.
pub(super) fn delete_of_event(conn: &Connection, event: EventId) -> Result<(), Fault> {
    conn.prepare_cached(
        "DELETE FROM due WHERE event = ?1 AND webhook IN (SELECT webhook FROM deliveries WHERE event = ?1)",
    )?
    .execute([event.0 as i64])?;
    Ok(())
}

/// Compares the checksum of every row.
pub(super) fn verify(conn: &Connection) -> Result<u64, Fault> {
    let mut statement = conn.prepare(concat!("SELECT ", columns!(), " FROM due"))?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        read(row)?;
        count += 1;
    }
    Ok(count)
}

fn read(row: &Row<'_>) -> Result<Due, Fault> {
    let delivery = DeliveryId { event: EventId(row.get::<_, i64>(1)? as u64), place: row.get(2)? };
    let damaged = || Fault::Damaged(format!("waiting delivery {delivery}"));
    let due = Due {
        delivery,
        webhook: row.get(0)?,
        due_at: Timestamp(row.get(3)?),
        attempts_made: row.get(4)?,
        retries_made: row.get(5)?,
        reason: reason(row.get(6)?).ok_or_else(damaged)?,
    };
    sum(&due).verify(row.get(7)?, || format!("waiting delivery {delivery}"))?;
    Ok(due)
}

fn sum(due: &Due) -> Checksum {
    Checksum::of("due").numbers([
        due.webhook.into(),
        due.delivery.event.0 as i64,
        due.delivery.place.into(),
        due.due_at.0,
        due.attempts_made.into(),
        due.retries_made.into(),
        reason_number(due.reason),
    ])
}
