//! The log at its size: how long a first page takes beside the look-up of one delivery, and what is left of an empty
//! store's throughput. `cargo bench -p store --bench log` prints both, and the ratios.
//!
//! `cargo bench -p store --bench log -- events=10000000 measured=200000 dir=/path/on/the/disk/to/measure`
//!
//! `members=0` makes the events small, for a small disk. `keep=DIR` fills that directory and leaves it, or measures the one
//! that an earlier run left; `posthaste serve --data DIR` serves it. `cargo test` runs a small size, which says nothing
//! about speed, but that all of this works.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

mod shared;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use domain::attempt::{ErrorCode, Reason};
use domain::delivery::Next;
use domain::event::{Event, NewEvent};
use domain::filter::DeliveryFilter;
use domain::id::DeliveryId;
use domain::store::{DeliveryQuery, Store as _};
use domain::time::Clock as _;
use store::sqlite::SqliteStore;

use shared::{End, Machine, Served, changes, webhook};

/// Webhooks, each for two of the types.
const WEBHOOKS: u64 = 8;
const TYPES: u64 = 16;
/// One in so many events is of the rare type, holds the rare word, or is answered in the rare way.
const RARE: u64 = 100_000;
/// For how long the first page of a list looks, as the API has it.
const PATIENCE: Duration = Duration::from_millis(1);
const PRODUCERS: usize = 64;
/// [`shared::KEY`] as `posthaste serve` looks for it beside the stores.
const KEY_TEXT: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";

/// What the command line asks for: `name=value` words.
struct Asked {
    events: u64,
    measured: u64,
    rounds: usize,
    members: usize,
    dir: PathBuf,
    keep: Option<PathBuf>,
}

fn asked() -> Asked {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let dir = std::env::temp_dir();
    let mut asked = if words.iter().any(|word| word == "--bench") {
        Asked { events: 100_000, measured: 20_000, rounds: 5, members: 6, dir, keep: None }
    } else {
        Asked { events: 20_000, measured: 640, rounds: 1, members: 6, dir, keep: None }
    };
    for word in words {
        match word.split_once('=') {
            Some(("events", n)) => asked.events = n.parse().expect("a number of events"),
            Some(("measured", n)) => asked.measured = n.parse().expect("a number of events"),
            Some(("rounds", n)) => asked.rounds = n.parse().expect("a number of rounds"),
            Some(("members", n)) => asked.members = n.parse().expect("a number of members"),
            Some(("dir", dir)) => asked.dir = dir.into(),
            Some(("keep", dir)) => asked.keep = Some(dir.into()),
            _ => {}
        }
    }
    asked
}

fn main() {
    let asked = asked();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let dir = asked.dir.join(format!("posthaste-log-{}", std::process::id()));
    let full = asked.keep.clone().unwrap_or_else(|| dir.join("full"));
    let started = Instant::now();
    if !full.join("posthaste.db").exists() {
        runtime.block_on(fill(&full, asked.events, asked.members));
        std::fs::write(full.join("encryption.key"), KEY_TEXT).expect("it is written");
        println!("filled with {} events, each with a delivery, in {:.0?}", asked.events, started.elapsed());
    }
    println!("{} MiB", std::fs::metadata(full.join("posthaste.db")).map_or(0, |file| file.len()) >> 20);
    runtime.block_on(lists(&full));
    // Machines are noisy: empty and full take turns, and the medians count.
    let (mut of_empty, mut of_full) = (Vec::new(), Vec::new());
    for round in 0..asked.rounds {
        let empty = dir.join("empty");
        let first_full = round % 2 == 1;
        for is_full in [first_full, !first_full] {
            let (at, rates) = if is_full { (&full, &mut of_full) } else { (&empty, &mut of_empty) };
            rates.push(runtime.block_on(throughput(at, asked.measured, asked.members)));
        }
        let last = |rates: &[f64]| rates.last().copied().unwrap_or_default();
        println!("throughput: empty {:.0} events/s, full {:.0} events/s", last(&of_empty), last(&of_full));
        std::fs::remove_dir_all(&empty).expect("the directory is ours");
    }
    let ratios = of_full.iter().zip(&of_empty).map(|(full, empty)| full / empty).collect();
    let (empty, full) = (middle(of_empty), middle(of_full));
    println!("throughput, medians: empty {empty:.0} events/s, full {full:.0} events/s");
    println!("ratio: {:.2} of the medians, {:.2} the median of the rounds", full / empty, middle(ratios));
    std::fs::remove_dir_all(&dir).expect("the directory is ours");
}

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// A number that looks like chance, from one that does not.
const fn chance(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n ^ (n >> 32)
}

/// Events per second from the first acceptance to the last outcome recorded, every commit fsynced.
async fn throughput(dir: &Path, events: u64, members: usize) -> f64 {
    let served = serve(dir, true).await;
    let started = Instant::now();
    let each = events as usize / PRODUCERS;
    served.produce(PRODUCERS, each, move |n| event(n as u64, members)).await;
    let rate = (each * PRODUCERS) as f64 / started.elapsed().as_secs_f64();
    served.store.stop();
    rate
}

/// Fills the store as fast as it goes, without waiting for the disk.
async fn fill(dir: &Path, events: u64, members: usize) {
    let served = serve(dir, false).await;
    let mut n = 0;
    while n < events {
        let batch: Vec<_> = (n..events.min(n + 2_000)).map(|n| event(n, members)).collect();
        n += batch.len() as u64;
        let accepted = served.store.accept(batch).await;
        assert!(accepted.iter().all(Result::is_ok));
        served.settled(n as usize, 20_000).await;
    }
    served.settled(n as usize, 0).await;
    served.store.stop();
}

