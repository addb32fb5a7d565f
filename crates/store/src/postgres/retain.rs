//! Retention by age, and erasing of closed accounts: a day's tables go at once where everything in them may, else events go
//! a bounded batch at a time. What is unfinished never goes.

use std::collections::HashMap;
use std::time::Duration;

use domain::time::Timestamp;

use super::connection::Link;
use super::fault::Fault;
use super::partitions::{DAILY, Day, days};
use super::shared::Shared;
use super::{feed, idempotency};

/// How many events a batch looks at.
const AT_ONCE: i64 = 500;
/// How many idempotency keys of a closed account go at once.
const KEYS_AT_ONCE: i64 = 5_000;
/// How many accounts one round looks at.
const ACCOUNTS_AT_ONCE: usize = 200;

/// Part of a `WITH` that deletes everything of the events whose keys are in its `gone`, all of account `$1`.
macro_rules! delete_gone {
    () => {
        "one AS (DELETE FROM attempts AS a USING gone WHERE a.account = $1 AND a.event = gone.key),
         two AS (DELETE FROM replayed AS r USING gone WHERE r.account = $1 AND r.event = gone.key),
         three AS (DELETE FROM deliveries AS d USING gone WHERE d.account = $1 AND d.event = gone.key),
         four AS (DELETE FROM events AS e USING gone WHERE e.account = $1 AND e.key = gone.key)"
    };
}
pub(super) use delete_gone;

/// How far retention has come through each account's events.
#[derive(Debug, Default)]
pub(super) struct Passes {
    after: HashMap<u32, i64>,
    last: u32,
}

/// What a round has done.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Retained {
    /// How many events went.
    pub(super) events: u64,
    /// Whether there is more to do at once.
    pub(super) more: bool,
}

/// Drops the days of which everything may go, and deletes a bounded number of other events. Retention counts from a
/// delivery's end. `keep` holds where an account does not say otherwise.
pub(super) async fn retain(
    link: &Link,
    shared: &Shared,
    passes: &mut Passes,
    now: Timestamp,
    keep: Duration,
) -> Result<Retained, Fault> {
    let own: Vec<(u32, Option<Duration>)> = {
        let directory = shared.directory.read();
        directory.accounts().map(|account| (account.number, account.log.retention)).collect()
    };
    let longest = own.iter().filter_map(|(_, own)| *own).chain([keep]).max().unwrap_or(keep);
    let (mut retained, mut blocked) = (Retained::default(), false);
    for day in days(link).await?.into_iter().filter(|day| day.end() < now.minus(keep)) {
        let until = now.minus(longest);
        let dropped = if day.end() < until { drop_day(link, day, until).await? } else { None };
        retained.events += dropped.unwrap_or(0);
        blocked |= dropped.is_none();
    }
    // By themselves go the events of accounts that keep less, and of days in which something must stay.
    let mut wanted: Vec<_> = own.into_iter().filter(|(_, own)| blocked || own.is_some_and(|own| own < keep)).collect();
    wanted.sort_unstable();
    let start = wanted.partition_point(|(account, _)| *account <= passes.last);
    wanted.rotate_left(start);
    for (account, own) in wanted.into_iter().take(ACCOUNTS_AT_ONCE) {
        let until = now.minus(own.unwrap_or(keep));
        let after = passes.after.get(&account).copied().unwrap_or(-1);
        let (seen, deleted, last) = delete_ended(link, account, after, until).await?;
        retained.events += deleted;
        if seen == AT_ONCE {
            passes.after.insert(account, last);
            retained.more = true;
        } else {
            passes.after.remove(&account);
        }
        passes.last = account;
    }
    Ok(retained)
}

