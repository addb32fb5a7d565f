//! Group R: what a receiver answers over HTTP. What happens below HTTP is in `transport`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::seen::{Played, Seen};
use super::stage::Stage;
use crate::receiver::{Receiver, Script, Step, status};
use crate::room::{Room, attempt, start};
use crate::table::Row;
use crate::wait;

/// What of an answer's body is kept, and what of it is read at most.
const KEPT_MAX: usize = 16 * 1024;
/// What an endless body can be sent of before we are seen to read no more: what is read, and what sockets hold.
const FLOODED_MAX: u64 = 16 * 1024 * 1024;

pub(super) async fn play(stage: &Stage, row: &Row) -> Played {
    match row.id.as_str() {
        id if ("R084".."R089").contains(&id) => {
            return Played::left_out(
                "HTTP/2: not offered unless a webhook asks for it; played with the HTTP/2 tests of the sender",
            );
        }
        "R083" => return super::transport::every_stage_slow(stage, row).await.into(),
        "R089" => return five_hundred_hanging(stage).await.into(),
        _ => {}
    }
    let script = script(stage, row);
    let receiver = Receiver::start(script).await;
    let room = stage.room(row).await;
    let (delivery, attempt) =
        attempt(&room, &format!("https://{}.example.com:{}/", room.account, receiver.port())).await;
    let seen = Seen::attempt(&attempt);
    after(stage, row, &room, &receiver, (delivery, attempt), seen).await.into()
}

/// What the receiver does.
fn script(stage: &Stage, row: &Row) -> Script {
    let tls = Some(Arc::clone(&stage.tls));
    let answering = |steps| Script::answering(tls.clone(), steps);
    let written = |head: &str, body: &[u8]| vec![Step::Write([head.as_bytes(), body].concat())];
    let late = |span| {
        let mut steps = vec![Step::Pause(span)];
        steps.extend(status(200));
        answering(steps)
    };
    if let Some(body) = row.after("@200 with body: ") {
        return answering(written(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()), &body));
    }
    match row.id.as_str() {
        "R032" => answering(vec![Step::Close]),
        "R033" => answering(vec![Step::Write(row.bytes()), Step::Close]),
        "R034" => {
            let head = "HTTP/1.1 500 X\r\nContent-Length: 1000\r\n\r\n";
            answering(vec![Step::Write(head.into()), Step::Trickle(b"x".to_vec(), Duration::from_secs(1))])
        }
        "R035" => {
            let head = Step::Write(b"HTTP/1.1 200 OK\r\n".to_vec());
            answering(vec![head, Step::Trickle(b"X-A: b\r\n".to_vec(), Duration::from_secs(1))])
        }
        "R036" => {
            let head = Step::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n".to_vec());
            answering(vec![head, Step::Flood(vec![b'x'; 65_536])])
        }
        "R042" | "R043" | "R044" => {
            let (how, body) = (encoding(row), compressed(encoding(row)));
            let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {how}\r\nContent-Length: {}\r\n\r\n", body.len());
            answering(written(&head, &body))
        }
        "R081" => late(Duration::from_millis(4_700)),
        "R082" => late(Duration::from_secs(60)),
        _ => match row.input.strip_suffix("@hang") {
            Some(text) => answering(vec![Step::Write(crate::table::unescape(text)), Step::Hang]),
            None => answering(vec![Step::Write(row.bytes())]),
        },
    }
}

/// Bytes that inflate to a thousand times as many: a deflate block whose codes of one bit each stand for 258 zeros. Nobody
/// has an encoder for brotli at hand; who looked into the body would fail on these too, and be seen to.
fn compressed(how: &str) -> Vec<u8> {
    let start: &[u8] = match how {
        "gzip" => &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3],
        "deflate" => &[0x78, 0x9c],
        _ => &[],
    };
    [start, &[236, 193, 1, 1, 0, 0, 0, 128, 144, 254, 175, 238, 8, 10], &[0; 16_000]].concat()
}

