//! `posthaste bench burst`: ten times of what can be sustained, and what becomes of each request.
//!
//! Twice: over an account's quota, one event a request; and over what the machine can do, with batches, since a load
//! generator on the same cores cannot make ten times as many requests as the server answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use hyper::StatusCode;
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::load::Connection;
use super::server::Server;
use super::{Failed, event, samples};
use crate::output::Console;

/// How much more than can be sustained a burst asks for.
const TIMES: u64 = 10;
/// Connections of the load at most.
const CONNECTIONS: usize = 512;
/// How long an answer may take; later ones count as none.
const PATIENCE: Duration = Duration::from_secs(30);

/// How to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Seconds of each burst
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Events per second that an account may post, in the first burst
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    quota: u32,
    /// Events of a batch, in the second burst
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    batch: u32,
    /// Folder for the measured stores; removed afterwards
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// What became of a burst.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Burst {
    /// Events per second that can be sustained: the quota, or what was measured just before.
    sustained_per_second: u64,
    /// Events per second that were asked for.
    offered_per_second: u64,
    /// Requests that were sent.
    requests: u64,
    /// Requests that got a 2xx.
    taken: u64,
    /// Requests that got 429 or 503, each with `Retry-After`.
    refused: u64,
    /// Requests that got another status, a refusal without `Retry-After`, a reset, or nothing within 30 s.
    lost: u64,
    /// Events that got a 2xx, in a batch each by itself.
    accepted: u64,
    /// Events that the store holds afterwards, in a process of its own, every checksum compared.
    kept: u64,
    /// The longest that an answer took, in milliseconds.
    slowest_ms: u64,
    /// The most memory that the server had resident, in MiB.
    peak_mib: u64,
}

/// Both bursts.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Bursts {
    over_a_quota: Burst,
    over_the_machine: Burst,
}

impl Bursts {
    /// Whether each request was answered as it should, and each accepted event was kept.
    pub(crate) fn is_right(&self) -> bool {
        [self.over_a_quota, self.over_the_machine].iter().all(|burst| burst.lost == 0 && burst.kept == burst.accepted)
    }

    pub(crate) fn print(&self, console: &Console) {
        for (name, burst) in [("over a quota", self.over_a_quota), ("over the machine", self.over_the_machine)] {
            console.line(&format!(
                "{name}: {} events/s offered, {} sustained. {} requests: {} taken, {} refused with Retry-After, {} lost. \
                 {} events accepted, {} kept. Slowest answer {} ms, at most {} MiB resident.",
                burst.offered_per_second,
                burst.sustained_per_second,
                burst.requests,
                burst.taken,
                burst.refused,
                burst.lost,
                burst.accepted,
                burst.kept,
                burst.slowest_ms,
                burst.peak_mib
            ));
        }
    }
}

/// Runs both bursts.
pub(crate) async fn run(options: &Options) -> Result<Bursts, Failed> {
    let scratch = options.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let folder = scratch.join(format!("posthaste-burst-{}", std::process::id()));
    let during = Duration::from_secs(options.seconds);
    let quota = options.quota.to_string();
    let server = Server::start_with(folder.join("quota"), &["--events-per-second", &quota]).await?;
    let load = Load { batch: None, during };
    let over_a_quota = load.burst(server, u64::from(options.quota), 0).await?;
    let server = Server::start_with(folder.join("machine"), &[]).await?;
    let load = Load { batch: Some(u64::from(options.batch)), during };
    let (sustained, already) = load.sustained(&server).await?;
    let over_the_machine = load.burst(server, sustained, already).await?;
    // Empty by now; another run may use the folder above it.
    let _ = std::fs::remove_dir_all(&folder);
    Ok(Bursts { over_a_quota, over_the_machine })
}

/// What is posted.
#[derive(Debug, Clone, Copy)]
struct Load {
    /// How many events a request has; `None` for one that is no batch.
    batch: Option<u64>,
    during: Duration,
}

/// What became of one request.
enum End {
    /// A 2xx: so many events of it were accepted.
    Taken(u64),
    Refused,
    Lost(String),
}

impl Load {
    fn body(self, n: u64, samples: &[(String, String)]) -> Bytes {
        let Some(number) = self.batch else { return event(samples, n) };
        let mut body = BytesMut::from(&b"["[..]);
        for place in 0..number {
            if place > 0 {
                body.put_u8(b',');
            }
            body.put(event(samples, n * number + place));
        }
        body.put_u8(b']');
        body.freeze()
    }

