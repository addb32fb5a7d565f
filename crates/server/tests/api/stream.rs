//! `GET …/stream`: what happens, as it happens, and after a gap.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::sessions::{browser, by, ours, portal};
use crate::world::{PLATFORM, World};

/// An open stream.
struct Stream {
    body: Body,
    text: String,
    /// The id with which it began; none where something was missed.
    place: Option<String>,
}

/// One event of a stream.
#[derive(Debug)]
struct Message {
    id: String,
    kind: String,
    data: Value,
}

impl Stream {
    async fn open(world: &World, query: &str, last_id: Option<&str>) -> Self {
        Self::open_with(PLATFORM, world, query, last_id).await
    }

    async fn open_with(key: &str, world: &World, query: &str, last_id: Option<&str>) -> Self {
        Self::open_by(("authorization", &format!("Bearer {key}")), world, "default", query, last_id).await
    }

    /// Opens one of an account, for whoever this header names.
    async fn open_by(
        (name, value): (&str, &str),
        world: &World,
        account: &str,
        query: &str,
        last_id: Option<&str>,
    ) -> Self {
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(format!("/v1/accounts/{account}/stream{query}"))
            .header(name, value);
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let request = request.body(Body::empty()).expect("a request");
        let response = world.router.clone().oneshot(request).await.expect("the router does not fail");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Self { body: response.into_body(), text: String::new(), place: None };
        let greeting = stream.piece().await;
        assert!(greeting.starts_with("retry: "), "{greeting}");
        let place = greeting.lines().find_map(|line| line.strip_prefix("id: ")).map(str::to_owned);
        Self { place, ..stream }
    }

    /// The text up to the next empty line.
    async fn piece(&mut self) -> String {
        loop {
            if let Some((piece, rest)) = self.text.split_once("\n\n") {
                let (piece, rest) = (piece.to_owned(), rest.to_owned());
                self.text = rest;
                return piece;
            }
            let frame = self.body.frame().await.expect("the stream goes on").expect("the stream does not fail");
            let bytes = frame.into_data().expect("data");
            self.text.push_str(std::str::from_utf8(&bytes).expect("text"));
        }
    }

    async fn message(&mut self) -> Message {
        let piece = self.piece().await;
        let field = |name: &str| {
            let line = piece
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_else(|| panic!("no {name} in {piece}"));
            line.to_owned()
        };
        let data = serde_json::from_str(&field("data: ")).expect("JSON");
        Message { id: field("id: "), kind: field("event: "), data }
    }
}

/// One event makes a delivery for each webhook, one attempt a message of itself and of its delivery: a client that is cut off in the
/// middle misses none of them, and is told none twice.
#[tokio::test]
async fn a_stream_that_was_cut_in_the_middle_of_a_happening_goes_on_there() {
    let world = World::new();
    for _ in 0..3 {
        world.webhook("default").await;
    }
    let mut whole = Stream::open(&world, "?types=delivery,attempt", None).await;
    let event = world.event("default").await;
    world.settle(World::first_delivery(&event), 200, b"").await;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(whole.message().await);
    }
    let kinds: Vec<_> = all.iter().map(|message| message.kind.as_str()).collect();
    assert_eq!(kinds, ["delivery", "delivery", "delivery", "attempt", "delivery"]);
    for (seen, last) in all.iter().enumerate() {
        let mut rest = Stream::open(&world, "?types=delivery,attempt", Some(&last.id)).await;
        assert_eq!(rest.place.as_ref(), Some(&last.id), "until it is told more it is where it was");
        for message in &all[seen + 1..] {
            let told = rest.message().await;
            assert_eq!((&told.id, &told.kind, &told.data["id"]), (&message.id, &message.kind, &message.data["id"]));
        }
    }
    // None of what was given.
    let mut lost = Stream::open(&world, "", Some(&format!("{}+x", all[0].id))).await;
    assert_eq!(lost.message().await.kind, "reset");
}

