//! The audit log: what every operation that changes something leaves there, who reads it, and what it never holds.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{PLATFORM, World};

/// Operations that are no GET and change nothing of what people set up: events have a log of their own, and the temporary
/// webhook of a listener is told like any other. Signing out is done by a session, and shown with the sessions.
const NO_CHANGE: [&str; 7] =
    ["post_events", "test_webhook", "check_url", "answer_carried", "listen", "sign_out", "switch_inbox"];

/// A change: its operation, a request that succeeds, and the action that it leaves. `{w}`, `{d}`, `{k}`, `{r}` and `{s}` are a
/// webhook, an ended delivery, a key, the last replay and the last portal session of the account `a`, `{p}` a key of the platform. In this order each finds what it needs.
fn changes() -> Vec<(&'static str, Method, &'static str, Value, &'static str)> {
    let webhook = json!({"url": "https://one.example.com/in", "events": ["*"], "headers": {"X-Key": "canary-header"}});
    let w = "/v1/accounts/a/webhooks/{w}";
    let join = |rest: &str| -> &'static str { Box::leak(format!("{w}{rest}").into_boxed_str()) };
    vec![
        ("create_account", Method::POST, "/v1/accounts", json!({"id": "b"}), "account.created"),
        ("change_account", Method::PATCH, "/v1/accounts/a", json!({"name": "A"}), "account.updated"),
        ("cancel_delivery", Method::POST, "/v1/accounts/a/deliveries/{d}/cancel", json!({}), "delivery.cancelled"),
        ("create_replay", Method::POST, "/v1/accounts/a/replays", json!({"status": "cancelled"}), "replay.started"),
        ("pause_replay", Method::POST, "/v1/accounts/a/replays/{r}/pause", json!({}), "replay.paused"),
        ("resume_replay", Method::POST, "/v1/accounts/a/replays/{r}/resume", json!({"rate": 5}), "replay.resumed"),
        ("stop_replay", Method::POST, "/v1/accounts/a/replays/{r}/stop", json!({}), "replay.stopped"),
        ("replay_delivery", Method::POST, "/v1/accounts/a/deliveries/{d}/replay", json!({}), "delivery.replayed"),
        ("create_webhook", Method::POST, "/v1/accounts/a/webhooks", webhook, "webhook.created"),
        ("change_webhook", Method::PATCH, w, json!({"name": "CRM"}), "webhook.updated"),
        ("pause_webhook", Method::POST, join("/pause"), json!({"reason": "maintenance"}), "webhook.paused"),
        ("resume_webhook", Method::POST, join("/resume"), json!({"held": "cancel"}), "webhook.resumed"),
        ("rotate_webhook_secret", Method::POST, join("/secret/rotate"), json!({}), "webhook.secret_rotated"),
        ("confirm_webhook_secret", Method::POST, join("/secret/confirm"), json!({}), "webhook.secret_confirmed"),
        // With nothing to confirm it still shows the secret.
        ("confirm_webhook_secret", Method::POST, join("/secret/confirm"), json!({}), "webhook.secret_revealed"),
        ("get_webhook_secret", Method::GET, join("/secret"), Value::Null, "webhook.secret_revealed"),
        ("delete_webhook", Method::DELETE, w, Value::Null, "webhook.deleted"),
        ("create_key", Method::POST, "/v1/accounts/a/keys", json!({"name": "one"}), "key.created"),
        ("revoke_key", Method::DELETE, "/v1/accounts/a/keys/{k}", Value::Null, "key.revoked"),
        ("create_platform_key", Method::POST, "/v1/keys", json!({"name": "two"}), "key.created"),
        ("revoke_platform_key", Method::DELETE, "/v1/keys/{p}", Value::Null, "key.revoked"),
        ("create_portal_session", Method::POST, "/v1/accounts/a/portal-sessions", json!({}), "session.opened"),
        ("end_portal_session", Method::DELETE, "/v1/accounts/a/portal-sessions/{s}", Value::Null, "session.ended"),
        ("sign_in", Method::POST, "/v1/sessions", json!({"token": PLATFORM}), "session.opened"),
        ("create_sign_in_link", Method::POST, "/v1/sessions/links", Value::Null, "session.opened"),
        ("delete_account", Method::DELETE, "/v1/accounts/a", Value::Null, "account.deleted"),
    ]
}

async fn newest(world: &World) -> Value {
    world.get("/v1/audit?limit=1").await.json()["data"][0].clone()
}

