//! Many nodes on one database: what they deliver, what it costs, beside a queue that has a row and a commit for each delivery.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde::Serialize;
use store::postgres::Scratch;
use tokio::time::Instant;

use super::load::{self, Connection, flat_out};
use super::server::{Server, WIDE};
use super::{Failed, bare, bare_exchange, event, queue, request};

/// For how long the nodes may take to know each other's webhooks, and to share them out.
const PATIENCE: Duration = Duration::from_secs(60);
/// After so long without work the server has written down what it has counted.
const COUNTED_WITHIN: Duration = Duration::from_millis(1_500);

/// What so many nodes have done.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Nodes {
    /// How many nodes.
    pub(crate) nodes: usize,
    /// Deliveries per second that were accepted, sent, answered with 200 and recorded.
    pub(crate) per_second: f64,
    /// `per_second` ÷ the bare exchange.
    pub(crate) ratio: f64,
    /// `per_second` ÷ what the queue of rows delivered of the same load.
    pub(crate) beside_the_queue: f64,
    /// `per_second` ÷ what the queue of rows delivers at its best.
    pub(crate) beside_its_best: f64,
    /// Processor time of all nodes for an event, in microseconds.
    pub(crate) node_cpu_us: f64,
    /// Processor time of the server's processes for an event, in microseconds; `None` if it is on another machine.
    pub(crate) database_cpu_us: Option<f64>,
    /// Transactions that were committed for an event, those that only read among them.
    pub(crate) commits_per_event: f64,
    /// How often the server fsynced its log for an event.
    pub(crate) fsyncs_per_event: f64,
}

/// What one load has shown.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct OfLoad {
    /// Webhooks that each event goes to.
    pub(crate) fan_out: usize,
    /// Kept connections.
    pub(crate) connections: usize,
    /// A queue with a row for each delivery, claimed with `FOR UPDATE SKIP LOCKED`, one commit for each: deliveries per second of the same
    /// load, posted, sent and recorded.
    pub(crate) row_queue_per_second: f64,
    /// The same queue without requests in front of it, fed as fast as it delivers.
    pub(crate) row_queue_best_per_second: f64,
    /// Processor time of the server's processes for an event of the same load, in microseconds; `None` if it is on another machine.
    pub(crate) row_queue_database_cpu_us: Option<f64>,
    /// For each number of nodes.
    pub(crate) nodes: Vec<Nodes>,
}

/// Everything that one run has measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NodesReport {
    /// Processors that the run could use.
    pub(crate) cores: usize,
    /// Events in each request.
    pub(crate) batch: u64,
    /// Bare exchanges per second: the mean of before, between and after.
    pub(crate) bare_per_second: f64,
    /// For each load.
    pub(crate) loads: Vec<OfLoad>,
}

impl NodesReport {
    /// The report as lines of a table.
    pub(crate) fn lines(&self) -> Vec<String> {
        let events = if self.batch == 1 { "one event".to_owned() } else { format!("{} events", self.batch) };
        let mut lines = vec![
            format!("measured on this machine, in one run: {} cores, {events} in a request", self.cores),
            format!("bare HTTP exchange                                      {:>9.0}/s", self.bare_per_second),
        ];
        for load in &self.loads {
            lines.push(String::new());
            lines.extend(load.lines());
        }
        lines
    }
}

impl OfLoad {
    fn lines(&self) -> Vec<String> {
        let told = |us: Option<f64>| us.map_or_else(|| "not told".to_owned(), |us| format!("{us:.1} µs"));
        let webhooks = if self.fan_out == 1 { "one webhook".to_owned() } else { format!("{} webhooks", self.fan_out) };
        let mut lines = vec![
            format!("each event to {webhooks}, over {} connections", self.connections),
            format!(
                "a row and a commit for each, SKIP LOCKED, the same load {:>9.0}/s {:>39}",
                self.row_queue_per_second,
                told(self.row_queue_database_cpu_us)
            ),
            format!(
                "the same at its best: fed by itself, as it delivers     {:>9.0}/s",
                self.row_queue_best_per_second
            ),
            format!(
                "{:>5} {:>11} {:>6} {:>11} {:>8} {:>11} {:>12} {:>14} {:>13}",
                "nodes",
                "delivered",
                "ratio",
                "× the queue",
                "its best",
                "nodes' CPU",
                "database's",
                "commits/event",
                "fsyncs/event"
            ),
        ];
        for of in &self.nodes {
            let database = told(of.database_cpu_us);
            lines.push(format!(
                "{:>5} {:>9.0}/s {:>6.2} {:>11.1} {:>8.1} {:>8.1} µs {database:>12} {:>14.3} {:>13.4}",
                of.nodes,
                of.per_second,
                of.ratio,
                of.beside_the_queue,
                of.beside_its_best,
                of.node_cpu_us,
                of.commits_per_event,
                of.fsyncs_per_event
            ));
        }
        lines
    }
}