    /// Events per second that a few connections get accepted, each posting as fast as it is answered; and how many these
    /// were. Refusals wait.
    async fn sustained(self, server: &Server) -> Result<(u64, u64), Failed> {
        let (samples, accepted) = (samples(usize::MAX), Arc::new(AtomicU64::new(0)));
        let until = Instant::now() + self.during.min(Duration::from_secs(3));
        let start = Instant::now();
        let mut tasks = Vec::new();
        for lane in 0..4u64 {
            let mut connection = Connection::open(&server.target).await?;
            let (samples, accepted) = (Arc::clone(&samples), Arc::clone(&accepted));
            tasks.push(tokio::spawn(async move {
                while Instant::now() < until {
                    match self.post(&mut connection, self.body(lane, &samples)).await {
                        End::Taken(number) => {
                            accepted.fetch_add(number, Ordering::Relaxed);
                        }
                        End::Refused => tokio::time::sleep(Duration::from_millis(20)).await,
                        End::Lost(why) => return Err(Failed(why)),
                    }
                }
                Ok(())
            }));
        }
        for task in tasks {
            task.await??;
        }
        let accepted = accepted.load(Ordering::Relaxed);
        Ok(((accepted as f64 / start.elapsed().as_secs_f64()) as u64 + 1, accepted))
    }

    async fn post(self, connection: &mut Connection, body: Bytes) -> End {
        match tokio::time::timeout(PATIENCE, connection.post_whole(body)).await {
            Err(_) => End::Lost("no answer within 30 s".to_owned()),
            Ok(Err(Failed(why))) => End::Lost(why),
            Ok(Ok(answer)) if answer.status == StatusCode::OK => {
                let taken = answer.body.windows(TAKEN.len()).filter(|window| *window == TAKEN).count();
                End::Taken(taken as u64)
            }
            Ok(Ok(answer)) if answer.status.is_success() => End::Taken(1),
            Ok(Ok(answer)) if REFUSALS.contains(&answer.status) && answer.retry_after() => End::Refused,
            Ok(Ok(answer)) => End::Lost(format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body))),
        }
    }

    /// Ten times `sustained`, on time whatever the answers take, over as many connections as that needs. The store holds
    /// `already` so many events.
    async fn burst(self, server: Server, sustained: u64, already: u64) -> Result<Burst, Failed> {
        let offered = sustained * TIMES;
        let requests_per_second = (offered / self.batch.unwrap_or(1)).max(1);
        let total = requests_per_second * self.during.as_secs();
        let samples = samples(usize::MAX);
        let (back, mut returned) = unbounded_channel();
        let (mut idle, mut open) = (Vec::new(), 0);
        let mut burst = Burst { sustained_per_second: sustained, offered_per_second: offered, ..Burst::default() };
        let start = Instant::now();
        for n in 0..total {
            tokio::time::sleep_until(start + Duration::from_micros(n * 1_000_000 / requests_per_second)).await;
            // A generator that is late by as much again has asked for what it could.
            if start.elapsed() > self.during * 2 {
                break;
            }
            while let Ok(ended) = returned.try_recv() {
                burst.count(ended, &mut idle, &mut open);
            }
            if idle.is_empty() && open >= CONNECTIONS {
                let Some(ended) = returned.recv().await else { break };
                burst.count(ended, &mut idle, &mut open);
            }
            let connection = match idle.pop() {
                Some(connection) => connection,
                None => {
                    open += 1;
                    Connection::open(&server.target).await?
                }
            };
            burst.requests += 1;
            tokio::spawn(self.send(connection, self.body(n, &samples), back.clone()));
        }
        let asked = start.elapsed().as_secs_f64().max(self.during.as_secs_f64());
        burst.offered_per_second = (burst.requests as f64 * self.batch.unwrap_or(1) as f64 / asked) as u64;
        drop(back);
        while let Some(ended) = returned.recv().await {
            burst.count(ended, &mut idle, &mut open);
        }
        burst.peak_mib = server.peak_mib()?;
        burst.kept = server.kill_and_count().await?.saturating_sub(already);
        Ok(burst)
    }

    async fn send(self, mut connection: Connection, body: Bytes, back: UnboundedSender<Ended>) {
        let start = Instant::now();
        let end = self.post(&mut connection, body).await;
        // The other end waits for every answer.
        let _ = back.send(Ended { end, took: start.elapsed(), connection });
    }
}

/// How an accepted event of a batch begins.
const TAKEN: &[u8] = br#""status":202"#;
const REFUSALS: [StatusCode; 2] = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];

struct Ended {
    end: End,
    took: Duration,
    connection: Connection,
}

impl Burst {
    fn count(&mut self, ended: Ended, idle: &mut Vec<Connection>, open: &mut usize) {
        let Ended { end, took, connection } = ended;
        self.slowest_ms = self.slowest_ms.max(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        match end {
            End::Taken(number) => {
                self.taken += 1;
                self.accepted += number;
            }
            End::Refused => self.refused += 1,
            End::Lost(why) => {
                self.lost += 1;
                tracing::warn!(why, "a request was lost");
            }
        }
        if connection.is_open() {
            idle.push(connection);
        } else {
            *open -= 1;
        }
    }
}
