//! Accounts.

use http::{Method, StatusCode};
use serde_json::json;

use crate::world::{PLATFORM, World};

#[tokio::test]
async fn an_account_lives_and_is_erased() {
    let world = World::new();
    let made = world.post("/v1/accounts", &json!({"id": "acme", "name": "Acme Inc."})).await;
    assert_eq!(
        (made.status, &made.headers["location"]),
        (StatusCode::CREATED, &"/v1/accounts/acme".parse().expect("a path"))
    );
    assert_eq!(world.post("/v1/accounts", &json!({"id": "acme"})).await.status, StatusCode::CONFLICT);
    assert_eq!(world.get("/v1/accounts/acme").await.json()["name"], "Acme Inc.");
    let renamed = world.patch("/v1/accounts/acme", &json!({"name": "Acme"})).await;
    assert_eq!((renamed.status, &renamed.json()["name"]), (StatusCode::OK, &json!("Acme")));
    let stale = world.ask(Method::PATCH, "/v1/accounts/acme").key(PLATFORM).header("if-match", "\"1\"");
    assert_eq!(stale.json(&json!({"name": "x"})).send().await.status, StatusCode::PRECONDITION_FAILED);

    let key = world.key("acme", &[]).await;
    world.webhook("acme").await;
    assert_eq!(world.get("/v1/accounts/acme").await.json()["webhooks"], 1);
    assert_eq!(world.delete("/v1/accounts/acme").await.status, StatusCode::NO_CONTENT);
    let gone = world.get("/v1/accounts/acme").await;
    assert_eq!((gone.status, &gone.json()["code"]), (StatusCode::NOT_FOUND, &json!("account_not_found")));
    let orphan = world.ask(Method::GET, "/v1/accounts/acme/webhooks").key(&key).send().await;
    assert_eq!(orphan.status, StatusCode::UNAUTHORIZED, "its keys are gone with it");
}

#[tokio::test]
async fn ids_and_names_are_judged() {
    let world = World::new();
    for (body, code) in [
        (json!({"id": "a/../b"}), "id_invalid"),
        (json!({"id": ""}), "id_invalid"),
        (json!({"id": 7}), "id_invalid"),
        (json!({"name": ""}), "name_invalid"),
        (json!({"number": 1}), "unknown_field"),
        (json!({"retention": "59m"}), "retention_invalid"),
        (json!({"retention": 30}), "retention_invalid"),
        (json!({"retention_size": "5GB"}), "retention_size_invalid"),
        (json!({"retention_size": "1B"}), "retention_size_invalid"),
        (json!({"redact": "/a"}), "redact_invalid"),
        (json!({"redact": ["a"]}), "redact_invalid"),
    ] {
        let (status, faults) = world.post("/v1/accounts", &body).await.faults();
        assert_eq!((status, faults[0].1.as_str()), (422, code), "{body}");
    }
    let made = world.post("/v1/accounts", &json!({})).await.json();
    assert_eq!(made["name"], made["id"]);
}

#[tokio::test]
async fn what_is_kept_and_shown_can_be_said_for_each_account() {
    let world = World::new();
    let made = world.post("/v1/accounts", &json!({"id": "acme", "retention": "7d", "redact": ["/email"]})).await.json();
    assert_eq!(
        (&made["retention"], &made["retention_size"], &made["redact"]),
        (&json!("7d"), &json!(null), &json!(["/email"]))
    );
    let changed = world.patch("/v1/accounts/acme", &json!({"retention_size": "5GiB", "redact": []})).await.json();
    assert_eq!(
        (&changed["retention"], &changed["retention_size"], &changed["redact"]),
        (&json!("7d"), &json!("5GiB"), &json!([]))
    );
    let back = world.patch("/v1/accounts/acme", &json!({"retention": null, "retention_size": null})).await.json();
    assert_eq!((&back["retention"], &back["retention_size"]), (&json!(null), &json!(null)));
    assert_eq!(world.get("/v1/accounts/acme").await.json(), back);
}
