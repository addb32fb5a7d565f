//! `posthaste bench soak`: one server kept busy as a platform and its customers would, and whether anything grows.

mod customers;
mod platform;
mod pool;
mod process;
mod receivers;
mod report;
mod strangers;
mod tally;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::Method;
use serde_json::Value;
use store::postgres::Scratch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use self::customers::Customers;
use self::platform::{Platform, account};
use self::pool::{Pool, at_pace};
use self::process::{Look, Sample};
use self::receivers::Town;
pub(crate) use self::report::SoakReport;
use self::strangers::Strangers;
use self::tally::Tally;
use super::Failed;
use super::server::Server;
use crate::inbox::authority;

/// Samples of a run.
const SAMPLES: u32 = 60;
/// The least time between two.
const SAMPLE_LEAST: Duration = Duration::from_millis(250);
/// How long everything that was accepted may take to end once nothing more comes.
const END_MAX: Duration = Duration::from_secs(180);
/// How many descriptors more than before the load may be open once its connections are closed.
const DESCRIPTORS_LEFT: f64 = 24.0;

/// How to run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// For how long, in minutes
    #[arg(long, default_value_t = 10.0, value_parser = minutes)]
    minutes: f64,
    /// Events per second
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Accounts, each with ten webhooks that stay
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    accounts: u64,
    /// How much the server keeps of its log
    #[arg(long, value_name = "SIZE", default_value = "96MiB")]
    retention_size: String,
    /// On PostgreSQL: a database of the server whose user may make others; the run has one of its own, which is dropped afterwards
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Folder for the server's store; removed afterwards
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

fn minutes(text: &str) -> Result<f64, String> {
    let found = text.parse().ok().filter(|minutes| (0.05..=10_080.0).contains(minutes));
    found.ok_or_else(|| "minutes are 0.05 to 10080".to_owned())
}

