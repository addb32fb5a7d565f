//! Proofs about time: the five seconds, the schedule, the six attempts, the log of them, the replay by hand.

use std::sync::Arc;
use std::time::Duration;

use domain::time::parse_span;
use serde_json::{Value, json};

use super::quotes::QUOTES;
use super::stage::{Stage, url};
use super::{By, Proof};
use crate::receiver::{Step, status};
use crate::wait;

/// What a retry may be late by here beside the jitter. `delivery.md` has a second, which the scheduler's own tests and the simulation hold
/// it to by a clock of theirs; on a busy machine every process may stand still for longer.
const LATE_MAX: Duration = Duration::from_secs(10);

/// The delays of the page's table, as its lines have them: `1st retry30 seconds30s`.
fn delays() -> Vec<Duration> {
    let lines = QUOTES.iter().filter(|(_, by)| *by == By::Proved(Proof::Schedule)).map(|(line, _)| *line);
    let mut total = Duration::ZERO;
    lines
        .map(|line| {
            let (_, rest) = line.split_once("retry").expect("which retry");
            let unit = rest.find(|character: char| character.is_alphabetic()).expect("a unit");
            let (delay, all) = ["seconds", "minutes", "hours", "hour"]
                .iter()
                .find_map(|word| {
                    let (count, all) = rest.split_once(word)?;
                    Some((parse_span(&format!("{}{}", count.trim(), &rest[unit..=unit])).ok()?, all))
                })
                .expect("a delay");
            total += delay;
            let said: Duration = all.split(' ').map(|part| parse_span(part).expect("a span")).sum();
            // The page leaves the seconds out once there are hours.
            assert!(total >= said && total - said < Duration::from_secs(60), "the page's own sum: {line}");
            delay
        })
        .collect()
}

/// The default schedule is the page's table.
pub(super) async fn schedule(stage: &Stage) {
    let room = stage.room("schedule").await;
    let webhook = room.webhook("https://schedule.example.com/").await;
    let shown = webhook["retry_schedule"].as_array().expect("a schedule");
    let shown: Vec<Duration> =
        shown.iter().map(|text| parse_span(text.as_str().expect("text")).expect("a span")).collect();
    assert_eq!(shown, delays());
    assert_eq!(webhook["timeout"], "5s");
    // What the log plans after a failure follows it.
    let receiver = stage.receiver(status(500)).await;
    room.webhook(&url("planned", &receiver)).await;
    let event = room.post("").await;
    let deliveries = room.api.get(&room.path(&format!("events/{event}"))).await.expect(200)["deliveries"].clone();
    let ours =
        deliveries.as_array().expect("deliveries").iter().find(|delivery| delivery["webhook_id"] != webhook["id"]);
    let delivery = room.delivery(ours.expect("ours")["id"].as_str().expect("an id"), 1).await;
    let ended = micros(&delivery["attempts"][0]["started_at"]) + millis(&delivery["attempts"][0]["duration_ms"]);
    let wait = Duration::from_micros(u64::try_from(micros(&delivery["next_attempt_at"]) - ended).expect("later"));
    assert!(wait >= Duration::from_secs(30) && wait <= Duration::from_secs(33) + LATE_MAX, "{wait:?}");
    assert_eq!(delivery["schedule"].as_array().map(Vec::len), Some(5), "five retries are planned");
}

fn micros(value: &Value) -> i64 {
    value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()).expect("a time").as_microsecond()
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds of an attempt")]
fn millis(value: &Value) -> i64 {
    (value.as_f64().expect("a number") * 1_000.0) as i64
}

