//! Moving in: rows of an embedded store are written in batches, each with how far the move has come in the transaction that
//! writes it. So wherever a move was cut short, it goes on from there; and until it is finished, nobody serves the database.

use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::ToSql;

use super::address::Address;
use super::connection::{Connector, Link, Purpose};
use super::fault::{Fault, OpenError};
use super::marks;
use super::open::KEY_CHECK;
use super::partitions::{self, DAILY, Day, Partitions};
use super::schema::{self, LOCK};
use super::stats::ROLLED;
use crate::rows::carried::{Kind, Sum, Table, Value, sum_in_database};
use domain::id::EventId;

/// The mark of a move.
const MOVE: &str = "move";
/// The advisory lock that a move holds.
const MOVING: i64 = LOCK + 4;

/// How far a move has come: what its mark says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The name by which the store knows the move.
    pub(crate) id: [u8; 16],
    /// The part that is being carried.
    pub(crate) part: usize,
    /// What the last row of it that was written is found by.
    pub(crate) after: Option<Vec<Value>>,
    /// How many rows were written in all.
    pub(crate) rows: u64,
    /// Everything was written and compared.
    pub(crate) finished: bool,
}

/// The part of a move that was given up, and whose rows are going: behind all others, so that nobody goes on with it.
const GIVEN_UP: usize = usize::MAX;

impl Progress {
    /// Whether it was given up, or has rows to carry before they are compared.
    pub(crate) const fn is_before(&self, parts: usize) -> bool {
        self.part < parts || self.part == GIVEN_UP
    }
}

/// What a database holds.
#[derive(Debug, PartialEq)]
pub(crate) enum Holds {
    Nothing,
    /// A move, and the text by which its key is known again.
    Move(Progress, Vec<u8>),
    /// A store that was made in it.
    Store,
}

/// What the tables need beside their rows before a node can serve them.
pub(crate) struct Ends {
    /// No key of an event from this microsecond on was given.
    pub(crate) reserved: i64,
    /// The first hour that the figures by the hour do not have in whole.
    pub(crate) rolled: i64,
    /// The highest number that was ever given, by the table that gives them.
    pub(crate) highest: Vec<(&'static str, i64)>,
}

/// Why a database cannot be moved into.
#[derive(Debug)]
pub(crate) enum Unmoved {
    /// Nothing answers at its address.
    Unreachable(String),
    /// Another move into it is under way.
    Busy,
    Open(OpenError),
}

impl From<Fault> for Unmoved {
    fn from(fault: Fault) -> Self {
        if let Fault::Lost(what) | Fault::Crowded(what) = fault {
            Self::Unreachable(what)
        } else {
            Self::Open(fault.at_open())
        }
    }
}

/// Whether a move into the database is not finished.
pub(super) async fn is_under_way(link: &Link) -> Result<bool, Fault> {
    Ok(progress(link).await?.is_some_and(|progress| !progress.finished))
}

async fn progress(link: &Link) -> Result<Option<Progress>, Fault> {
    let Some(mark) = marks::get(link, MOVE).await? else { return Ok(None) };
    serde_json::from_slice(&mark).map(Some).map_err(|error| Fault::damaged("mark of a move", error))
}

async fn set_progress(link: &Link, progress: &Progress) -> Result<(), Fault> {
    let text = serde_json::to_vec(progress).map_err(|error| Fault::damaged("mark of a move", error))?;
    marks::set(link, MOVE, &text).await
}

/// A database that is moved into.
pub(crate) struct Target {
    link: Link,
    partitions: Partitions,
}

impl Target {
    /// Connects, brings the tables to the present layout, and keeps other moves out.
    pub(crate) async fn open(address: &Address) -> Result<Self, Unmoved> {
        let link = Connector::new(address.clone())?.connect(Purpose::Upkeep).await?;
        // What is written is on disk before the store is told that it was.
        link.batch(
            "SELECT set_config('synchronous_commit', 'on', false)
             WHERE current_setting('synchronous_commit') <> 'remote_apply'",
        )
        .await?;
        schema::bring_up(&link).await.map_err(Unmoved::Open)?;
        // A connection that was just cut off may hold it for a moment.
        match link.row("SELECT pg_advisory_lock($1)", &[&MOVING]).await {
            Ok(_) => Ok(Self { link, partitions: Partitions::default() }),
            Err(Fault::Conflict(_)) => Err(Unmoved::Busy),
            Err(fault) => Err(fault.into()),
        }
    }

    /// What the database holds.
    pub(crate) async fn holds(&self) -> Result<Holds, Unmoved> {
        match (progress(&self.link).await?, marks::get(&self.link, KEY_CHECK).await?) {
            (Some(progress), Some(sealed)) => Ok(Holds::Move(progress, sealed)),
            (None, None) => Ok(Holds::Nothing),
            (Some(_), None) | (None, Some(_)) => Ok(Holds::Store),
        }
    }

