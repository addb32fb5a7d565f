//! How much of the machine the whole life of an event takes: accepted, and the outcome of its one delivery recorded, every
//! commit fsynced. `cargo bench -p store` prints a line for each number of producers.
//!
//! `cargo bench -p store -- events=200000 producers=64 dir=/path/on/the/disk/to/measure`

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use domain::attempt::{Answer, Attempt, Reason, Timing};
use domain::audit::By;
use domain::delivery::{Next, Settlement};
use domain::directory::SharedDirectory;
use domain::endpoint_url::EndpointUrl;
use domain::event::NewEvent;
use domain::event_filter::EventFilter;
use domain::id::DeliveryId;
use domain::secret::SigningSecret;
use domain::shard::Epoch;
use domain::signature::SentRequest;
use domain::store::{Change, Fact, Store};
use domain::time::{Clock, Timestamp};
use domain::vault::Vault;
use domain::webhook::Webhook;
use store::sqlite::{Limits, Retention, Settings, SqliteStore};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

struct Machine;

impl Clock for Machine {
    #[expect(clippy::disallowed_methods, reason = "a bench measures the machine")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

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
async fn life(dir: &std::path::Path, producers: usize, events: usize) {
    let (store, settled) = open(dir).await;
    let (cpu, started) = (cpu_micros(), Instant::now());
    let data = data();
    let tasks: Vec<_> = (0..producers)
        .map(|_| {
            let (store, data) = (Arc::clone(&store), data.clone());
            tokio::spawn(async move {
                for _ in 0..events / producers {
                    let accepted = store.accept(vec![event(&data)]).await;
                    assert!(accepted[0].is_ok(), "{accepted:?}");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a producer does not panic");
    }
    let events = events / producers * producers;
    while settled.load(Ordering::Relaxed) < events {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
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
    drop(store);
    let (file, started) = (std::fs::metadata(dir.join("posthaste.db")).map_or(0, |m| m.len()), Instant::now());
    let (store, _settled) = open(dir).await;
    let mib = |bytes: u64| bytes / (1 << 20);
    println!("       then: log {} MiB, file {} MiB, opened again in {:?}", mib(log), mib(file), started.elapsed());
    store.stop();
}

/// How long an acceptance takes at 200 events/s.
async fn calm(dir: &std::path::Path) {
    let (store, _settled) = open(dir).await;
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

/// A store with one webhook, and a dispatcher that has every delivery delivered at once; the count of those recorded.
async fn open(dir: &std::path::Path) -> (Arc<SqliteStore>, Arc<AtomicUsize>) {
    let directory = SharedDirectory::default();
    let (facts, told) = unbounded_channel();
    let settings = Settings {
        dir,
        vault: Vault::new(&[7; 32]),
        directory: directory.clone(),
        clock: Arc::new(Machine),
        chance: Box::new(|bytes| bytes.fill(3)),
        retention: Retention::default(),
        limits: Limits::default(),
        facts: Box::new(move |more| {
            // The bench has ended: nobody has to be told.
            let _ = facts.send(more);
        }),
        fatal: Box::new(|why| panic!("{why}")),
    };
    let (store, _) = SqliteStore::open(settings).expect("it opens");
    let store = Arc::new(store);
    let account = directory.read().accounts().next().expect("there is one").clone();
    let url = Arc::new(EndpointUrl::stored("https://hooks.example.com/in").expect("a URL"));
    let (events, secret) = (EventFilter::stored(vec!["*".to_owned()]), SigningSecret::from_bytes(&[1; 32]));
    let webhook = Webhook::new(&account, "wh_bench".parse().expect("an id"), url, events, secret, Timestamp(0));
    if !directory.read().has_webhook(&webhook.id) {
        store.change(Change::PutWebhook(Box::new(webhook)), By::us(), None).await.expect("a new webhook");
    }
    let settled = Arc::<AtomicUsize>::default();
    tokio::spawn(dispatch(Arc::clone(&store), told, Arc::clone(&settled)));
    (store, settled)
}

async fn dispatch(store: Arc<SqliteStore>, mut told: UnboundedReceiver<Vec<Fact>>, settled: Arc<AtomicUsize>) {
    let mut facts = Vec::new();
    while told.recv_many(&mut facts, 1_024).await > 0 {
        let settlements: Vec<_> = facts.drain(..).flatten().filter_map(|fact| settlement(&fact)).collect();
        let number = settlements.len();
        if number > 0 && store.settle(settlements).await.is_err() {
            return;
        }
        settled.fetch_add(number, Ordering::Relaxed);
    }
}

fn settlement(fact: &Fact) -> Option<Settlement> {
    let Fact::Accepted { event, .. } = fact else { return None };
    let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    let attempt = Attempt {
        number: 1,
        reason: Reason::First,
        started_at: event.timestamp,
        duration: Duration::from_micros(1_234),
        timing: Timing { first_byte: Some(Duration::from_micros(900)), ..Timing::default() },
        request: SentRequest {
            url: "https://hooks.example.com/in".to_owned(),
            prefix: "X-CronDB".to_owned(),
            user_agent: "CronDB-Webhooks/0.1.0".to_owned(),
            signed_at: event.timestamp.seconds(),
            signature: [5; 32],
            standard: vec![[6; 32]],
            ed25519: Vec::new(),
            custom: Vec::new(),
        },
        answer: Some(Answer {
            status: 200,
            headers: vec![
                header("date", "Wed, 18 Mar 2026 14:30:00 GMT"),
                header("content-type", "application/json"),
                header("content-length", "16"),
                header("server", "nginx"),
            ],
            body: br#"{"status": "ok"}"#.to_vec(),
            truncated: false,
        }),
        failure: None,
        remote_address: Some(([127, 0, 0, 1], 443).into()),
    };
    let delivery = DeliveryId { event: event.id, place: 0 };
    Some(Settlement {
        delivery,
        webhook: event.targets[0],
        attempt: Some(attempt),
        next: Next::Delivered,
        epoch: Epoch::SOLE,
    })
}

fn event(data: &bytes::Bytes) -> NewEvent {
    NewEvent {
        account: 1,
        event_type: Arc::from("watchlist.domain_changed"),
        data: data.clone(),
        test_for: None,
        flagged: false,
        trace: None,
        idempotency: None,
    }
}

/// 540 bytes, as the page's examples have them.
fn data() -> bytes::Bytes {
    let member = r#""field":"tech_stack","action":"added","value":"Stripe","previous_value":null"#;
    let text = format!(r#"{{"domain":"competitor.com","changes":[{}]}}"#, vec![format!("{{{member}}}"); 6].join(","));
    text.into()
}

/// CPU time of this process so far, in microseconds.
fn cpu_micros() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after = stat.rsplit_once(')').expect("the name is in parentheses").1;
    let ticks: u64 = after.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().expect("ticks")).sum();
    ticks * 10_000
}