/// The encoding that a row names.
fn encoding(row: &Row) -> &str {
    let (_, rest) = row.input.split_once("Content-Encoding: ").unwrap_or_default();
    rest.split(',').next().unwrap_or_default()
}

/// What the row's note says beside the attempt's outcome.
async fn after(
    stage: &Stage,
    row: &Row,
    room: &Room,
    receiver: &Receiver,
    (delivery, attempt): (Value, Value),
    mut seen: Seen,
) -> Seen {
    let header = |name: &str| {
        let headers = attempt["response"]["headers"].as_array();
        let found = headers
            .into_iter()
            .flatten()
            .find(|header| header["name"].as_str().is_some_and(|n| n.eq_ignore_ascii_case(name)));
        found.and_then(|header| header["value"].as_str()).unwrap_or_default().to_owned()
    };
    match row.id.as_str() {
        "R004" | "R005" | "R006" | "R007" => {
            seen.must(header("location") == "https://169.254.169.254/", "the Location is not kept");
            seen.must(receiver.connections() == 1, "a second connection");
        }
        "R018" | "R020" | "R022" | "R023" | "R024" => {
            let wait = planned(&delivery, &attempt);
            seen.must(close_to(wait, 3_600.0), format!("the next attempt comes {wait} s later"));
        }
        "R019" | "R021" => {
            let wait = planned(&delivery, &attempt);
            let horizon = close_to(wait, 3_600.0) || close_to(wait, 7_200.0);
            seen.must(horizon, format!("the next attempt comes {wait} s later"));
        }
        "R036" => {
            let kept = attempt["response"]["body"].as_str().map_or(0, str::len);
            seen.must(kept == KEPT_MAX, format!("{kept} bytes are kept"));
            seen.must(attempt["response"]["truncated"] == true, "not marked as truncated");
            wait::until("the end of the flood", Duration::from_secs(10), async || {
                (receiver.ended() == 1).then_some(())
            })
            .await;
            let flooded = receiver.bytes_flooded();
            seen.must(flooded <= FLOODED_MAX, format!("{flooded} bytes could be sent"));
        }
        "R038" | "R039" => {
            // By the second delivery at the latest, it would be used again.
            let event = room.post("").await;
            room.attempted(&event, 1).await;
            seen.must(receiver.connections() == 2, "the connection was used again");
        }
        "R042" | "R043" | "R044" => {
            let kept = body(&attempt);
            seen.must(
                kept == compressed(encoding(row)),
                format!("{} bytes are read back, not those that came", kept.len()),
            );
        }
        "R046" => {
            let shown = header("x-a");
            seen.must(
                shown.contains("\\xe9\\xff") || shown.contains("\\xE9\\xFF"),
                format!("the header is shown as {shown}"),
            );
        }
        "R050" | "R051" | "R052" => {
            let kept = body(&attempt);
            seen.must(Some(&kept) == row.after("@200 with body: ").as_ref(), format!("read back as {kept:?}"));
            seen.must(!controls(&client(stage, room, &delivery)), "the client prints control codes");
        }
        "R053" | "R054" | "R055" | "R056" | "R057" => {
            seen = shown_as_text(stage, room, &delivery, &attempt, row, seen).await;
        }
        "R058" => {
            let event = room.post("").await;
            room.attempted(&event, 1).await;
            let cookies = receiver.requests_where(|request| request.header("cookie").is_some()).len();
            let shown =
                room.api.get(&room.path(&format!("deliveries/{}", delivery["id"].as_str().expect("an id")))).await;
            let ignored = cookies == 0 && receiver.requests().len() == 2 && shown.header("set-cookie").is_none();
            seen = seen.check("ignored", ignored, "the cookie was kept or handed on");
        }
        "R059" | "R060" => {
            seen.must(receiver.connections() == 1 && receiver.requests().len() == 1, "a second request");
        }
        _ => {}
    }
    seen
}

