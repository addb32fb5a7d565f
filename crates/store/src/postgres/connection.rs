//! Connections: statements prepared once for each, and what is lost made anew.

use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Row, Statement};

use super::address::Address;
use super::fault::Fault;
use super::lack::Lack;
use super::tls::Tls;

/// A statement's parameter.
pub(super) type Param<'a> = &'a (dyn ToSql + Sync);

/// How long a statement may take at most: one that takes longer is given up, and its connection is good for more.
const STATEMENT_WITHIN: Duration = Duration::from_secs(30);
/// How long a transaction may be left open by a process that is gone, or stands still: its locks are free then.
const IDLE_WITHIN: Duration = Duration::from_secs(10);

/// How often a connection on which only notifications come is asked for an answer.
const LISTENED_FOR: Duration = Duration::from_secs(30);

/// For connections whose few statements each go by their index whatever a young table's statistics say, and are carried out so often
/// that to plan them would cost more than they do. A bitmap would be one of everything that is due, whatever is asked for, and of everything
/// that was taken away since the last vacuum.
pub(super) const HOT: &str = "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off;
    SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan;";

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Writes that are acknowledged: a commit waits for the disk, and for a synchronous standby.
    Write,
    /// Reads.
    Read,
    /// Reads by which is decided what is sent: few statements, very often.
    Send,
    /// Upkeep, whose statements take as long as they take.
    Upkeep,
}

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    address: Address,
    tls: Tls,
}

impl Connector {
    pub(super) fn new(address: Address) -> Result<Self, Fault> {
        let tls = Tls::of(&address)?;
        Ok(Self { address, tls })
    }

    /// A new connection to the first host that takes one.
    pub(super) async fn connect(&self, purpose: Purpose) -> Result<Link, Fault> {
        let writes = purpose == Purpose::Write;
        let (client, connection, host) = Box::pin(self.address.hosts.connect(&self.tls, writes)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the database has ended");
            }
        });
        let within = match purpose {
            Purpose::Write | Purpose::Read | Purpose::Send => STATEMENT_WITHIN.as_millis(),
            Purpose::Upkeep => 0,
        };
        let durable = match purpose {
            // Whoever has chosen to wait until a standby has applied what is committed waits for that.
            Purpose::Write => {
                "SELECT set_config('synchronous_commit', 'on', false)
                 WHERE current_setting('synchronous_commit') <> 'remote_apply';"
            }
            Purpose::Read | Purpose::Send | Purpose::Upkeep => "",
        };
        let planned = match purpose {
            // Each of these statements has its index. A plan made while a day's table was young would read the whole of it for as
            // long as the plan is kept, and each time more.
            Purpose::Write | Purpose::Read => "SET enable_seqscan = off;",
            Purpose::Send => HOT,
            Purpose::Upkeep => "",
        };
        let place = self
            .address
            .hosts
            .schema()
            .get()
            .map_or_else(String::new, |schema| format!("SET search_path = \"{}\";", schema.replace('"', "\"\"")));
        // A statement that may not read a whole table counts as dear without being it: to compile it would take a hundred times as
        // long as to carry it out, each time.
        let connector = self.clone();
        let link = Link { client, connector, host, statements: Mutex::default(), preparing: AtomicUsize::new(0) };
        link.batch(&format!(
            "{place} {durable} {planned} SET jit = off; SET default_transaction_isolation = 'read committed';
             SET idle_session_timeout = 0; SET statement_timeout = {within}; SET lock_timeout = 10000;
             SET idle_in_transaction_session_timeout = {};",
            IDLE_WITHIN.as_millis()
        ))
        .await?;
        Ok(link)
    }

    /// What connections are lacking: the same for all that were made for one address.
    pub(super) fn lack(&self) -> &Lack {
        self.address.hosts.lack()
    }

    /// Calls `hear` with what is said on a channel, until the connection is lost.
    pub(super) async fn listen(&self, channel: &str, hear: impl Fn(&str)) -> Result<(), Fault> {
        let (client, mut connection, host) = Box::pin(self.address.hosts.connect(&self.tls, false)).await?;
        let listening = async {
            // It is idle for as long as nobody says anything.
            let listen = format!("SET idle_session_timeout = 0; LISTEN {channel}");
            self.answered(host, pin!(client.batch_execute(&listen))).await?;
            loop {
                tokio::time::sleep(LISTENED_FOR).await;
                self.answered(host, pin!(client.batch_execute(""))).await?;
            }
        };
        let hearing = async {
            loop {
                match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                    Some(Ok(AsyncMessage::Notification(said))) => hear(said.payload()),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => return Ok(()),
                }
            }
        };
        tokio::select! {
            ended = hearing => ended,
            ended = listening => ended,
        }
    }

    /// What the server of `host` answers. One that keeps silent is asked over another connection whether it lives: where it does, what it was
    /// asked takes its time.
    async fn answered<T>(
        &self,
        host: usize,
        mut asked: Pin<&mut impl Future<Output = Result<T, tokio_postgres::Error>>>,
    ) -> Result<T, Fault> {
        loop {
            if let Ok(answer) = tokio::time::timeout(self.address.hosts.patience(), asked.as_mut()).await {
                return Ok(answer?);
            }
            // Apart, since every call of a statement would be as large as the making of a connection.
            if !Box::pin(self.address.hosts.answers(&self.tls, host)).await {
                return Err(Fault::Lost(format!("{} does not answer any more", self.address.hosts.name(host))));
            }
        }
    }
}