/// Drops a day's tables, unless something in them is unfinished, or ended after `until`; says how many events went if it did.
pub(super) async fn drop_day(link: &Link, day: Day, until: Timestamp) -> Result<Option<u64>, Fault> {
    // This may read much, so it is done without a lock. What becomes unfinished meanwhile is being replayed, and that is told.
    let since = link.row("SELECT (extract(epoch FROM now()) * 1000000)::bigint", &[]).await?;
    let since: i64 = since.map_or(0, |row| row.get(0));
    if must_stay(link, day, until).await? {
        return Ok(None);
    }
    let events = count(link, day).await?;
    let dropped = drop_locked(link, day, since).await;
    if !matches!(dropped, Ok(true)) {
        // The first fault is the one to tell of.
        let _ = link.batch("ROLLBACK").await;
    }
    match dropped {
        Ok(true) => Ok(Some(events)),
        Ok(false) | Err(Fault::Conflict(_)) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// How many events a day has.
async fn count(link: &Link, day: Day) -> Result<u64, Fault> {
    let keys = day.keys();
    let row = link.row("SELECT count(*) FROM events WHERE key >= $1 AND key < $2", &[&keys.start, &keys.end]).await?;
    Ok(row.map_or(0, |row| row.get::<_, i64>(0).unsigned_abs()))
}

async fn drop_locked(link: &Link, day: Day, since: i64) -> Result<bool, Fault> {
    let names = DAILY.map(|table| format!("{table}_{}", day.0));
    // Whoever waits for a lock on a whole table makes others wait behind it: so not for long, and shorter than until the server takes
    // it for a deadlock, which it might end by undoing what others do. The tables come before their days, as in every statement.
    let tables: Vec<String> = DAILY.iter().map(|table| format!("ONLY {table}")).chain(names.iter().cloned()).collect();
    link.batch(&format!(
        "BEGIN; SET LOCAL lock_timeout = 500; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
        tables.join(", ")
    ))
    .await?;
    // What was under way is committed now, and nothing more comes.
    if feed::was_replayed(link, since, day.keys()).await? {
        return Ok(false);
    }
    let drop =
        |(table, name): (&str, &String)| format!("ALTER TABLE {table} DETACH PARTITION {name}; DROP TABLE {name};");
    let sql: String = DAILY.into_iter().zip(&names).map(drop).collect();
    link.batch(&format!("{sql} COMMIT")).await?;
    tracing::info!(day = day.0, "a day's events were dropped");
    Ok(true)
}

/// Whether something of a day is unfinished, or ended after `until`.
async fn must_stay(link: &Link, day: Day, until: Timestamp) -> Result<bool, Fault> {
    let keys = day.keys();
    let stays = link
        .row(
            "SELECT EXISTS (SELECT FROM hot WHERE event >= $1 AND event < $2)
                 OR EXISTS (SELECT FROM deliveries WHERE event >= $1 AND event < $2 AND ended_at >= $3)",
            &[&keys.start, &keys.end, &until.0],
        )
        .await?;
    Ok(stays.is_none_or(|row| row.get(0)))
}

/// Looks at some of an account's events, and deletes those whose deliveries have all ended before `until`: how many were
/// seen, how many went, and the last one seen. Deliveries are held first: one that is being replayed keeps its event.
async fn delete_ended(link: &Link, account: u32, after: i64, until: Timestamp) -> Result<(i64, u64, i64), Fault> {
    // No delivery ends before its event is accepted.
    let below = domain::id::EventId::first_at(until.0.max(0)).0 as i64;
    let row = link
        .row(
            concat!(
                "WITH old AS MATERIALIZED (
                 SELECT key, length(targets) / 4 AS targets FROM events
                 WHERE account = $1 AND key > $2 AND key < $3 ORDER BY key LIMIT $5
             ), held AS MATERIALIZED (
                 SELECT d.event FROM old JOIN deliveries AS d ON d.account = $1 AND d.event = old.key
                 WHERE d.ended_at < $4 FOR UPDATE OF d SKIP LOCKED
             ), gone AS MATERIALIZED (
                 SELECT key FROM old LEFT JOIN (SELECT event, count(*) AS number FROM held GROUP BY event) AS h ON h.event = key
                 WHERE targets = coalesce(h.number, 0)
             ), ",
                delete_gone!(),
                "
             SELECT (SELECT count(*) FROM old), (SELECT count(*) FROM gone), (SELECT coalesce(max(key), -1) FROM old)"
            ),
            &[&(account as i32), &after, &below, &until.0, &AT_ONCE],
        )
        .await?;
    Ok(row.map_or((0, 0, -1), |row| (row.get(0), row.get::<_, i64>(1) as u64, row.get(2))))
}

/// Erases some of an account that was closed; says whether there may be more.
pub(super) async fn erase(link: &Link) -> Result<bool, Fault> {
    let found = link.row("SELECT account, webhooks FROM erasures ORDER BY account LIMIT 1", &[]).await?;
    let Some(row) = found else { return Ok(false) };
    let (account, webhooks): (i32, Vec<i32>) = (row.get(0), row.get(1));
    let shards: Vec<i16> = webhooks.iter().map(|webhook| super::hot::shard(account as u32, *webhook as u32)).collect();
    // What others were accepting when it was closed may come yet: so the last step is taken again until nothing is found.
    let waited = link
        .run(
            "DELETE FROM hot USING (
                 SELECT h.shard, h.webhook, h.event, h.place
                 FROM unnest($1::smallint[], $2::integer[]) AS w (shard, webhook)
                 JOIN hot AS h ON h.shard = w.shard AND h.webhook = w.webhook LIMIT 5000
             ) AS k
             WHERE hot.shard = k.shard AND hot.webhook = k.webhook AND hot.event = k.event AND hot.place = k.place",
            &[&shards, &webhooks],
        )
        .await?;
    let events = link
        .run(
            concat!(
                "WITH gone AS MATERIALIZED (SELECT key FROM events WHERE account = $1 ORDER BY key LIMIT 2000), ",
                delete_gone!(),
                " SELECT FROM gone"
            ),
            &[&account],
        )
        .await?;
    let keys = idempotency::erase(link, account, KEYS_AT_ONCE).await?;
    if waited > 0 || events > 0 || keys > 0 {
        return Ok(true);
    }
    for sql in [
        "DELETE FROM stats_minutes WHERE account = $1",
        "DELETE FROM stats_hours WHERE account = $1",
        "DELETE FROM webhooks_gone WHERE account = $1",
        "DELETE FROM cancellings WHERE account = $1",
        "DELETE FROM followed WHERE account = $1",
        "DELETE FROM chronicle WHERE account = $1",
        "DELETE FROM erasures WHERE account = $1",
    ] {
        link.run(sql, &[&account]).await?;
    }
    tracing::info!(account_number = account, "an account was erased");
    Ok(true)
}