/// A folder that is removed with this value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Nobody is left who could be told.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs; `says` is told each sample.
pub(crate) async fn run(options: &Options, says: impl Fn(&str)) -> Result<SoakReport, Failed> {
    let scratch = options.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let folder = Folder(scratch.join(format!("posthaste-soak-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0)?;
    let Some(database) = &options.database else { return soak(options, &folder.0, None, says).await };
    let scratch = Scratch::create(database, &format!("posthaste_bench_{}_soak", std::process::id())).await?;
    let report = soak(options, &folder.0, Some(scratch.url()), says).await;
    scratch.drop().await?;
    report
}

async fn soak(
    options: &Options,
    folder: &Path,
    database: Option<&str>,
    says: impl Fn(&str),
) -> Result<SoakReport, Failed> {
    let authority = authority::open(folder)?;
    let data = folder.join("data");
    let server = start(options, &data, database, &authority.certificate).await?;
    let tally = Arc::<Tally>::default();
    let town = Arc::new(Town::new(Arc::clone(&tally)));
    let (plain, tls) = (town.open(None).await?, town.open(Some(authority.acceptor)).await?);
    let pool = Pool::new(server.target.clone());
    let platform = Platform::new(Arc::clone(&pool), Arc::clone(&tally), options.accounts, options.rate);
    let kept = database.is_none().then(|| data.clone());
    let (process, start) = (server.process()?, Instant::now());
    let look = |start| Look { process, data: kept, pool: Arc::clone(&pool), tally: Arc::clone(&tally), start };
    let look = look(start);
    let before = look.take().await?;
    platform.settle(&plain, &tls).await?;
    says(&format!("before   {}", before.line()));

    let during = Duration::from_secs_f64(options.minutes * 60.0);
    let look = Look { start: Instant::now(), ..look };
    let customers = Customers {
        pool: Arc::clone(&pool),
        tally: Arc::clone(&tally),
        town: Arc::clone(&town),
        accounts: options.accounts,
    };
    let mut load = load(Arc::clone(&platform), &customers);
    let mut samples = Vec::new();
    let gap = (during / SAMPLES).max(SAMPLE_LEAST);
    let mut ticks = tokio::time::interval(gap);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.tick().await;
    // As many whatever the machine is busy with: a run is rather longer than looked at less often.
    for _ in 0..during.div_duration_f64(gap).round() as u32 {
        ticks.tick().await;
        let sample = look.take().await?;
        says(&sample.line());
        samples.push(sample);
    }
    let minutes = look.start.elapsed().as_secs_f64() / 60.0;
    tally.end();
    while let Some(ended) = load.join_next().await {
        ended?;
    }
    town.gets_well();
    let unfinished = come_to_an_end(&customers, &tally).await?;
    // Whoever has called, or was called, has hung up now.
    pool.close();
    drop((plain, tls));
    let after = at_rest(&look, &before).await?;
    says(&format!("after    {}", after.line()));

    let mut report = SoakReport {
        minutes,
        rate: options.rate,
        store: if database.is_some() { "postgresql" } else { "embedded" },
        accounts: options.accounts,
        accepted: tally.accepted.load(Ordering::Relaxed),
        missing: tally.missing(),
        unfinished,
        refused: tally.refused.load(Ordering::Relaxed),
        received: tally.received.load(Ordering::Relaxed),
        did: tally.all_done(),
        before,
        second_quarter: report::Quarter::default(),
        last_quarter: report::Quarter::default(),
        after,
        judged: false,
        faults: tally.faults(),
        samples: Vec::new(),
    };
    report.faults.extend(left_over(&report));
    report.judge(samples);
    let complaints = server.complaints.clone();
    pool.close();
    if let Err(Failed(why)) = server.end().await {
        report.faults.push(why);
    }
    report.faults.extend(complaints.all().into_iter().map(|line| format!("the server's log says: {line}")));
    if database.is_none() {
        // Every row and checksum of what is left.
        let checked = tokio::task::spawn_blocking(move || store::sqlite::check(&data)).await?;
        report.faults.extend(checked.err().map(|error| format!("the store is not whole: {error}")));
    }
    Ok(report)
}

/// Starts the server: whatever waits, and is kept, is short.
async fn start(options: &Options, data: &Path, database: Option<&str>, trusted: &Path) -> Result<Server, Failed> {
    let (data_text, trusted) = (data.display().to_string(), trusted.display().to_string());
    let place = database.map_or(["--data", &data_text], |url| ["--database", url]);
    let settings = ["--retry-schedule", "1s,2s,4s", "--timeout", "2s", "--pause-after", "1m", "--trust-ca", &trusted];
    let kept = ["--retention", "1h", "--retention-size", &options.retention_size];
    Server::launch(data.to_owned(), &[&place[..], &settings, &kept].concat()).await
}

/// All who make the load, each at a pace of its own, until no more is asked for.
fn load(platform: Arc<Platform>, customers: &Customers) -> JoinSet<()> {
    let Customers { pool, tally, accounts, .. } = customers.clone();
    let strangers = Strangers { pool, tally: Arc::clone(&tally), accounts };
    let mut load = JoinSet::new();
    load.spawn(platform.post());
    let every = Duration::from_millis;
    macro_rules! at {
        ($gap:literal, $most:literal, $who:ident.$does:ident) => {
            let (who, tally) = ($who.clone(), Arc::clone(&tally));
            load.spawn(at_pace(tally, every($gap), $most, move |n| who.clone().$does(n)));
        };
    }
    at!(500, 16, customers.webhook);
    at!(500, 4, customers.caretaker);
    at!(500, 4, customers.session);
    at!(2_000, 4, customers.key_and_account);
    at!(100, 8, customers.list);
    at!(1_000, 8, customers.replay);
    at!(200, 32, strangers.stream);
    at!(150, 32, strangers.hang_up);
    load
}

/// Lets everything that was accepted end: resumes what is paused, stops replays, waits until nothing waits. How many
/// deliveries are left all the same.
async fn come_to_an_end(customers: &Customers, tally: &Tally) -> Result<u64, Failed> {
    let pool = &customers.pool;
    let patience = Instant::now() + END_MAX;
    loop {
        let mut left = 0;
        for n in 0..customers.accounts {
            let base = format!("/v1/accounts/{}", account(n));
            customers.resume_all(n, "deliver").await?;
            for replay in pool.get(&format!("{base}/replays?limit=100")).await?["data"].as_array().into_iter().flatten()
            {
                if let (Some("running" | "queued" | "paused"), Some(id)) =
                    (replay["status"].as_str(), replay["id"].as_str())
                {
                    pool.json(Method::POST, &format!("{base}/replays/{id}/stop"), &Value::Null).await?;
                }
            }
            let count = pool.get(&format!("{base}/deliveries/count?status=pending,sending,held")).await?;
            match (count["count"].as_u64(), count["more"].as_bool()) {
                (Some(count), Some(more)) => left += count + u64::from(more),
                _ => return Err(Failed(format!("what waits is not told: {count}"))),
            }
        }
        if (left == 0 && tally.missing() == 0) || Instant::now() > patience {
            return Ok(left);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The process once connections that were closed at the other end are closed at its own too, or half a minute later.
async fn at_rest(look: &Look, before: &Sample) -> Result<Sample, Failed> {
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        let after = look.take().await?;
        let rests = after.descriptors <= before.descriptors + DESCRIPTORS_LEFT && after.known + after.in_flight == 0.0;
        if rests || Instant::now() > patience {
            return Ok(after);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// What should be over and is not, in sentences.
fn left_over(report: &SoakReport) -> Vec<String> {
    let SoakReport { missing, unfinished, accepted, before, after, .. } = report;
    let mut faults = Vec::new();
    if *missing > 0 {
        faults.push(format!("of {accepted} accepted events {missing} did not arrive where all of them go"));
    }
    if *unfinished > 0 {
        faults.push(format!("{unfinished} deliveries were neither delivered nor failed nor cancelled in the end"));
    }
    if after.known + after.in_flight + after.waiting > 0.0 {
        let Sample { known, in_flight, waiting, .. } = after;
        faults.push(format!(
            "nothing waits any more, and the server still knows {known} deliveries, {in_flight} in flight, {waiting} for the disk"
        ));
    }
    if after.descriptors > before.descriptors + DESCRIPTORS_LEFT {
        let (before, after) = (before.descriptors, after.descriptors);
        faults.push(format!("{after} descriptors are open after the load, {before} were before it"));
    }
    faults
}
