//! Leases: which node holds which shard, by the database's clock, and the fence by which a node that has lost a shard changes
//! nothing of it any more.
//!
//! A beat goes through a connection of its own: however much there is to be written, leases are renewed. It has to be on disk like
//! everything else, since a lease that a crash forgets would be given twice under one epoch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::cluster::{Arrival, Beat, Cluster, Hint, Node, Nodes, Report, Seen};
use domain::shard::{Epoch, Holdings, Lease, SHARDS, Shard, Terms};
use domain::store::StoreError;
use domain::time::Timestamp;
use tokio::sync::Mutex;
use tokio_postgres::Row;

use super::address::Address;
use super::connection::{Connector, Link, Purpose};
use super::fault::{Fault, OpenError};
use super::hints::Hints;
use super::lack::{self, COMMITS_WITHIN};

/// For how long a beat may take: then it has failed, and the next one goes through another connection.
const WITHIN: Duration = Duration::from_secs(3);
/// One beat in so many forgets nodes that were not heard for a day.
const FORGETS_EVERY: u64 = 100;

/// What a node is, for others.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its number: another one for each process.
    pub id: i64,
    /// What it is called.
    pub name: String,
    /// The release that it runs.
    pub version: String,
}

/// The leases of one node.
pub struct Leases {
    connector: Connector,
    identity: Identity,
    terms: Terms,
    link: Mutex<Option<Arc<Link>>>,
    hints: Hints,
    holdings: Holdings,
}

impl Leases {
    /// The leases of this node in a database whose tables are there. `hint` is called with what other nodes say.
    ///
    /// # Errors
    /// If the address cannot be used.
    pub fn new(
        address: &Address,
        identity: Identity,
        terms: Terms,
        holdings: Holdings,
        hint: impl Fn(Hint) + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let connector = Connector::new(address.clone()).map_err(Fault::at_open)?;
        let hints = Hints::start(connector.clone(), identity.id, Arc::new(hint));
        Ok(Self { connector, identity, terms, link: Mutex::default(), hints, holdings })
    }

    /// Tells the other nodes that these deliveries were accepted here.
    pub fn tell_accepted(&self, arrivals: Vec<Arrival>) {
        self.hints.accepted(arrivals);
    }

