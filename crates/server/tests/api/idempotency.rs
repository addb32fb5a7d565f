//! `Idempotency-Key` on every POST that changes something.

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{PLATFORM, Reply, World};

async fn keyed(world: &World, path: &str, idempotency: &str, body: &Value) -> Reply {
    world.ask(Method::POST, path).key(PLATFORM).header("idempotency-key", idempotency).json(body).send().await
}

#[tokio::test]
async fn equal_posts_at_once_make_one_event_and_get_equal_answers() {
    let world = World::new();
    let body = json!({"event": "alert.rule_created", "data": {}});
    let replies = join_all((0..50).map(|_| keyed(&world, "/v1/events", "k", &body))).await;
    assert!(replies.iter().all(|reply| reply.status == StatusCode::ACCEPTED && reply.body == replies[0].body));
    assert_eq!(world.get("/v1/accounts/default/events").await.json()["data"].as_array().map(Vec::len), Some(1));

    let other = keyed(&world, "/v1/events", "k", &json!({"event": "alert.rule_created", "data": {"a": 1}})).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(other.json()["code"], "idempotency_key_reused");
    world.account("b", &[]).await;
    let for_b = json!({"account": "b", "event": "alert.rule_created", "data": {}});
    assert_eq!(keyed(&world, "/v1/events", "k", &for_b).await.status, StatusCode::ACCEPTED, "keys live per account");
}

#[tokio::test]
async fn keys_that_are_none_are_refused() {
    let world = World::new();
    let body = json!({"event": "alert.rule_created", "data": {}});
    for key in ["", &"k".repeat(256), "a\tb", "a b", "ä"] {
        let reply = keyed(&world, "/v1/events", key, &body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{key:?}");
        assert_eq!(reply.json()["code"], "idempotency_key_invalid");
    }
    assert_eq!(keyed(&world, "/v1/events", &"k".repeat(255), &body).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_batch_under_one_key_is_accepted_once_and_another_one_not_at_all() {
    let world = World::new();
    let event = |n: usize| json!({"event": "alert.rule_created", "data": {"n": n}});
    let batch = json!([event(0), {"event": "nope"}, event(1)]);
    let first = keyed(&world, "/v1/events", "k", &batch).await;
    let second = keyed(&world, "/v1/events", "k", &batch).await;
    assert_eq!((first.status, &first.body), (StatusCode::OK, &second.body));
    let longer = json!([event(2), event(3), event(4), event(5)]);
    assert_eq!(keyed(&world, "/v1/events", "k", &longer).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(world.get("/v1/accounts/default/events").await.json()["data"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn equal_creations_at_once_make_one_webhook_and_show_one_secret() {
    let world = World::new();
    let body = json!({"url": "https://a.example.com/", "events": ["*"], "id": "wh_given"});
    let path = "/v1/accounts/default/webhooks";
    let replies = join_all((0..10).map(|_| keyed(&world, path, "k", &body))).await;
    for reply in &replies {
        assert_eq!((reply.status, &reply.body), (StatusCode::CREATED, &replies[0].body));
        assert_eq!(reply.headers["location"], "/v1/accounts/default/webhooks/wh_given");
        assert_eq!(reply.headers["etag"], "\"1\"");
    }
    assert_eq!(world.get(path).await.json()["data"].as_array().map(Vec::len), Some(1));
    let other = keyed(&world, path, "k", &json!({"url": "https://b.example.com/", "events": ["*"]})).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(keyed(&world, path, "other", &body).await.status, StatusCode::CONFLICT, "the id is taken");
}

#[tokio::test]
async fn a_key_is_of_one_request_whatever_its_route() {
    let world = World::new();
    let (one, other) = (world.webhook("default").await, world.webhook("default").await);
    let event = json!({"event": "alert.rule_created", "data": {}});
    assert_eq!(keyed(&world, "/v1/events", "k", &event).await.status, StatusCode::ACCEPTED);
    let pause = |id: &str| format!("/v1/accounts/default/webhooks/{id}/pause");
    for (path, key) in [(pause(&one), "k"), (pause(&one), "p"), (pause(&other), "p"), ("/v1/events".to_owned(), "p")] {
        let body = if path == "/v1/events" { event.clone() } else { json!({}) };
        let reply = keyed(&world, &path, key, &body).await;
        if path == pause(&one) && key == "p" {
            assert_eq!(reply.status, StatusCode::OK, "{}", reply.json());
        } else {
            assert_eq!(
                (reply.status, &reply.json()["code"]),
                (StatusCode::UNPROCESSABLE_ENTITY, &json!("idempotency_key_reused"))
            );
        }
    }
    let status =
        async |id: &str| world.get(&format!("/v1/accounts/default/webhooks/{id}")).await.json()["status"].clone();
    assert_eq!((status(&one).await, status(&other).await), (json!("paused"), json!("active")));
}

#[tokio::test]
async fn a_rotation_under_one_key_happens_once() {
    let world = World::new();
    let id = world.webhook("default").await;
    let path = format!("/v1/accounts/default/webhooks/{id}/secret/rotate");
    let first = keyed(&world, &path, "k", &json!({})).await;
    let second = keyed(&world, &path, "k", &json!({})).await;
    assert_eq!((first.status, &first.body), (StatusCode::OK, &second.body));
    let now = world.get(&format!("/v1/accounts/default/webhooks/{id}/secret")).await.json();
    assert_eq!(now["secret"], first.json()["secret"]);
}
