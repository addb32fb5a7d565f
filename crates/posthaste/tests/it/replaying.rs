//! A replay in bulk, and two `kill -9` while it runs: every delivery that it covers is sent, and what is sent twice was in
//! flight at a kill.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::api::Api;
use crate::receiver::{Receiver, Request, Script, status};
use crate::room::start;
use crate::server::Launch;
use crate::wait;

/// Deliveries, where the environment asks for no other number.
const DELIVERIES: usize = 2_000;
/// Each event goes to so many webhooks: those whose attempts keep failing have one slot each.
const WEBHOOKS: usize = 20;
/// Requests of one webhook in flight at most. So a kill may repeat 40.
const IN_FLIGHT: usize = 2;
const KILLS: usize = 2;
/// Events of one request.
const BATCH: usize = 500;
/// The attempts of a delivery before it has failed.
const FAILED_AFTER: u16 = 2;

#[expect(clippy::disallowed_methods, reason = "the length of the test is its caller's to choose")]
fn deliveries() -> usize {
    let asked = std::env::var("POSTHASTE_REPLAYS").ok().and_then(|text| text.parse().ok()).unwrap_or(DELIVERIES);
    usize::max(asked / WEBHOOKS, 10) * WEBHOOKS
}

/// What the receiver sees. It answers 500 until it is well, then 200.
struct Seen {
    /// How often the server has been killed.
    kills: AtomicUsize,
    /// How many requests were answered with 200.
    well: watch::Sender<usize>,
    is_well: watch::Sender<bool>,
    /// Of each delivery, the requests that were answered with 200: the kills before it, and its number.
    sent: Mutex<HashMap<String, Vec<(usize, u16)>>>,
}

impl Seen {
    fn answer(&self, request: &Request) -> u16 {
        if !*self.is_well.borrow() {
            return 500;
        }
        let number = request.header("X-CronDB-Attempt").and_then(|text| text.parse().ok()).expect("a number");
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let of = sent.entry(request.delivery().to_owned()).or_default();
        of.push((self.kills.load(Ordering::SeqCst), number));
        self.well.send_modify(|well| *well += 1);
        200
    }

    /// How many deliveries came again after each kill.
    fn repeats(&self) -> [usize; KILLS] {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut repeats = [0; KILLS];
        for (delivery, requests) in sent.iter() {
            for (kills, number) in requests {
                assert_eq!(
                    *number,
                    FAILED_AFTER + 1,
                    "{delivery}: a replay's attempt, by the same number if it is repeated"
                );
                assert_eq!(requests.iter().filter(|(others, _)| others == kills).count(), 1, "{delivery} in one life");
            }
            for (before, _) in &requests[..requests.len() - 1] {
                repeats[*before] += 1;
            }
        }
        repeats
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_replay_survives_two_kills() {
    let _machine = wait::the_machine().await;
    let count = deliveries();
    // What a busy machine needs for so many commits, and for a start.
    let within = Duration::from_secs(60) + Duration::from_millis(20) * u32::try_from(count).expect("not that many");
    let seen = Arc::new(Seen {
        kills: AtomicUsize::new(0),
        well: watch::Sender::new(0),
        is_well: watch::Sender::new(false),
        sent: Mutex::default(),
    });
    let answer = {
        let seen = Arc::clone(&seen);
        move |request: &Request| status(seen.answer(request))
    };
    let receiver = Receiver::start(Script::choosing(None, Arc::new(answer))).await;
    let launch = Launch::new().flag("--allow-private", "127.0.0.0/8").flags("--allow-http --retry-schedule 1ms");
    let mut server = start(launch.clone()).await;

    let began = Instant::now();
    for place in 0..WEBHOOKS {
        let url = format!("http://{}/{place}", receiver.address);
        let body = json!({"name": "replayed", "url": url, "events": ["*"], "max_in_flight": IN_FLIGHT});
        server.api.post("/v1/accounts/default/webhooks", &body).await.expect(201);
    }
    post(&server.api, count / WEBHOOKS).await;
    wait::until("all to fail", within, async || (covered(&server.api, "failed").await == count).then_some(())).await;
    let failed_in = began.elapsed();

    seen.is_well.send_replace(true);
    let began = Instant::now();
    let replay = server.api.post("/v1/accounts/default/replays", &json!({"status": "failed"})).await.expect(202);
    assert_eq!(replay["total"], count, "{replay}");
    let path = format!("/v1/accounts/default/replays/{}", replay["id"].as_str().expect("an id"));
    let mut down = Duration::ZERO;
    for kill in 1..=KILLS {
        let enough = count * kill / (KILLS + 1);
        let came = async { seen.well.subscribe().wait_for(|well| *well >= enough).await.map(|_| ()) };
        tokio::time::timeout(within, came).await.expect("it is sent in time").expect("the receiver is there");
        let at = Instant::now();
        server.kill();
        // What the dead process has sent belongs to its life.
        receiver.let_go().await;
        seen.kills.store(kill, Ordering::SeqCst);
        server = start(launch.clone()).await;
        down += at.elapsed();
        let replay = server.api.get(&path).await.expect(200);
        assert_eq!((&replay["status"], &replay["status_reason"]), (&json!("running"), &Value::Null), "{replay}");
    }
    let replay = wait::until("the replay's end", within, async || {
        let replay = server.api.get(&path).await.expect(200);
        (replay["status"] != "running").then_some(replay)
    })
    .await;
    let took = began.elapsed();

    assert_eq!(replay["status"], "done", "{replay}");
    assert_eq!((&replay["handed_over"], &replay["results"]["delivered"]), (&json!(count), &json!(count)), "{replay}");
    assert_eq!((covered(&server.api, "failed").await, covered(&server.api, "delivered").await), (0, count));
    let sent = seen.sent.lock().unwrap_or_else(PoisonError::into_inner).len();
    assert_eq!(sent, count, "every one of them was sent");
    let repeats = seen.repeats();
    let in_flight = WEBHOOKS * IN_FLIGHT;
    assert!(
        repeats.iter().all(|again| *again <= in_flight),
        "more than {in_flight} came again after a kill: {repeats:?}"
    );
    println!(
        "{count} deliveries failed within {failed_in:.1?}; one replay and {KILLS} kills: all sent, done within {took:.1?}, of \
         which {down:.1?} from kills to being ready; came again after a kill: {repeats:?}, {in_flight} may"
    );
    assert!(server.terminate().success(), "SIGTERM ends it well");
}

/// Posts so many events.
async fn post(api: &Api, events: usize) {
    for first in (0..events).step_by(BATCH) {
        let event = |number| format!(r#"{{"event":"alert.rule_created","data":{{"n":{number}}}}}"#);
        let batch: Vec<String> = (first..events.min(first + BATCH)).map(event).collect();
        let batch = format!("[{}]", batch.join(","));
        let answer = api.send("POST", "/v1/events", &[], batch.as_bytes()).await.expect(200);
        let results = answer["results"].as_array().expect("results");
        assert!(results.iter().all(|result| result["status"] == 202), "{answer}");
    }
}

/// How many deliveries a replay of this status would cover.
async fn covered(api: &Api, status: &str) -> usize {
    let asked = json!({"status": status, "dry_run": true});
    let answer = api.post("/v1/accounts/default/replays", &asked).await.expect(200);
    usize::try_from(answer["total"].as_u64().expect("a number")).expect("not that many")
}
