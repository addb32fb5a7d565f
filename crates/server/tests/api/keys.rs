//! Keys: shown once, never stronger than who makes them, revoked at once.

use domain::audit::By;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use crate::world::{NOW, PLATFORM, World};

fn at(seconds: i64) -> String {
    domain::time::Timestamp(NOW + seconds * 1_000_000).to_string()
}

#[tokio::test]
async fn a_key_is_shown_once_works_and_is_revoked() {
    let world = World::new();
    world.account("a", &[]).await;
    let path = "/v1/accounts/a/keys";
    let made =
        world.post(path, &json!({"name": "import", "scopes": ["account", "events:write", "account"]})).await.json();
    let key = made["key"].as_str().expect("the key").to_owned();
    assert!(key.starts_with("pha_") && key.len() == 36, "{key}");
    let listed = world.get(path).await;
    assert!(!String::from_utf8_lossy(&listed.body).contains(&key));
    let row = &listed.json()["data"][0];
    assert_eq!((&row["name"], &row["scopes"]), (&json!("import"), &json!(["account", "events:write"])));
    assert_eq!(row["hint"], json!(format!("{}…", &key[..8])));
    let works = async || world.ask(Method::GET, "/v1/accounts/a").key(&key).send().await.status;
    assert_eq!(works().await, StatusCode::OK);
    let id = made["id"].as_str().expect("an id");
    assert_eq!(world.delete(&format!("{path}/{id}")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(works().await, StatusCode::UNAUTHORIZED);
    assert_eq!(world.delete(&format!("{path}/{id}")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn keys_end_when_they_say() {
    let world = World::new();
    world.account("a", &[]).await;
    let made = world.post("/v1/accounts/a/keys", &json!({"name": "short", "expires_at": at(60)})).await.json();
    let key = made["key"].as_str().expect("the key");
    let works = async || world.ask(Method::GET, "/v1/accounts/a").key(key).send().await.status;
    assert_eq!(works().await, StatusCode::OK);
    world.advance(Duration::from_secs(60));
    assert_eq!(works().await, StatusCode::UNAUTHORIZED);
    for expires_at in [json!(at(-1)), json!("soon"), json!(7)] {
        let (status, faults) =
            world.post("/v1/accounts/a/keys", &json!({"name": "x", "expires_at": expires_at})).await.faults();
        assert_eq!((status, faults[0].1.as_str()), (422, "expires_at_invalid"));
    }
    let (_, faults) = world.post("/v1/accounts/a/keys", &json!({"scopes": ["everything"]})).await.faults();
    assert_eq!((faults[0].1.as_str(), faults[1].1.as_str()), ("field_missing", "scopes_invalid"));
}

#[tokio::test]
async fn an_account_key_makes_no_key_that_may_more_or_lives_longer() {
    let world = World::new();
    let plain = world.account("a", &[]).await;
    let made = world.post("/v1/accounts/a/keys", &json!({"name": "short", "expires_at": at(60)})).await.json();
    let short = made["key"].as_str().expect("the key").to_owned();
    let make = async |key: &str, body| {
        world.ask(Method::POST, "/v1/accounts/a/keys").key(key).json(&body).send().await.status.as_u16()
    };
    assert_eq!(make(&plain, json!({"name": "x", "scopes": ["events:write"]})).await, 403);
    assert_eq!(make(&plain, json!({"name": "x"})).await, 201);
    assert_eq!(make(&short, json!({"name": "x"})).await, 403);
    assert_eq!(make(&short, json!({"name": "x", "expires_at": at(59)})).await, 201);
}

#[tokio::test]
async fn platform_keys_are_the_platform_s() {
    let world = World::new();
    let account = world.account("a", &[]).await;
    for (method, path) in [(Method::GET, "/v1/keys"), (Method::POST, "/v1/keys"), (Method::DELETE, "/v1/keys/key_x")] {
        let reply = world.ask(method, path).key(&account).json(&json!({"name": "x"})).send().await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{path}");
    }
    let made = world.post("/v1/keys", &json!({"name": "second"})).await.json();
    let key = made["key"].as_str().expect("the key").to_owned();
    assert!(key.starts_with("phk_"));
    assert_eq!(world.ask(Method::GET, "/v1/accounts").key(&key).send().await.status, StatusCode::OK);
    let id = made["id"].as_str().expect("an id");
    let revoked = world.ask(Method::DELETE, &format!("/v1/keys/{id}")).key(PLATFORM).send().await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT, "the settings' key is left");
}

#[tokio::test]
async fn a_key_tells_when_it_was_used_and_how_long_it_lives() {
    let world = World::new();
    world.account("a", &[]).await;
    let path = "/v1/accounts/a/keys";
    let made = world.post(path, &json!({"name": "new", "scopes": ["webhooks:read"], "expires_in": "2h"})).await.json();
    assert_eq!((&made["expires_at"], &made["last_used_at"]), (&json!(at(7_200)), &json!(null)));
    assert_eq!(made["scopes"], json!(["webhooks:read"]));
    let key = made["key"].as_str().expect("the key");
    let used = async || world.get(path).await.json()["data"][0]["last_used_at"].clone();
    assert_eq!(used().await, json!(null));
    world.advance(Duration::from_secs(5));
    // A key that may not do this is used all the same.
    for (path, status) in [("/v1/accounts/a/webhooks", 200), ("/v1/accounts/a/keys", 403)] {
        assert_eq!(world.ask(Method::GET, path).key(key).send().await.status.as_u16(), status);
        assert_eq!(used().await, json!(at(5)));
    }
    for body in [
        json!({"name": "x", "expires_in": "soon"}),
        json!({"name": "x", "expires_in": "0s"}),
        json!({"name": "x", "expires_in": "3651d"}),
        json!({"name": "x", "expires_in": "1d", "expires_at": at(60)}),
    ] {
        let (status, faults) = world.post(path, &body).await.faults();
        assert_eq!((status, faults[0].1.as_str()), (422, "expires_in_invalid"), "{body}");
    }
    let unsaid = world.post(path, &json!({"name": "x", "scopes": []})).await.json();
    assert_eq!(unsaid["scopes"], json!(["account"]));
}

#[tokio::test]
async fn a_narrow_key_makes_none_that_is_wider() {
    let world = World::new();
    world.account("a", &[]).await;
    let narrow = world.narrow_key("a", &["keys:write", "webhooks:read"]).await;
    let make = async |scopes: serde_json::Value| {
        let body = json!({"name": "x", "scopes": scopes});
        world.ask(Method::POST, "/v1/accounts/a/keys").key(&narrow).json(&body).send().await.status.as_u16()
    };
    assert_eq!(make(json!(["webhooks:read"])).await, 201);
    assert_eq!(make(json!(["keys:write", "webhooks:read"])).await, 201);
    for wider in ["account", "webhooks:write", "events:write", "secrets:read"] {
        assert_eq!(make(json!([wider])).await, 403, "{wider}");
    }
    let unsaid = world.ask(Method::POST, "/v1/accounts/a/keys").key(&narrow).json(&json!({"name": "x"})).send().await;
    assert_eq!(unsaid.status, StatusCode::FORBIDDEN, "without scopes it would have `account`");
}

#[tokio::test]
async fn an_open_stream_ends_with_its_key() {
    let world = World::new();
    world.account("a", &[]).await;
    let made = world.post("/v1/accounts/a/keys", &json!({"name": "live"})).await.json();
    let (key, id) = (made["key"].as_str().expect("the key"), made["id"].as_str().expect("an id"));
    let stream = world.ask(Method::GET, "/v1/accounts/a/stream").key(key).send();
    let listener = world.ask(Method::POST, "/v1/accounts/a/listen").key(key).send();
    let revoke = async {
        while world.get("/v1/accounts/a/webhooks").await.json()["data"].as_array().is_none_or(Vec::is_empty) {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.delete(&format!("/v1/accounts/a/keys/{id}")).await.status, StatusCode::NO_CONTENT);
    };
    // `send` reads a body to its end: both end, though their heartbeat is 15 s away.
    let all = async { tokio::join!(stream, listener, revoke) };
    let (stream, listener, ()) = tokio::time::timeout(Duration::from_secs(10), all).await.expect("they end");
    assert_eq!((stream.status, listener.status), (StatusCode::OK, StatusCode::OK));
    assert!(listener.body.starts_with(b"event: webhook"));
}

#[tokio::test]
async fn the_last_platform_key_cannot_be_revoked() {
    let (mut world, mut app) = World::parts();
    let own = domain::key::ApiKey {
        id: "key_first".parse().expect("an id"),
        name: "first".to_owned(),
        account: None,
        scopes: Vec::new(),
        hash: domain::key::hash_key("phk_first"),
        hint: "phk_firs".to_owned(),
        created_at: domain::time::Timestamp(NOW),
        expires_at: None,
        last_used_at: None,
    };
    domain::store::Store::change(world.store.as_ref(), domain::store::Change::PutKey(own), By::us(), None)
        .await
        .expect("a key");
    app.platform_key = None;
    world.router = server::router(app);
    let delete = async |id: &str| world.ask(Method::DELETE, &format!("/v1/keys/{id}")).key("phk_first").send().await;
    let refused = delete("key_first").await;
    assert_eq!((refused.status, &refused.json()["code"]), (StatusCode::CONFLICT, &json!("last_platform_key")));
    let short = json!({"name": "short", "expires_at": at(1)});
    world.ask(Method::POST, "/v1/keys").key("phk_first").json(&short).send().await;
    world.advance(Duration::from_secs(2));
    let narrow = json!({"name": "narrow", "scopes": ["account", "events:write"]});
    world.ask(Method::POST, "/v1/keys").key("phk_first").json(&narrow).send().await;
    assert_eq!(delete("key_first").await.status, StatusCode::CONFLICT, "one that may not do everything does not count");
    assert_eq!(delete("key_first").await.status, StatusCode::CONFLICT, "one that has ended does not count");
    world.ask(Method::POST, "/v1/keys").key("phk_first").json(&json!({"name": "lasting"})).send().await;
    assert_eq!(delete("key_first").await.status, StatusCode::NO_CONTENT);
}
