//! What receivers are spared, from outside: counted and put in order by a receiver that keeps every request.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::ordering::{delivery, stage, until_status};
use crate::receiver::{Receiver, Request, Step, status};
use crate::room::{Room, start};
use crate::wait;

/// For what is waited for on a machine that does much else.
const MAX: Duration = Duration::from_secs(60);

async fn post(room: &Room, kind: &str, number: u64) -> String {
    room.post(&format!(r#","kind":"{kind}","n":{number}"#)).await
}

/// Of which kind an event is that was posted so.
fn kind(request: &Request) -> String {
    request.json().pointer("/data/kind").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The requests that have come to a path.
fn at(receiver: &Receiver, path: &str) -> Vec<Request> {
    receiver.requests_where(|request| request.path() == path)
}

async fn until_count(receiver: &Receiver, path: &str, count: usize) {
    wait::until(&format!("{count} requests at {path}"), MAX, async || {
        (at(receiver, path).len() >= count).then_some(())
    })
    .await;
}

async fn webhook(room: &Room, receiver: &Receiver, path: &str, more: Value) {
    let url = format!("https://polite.example.com:{}{path}", receiver.port());
    room.try_webhook(&url, more).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_requests_are_in_flight_than_the_webhook_allows() {
    let hangs = Arc::new(AtomicBool::new(false));
    let hang = Arc::clone(&hangs);
    let answer = move |request: &Request| {
        if request.path() == "/capped" && hang.load(Ordering::SeqCst) { vec![Step::Hang] } else { status(200) }
    };
    let (_dns, launch, receiver) = stage("1h", Arc::new(answer)).await;
    let server = start(launch).await;
    let room = Room::open(&server.api, "capped").await;
    webhook(&room, &receiver, "/capped", json!({"max_in_flight": 4, "timeout": "30s"})).await;
    // It begins at half of that, and widens with successes.
    for number in 0..60 {
        post(&room, "well", number).await;
    }
    until_count(&receiver, "/capped", 60).await;
    hangs.store(true, Ordering::SeqCst);
    webhook(&room, &receiver, "/other", json!({})).await;
    for number in 0..20 {
        post(&room, "held", number).await;
    }
    // All of these are sent while the others hang.
    until_count(&receiver, "/other", 20).await;
    until_count(&receiver, "/capped", 64).await;
    let last = post(&room, "held", 20).await;
    until_count(&receiver, "/other", 21).await;
    assert_eq!(at(&receiver, "/capped").len(), 64, "four are in flight, and no more");
    let event = room.api.get(&room.path(&format!("events/{last}"))).await.expect(200);
    let mut waits = event["deliveries"].as_array().expect("deliveries").iter();
    let waits = waits.find(|delivery| delivery["status"] == "pending").expect("it waits");
    assert_eq!(waits["waiting_for"], "slot", "{waits}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_holds_one_webhook_and_no_other() {
    let (_dns, launch, receiver) = stage("1h", Arc::new(|_: &Request| status(200))).await;
    let server = start(launch).await;
    let room = Room::open(&server.api, "rated").await;
    webhook(&room, &receiver, "/rated", json!({"rate_limit": 1})).await;
    webhook(&room, &receiver, "/free", json!({})).await;
    let mut events = Vec::new();
    for number in 0..50 {
        events.push(post(&room, "any", number).await);
    }
    until_count(&receiver, "/free", 50).await;
    // Fifty would take one of them 49 seconds.
    let rated = at(&receiver, "/rated").len();
    assert!(rated < 50, "{rated} at one a second, while the other got 50");
    let event = room.api.get(&room.path(&format!("events/{}", events[49]))).await.expect(200);
    let mut waits = event["deliveries"].as_array().expect("deliveries").iter();
    let waits = waits.find(|delivery| delivery["status"] == "pending").expect("it waits");
    assert_eq!(waits["waiting_for"], "rate", "{waits}");
    until_count(&receiver, "/rated", 3).await;
    let sent: Vec<_> = at(&receiver, "/rated").iter().map(|request| request.json()["data"]["n"].clone()).collect();
    assert_eq!(sent[..3], [json!(0), json!(1), json!(2)], "as they came");
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_get_a_fifth_while_first_attempts_wait() {
    let (open, gate) = tokio::sync::watch::channel(false);
    let answer = move |request: &Request| match (kind(request).as_str(), request.header("X-CronDB-Attempt")) {
        ("old", Some("1")) => status(500),
        ("gate", _) => [vec![Step::Gate(gate.clone())], status(200)].concat(),
        _ => status(200),
    };
    let (_dns, launch, receiver) = stage("100ms,1h", Arc::new(answer)).await;
    let server = start(launch).await;
    let room = Room::open(&server.api, "share").await;
    webhook(&room, &receiver, "/share", json!({"max_in_flight": 1, "timeout": "30s", "retry_schedule": ["3s", "1h"]}))
        .await;
    let mut old = Vec::new();
    for number in 0..10 {
        old.push(post(&room, "old", number).await);
    }
    until_count(&receiver, "/share", 10).await;
    // The one slot is taken: first attempts gather behind it, and retries come due.
    post(&room, "gate", 0).await;
    until_count(&receiver, "/share", 11).await;
    for number in 0..60 {
        post(&room, "new", number).await;
    }
    for event in &old {
        wait::until("every retry to be due", MAX, async || {
            delivery(&room, event).await["waiting_for"].is_string().then_some(())
        })
        .await;
    }
    assert_eq!(at(&receiver, "/share").len(), 11, "nothing has passed the gate");
    open.send(true).expect("it waits");
    until_count(&receiver, "/share", 81).await;
    let order: Vec<String> = at(&receiver, "/share")[11..].iter().map(kind).collect();
    let with_new = order.iter().rposition(|kind| kind == "new").expect("first attempts");
    let mut retries = 0;
    for (place, kind) in order[..with_new].iter().enumerate() {
        retries += usize::from(kind == "old");
        assert!(retries <= 1 + place.div_ceil(4), "no more than a fifth are retries: {order:?}");
    }
    // By slot time, so that a slow one is paid for with turns.
    assert!(retries >= 3, "they are not starved: {order:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_due_during_an_outage_is_spread() {
    let answer = |request: &Request| status(if request.header("X-CronDB-Attempt") == Some("1") { 500 } else { 200 });
    let (_dns, launch, receiver) = stage("5s,1h", Arc::new(answer)).await;
    let server = start(launch).await;
    let room = Room::open(&server.api, "spread").await;
    webhook(&room, &receiver, "/spread", json!({"max_in_flight": 1})).await;
    let mut events = Vec::new();
    for number in 0..30 {
        events.push(post(&room, "any", number).await);
    }
    let mut due: Vec<(String, String)> = Vec::new();
    for event in &events {
        let planned = wait::until("each to have failed once", MAX, async || {
            let delivery = delivery(&room, event).await;
            (delivery["attempts_made"] == 1).then_some(delivery)
        })
        .await;
        due.push((planned["next_attempt_at"].as_str().expect("a plan").to_owned(), planned["id"].to_string()));
    }
    let launch = tokio::task::spawn_blocking(move || server.kill()).await.expect("it is killed");
    due.sort();
    let planned: Vec<&String> = due.iter().map(|(_, id)| id).collect();
    let early: HashSet<String> = receiver
        .requests()
        .into_iter()
        .filter(|r| r.header("X-CronDB-Attempt") == Some("2"))
        .map(|r| format!("\"{}\"", r.delivery()))
        .collect();
    let last = due.last().expect("thirty").0.clone();
    wait::until("the outage to outlast what was planned", MAX, async || {
        let now = domain::time::Timestamp(SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_micros() as i64);
        (now > last.parse().expect("an instant")).then_some(())
    })
    .await;
    let server = start(launch).await;
    let room = Room { api: server.api.clone(), ..room };
    for event in &events {
        until_status(&room, event, "delivered").await;
    }
    let sent: Vec<String> = receiver
        .requests_where(|request| request.header("X-CronDB-Attempt") == Some("2"))
        .iter()
        .map(|request| format!("\"{}\"", request.delivery()))
        .filter(|id| !early.contains(id))
        .collect();
    let planned: Vec<&String> = planned.into_iter().filter(|id| !early.contains(*id)).collect();
    assert_eq!(sent.len(), planned.len());
    assert!(sent.len() >= 10, "most of them came due during the outage");
    assert!(
        sent.iter().collect::<Vec<_>>() != planned,
        "each waits for a time of its own, so they do not come as they were planned"
    );
}
