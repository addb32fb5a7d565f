//! Rows of events: the producer's bytes, once, and the webhooks that they go to.

use std::sync::Arc;

use domain::event::Event;
use domain::id::EventId;
use domain::trace::TraceParent;
use rusqlite::{CachedStatement, Connection, Row, params};

use super::event_types::EventTypes;
use super::fault::Fault;
use super::young;
pub(super) use crate::rows::event::lead;
use crate::rows::event::{self, Columns};

/// What [`read`] reads, in its order.
macro_rules! columns {
    () => {
        "key, account, type, lead, marked, crc, targets, data, trace"
    };
}

/// The statements for [`insert`].
pub(super) struct Insert<'c> {
    row: CachedStatement<'c>,
    young: CachedStatement<'c>,
}

/// The statements for [`insert`].
pub(super) fn prepare_insert(conn: &Connection) -> Result<Insert<'_>, Fault> {
    let sql = concat!("INSERT INTO events (", columns!(), ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
    Ok(Insert { row: conn.prepare_cached(sql)?, young: young::prepare_event(conn)? })
}

/// Writes an event. `buffer` is only for its allocation.
pub(super) fn insert(
    statements: &mut Insert<'_>,
    event: &Event,
    event_type: u32,
    lead: i64,
    buffer: &mut Vec<u8>,
) -> Result<(), Fault> {
    event::write_targets(event, buffer);
    let trace = event.trace.map(TraceParent::to_bytes);
    let columns = Columns {
        key: event.id.0 as i64,
        account: event.account,
        event_type,
        lead,
        marked: event::marked(event),
        targets: buffer,
        data: &event.data,
        trace: trace.as_ref().map(|trace| &trace[..]),
    };
    let Columns { key, account, marked, targets, data, .. } = columns;
    let row = params![key, account, event_type, lead, marked, columns.sum(), targets, data, trace];
    statements.row.execute(row)?;
    young::insert_event(&mut statements.young, event.id, account, event_type)?;
    Ok(())
}

/// The event of this id.
pub(super) fn get(conn: &Connection, types: &EventTypes, id: EventId) -> Result<Option<Arc<Event>>, Fault> {
    let mut statement = conn.prepare_cached(concat!("SELECT ", columns!(), " FROM events WHERE key = ?1"))?;
    let mut rows = statement.query([id.0 as i64])?;
    rows.next()?.map(|row| read(row, types)).transpose()
}

/// The keys of an account's events from `from` to below `below`, newest first; only of one type, if one is given.
pub(super) fn keys_below(
    conn: &Connection,
    account: u32,
    event_type: Option<u32>,
    from: i64,
    below: u64,
    limit: usize,
) -> Result<Vec<EventId>, Fault> {
    let mut statement = conn.prepare_cached(match event_type {
        None => KEYS_OF_ACCOUNT,
        Some(_) => KEYS_OF_TYPE,
    })?;
    let below = below.min(i64::MAX as u64) as i64;
    let found = params![account, event_type, from, below, limit as i64];
    let rows = statement.query_map(found, |row| Ok(EventId(row.get::<_, i64>(0)? as u64)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The statements of [`keys_below`].
pub(super) const KEYS_OF_ACCOUNT: &str = "SELECT key FROM events INDEXED BY events_of_account
    WHERE account = ?1 AND ?2 IS NULL AND key >= ?3 AND key < ?4 ORDER BY key DESC LIMIT ?5";
pub(super) const KEYS_OF_TYPE: &str = "SELECT key FROM events_by_type
    WHERE account = ?1 AND type = ?2 AND key >= ?3 AND key < ?4
    UNION ALL SELECT key FROM events_young WHERE account = ?1 AND type = ?2 AND key >= ?3 AND key < ?4
    ORDER BY key DESC LIMIT ?5";

/// Calls `each` with every event from a key on, oldest first.
pub(super) fn each_from(
    conn: &Connection,
    types: &EventTypes,
    from: u64,
    mut each: impl FnMut(Arc<Event>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut statement = conn.prepare(concat!("SELECT ", columns!(), " FROM events WHERE key >= ?1 ORDER BY key"))?;
    let mut rows = statement.query([from as i64])?;
    while let Some(row) = rows.next()? {
        each(read(row, types)?)?;
    }
    Ok(())
}

/// An event, as retention looks at it.
pub(super) struct Aged {
    pub(super) id: EventId,
    pub(super) account: u32,
    pub(super) targets: usize,
    /// The length of its data.
    pub(super) bytes: usize,
}

/// Events from after `after` up to below `until`, oldest first; only of one account, if one is given.
pub(super) fn between(
    conn: &Connection,
    account: Option<u32>,
    after: u64,
    until: u64,
    limit: usize,
) -> Result<Vec<Aged>, Fault> {
    let mut statement = conn.prepare_cached(match account {
        None => {
            "SELECT key, account, length(targets) / 4, length(data) FROM events
             WHERE ?1 IS NULL AND key > ?2 AND key < ?3 ORDER BY key LIMIT ?4"
        }
        Some(_) => {
            "SELECT key, account, length(targets) / 4, length(data) FROM events INDEXED BY events_of_account
             WHERE account = ?1 AND key > ?2 AND key < ?3 ORDER BY key LIMIT ?4"
        }
    })?;
    let rows = statement.query_map(
        params![account, after as i64, until.min(i64::MAX as u64) as i64, limit as i64],
        |row| {
            let id = EventId(row.get::<_, i64>(0)? as u64);
            Ok(Aged {
                id,
                account: row.get(1)?,
                targets: row.get::<_, u32>(2)? as usize,
                bytes: row.get::<_, u32>(3)? as usize,
            })
        },
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Deletes an event's own row.
pub(super) fn delete(conn: &Connection, id: EventId) -> Result<(), Fault> {
    young::delete_event(conn, id)?;
    conn.prepare_cached("DELETE FROM events WHERE key = ?1")?.execute([id.0 as i64])?;
    Ok(())
}

/// The oldest events of an account.
pub(super) fn oldest_of_account(conn: &Connection, account: u32, limit: usize) -> Result<Vec<EventId>, Fault> {
    let mut statement = conn.prepare_cached("SELECT key FROM events WHERE account = ?1 ORDER BY key LIMIT ?2")?;
    let rows = statement.query_map(params![account, limit as i64], |row| Ok(EventId(row.get::<_, i64>(0)? as u64)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Calls `look` with the bytes of an event, if there is one.
pub(super) fn with_data<T>(conn: &Connection, id: EventId, look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Fault> {
    let mut statement = conn.prepare_cached("SELECT data FROM events WHERE key = ?1")?;
    let mut rows = statement.query([id.0 as i64])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let data = row.get_ref(0)?.as_blob().map_err(|error| Fault::damaged(id, error))?;
    Ok(Some(look(data)))
}

fn read(row: &Row<'_>, types: &EventTypes) -> Result<Arc<Event>, Fault> {
    let key: i64 = row.get(0)?;
    let damaged = |error| Fault::damaged(format_args!("event {}", EventId(key as u64)), error);
    let columns = Columns {
        key,
        account: row.get(1)?,
        event_type: row.get(2)?,
        lead: row.get(3)?,
        marked: row.get(4)?,
        targets: row.get_ref(6)?.as_blob().map_err(damaged)?,
        data: row.get_ref(7)?.as_blob().map_err(damaged)?,
        trace: row.get_ref(8)?.as_blob_or_null().map_err(damaged)?,
    };
    Ok(columns.event(row.get(5)?, types)?)
}
