//! One table for each day of events, with all that belongs to them: made ahead, and dropped as a whole.
//!
//! An event's day is that of its key. Whatever comes of it, later attempts and replays too, is kept with it.

use std::collections::BTreeSet;
use std::ops::Range;

use domain::id::{EVENT_RESIDUE_BITS, EventId};
use domain::time::Timestamp;

use super::connection::Link;
use super::fault::Fault;
use super::schema::LOCK;

/// The tables that are kept by day.
pub(super) const DAILY: [&str; 4] = ["events", "deliveries", "attempts", "replayed"];
/// How many days are made ahead.
const AHEAD: i64 = 3;
/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// A day since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(pub(super) i64);

impl Day {
    pub(super) const fn of(event: EventId) -> Self {
        Self(((event.0 >> EVENT_RESIDUE_BITS) as i64).div_euclid(DAY))
    }

    pub(super) const fn at(at: Timestamp) -> Self {
        Self(at.0.div_euclid(DAY))
    }

    /// The keys of the day.
    pub(super) const fn keys(self) -> Range<i64> {
        self.first_key()..Self(self.0 + 1).first_key()
    }

    const fn first_key(self) -> i64 {
        EventId::first_at(self.0 * DAY).0 as i64
    }

    /// The end of the day.
    pub(super) const fn end(self) -> Timestamp {
        Timestamp((self.0 + 1) * DAY)
    }
}

/// The days that are known to have their tables.
#[derive(Debug, Default)]
pub(super) struct Partitions(BTreeSet<Day>);

impl Partitions {
    /// Makes the tables of a day, and of the days after it, unless they are there. Outside of a transaction.
    pub(super) async fn make(&mut self, link: &Link, day: Day) -> Result<(), Fault> {
        for day in (day.0..=day.0 + AHEAD).map(Day) {
            self.make_one(link, day).await?;
        }
        Ok(())
    }

    /// Makes the tables of a day, unless they are there. Outside of a transaction.
    pub(super) async fn make_one(&mut self, link: &Link, day: Day) -> Result<(), Fault> {
        if self.0.contains(&day) {
            return Ok(());
        }
        let made = make(link, day).await;
        if made.is_err() {
            // The first fault is the one to tell of.
            let _ = link.batch("ROLLBACK").await;
        }
        made?;
        self.0.insert(day);
        Ok(())
    }

    /// Knows of no day any more that its tables are there: somebody may have taken some away.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// Whether the tables of a day are known to be there.
    pub(super) fn has(&self, day: Day) -> bool {
        self.0.contains(&day)
    }
}

/// Makes those of a day's tables that are missing. A table is made apart and then attached, so that nobody who reads or writes the others
/// has to wait.
async fn make(link: &Link, day: Day) -> Result<(), Fault> {
    if all_there(link, day).await? {
        return Ok(());
    }
    link.batch(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK})")).await?;
    for table in DAILY {
        let key = if table == "events" { "key" } else { "event" };
        let (name, Range { start: from, end: until }) = (format!("{table}_{}", day.0), day.keys());
        if there(link, &name).await? {
            continue;
        }
        link.batch(&format!(
            "CREATE TABLE {name} (LIKE {table} INCLUDING ALL, CONSTRAINT {name}_day CHECK ({key} >= {from} AND {key} < {until}));
             ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({until});
             ALTER TABLE {name} DROP CONSTRAINT {name}_day"
        ))
        .await?;
        if table == "events" {
            // No account gets a timestamp twice: both it and the key lie in this day.
            link.batch(&format!("CREATE UNIQUE INDEX {name}_stamps ON {name} (account, ((key >> 11) + lead))")).await?;
        }
    }
    link.batch("COMMIT").await
}

/// Whether all tables of a day are there.
async fn all_there(link: &Link, day: Day) -> Result<bool, Fault> {
    let names: Vec<String> = DAILY.iter().map(|table| format!("{table}_{}", day.0)).collect();
    let sql = "SELECT count(*) FROM pg_class
               WHERE relname = ANY ($1::text[]) AND relnamespace = current_schema()::text::regnamespace";
    Ok(link.row(sql, &[&names]).await?.is_some_and(|row| row.get::<_, i64>(0) == DAILY.len() as i64))
}

/// The days of which some tables are there and others are missing, oldest first: a node does not leave them so, a restored or repaired
/// database may have them so.
pub(super) async fn incomplete(link: &Link) -> Result<Vec<Day>, Fault> {
    let rows = link
        .rows(
            "SELECT day.number FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
             CROSS JOIN LATERAL (SELECT substring(child.relname FROM 8)::bigint AS number) AS day
             WHERE inhparent = to_regclass('events') AND child.relname ~ '^events_[0-9]+$'
               AND (SELECT count(*) FROM unnest($1::text[]) AS kind
                    WHERE to_regclass(kind || '_' || day.number) IS NULL) > 0
             ORDER BY 1",
            &[&DAILY.as_slice()],
        )
        .await?;
    Ok(rows.iter().map(|row| Day(row.get(0))).collect())
}

/// Whether there is a table of this name: as committed now, not as this connection remembers it.
async fn there(link: &Link, table: &str) -> Result<bool, Fault> {
    let sql = "SELECT EXISTS (SELECT FROM pg_class
                              WHERE relname = $1 AND relnamespace = current_schema()::text::regnamespace)";
    Ok(link.row(sql, &[&table]).await?.is_some_and(|row| row.get(0)))
}

/// The days that have tables, oldest first.
pub(super) async fn days(link: &Link) -> Result<Vec<Day>, Fault> {
    let rows = link
        .rows(
            "SELECT substring(child.relname FROM 8)::bigint FROM pg_inherits
             JOIN pg_class AS child ON child.oid = inhrelid
             WHERE inhparent = to_regclass('events') AND child.relname ~ '^events_[0-9]+$' ORDER BY 1",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| Day(row.get(0))).collect())
}
