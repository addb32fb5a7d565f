//! A node that starts where very much waits: how soon it sends, and how much memory it takes.

use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde::Serialize;
use serde_json::json;
use store::postgres::Scratch;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::load::Connection;
use super::server::Server;
use super::{Failed, bare, samples};

/// So many retries fall due in a second: a million within an hour.
const DUE_PER_SECOND: u64 = 278;
/// Connections that make webhooks and events.
const MAKERS: u64 = 32;
/// An account has at most so many webhooks.
const OF_ACCOUNT: u64 = 1_000;
/// After a node was killed its leases last for so long.
const LEASES_LAST: Duration = Duration::from_secs(16);
/// How long a node may take until it has sent something.
const PATIENCE: Duration = Duration::from_secs(120);

/// How to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// A database of the server whose user may make others; what is measured has one of its own, which is dropped afterwards
    #[arg(long, value_name = "URL")]
    database: String,
    /// How many webhooks there are
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(16..=1_000_000))]
    webhooks: u64,
    /// How many retries each of them has pending
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    each: u64,
    /// For how long the node sends what falls due, in seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Folder for the nodes' own files; removed afterwards
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// What one run has measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PendingReport {
    /// How many webhooks there were.
    pub(crate) webhooks: u64,
    /// How many retries were pending as the node started.
    pub(crate) pending: u64,
    /// From the start of its process to the first request that arrived, in milliseconds.
    pub(crate) first_after_ms: f64,
    /// How many had arrived in the end.
    pub(crate) arrived: u64,
    /// The most memory that it had resident until then, in MiB.
    pub(crate) peak_mib: u64,
}

impl PendingReport {
    /// The report as lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Self { webhooks, pending, first_after_ms, arrived, peak_mib } = self;
        vec![format!(
            "{webhooks} webhooks, {pending} retries pending: the first arrived {:.2} s after the node's start, {arrived} in the \
             end; at most {peak_mib} MiB resident",
            first_after_ms / 1_000.0
        )]
    }
}

/// Fills a database, and starts a node on it.
pub(crate) async fn run(options: &Options) -> Result<PendingReport, Failed> {
    let folder = options.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let folder = folder.join(format!("posthaste-bench-{}", std::process::id()));
    let scratch =
        Scratch::create(&options.database, &format!("posthaste_bench_{}_pending", std::process::id())).await?;
    let report = measure(options, &scratch, &folder).await;
    scratch.drop().await?;
    // Empty by now; another run may use the folder above it.
    let _ = std::fs::remove_dir_all(&folder);
    report
}

async fn measure(options: &Options, scratch: &Scratch, folder: &Path) -> Result<PendingReport, Failed> {
    // Nobody answers there until all is in place: what is sent meanwhile hangs.
    let held = StdListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/", held.local_addr()?);
    let first = Server::start_on(scratch.url(), folder.join("first")).await?;
    let samples = samples(usize::MAX);
    fill(&first, options, &url, &samples).await?;
    first.stop().await?;
    let killed = Instant::now();
    let within = Duration::from_secs((options.webhooks * options.each).div_ceil(DUE_PER_SECOND));
    let pending = scratch.make_retries(within).await?;
    tokio::time::sleep_until(killed + LEASES_LAST).await;

    let arrived = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&arrived);
    held.set_nonblocking(true)?;
    bare::serve_on(TcpListener::from_std(held)?, move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let start = Instant::now();
    let node = Server::start_on(scratch.url(), folder.join("second")).await?;
    while arrived.load(Ordering::Relaxed) == 0 {
        if start.elapsed() > PATIENCE {
            return Err(Failed("the node has sent nothing within two minutes".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let first_after = start.elapsed();
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let peak_mib = node.peak_mib()?;
    node.stop().await?;
    Ok(PendingReport {
        webhooks: options.webhooks,
        pending,
        first_after_ms: first_after.as_secs_f64() * 1_000.0,
        arrived: arrived.load(Ordering::Relaxed),
        peak_mib,
    })
}

/// Makes accounts of [`OF_ACCOUNT`] webhooks, each for one type in turn, and the events that go to them.
async fn fill(server: &Server, options: &Options, url: &str, samples: &Arc<[(String, String)]>) -> Result<(), Failed> {
    let (webhooks, each) = (options.webhooks, options.each);
    let mut makers = Vec::new();
    for maker in 0..MAKERS {
        let mut connection = Connection::open(&server.target).await?;
        let (samples, url) = (Arc::clone(samples), url.to_owned());
        makers.push(tokio::spawn(async move {
            for account in (maker..webhooks.div_ceil(OF_ACCOUNT)).step_by(MAKERS as usize) {
                let (types, number) = (samples.len() as u64, OF_ACCOUNT.min(webhooks - account * OF_ACCOUNT));
                let account = format!("bench-{account}");
                post(&mut connection, "/v1/accounts", json!({"id": account}).to_string().into()).await?;
                let path = format!("/v1/accounts/{account}/webhooks");
                for n in 0..number {
                    let (event, _) = &samples[(n % types) as usize];
                    let body = json!({"name": format!("bench {n}"), "url": url, "events": [event]}).to_string();
                    post(&mut connection, &path, Bytes::from(body)).await?;
                }
                for n in 0..each * types {
                    let (event, data) = &samples[(n % types) as usize];
                    let body = format!(r#"{{"account":"{account}","event":"{event}","data":{data}}}"#);
                    post(&mut connection, "/v1/events", Bytes::from(body)).await?;
                }
            }
            Ok::<_, Failed>(())
        }));
    }
    for maker in makers {
        maker.await??;
    }
    Ok(())
}

async fn post(connection: &mut Connection, path: &str, body: Bytes) -> Result<(), Failed> {
    let (status, text) = connection.call(Method::POST, path, body).await?;
    if status.is_success() { Ok(()) } else { Err(Failed(format!("{status}: {}", String::from_utf8_lossy(&text)))) }
}
