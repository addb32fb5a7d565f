//! Rows of replays in bulk, and the pages that list what they are still to hand over.

use domain::id::{DeliveryId, ReplayId};
use domain::replay::{Replay, State};
use domain::time::Timestamp;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params};

use super::fault::Fault;
pub(super) use crate::rows::replay::{PAGE, ReplayRow};
use crate::rows::replay::{read_page, sum_page, write_page};

/// What [`read`] reads, in its order.
macro_rules! columns {
    () => {
        "number, id, account, state, page, skip, record, crc"
    };
}

/// Writes a new row; the replay gets its number.
pub(super) fn insert(conn: &Connection, replay: &mut Replay) -> Result<(), Fault> {
    conn.prepare_cached(
        "INSERT INTO replays (id, account, state, page, skip, record, crc) VALUES (?1, ?2, 0, 0, 0, '', 0)",
    )?
    .execute(params![replay.id.as_str(), replay.account])?;
    replay.number = conn.last_insert_rowid() as u32;
    put(conn, &ReplayRow { replay: replay.clone(), page: 0, skip: 0 })
}

/// Writes a row in place of the one of the same number.
pub(super) fn put(conn: &Connection, row: &ReplayRow) -> Result<(), Fault> {
    let ReplayRow { replay, page, skip } = row;
    let (state, record, sum) = row.write()?;
    conn.prepare_cached(
        "UPDATE replays SET state = ?2, page = ?3, skip = ?4, record = ?5, crc = ?6 WHERE number = ?1",
    )?
    .execute(params![replay.number, state, page, skip, record, sum])?;
    Ok(())
}

/// The replay of this number.
pub(super) fn get(conn: &Connection, number: u32) -> Result<Option<ReplayRow>, Fault> {
    let mut statement = conn.prepare_cached(concat!("SELECT ", columns!(), " FROM replays WHERE number = ?1"))?;
    let mut rows = statement.query([number])?;
    rows.next()?.map(read).transpose()
}

/// The replay of this id.
pub(super) fn by_id(conn: &Connection, id: &ReplayId) -> Result<Option<ReplayRow>, Fault> {
    let mut statement = conn.prepare_cached(concat!("SELECT ", columns!(), " FROM replays WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_str()])?;
    rows.next()?.map(read).transpose()
}

/// The id of this number.
pub(super) fn id_of(conn: &Connection, number: u32) -> Result<Option<ReplayId>, Fault> {
    let found: Option<String> = conn
        .prepare_cached("SELECT id FROM replays WHERE number = ?1")?
        .query_row([number], |row| row.get(0))
        .optional()?;
    found.map(|id| id.parse().map_err(|error| Fault::damaged(format_args!("replay {number}"), error))).transpose()
}

/// Replays of an account that somebody has been told of, newest first, those below `before`.
pub(super) fn of_account(
    conn: &Connection,
    account: u32,
    before: u32,
    limit: usize,
    unfinished: bool,
) -> Result<Vec<ReplayRow>, Fault> {
    let sql = if unfinished {
        concat!(
            "SELECT ",
            columns!(),
            " FROM replays INDEXED BY replays_unfinished
             WHERE account = ?1 AND number < ?2 AND state < 3 AND state > 0 ORDER BY number DESC LIMIT ?3"
        )
    } else {
        concat!(
            "SELECT ",
            columns!(),
            " FROM replays WHERE account = ?1 AND number < ?2 AND state > 0 ORDER BY number DESC LIMIT ?3"
        )
    };
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![account, before, limit as i64])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Every replay that is not over, oldest first.
pub(super) fn unfinished(conn: &Connection) -> Result<Vec<ReplayRow>, Fault> {
    let mut statement =
        conn.prepare(concat!("SELECT ", columns!(), " FROM replays WHERE state < 3 ORDER BY number"))?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Compares the checksum of every row.
pub(super) fn verify(conn: &Connection) -> Result<u64, Fault> {
    let mut statement = conn.prepare(concat!("SELECT ", columns!(), " FROM replays"))?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        read(row)?;
        count += 1;
    }
    Ok(count)
}

/// Compares the checksum of every page.
pub(super) fn verify_pages(conn: &Connection) -> Result<u64, Fault> {
    let mut statement = conn.prepare("SELECT key FROM replay_pages")?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let key: i64 = row.get(0)?;
        page(conn, (key >> 32) as u32, key as u32)?;
        count += 1;
    }
    Ok(count)
}

/// Deletes a replay, with its list.
pub(super) fn delete(conn: &Connection, number: u32) -> Result<(), Fault> {
    delete_pages(conn, number)?;
    conn.prepare_cached("DELETE FROM replays WHERE number = ?1")?.execute([number])?;
    Ok(())
}

/// Of the oldest `limit` replays that are over, those that were before `until`.
pub(super) fn ended_before(conn: &Connection, until: Timestamp, limit: usize) -> Result<Vec<u32>, Fault> {
    let mut statement =
        conn.prepare_cached(concat!("SELECT ", columns!(), " FROM replays WHERE state >= 3 ORDER BY number LIMIT ?1"))?;
    let mut rows = statement.query([limit as i64])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let row = read(row)?;
        if let State::Stopped { at, .. } | State::Done { at } = row.replay.state
            && at < until
        {
            found.push(row.replay.number);
        }
    }
    Ok(found)
}

/// The numbers of all replays of an account.
pub(super) fn numbers_of(conn: &Connection, account: u32) -> Result<Vec<u32>, Fault> {
    let mut statement = conn.prepare_cached("SELECT number FROM replays WHERE account = ?1")?;
    Ok(statement.query_map([account], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// The statement for [`put_page`].
pub(super) fn prepare_page(conn: &Connection) -> Result<CachedStatement<'_>, Fault> {
    Ok(conn.prepare_cached("INSERT INTO replay_pages (key, ids, crc) VALUES (?1, ?2, ?3)")?)
}

/// Writes a page of a replay's list.
pub(super) fn put_page(
    statement: &mut CachedStatement<'_>,
    replay: u32,
    page: u32,
    ids: &[DeliveryId],
) -> Result<(), Fault> {
    let bytes = write_page(ids);
    statement.execute(params![key(replay, page), bytes, sum_page(replay, page, &bytes)])?;
    Ok(())
}

/// The deliveries of a page of a replay's list.
pub(super) fn page(conn: &Connection, replay: u32, page: u32) -> Result<Vec<DeliveryId>, Fault> {
    let damaged = || Fault::Damaged(format!("page {page} of the list of replay {replay}"));
    let (bytes, crc): (Vec<u8>, i64) = conn
        .prepare_cached("SELECT ids, crc FROM replay_pages WHERE key = ?1")?
        .query_row([key(replay, page)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or_else(damaged)?;
    Ok(read_page(replay, page, &bytes, crc)?)
}

/// A page has been handed over.
pub(super) fn delete_page(conn: &Connection, replay: u32, page: u32) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM replay_pages WHERE key = ?1")?.execute([key(replay, page)])?;
    Ok(())
}

/// Nothing more of a replay is to be handed over.
pub(super) fn delete_pages(conn: &Connection, replay: u32) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM replay_pages WHERE key >= ?1 AND key < ?2")?
        .execute([key(replay, 0), key(replay.saturating_add(1), 0)])?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<ReplayRow, Fault> {
    let (number, id, account): (u32, String, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let (state, page, skip, record): (i64, u32, u32, String) = (row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?);
    Ok(ReplayRow::read((number, &id, account), [state, page.into(), skip.into()], &record, row.get(7)?)?)
}

const fn key(replay: u32, page: u32) -> i64 {
    (replay as i64) << 32 | page as i64
}
