//! Reading what has happened between two moments, on any node.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::attempt::Reason;
use domain::chronicle::{Happened, Head, Mark, News};
use domain::delivery::{Due, Next, Settlement};
use domain::event::Event;
use domain::id::{DeliveryId, EventId};
use domain::shard::Epoch;
use domain::store::Fact;
use domain::time::Timestamp;
use tokio_postgres::Row;

use super::super::connection::Link;
use super::super::fault::Fault;
use super::super::reader::Readers;
use super::super::{replays, webhooks};
use super::{HeadItem, Item, NextItem, sum};

/// For how long a mark can be gone on from, in seconds: less than rows are kept, and less than an account is followed after it was
/// last asked for.
const GOES_ON_FOR: i64 = 120;
/// How many rows are read at once at most: far more than come in a second.
const ROWS_MAX: i64 = 1_000;
/// How long whoever begins to follow waits for the transactions that were under way, and how often it looks.
const UNDER_WAY: (usize, Duration) = (30, Duration::from_millis(10));

impl Readers {
    /// Has what happens in these accounts written down; those of them of which it was.
    pub(in super::super) async fn follow(&self, mut accounts: Vec<u32>) -> Result<Vec<u32>, Fault> {
        // Nodes that follow the same accounts take their rows in one order.
        accounts.sort_unstable();
        let numbers: Vec<i32> = accounts.iter().map(|account| *account as i32).collect();
        let link = self.take().await?;
        let before = link
            .rows(
                "WITH before AS (
                     SELECT account FROM followed WHERE account = ANY ($1::integer[]) AND until > clock_timestamp()
                 ), put AS (
                     INSERT INTO followed (account, until)
                     SELECT k.account, clock_timestamp() + interval '3 minutes' FROM unnest($1::integer[]) AS k (account)
                     ON CONFLICT (account) DO UPDATE SET until = greatest(followed.until, excluded.until)
                 )
                 SELECT account FROM before",
                &[&numbers],
            )
            .await?;
        let before: Vec<u32> = before.iter().map(|row| row.get::<_, i32>(0) as u32).collect();
        if before.len() < accounts.len() {
            // What is under way may have looked before.
            let last = link.row("SELECT pg_snapshot_xmax(pg_current_snapshot())::text", &[]).await?;
            let last: String = last.map(|row| row.get(0)).unwrap_or_default();
            for _ in 0..UNDER_WAY.0 {
                let sql = "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= $1::text::xid8";
                if link.row(sql, &[&last]).await?.is_some_and(|row| row.get(0)) {
                    break;
                }
                tokio::time::sleep(UNDER_WAY.1).await;
            }
        }
        link.done();
        Ok(before)
    }

    /// What has happened in these accounts between two moments.
    pub(in super::super) async fn chronicle(
        &self,
        accounts: &[u32],
        after: Option<Mark>,
        until: Option<Mark>,
    ) -> Result<News, Fault> {
        let link = self.take().await?;
        let news = self.chronicle_in(&link, accounts, after, until).await?;
        link.done();
        Ok(news)
    }

    async fn chronicle_in(
        &self,
        link: &Link,
        accounts: &[u32],
        after: Option<Mark>,
        until: Option<Mark>,
    ) -> Result<News, Fault> {
        let from = after.as_ref().map(read_mark);
        let to = until.as_ref().map(read_mark);
        let (Some(from), false) = (from.flatten(), matches!(to, Some(None))) else {
            let now = link.row(NOW, &[]).await?;
            let now = now.map_or_else(|| Mark::new(""), |row| mark(&row));
            return Ok(News { happened: Vec::new(), until: now, whole: after.is_none() });
        };
        let numbers: Vec<i32> = accounts.iter().map(|account| *account as i32).collect();
        let to_snapshot = to.flatten().map(|(_, snapshot)| snapshot);
        let rows = link.rows(BETWEEN, &[&numbers, &from.1, &to_snapshot, &ROWS_MAX]).await?;
        let Some(first) = rows.first() else { return Err(Fault::damaged("the chronicle", "there is no present")) };
        let recent = first.get::<_, i64>(0) - from.0 <= GOES_ON_FOR;
        let whole = recent && (rows.len() as i64) < ROWS_MAX;
        let until = until.unwrap_or_else(|| mark(first));
        let happened = if whole { self.read_rows(link, &rows).await? } else { Vec::new() };
        Ok(News { happened, until, whole })
    }

    async fn read_rows(&self, link: &Link, rows: &[Row]) -> Result<Vec<Happened>, Fault> {
        let (mut all, mut places) = (Vec::new(), HashMap::<u32, u32>::new());
        for row in rows {
            let Some(number) = row.get::<_, Option<i32>>(2) else { continue };
            let bytes: &[u8] = row.get(4);
            sum(number, bytes).verify(row.get(3), || format!("what has happened in account {number}"))?;
            let items: Vec<Item> =
                postcard::from_bytes(bytes).map_err(|error| Fault::damaged("what has happened", error))?;
            let account = number as u32;
            for item in items {
                let place = places.entry(account).or_default();
                *place += 1;
                all.push((account, *place, item));
            }
        }
        self.resolve(link, all).await
    }

    /// Reads what items only name. What has changed again since, or is gone, is as it is now.
    async fn resolve(&self, link: &Link, items: Vec<(u32, u32, Item)>) -> Result<Vec<Happened>, Fault> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        self.with_types(link).await?;
        let (mut changed, mut replayed) = (BTreeSet::new(), BTreeSet::new());
        for (account, _, item) in &items {
            match item {
                Item::Webhook(number) => drop(changed.insert((*account, *number))),
                Item::BulkReplay(number) => drop(replayed.insert((*account, *number))),
                Item::Accepted { .. }
                | Item::WebhookDeleted(_)
                | Item::Replayed { .. }
                | Item::Cancelled { .. }
                | Item::Settled { .. } => {}
            }
        }
        let mut found = HashMap::new();
        if !changed.is_empty() {
            let loaded =
                webhooks::load_some(link, &self.shared.vault, &changed, |number| self.shared.account_id(number))
                    .await?;
            found.extend(loaded.into_iter().map(|webhook| (webhook.number, webhook)));
        }
        let mut in_bulk = HashMap::new();
        for of in replayed {
            if let Some(row) = replays::get(link, of).await? {
                in_bulk.insert(of.1, Arc::new(row.replay));
            }
        }
        let mut happened = Vec::with_capacity(items.len());
        for (account, place, item) in items {
            let (fact, head) = match item {
                Item::Webhook(number) => (found.get(&number).cloned().map(Fact::Webhook), None),
                Item::BulkReplay(number) => (in_bulk.get(&number).cloned().map(Fact::BulkReplay), None),
                item @ (Item::Accepted { .. }
                | Item::WebhookDeleted(_)
                | Item::Replayed { .. }
                | Item::Cancelled { .. }
                | Item::Settled { .. }) => self.told(account, item)?,
            };
            happened.extend(fact.map(|fact| Happened { account, place, fact, head }));
        }
        Ok(happened)
    }

    /// What an item says by itself.
    fn told(&self, account: u32, item: Item) -> Result<(Option<Fact>, Option<Head>), Fault> {
        let id = |(event, place): (u64, u16)| DeliveryId { event: EventId(event), place };
        let types = self.shared.types();
        let head = |head: HeadItem| {
            let event_type = Arc::clone(types.name(head.event_type)?);
            Ok::<_, Fault>(Head { event_type, timestamp: Timestamp(head.timestamp), test: head.test })
        };
        Ok(match item {
            Item::Accepted { event, head: of, targets } => {
                let Head { event_type, timestamp, test } = head(of)?;
                let on_disk = vec![false; targets.len()];
                let event = Event {
                    id: EventId(event),
                    account,
                    event_type,
                    timestamp,
                    data: Bytes::new(),
                    targets,
                    test,
                    flagged: false,
                    trace: None,
                };
                (Some(Fact::Accepted { event: Arc::new(event), on_disk }), None)
            }
            Item::WebhookDeleted(webhook) => (Some(Fact::WebhookDeleted { webhook }), None),
            Item::Replayed { delivery, webhook, due_at, attempts_made } => {
                let due = Due {
                    delivery: id(delivery),
                    webhook,
                    due_at: Timestamp(due_at),
                    attempts_made,
                    retries_made: 0,
                    reason: Reason::Replay,
                };
                (Some(Fact::Replayed(due)), None)
            }
            Item::Cancelled { delivery, webhook } => (Some(Fact::Cancelled { delivery: id(delivery), webhook }), None),
            Item::Settled { delivery, webhook, head: of, attempt, next } => {
                let next = match next {
                    NextItem::Delivered => Next::Delivered,
                    NextItem::Failed => Next::Failed,
                    NextItem::Retry { due_at, retries_made, reason } => {
                        Next::Retry { due_at: Timestamp(due_at), retries_made, reason }
                    }
                };
                let settlement = Settlement {
                    delivery: id(delivery),
                    webhook,
                    attempt: attempt.map(|attempt| *attempt),
                    next,
                    epoch: Epoch::default(),
                };
                (Some(Fact::Settled(Arc::new(settlement))), of.map(head).transpose()?)
            }
            // What has to be read is resolved before.
            Item::Webhook(_) | Item::BulkReplay(_) => (None, None),
        })
    }
}