/// A connection.
pub(super) struct Link {
    client: Client,
    connector: Connector,
    /// The place of its host.
    host: usize,
    statements: Mutex<HashMap<&'static str, Statement>>,
    /// How many statements are being prepared, and are sent after that.
    preparing: AtomicUsize,
}

impl Link {
    async fn prepared(&self, sql: &'static str) -> Result<Statement, Fault> {
        let known = self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let _preparing = Preparing::of(self);
        let statement = self.answered(pin!(self.client.prepare(sql))).await?;
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).insert(sql, statement.clone());
        Ok(statement)
    }

    /// The rows that a statement gives. Calls that are polled together go out together, and are carried out in the order in
    /// which they were first polled.
    pub(super) async fn rows(&self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, Fault> {
        self.answered(pin!(self.client.query(&self.prepared(sql).await?, params))).await
    }

    /// The rows that a statement gives which was put together for this one call.
    pub(super) async fn rows_of(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Fault> {
        self.answered(pin!(self.client.query(sql, params))).await
    }

    /// The one row that a statement gives, if it gives one.
    pub(super) async fn row(&self, sql: &'static str, params: &[Param<'_>]) -> Result<Option<Row>, Fault> {
        Ok(self.rows(sql, params).await?.into_iter().next())
    }

    /// How many rows a statement has changed.
    pub(super) async fn run(&self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, Fault> {
        self.answered(pin!(self.client.execute(&self.prepared(sql).await?, params))).await
    }

    /// How many rows a statement has changed which was put together for this one call.
    pub(super) async fn run_of(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, Fault> {
        self.answered(pin!(self.client.execute(sql, params))).await
    }

    /// Statements without parameters, each for itself.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Fault> {
        self.answered(pin!(self.client.batch_execute(sql))).await
    }

    async fn answered<T>(
        &self,
        asked: Pin<&mut impl Future<Output = Result<T, tokio_postgres::Error>>>,
    ) -> Result<T, Fault> {
        self.connector.answered(self.host, asked).await
    }

    /// Has this and all further connections look for tables where this one does now.
    pub(super) async fn keep_place(&self) -> Result<(), Fault> {
        let found = self.row("SELECT current_schema()::text", &[]).await?;
        if let Some(schema) = found.and_then(|row| row.get(0)) {
            self.connector.address.hosts.schema().get_or_init(|| schema);
        }
        Ok(())
    }

    /// Whether all statements that were called have been sent, so that one that is called now is carried out after them.
    pub(super) fn has_sent_all(&self) -> bool {
        self.preparing.load(Ordering::Relaxed) == 0
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

/// Counts while a statement is being prepared, also where whoever has called it waits no longer.
struct Preparing<'l>(&'l Link);

impl<'l> Preparing<'l> {
    fn of(link: &'l Link) -> Self {
        link.preparing.fetch_add(1, Ordering::Relaxed);
        Self(link)
    }
}

impl Drop for Preparing<'_> {
    fn drop(&mut self) {
        self.0.preparing.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::cluster::Cluster;

    /// Seconds for each look at two rows, wherever the server can compile: no lease was renewed in time.
    #[tokio::test(flavor = "multi_thread")]
    async fn no_connection_compiles_its_statements() {
        let cluster = Cluster::start(&["jit = on", "jit_above_cost = 0"]);
        let address = Address::parse(&cluster.database()).expect("an address");
        let connector = Connector::new(address).expect("it can be used");
        for purpose in [Purpose::Write, Purpose::Read, Purpose::Upkeep] {
            let link = connector.connect(purpose).await.expect("it is connected to");
            let plan = link.rows_of("EXPLAIN ANALYZE SELECT count(*) FROM pg_class", &[]).await.expect("a plan");
            let lines: Vec<&str> = plan.iter().map(|row| row.get(0)).collect();
            assert!(lines.iter().all(|line| !line.contains("JIT")), "{purpose:?}: {lines:?}");
        }
    }
}