/// How long after the attempt's end the next one is planned, in seconds.
fn planned(delivery: &Value, attempt: &Value) -> f64 {
    let at = |value: &Value| {
        value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()).expect("a time").as_microsecond()
    };
    let ended = at(&attempt["started_at"]) as f64 + attempt["duration_ms"].as_f64().expect("a number") * 1_000.0;
    (at(&delivery["next_attempt_at"]) as f64 - ended) / 1_000_000.0
}

fn close_to(seconds: f64, expected: f64) -> bool {
    (seconds - expected).abs() < 1.0
}

/// The bytes of an answer's body as they are kept.
fn body(attempt: &Value) -> Vec<u8> {
    let response = &attempt["response"];
    match response["body_base64"].as_str() {
        Some(text) => data_encoding::BASE64.decode(text.as_bytes()).expect("base64"),
        None => response["body"].as_str().unwrap_or_default().as_bytes().to_vec(),
    }
}

/// The delivery as the client shows it.
fn client(stage: &Stage, room: &Room, delivery: &Value) -> String {
    stage.main.client(&room.account, &["deliveries", "show", delivery["id"].as_str().expect("an id")])
}

/// Whether a terminal would do something else than show the text.
fn controls(text: &str) -> bool {
    text.chars().any(|character| character.is_control() && character != '\n')
}

/// R053–R057: in the API as a JSON string, under a type that no browser takes for a page; in the client as it is.
async fn shown_as_text(
    stage: &Stage,
    room: &Room,
    delivery: &Value,
    attempt: &Value,
    row: &Row,
    mut seen: Seen,
) -> Seen {
    let id = delivery["id"].as_str().expect("an id").to_owned();
    let reply = room.api.get(&room.path(&format!("deliveries/{id}"))).await;
    let as_json = reply.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    let came = row.after("@200 with body: ").expect("a body");
    let shown = client(stage, room, delivery);
    let in_client = shown.contains(&*String::from_utf8_lossy(&came)) && !controls(&shown);
    seen.must(in_client, format!("the client shows {shown}"));
    seen.check("shown_as_text", as_json && body(attempt) == came, format!("as {:?}", reply.header("content-type")))
}

/// R089: 500 deliveries of one account hang, each for almost as long as it may. Another account's keep their pace.
async fn five_hundred_hanging(stage: &Stage) -> Seen {
    const WEBHOOKS: usize = 50;
    let server = start(stage.launch().flag("--max-in-flight", 10)).await;
    let mut steps = vec![Step::Pause(Duration::from_millis(4_900))];
    steps.extend(status(200));
    let (hanging, quick) = (stage.receiver(steps).await, stage.receiver(status(200)).await);
    let (one, other) = (Room::open(&server.api, "r089").await, Room::open(&server.api, "r089-other").await);
    for place in 0..WEBHOOKS {
        one.try_webhook(&format!("https://r089-{place}.example.com:{}/", hanging.port()), json!({})).await.expect(201);
    }
    other.webhook(&format!("https://r089-other.example.com:{}/", quick.port())).await;
    for _ in 0..10 {
        one.post("").await;
    }
    wait::until("requests that hang", Duration::from_secs(20), async || {
        (hanging.requests().len() >= WEBHOOKS).then_some(())
    })
    .await;
    let mut slowest: f64 = 0.0;
    let mut seen = Seen::default();
    for _ in 0..20 {
        let event = other.post("").await;
        let attempt = other.attempted(&event, 1).await["attempts"][0].clone();
        seen.must(Seen::attempt(&attempt).fits("delivered"), "another account's delivery failed");
        slowest = slowest.max(attempt["timing"]["queue"].as_f64().unwrap_or(f64::MAX));
    }
    let hung = hanging.requests().len();
    seen.must(hung >= WEBHOOKS, format!("only {hung} requests hang"));
    let unaffected = seen.in_time(slowest < 1_000.0);
    seen.check("others_unaffected", unaffected, format!("another account's first attempts waited up to {slowest} ms"))
}