    /// The present connection, or a new one.
    async fn link(&self) -> Result<Arc<Link>, Fault> {
        let mut link = self.link.lock().await;
        if let Some(link) = link.as_ref().filter(|link| !link.is_closed()) {
            return Ok(Arc::clone(link));
        }
        let made = self.connector.connect(Purpose::Write).await;
        self.connector.lack().note(lack::Whose::Leases, &made);
        let fresh = Arc::new(made?);
        let within = WITHIN.as_millis();
        fresh.batch(&format!("SET statement_timeout = {within}; SET lock_timeout = {within}")).await?;
        *link = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// Does something with the connection, in time; a connection in which something went wrong is not used again. To make one may take
    /// longer: a host that says nothing comes before one that does.
    async fn within<T>(&self, work: impl AsyncFnOnce(&Link) -> Result<T, Fault>) -> Result<T, Fault> {
        let result = match self.link().await {
            Ok(link) => tokio::time::timeout(WITHIN, work(&link)).await.unwrap_or_else(|_| Err(too_long())),
            Err(fault) => Err(fault),
        };
        if result.is_err() {
            *self.link.lock().await = None;
        }
        result.inspect_err(|fault| tracing::debug!(%fault, "leases could not be renewed or read"))
    }

    async fn one_beat(&self, link: &Link, beat: &Beat, report: Report) -> Result<Seen, Fault> {
        let (mut shards, mut epochs) = (Vec::new(), Vec::new());
        for lease in &beat.release {
            shards.push(lease.shard.0.cast_signed());
            epochs.push(lease.epoch.0.cast_signed());
        }
        let length = self.terms.length.as_secs_f64();
        let oldest_due = report.oldest_due.map(|at| at.0);
        let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        let Identity { id, name, version } = &self.identity;
        let held = link
            .rows(
                BEAT,
                &[
                    id,
                    name,
                    version,
                    &length,
                    &beat.leaving,
                    &number(report.in_flight),
                    &number(report.known),
                    &oldest_due,
                    &shards,
                    &epochs,
                    &i64::from(beat.want),
                    &beat.patient,
                ],
            )
            .await?;
        let held: Vec<Lease> = held.iter().map(lease).collect();
        let seen = link.row(OTHERS, &[id]).await?;
        let seen =
            seen.ok_or_else(|| Fault::Refused("a node that has just said that it lives is not there".to_owned()))?;
        let short = |number: i64| u16::try_from(number).unwrap_or(u16::MAX);
        let next_end: Option<i64> = seen.get(2);
        if beat.number == 1 || beat.leaving {
            self.hints.tell(&Hint::Nodes);
        } else if !beat.release.is_empty() {
            self.hints.tell(&Hint::Freed);
        }
        if beat.number % FORGETS_EVERY == 1 {
            link.run("DELETE FROM nodes WHERE until < now() - interval '1 day'", &[]).await?;
        }
        Ok(Seen {
            nodes: short(seen.get(0)),
            place: short(seen.get(1)),
            held,
            next_end: next_end.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0))),
        })
    }

    async fn all(&self, link: &Link) -> Result<Nodes, Fault> {
        let rows = link.rows(ALL, &[]).await?;
        let free = link.row("SELECT count(*) FROM leases WHERE owner IS NULL OR until <= now()", &[]).await?;
        let node = |row: &Row| Node {
            name: row.get(1),
            version: row.get(2),
            since: Timestamp(row.get(3)),
            heard: Timestamp(row.get(4)),
            lives: row.get(5),
            here: row.get::<_, i64>(0) == self.identity.id,
            shards: u16::try_from(row.get::<_, i64>(6)).unwrap_or(u16::MAX),
            report: Report {
                in_flight: row.get::<_, i32>(7).cast_unsigned(),
                known: row.get::<_, i32>(8).cast_unsigned(),
                oldest_due: row.get::<_, Option<i64>>(9).map(Timestamp),
            },
        };
        Ok(Nodes {
            nodes: rows.iter().map(node).collect(),
            shards: SHARDS,
            free: free.map_or(0, |row| u16::try_from(row.get::<_, i64>(0)).unwrap_or(u16::MAX)),
            refused: self.holdings.refused(),
        })
    }
}

#[async_trait]
impl Cluster for Leases {
    fn terms(&self) -> Terms {
        self.terms
    }

    async fn beat(&self, beat: Beat, report: Report) -> Result<Seen, StoreError> {
        let lack = self.connector.lack();
        lack.beating.begin();
        let seen = self.within(async |link| self.one_beat(link, &beat, report).await).await;
        // A beat before it that waits for its commit holds the rows: it takes too long too, or does not get their locks.
        if matches!(seen, Err(Fault::Conflict(_))) {
            lack.is_stuck(None, COMMITS_WITHIN);
            return Err(StoreError::Stuck);
        }
        lack.beating.end();
        Ok(seen?)
    }

    async fn nodes(&self) -> Result<Nodes, StoreError> {
        // Somebody waits for the answer.
        let all = tokio::time::timeout(WITHIN, self.within(async |link| self.all(link).await));
        let all = all.await.unwrap_or_else(|_| Err(too_long()));
        // Nothing is written here: it is not heard of for any other reason.
        all.map_err(|fault| {
            if matches!(fault, Fault::Conflict(_)) { StoreError::Away(fault.to_string()) } else { fault.into() }
        })
    }
}

fn too_long() -> Fault {
    Fault::Conflict("it took too long".to_owned())
}

