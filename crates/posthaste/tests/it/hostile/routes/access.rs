//! Rows of group T about who calls, how often, and under which address.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::events::key_of;
use super::super::seen::Seen;
use super::super::stage::Stage;
use super::Pair;
use crate::api::Reply;
use crate::room::Room;
use crate::server::PLATFORM_KEY;
use crate::table::Row;

/// T001–T009. Each from an address of its own: wrong keys are counted per address.
pub(super) async fn wrong_key(stage: &Stage, row: &Row) -> Seen {
    const PATH: &str = "/v1/accounts/default/webhooks";
    let api = stage.main.api.without_key().from(&format!("127.0.77.{}", row.id[1..].parse::<u8>().expect("a number")));
    let good = format!("Bearer {PLATFORM_KEY}");
    let reply = match row.id.as_str() {
        "T001" => api.try_send("GET", PATH, &[], b"").await,
        "T006" => api.try_send("GET", PATH, &[("Authorization", &good), ("Authorization", &good)], b"").await,
        "T008" => {
            let room = stage.room(row).await;
            let deleted = key_of(&room, &[]).await;
            stage.main.api.delete(&format!("/v1/accounts/{}", room.account)).await;
            api.with_key(deleted.key()).try_send("GET", &room.path("webhooks"), &[], b"").await
        }
        "T009" => {
            let changed = PLATFORM_KEY.replace("phk_of", "phk_oF");
            api.with_key(&changed).try_send("GET", PATH, &[], b"").await
        }
        _ => {
            let value = row.after("@Authorization: ").expect("a header");
            let value = String::from_utf8(value).expect("text");
            api.try_send("GET", PATH, &[("Authorization", &value)], b"").await
        }
    };
    match reply {
        // Beyond what a head may have there is no request of which a problem document could tell.
        Ok(reply) if reply.status == 431 => Seen::word("status:431"),
        reply => Seen::maybe_reply(reply),
    }
}

/// T083–T091: addresses that a lenient reader would take for others.
pub(super) async fn odd_address(pair: &Pair, row: &Row) -> Seen {
    let text = row
        .input
        .replace("/accounts/a", &format!("/accounts/{}", pair.a.account))
        .replace("/b/", &format!("/{}/", pair.b.account));
    let (method, target) = text.split_once(' ').expect("a method");
    let target = target.split(' ').next().expect("a target");
    let (host, key) = if row.id == "T091" { ("evil.com", PLATFORM_KEY) } else { ("localhost", pair.key_a.key()) };
    let target = if row.id == "T091" { format!("{target}?limit=1") } else { target.to_owned() };
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
    );
    let reply = pair.key_a.raw(&[head.as_bytes()]).await.expect("an answer");
    let mut seen = Seen::reply(&reply);
    if row.id == "T091" {
        let named =
            reply.headers.iter().any(|(_, value)| value.contains("evil.com")) || reply.text().contains("evil.com");
        seen.must(!named, "the answer names evil.com");
    } else if reply.status == 200 {
        let own = reply.json()["data"]
            .as_array()
            .is_some_and(|rows| rows.iter().all(|row| row["account"] == *pair.a.account));
        seen.must(own, "rows of another account");
    }
    seen
}

pub(super) async fn preflight(pair: &Pair, _row: &Row) -> Seen {
    let headers = [("Origin", "https://evil.com"), ("Access-Control-Request-Method", "POST")];
    let reply = pair.key_a.without_key().send("OPTIONS", &pair.a.path("webhooks"), &headers, b"").await;
    let allowed = reply.header("access-control-allow-origin");
    Seen::default().check("no_cors", allowed.is_none(), format!("allows {allowed:?}"))
}

/// T106, T108: wrong keys, one after the other, from one address; whatever the requests say where they come from.
pub(super) async fn sign_ins(stage: &Stage, row: &Row) -> Seen {
    let (here, there) = if row.id == "T106" { ("127.0.66.1", "127.0.66.2") } else { ("127.0.67.1", "127.0.67.2") };
    let api = stage.main.api.with_key("phk_wrong_wrong_wrong_wrong");
    let mut statuses = Vec::new();
    let mut last = None;
    for number in 0..15 {
        let forwarded = format!("203.0.113.{number}");
        let headers = [("X-Forwarded-For", if row.id == "T108" { forwarded.as_str() } else { "" })];
        let headers = if row.id == "T108" { &headers[..] } else { &[] };
        let reply = api.from(here).send("GET", "/v1/accounts", headers, b"").await;
        statuses.push(reply.status);
        last = Some(reply);
    }
    let last: Reply = last.expect("fifteen answers");
    let counted =
        statuses[..10].iter().all(|status| *status == 401) && statuses[10..].iter().all(|status| *status == 429);
    let mut seen = Seen::reply(&last).check("ignored", counted, format!("answers {statuses:?}"));
    seen.must(last.header("retry-after").is_some(), "no Retry-After");
    let other = api.from(there).send("GET", "/v1/accounts", &[], b"").await;
    seen.must(other.status == 401, format!("another address gets {}", other.status));
    let good = stage.main.api.from(here).send("GET", "/v1/accounts", &[], b"").await;
    seen.must(good.status == 200, "a right key is refused");
    seen
}

/// T107: 1,000 requests at once on one connection.
pub(super) async fn thousand_requests(stage: &Stage, row: &Row) -> Seen {
    let room = stage.room(row).await;
    let other = Room::open(&stage.main.api, "t107-other").await;
    let (api, other) = (key_of(&room, &[]).await, (key_of(&other, &[]).await, other));
    let one = |close| {
        let connection = if close { "close" } else { "keep-alive" };
        let path = room.path("webhooks");
        format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: {connection}\r\n\r\n",
            api.key()
        )
    };
    let all = one(false).repeat(999) + &one(true);
    let bytes = api.to_the_end(&[all.as_bytes()]).await.expect("answers");
    let text = String::from_utf8_lossy(&bytes);
    let refused = text.find("HTTP/1.1 429").map(|at| Reply::parse(&bytes[at..]).expect("a whole answer"));
    let Some(refused) = refused else { return Seen::word("all were answered") };
    let mut seen = Seen::reply(&refused);
    seen.must(refused.header("retry-after").is_some(), "no Retry-After");
    let (other_key, other_room) = other;
    let reply = other_key.get(&other_room.path("webhooks")).await;
    seen.must(reply.status == 200, format!("another account gets {}", reply.status));
    seen
}

/// T115: the stream does not end: its head is all that is read.
pub(super) async fn last_event_id(pair: &Pair, row: &Row) -> Seen {
    let value = String::from_utf8(row.after("@Last-Event-ID: ").expect("an id")).expect("text");
    let path = pair.a.path("stream");
    let key = pair.key_a.key();
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nLast-Event-ID: {value}\r\n\r\n");
    let mut stream = pair.key_a.connect().await.expect("a connection");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        assert!(stream.read_buf(&mut answer).await.expect("an answer") > 0, "closed");
    }
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().to_owned();
    let mut seen = Seen::word(format!("status:{status}"));
    if status.starts_with('4') {
        seen = Seen::word("status:4xx");
    }
    let alive = pair.a.api.post(&pair.a.path("url-check"), &json!({"url": "https://example.com/"})).await;
    seen.must(alive.status < 500, "the server is not well");
    seen
}
