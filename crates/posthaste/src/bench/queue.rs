//! What the nodes are held against: a queue in the same database with a row for each delivery, claimed with `FOR UPDATE SKIP LOCKED`,
//! and a commit for each.
//!
//! It is no whole webhook service: its events are neither checked nor signed, and of an attempt only the status is kept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use store::postgres::{RowQueue, Scratch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::load::{self, Connection, Target, flat_out};
use super::nodes::{Plan, arrive, database_cpu, database_cpu_per_event, name, receiver};
use super::{Failed, bare, event, request};

/// Connections that put jobs into the queue, and as many again that claim them.
const CONNECTIONS: usize = 32;
/// At its best it has so many jobs at most: with more, it would spend on those that wait what it could deliver with.
const QUEUED_MAX: u64 = 100;
/// How long a worker that has found no job waits.
const NOTHING_FOR: Duration = Duration::from_millis(2);

/// What it came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queue {
    /// Deliveries per second that were accepted, sent, answered with 200 and recorded.
    pub(super) per_second: f64,
    /// Processor time of the server's processes for an event, in microseconds; `None` if it is on another machine.
    pub(super) database_cpu_us: Option<f64>,
}

/// Deliveries per second while jobs are put into it without a request, as fast as they are done.
pub(super) async fn at_its_best(plan: &Plan<'_>) -> Result<f64, Failed> {
    let scratch = Scratch::create(plan.database, &name("queue")).await?;
    let links = open(&scratch).await?;
    let (address, arrived) = receiver()?;
    let mut workers = workers(&scratch, address).await?;
    let (pushed, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut producers = JoinSet::new();
    let start = Instant::now();
    for link in links {
        let (pushed, over, samples) = (Arc::clone(&pushed), Arc::clone(&over), Arc::clone(&plan.samples));
        let (arrived, fan_out) = (Arc::clone(&arrived), plan.fan_out);
        producers.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                if pushed.load(Ordering::Relaxed) >= arrived.load(Ordering::Relaxed) + QUEUED_MAX {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
                let n = pushed.fetch_add(fan_out as u64, Ordering::Relaxed);
                link.push(&vec![&event(&samples, n)[..]; fan_out]).await?;
            }
            Ok::<(), Failed>(())
        });
    }
    tokio::time::sleep(plan.during).await;
    let delivered = arrived.load(Ordering::Relaxed);
    let took = start.elapsed();
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = producers.join_next().await {
        ended??;
    }
    // What they have put in last is not waited for.
    workers.shutdown().await;
    scratch.drop().await?;
    Ok(delivered as f64 / took.as_secs_f64())
}

/// What it does with the load of the nodes: posted as fast as it is answered, each answer after the commit of the event's row, and measured
/// until the last of them is recorded.
pub(super) async fn under_the_load(plan: &Plan<'_>) -> Result<Queue, Failed> {
    let scratch = Scratch::create(plan.database, &name("load")).await?;
    let door = door(open(&scratch).await?, plan)?;
    let (address, arrived) = receiver()?;
    let mut workers = workers(&scratch, address).await?;
    let cpu = database_cpu(&scratch).await?;
    let (target, samples, batch) =
        (Target { address: door, path: "/", key: None }, Arc::clone(&plan.samples), plan.batch);
    let connections = load::open(&target, plan.connections).await?;
    let start = Instant::now();
    let load = flat_out(connections, plan.during, move |n| request(&samples, n, batch)).await?;
    let events = load.answered * plan.batch;
    let deliveries = events * plan.fan_out as u64;
    arrive(&arrived, deliveries).await?;
    let took = start.elapsed();
    let database_cpu_us = database_cpu_per_event(cpu, &scratch, events).await?;
    workers.shutdown().await;
    scratch.drop().await?;
    Ok(Queue { per_second: deliveries as f64 / took.as_secs_f64(), database_cpu_us })
}

/// Makes the queue, and connections that put jobs into it.
async fn open(scratch: &Scratch) -> Result<Vec<RowQueue>, Failed> {
    RowQueue::create(scratch.url()).await?;
    let mut links = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        links.push(RowQueue::open(scratch.url()).await?);
    }
    Ok(links)
}

/// Takes events by requests, and answers each once its jobs are committed.
fn door(links: Vec<RowQueue>, plan: &Plan<'_>) -> Result<SocketAddr, Failed> {
    let (links, next) = (Arc::new(links), Arc::new(AtomicUsize::new(0)));
    let (fan_out, batched) = (plan.fan_out, plan.batch > 1);
    Ok(bare::serve_with(move |_, body: Bytes| {
        let (links, n) = (Arc::clone(&links), next.fetch_add(1, Ordering::Relaxed));
        async move {
            let events = if batched { items(&body) } else { vec![&body[..]] };
            let jobs: Vec<_> = events.iter().flat_map(|event| std::iter::repeat_n(*event, fan_out)).collect();
            match links[n % links.len()].push(&jobs).await {
                Ok(()) => StatusCode::ACCEPTED,
                Err(_) => StatusCode::SERVICE_UNAVAILABLE,
            }
        }
    })?)
}

/// What a list holds.
fn items(list: &[u8]) -> Vec<&[u8]> {
    let items: Vec<&serde_json::value::RawValue> = serde_json::from_slice(list).unwrap_or_default();
    items.into_iter().map(|item| item.get().as_bytes()).collect()
}

/// Claims jobs, sends them and records what has become of them, until it is dropped.
async fn workers(scratch: &Scratch, address: SocketAddr) -> Result<JoinSet<Result<(), Failed>>, Failed> {
    let mut workers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let queue = RowQueue::open(scratch.url()).await?;
        let target = Target { address, path: "/", key: None };
        workers.spawn(async move {
            let mut connection = Connection::open(&target).await?;
            loop {
                match queue.claim().await? {
                    Some(job) => {
                        let (status, _) = connection.post(job.body.clone()).await?;
                        queue.done(&job, status.as_u16()).await?;
                    }
                    None => tokio::time::sleep(NOTHING_FOR).await,
                }
            }
        });
    }
    Ok(workers)
}