/// One first attempt and five retries, on the page's schedule at a thousandth; then `failed` for good, and a replay by hand.
pub(super) async fn six_attempts(stage: &Stage) {
    let room = stage.room("six").await;
    let receiver = stage
        .choosing(Arc::new(|request| {
            let number: u32 = request.header("X-CronDB-Attempt").and_then(|text| text.parse().ok()).expect("a number");
            status(if number <= 6 { 500 } else { 204 })
        }))
        .await;
    let delays: Vec<Duration> = delays().iter().map(|delay| *delay / 1_000).collect();
    let texts: Vec<String> = delays.iter().map(|delay| format!("{}ms", delay.as_millis())).collect();
    room.try_webhook(&url("six", &receiver), json!({"retry_schedule": texts})).await.expect(201);
    let event = room.post("").await;
    let path = room.path(&format!("events/{event}"));
    wait::until("the end of the schedule", Duration::from_secs(90), async || {
        (room.api.get(&path).await.expect(200)["deliveries"][0]["status"] == "failed").then_some(())
    })
    .await;
    let delivery = room.attempted(&event, 6).await;
    assert!(delivery["next_attempt_at"].is_null(), "failed for good");
    let attempts = delivery["attempts"].as_array().expect("attempts").clone();
    let made: Vec<&str> = attempts.iter().map(|attempt| attempt["reason"].as_str().expect("text")).collect();
    assert_eq!(made, ["first", "retry", "retry", "retry", "retry", "retry"]);
    for (pair, delay) in attempts.windows(2).zip(&delays) {
        let ended = micros(&pair[0]["started_at"]) + millis(&pair[0]["duration_ms"]);
        let waited = Duration::from_micros(u64::try_from(micros(&pair[1]["started_at"]) - ended).expect("later"));
        assert!(waited >= *delay, "early: {waited:?} instead of {delay:?}");
        assert!(waited <= *delay + *delay / 10 + LATE_MAX, "late: {waited:?} instead of {delay:?}");
    }
    assert_eq!(receiver.requests().len(), 6);
    // By hand.
    let id = delivery["id"].as_str().expect("an id");
    room.api.send("POST", &room.path(&format!("deliveries/{id}/replay")), &[], b"").await.expect(202);
    let replayed = room.delivery(id, 7).await;
    assert_eq!(
        (replayed["status"].as_str(), replayed["attempts"][6]["reason"].as_str()),
        (Some("delivered"), Some("replay"))
    );
    let requests = receiver.requests();
    assert_eq!(requests.len(), 7);
    let same = requests.iter().all(|request| request.body == requests[0].body && request.delivery() == id);
    assert!(same, "every attempt and the replay have the same bytes and ids");
    let numbers: Vec<&str> = requests.iter().filter_map(|request| request.header("X-CronDB-Attempt")).collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6", "7"]);
}

/// Any 2xx within five seconds counts, nothing else does, and no more than five seconds are waited.
pub(super) async fn five_seconds(stage: &Stage) {
    for (name, steps, success, error) in [
        ("five-299", status(299), true, None),
        ("five-404", status(404), false, Some("http_4xx")),
        ("five-302", status(302), false, Some("http_3xx")),
        ("five-in-time", after(3, 200), true, None),
        ("five-late", after(20, 200), false, Some("response_timeout")),
    ] {
        let (room, receiver) = (stage.room(name).await, stage.receiver(steps).await);
        room.webhook(&url(name, &receiver)).await;
        let mut delivery = Value::Null;
        // A busy machine may take of the five seconds what the receiver needs: then another event is sent.
        for _ in 0..3 {
            let event = room.post("").await;
            delivery = room.attempted(&event, 1).await;
            if error.is_some() || delivery["attempts"][0]["error"]["code"] != "response_timeout" {
                break;
            }
        }
        let attempt = &delivery["attempts"][0];
        assert_eq!(attempt["error"]["code"].as_str(), error, "{name}");
        assert_eq!(delivery["status"], if success { "delivered" } else { "pending" }, "{name}");
        assert_eq!(delivery["next_attempt_at"].is_null(), success, "{name} is tried again unless it succeeded");
        assert!(attempt["duration_ms"].as_f64().is_some_and(|took| took <= 15_000.0), "{name}: {attempt}");
    }
}

fn after(seconds: u64, code: u16) -> Vec<Step> {
    let mut steps = vec![Step::Pause(Duration::from_secs(seconds))];
    steps.extend(status(code));
    steps
}

/// The log has each attempt with what came back, and an error with a sentence and a hint.
pub(super) async fn logged(stage: &Stage) {
    let body = "we are closed";
    let text = format!("HTTP/1.1 503 X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (room, receiver) = (stage.room("logged").await, stage.receiver(vec![Step::Write(text.into())]).await);
    let webhook = room.webhook(&url("logged", &receiver)).await;
    let event = room.post("").await;
    let delivery = room.attempted(&event, 1).await;
    let attempt = &delivery["attempts"][0];
    assert_eq!((attempt["status_code"].as_u64(), attempt["response"]["body"].as_str()), (Some(503), Some(body)));
    assert_eq!(attempt["error"]["code"], "http_5xx");
    assert!(attempt["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{attempt}");
    assert!(attempt["error"]["hint"].as_str().is_some_and(|text| !text.is_empty()), "{attempt}");
    let id = webhook["id"].as_str().expect("an id");
    let log = room.api.get(&room.path(&format!("deliveries?webhook={id}&error=http_5xx"))).await.expect(200);
    assert_eq!(log["data"][0]["id"], delivery["id"]);
}
