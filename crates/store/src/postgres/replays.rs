//! Rows of replays in bulk, and the pages that list what they are still to hand over.

use domain::id::{DeliveryId, ReplayId};
use domain::replay::{Replay, State};
use domain::time::Timestamp;
use tokio_postgres::Row;

use super::connection::Link;
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
pub(super) async fn insert(link: &Link, replay: &mut Replay) -> Result<(), Fault> {
    let given = link.row("SELECT nextval(pg_get_serial_sequence('replays', 'number'))", &[]).await?;
    replay.number = given.map_or(0, |row| row.get::<_, i64>(0) as u32);
    put(link, &ReplayRow { replay: replay.clone(), page: 0, skip: 0 }).await
}

/// Writes a row in place of the one of the same number.
pub(super) async fn put(link: &Link, row: &ReplayRow) -> Result<(), Fault> {
    let ReplayRow { replay, page, skip } = row;
    let (state, record, sum) = row.write()?;
    link.run(
        "INSERT INTO replays (number, id, account, state, page, skip, record, crc)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (account, number) DO UPDATE
         SET state = excluded.state, page = excluded.page, skip = excluded.skip, record = excluded.record,
             crc = excluded.crc",
        &[
            &(replay.number as i32),
            &replay.id.as_str(),
            &(replay.account as i32),
            &(state as i16),
            &(*page as i32),
            &(*skip as i32),
            &record,
            &sum,
        ],
    )
    .await?;
    Ok(())
}

/// The account's replay of this number.
pub(super) async fn get(link: &Link, (account, number): (u32, u32)) -> Result<Option<ReplayRow>, Fault> {
    let sql = concat!("SELECT ", columns!(), " FROM replays WHERE account = $1 AND number = $2");
    link.row(sql, &[&(account as i32), &(number as i32)]).await?.as_ref().map(read).transpose()
}

/// The account's replay of this number, held until the end of the transaction.
pub(super) async fn hold(link: &Link, (account, number): (u32, u32)) -> Result<Option<ReplayRow>, Fault> {
    let sql = concat!("SELECT ", columns!(), " FROM replays WHERE account = $1 AND number = $2 FOR UPDATE");
    link.row(sql, &[&(account as i32), &(number as i32)]).await?.as_ref().map(read).transpose()
}

/// The account's replay of this id.
pub(super) async fn by_id(link: &Link, account: u32, id: &ReplayId) -> Result<Option<ReplayRow>, Fault> {
    let sql = concat!("SELECT ", columns!(), " FROM replays WHERE account = $1 AND id = $2");
    link.row(sql, &[&(account as i32), &id.as_str()]).await?.as_ref().map(read).transpose()
}