    /// Begins a move; whether it could: a node may have made a store meanwhile.
    pub(crate) async fn begin(&self, progress: &Progress, key_check: &[u8]) -> Result<bool, Unmoved> {
        // The lock under which a node makes what a new store has.
        self.link.batch(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK} + 2)")).await?;
        if marks::get(&self.link, KEY_CHECK).await?.is_some() {
            self.link.batch("ROLLBACK").await?;
            return Ok(false);
        }
        marks::set(&self.link, KEY_CHECK, key_check).await?;
        set_progress(&self.link, progress).await?;
        self.link.batch("COMMIT").await?;
        Ok(true)
    }

    /// Writes rows, and how far the move has come with them.
    pub(crate) async fn put(
        &mut self,
        table: &Table,
        rows: Vec<Vec<Value>>,
        progress: &Progress,
    ) -> Result<(), Unmoved> {
        self.make_days(table, &rows).await?;
        let written = self.write(table, rows, progress).await;
        if written.is_err() {
            // The first fault is the one to tell of.
            let _ = self.link.batch("ROLLBACK").await;
        }
        Ok(written?)
    }

    /// Makes the tables of the days that these rows are of.
    async fn make_days(&mut self, table: &Table, rows: &[Vec<Value>]) -> Result<(), Fault> {
        if !DAILY.contains(&table.name) {
            return Ok(());
        }
        let place = table.place("event").or_else(|| table.place("key"));
        for row in rows {
            if let Some(Value::Number(key)) = place.and_then(|place| row.get(place)) {
                self.partitions.make_one(&self.link, Day::of(EventId(*key as u64))).await?;
            }
        }
        Ok(())
    }

    async fn write(&self, table: &Table, rows: Vec<Vec<Value>>, progress: &Progress) -> Result<(), Fault> {
        let number = rows.len() as u64;
        let columns = arrays(table, rows)?;
        let params: Vec<_> = columns.iter().map(|column| &**column as &(dyn ToSql + Sync)).collect();
        self.link.batch("BEGIN").await?;
        let written = self.link.run_of(&insert(table), &params).await?;
        if written != number {
            return Err(Fault::Refused(format!("{written} of {number} rows of {} were written", table.name)));
        }
        set_progress(&self.link, progress).await?;
        self.link.batch("COMMIT").await
    }

    /// Notes how far the move has come, on disk when this returns.
    pub(crate) async fn note(&self, progress: &Progress) -> Result<(), Unmoved> {
        Ok(set_progress(&self.link, progress).await?)
    }

    /// Takes away all that this move has carried, and the tables at last, with its mark: the database is then as if it had never begun.
    /// Cut short, it goes on when it is asked for again.
    pub(crate) async fn empty(&mut self, progress: Progress) -> Result<(), Unmoved> {
        let emptied = self.take_away(progress).await;
        if emptied.is_err() {
            // The first fault is the one to tell of.
            let _ = self.link.batch("ROLLBACK").await;
        }
        self.partitions = Partitions::default();
        Ok(emptied?)
    }

    async fn take_away(&self, progress: Progress) -> Result<(), Fault> {
        let link = &self.link;
        // From here on the rows are no longer those of the mark: nobody goes on with them.
        set_progress(link, &Progress { part: GIVEN_UP, after: None, ..progress }).await?;
        for Day(day) in partitions::days(link).await? {
            let tables = DAILY.map(|table| format!("{table}_{day}")).join(", ");
            link.batch(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK}); DROP TABLE IF EXISTS {tables}; COMMIT"))
                .await?;
        }
        schema::take_down(link).await
    }

    /// What the rows of a table come to.
    pub(crate) async fn sum(&self, table: &Table) -> Result<Sum, Unmoved> {
        let rows = self.link.rows_of(&sum_in_database(table), &[]).await?;
        let row = rows.first().ok_or_else(|| Fault::damaged(table.name, "it has no sum"))?;
        let hashes = row.get::<_, &str>(1).parse().map_err(|error| Fault::damaged(table.name, error))?;
        Ok(Sum { rows: row.get::<_, i64>(0) as u64, hashes })
    }

    /// Writes what the tables need beside their rows; then nodes may serve them.
    pub(crate) async fn finish(&mut self, progress: &Progress, ends: &Ends, now: Timestamp) -> Result<(), Unmoved> {
        self.partitions.make(&self.link, Day::at(now)).await?;
        let written = self.write_ends(progress, ends).await;
        if written.is_err() {
            // The first fault is the one to tell of.
            let _ = self.link.batch("ROLLBACK").await;
        }
        written?;
        // What was written is new to the planner. It finds out by itself, too: then only later.
        self.link.batch("ANALYZE").await?;
        Ok(())
    }

    async fn write_ends(&self, progress: &Progress, ends: &Ends) -> Result<(), Fault> {
        let link = &self.link;
        link.batch("BEGIN").await?;
        for (table, highest) in &ends.highest {
            let sql = "SELECT setval(pg_get_serial_sequence($1, 'number'), greatest($2::bigint, 1), $2::bigint > 0)";
            link.row(sql, &[table, highest]).await?;
        }
        link.run("INSERT INTO slots (slot, reserved) VALUES (0, $1) ON CONFLICT DO NOTHING", &[&ends.reserved]).await?;
        marks::set(link, ROLLED, &ends.rolled.to_le_bytes()).await?;
        link.run(
            "INSERT INTO directory_versions (account, version)
             SELECT number, 1 FROM accounts UNION SELECT 0, 1 ON CONFLICT DO NOTHING",
            &[],
        )
        .await?;
        set_progress(link, progress).await?;
        link.batch("COMMIT").await
    }
}

