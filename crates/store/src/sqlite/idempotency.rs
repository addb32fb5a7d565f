//! What idempotency keys were answered: with an event, or with bytes that are sealed, since they may hold a secret.

use domain::event::Idempotency;
use domain::key::IDEMPOTENCY_KEPT;
use domain::time::Timestamp;
use domain::vault::Vault;
use rusqlite::{CachedStatement, Connection, params};

use super::fault::Fault;
use super::reseal::Keys;
use super::stamps::Stamp;
use crate::rows::idempotency::{Columns, context};
pub(super) use crate::rows::idempotency::{Found, Kept};

/// What a key was answered.
pub(super) fn find(
    conn: &Connection,
    vault: &Vault,
    idempotency: &Idempotency,
    now: Timestamp,
) -> Result<Found, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT request, at, event, lead, deliveries, answer, crc FROM idempotency WHERE key = ?1 AND at > ?2",
    )?;
    let mut rows = statement.query(params![&idempotency.key[..], now.minus(IDEMPOTENCY_KEPT).0])?;
    let Some(row) = rows.next()? else { return Ok(Found::New) };
    let damaged = || Fault::Damaged("answer of an idempotency key".to_owned());
    let columns = Columns {
        at: row.get(1)?,
        event: row.get(2)?,
        lead: row.get(3)?,
        deliveries: row.get(4)?,
        answer: row.get_ref(5)?.as_blob_or_null().map_err(|_| damaged())?,
    };
    let request = row.get_ref(0)?.as_blob().map_err(|_| damaged())?;
    Ok(columns.read(vault, idempotency, request, row.get(6)?)?)
}

/// The statement for [`put_event`] and [`put_answer`].
pub(super) fn prepare_put(conn: &Connection) -> Result<CachedStatement<'_>, Fault> {
    Ok(conn.prepare_cached(
        "INSERT OR REPLACE INTO idempotency (key, request, at, event, lead, deliveries, answer, crc)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?)
}

/// Remembers the event that a key had accepted.
pub(super) fn put_event(
    statement: &mut CachedStatement<'_>,
    idempotency: &Idempotency,
    now: Timestamp,
    stamp: Stamp,
    deliveries: usize,
) -> Result<(), Fault> {
    let columns = Columns {
        at: now.0,
        event: Some(stamp.key.0 as i64),
        lead: Some(stamp.lead),
        deliveries: Some(deliveries as i64),
        answer: None,
    };
    put(statement, (&idempotency.key, &idempotency.request), &columns)
}

/// Remembers an answer.
pub(super) fn put_answer(
    conn: &Connection,
    vault: &Vault,
    nonce: [u8; 24],
    idempotency: &Idempotency,
    now: Timestamp,
    answer: &[u8],
) -> Result<(), Fault> {
    let sealed = vault.seal(&context(&idempotency.key), answer, nonce);
    let columns = Columns { at: now.0, event: None, lead: None, deliveries: None, answer: Some(&sealed) };
    put(&mut prepare_put(conn)?, (&idempotency.key, &idempotency.request), &columns)
}

/// Forgets up to `budget` keys that are kept long enough; returns how many.
pub(super) fn prune(conn: &Connection, now: Timestamp, budget: usize) -> Result<usize, Fault> {
    let mut statement = conn.prepare_cached(
        "DELETE FROM idempotency WHERE key IN (SELECT key FROM idempotency WHERE at <= ?1 ORDER BY at LIMIT ?2)",
    )?;
    Ok(statement.execute(params![now.minus(IDEMPOTENCY_KEPT).0, budget as i64])?)
}

/// Seals every answer anew; returns how many.
pub(super) fn reseal(conn: &Connection, keys: &mut Keys<'_>) -> Result<usize, Fault> {
    let mut statement = conn.prepare("SELECT key, request, at, answer FROM idempotency WHERE answer IS NOT NULL")?;
    let mut rows = statement.query([])?;
    let mut anew = Vec::new();
    while let Some(row) = rows.next()? {
        let (key, request): ([u8; 32], [u8; 32]) = (row.get(0)?, row.get(1)?);
        let answer = keys.reseal(&context(&key), &row.get::<_, Vec<u8>>(3)?)?;
        anew.push((key, request, row.get(2)?, answer));
    }
    let mut put_statement = prepare_put(conn)?;
    for (key, request, at, answer) in &anew {
        let columns = Columns { at: *at, event: None, lead: None, deliveries: None, answer: Some(answer) };
        put(&mut put_statement, (key, request), &columns)?;
    }
    Ok(anew.len())
}

/// Compares the checksum of every row.
pub(super) fn verify(conn: &Connection) -> Result<u64, Fault> {
    let mut statement =
        conn.prepare("SELECT key, request, at, event, lead, deliveries, answer, crc FROM idempotency")?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let damaged = |error| Fault::damaged("answer of an idempotency key", error);
        let answer = row.get_ref(6)?.as_blob_or_null().map_err(damaged)?;
        let columns =
            Columns { at: row.get(2)?, event: row.get(3)?, lead: row.get(4)?, deliveries: row.get(5)?, answer };
        let sum = columns.sum(&row.get(0)?, &row.get(1)?);
        sum.verify(row.get(7)?, || "answer of an idempotency key".to_owned())?;
        count += 1;
    }
    Ok(count)
}

fn put(
    statement: &mut CachedStatement<'_>,
    (key, request): (&[u8; 32], &[u8; 32]),
    columns: &Columns<'_>,
) -> Result<(), Fault> {
    statement.execute(params![
        &key[..],
        &request[..],
        columns.at,
        columns.event,
        columns.lead,
        columns.deliveries,
        columns.answer,
        columns.sum(key, request).sum()
    ])?;
    Ok(())
}
