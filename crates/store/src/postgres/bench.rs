//! What `posthaste bench --database` asks of the server, and the queue that it holds the store against: a row for each delivery,
//! claimed with `FOR UPDATE SKIP LOCKED`, one commit for each. Many systems keep their queue like this.

use bytes::Bytes;

use super::address::Address;
use super::connection::{Connector, Link, Purpose};
use super::fault::Fault;

/// It did not work, and why.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct BenchFault(String);

impl From<Fault> for BenchFault {
    fn from(fault: Fault) -> Self {
        Self(fault.to_string())
    }
}

/// A database of a bench's own, beside the one that its address names.
pub struct Scratch {
    server: Link,
    name: String,
    url: String,
}

/// What the server has counted.
#[derive(Debug, Clone, Copy)]
pub struct ServerCounts {
    /// Transactions that were committed in the database, those that only read among them.
    pub commits: u64,
    /// How often the log was fsynced, by all databases.
    pub fsyncs: u64,
}

impl Scratch {
    /// Makes the database `name`, empty; one of that name that an earlier run has left is dropped.
    ///
    /// # Errors
    /// [`BenchFault`]: the address is none, the server cannot be reached, or its user may make no database.
    pub async fn create(address: &str, name: &str) -> Result<Self, BenchFault> {
        let url = beside(address, name).ok_or_else(|| BenchFault("the address names no database".to_owned()))?;
        let server = connect(address).await?;
        server.batch(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        server.batch(&format!("CREATE DATABASE {name}")).await?;
        Ok(Self { server, name: name.to_owned(), url })
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What the server has counted so far; what it has not written down yet is missing for about a second.
    ///
    /// # Errors
    /// [`BenchFault`].
    pub async fn counts(&self) -> Result<ServerCounts, BenchFault> {
        let sql =
            "SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = $1), (SELECT wal_sync FROM pg_stat_wal)";
        let row = self.server.row(sql, &[&self.name]).await?;
        let row = row.ok_or_else(|| BenchFault("the server counts nothing".to_owned()))?;
        let number = |at: usize| row.get::<_, Option<i64>>(at).unwrap_or_default().unsigned_abs();
        Ok(ServerCounts { commits: number(0), fsyncs: number(1) })
    }

    /// The server's processes, by their numbers on its own machine.
    ///
    /// # Errors
    /// [`BenchFault`].
    pub async fn processes(&self) -> Result<Vec<u32>, BenchFault> {
        let rows = self.server.rows("SELECT pid FROM pg_stat_activity", &[]).await?;
        Ok(rows.iter().map(|row| row.get::<_, i32>(0).unsigned_abs()).collect())
    }

    /// Makes a retry of everything that waits, due at some time `within` from now; how many there are. No node may run.
    ///
    /// # Errors
    /// [`BenchFault`].
    pub async fn make_retries(&self, within: std::time::Duration) -> Result<u64, BenchFault> {
        let address = Address::parse(&self.url).map_err(|error| BenchFault(error.to_string()))?;
        let link = Connector::new(address)?.connect(Purpose::Upkeep).await?;
        let sql = "UPDATE hot SET reason = 1, attempts_made = 1, retries_made = 1,
                   due_at = (extract(epoch FROM clock_timestamp()) * 1000000 + random() * $1::bigint)::bigint";
        Ok(link.run(sql, &[&(within.as_micros() as i64)]).await?)
    }

    /// Drops it.
    ///
    /// # Errors
    /// [`BenchFault`].
    pub async fn drop(self) -> Result<(), BenchFault> {
        Ok(self.server.batch(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).await?)
    }
}

/// One connection to a queue that has a row for each delivery.
pub struct RowQueue {
    link: Link,
}

/// A job that is claimed: its row is locked until it is done.
#[derive(Debug)]
pub struct Job {
    id: i64,
    /// What is to be sent.
    pub body: Bytes,
}

impl RowQueue {
    /// Makes its tables in an empty database.
    ///
    /// # Errors
    /// [`BenchFault`].
    pub async fn create(url: &str) -> Result<(), BenchFault> {
        let tables = "CREATE TABLE jobs (
                id bigserial PRIMARY KEY,
                due_at timestamptz NOT NULL DEFAULT now(),
                attempts integer NOT NULL DEFAULT 0,
                done_at timestamptz,
                body bytea NOT NULL
            );
            CREATE INDEX jobs_due ON jobs (due_at) WHERE done_at IS NULL;
            CREATE TABLE attempts (
                job bigint NOT NULL,
                number integer NOT NULL,
                started_at timestamptz NOT NULL,
                status integer NOT NULL,
                PRIMARY KEY (job, number)
            );";
        Ok(connect(url).await?.batch(tables).await?)
    }

    /// Connects.
    ///
    /// # Errors
    /// [`BenchFault`].
    pub async fn open(url: &str) -> Result<Self, BenchFault> {
        Ok(Self { link: connect(url).await? })
    }

    /// Adds a job for each body: one statement, and one commit.
    ///
    /// # Errors
    /// [`BenchFault`].
    pub async fn push(&self, bodies: &[&[u8]]) -> Result<(), BenchFault> {
        self.link.run("INSERT INTO jobs (body) SELECT unnest($1::bytea[])", &[&bodies]).await?;
        Ok(())
    }

    /// Claims the job that is due first, if there is one that nobody has claimed. Then it has to be [`Self::done`].
    ///
    /// # Errors
    /// [`BenchFault`].
    pub async fn claim(&self) -> Result<Option<Job>, BenchFault> {
        self.link.batch("BEGIN").await?;
        let sql = "SELECT id, body FROM jobs WHERE done_at IS NULL AND due_at <= now() ORDER BY due_at LIMIT 1
                   FOR UPDATE SKIP LOCKED";
        let claimed = self.link.row(sql, &[]).await?;
        let Some(row) = claimed else {
            self.link.batch("COMMIT").await?;
            return Ok(None);
        };
        Ok(Some(Job { id: row.get(0), body: Bytes::copy_from_slice(row.get(1)) }))
    }

    /// Records what became of a job, and commits.
    ///
    /// # Errors
    /// [`BenchFault`].
    pub async fn done(&self, job: &Job, status: u16) -> Result<(), BenchFault> {
        let attempt = "INSERT INTO attempts (job, number, started_at, status) VALUES ($1, 1, now(), $2)";
        self.link.run(attempt, &[&job.id, &i32::from(status)]).await?;
        self.link.run("UPDATE jobs SET done_at = now(), attempts = attempts + 1 WHERE id = $1", &[&job.id]).await?;
        Ok(self.link.batch("COMMIT").await?)
    }
}

async fn connect(url: &str) -> Result<Link, BenchFault> {
    let address = Address::parse(url).map_err(|error| BenchFault(error.to_string()))?;
    Ok(Connector::new(address)?.connect(Purpose::Write).await?)
}

/// The address of another database of the same server.
fn beside(address: &str, name: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://")?;
    let (hosts, path) = rest.split_once('/')?;
    let query = path.split_once('?').map(|(_, query)| format!("?{query}")).unwrap_or_default();
    Some(format!("{scheme}://{hosts}/{name}{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_of_the_same_server() {
        let of = |address| beside(address, "bench");
        assert_eq!(
            of("postgres://u:p@a:1,b/x?sslmode=require").as_deref(),
            Some("postgres://u:p@a:1,b/bench?sslmode=require")
        );
        assert_eq!(of("postgres://a/x").as_deref(), Some("postgres://a/bench"));
        assert_eq!(of("postgres://a"), None);
    }
}