fn insert(table: &Table) -> String {
    let names = table.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let array = |(place, (_, kind)): (usize, &(&str, Kind))| {
        let of = match kind {
            Kind::Small => "smallint",
            Kind::Int => "integer",
            Kind::Big => "bigint",
            Kind::Bool => "boolean",
            Kind::Text => "text",
            Kind::Bytes => "bytea",
        };
        format!("${}::{of}[]", place + 1)
    };
    let arrays = table.columns.iter().enumerate().map(array).collect::<Vec<_>>().join(", ");
    format!("INSERT INTO {} ({names}) SELECT * FROM unnest({arrays})", table.name)
}

/// The rows as an array for each column.
fn arrays(table: &Table, rows: Vec<Vec<Value>>) -> Result<Vec<Box<dyn ToSql + Sync + Send>>, Fault> {
    let mut columns: Vec<Vec<Value>> = table.columns.iter().map(|_| Vec::with_capacity(rows.len())).collect();
    for row in rows {
        columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
    }
    let odd = |name: &str| Fault::damaged(format_args!("a row for {}", table.name), name);
    let array = |(values, (name, kind)): (Vec<Value>, &(&str, Kind))| -> Result<Box<dyn ToSql + Sync + Send>, Fault> {
        let numbers = |values: Vec<Value>| -> Result<Vec<Option<i64>>, Fault> {
            let number = |value| match value {
                Value::Null => Ok(None),
                Value::Number(number) => Ok(Some(number)),
                Value::Text(_) | Value::Bytes(_) => Err(odd(name)),
            };
            values.into_iter().map(number).collect()
        };
        Ok(match kind {
            Kind::Small => Box::new(numbers(values)?.into_iter().map(|it| it.map(|n| n as i16)).collect::<Vec<_>>()),
            Kind::Int => Box::new(numbers(values)?.into_iter().map(|it| it.map(|n| n as i32)).collect::<Vec<_>>()),
            Kind::Big => Box::new(numbers(values)?),
            Kind::Bool => Box::new(numbers(values)?.into_iter().map(|it| it.map(|n| n != 0)).collect::<Vec<_>>()),
            Kind::Text => {
                let text = |value| match value {
                    Value::Null => Ok(None),
                    Value::Text(text) => Ok(Some(text)),
                    Value::Number(_) | Value::Bytes(_) => Err(odd(name)),
                };
                Box::new(values.into_iter().map(text).collect::<Result<Vec<Option<String>>, _>>()?)
            }
            Kind::Bytes => {
                let bytes = |value| match value {
                    Value::Null => Ok(None),
                    Value::Bytes(bytes) => Ok(Some(bytes)),
                    Value::Number(_) | Value::Text(_) => Err(odd(name)),
                };
                Box::new(values.into_iter().map(bytes).collect::<Result<Vec<Option<Vec<u8>>>, _>>()?)
            }
        })
    };
    columns.into_iter().zip(table.columns).map(array).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::cluster::Cluster;
    use crate::rows::carried::TABLES;

    /// What a move fills by itself, and what only nodes that serve have.
    const OWN: [&str; 7] = ["marks", "directory_versions", "changes", "erasures", "slots", "followed", "chronicle"];

    #[tokio::test(flavor = "multi_thread")]
    async fn every_column_of_every_table_is_carried() {
        let cluster = Cluster::shared();
        let url = cluster.database();
        let address = Address::parse(&url).expect("an address");
        Target::open(&address).await.map(|_| ()).expect("its tables are made");
        let name = url.rsplit('/').next().expect("a name");
        let all = "SELECT t.relname || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
                   FROM pg_class AS t JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
                   WHERE t.relkind IN ('r', 'p') AND NOT t.relispartition AND t.relnamespace = 'public'::regnamespace
                   ORDER BY 1";
        let there: Vec<String> = cluster.run_sql(name, all).lines().map(str::to_owned).collect();
        let known = |line: &&String| {
            let table = line.split(' ').next().unwrap_or_default();
            table != "layout" && !OWN.contains(&table) && !NODES.contains(&table)
        };
        let there: Vec<_> = there.iter().filter(known).cloned().collect();
        let mut carried: Vec<String> = Vec::new();
        for table in TABLES {
            for (column, kind) in table.columns {
                let of = match kind {
                    Kind::Small => "smallint",
                    Kind::Int => "integer",
                    Kind::Big => "bigint",
                    Kind::Bool => "boolean",
                    Kind::Text => "text",
                    Kind::Bytes => "bytea",
                };
                carried.push(format!("{} {column} {of}", table.name));
            }
        }
        carried.sort();
        assert_eq!(there, carried);
    }

    /// Who serves the database, once it is served.
    const NODES: [&str; 2] = ["nodes", "leases"];
}
