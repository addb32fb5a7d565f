//! `posthaste bench`: what this build does on this machine, beside a bare HTTP exchange measured in the same run.

mod bare;
mod burst;
mod load;
mod nodes;
mod pending;
mod queue;
mod report;
mod server;
mod soak;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::catalogue::Catalogue;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

pub(crate) use self::burst::{Options as BurstOptions, run as burst};
use self::load::{Target, at_rate, flat_out, open};
pub(crate) use self::nodes::NodesReport;
pub(crate) use self::pending::run as pending;
use self::report::{Latency, Report};
use self::server::Server;
pub(crate) use self::soak::{Options as SoakOptions, run as soak};

/// Something without which nothing can be measured did not work.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// How to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) what: Option<What>,
    /// Seconds for each figure
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Kept connections of the load [default: 64; for nodes on PostgreSQL 384, or 128 where each event goes to several webhooks]
    #[arg(long, value_name = "CONNECTIONS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: Option<u16>,
    /// Events per second at which latency is measured
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Leave out the run with one hanging webhook
    #[arg(long)]
    no_hanging: bool,
    /// Folder for the measured stores; removed afterwards. Use the disk that is to be measured
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Measure nodes on PostgreSQL instead: a database of this server whose user may make others, which are dropped afterwards
    #[arg(long, value_name = "URL")]
    pub(crate) database: Option<String>,
    /// How many nodes, one measurement after the other
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,2,4", requires = "database",
          value_parser = clap::value_parser!(u8).range(1..=16))]
    nodes: Vec<u8>,
    /// To how many webhooks each event goes at nodes on PostgreSQL, one load after the other
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,4", requires = "database",
          value_parser = clap::value_parser!(u8).range(1..=6))]
    fan_out: Vec<u8>,
    /// Events in each request to nodes on PostgreSQL
    #[arg(long, default_value_t = 1, requires = "database", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    batch: u16,
}

/// What to measure in place of the figures.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum What {
    /// Ten times of what can be sustained: every request is answered, and what was accepted is kept
    Burst(burst::Options),
    /// A node on PostgreSQL that starts where very much waits: how soon it sends, how much memory it takes
    Pending(pending::Options),
    /// A server kept busy for long with all that could leak: memory, descriptors and threads level off, and nothing is lost
    Soak(soak::Options),
}

/// How many webhooks there are where one of them hangs.
const TEN: usize = 10;

/// The event types of the built-in catalogue with their examples, the first `most`: the load has a webhook for each.
fn samples(most: usize) -> Arc<[(String, String)]> {
    let catalogue = Catalogue::builtin();
    catalogue.types().iter().take(most).map(|kind| (kind.name.to_string(), kind.example.get().to_owned())).collect()
}

