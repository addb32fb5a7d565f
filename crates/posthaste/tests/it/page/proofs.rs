//! Proofs about set-up, event types, payloads, security and troubleshooting.

use std::collections::HashSet;
use std::time::Duration;

use domain::secret::SigningSecret;
use domain::signature::{Check, verify};
use serde_json::{Value, json};

use super::PAGE;
use super::quotes::QUOTES;
use super::stage::{SOURCE, Stage, url};
use crate::receiver::{Receiver, Request, Step, status as answer};
use crate::room::Room;
use crate::wait;

/// For a request to arrive.
const ARRIVAL_MAX: Duration = Duration::from_secs(20);

/// The requests of a receiver, once there are `count`.
async fn requests(receiver: &Receiver, count: usize) -> Vec<Request> {
    let what = format!("{count} requests");
    wait::until(&what, ARRIVAL_MAX, async || (receiver.requests().len() >= count).then(|| receiver.requests())).await
}

fn id(webhook: &Value) -> &str {
    webhook["id"].as_str().expect("an id")
}

/// Posts an event whose data is this text; gives the event's id.
async fn post(room: &Room, event: &str, data: &str) -> String {
    let body = format!(r#"{{"account":"{}","event":"{event}","data":{data}}}"#, room.account);
    let reply = room.api.send("POST", "/v1/events", &[], body.as_bytes()).await.expect(202);
    reply["id"].as_str().expect("an id").to_owned()
}

/// A delivery is a POST over HTTPS with JSON.
pub(super) async fn arrives(stage: &Stage) {
    let (room, receiver) = (stage.room("arrives").await, stage.receiver(answer(200)).await);
    room.webhook(&url("arrives", &receiver)).await;
    let event = room.post("").await;
    let request = requests(&receiver, 1).await.remove(0);
    assert_eq!(request.line(), "POST /hook HTTP/1.1");
    assert_eq!(request.header("Content-Type"), Some("application/json"));
    assert_eq!(request.json()["event"], "watchlist.domain_changed");
    assert_eq!(room.attempted(&event, 1).await["status"], "delivered");
}

/// Name, URL, events and headers are kept, and do what they say.
pub(super) async fn configured(stage: &Stage) {
    let (room, receiver) = (stage.room("configured").await, stage.receiver(answer(200)).await);
    let more = json!({"name": "Slack Notifications", "events": ["alert.rule_created"], "headers": {"X-Api-Key": "s3cr3t", "X-Team": "crm"}});
    let webhook = room.try_webhook(&url("configured", &receiver), more).await.expect(201);
    let shown = room.api.get(&room.path(&format!("webhooks/{}", id(&webhook)))).await.expect(200);
    assert_eq!(shown["name"], "Slack Notifications");
    assert_eq!(shown["url"], url("configured", &receiver));
    assert_eq!(shown["events"], json!(["alert.rule_created"]));
    assert_eq!(shown["headers"].as_object().expect("headers").len(), 2);
    post(&room, "alert.rule_deleted", "{}").await;
    let event = post(&room, "alert.rule_created", "{}").await;
    room.attempted(&event, 1).await;
    let all = requests(&receiver, 1).await;
    assert_eq!(all.len(), 1, "only the subscribed type");
    assert_eq!(all[0].header("X-Api-Key"), Some("s3cr3t"));
    assert_eq!(all[0].header("X-Team"), Some("crm"));
}

pub(super) async fn http_refused(stage: &Stage) {
    let room = stage.room("http").await;
    let reply = room.try_webhook("http://http.example.com/", json!({})).await;
    assert_eq!((reply.status, reply.json()["errors"][0]["code"].clone()), (422, json!("url_scheme")));
}

/// The page's lines of event types: name and trigger without a gap.
fn types_of_the_page() -> Vec<(String, String)> {
    let lines = QUOTES.iter().filter(|(_, by)| *by == super::By::Proved(super::Proof::Types)).map(|(line, _)| *line);
    let split = |line: &str| {
        let at = line.find(char::is_uppercase).expect("a trigger");
        (line[..at].to_owned(), line[at..].to_owned())
    };
    lines.map(split).collect()
}

/// All 16 are in the catalogue with the page's words, and arrive at a webhook that takes just them.
pub(super) async fn types(stage: &Stage) {
    let room = stage.room("types").await;
    let types = types_of_the_page();
    assert_eq!(types.len(), 16);
    for (name, trigger) in types {
        let shown = room.api.get(&format!("/v1/event-types/{name}")).await.expect(200);
        assert_eq!(shown["description"].as_str(), Some(trigger.as_str()), "{name}");
        let receiver = stage.receiver(answer(200)).await;
        room.try_webhook(&url("types", &receiver), json!({"events": [name]})).await.expect(201);
        post(&room, &name, &shown["example"].to_string()).await;
        let request = requests(&receiver, 1).await.remove(0);
        assert_eq!(request.json()["event"].as_str(), Some(name.as_str()));
        assert_eq!(request.json()["data"], shown["example"]);
        assert_eq!(request.header("X-CronDB-Event"), Some(name.as_str()));
    }
}

/// A webhook for a group gets all of the group and nothing else.
pub(super) async fn groups(stage: &Stage) {
    let room = stage.room("groups").await;
    let types = types_of_the_page();
    let mut receivers = Vec::new();
    for group in ["alert", "watchlist", "sequence", "enrichment"] {
        let receiver = stage.receiver(answer(200)).await;
        room.try_webhook(&url(group, &receiver), json!({"events": [format!("{group}.*")]})).await.expect(201);
        receivers.push((group, receiver));
    }
    let mut events = Vec::new();
    for (name, _) in &types {
        let example = room.api.get(&format!("/v1/event-types/{name}")).await.expect(200)["example"].to_string();
        events.push(post(&room, name, &example).await);
    }
    for event in &events {
        room.attempted(event, 1).await;
    }
    for (group, receiver) in receivers {
        let mut expected: Vec<&str> =
            types.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with(group)).collect();
        let mut got: Vec<String> =
            receiver.requests().iter().map(|r| r.json()["event"].as_str().expect("text").to_owned()).collect();
        expected.sort_unstable();
        got.sort_unstable();
        assert_eq!(got, expected);
    }
}

