//! Rows of the audit log: written with the change that they tell of, never changed.

use domain::audit::{Act, AuditQuery, By, Entry};
use domain::id::AuditId;
use domain::time::Timestamp;

use super::connection::{Link, Param};
use super::engine::Engine;
use super::fault::Fault;
use crate::rows::audit::Columns;

/// What is read, in the order of the columns.
const COLUMNS: &str =
    "key, account, action, actor, actor_id, actor_name, target, target_name, request, address, detail, crc";
/// The constraint that two nodes meet in where clocks were set back.
pub(super) const KEY: &str = "audit_pkey";

/// In place of the account of what is the platform's own: numbers of accounts begin at 1.
const PLATFORM: i32 = 0;

fn number(account: Option<u32>) -> i32 {
    account.map_or(PLATFORM, |account| account as i32)
}

impl Engine {
    /// Writes acts. The key of each is the instant, or lies after the account's newest entry's, and is no other entry's: in an instant
    /// each node has keys of its own, and gives them in order.
    pub(super) async fn note_all(&mut self, now: Timestamp, by: &By, acts: Vec<Act>) -> Result<(), Fault> {
        let link = self.link()?;
        for act in acts {
            let newest = newest(&link, act.account).await?;
            let key = AuditId::first_at(now).0.max(self.last_entry + 1).max(newest.map_or(0, |key| key as u64 + 1));
            self.last_entry = self.stamps.fitting(key);
            insert(&link, AuditId(self.last_entry), by, act).await?;
        }
        Ok(())
    }
}

/// The key of the newest entry of an account's part, or of the platform's own.
async fn newest(link: &Link, account: Option<u32>) -> Result<Option<i64>, Fault> {
    let found = link.row("SELECT max(key) FROM audit WHERE account = $1", &[&number(account)]).await?;
    Ok(found.and_then(|row| row.get(0)))
}

/// Writes an act. If its key is taken all the same, it is tried again with the whole transaction.
async fn insert(link: &Link, id: AuditId, by: &By, act: Act) -> Result<(), Fault> {
    let columns = Columns::of(id, by, act);
    link.run(
        "INSERT INTO audit (key, account, action, actor, actor_id, actor_name, target, target_name, request, address, detail,
                            crc)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        &[
            &columns.key,
            &number(columns.account),
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
    // Only what is asked for stands in the statement: an account's part goes by its key, all of it by the index over all accounts.
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
            account: Some(row.get::<_, i32>(1)).filter(|account| *account != PLATFORM).map(|account| account as u32),
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
    let sql = "DELETE FROM audit WHERE (account, key) IN
                   (SELECT account, key FROM audit WHERE key < $1 ORDER BY key LIMIT $2)";
    link.run(sql, &[&(AuditId::first_at(until).0 as i64), &budget]).await
}
