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
    let made = world.post(path, &json!({"name": "import", "scopes": ["events:write"]})).await.json();
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
    assert_eq!(delete("key_first").await.status, StatusCode::CONFLICT, "one that has ended does not count");
    world.ask(Method::POST, "/v1/keys").key("phk_first").json(&json!({"name": "lasting"})).send().await;
    assert_eq!(delete("key_first").await.status, StatusCode::NO_CONTENT);
}