/// How to measure.
pub(crate) struct Plan<'a> {
    /// The address of a database whose user may make others beside it.
    pub(crate) database: &'a str,
    /// How many nodes, one measurement after the other.
    pub(crate) nodes: &'a [usize],
    /// How long events are posted in each.
    pub(crate) during: Duration,
    /// Kept connections of the load.
    pub(crate) connections: usize,
    /// How many webhooks each event goes to.
    pub(crate) fan_out: usize,
    /// How many events are in each request.
    pub(crate) batch: u64,
    /// Folder for the nodes' own files.
    pub(crate) folder: &'a Path,
    /// The events.
    pub(crate) samples: Arc<[(String, String)]>,
}

/// Measures each of the plans, which differ in their loads alone; `says` is told what is being done.
pub(crate) async fn run(plans: &[Plan<'_>], says: impl Fn(String)) -> Result<NodesReport, Failed> {
    let (mut bare, mut loads) = (Vec::new(), Vec::new());
    for plan in plans {
        says("bare exchange".to_owned());
        bare.push(bare_exchange(plan.connections, plan.during / 2, &plan.samples).await?);
        says("a queue of rows".to_owned());
        let best = queue::at_its_best(plan).await?;
        says("the same, with the load of the nodes".to_owned());
        let queue = queue::under_the_load(plan).await?;
        let mut nodes = Vec::new();
        for &number in plan.nodes {
            says(format!("{number} nodes"));
            let mut of = of_nodes(plan, number).await?;
            of.beside_the_queue = of.per_second / queue.per_second;
            of.beside_its_best = of.per_second / best;
            nodes.push(of);
        }
        loads.push(OfLoad {
            fan_out: plan.fan_out,
            connections: plan.connections,
            row_queue_per_second: queue.per_second,
            row_queue_best_per_second: best,
            row_queue_database_cpu_us: queue.database_cpu_us,
            nodes,
        });
    }
    if let Some(plan) = plans.last() {
        says("bare exchange".to_owned());
        bare.push(bare_exchange(plan.connections, plan.during / 2, &plan.samples).await?);
    }
    let bare_per_second = bare.iter().sum::<f64>() / bare.len() as f64;
    for of in loads.iter_mut().flat_map(|load| &mut load.nodes) {
        of.ratio = of.per_second / bare_per_second;
    }
    Ok(NodesReport {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        batch: plans.first().map_or(1, |plan| plan.batch),
        bare_per_second,
        loads,
    })
}

/// A receiver that counts.
pub(super) fn receiver() -> Result<(std::net::SocketAddr, Arc<AtomicU64>), Failed> {
    let arrived = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&arrived);
    let address = bare::serve(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
    })?;
    Ok((address, arrived))
}

/// What `number` nodes do on a database of their own.
async fn of_nodes(plan: &Plan<'_>, number: usize) -> Result<Nodes, Failed> {
    let scratch = Scratch::create(plan.database, &name("nodes")).await?;
    let (address, arrived) = receiver()?;
    let mut nodes = Vec::with_capacity(number);
    for n in 0..number {
        nodes.push(Server::start_on(scratch.url(), plan.folder.join(format!("node-{number}-{n}"))).await?);
    }
    for (n, (name, _)) in plan.samples.iter().enumerate() {
        for copy in 0..plan.fan_out {
            let url = format!("http://{address}/{n}/{copy}");
            nodes[0].webhook(&format!("bench {n}-{copy}"), name, &url, WIDE).await?;
        }
    }
    for node in &nodes {
        know(node, plan.samples.len() * plan.fan_out).await?;
    }
    warm_up(plan, &nodes, &arrived).await?;
    let counts = scratch.counts().await?;
    let (cpu, database_cpu) = (cpu_of(&nodes)?, database_cpu(&scratch).await?);
    let sent_before = arrived.load(Ordering::Relaxed);

    let mut connections = Vec::with_capacity(number);
    for (n, node) in nodes.iter().enumerate() {
        let share = (plan.connections / number + usize::from(n < plan.connections % number)).max(1);
        connections.push(load::open(&node.target, share).await?);
    }
    let start = Instant::now();
    let mut loads = Vec::with_capacity(number);
    for connections in connections {
        let (during, samples, batch) = (plan.during, Arc::clone(&plan.samples), plan.batch);
        // Each node is posted every type.
        loads.push(tokio::spawn(flat_out(connections, during, move |at| request(&samples, at, batch))));
    }
    let mut events = 0;
    for load in loads {
        events += load.await??.answered * plan.batch;
    }
    let deliveries = events * plan.fan_out as u64;
    arrive(&arrived, sent_before + deliveries).await?;
    let took = start.elapsed();

    let per_event = |spent: f64| spent / events.max(1) as f64;
    let node_cpu_us = per_event((cpu_of(&nodes)? - cpu).as_micros() as f64);
    let database_cpu_us = database_cpu_per_event(database_cpu, &scratch, events).await?;
    tokio::time::sleep(COUNTED_WITHIN).await;
    let after = scratch.counts().await?;
    for node in nodes {
        node.stop().await?;
    }
    scratch.drop().await?;
    Ok(Nodes {
        nodes: number,
        per_second: deliveries as f64 / took.as_secs_f64(),
        ratio: 0.0,
        beside_the_queue: 0.0,
        beside_its_best: 0.0,
        node_cpu_us,
        database_cpu_us,
        commits_per_event: per_event((after.commits - counts.commits) as f64),
        fsyncs_per_event: per_event((after.fsyncs - counts.fsyncs) as f64),
    })
}

