//! Records of attempts: the first stands in its delivery's row, later ones in rows of their own.

use domain::attempt::Attempt;
use domain::id::DeliveryId;
use rusqlite::{Connection, params};

use super::fault::Fault;
pub(super) use crate::rows::attempt::{decode, encode};

/// Writes an attempt after the first, as [`encode`] has written it.
pub(super) fn insert(conn: &Connection, id: DeliveryId, number: u16, record: &[u8]) -> Result<(), Fault> {
    conn.prepare_cached("INSERT INTO attempts (event, place, number, record) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id.event.0 as i64, id.place, number, record])?;
    Ok(())
}

/// The attempts of a delivery after its first, oldest first.
pub(super) fn later(conn: &Connection, id: DeliveryId) -> Result<Vec<Attempt>, Fault> {
    let mut statement =
        conn.prepare_cached("SELECT number, record FROM attempts WHERE event = ?1 AND place = ?2 ORDER BY number")?;
    let mut rows = statement.query(params![id.event.0 as i64, id.place])?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        let record = row.get_ref(1)?.as_blob().map_err(|error| Fault::damaged(id, error))?;
        attempts.push(decode(id, row.get(0)?, record)?);
    }
    Ok(attempts)
}
