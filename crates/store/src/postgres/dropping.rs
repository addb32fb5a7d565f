//! Dropping a day's tables, where everything in them may go. For that nobody may read or write them, and whoever waits until nobody does
//! makes all others wait: so that is tried for a moment, and where it fails not again for a while, by no node.

use std::time::{Duration, Instant};

use domain::time::Timestamp;

use super::connection::Link;
use super::fault::Fault;
use super::feed;
use super::partitions::{DAILY, Day};
use super::schema::LOCK;

/// Held by the node that could not drop a day, until it tries again: others leave it at that.
const HELD: i64 = LOCK + 5;
/// For how long the tables are waited for at most, all of them together, in milliseconds. It doubles each time that they could not be had, up
/// to the last: where statements are always under way that take longer than a moment, the day goes all the same.
const WAIT_MS: u32 = 100;
const WAIT_MS_LAST: u32 = 800;

/// What has become of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is gone, with so many events.
    Dropped(u64),
    /// Something in it must stay.
    Stays,
    /// It may go, or nobody has looked: somebody reads or writes the tables for longer than others may wait.
    Held,
}

/// When a day may be dropped.
#[derive(Debug)]
pub(super) struct Dropping {
    /// How long after the tables could not be had they are asked for again.
    again_after: Duration,
    again_at: Option<Instant>,
    /// How often the tables could not be had since they were had; it is said at the first time.
    failed: u32,
}

impl Dropping {
    pub(super) const fn new(again_after: Duration) -> Self {
        Self { again_after, again_at: None, failed: 0 }
    }

    /// Lets the tables be asked for again, if it is time. Before anything is dropped in a round.
    pub(super) async fn wait_no_longer(&mut self, link: &Link) -> Result<(), Fault> {
        if self.again_at.is_some_and(|at| at <= Instant::now()) {
            self.again_at = None;
            // Another connection than that of then holds it no more, which is as good.
            link.row("SELECT pg_advisory_unlock($1)", &[&HELD]).await?;
        }
        Ok(())
    }

    /// Drops a day's tables, unless something in them is unfinished, or ended after `until`.
    pub(super) async fn drop_day(&mut self, link: &Link, day: Day, until: Timestamp) -> Result<Fate, Fault> {
        if self.again_at.is_some() || is_held(link).await? {
            return Ok(Fate::Held);
        }
        // This may read much, so it is done without a lock. What becomes unfinished meanwhile is being replayed, and that is told.
        let since = link.row("SELECT (extract(epoch FROM now()) * 1000000)::bigint", &[]).await?;
        let since: i64 = since.map_or(0, |row| row.get(0));
        if must_stay(link, day, until).await? {
            return Ok(Fate::Stays);
        }
        let events = count(link, day).await?;
        let wait_ms = WAIT_MS.saturating_mul(1 << self.failed.min(8)).min(WAIT_MS_LAST);
        let dropped = drop_locked(link, day, since, wait_ms).await;
        if !matches!(dropped, Ok(true)) {
            // The first fault is the one to tell of.
            let _ = link.batch("ROLLBACK").await;
        }
        match dropped {
            Ok(true) => {
                self.failed = 0;
                Ok(Fate::Dropped(events))
            }
            Ok(false) => Ok(Fate::Stays),
            Err(Fault::Conflict(said)) => {
                self.put_off(link, day, &said).await?;
                Ok(Fate::Held)
            }
            Err(fault) => Err(fault),
        }
    }

    /// The tables could not be had: they are not asked for again for a while.
    async fn put_off(&mut self, link: &Link, day: Day, said: &str) -> Result<(), Fault> {
        if self.failed == 0 {
            tracing::warn!(
                day = day.0,
                %said,
                "a day whose time is over could not be dropped, since its tables are being read, as by pg_dump: it is tried again now and then"
            );
        }
        self.failed += 1;
        self.again_at = Some(Instant::now() + self.again_after);
        link.row("SELECT pg_try_advisory_lock($1)", &[&HELD]).await?;
        Ok(())
    }
}

/// Whether a node keeps all from dropping for a while. (One after the other does upkeep: nobody takes it in between.)
async fn is_held(link: &Link) -> Result<bool, Fault> {
    let sql = "SELECT CASE WHEN pg_try_advisory_lock($1) THEN NOT pg_advisory_unlock($1) ELSE true END";
    Ok(link.row(sql, &[&HELD]).await?.is_none_or(|row| row.get(0)))
}

/// How many events a day has.
async fn count(link: &Link, day: Day) -> Result<u64, Fault> {
    let keys = day.keys();
    let row = link.row("SELECT count(*) FROM events WHERE key >= $1 AND key < $2", &[&keys.start, &keys.end]).await?;
    Ok(row.map_or(0, |row| row.get::<_, i64>(0).unsigned_abs()))
}

async fn drop_locked(link: &Link, day: Day, since: i64, wait_ms: u32) -> Result<bool, Fault> {
    let names = DAILY.map(|table| format!("{table}_{}", day.0));
    // Whoever waits for a lock on a whole table makes others wait behind it: so not for long, and shorter than until the server takes
    // it for a deadlock, which it might end by undoing what others do. One lock after the other is waited for, so what they take together
    // is bound too. The tables come before their days, as in every statement. (To detach concurrently would wait in nobody's way, but cannot
    // be undone where something of the day is replayed meanwhile.)
    let tables: Vec<String> = DAILY.iter().map(|table| format!("ONLY {table}")).chain(names.iter().cloned()).collect();
    link.batch(&format!(
        "BEGIN; SET LOCAL lock_timeout = {wait_ms}; SET LOCAL statement_timeout = {wait_ms};
         LOCK TABLE {} IN ACCESS EXCLUSIVE MODE; SET LOCAL statement_timeout = 0",
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
