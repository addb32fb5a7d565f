//! Rows of the audit log: written with the change that they tell of, never changed.

use domain::audit::{Act, AuditQuery, By, Entry};
use domain::id::AuditId;
use domain::time::Timestamp;

use super::connection::{Link, Param};
use super::fault::Fault;
use crate::rows::audit::Columns;

/// What is read, in the order of the columns.
const COLUMNS: &str =
    "key, account, action, actor, actor_id, actor_name, target, target_name, request, address, detail, crc";
/// The constraint that two nodes meet in when they write at the same instant.
pub(super) const KEY: &str = "audit_pkey";

/// Writes an act; its key is the instant, or lies after the newest entry's. Another node may take the same one: then it is
/// tried again with the whole transaction.
pub(super) async fn insert(link: &Link, now: Timestamp, by: &By, act: Act) -> Result<(), Fault> {
    let newest = link.row("SELECT max(key) FROM audit", &[]).await?.and_then(|row| row.get::<_, Option<i64>>(0));
    let id = AuditId::first_at(now).max(newest.map_or(AuditId(0), |key| AuditId(key as u64 + 1)));
    let columns = Columns::of(id, by, act);
    link.run(
        "INSERT INTO audit (key, account, action, actor, actor_id, actor_name, target, target_name, request, address, detail,
                            crc)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        &[
            &columns.key,
            &columns.account.map(|account| account as i32),
            &columns.action,
            &columns.actor,
            &columns.actor_id,
            &columns.actor_name,
            &columns.target,
            &columns.target_name,
            &columns.request,
            &columns.address,
            &columns.detail,
            &columns.sum(),
        ],
    )
    .await?;
    Ok(())
}

/// Entries of a query, newest first; one more than its limit, if there are more.
pub(super) async fn list(link: &Link, query: &AuditQuery) -> Result<Vec<Entry>, Fault> {
    let AuditQuery { account, filter, before, limit } = query;
    let mut conditions = vec!["key < $1".to_owned(), "key >= $2".to_owned()];
    let until = filter.until.map_or(i64::MAX, |until| AuditId::first_at(until).0 as i64);
    let below = before.map_or(i64::MAX, |id| id.0 as i64).min(until);
    let from = filter.since.map_or(0, |since| AuditId::first_at(since).0 as i64);
    let account = account.map(|account| account as i32);
    let action = filter.action.as_ref().map(|action| like(action));
    let mut values: Vec<Param<'_>> = vec![&below, &from];
    let wanted = limit + 1;
    // Only what is asked for stands in the statement, so that the index by account serves where there is one.
    for (condition, value) in [
        ("account = $", account.as_ref().map(|account| account as Param<'_>)),
        ("action LIKE $", action.as_ref().map(|action| action as Param<'_>)),
        ("actor_id = $ OR actor = $", filter.actor.as_ref().map(|actor| actor as Param<'_>)),
        ("target = $", filter.target.as_ref().map(|target| target as Param<'_>)),
    ] {
        if let Some(value) = value {
            values.push(value);
            conditions.push(format!("({})", condition.replace('$', &format!("${}", values.len()))));
        }
    }
    let sql =
        format!("SELECT {COLUMNS} FROM audit WHERE {} ORDER BY key DESC LIMIT {wanted}", conditions.join(" AND "));
    let mut entries = Vec::new();
    for row in link.rows_of(&sql, &values).await? {
        let columns = Columns {
            key: row.get(0),
            account: row.get::<_, Option<i32>>(1).map(|account| account as u32),
            action: row.get(2),
            actor: row.get(3),
            actor_id: row.get(4),
            actor_name: row.get(5),
            target: row.get(6),
            target_name: row.get(7),
            request: row.get(8),
            address: row.get(9),
            detail: row.get(10),
        };
        entries.push(columns.entry(row.get(11))?);
    }
    Ok(entries)
}

/// A pattern with `*` in the words of `LIKE`.
fn like(pattern: &str) -> String {
    let quoted = pattern.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    quoted.replace('*', "%")
}

/// Deletes up to `budget` entries that are older than `until`; returns how many.
pub(super) async fn prune(link: &Link, until: Timestamp, budget: i64) -> Result<u64, Fault> {
    let sql = "DELETE FROM audit WHERE key IN (SELECT key FROM audit WHERE key < $1 ORDER BY key LIMIT $2)";
    link.run(sql, &[&(AuditId::first_at(until).0 as i64), &budget]).await
}