/// Replays of an account that somebody has been told of, newest first, those below `before`.
pub(super) async fn of_account(
    link: &Link,
    account: u32,
    before: u32,
    limit: usize,
    unfinished: bool,
) -> Result<Vec<ReplayRow>, Fault> {
    let sql = if unfinished {
        concat!(
            "SELECT ",
            columns!(),
            " FROM replays WHERE account = $1 AND number < $2 AND state < 3 AND state > 0 ORDER BY number DESC LIMIT $3"
        )
    } else {
        concat!(
            "SELECT ",
            columns!(),
            " FROM replays WHERE account = $1 AND number < $2 AND state > 0 ORDER BY number DESC LIMIT $3"
        )
    };
    let before = i32::try_from(before).unwrap_or(i32::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    link.rows(sql, &[&(account as i32), &before, &limit]).await?.iter().map(read).collect()
}

/// Every replay that goes on, oldest first.
pub(super) async fn unfinished(link: &Link) -> Result<Vec<ReplayRow>, Fault> {
    let sql = concat!("SELECT ", columns!(), " FROM replays WHERE state < 3 AND state > 0 ORDER BY number");
    link.rows(sql, &[]).await?.iter().map(read).collect()
}

/// The ids of the account's replays of these numbers.
pub(super) async fn ids_of(link: &Link, account: u32, numbers: &[i32]) -> Result<Vec<(u32, ReplayId)>, Fault> {
    let sql = "SELECT number, id FROM replays WHERE account = $1 AND number = ANY ($2)";
    let rows = link.rows(sql, &[&(account as i32), &numbers]).await?;
    let id = |row: &Row| {
        let (number, id): (i32, String) = (row.get(0), row.get(1));
        let id = id.parse().map_err(|error| Fault::damaged(format_args!("replay {number}"), error))?;
        Ok((number as u32, id))
    };
    rows.iter().map(id).collect()
}

/// Deletes replays that nobody has started within an hour.
pub(super) async fn delete_unstarted(link: &Link, until: Timestamp) -> Result<(), Fault> {
    let sql = concat!("SELECT ", columns!(), " FROM replays WHERE state = 0");
    for row in link.rows(sql, &[]).await? {
        let row = read(&row)?;
        if row.replay.state == State::Preparing && row.replay.created_at < until {
            delete(link, (row.replay.account, row.replay.number)).await?;
        }
    }
    Ok(())
}

/// Of the oldest `limit` replays that are over, those that were before `until`, each with its account.
pub(super) async fn ended_before(link: &Link, until: Timestamp, limit: i64) -> Result<Vec<(u32, u32)>, Fault> {
    let sql = concat!("SELECT ", columns!(), " FROM replays WHERE state >= 3 ORDER BY number LIMIT $1");
    let mut found = Vec::new();
    for row in link.rows(sql, &[&limit]).await? {
        let row = read(&row)?;
        if let State::Stopped { at, .. } | State::Done { at } = row.replay.state
            && at < until
        {
            found.push((row.replay.account, row.replay.number));
        }
    }
    Ok(found)
}

/// Deletes an account's replay, with its list.
pub(super) async fn delete(link: &Link, (account, number): (u32, u32)) -> Result<(), Fault> {
    delete_pages(link, (account, number)).await?;
    let sql = "DELETE FROM replays WHERE account = $1 AND number = $2";
    link.run(sql, &[&(account as i32), &(number as i32)]).await?;
    Ok(())
}

/// Writes a page of the list of an account's replay.
pub(super) async fn put_page(
    link: &Link,
    (account, replay): (u32, u32),
    page: u32,
    ids: &[DeliveryId],
) -> Result<(), Fault> {
    let bytes = write_page(ids);
    link.run(
        "INSERT INTO replay_pages (account, replay, page, ids, crc) VALUES ($1, $2, $3, $4, $5)",
        &[&(account as i32), &(replay as i32), &(page as i32), &bytes, &sum_page(replay, page, &bytes)],
    )
    .await?;
    Ok(())
}

/// The deliveries of a page of the list of an account's replay.
pub(super) async fn page(link: &Link, (account, replay): (u32, u32), page: u32) -> Result<Vec<DeliveryId>, Fault> {
    let sql = "SELECT ids, crc FROM replay_pages WHERE account = $1 AND replay = $2 AND page = $3";
    let found = link.row(sql, &[&(account as i32), &(replay as i32), &(page as i32)]).await?;
    let row = found.ok_or_else(|| Fault::Damaged(format!("page {page} of the list of replay {replay}")))?;
    Ok(read_page(replay, page, row.get(0), row.get(1))?)
}

/// A page has been handed over.
pub(super) async fn delete_page(link: &Link, (account, replay): (u32, u32), page: u32) -> Result<(), Fault> {
    let sql = "DELETE FROM replay_pages WHERE account = $1 AND replay = $2 AND page = $3";
    link.run(sql, &[&(account as i32), &(replay as i32), &(page as i32)]).await?;
    Ok(())
}

/// Nothing more of an account's replay is to be handed over.
pub(super) async fn delete_pages(link: &Link, (account, replay): (u32, u32)) -> Result<(), Fault> {
    let sql = "DELETE FROM replay_pages WHERE account = $1 AND replay = $2";
    link.run(sql, &[&(account as i32), &(replay as i32)]).await?;
    Ok(())
}

fn read(row: &Row) -> Result<ReplayRow, Fault> {
    let (number, id, account): (i32, &str, i32) = (row.get(0), row.get(1), row.get(2));
    let (state, page, skip): (i16, i32, i32) = (row.get(3), row.get(4), row.get(5));
    let numbers = [state.into(), page.into(), skip.into()];
    Ok(ReplayRow::read((number as u32, id, account as u32), numbers, row.get(6), row.get(7))?)
}
