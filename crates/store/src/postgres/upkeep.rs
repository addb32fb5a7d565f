//! Upkeep: tables for the days that come, retention, sums of figures, and what is forgotten. Every node offers to do it, and one
//! does at a time, on a connection of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use domain::time::{Clock, Timestamp};

use super::connection::{Connector, Link, Purpose};
use super::dropping::Dropping;
use super::fault::Fault;
use super::partitions::{self, Day, Partitions};
use super::retain::{Passes, erase, retain};
use super::schema::LOCK;
use super::shared::Shared;
use super::shrink::{Shrinking, shrink};
use super::{audit, chronicle, feed, idempotency, replays, roll};
use crate::figures::Figures;

/// How long after a round the next one comes, and the next where there is more to do.
const EVERY: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(50);
/// How often it is looked how large the tables are, and what idempotency keys are there; and how large they are, by the schema of
/// this store's own.
const MEASURED_EVERY: Duration = Duration::from_secs(60);
const SIZE: &str = "
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class AS c
WHERE c.relkind = 'r' AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'layout'::regclass)";
/// How many rows of a kind one statement forgets.
const AT_ONCE: i64 = 5_000;
/// How many of the oldest replays that are over a round looks at.
const REPLAYS_AT_ONCE: i64 = 8;

/// What upkeep works with.
pub(super) struct Upkeep {
    pub(super) connector: Connector,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) figures: Arc<Figures>,
    /// For how long what has ended is kept, where an account does not say otherwise; `None` for ever.
    pub(super) keep: Option<Duration>,
    /// How many bytes the tables may take; `None` for as many as come.
    pub(super) size: Option<u64>,
    /// How long after a day could not be dropped that is tried again.
    pub(super) drop_again_after: Duration,
}

/// How far retention has come.
struct Come {
    passes: Passes,
    dropping: Dropping,
    shrinking: Shrinking,
    /// When the size of the tables was asked for last.
    measured: Option<Instant>,
}

impl Upkeep {
    /// Goes on until the task is ended.
    pub(super) async fn run(self) {
        let mut come = Come {
            passes: Passes::default(),
            dropping: Dropping::new(self.drop_again_after),
            shrinking: Shrinking::default(),
            measured: None,
        };
        let mut link = None;
        loop {
            let more = self.round(&mut link, &mut come).await.unwrap_or_else(|fault| {
                tracing::warn!(%fault, "upkeep of the database is tried again");
                link = None;
                false
            });
            tokio::time::sleep(if more { AGAIN } else { EVERY }).await;
        }
    }

    async fn round(&self, kept: &mut Option<Link>, come: &mut Come) -> Result<bool, Fault> {
        let link = match kept.take() {
            Some(link) if !link.is_closed() => link,
            Some(_) | None => self.connector.connect(Purpose::Upkeep).await?,
        };
        if come.measured.is_none_or(|at| at.elapsed() >= MEASURED_EVERY) {
            let bytes = link.row(SIZE, &[]).await?.map_or(0, |row| row.get::<_, i64>(0));
            self.figures.table_bytes.store(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
            if self.shared.has_nameless_keys() {
                self.shared.set_nameless_keys(idempotency::has_nameless(&link).await?);
            }
            come.measured = Some(Instant::now());
        }
        let mine = link.row("SELECT pg_try_advisory_lock($1)", &[&(LOCK + 3)]).await?;
        let mut more = false;
        if mine.is_some_and(|row| row.get(0)) {
            // A fault closes the connection, and with it the lock.
            more = self.work(&link, come).await?;
            link.row("SELECT pg_advisory_unlock($1)", &[&(LOCK + 3)]).await?;
        }
        *kept = Some(link);
        Ok(more)
    }

    async fn work(&self, link: &Link, come: &mut Come) -> Result<bool, Fault> {
        let mut made = Partitions::default();
        made.make(link, Day::at(self.clock.now())).await?;
        for day in partitions::incomplete(link).await? {
            tracing::warn!(day = day.0, "tables of a day were missing, and are made");
            made.make_one(link, day).await?;
        }
        // What follows erases.
        let now = self.clock.trusted();
        let mut more = feed::prune(link, AT_ONCE).await? == AT_ONCE as u64;
        more |= chronicle::prune(link, AT_ONCE).await? == AT_ONCE as u64;
        more |= idempotency::prune(link, now, AT_ONCE).await? == AT_ONCE as u64;
        more |= erase(link).await?;
        more |= roll::roll(link, now).await?;
        roll::prune(link, now).await?;
        come.dropping.wait_no_longer(link).await?;
        if let Some(keep) = self.keep {
            more |= self.forget(link, come, now, keep).await?;
        }
        let shrunk = shrink(link, &self.shared, &mut come.shrinking, &mut come.dropping, now, self.size).await?;
        self.figures.retained_events.fetch_add(shrunk.events, Ordering::Relaxed);
        more |= shrunk.more;
        Ok(more)
    }

    async fn forget(&self, link: &Link, come: &mut Come, now: Timestamp, keep: Duration) -> Result<bool, Fault> {
        let until = now.minus(keep);
        let mut more = audit::prune(link, until, AT_ONCE).await? == AT_ONCE as u64;
        for of in replays::ended_before(link, until, REPLAYS_AT_ONCE).await? {
            replays::delete(link, of).await?;
        }
        let retained = retain(link, &self.shared, &mut come.passes, &mut come.dropping, now, keep).await?;
        self.figures.retained_events.fetch_add(retained.events, Ordering::Relaxed);
        more |= retained.more;
        Ok(more)
    }
}