#[tokio::test]
async fn what_happens_is_told_in_order() {
    let world = World::new();
    let mut stream = Stream::open(&world, "", None).await;
    let webhook = world.webhook("default").await;
    let event = world.event("default").await;
    let delivery = World::first_delivery(&event);
    world.settle(delivery, 500, b"db locked").await;
    world.delete(&format!("/v1/accounts/default/webhooks/{webhook}")).await;

    let created = stream.message().await;
    assert_eq!((created.kind.as_str(), &created.data["id"]), ("webhook", &json!(webhook)));
    assert_eq!(created.data["headers"], json!({"X-Api-Key": "••••"}));
    let accepted = stream.message().await;
    assert_eq!((accepted.kind.as_str(), &accepted.data["id"]), ("delivery", &json!(delivery)));
    assert_eq!((&accepted.data["status"], &accepted.data["event"]), (&json!("pending"), &json!("alert.rule_created")));
    let attempt = stream.message().await;
    assert_eq!((attempt.kind.as_str(), &attempt.data["delivery_id"]), ("attempt", &json!(delivery)));
    assert_eq!((&attempt.data["number"], &attempt.data["error"]["code"]), (&json!(1), &json!("http_5xx")));
    assert!(attempt.data["next_attempt_at"].is_string());
    let settled = stream.message().await;
    assert_eq!((settled.kind.as_str(), &settled.data["attempts_made"]), ("delivery", &json!(1)));
    let deleted = stream.message().await;
    assert_eq!((deleted.kind.as_str(), deleted.data), ("webhook", json!({"id": webhook, "deleted": true})));
}

