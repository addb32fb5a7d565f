//! `POST …/test`: a test goes through the pipeline, and its attempt is the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tracing::span;

use crate::world::{PLATFORM, World};

/// Counts the lines of the log that say that a test was sent.
#[derive(Clone, Default)]
struct Lines(Arc<AtomicUsize>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            if field.name() == "message" && format!("{value:?}") == "test sent" {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        });
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Plays the dispatcher: records an answer of `status` for the first event that appears in the list.
async fn dispatch(world: &World, status: u16) {
    loop {
        let events = world.get("/v1/accounts/default/events?limit=1").await.json();
        if let Some(id) = events["data"][0]["id"].as_str() {
            return world.settle(World::first_delivery(id), status, b"thanks").await;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_answer_is_the_attempt_also_while_the_webhook_is_paused() {
    let world = World::new();
    let id = world.webhook("default").await;
    world.post(&format!("/v1/accounts/default/webhooks/{id}/pause"), &json!({})).await;
    let path = format!("/v1/accounts/default/webhooks/{id}/test");
    let body = json!({"event": "alert.domain_matched"});
    let (reply, ()) = tokio::join!(world.post(&path, &body), dispatch(&world, 200));
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    let json = reply.json();
    assert_eq!(json["note"], "The webhook is paused; the test was sent all the same.");
    assert_eq!((&json["attempt"]["reason"], &json["attempt"]["status_code"]), (&json!("test"), &json!(200)));
    assert_eq!(json["attempt"]["response"]["body"], "thanks");
    assert!(json["attempt"]["request"]["body"].as_str().is_some_and(|body| body.contains("newstartup.com")));
    assert_eq!((&json["delivery"]["status"], &json["delivery"]["test"]), (&json!("delivered"), &json!(true)));
    let stats = world.get("/v1/accounts/default/stats").await.json();
    assert_eq!(
        (&stats["delivered"], &stats["success"]),
        (&json!(0), &Value::Null),
        "tests are left out of the figures"
    );
}

#[tokio::test(start_paused = true)]
async fn a_test_that_takes_too_long_is_answered_without_its_attempt() {
    let world = World::new();
    let id = world.webhook("default").await;
    let path = format!("/v1/accounts/default/webhooks/{id}/test");
    let before = tokio::time::Instant::now();
    let reply = world.post(&path, &json!({"event": "alert.rule_created", "data": {"mine": true}})).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    assert_eq!(reply.json()["attempt"], Value::Null);
    assert_eq!(before.elapsed().as_secs(), 7, "the deadline and 2 s");
}

#[tokio::test]
async fn the_same_test_again_is_the_same_test() {
    let world = Arc::new(World::new());
    let id = world.webhook("default").await;
    let path = format!("/v1/accounts/default/webhooks/{id}/test");
    let send = async || {
        let ask = world.ask(Method::POST, &path).key(PLATFORM).header("idempotency-key", "k");
        ask.json(&json!({"event": "alert.rule_created"})).send().await
    };
    let lines = Lines::default();
    let _listens = tracing::subscriber::set_default(lines.clone());
    let (first, ()) = tokio::join!(send(), dispatch(&world, 404));
    let second = send().await;
    assert_eq!(lines.0.load(Ordering::SeqCst), 1, "one test, one line in the log");
    assert_eq!((first.status, first.json()), (second.status, second.json()));
    assert_eq!(first.json()["attempt"]["error"]["code"], "http_4xx");
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_and_too_many_too() {
    let world = World::new();
    let id = world.webhook("default").await;
    let path = format!("/v1/accounts/default/webhooks/{id}/test");
    for (body, code) in [
        (json!({"event": "nope.nope"}), "event_type_unknown"),
        (json!({}), "event_type_unknown"),
        (json!({"event": "alert.domain_matched", "data": {}}), "data_invalid"),
        (json!({"event": "alert.rule_created", "data": null}), "data_invalid"),
        (json!({"event": "alert.rule_created", "colour": 1}), "unknown_field"),
    ] {
        let (status, faults) = world.post(&path, &body).await.faults();
        assert_eq!((status, faults[0].1.as_str()), (422, code), "{body}");
    }
    let mut refused = None;
    for _ in 0..100 {
        let reply = world.post(&path, &json!({"event": "nope.nope"})).await;
        if reply.status == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(reply);
            break;
        }
    }
    assert_eq!(refused.expect("100 tests in no time are too many").headers["retry-after"], "10");
}
