//! Group E: events posted to us. Each row posts into an account of its own, where the events that are kept are counted.

use serde_json::json;

use super::seen::{Played, Seen};
use super::stage::Stage;
use crate::api::{Api, Reply};
use crate::receiver::status;
use crate::room::Room;
use crate::table::{EXAMPLE, Row};

mod framing;

/// An account, and a key of it that may post events: a body without an account is the key's own account's.
pub(super) struct Poster {
    room: Room,
    api: Api,
}

pub(super) async fn play(stage: &Stage, row: &Row) -> Played {
    let poster = Poster::new(stage, row).await;
    let number: u32 = row.id[1..].parse().expect("a number");
    let seen = match number {
        2 => poster.text(row, &[], 0).await,
        3 => hundred_mebibytes(&poster).await,
        15..=23 | 25 => delivered_as_it_came(stage, &poster, row).await,
        38..=40 => Seen::reply(&poster.room.api.send("POST", "/v1/events", &[], &row.bytes()).await),
        41 => foreign(&poster, row).await,
        42 => batch(&poster, 1_000, 1_000).await,
        43 => batch(&poster, 1_001, 0).await,
        44 => ndjson(&poster, "{LINE}\n{broken\n{LINE}\n", &[202, 422, 202]).await,
        45 => ndjson(&poster, "{LINE}", &[202]).await,
        46 => poster.text(row, &[("Content-Type", "text/plain")], 0).await,
        47 => poster.text(row, &[("Content-Encoding", "gzip")], 0).await,
        48 => poster.text(row, &[("Content-Type", "application/json; charset=utf-8")], 1).await,
        49..=51 => idempotency_key(&poster, row).await,
        52 => other_body(&poster).await,
        53 => fifty_at_once(&poster).await,
        54 => another_account(stage, &poster).await,
        55..=61 => framing::raw(&poster, row).await,
        62 | 63 => framing::slow(stage, &poster, row).await,
        64 => framing::disconnect(&poster).await,
        65 => {
            return Played::left_out(
                "a store that stalls cannot be played on the shipped binary; the store's own tests have a stalled writer",
            );
        }
        _ => {
            let accepted = usize::from(row.expected == ["status:202"]);
            poster.text(row, &[], accepted).await
        }
    };
    seen.into()
}

/// A valid event.
fn line() -> String {
    format!(r#"{{"event":"watchlist.domain_changed","data":{{{EXAMPLE}}}}}"#)
}

impl Poster {
    async fn new(stage: &Stage, row: &Row) -> Self {
        let room = Room::open(&stage.main.api, &row.id.to_ascii_lowercase()).await;
        let api = key_of(&room, &["account", "events:write"]).await;
        Self { room, api }
    }

    async fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.api.send("POST", "/v1/events", headers, body).await
    }

    /// Posts the row's text; `kept` events must be kept then.
    async fn text(&self, row: &Row, headers: &[(&str, &str)], kept: usize) -> Seen {
        let reply = self.post(headers, &row.bytes()).await;
        let mut seen = Seen::reply(&reply);
        if row.id == "E034" {
            let errors = reply.json()["errors"].clone();
            let pointers: Vec<&str> =
                errors.as_array().into_iter().flatten().filter_map(|e| e["pointer"].as_str()).collect();
            let both = |start: &str| pointers.iter().filter(|pointer| pointer.starts_with(start)).count() == 1;
            seen.must(
                pointers.len() == 2 && both("/data/domain") && both("/data/changes"),
                format!("pointers {pointers:?}"),
            );
        }
        self.kept(kept, &mut seen).await;
        seen
    }

    /// How many events the account has must be `expected`.
    async fn kept(&self, expected: usize, seen: &mut Seen) {
        let (mut count, mut path) = (0, self.room.path("events?limit=100"));
        loop {
            let page = self.room.api.get(&path).await.expect(200);
            count += page["data"].as_array().map_or(0, Vec::len);
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = self.room.path(&format!("events?limit=100&cursor={cursor}"));
        }
        seen.must(count == expected, format!("{count} events are kept, not {expected}"));
    }
}

/// A key of the room's account.
pub(super) async fn key_of(room: &Room, scopes: &[&str]) -> Api {
    let made = room.api.post(&room.path("keys"), &json!({"name": "tests", "scopes": scopes})).await.expect(201);
    room.api.with_key(made["key"].as_str().expect("the key itself"))
}

/// E003: 100 MiB. Whatever was refused by its length needs not be sent; what is sent without end must not be read.
async fn hundred_mebibytes(poster: &Poster) -> Seen {
    let block = vec![b'a'; 1024 * 1024];
    let head = |address| {
        format!(
            "POST /v1/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\nContent-Length: 104857600\r\n\r\n"
        )
    };
    let head = head(poster.api.address).replace("Bearer x", &format!("Bearer {}", poster.api.key()));
    let mut parts: Vec<&[u8]> = vec![head.as_bytes()];
    parts.extend(std::iter::repeat_n(block.as_slice(), 100));
    let mut seen = Seen::maybe_reply(poster.api.raw(&parts).await);
    poster.kept(0, &mut seen).await;
    seen
}