#[tokio::test]
async fn a_stream_holds_its_own_account_s_and_what_was_asked_for_only() {
    let world = World::new();
    world.account("b", &[]).await;
    world.webhook("b").await;
    let (one, two) = (world.webhook("default").await, world.webhook("default").await);
    let mut stream = Stream::open(&world, &format!("?types=delivery&webhook={two}"), None).await;
    world.event("b").await;
    world.patch(&format!("/v1/accounts/default/webhooks/{one}"), &json!({"name": "x"})).await;
    world.event("default").await;
    let message = stream.message().await;
    assert_eq!((message.kind.as_str(), &message.data["webhook_id"]), ("delivery", &json!(two)));
    for (query, status) in [("types=everything", 422), ("webhook=wh_never", 404), ("colour=red", 422)] {
        let reply = world.get(&format!("/v1/accounts/default/stream?{query}")).await;
        assert_eq!(reply.status.as_u16(), status, "{query}");
    }
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_event_seen() {
    let world = World::new();
    world.webhook("default").await;
    let mut stream = Stream::open(&world, "?types=delivery", None).await;
    let first = world.event("default").await;
    let seen = stream.message().await;
    assert_eq!(seen.data["event_id"], json!(first));
    drop(stream);
    let second = world.event("default").await;
    let mut stream = Stream::open(&world, "?types=delivery", Some(&seen.id)).await;
    assert_eq!(stream.message().await.data["event_id"], json!(second));
}

#[tokio::test]
async fn what_cannot_be_made_up_for_is_a_reset() {
    let world = World::new();
    world.webhook("default").await;
    let mut stream = Stream::open(&world, "", None).await;
    world.event("default").await;
    let seen = stream.message().await;
    for _ in 0..5 {
        let batch = Value::Array(vec![json!({"event": "alert.rule_created", "data": {}}); 1_000]);
        world.post("/v1/events", &batch).await;
    }
    for last_id in [&seen.id, "1-1", "nonsense", &"9".repeat(10_000)] {
        let mut stream = Stream::open(&world, "", Some(last_id)).await;
        let reset = stream.message().await;
        assert_eq!(reset.kind, "reset", "{last_id:.40}");
        let event = world.event("default").await;
        assert_eq!(stream.message().await.data["event_id"], json!(event));
    }
}

#[tokio::test]
async fn an_account_has_so_many_streams_and_no_more() {
    let world = World::new();
    let other = world.account("other", &[]).await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(Stream::open(&world, "", None).await);
    }
    let refused = async |path: &str| world.ask(Method::GET, path).key(PLATFORM).send().await;
    for path in ["/v1/accounts/default/stream", "/v1/accounts/default/deliveries/export"] {
        let reply = refused(path).await;
        assert_eq!((reply.status, &reply.json()["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("too_many_streams")));
        assert_eq!(reply.headers["retry-after"], "10");
        assert!(reply.json()["detail"].as_str().is_some_and(|detail| detail.starts_with("The account has 100 ")));
    }
    Stream::open_by(("authorization", &format!("Bearer {other}")), &world, "other", "", None).await;
    streams.pop();
    streams.push(Stream::open(&world, "", None).await);
    assert_eq!(refused("/v1/accounts/default/stream").await.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_a_heartbeat() {
    let world = World::new();
    let mut stream = Stream::open(&world, "", None).await;
    let before = tokio::time::Instant::now();
    assert_eq!(stream.piece().await, ": alive");
    assert_eq!(before.elapsed().as_secs(), 15);
}

#[tokio::test]
async fn a_revoked_key_sees_nothing_more() {
    let world = World::new();
    let key = world.key("default", &[]).await;
    let mut stream = Stream::open_with(&key, &world, "", None).await;
    world.webhook("default").await;
    assert_eq!(stream.message().await.kind, "webhook");
    let keys = world.get("/v1/accounts/default/keys").await.json();
    let id = keys["data"][0]["id"].as_str().expect("an id");
    world.delete(&format!("/v1/accounts/default/keys/{id}")).await;
    world.event("default").await;
    assert!(stream.body.frame().await.is_none(), "the stream has ended");
}

#[tokio::test]
async fn a_stream_resumes_before_anything_was_told() {
    let world = World::new();
    world.webhook("default").await;
    let place = Stream::open(&world, "?types=delivery", None).await.place.expect("the place where it begins");
    let event = world.event("default").await;
    let mut stream = Stream::open(&world, "?types=delivery", Some(&place)).await;
    assert_eq!(stream.message().await.data["event_id"], json!(event));
    let mut stream = Stream::open(&world, "?types=delivery", Some("1-1")).await;
    assert_eq!(stream.place, None, "no place that would hide the gap");
    assert_eq!(stream.message().await.kind, "reset");
}

#[tokio::test]
async fn a_browser_follows_by_its_cookie_until_it_signs_out() {
    let world = World::new();
    let cookie = browser(&world, PLATFORM).await;
    let mut stream = Stream::open_by(("cookie", &cookie), &world, "default", "", None).await;
    let webhook = world.webhook("default").await;
    let told = stream.message().await;
    assert_eq!((&*told.kind, &told.data["id"]), ("webhook", &json!(webhook)));
    let resumed = Stream::open_by(("cookie", &cookie), &world, "default", "", Some(&told.id)).await;
    let out = ours(by(&world, &cookie, Method::DELETE, "/v1/sessions/current")).send().await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    for mut stream in [stream, resumed] {
        assert!(stream.body.frame().await.is_none(), "the stream has ended with the session");
    }
}

#[tokio::test]
async fn a_portal_follows_its_own_account_by_its_token() {
    let world = World::new();
    world.account("acme", &[]).await;
    world.account("other", &[]).await;
    let made = portal(&world, &json!({"name": "jane"})).await;
    let token = made["token"].as_str().expect("a token");
    let header = ("authorization", &*format!("Bearer {token}"));
    let mut stream = Stream::open_by(header, &world, "acme", "", None).await;
    world.webhook("other").await;
    let webhook = world.webhook("acme").await;
    assert_eq!(stream.message().await.data["id"], json!(webhook), "nothing of the other account");
    let other = world.ask(Method::GET, "/v1/accounts/other/stream").key(token).send().await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
    let mut stream = Stream::open_by(header, &world, "acme", "", Some("1-1")).await;
    assert_eq!(stream.message().await.kind, "reset");
}

#[tokio::test]
async fn a_slow_reader_is_told_what_it_missed_and_goes_on() {
    let world = World::new();
    world.webhook("default").await;
    let mut slow = Stream::open(&world, "", None).await;
    for _ in 0..5 {
        let batch = Value::Array(vec![json!({"event": "alert.rule_created", "data": {}}); 1_000]);
        world.post("/v1/events", &batch).await;
    }
    // Nothing of the 5,000 was kept for it: the first thing it reads says so.
    assert_eq!(slow.message().await.kind, "reset");
    let event = world.event("default").await;
    assert_eq!(slow.message().await.data["event_id"], json!(event));
}
