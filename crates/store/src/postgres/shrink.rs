//! Retention by size: the oldest that has ended goes, as far as more is kept than may be. The operator's bound is kept by whole
//! days, whose tables give their space back when they are dropped; an account's own event by event, by what its rows hold.
//! What is unfinished never goes, and nothing is refused for its sake.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use domain::time::Timestamp;

use super::connection::Link;
use super::dropping::{Dropping, Fate};
use super::fault::Fault;
use super::partitions::days;
use super::retain::{Retained, delete_gone};
use super::shared::Shared;

/// How many events a batch looks at.
const AT_ONCE: i64 = 500;
/// How long after sizes were read they are read again at the earliest, and what part of the time that may take.
const READ_AFTER: Duration = Duration::from_secs(10);
const READ_SHARE: u32 = 20;
/// How long after its end a day may go: what is accepted on a node whose clock is late is in it by then.
const OVER_FOR: Duration = Duration::from_secs(3_600);

/// What is over its size, and when that is looked at again.
#[derive(Debug, Default)]
pub(super) struct Shrinking {
    again: Option<Instant>,
    /// Accounts: after which event the next one goes, and how many bytes are still to go.
    over: HashMap<u32, (i64, i64)>,
    warned: bool,
}

/// Takes away what is over `size`, and over the sizes that accounts have of their own: a bounded number of events.
pub(super) async fn shrink(
    link: &Link,
    shared: &Shared,
    shrinking: &mut Shrinking,
    dropping: &mut Dropping,
    now: Timestamp,
    size: Option<u64>,
) -> Result<Retained, Fault> {
    let bounds: HashMap<u32, u64> = {
        let directory = shared.directory.read();
        directory.accounts().filter_map(|account| Some((account.number, account.log.retention_size?))).collect()
    };
    // A bound that is no more takes nothing away.
    shrinking.over.retain(|account, _| bounds.contains_key(account));
    let mut retained = Retained::default();
    if shrinking.again.is_none_or(|at| at <= Instant::now()) && (size.is_some() || !bounds.is_empty()) {
        let begun = Instant::now();
        if let Some(size) = size {
            retained.events += drop_days(link, shrinking, dropping, now, size).await?;
        }
        for (account, bound) in bounds {
            let over = signed(kept_of(link, account).await?) - signed(bound);
            if over > 0 {
                shrinking.over.insert(account, (-1, over));
            } else {
                shrinking.over.remove(&account);
            }
        }
        shrinking.again = Some(Instant::now() + READ_AFTER.max(begun.elapsed() * READ_SHARE));
    }
    let Some((&account, &(after, over))) = shrinking.over.iter().next() else { return Ok(retained) };
    let gone = delete_oldest(link, account, after, over).await?;
    retained.events += gone.events;
    if gone.seen == AT_ONCE && gone.bytes < over {
        shrinking.over.insert(account, (gone.last, over - gone.bytes));
    } else {
        shrinking.over.remove(&account);
    }
    retained.more = !shrinking.over.is_empty();
    Ok(retained)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Drops the oldest days as far as the tables are larger than `size`; says how many events went.
async fn drop_days(
    link: &Link,
    shrinking: &mut Shrinking,
    dropping: &mut Dropping,
    now: Timestamp,
    size: u64,
) -> Result<u64, Fault> {
    let over_until = now.minus(OVER_FOR);
    let (mut used, mut events) = (used(link).await?, 0);
    for day in days(link).await?.into_iter().filter(|day| day.end() < over_until) {
        if used <= size {
            break;
        }
        match dropping.drop_day(link, day, Timestamp(i64::MAX)).await? {
            Fate::Dropped(dropped) => {
                events += dropped;
                used = self::used(link).await?;
            }
            Fate::Stays => {}
            // A later day would go before an earlier one, and what is left says nothing yet.
            Fate::Held => return Ok(events),
        }
    }
    if used > size && !shrinking.warned {
        tracing::warn!(
            used,
            size,
            "the database is larger than retention-size: what is left is of today or unfinished"
        );
    }
    shrinking.warned = used > size;
    Ok(events)
}

/// How many bytes the tables take on disk, with their indexes.
pub(super) async fn used(link: &Link) -> Result<u64, Fault> {
    let row = link
        .row(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
             WHERE relnamespace = current_schema()::text::regnamespace AND relkind = 'r'
               AND relname ~ '^((events|deliveries|attempts|replayed)_[0-9]+|hot|idempotency|replay_pages|audit|stats_minutes|stats_hours)$'",
            &[],
        )
        .await?;
    Ok(row.map_or(0, |row| row.get::<_, i64>(0).unsigned_abs()))
}

/// About how many bytes are kept of an account: what its rows hold, and what they take beside, as the embedded store counts.
async fn kept_of(link: &Link, account: u32) -> Result<u64, Fault> {
    let row = link
        .row(
            "SELECT ((SELECT coalesce(sum(110 + octet_length(data) + octet_length(targets) / 4 * 150), 0)
                      FROM events WHERE account = $1)
                   + (SELECT coalesce(sum(octet_length(record)), 0) FROM deliveries WHERE account = $1)
                   + (SELECT coalesce(sum(octet_length(record)), 0) FROM attempts WHERE account = $1))::bigint",
            &[&(account as i32)],
        )
        .await?;
    Ok(row.map_or(0, |row| row.get::<_, i64>(0).unsigned_abs()))
}

