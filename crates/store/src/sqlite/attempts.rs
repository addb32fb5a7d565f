//! Records of attempts: the first stands in its delivery's row, later ones in rows of their own.

use domain::attempt::{Attempt, LoggedAttempt};
use domain::id::{AttemptId, DeliveryId, ReplayId};
use rusqlite::{Connection, params};

use super::checksum::Checksum;
use super::fault::Fault;

/// How many bytes of a record are its checksum, at its end.
const SUM: usize = 4;

/// Writes an attempt as it is stored: postcard, and a checksum that binds it to its place. Appends to `buffer`. Its number
/// is in its key, and is taken from there when it is read.
pub(super) fn encode(id: DeliveryId, attempt: &Attempt, number: u16, buffer: Vec<u8>) -> Result<Vec<u8>, Fault> {
    let start = buffer.len();
    let mut record = postcard::to_extend(attempt, buffer).map_err(|error| Fault::damaged(id, error))?;
    let sum = sum(id, number, &record[start..]);
    record.extend_from_slice(&sum);
    Ok(record)
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(id: DeliveryId, number: u16, record: &[u8]) -> Result<Attempt, Fault> {
    let damaged = || Fault::Damaged(format!("attempt {}", AttemptId { delivery: id, number }));
    let (text, stored) = record.split_last_chunk::<SUM>().ok_or_else(damaged)?;
    if *stored != sum(id, number, text) {
        return Err(damaged());
    }
    let attempt: Attempt = postcard::from_bytes(text).map_err(|_| damaged())?;
    Ok(Attempt { number, ..attempt })
}

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

/// An attempt with its id, and the replay that it is part of.
pub(super) fn logged(delivery: DeliveryId, attempt: Attempt, replay: Option<ReplayId>) -> LoggedAttempt {
    LoggedAttempt { id: AttemptId { delivery, number: attempt.number }, attempt, replay }
}

fn sum(id: DeliveryId, number: u16, text: &[u8]) -> [u8; SUM] {
    let sum = Checksum::of("attempts").numbers([id.event.0 as i64, id.place.into(), number.into()]).bytes(text).sum();
    (sum as u32).to_le_bytes()
}