/// An event's body; the type is the n-th of the samples, `n` travels with it.
fn event(samples: &[(String, String)], n: u64) -> Bytes {
    let (name, example) = &samples[n as usize % samples.len()];
    let rest = example.trim_start().strip_prefix('{').unwrap_or("}");
    Bytes::from(format!(r#"{{"event":"{name}","data":{{"bench":{n},{rest}}}"#))
}

/// The body of the n-th request: one event, or a list of `batch`.
fn request(samples: &[(String, String)], n: u64, batch: u64) -> Bytes {
    if batch == 1 {
        return event(samples, n);
    }
    let mut list = Vec::new();
    for at in n * batch..(n + 1) * batch {
        list.push(if list.is_empty() { b'[' } else { b',' });
        list.extend_from_slice(&event(samples, at));
    }
    list.push(b']');
    Bytes::from(list)
}

/// The `n` of an event that has arrived.
fn number(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, after) = text.split_once(r#""bench":"#)?;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Runs the benchmark; `quiet` draws no progress.
pub(crate) async fn run(options: &Options, quiet: bool) -> Result<Report, Failed> {
    let folder = folder(options);
    let progress = progress(quiet, 5);
    let during = Duration::from_secs(options.seconds);
    let connections = options.connections.map_or(64, usize::from);
    let (samples, ten) = (samples(usize::MAX), samples(TEN));

    // Machines are noisy: the yardstick is measured before and after each figure that is held against it.
    progress.set_message("bare exchange");
    let bare_first = bare_exchange(connections, during / 2, &samples).await?;
    progress.inc(1);

    progress.set_message("acceptance");
    let server = Server::start(folder.join("accept")).await?;
    let kinds = Arc::clone(&samples);
    let accepted = flat_out(open(&server.target, connections).await?, during, move |n| event(&kinds, n)).await?;
    server.stop().await?;
    progress.inc(1);

    progress.set_message("bare exchange");
    let bare_between = bare_exchange(connections, during / 2, &samples).await?;
    progress.set_message("end to end");
    let end_to_end = end_to_end(folder.join("deliver"), connections, during, &samples).await?;
    progress.set_message("bare exchange");
    let bare_last = bare_exchange(connections, during / 2, &samples).await?;
    progress.inc(1);

    progress.set_message("latency");
    let latency = latency(folder.join("latency"), options.rate, during, &ten, false).await?;
    progress.inc(1);

    let beside_a_hanging_one = if options.no_hanging {
        None
    } else {
        progress.set_message("latency beside a hanging webhook");
        Some(self::latency(folder.join("hanging"), options.rate, during, &ten, true).await?)
    };
    progress.finish_and_clear();
    // Empty by now; another run may use the folder above it.
    let _ = std::fs::remove_dir_all(&folder);
    Ok(Report {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        connections,
        bare_per_second: (bare_first + bare_between + bare_last) / 3.0,
        accepted_per_second: accepted.per_second(),
        end_to_end_per_second: end_to_end,
        accepted_ratio: accepted.per_second() / ((bare_first + bare_between) / 2.0),
        end_to_end_ratio: end_to_end / ((bare_between + bare_last) / 2.0),
        rate: options.rate,
        latency,
        beside_a_hanging_one,
        hanging_p99_ratio: beside_a_hanging_one.map(|beside| beside.p99_ms / latency.p99_ms),
    })
}

/// Measures nodes on the database `server`; `quiet` draws no progress.
pub(crate) async fn on_database(server: &str, options: &Options, quiet: bool) -> Result<NodesReport, Failed> {
    let folder = folder(options);
    let numbers: Vec<_> = options.nodes.iter().copied().map(usize::from).collect();
    let samples = samples(usize::MAX);
    let plan = |fan_out: usize| nodes::Plan {
        database: server,
        nodes: &numbers,
        during: Duration::from_secs(options.seconds),
        connections: options.connections.map_or_else(|| connections_of(fan_out), usize::from),
        fan_out,
        batch: options.batch.into(),
        folder: &folder,
        samples: Arc::clone(&samples),
    };
    let plans: Vec<_> = options.fan_out.iter().map(|fan_out| plan((*fan_out).into())).collect();
    let progress = progress(quiet, plans.len() as u64 * (numbers.len() as u64 + 3) + 1);
    let report = nodes::run(&plans, |what| {
        progress.set_message(what);
        progress.inc(1);
    })
    .await;
    progress.finish_and_clear();
    // Empty by now; another run may use the folder above it.
    let _ = std::fs::remove_dir_all(&folder);
    report
}

/// Kept connections of a load for nodes on PostgreSQL. A commit takes longer than an exchange, and carries what those have posted who waited
/// for the one before: with few of them it is they who are measured.
const fn connections_of(fan_out: usize) -> usize {
    if fan_out == 1 { 384 } else { 128 }
}

/// Where this run's stores are.
fn folder(options: &Options) -> PathBuf {
    let scratch = options.scratch.clone().unwrap_or_else(std::env::temp_dir);
    scratch.join(format!("posthaste-bench-{}", std::process::id()))
}

fn progress(quiet: bool, steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    if quiet {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

async fn bare_exchange(connections: usize, during: Duration, samples: &Arc<[(String, String)]>) -> Result<f64, Failed> {
    let address = bare::serve(|_, _| {})?;
    let target = Target { address, path: "/", key: None };
    let samples = Arc::clone(samples);
    let connections = open(&target, connections).await?;
    Ok(flat_out(connections, during, move |n| event(&samples, n)).await?.per_second())
}

/// Events per second from the first request to the arrival of the last webhook.
async fn end_to_end(
    folder: PathBuf,
    connections: usize,
    during: Duration,
    samples: &Arc<[(String, String)]>,
) -> Result<f64, Failed> {
    let (receiver, arrived) = nodes::receiver()?;
    let server = Server::start(folder).await?;
    for (n, (name, _)) in samples.iter().enumerate() {
        server.webhook(&format!("bench {n}"), name, &format!("http://{receiver}/{n}"), None).await?;
    }
    let kinds = Arc::clone(samples);
    let connections = open(&server.target, connections).await?;
    let start = Instant::now();
    let done = flat_out(connections, during, move |n| event(&kinds, n)).await?;
    nodes::arrive(&arrived, done.answered).await?;
    let took = start.elapsed();
    server.stop().await?;
    Ok(done.answered as f64 / took.as_secs_f64())
}

/// Latency from the start of a producer's request to the webhook's arrival, at a fixed rate. With `hanging`, the tenth
/// webhook's receiver never answers, and only the nine others count; without, the nine count just the same.
async fn latency(
    folder: PathBuf,
    rate: u32,
    during: Duration,
    samples: &Arc<[(String, String)]>,
    hanging: bool,
) -> Result<Latency, Failed> {
    type Sent = Arc<Mutex<HashMap<u64, Instant>>>;
    let sent: Sent = Arc::default();
    let latencies: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let (starts, ends) = (Arc::clone(&sent), Arc::clone(&latencies));
    let receiver = bare::serve(move |path, body| {
        let now = Instant::now();
        let start = number(body).and_then(|n| starts.lock().unwrap_or_else(PoisonError::into_inner).remove(&n));
        if let Some(start) = start
            && path != "/hang"
        {
            ends.lock().unwrap_or_else(PoisonError::into_inner).push(now - start);
        }
    })?;
    let server = Server::start(folder).await?;
    let last = samples.len() - 1;
    for (n, (name, _)) in samples.iter().enumerate() {
        let path = if n == last && hanging { "hang" } else { "webhook" };
        server.webhook(&format!("bench {n}"), name, &format!("http://{receiver}/{path}"), None).await?;
    }
    let (kinds, starts) = (Arc::clone(samples), Arc::clone(&sent));
    let counted = Arc::new(AtomicU64::new(0));
    let expected = Arc::clone(&counted);
    at_rate(&server.target, rate, during, move |n| {
        if n as usize % kinds.len() != last {
            expected.fetch_add(1, Ordering::Relaxed);
            starts.lock().unwrap_or_else(PoisonError::into_inner).insert(n, Instant::now());
        }
        event(&kinds, n)
    })
    .await?;
    let patience = Instant::now() + Duration::from_secs(30);
    while (latencies.lock().unwrap_or_else(PoisonError::into_inner).len() as u64) < counted.load(Ordering::Relaxed) {
        if Instant::now() > patience {
            return Err(Failed("not every event arrived within half a minute".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    server.stop().await?;
    let latencies = std::mem::take(&mut *latencies.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Latency::of(latencies))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_valid_and_numbered() {
        let catalogue = Catalogue::builtin();
        let samples = samples(usize::MAX);
        assert_eq!(samples.len(), catalogue.types().len());
        for n in 0..20 {
            let body: serde_json::Value = serde_json::from_slice(&event(&samples, n)).expect("JSON");
            let kind = catalogue.get(body["event"].as_str().expect("a name")).expect("a known type");
            kind.check(&serde_json::value::RawValue::from_string(body["data"].to_string()).expect("JSON"))
                .expect("valid");
            assert_eq!(number(body["data"].to_string().as_bytes()), Some(n));
        }
        assert_eq!(request(&samples, 7, 1), event(&samples, 7));
        let of_three: Vec<Box<serde_json::value::RawValue>> =
            serde_json::from_slice(&request(&samples, 7, 3)).expect("a list");
        let numbers: Vec<_> = of_three.iter().map(|event| number(event.get().as_bytes())).collect();
        assert_eq!(numbers, [Some(21), Some(22), Some(23)]);
    }
}
