//! What becomes of a temporary webhook when the command that listens goes away: it waits for a while, and is deleted. Time
//! passes here only when everybody waits for it.

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::world::{PLATFORM, World};

/// Listens, and says with which webhook. Dropping the body ends it.
async fn listen(world: &World, input: &Value) -> (Body, String) {
    let request = Request::builder()
        .method(Method::POST)
        .uri("/v1/accounts/default/listen")
        .header("authorization", format!("Bearer {PLATFORM}"))
        .header("content-type", "application/json")
        .body(Body::from(input.to_string()))
        .expect("a request");
    let response = world.router.clone().oneshot(request).await.expect("the router does not fail");
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    let frame = body.frame().await.expect("a greeting").expect("it is read");
    let text = String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text");
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).expect("the webhook");
    let told: Value = serde_json::from_str(data).expect("JSON");
    (body, told["id"].as_str().expect("an id").to_owned())
}

/// How the webhook is shown; `None` once it is gone.
async fn status(world: &World, id: &str) -> Option<Value> {
    let reply = world.get(&format!("/v1/accounts/default/webhooks/{id}")).await;
    (reply.status == StatusCode::OK).then(|| reply.json()["status"].clone())
}

/// As long as it takes, in a time that stands still otherwise.
async fn wait(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_temporary_webhook_waits_for_its_command_and_is_deleted() {
    let world = World::new();
    let (body, id) = listen(&world, &json!({})).await;
    assert_eq!(status(&world, &id).await, Some(json!("active")));
    drop(body);
    wait(59).await;
    assert_eq!(status(&world, &id).await, Some(json!("paused")), "what it gets meanwhile is held");
    wait(2).await;
    assert_eq!(status(&world, &id).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_comes_again_in_time_finds_its_webhook() {
    let world = World::new();
    let (body, id) = listen(&world, &json!({})).await;
    drop(body);
    wait(50).await;
    let (body, again) = listen(&world, &json!({"webhook": id})).await;
    assert_eq!((&again, status(&world, &id).await), (&id, Some(json!("active"))));
    // The first one's time is over, and that of the second begins with its own end.
    wait(50).await;
    assert_eq!(status(&world, &id).await, Some(json!("active")));
    drop(body);
    wait(59).await;
    assert_eq!(status(&world, &id).await, Some(json!("paused")));
    wait(2).await;
    assert_eq!(status(&world, &id).await, None);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_kept_stays() {
    let world = World::new();
    let (body, id) = listen(&world, &json!({"keep": true})).await;
    drop(body);
    wait(86_400).await;
    assert_eq!(status(&world, &id).await, Some(json!("paused")));
}