/// One beat. What is free is taken last, and only what nobody is about to take, or to write to: others' turn has come.
const BEAT: &str = "
WITH clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now, clock_timestamp() + make_interval(secs => $4::float8) AS ends
), me AS (
    INSERT INTO nodes (id, name, version, since, heard, until, leaving, in_flight, known, oldest_due)
    SELECT $1, $2, $3, now, now, ends, $5, $6, $7, $8 FROM clock
    ON CONFLICT (id) DO UPDATE
    SET heard = excluded.heard, until = excluded.until, leaving = excluded.leaving, in_flight = excluded.in_flight,
        known = excluded.known, oldest_due = excluded.oldest_due
), released AS (
    UPDATE leases SET owner = NULL, until = '-infinity'
    FROM unnest($9::smallint[], $10::bigint[]) AS given (shard, epoch)
    WHERE leases.shard = given.shard AND leases.epoch = given.epoch AND leases.owner = $1
), renewed AS (
    UPDATE leases SET until = clock.ends FROM clock
    WHERE leases.owner = $1 AND leases.shard <> ALL ($9::smallint[])
    RETURNING leases.shard, leases.epoch
), free AS (
    SELECT leases.shard FROM leases, clock
    WHERE leases.until <= clock.now AND leases.owner IS DISTINCT FROM $1 AND (leases.owner IS NULL OR NOT $12)
    LIMIT greatest(0, $11::bigint - (SELECT count(*) FROM renewed))
    FOR UPDATE OF leases SKIP LOCKED
), taken AS (
    UPDATE leases SET owner = $1, epoch = leases.epoch + 1, until = clock.ends FROM clock, free
    WHERE leases.shard = free.shard
    RETURNING leases.shard, leases.epoch
)
SELECT shard, epoch FROM renewed UNION ALL SELECT shard, epoch FROM taken ORDER BY shard";

/// How many nodes live and stay, how many of them are older than this one, and in how many microseconds the first lease of another
/// ends.
const OTHERS: &str = "
WITH me AS (SELECT since, id FROM nodes WHERE id = $1)
SELECT (SELECT count(*) FROM nodes WHERE until > clock_timestamp() AND NOT leaving),
       (SELECT count(*) FROM nodes, me WHERE nodes.until > clock_timestamp() AND NOT nodes.leaving
            AND (nodes.since, nodes.id) < (me.since, me.id)),
       (SELECT (extract(epoch FROM min(until) - clock_timestamp()) * 1000000)::bigint
        FROM leases WHERE owner <> $1 AND until > clock_timestamp())
FROM me";

/// One that has died stays for some minutes, unless it has come back under its name; what it said of itself is true no more. One that leaves
/// stays until it has given everything back.
const ALL: &str = "
WITH held AS (SELECT owner, count(*) AS shards FROM leases WHERE until > now() GROUP BY owner)
SELECT n.id, n.name, n.version, (extract(epoch FROM n.since) * 1000000)::bigint,
       (extract(epoch FROM n.heard) * 1000000)::bigint, n.until > now() AND NOT n.leaving, coalesce(held.shards, 0),
       CASE WHEN n.until > now() THEN n.in_flight ELSE 0 END, CASE WHEN n.until > now() THEN n.known ELSE 0 END,
       CASE WHEN n.until > now() THEN n.oldest_due END
FROM nodes AS n LEFT JOIN held ON held.owner = n.id
WHERE n.until > now() AND (NOT n.leaving OR held.shards > 0)
   OR n.until BETWEEN now() - interval '10 minutes' AND now() AND NOT n.leaving
      AND NOT EXISTS (SELECT FROM nodes AS later WHERE later.name = n.name AND later.since > n.since)
ORDER BY n.since, n.id";

fn lease(row: &Row) -> Lease {
    Lease { shard: Shard(row.get::<_, i16>(0).cast_unsigned()), epoch: Epoch(row.get::<_, i64>(1).cast_unsigned()) }
}

/// The epochs of these shards, which stay as they are until the end of the transaction: whoever takes one of them waits.
pub(super) async fn fence(link: &Link, shards: &[Shard]) -> Result<HashMap<Shard, Epoch>, Fault> {
    let numbers: Vec<i16> = shards.iter().map(|shard| shard.0.cast_signed()).collect();
    let sql = "SELECT shard, epoch FROM leases WHERE shard = ANY ($1::smallint[]) FOR KEY SHARE";
    let rows = link.rows(sql, &[&numbers]).await?;
    Ok(rows.iter().map(lease).map(|lease| (lease.shard, lease.epoch)).collect())
}