/// Waits until a node knows all webhooks.
async fn know(node: &Server, webhooks: usize) -> Result<(), Failed> {
    let patience = Instant::now() + PATIENCE;
    let mut connection = Connection::open(&node.target).await?;
    loop {
        let path = "/v1/accounts/default/webhooks?limit=100";
        let (status, text) = connection.call(Method::GET, path, bytes::Bytes::new()).await?;
        let answer: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        if status == StatusCode::OK && answer["data"].as_array().is_some_and(|found| found.len() == webhooks) {
            return Ok(());
        }
        if Instant::now() > patience {
            return Err(Failed(format!("a node does not know the webhooks: {status} {answer}")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An event of each type through each node, until all have arrived.
async fn warm_up(plan: &Plan<'_>, nodes: &[Server], arrived: &AtomicU64) -> Result<(), Failed> {
    let mut sent = 0;
    for node in nodes {
        let mut connection = Connection::open(&node.target).await?;
        for n in 0..plan.samples.len() as u64 {
            let (status, text) = connection.post(event(&plan.samples, n)).await?;
            if !status.is_success() {
                return Err(Failed(format!("{status}: {}", String::from_utf8_lossy(&text))));
            }
            sent += plan.fan_out as u64;
        }
    }
    arrive(arrived, sent).await
}

/// Waits until so many have arrived, for as long as some do.
pub(super) async fn arrive(arrived: &AtomicU64, number: u64) -> Result<(), Failed> {
    let (mut seen, mut since) = (0, Instant::now());
    while seen < number {
        if since.elapsed() > PATIENCE {
            return Err(Failed(format!("of {number} deliveries {seen} arrived, and none in the last minute")));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        let now = arrived.load(Ordering::Relaxed);
        if now > seen {
            (seen, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// The processor time that all nodes have taken so far.
fn cpu_of(nodes: &[Server]) -> Result<Duration, Failed> {
    let mut sum = Duration::ZERO;
    for node in nodes {
        sum += cpu(node.process()?).ok_or_else(|| Failed("processor time is not told here".to_owned()))?;
    }
    Ok(sum)
}

/// The processor time that the server's processes have taken so far, if they are on this machine.
pub(super) async fn database_cpu(scratch: &Scratch) -> Result<Option<Duration>, Failed> {
    let mut sum = None;
    for process in scratch.processes().await? {
        let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
        if name.trim_end() == "postgres"
            && let Some(spent) = cpu(process)
        {
            sum = Some(sum.unwrap_or(Duration::ZERO) + spent);
        }
    }
    Ok(sum)
}

/// The processor time that the server's processes have taken for an event since they had taken `before`, in microseconds.
pub(super) async fn database_cpu_per_event(
    before: Option<Duration>,
    scratch: &Scratch,
    events: u64,
) -> Result<Option<f64>, Failed> {
    let after = database_cpu(scratch).await?;
    let spent = before.zip(after).map(|(before, after)| after.saturating_sub(before).as_micros() as f64);
    Ok(spent.map(|spent| spent / events.max(1) as f64))
}

/// The processor time of a process, its threads' included.
fn cpu(process: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before it may hold spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|field| field.parse().unwrap_or(0)).sum();
    // A tick is a hundredth of a second wherever Linux runs.
    Some(Duration::from_millis(ticks * 10))
}

pub(super) fn name(of: &str) -> String {
    format!("posthaste_bench_{}_{of}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read() {
        assert!(cpu(std::process::id()).is_some());
        assert_eq!(cpu(0), None);
    }
}
