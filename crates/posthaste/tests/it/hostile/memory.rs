//! What hostile answers cost in memory, together: at most 256 KiB for each attempt (the table's head).

use std::sync::Arc;

use serde_json::{Value, json};

use super::stage::Stage;
use crate::certificates::Leaf;
use crate::receiver::{Receiver, Script, Step, status};
use crate::room::{Room, start};
use crate::wait;

/// Webhooks for each kind of answer; all are sent to at once.
const EACH: usize = 24;
/// What an attempt may hold.
const ATTEMPT_MAX: u64 = 256 * 1024;
/// What the process may grow by besides: connections, TLS sessions, the log.
const SLACK: u64 = 24 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn hostile_answers_stay_within_their_memory() {
    let _machine = wait::the_machine().await;
    let stage = Stage::set().await;
    let server = start(stage.launch().flag("--max-in-flight", 10)).await;
    if server.memory_peak().is_none() {
        println!("left out: this system does not tell how much memory a process holds");
        return;
    }
    // As many good answers first: what they cost is no answer's doing.
    let good = Room::open(&server.api, "good").await;
    let receiver = stage.receiver(status(200)).await;
    all_at_once(&good, &vec![receiver; 4]).await;
    let before = server.memory_peak().expect("told before");
    let hostile = Room::open(&server.api, "hostile").await;
    let receivers = hostile_receivers(&stage).await;
    all_at_once(&hostile, &receivers).await;
    let grown = server.memory_peak().expect("told before") - before;
    println!("{} hostile answers: {} KiB more", receivers.len() * EACH, grown / 1024);
    let most = u64::try_from(receivers.len() * EACH).expect("small") * ATTEMPT_MAX + SLACK;
    assert!(grown <= most, "grown by {grown} bytes, {most} are allowed");
}

async fn hostile_receivers(stage: &Stage) -> Vec<Receiver> {
    let flood = |head: &str, over_and_over: &str| {
        let block = over_and_over.repeat(65_536 / over_and_over.len());
        let steps = vec![Step::Write(head.as_bytes().to_vec()), Step::Flood(block.into_bytes())];
        Script::answering(Some(Arc::clone(&stage.tls)), steps)
    };
    let mut receivers = Vec::new();
    for script in [
        flood("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", "x"),
        flood("HTTP/1.1 200 OK\r\n", "X-A: b\r\n"),
        flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", "x"),
        flood("", "HTTP/1.1 100 Continue\r\n\r\n"),
        Script::answering(Some(stage.authority.config(Leaf::HugeChain)), status(200)),
    ] {
        receivers.push(Receiver::start(script).await);
    }
    receivers
}

/// Sends one event to many webhooks of each receiver, and waits until every attempt is recorded.
async fn all_at_once(room: &Room, receivers: &[Receiver]) {
    for (kind, receiver) in receivers.iter().enumerate() {
        for place in 0..EACH {
            let url = format!("https://m{kind}-{place}.example.com:{}/", receiver.port());
            room.try_webhook(&url, json!({})).await.expect(201);
        }
    }
    let event = room.post("").await;
    let path = room.path(&format!("events/{event}"));
    wait::until("all attempts", std::time::Duration::from_secs(60), async || {
        let deliveries: Value = room.api.get(&path).await.expect(200)["deliveries"].clone();
        let all = deliveries.as_array()?.iter().all(|delivery| delivery["attempts_made"].as_u64() >= Some(1));
        all.then_some(())
    })
    .await;
}
