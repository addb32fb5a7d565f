//! Webhooks with an order, and those whose receivers ask to be left alone, from outside.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::certificates::Leaf;
use crate::dns::Dns;
use crate::receiver::{Answer, Receiver, Request, Script, Step, status};
use crate::room::{Room, start, surroundings};
use crate::server::Launch;
use crate::wait;

/// For deliveries on a machine that does much else.
const SENT_MAX: Duration = Duration::from_secs(60);

/// A name server, a launch with this schedule, and a receiver.
pub(crate) async fn stage(schedule: &str, answer: Answer) -> (Dns, Launch, Receiver) {
    let (dns, authority, launch) = surroundings().await;
    let launch = launch.flag("--jitter", "0").flag("--retry-schedule", schedule);
    let receiver = Receiver::start(Script::choosing(Some(authority.config(Leaf::Good)), answer)).await;
    (dns, launch, receiver)
}

/// What a request carries: its key and its number.
fn part(request: &Request) -> (String, u64) {
    let body = request.json();
    let key = body.pointer("/data/k/id").and_then(Value::as_str).unwrap_or("none").to_owned();
    (key, body.pointer("/data/n").and_then(Value::as_u64).expect("a number"))
}

async fn post(room: &Room, key: &str, number: u64) -> String {
    room.post(&format!(r#","k":{{"id":"{key}"}},"n":{number}"#)).await
}

/// The delivery of an event, as the log has it.
pub(crate) async fn delivery(room: &Room, event: &str) -> Value {
    let event = room.api.get(&room.path(&format!("events/{event}"))).await.expect(200);
    event["deliveries"][0].clone()
}

pub(crate) async fn until_status(room: &Room, event: &str, status: &str) {
    wait::until(&format!("{event} to be {status}"), SENT_MAX, async || {
        (delivery(room, event).await["status"] == status).then_some(())
    })
    .await;
}

/// Nothing of a key came before everything older of it had been taken, and all of it came.
fn judge(requests: &[Request], failing: &AtomicBool, expected: &HashMap<&str, u64>) {
    assert!(!failing.load(Ordering::SeqCst));
    let mut taken: HashMap<String, u64> = HashMap::new();
    let mut latest: HashMap<String, u64> = HashMap::new();
    for request in requests {
        let (key, number) = part(request);
        let last = latest.insert(key.clone(), number).unwrap_or(0);
        assert!(number == last || number == last + 1, "{key}: {number} came after {last}");
        taken.insert(key, number);
    }
    for (key, number) in expected {
        assert_eq!(taken.get(*key), Some(number), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_holds_over_a_failing_head_and_kill_9_and_other_keys_go_on() {
    let failing = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&failing);
    let answer = move |request: &Request| {
        let fails = part(request).0 == "a" && fails.load(Ordering::SeqCst);
        status(if fails { 500 } else { 200 })
    };
    let (_dns, launch, receiver) = stage(&["1s"; 20].join(","), Arc::new(answer)).await;
    let server = start(launch).await;
    let room = Room::open(&server.api, "ordered").await;
    let url = format!("https://ordered.example.com:{}/", receiver.port());
    let webhook = room.try_webhook(&url, json!({"order": {"by": "/k/id"}})).await.expect(201);
    let id = webhook["id"].as_str().expect("an id").to_owned();
    assert_eq!(webhook["order"], json!({"by": "/k/id"}));
    let mut events = Vec::new();
    for number in 1..=3 {
        for key in ["a", "b", "c"] {
            events.push(post(&room, key, number).await);
        }
    }
    until_status(&room, &events[7], "delivered").await;
    until_status(&room, &events[8], "delivered").await;
    let behind = delivery(&room, &events[3]).await;
    assert_eq!((&behind["status"], &behind["waiting_for"]), (&json!("pending"), &json!("order")), "{behind}");
    assert_eq!(behind["attempts_made"], 0);
    let launch = tokio::task::spawn_blocking(move || server.kill()).await.expect("it is killed");
    let server = start(launch).await;
    let room = Room { api: server.api.clone(), ..room };
    events.push(post(&room, "a", 4).await);
    events.push(post(&room, "b", 4).await);
    until_status(&room, &events[10], "delivered").await;
    assert_eq!(delivery(&room, &events[9]).await["waiting_for"], "order");
    let tried = || receiver.requests_where(|request| part(request).0 == "a");
    assert!(tried().iter().all(|request| part(request).1 == 1), "nothing passes the head");
    assert!(server.client("ordered", &["webhooks", "show", &id]).contains("/k/id"));
    // Fails no more, but dies once more before it is through.
    failing.store(false, Ordering::SeqCst);
    until_status(&room, &events[0], "delivered").await;
    let launch = tokio::task::spawn_blocking(move || server.kill()).await.expect("it is killed");
    let server = start(launch).await;
    let room = Room { api: server.api.clone(), ..room };
    for event in &events {
        until_status(&room, event, "delivered").await;
    }
    judge(&receiver.requests(), &failing, &HashMap::from([("a", 4), ("b", 4), ("c", 3)]));
    // Taken away by the command line, it orders nothing any more.
    server.client("ordered", &["webhooks", "edit", &id, "--order", "none"]);
    let shown = room.api.get(&room.path(&format!("webhooks/{id}"))).await.expect(200);
    assert_eq!(shown["order"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_holds_the_whole_webhook_and_the_log_says_why() {
    let answer = |request: &Request| match request.path() {
        "/busy" => vec![Step::Write(
            b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n".to_vec(),
        )],
        _ => status(200),
    };
    let (_dns, launch, receiver) = stage("30m,2h", Arc::new(answer)).await;
    let server = start(launch).await;
    let room = Room::open(&server.api, "busy").await;
    let url = |path: &str| format!("https://busy.example.com:{}/{path}", receiver.port());
    let webhook = room.webhook(&url("busy")).await;
    let first = room.post(r#","n":1"#).await;
    let planned = room.attempted(&first, 1).await;
    assert_eq!((&planned["note"], &planned["waiting_for"]), (&json!("the server asked for 3600 s"), &Value::Null));
    let second = room.post(r#","n":2"#).await;
    let waits = wait::until("the log to say why it waits", SENT_MAX, async || {
        let delivery = delivery(&room, &second).await;
        delivery["waiting_for"].is_string().then_some(delivery)
    })
    .await;
    assert_eq!((&waits["waiting_for"], &waits["attempts_made"]), (&json!("retry_after"), &json!(0)));
    assert!(
        waits["note"].as_str().is_some_and(|note| note.starts_with("the receiver asked to wait until ")),
        "{waits}"
    );
    assert_eq!(receiver.requests().len(), 1, "the second event waits with the first");
    let system = room.api.get("/v1/system").await.expect(200);
    assert_eq!(system["oldest_due_seconds"], 0.0, "that is no sign of sending being behind: {system}");
    let cluster = room.api.get("/v1/cluster").await.expect(200);
    assert_eq!((&cluster["oldest_due"], &cluster["lag_seconds"]), (&Value::Null, &json!(0.0)), "{cluster}");
    // Nor does a restart make us ask again.
    let launch = tokio::task::spawn_blocking(move || server.kill()).await.expect("it is killed");
    let server = start(launch).await;
    let room = Room { api: server.api.clone(), ..room };
    room.webhook(&url("well")).await;
    let marker = room.post(r#","n":3"#).await;
    wait::until("another webhook to get its own", SENT_MAX, async || {
        (receiver.requests_where(|request| request.path() == "/well").len() == 1).then_some(())
    })
    .await;
    assert_eq!(delivery(&room, &second).await["waiting_for"], "retry_after");
    assert_eq!(receiver.requests_where(|request| request.path() == "/busy").len(), 1, "{marker} is held too");
    // A test is not held, and what moves to another receiver starts anew.
    let id = webhook["id"].as_str().expect("an id");
    let test = room.api.post(&room.path(&format!("webhooks/{id}/test")), &json!({"event": "alert.rule_created"})).await;
    assert_eq!(test.expect(200)["attempt"]["status_code"], 429);
    room.api.patch(&room.path(&format!("webhooks/{id}")), &json!({"url": url("well")})).await.expect(200);
    until_status(&room, &second, "delivered").await;
}
