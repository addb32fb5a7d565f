//! How much of the machine the whole life of an event takes: accepted, and the outcome of its one delivery recorded, every
//! commit fsynced. `cargo bench -p store` prints a line for each number of producers.
//!
//! `cargo bench -p store -- events=200000 producers=64 dir=/path/on/the/disk/to/measure`

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

mod shared;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::delivery::Next;
use domain::event::NewEvent;
use domain::store::Store as _;
use tokio::sync::mpsc::unbounded_channel;

use shared::{End, Served, changes, webhook};

/// What the command line asks for: `name=value` words.
struct Asked {
    events: usize,
    producers: Vec<usize>,
    dir: PathBuf,
}

fn asked() -> Asked {
    let mut asked = Asked { events: 200_000, producers: vec![1, 64, 512], dir: std::env::temp_dir() };
    for word in std::env::args().skip(1) {
        match word.split_once('=') {
            Some(("events", n)) => asked.events = n.parse().expect("a number of events"),
            Some(("producers", n)) => asked.producers = vec![n.parse().expect("a number of producers")],
            Some(("dir", dir)) => asked.dir = dir.into(),
            _ => {}
        }
    }
    asked
}

fn main() {
    let asked = asked();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for &producers in &asked.producers {
        let events = if producers == 1 { asked.events / 20 } else { asked.events };
        let dir = asked.dir.join(format!("posthaste-life-{}", std::process::id()));
        runtime.block_on(life(&dir, producers, events));
        std::fs::remove_dir_all(&dir).expect("the directory is ours");
    }
    let dir = asked.dir.join(format!("posthaste-life-{}", std::process::id()));
    runtime.block_on(calm(&dir));
    std::fs::remove_dir_all(&dir).expect("the directory is ours");
}

/// As many events as fast as `producers` can post them, one at a time each.
async fn life(dir: &Path, producers: usize, events: usize) {
    let served = open(dir).await;
    let store = &served.store;
    let (cpu, started) = (cpu_micros(), Instant::now());
    let data = data();
    served.produce(producers, events / producers, move |_| event(&data)).await;
    let events = events / producers * producers;
    let (elapsed, cpu) = (started.elapsed(), cpu_micros() - cpu);
    let commits = store.figures().commits.load(Ordering::Relaxed);
    println!(
        "{producers:>4} producers: {:>7.0} events/s, {:>5.1} CPU µs/event, {:>6.1} events/commit",
        events as f64 / elapsed.as_secs_f64(),
        cpu as f64 / events as f64,
        events as f64 / commits as f64
    );
    let log = std::fs::metadata(dir.join("posthaste.db-wal")).map_or(0, |metadata| metadata.len());
    store.stop();
    drop(served);
    let (file, started) = (std::fs::metadata(dir.join("posthaste.db")).map_or(0, |m| m.len()), Instant::now());
    let store = open(dir).await.store;
    let mib = |bytes: u64| bytes / (1 << 20);
    println!("       then: log {} MiB, file {} MiB, opened again in {:?}", mib(log), mib(file), started.elapsed());
    store.stop();
}

/// How long an acceptance takes at 200 events/s.
async fn calm(dir: &Path) {
    let store = open(dir).await.store;
    let data = data();
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let mut took = Vec::new();
    let (answer, mut answers) = unbounded_channel();
    for _ in 0..2_000 {
        ticks.tick().await;
        let (store, data, answer) = (Arc::clone(&store), data.clone(), answer.clone());
        tokio::spawn(async move {
            let started = Instant::now();
            let accepted = store.accept(vec![event(&data)]).await;
            assert!(accepted[0].is_ok(), "{accepted:?}");
            answer.send(started.elapsed()).expect("it is waited for");
        });
    }
    drop(answer);
    while let Some(one) = answers.recv().await {
        took.push(one);
    }
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1_000.0;
    println!(" 200 events/s: accept p50 {:.2} ms, p99 {:.2} ms, worst {:.2} ms", at(0.5), at(0.99), at(1.0));
    store.stop();
}

/// A store with one webhook, to which every delivery is delivered at once.
async fn open(dir: &Path) -> Served {
    let delivered = |_: &_| End { status: Some(200), code: None, next: Next::Delivered };
    Served::open(dir, true, [(webhook("wh_bench"), vec!["*".to_owned()])], delivered).await
}

fn event(data: &Bytes) -> NewEvent {
    shared::event("watchlist.domain_changed", data.clone())
}

/// 540 bytes, as the page's examples have them.
fn data() -> Bytes {
    format!(r#"{{"domain":"competitor.com","changes":[{}]}}"#, changes(6)).into()
}

/// CPU time of this process so far, in microseconds.
fn cpu_micros() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after = stat.rsplit_once(')').expect("the name is in parentheses").1;
    let ticks: u64 = after.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().expect("ticks")).sum();
    ticks * 10_000
}