/// A row that starts with the server's seconds and its snapshot.
fn mark(row: &Row) -> Mark {
    Mark::new(&format!("{}.{}", row.get::<_, i64>(0), row.get::<_, &str>(1)))
}

/// The seconds and the snapshot of a mark; `None` if it is none: it may come from anybody.
fn read_mark(mark: &Mark) -> Option<(i64, &str)> {
    let (seconds, snapshot) = mark.as_str().split_once('.')?;
    let number = |text: &str| (!text.is_empty() && text.len() < 19).then(|| text.parse::<u64>().ok()).flatten();
    let mut parts = snapshot.splitn(3, ':');
    let (first, next, under_way) = (number(parts.next()?)?, number(parts.next()?)?, parts.next()?);
    let mut last = None;
    for text in under_way.split(',').filter(|_| !under_way.is_empty()) {
        let one = number(text)?;
        if one < first || one >= next || last.is_some_and(|last| last >= one) {
            return None;
        }
        last = Some(one);
    }
    let seconds = i64::try_from(number(seconds)?).ok()?;
    (first > 0 && first <= next).then_some((seconds, snapshot))
}

const NOW: &str = "SELECT extract(epoch FROM clock_timestamp())::bigint, pg_current_snapshot()::text";

const BETWEEN: &str = "
WITH present AS MATERIALIZED (
    SELECT extract(epoch FROM clock_timestamp())::bigint AS seconds, pg_current_snapshot()::text AS snapshot
)
SELECT present.seconds, present.snapshot, c.account, c.crc, c.items
FROM present LEFT JOIN LATERAL (
    SELECT account, tx, crc, items FROM chronicle
    WHERE account = ANY ($1::integer[]) AND tx >= pg_snapshot_xmin($2::text::pg_snapshot)
      AND NOT pg_visible_in_snapshot(tx, $2::text::pg_snapshot)
      AND ($3::text IS NULL OR pg_visible_in_snapshot(tx, $3::text::pg_snapshot))
    ORDER BY tx, account LIMIT $4
) AS c ON true
ORDER BY c.tx, c.account";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mark_that_the_server_can_read_is_one() {
        let read = |text: &str| read_mark(&Mark::new(text)).is_some();
        assert!(["1.5:5:", "17.5:9:5,7", "0.1:1:"].into_iter().all(read));
        let none =
            ["", "1", "1.", "1.5", "1.5:", "1.5:4:", "1.5:9:4", "1.5:9:9", "1.5:9:7,6", "1.5:9:,", "1.0:0:", "x.1:1:"];
        assert_eq!(none.into_iter().find(|text| read(text)), None);
        assert!(!read("1.99999999999999999999:99999999999999999999:"));
    }
}
