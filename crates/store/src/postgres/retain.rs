//! Retention by age, and erasing of closed accounts: a day's tables go at once where everything in them may, else events go
//! a bounded batch at a time. What is unfinished never goes.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use domain::id::EventId;
use domain::time::Timestamp;

use super::connection::Link;
use super::dropping::{Dropping, Fate};
use super::fault::Fault;
use super::idempotency;
use super::partitions::days;
use super::shared::Shared;

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
    dropping: &mut Dropping,
    now: Timestamp,
    keep: Duration,
) -> Result<Retained, Fault> {
    let own: Vec<(u32, Option<Duration>)> = {
        let directory = shared.directory.read();
        directory.accounts().map(|account| (account.number, account.log.retention)).collect()
    };
    let longest = own.iter().filter_map(|(_, own)| *own).chain([keep]).max().unwrap_or(keep);
    let (mut retained, mut blocked, until) = (Retained::default(), false, now.minus(longest));
    let mut held: Option<Range<i64>> = None;
    for day in days(link).await?.into_iter().filter(|day| day.end() < now.minus(keep)) {
        let fate = if day.end() >= until {
            Fate::Stays
        } else if held.is_some() {
            Fate::Held
        } else {
            dropping.drop_day(link, day, until).await?
        };
        match fate {
            Fate::Dropped(events) => retained.events += events,
            Fate::Stays => blocked = true,
            Fate::Held => {
                let keys = day.keys();
                held = Some(held.map_or(keys.start, |held| held.start)..keys.end);
            }
        }
    }
    // By themselves go the events of accounts that keep less, and of days in which something must stay.
    let mut wanted: Vec<_> = own.into_iter().filter(|(_, own)| blocked || own.is_some_and(|own| own < keep)).collect();
    wanted.sort_unstable();
    let start = wanted.partition_point(|(account, _)| *account <= passes.last);
    wanted.rotate_left(start);
    for (account, own) in wanted.into_iter().take(ACCOUNTS_AT_ONCE) {
        let until = now.minus(own.unwrap_or(keep));
        let after = passes.after.get(&account).copied().unwrap_or(-1);
        // What goes with its day as soon as that can be had is left to that.
        let left = held.clone().filter(|_| own.is_none_or(|own| own >= keep));
        let stretch = Stretch::of(after, until, left);
        let (seen, deleted, last) = delete_ended(link, account, &stretch, until).await?;
        retained.events += deleted;
        if seen == AT_ONCE {
            passes.after.insert(account, last);
            retained.more = true;
        } else if let Some(next) = stretch.next {
            passes.after.insert(account, next);
        } else {
            passes.after.remove(&account);
        }
        passes.last = account;
    }
    Ok(retained)
}

/// The keys that a batch looks at.
struct Stretch {
    after: i64,
    below: i64,
    /// After which key it goes on where this stretch has ended, if it does.
    next: Option<i64>,
}

impl Stretch {
    /// From a key on to what is accepted at `until`, without the keys that are `left`.
    fn of(after: i64, until: Timestamp, left: Option<Range<i64>>) -> Self {
        // No delivery ends before its event is accepted.
        let below = EventId::first_at(until.0.max(0)).0 as i64;
        match left {
            Some(left) if after + 1 < left.start && left.start < below => {
                Self { after, below: left.start, next: Some(left.end - 1) }
            }
            Some(left) => {
                Self { after: if after + 1 < left.start { after } else { after.max(left.end - 1) }, below, next: None }
            }
            None => Self { after, below, next: None },
        }
    }
}

/// Looks at some of an account's events, and deletes those whose deliveries have all ended before `until`: how many were
/// seen, how many went, and the last one seen. Deliveries are held first: one that is being replayed keeps its event.
async fn delete_ended(
    link: &Link,
    account: u32,
    stretch: &Stretch,
    until: Timestamp,
) -> Result<(i64, u64, i64), Fault> {
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
            &[&(account as i32), &stretch.after, &stretch.below, &until.0, &AT_ONCE],
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_that_go_as_a_whole_are_passed_over() {
        let until = Timestamp(1_000_000);
        let below = EventId::first_at(1_000_000).0 as i64;
        let left = || Some(100..200);
        let stretch = |after, left| {
            let Stretch { after, below, next } = Stretch::of(after, until, left);
            (after, below, next)
        };
        assert_eq!(stretch(-1, None), (-1, below, None));
        assert_eq!(stretch(-1, left()), (-1, 100, Some(199)), "what is before them, then what is behind");
        assert_eq!(stretch(98, left()), (98, 100, Some(199)));
        for after in [99, 150, 199] {
            assert_eq!(stretch(after, left()), (199, below, None), "from {after} on");
        }
        assert_eq!(stretch(300, left()), (300, below, None));
        assert_eq!(stretch(-1, Some(below..below + 100)), (-1, below, None), "they are later");
        assert_eq!(stretch(-1, Some(0..100)), (99, below, None), "there is nothing before them");
    }
}