/// The page's three payloads: posted with the page's own text, they arrive with its members in its order, and its data byte
/// for byte.
pub(super) async fn payloads(stage: &Stage) {
    let room = stage.room("payloads").await;
    let receiver = stage.receiver(answer(200)).await;
    // The page's webhook has this id: a platform may bring its own.
    let more = json!({"id": "wh_abc123"});
    room.try_webhook(&url("payloads", &receiver), more).await.expect(201);
    let blocks: Vec<&str> = PAGE.split("\n\n").map(str::trim).filter(|part| part.starts_with('{')).collect();
    assert_eq!(blocks.len(), 3);
    for (place, block) in blocks.iter().enumerate() {
        let shown: Value = serde_json::from_str(block).expect("JSON");
        let name = shown["event"].as_str().expect("an event");
        let example = room.api.get(&format!("/v1/event-types/{name}")).await.expect(200)["example"].clone();
        assert_eq!(example, shown["data"], "the catalogue's example of {name}");
        let (_, data) = block.split_once("\"data\": ").expect("data");
        let data = data.trim_end().strip_suffix('}').expect("the end").trim_end();
        post(&room, name, data).await;
        let request = requests(&receiver, place + 1).await.remove(place);
        let body = String::from_utf8(request.body.clone()).expect("text");
        let timestamp = request.json()["timestamp"].as_str().expect("a timestamp").to_owned();
        assert_eq!(
            body,
            format!(r#"{{"event":"{name}","webhook_id":"wh_abc123","timestamp":"{timestamp}","data":{data}}}"#)
        );
        let micros = timestamp.len() == "2026-03-18T14:30:00.000000Z".len() && timestamp.ends_with('Z');
        assert!(micros && timestamp.parse::<jiff::Timestamp>().is_ok(), "{timestamp}");
    }
}

/// `X-CronDB-Signature: sha256=` and the HMAC under the webhook's secret.
pub(super) async fn signed(stage: &Stage) {
    let (room, receiver) = (stage.room("signed").await, stage.receiver(answer(200)).await);
    let webhook = room.webhook(&url("signed", &receiver)).await;
    room.post("").await;
    let request = requests(&receiver, 1).await.remove(0);
    let secret = SigningSecret::parse(webhook["secret"].as_str().expect("a secret")).expect("a secret");
    let header = request.header("X-CronDB-Signature").expect("signed");
    let hex = header.strip_prefix("sha256=").expect("sha256=");
    assert!(hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{header}");
    assert_eq!(verify(&request.body, header, &secret), Check::Valid);
    let mut tampered = request.body.clone();
    tampered[10] ^= 1;
    assert_eq!(verify(&tampered, header, &secret), Check::Mismatch);
}

pub(super) async fn secret_shown(stage: &Stage) {
    let room = stage.room("secret").await;
    let webhook = room.webhook("https://secret.example.com/").await;
    let path = room.path(&format!("webhooks/{}", id(&webhook)));
    assert_eq!(room.api.get(&format!("{path}/secret")).await.expect(200)["secret"], webhook["secret"]);
    assert!(!room.api.get(&path).await.text().contains("whsec_"), "on purpose only");
}

/// Requests come from the configured address, and the list of addresses is public.
pub(super) async fn source_address(stage: &Stage) {
    let (room, receiver) = (stage.room("source").await, stage.receiver(answer(200)).await);
    room.webhook(&url("source", &receiver)).await;
    room.post("").await;
    assert_eq!(requests(&receiver, 1).await[0].peer.ip().to_string(), SOURCE);
    let published = room.api.without_key().get("/v1/egress-ips").await.expect(200);
    assert!(published.to_string().contains(SOURCE), "{published}");
}

/// Active and paused: what a paused webhook is sent is kept, and goes out when it is resumed.
pub(super) async fn status(stage: &Stage) {
    let (room, receiver) = (stage.room("status").await, stage.receiver(answer(200)).await);
    let path = room.path(&format!("webhooks/{}", id(&room.webhook(&url("status", &receiver)).await)));
    assert_eq!(room.api.get(&path).await.json()["status"], "active");
    room.api.post(&format!("{path}/pause"), &json!({"reason": "maintenance"})).await.expect(200);
    let paused = room.api.get(&path).await.json();
    assert_eq!(paused["status"], "paused");
    assert!(paused["status_reason"].to_string().contains("maintenance"), "{paused}");
    let event = room.post("").await;
    let held = room.path("deliveries?status=held");
    wait::until("a held delivery", ARRIVAL_MAX, async || {
        (room.api.get(&held).await.json()["data"][0]["event_id"] == *event).then_some(())
    })
    .await;
    assert_eq!(receiver.connections(), 0, "nothing is sent while it is paused");
    room.api.post(&format!("{path}/resume"), &json!({"held": "deliver"})).await.expect(200);
    assert_eq!(room.attempted(&event, 1).await["status"], "delivered");
    assert_eq!(requests(&receiver, 1).await.len(), 1);
}

/// A test of a webhook goes through the real pipeline.
pub(super) async fn test_sent(stage: &Stage) {
    let (room, receiver) = (stage.room("test").await, stage.receiver(answer(200)).await);
    let path = room.path(&format!("webhooks/{}/test", id(&room.webhook(&url("test", &receiver)).await)));
    let tested = room.api.post(&path, &json!({"event": "alert.domain_matched"})).await.expect(200);
    assert_eq!(
        (tested["attempt"]["status_code"].as_u64(), tested["attempt"]["reason"].as_str()),
        (Some(200), Some("test"))
    );
    assert_eq!(requests(&receiver, 1).await[0].json()["event"], "alert.domain_matched");
}

/// The page's receiver answers at once with a body of its own, and does its work later.
pub(super) async fn answered_at_once(stage: &Stage) {
    let body = r#"{"status": "ok"}"#;
    let text =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (room, receiver) = (stage.room("at-once").await, stage.receiver(vec![Step::Write(text.into())]).await);
    room.webhook(&url("at-once", &receiver)).await;
    let event = room.post("").await;
    let delivery = room.attempted(&event, 1).await;
    assert_eq!(
        (delivery["status"].as_str(), delivery["attempts"][0]["response"]["body"].as_str()),
        (Some("delivered"), Some(body))
    );
}

/// `webhook_id` + `timestamp` tell all events of a webhook apart, in bursts too.
pub(super) async fn unique(stage: &Stage) {
    const POSTS: usize = 20;
    const BATCH: usize = 50;
    let (room, receiver) = (stage.room("unique").await, stage.receiver(answer(200)).await);
    room.webhook(&url("unique", &receiver)).await;
    let one = format!(r#"{{"account":"{}","event":"alert.rule_created","data":{{}}}}"#, room.account);
    let batch = format!("[{}]", vec![one; BATCH].join(","));
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..POSTS {
        let (room, batch) = (room.clone(), batch.clone());
        posts.spawn(async move { room.api.send("POST", "/v1/events", &[], batch.as_bytes()).await.expect(200) });
    }
    assert_eq!(posts.join_all().await.len(), POSTS);
    let all = requests(&receiver, POSTS * BATCH).await;
    let pairs: HashSet<(String, String)> = all
        .iter()
        .map(|request| {
            let json = request.json();
            (json["webhook_id"].to_string(), json["timestamp"].to_string())
        })
        .collect();
    assert_eq!(pairs.len(), POSTS * BATCH);
}
