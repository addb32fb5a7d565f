//! Pausing and resuming webhooks, and rotating their secrets.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{PLATFORM, World};

const LIST: &str = "/v1/accounts/default/webhooks";

#[tokio::test]
async fn pausing_says_who_and_why_and_resuming_never_cancels_in_silence() {
    let world = World::new();
    let id = world.webhook("default").await;
    let path = format!("{LIST}/{id}");
    let paused = world.post(&format!("{path}/pause"), &json!({"reason": "maintenance"})).await.json();
    assert_eq!(paused["status"], "paused");
    assert_eq!(paused["status_reason"]["by"], "person");
    assert_eq!(paused["status_reason"]["key"], "platform");
    assert_eq!(paused["status_reason"]["reason"], "maintenance");
    let again = world.ask(Method::POST, &format!("{path}/pause")).key(PLATFORM).send().await;
    assert_eq!((again.status, again.json()), (StatusCode::OK, paused), "a second pause changes nothing");
    let event = world.event("default").await;
    let delivery = World::first_delivery(&event);
    let held = world.get(&format!("/v1/accounts/default/deliveries/{delivery}")).await.json();
    assert_eq!((&held["status"], &held["note"]), (&json!("held"), &json!("the webhook is paused")));

    for (body, code) in [
        (json!({}), "field_missing"),
        (json!({"held": "burn"}), "held_invalid"),
        (json!({"held": null}), "held_invalid"),
        (json!({"held": "deliver", "rate": 0}), "rate_invalid"),
    ] {
        let (status, faults) = world.post(&format!("{path}/resume"), &body).await.faults();
        assert_eq!((status, faults[0].1.as_str()), (422, code), "{body}");
    }
    let resumed = world.post(&format!("{path}/resume"), &json!({"held": "deliver", "rate": 10})).await;
    assert_eq!((resumed.status, &resumed.json()["status"]), (StatusCode::OK, &json!("active")));
    let status =
        async || world.get(&format!("/v1/accounts/default/deliveries/{delivery}")).await.json()["status"].clone();
    assert_eq!(status().await, "pending");
    world.post(&format!("{path}/pause"), &json!({})).await;
    world.post(&format!("{path}/resume"), &json!({"held": "cancel"})).await;
    assert_eq!(status().await, "cancelled");
}

#[tokio::test]
async fn a_rotation_overlaps_until_it_is_confirmed_or_ends() {
    let world = World::new();
    let id = world.webhook("default").await;
    let path = format!("{LIST}/{id}/secret");
    let old = world.get(&path).await.json();
    assert_eq!(old["previous"], Value::Null);
    assert_eq!(old["signs"][0], json!({"header": "X-CronDB-Signature", "scheme": "hmac", "by": ["current"]}));
    for overlap in [json!("99999d"), json!("31d"), json!("soon"), json!(5)] {
        let (status, faults) = world.post(&format!("{path}/rotate"), &json!({"overlap": overlap})).await.faults();
        assert_eq!((status, faults[0].1.as_str()), (422, "overlap_invalid"));
    }
    let rotated = world.post(&format!("{path}/rotate"), &json!({"overlap": "1h"})).await.json();
    assert_ne!(rotated["secret"], old["secret"]);
    assert_eq!(rotated["previous"]["secret"], old["secret"]);
    assert_eq!(rotated["signs"][0]["by"], json!(["previous"]));
    assert_eq!(rotated["signs"][1]["by"], json!(["current", "previous"]));
    assert_eq!(world.post(&format!("{path}/rotate"), &json!({})).await.status, StatusCode::CONFLICT);
    // Whoever may not see the secrets is told that there are two.
    let overlap = async || world.get(&format!("{LIST}/{id}")).await.json()["secrets_overlap_until"].clone();
    assert_eq!(overlap().await, rotated["previous"]["until"]);
    let confirmed = world.ask(Method::POST, &format!("{path}/confirm")).key(PLATFORM).send().await.json();
    assert_eq!((&confirmed["secret"], &confirmed["previous"]), (&rotated["secret"], &Value::Null));
    assert_eq!(overlap().await, Value::Null);

    world.post(&format!("{path}/rotate"), &json!({"overlap": "1h"})).await;
    world.advance(Duration::from_secs(3_600));
    assert_eq!(overlap().await, Value::Null, "an overlap that is over is none");
    let ended = world.get(&path).await.json();
    assert_eq!((&ended["previous"], &ended["signs"][0]["by"]), (&Value::Null, &json!(["current"])));
    let at_once = world.post(&format!("{path}/rotate"), &json!({"overlap": "0s"})).await.json();
    assert_eq!(at_once["previous"], Value::Null);
}
