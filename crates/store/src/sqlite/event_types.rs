//! Rows of event types: see [`crate::rows::event_types`].

use std::sync::Arc;

use rusqlite::Connection;

use super::fault::Fault;
pub(super) use crate::rows::event_types::EventTypes;
use crate::rows::event_types::sum;

/// Reads all names.
pub(super) fn load(conn: &Connection) -> Result<EventTypes, Fault> {
    let mut types = EventTypes::default();
    let mut statement = conn.prepare_cached("SELECT number, name, crc FROM event_types ORDER BY number")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (number, name, crc): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        sum(number, &name).verify(crc, || format!("event type {number}"))?;
        if types.push(&name.into()) as i64 != number {
            return Err(Fault::damaged(format_args!("event type {number}"), "one is missing before it"));
        }
    }
    Ok(types)
}

/// Gives a name its number, in the present transaction.
pub(super) fn add(types: &mut EventTypes, conn: &Connection, name: &Arc<str>) -> Result<u32, Fault> {
    let number = types.len() as i64;
    conn.prepare_cached("INSERT INTO event_types (number, name, crc) VALUES (?1, ?2, ?3)")?.execute((
        number,
        &**name,
        sum(number, name).sum(),
    ))?;
    Ok(types.push(name))
}
