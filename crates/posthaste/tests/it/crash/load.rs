//! The platform's side: posts events from several workers at once, and posts again what was not answered.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ledger::Ledger;
use crate::api::Api;
use crate::server::Server;

/// Posts at once.
const WORKERS: usize = 12;
/// Before a post that came too early is tried again.
const LATER: Duration = Duration::from_millis(50);
/// For the events of a round to be acknowledged.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// The types that are posted, in turn; each takes any object.
pub(super) const TYPES: [&str; 5] = [
    "alert.rule_created",
    "watchlist.domain_added",
    "sequence.email_sent",
    "enrichment.completed",
    "alert.rule_deleted",
];

/// What is posted, over all rounds.
pub(super) struct Load {
    ledger: Arc<Ledger>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The number of the next event.
    next: AtomicUsize,
    /// Numbers of events whose post got no answer.
    unanswered: Mutex<Vec<usize>>,
}

impl Shared {
    /// What to post next: first what was not answered.
    fn next(&self) -> usize {
        let again = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).pop();
        again.unwrap_or_else(|| self.next.fetch_add(1, Ordering::SeqCst))
    }

    /// Event `number` is to be posted again.
    fn again(&self, number: usize) {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).push(number);
    }
}

impl Load {
    pub(super) fn new(ledger: &Arc<Ledger>) -> Self {
        Self { ledger: Arc::clone(ledger), shared: Arc::default() }
    }

    /// Posts until `least` events of this round are acknowledged, a little longer, and on while the server is killed.
    pub(super) async fn until_killed(&self, server: Server, least: usize, later: Duration) {
        let stop = Arc::new(AtomicBool::new(false));
        let (acknowledged, mut count) = watch::channel(0_usize);
        let acknowledged = Arc::new(acknowledged);
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS {
            let (api, ledger, shared) = (server.api.clone(), Arc::clone(&self.ledger), Arc::clone(&self.shared));
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            workers.spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let number = shared.next();
                    match post(&api, &ledger, number).await {
                        Posted::Acknowledged => acknowledged.send_modify(|count| *count += 1),
                        Posted::Later => {
                            shared.again(number);
                            tokio::time::sleep(LATER).await;
                        }
                        Posted::Unanswered => return shared.again(number),
                    }
                }
            });
        }
        // What it gives holds the count's lock: it must not outlive this line.
        let enough = tokio::time::timeout(ROUND_MAX, count.wait_for(|count| *count >= least)).await.is_ok();
        assert!(enough, "not enough events in a round; the server said:\n{}", server.said());
        tokio::time::sleep(later).await;
        let latest = server.api.get("/v1/accounts/default/deliveries?status=delivered&limit=100").await.expect(200);
        server.kill();
        self.ledger
            .killed(latest["data"].as_array().expect("rows").iter().map(|row| row["id"].as_str().expect("text")));
        stop.store(true, Ordering::SeqCst);
        workers.join_all().await;
    }

    /// Posts what is still without an answer.
    pub(super) async fn repeat_unanswered(&self, api: &Api) {
        let numbers = std::mem::take(&mut *self.shared.unanswered.lock().unwrap_or_else(PoisonError::into_inner));
        for number in numbers {
            let posted = post(api, &self.ledger, number).await;
            assert_eq!(posted, Posted::Acknowledged, "event {number} is refused after the last start");
        }
    }
}

/// What became of a post.
#[derive(Debug, PartialEq, Eq)]
enum Posted {
    Acknowledged,
    /// Too much came at once: it is to be posted again.
    Later,
    Unanswered,
}

/// Posts an event under its own idempotency key.
async fn post(api: &Api, ledger: &Ledger, number: usize) -> Posted {
    let event = TYPES[number % TYPES.len()];
    let body = format!(r#"{{"event":"{event}","data":{{"n":{number},"pad":"{}"}}}}"#, "x".repeat(number % 700));
    let key = format!("crash-{number}");
    let headers = [("Idempotency-Key", key.as_str())];
    match api.try_send("POST", "/v1/events", &headers, body.as_bytes()).await {
        Ok(reply) if reply.status == 202 => {
            let answer = reply.json();
            let text = |name: &str| answer[name].as_str().expect("text").to_owned();
            ledger.acknowledged(number, text("id"), text("timestamp"));
            Posted::Acknowledged
        }
        Ok(reply) => {
            assert!(matches!(reply.status, 429 | 503), "event {number}: {} {}", reply.status, reply.text());
            Posted::Later
        }
        Err(_) => Posted::Unanswered,
    }
}
