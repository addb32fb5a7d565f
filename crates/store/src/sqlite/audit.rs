//! Rows of the audit log: written with the change that they tell of, never changed.

use domain::audit::{Act, AuditQuery, By, Entry};
use domain::id::AuditId;
use domain::time::Timestamp;
use rusqlite::{Connection, Row, ToSql, params};

use super::fault::Fault;
use crate::rows::audit::Columns;

/// What [`read`] reads, in its order.
const COLUMNS: &str =
    "key, account, action, actor, actor_id, actor_name, target, target_name, request, address, detail, crc";

/// Writes an act; its key is the instant, or lies after the newest entry's.
pub(super) fn insert(conn: &Connection, now: Timestamp, by: &By, act: Act) -> Result<(), Fault> {
    let newest: Option<i64> = conn.prepare_cached("SELECT max(key) FROM audit")?.query_row([], |row| row.get(0))?;
    let id = AuditId::first_at(now).max(newest.map_or(AuditId(0), |key| AuditId(key as u64 + 1)));
    let columns = Columns::of(id, by, act);
    conn.prepare_cached(&format!(
        "INSERT INTO audit ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
    ))?
    .execute(params![
        columns.key,
        columns.account,
        columns.action,
        columns.actor,
        columns.actor_id,
        columns.actor_name,
        columns.target,
        columns.target_name,
        columns.request,
        columns.address,
        columns.detail,
        columns.sum()
    ])?;
    Ok(())
}

/// Entries of a query, newest first; one more than its limit, if there are more.
pub(super) fn list(conn: &Connection, query: &AuditQuery) -> Result<Vec<Entry>, Fault> {
    let AuditQuery { account, filter, before, limit } = query;
    let mut conditions = vec!["key < ?1", "key >= ?2"];
    let until = filter.until.map_or(i64::MAX, |until| AuditId::first_at(until).0 as i64);
    let below = before.map_or(i64::MAX, |id| id.0 as i64).min(until);
    let from = filter.since.map_or(0, |since| AuditId::first_at(since).0 as i64);
    // Only what is asked for stands in the statement, so that the index by account serves where there is one.
    let (mut values, wanted): (Vec<&dyn ToSql>, _) = (vec![&below, &from], limit + 1);
    for (condition, value) in [
        ("account = ?", account.as_ref().map(|account| account as &dyn ToSql)),
        ("action GLOB ?", filter.action.as_ref().map(|action| action as &dyn ToSql)),
        ("? IN (actor_id, actor)", filter.actor.as_ref().map(|actor| actor as &dyn ToSql)),
        ("target = ?", filter.target.as_ref().map(|target| target as &dyn ToSql)),
    ] {
        if let Some(value) = value {
            conditions.push(condition);
            values.push(value);
        }
    }
    let sql =
        format!("SELECT {COLUMNS} FROM audit WHERE {} ORDER BY key DESC LIMIT {wanted}", conditions.join(" AND "));
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(&values[..])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(read(row)?);
    }
    Ok(entries)
}

/// Compares the checksum of every row.
pub(super) fn verify(conn: &Connection) -> Result<u64, Fault> {
    let mut statement = conn.prepare(&format!("SELECT {COLUMNS} FROM audit"))?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        read(row)?;
        count += 1;
    }
    Ok(count)
}

/// Deletes up to `limit` entries that are older than `until`; returns how many.
pub(super) fn prune(conn: &Connection, until: Timestamp, limit: usize) -> Result<usize, Fault> {
    let sql = "DELETE FROM audit WHERE key IN (SELECT key FROM audit WHERE key < ?1 ORDER BY key LIMIT ?2)";
    Ok(conn.prepare_cached(sql)?.execute(params![AuditId::first_at(until).0 as i64, limit as i64])?)
}

/// Deletes an account's part of the log.
pub(super) fn delete_of_account(conn: &Connection, account: u32) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM audit WHERE account = ?1")?.execute([account])?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<Entry, Fault> {
    let columns = Columns {
        key: row.get(0)?,
        account: row.get(1)?,
        action: row.get(2)?,
        actor: row.get(3)?,
        actor_id: row.get(4)?,
        actor_name: row.get(5)?,
        target: row.get(6)?,
        target_name: row.get(7)?,
        request: row.get(8)?,
        address: row.get(9)?,
        detail: row.get(10)?,
    };
    columns.entry(row.get(11)?).map_err(Fault::from)
}