#[tokio::test]
async fn every_change_is_there_with_its_actor() {
    let world = World::new();
    world.account("a", &[]).await;
    let webhook = world.webhook("a").await;
    let delivery = World::first_delivery(&world.event("a").await).to_string();
    let id = |made: &Value| made["id"].as_str().expect("an id").to_owned();
    let key = id(&world.post("/v1/accounts/a/keys", &json!({"name": "k"})).await.json());
    let platform = id(&world.post("/v1/keys", &json!({"name": "p"})).await.json());
    for (operation, method, path, body, action) in changes() {
        let path = path.replace("{w}", &webhook).replace("{d}", &delivery);
        let path = path.replace("{k}", &key).replace("{p}", &platform);
        let replays = world.get("/v1/accounts/a/replays").await.json();
        let path = path.replace("{r}", replays["data"][0]["id"].as_str().unwrap_or_default());
        let portals = world.get("/v1/accounts/a/portal-sessions").await.json();
        let path = path.replace("{s}", portals["data"][0]["id"].as_str().unwrap_or_default());
        let before = newest(&world).await["id"].clone();
        let ask = world.ask(method, &path).key(PLATFORM);
        let reply = if body.is_null() { ask.send().await } else { ask.json(&body).send().await };
        assert!(reply.status.is_success(), "{operation}: {reply:?}");
        let entry = newest(&world).await;
        assert_ne!(entry["id"], before, "{operation} left nothing");
        assert_eq!(entry["action"], action, "{operation}");
        assert_eq!(entry["actor"], json!({"kind": "settings", "id": null, "name": "platform"}), "{operation}");
        assert_eq!(entry["request_id"], reply.headers["x-request-id"].to_str().expect("text"), "{operation}");
        assert_eq!(entry["remote_address"], "0.0.0.0", "{operation}");
        let kind = action.split('.').next().expect("a kind");
        assert_eq!(entry["target"]["kind"], kind, "{operation}");
    }
    let all = String::from_utf8(world.get("/v1/audit?limit=100").await.body.to_vec()).expect("text");
    for secret in ["whsec_", "canary-header", "s3cr3t", "pha_", "phk_"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

#[tokio::test]
async fn no_operation_that_changes_something_is_forgotten_here() {
    let document = World::new().get("/openapi.json").await.json();
    let told: BTreeSet<&str> = changes().iter().map(|change| change.0).collect();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let id = operation["operationId"].as_str().expect("an id");
            assert!(
                method == "get" || told.contains(id) || NO_CHANGE.contains(&id),
                "{method} {path}: say in this file what {id} leaves in the audit log"
            );
        }
    }
}

#[tokio::test]
async fn an_account_reads_its_own_part_by_filter_and_page() {
    let world = World::new();
    let key = world.account("a", &[]).await;
    world.account("b", &[]).await;
    let webhook = world.webhook("a").await;
    world.webhook("b").await;
    let path = format!("/v1/accounts/a/webhooks/{webhook}");
    let patched = world.ask(Method::PATCH, &path).key(&key).json(&json!({"name": "CRM", "rate_limit": 5})).send().await;
    assert_eq!(patched.status, StatusCode::OK);
    let list =
        async |query: &str| world.ask(Method::GET, &format!("/v1/accounts/a/audit{query}")).key(&key).send().await;
    let actions = |page: &Value| -> Vec<String> {
        page["data"]
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| row["action"].as_str().expect("text").to_owned())
            .collect()
    };
    let all = list("").await.json();
    assert_eq!(actions(&all), ["webhook.updated", "webhook.created", "key.created", "account.created"]);
    let changed = &all["data"][0];
    assert_eq!(changed["detail"]["changes"]["rate_limit"], json!({"from": null, "to": 5}));
    assert_eq!((&changed["actor"]["kind"], &changed["actor"]["name"]), (&json!("key"), &json!("test")));
    assert_eq!((&changed["account"], &changed["target"]["id"]), (&json!("a"), &json!(webhook)));
    let by_key = list(&format!("?actor={}", changed["actor"]["id"].as_str().expect("an id"))).await.json();
    assert_eq!(actions(&by_key), ["webhook.updated"]);
    assert_eq!(actions(&list("?action=webhook.*").await.json()).len(), 2);
    assert_eq!(actions(&list("?target=a&since=1h").await.json()), ["account.created"]);
    assert_eq!(actions(&list("?until=1h").await.json()).len(), 0);
    let first = list("?limit=3").await.json();
    let cursor = first["next_cursor"].as_str().expect("a cursor").to_owned();
    assert_eq!(actions(&list(&format!("?limit=3&cursor={cursor}")).await.json()), ["account.created"]);
    for query in
        ["?action=everything", "?since=soon", "?who=x", "?limit=0", "?cursor=x", "?actor=", "?target=a&target=b"]
    {
        assert_eq!(list(query).await.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
    }
    assert_eq!(world.ask(Method::GET, "/v1/audit").key(&key).send().await.status, StatusCode::FORBIDDEN);
    assert_eq!(world.get(&format!("/v1/audit?cursor={cursor}")).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(world.get("/v1/audit").await.json()["data"].as_array().map(Vec::len), Some(7));
}