/// How long first pages take, beside the look-up of one delivery.
async fn lists(dir: &Path) {
    let store = serve(dir, true).await.store;
    let ids = some_ids(&store).await;
    let mut took = Vec::new();
    for id in ids.iter().cycle().take(2_000) {
        let started = Instant::now();
        let found = store.delivery(1, *id, Machine.now()).await.expect("it is read");
        let event = store.event(1, id.event).await.expect("it is read");
        assert!(found.is_some() && event.is_some());
        took.push(started.elapsed());
    }
    let point = median(took);
    println!("look-up of a delivery with its event: {:.0} µs", micros(point));
    let old = ids.iter().min().expect("there are some").event;
    for line in [
        "",
        "status=failed",
        "status=failed event=alert.type_3 code=5xx since=30d",
        "webhook=wh_5 status=failed code=503",
        "webhook=wh_1 event=alert.type_1 status=delivered",
        "event=alert.type_rare",
        "event=alert.type_rare status=failed",
        "code=418",
        "error=tls_expired",
        "code=204 webhook=wh_2",
        "status=delivered until=1s",
        "status=pending",
        "q=common",
        "status=failed event=alert.* q=common",
        "q=needle",
        "status=failed q=needle",
        "q=nowhere-to-be-found",
        &format!("q={old}"),
    ] {
        let mut took = Vec::new();
        let mut said = String::new();
        for _ in 0..20 {
            let now = Machine.now();
            let filter = DeliveryFilter::parse_line(line, now).expect("a filter");
            let webhook = filter.webhook.as_ref().and_then(|id| id.as_str()[3..].parse().ok());
            let query = DeliveryQuery { webhook, limit: 25, patience: PATIENCE, ..DeliveryQuery::new(1, filter, now) };
            let started = Instant::now();
            let page = store.deliveries(query).await.expect("it is listed");
            took.push(started.elapsed());
            let early = if page.searched_until.is_some() { ", as far as it looked" } else { "" };
            said = format!("{} rows{early}", page.rows.len());
        }
        let first = median(took);
        let ratio = first.as_secs_f64() / point.as_secs_f64();
        println!("{:>8.0} µs {ratio:>6.1} × {said:<28} {line}", micros(first));
    }
    store.stop();
}

/// Ids of deliveries from all over the log.
async fn some_ids(store: &SqliteStore) -> Vec<DeliveryId> {
    let mut query = DeliveryQuery { limit: 1, ..DeliveryQuery::new(1, DeliveryFilter::default(), Machine.now()) };
    let newest = store.deliveries(query.clone()).await.expect("it is listed").rows[0].id.event.0;
    let mut ids = Vec::new();
    let mut below = newest;
    while ids.len() < 500 {
        query.before = Some(DeliveryId { event: domain::id::EventId(below), place: 0 });
        let page = store.deliveries(query.clone()).await.expect("it is listed");
        let Some(found) = page.rows.first() else { break };
        ids.push(found.id);
        // Half a second of events earlier, which is some thousands.
        below = found.id.event.0.saturating_sub((100_000 + chance(below) % 400_000) << 11);
    }
    ids
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() / 2]
}

fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}

/// A store with its webhooks.
async fn serve(dir: &Path, durable: bool) -> Served {
    let webhooks = (0..WEBHOOKS).map(|n| {
        let mut types: Vec<_> =
            (0..TYPES).filter(|of| of % WEBHOOKS == n).map(|of| format!("alert.type_{of}")).collect();
        if n == 0 {
            types.push("alert.type_rare".to_owned());
        }
        (webhook(&format!("wh_{}", n + 1)), types)
    });
    Served::open(dir, durable, webhooks, end).await
}

fn event(n: u64, members: usize) -> NewEvent {
    let dice = chance(n);
    let event_type = if dice.is_multiple_of(RARE) { "rare".to_owned() } else { (dice % TYPES).to_string() };
    let word = if (dice >> 20).is_multiple_of(RARE) { "needle" } else { "common" };
    let data = format!(r#"{{"domain":"site{n}.example","note":"{word}","changes":[{}]}}"#, changes(members));
    shared::event(&format!("alert.type_{event_type}"), data.into())
}

/// Of a hundred deliveries 95 are delivered, two wait for a retry, and three have failed.
fn end(event: &Event) -> End {
    let dice = chance(event.id.0);
    let (status, next) = match dice % 100 {
        0 | 1 => {
            let due_at = event.timestamp.plus(Duration::from_secs(365 * 86_400));
            (Some(500), Next::Retry { due_at, retries_made: 1, reason: Reason::Retry })
        }
        2 => (Some([400, 404, 410, 429, 503][(dice >> 8) as usize % 5]), Next::Failed),
        3 => (Some(503), Next::Failed),
        4 => (None, Next::Failed),
        5 => (Some(204), Next::Delivered),
        _ if (dice >> 20).is_multiple_of(RARE) => (Some(418), Next::Failed),
        _ => (Some(200), Next::Delivered),
    };
    let code = match status {
        None if (dice >> 8).is_multiple_of(RARE / 100) => Some(ErrorCode::TlsExpired),
        None => Some(ErrorCode::ResponseTimeout),
        Some(200..300) => None,
        Some(400..500) => Some(ErrorCode::Http4xx),
        Some(_) => Some(ErrorCode::Http5xx),
    };
    End { status, code, next }
}