/// What a batch has done.
struct Gone {
    seen: i64,
    events: u64,
    last: i64,
    bytes: i64,
}

/// Looks at some of an account's events, and deletes the oldest whose deliveries have all ended, until `over` bytes are
/// gone. Deliveries are held first: one that is being replayed keeps its event.
async fn delete_oldest(link: &Link, account: u32, after: i64, over: i64) -> Result<Gone, Fault> {
    let row = link
        .row(
            concat!(
                "WITH old AS MATERIALIZED (
                 SELECT key, octet_length(targets) / 4 AS targets, octet_length(data) AS data FROM events
                 WHERE account = $1 AND key > $2 ORDER BY key LIMIT $4
             ), held AS MATERIALIZED (
                 SELECT d.event, octet_length(d.record) AS bytes
                 FROM old JOIN deliveries AS d ON d.account = $1 AND d.event = old.key FOR UPDATE OF d SKIP LOCKED
             ), ended AS MATERIALIZED (
                 SELECT key, 110 + data + targets * 150 + coalesce(h.bytes, 0) + a.bytes AS bytes FROM old
                 LEFT JOIN (SELECT event, count(*) AS number, sum(bytes) AS bytes FROM held GROUP BY event) AS h ON h.event = key
                 CROSS JOIN LATERAL (SELECT coalesce(sum(octet_length(record)), 0) AS bytes
                                     FROM attempts WHERE account = $1 AND event = old.key) AS a
                 WHERE targets = coalesce(h.number, 0)
             ), gone AS MATERIALIZED (
                 SELECT key, bytes FROM (SELECT key, bytes, sum(bytes) OVER (ORDER BY key) - bytes AS before FROM ended) AS so_far
                 WHERE before < $3::bigint
             ), ",
                delete_gone!(),
                "
             SELECT (SELECT count(*) FROM old), (SELECT count(*) FROM gone), (SELECT coalesce(max(key), -1) FROM old),
                    (SELECT coalesce(sum(bytes), 0)::bigint FROM gone)"
            ),
            &[&(account as i32), &after, &over, &AT_ONCE],
        )
        .await?;
    Ok(row.map_or(Gone { seen: 0, events: 0, last: -1, bytes: 0 }, |row| Gone {
        seen: row.get(0),
        events: row.get::<_, i64>(1).unsigned_abs(),
        last: row.get(2),
        bytes: row.get(3),
    }))
}