/// What was posted must arrive byte for byte.
async fn delivered_as_it_came(stage: &Stage, poster: &Poster, row: &Row) -> Seen {
    let receiver = stage.receiver(status(200)).await;
    poster.room.webhook(&format!("https://{}.example.com:{}/", poster.room.account, receiver.port())).await;
    let body = row.text();
    let reply = poster.post(&[], body.as_bytes()).await;
    let mut seen = Seen::reply(&reply);
    if reply.status != 202 {
        return seen;
    }
    let event = reply.json()["id"].as_str().expect("an id").to_owned();
    let error = poster.room.attempted(&event, 1).await["attempts"][0]["error"].clone();
    seen.in_time(error["code"].as_str().is_none_or(|code| !code.ends_with("_timeout")));
    let (_, data) = body.split_once(r#""data":"#).expect("data");
    let came = receiver
        .requests()
        .first()
        .map(|request| String::from_utf8_lossy(&request.body).into_owned())
        .unwrap_or_default();
    let came = came.split_once(r#""data":"#).map(|(_, data)| data.to_owned()).unwrap_or_default();
    seen.must(came == data, format!("arrived as {came}, {error}"));
    let shown = poster.room.api.get(&poster.room.path(&format!("events/{event}"))).await.text();
    seen.must(shown.contains(data.trim_end_matches('}')), "the API shows it otherwise");
    poster.kept(1, &mut seen).await;
    seen
}

/// E041: an event for account b, with a key of account a.
async fn foreign(poster: &Poster, row: &Row) -> Seen {
    let body = row.text().replace(r#""account":"b""#, r#""account":"e041-b""#);
    let b = Room::open(&poster.room.api, "e041-b").await;
    let mut seen = Seen::reply(&poster.post(&[], body.as_bytes()).await);
    poster.kept(0, &mut seen).await;
    Poster { room: b, api: poster.api.clone() }.kept(0, &mut seen).await;
    seen
}

async fn batch(poster: &Poster, count: usize, kept: usize) -> Seen {
    let body = format!("[{}]", vec![line(); count].join(","));
    let reply = poster.post(&[], body.as_bytes()).await;
    let mut seen = Seen::reply(&reply);
    if reply.status == 200 {
        let results = reply.json()["results"].as_array().cloned().unwrap_or_default();
        let all = results.iter().all(|result| result["status"] == 202);
        seen.must(results.len() == count && all, "not one 202 for each");
        let mut times: Vec<&str> = results.iter().filter_map(|result| result["timestamp"].as_str()).collect();
        seen.must(times.is_sorted(), "the results are not in order");
        times.dedup();
        seen.must(times.len() == count, "two events have one timestamp");
    }
    poster.kept(kept, &mut seen).await;
    seen
}

async fn ndjson(poster: &Poster, text: &str, statuses: &[u64]) -> Seen {
    let body = text.replace("{LINE}", &line());
    let reply = poster.post(&[("Content-Type", "application/x-ndjson")], body.as_bytes()).await;
    let mut seen = Seen::reply(&reply);
    let json = reply.json();
    let got: Vec<u64> =
        json["results"].as_array().into_iter().flatten().filter_map(|result| result["status"].as_u64()).collect();
    seen.must(got == statuses, format!("results {got:?}"));
    poster.kept(statuses.iter().filter(|status| **status == 202).count(), &mut seen).await;
    seen
}

/// E049–E051: keys that are none.
async fn idempotency_key(poster: &Poster, row: &Row) -> Seen {
    let key = String::from_utf8(row.after("@Idempotency-Key: ").expect("a key")).expect("text").replace("\\t", "\t");
    let mut seen = Seen::reply(&poster.post(&[("Idempotency-Key", &key)], line().as_bytes()).await);
    poster.kept(0, &mut seen).await;
    seen
}

async fn other_body(poster: &Poster) -> Seen {
    let key = [("Idempotency-Key", "e052")];
    poster.post(&key, line().as_bytes()).await.expect(202);
    let other = line().replace("competitor.com", "another.com");
    let mut seen = Seen::reply(&poster.post(&key, other.as_bytes()).await);
    poster.kept(1, &mut seen).await;
    seen
}

async fn fifty_at_once(poster: &Poster) -> Seen {
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let api = poster.api.clone();
        posts.spawn(
            async move { api.send("POST", "/v1/events", &[("Idempotency-Key", "e053")], line().as_bytes()).await },
        );
    }
    let replies = posts.join_all().await;
    let mut seen = Seen::reply(&replies[0]);
    let equal = replies.iter().all(|reply| (reply.status, &reply.body) == (replies[0].status, &replies[0].body));
    seen.must(equal, "the answers differ");
    poster.kept(1, &mut seen).await;
    seen
}

async fn another_account(stage: &Stage, poster: &Poster) -> Seen {
    let other = Room::open(&stage.main.api, "e054-other").await;
    let other = Poster { api: key_of(&other, &["account", "events:write"]).await, room: other };
    let key = [("Idempotency-Key", "e054")];
    poster.post(&key, line().as_bytes()).await.expect(202);
    let mut seen = Seen::reply(&other.post(&key, line().replace("competitor", "another").as_bytes()).await);
    poster.kept(1, &mut seen).await;
    other.kept(1, &mut seen).await;
    // The platform's key, for two accounts: the key is one, the accounts are not.
    for room in [&poster.room, &other.room] {
        let body = line().replacen('{', &format!(r#"{{"account":"{}","#, room.account), 1);
        room.api.send("POST", "/v1/events", &key, body.as_bytes()).await.expect(202);
    }
    seen
}
