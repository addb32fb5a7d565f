//! The API's description: the document, and the page to read it.

use std::collections::BTreeSet;
use std::path::Path;

use http::Method;
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn the_document_is_as_reviewed() {
    let document = World::new().get("/openapi.json").await.json();
    let text = serde_json::to_string_pretty(&document).expect("JSON") + "\n";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    #[expect(clippy::disallowed_methods, reason = "says that a change of the API is meant; the product never reads it")]
    let meant = std::env::var_os("UPDATE_OPENAPI").is_some();
    if meant {
        std::fs::write(&file, &text).expect("the document can be written");
    }
    let reviewed = std::fs::read_to_string(&file).expect("the document is there");
    let same = text.lines().zip(reviewed.lines()).take_while(|(now, then)| now == then).count();
    assert!(
        text == reviewed,
        "crates/server/openapi.json, line {}: the API says {:?}, the file {:?}. If that is meant, write the file anew: \
         UPDATE_OPENAPI=1 cargo test -p server description",
        same + 1,
        text.lines().nth(same),
        reviewed.lines().nth(same),
    );
}

#[tokio::test]
async fn the_document_refers_only_to_what_it_has() {
    fn walk(value: &Value, references: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                references.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|value| walk(value, references));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, references)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = World::new().get("/openapi.json").await.json();
    let mut references = BTreeSet::new();
    walk(&document, &mut references);
    assert!(references.len() > 20, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("a reference into the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let mut ids = BTreeSet::new();
    for methods in document["paths"].as_object().expect("paths").values() {
        for operation in methods.as_object().expect("methods").values() {
            assert!(ids.insert(operation["operationId"].as_str().expect("an id").to_owned()), "{operation}");
        }
    }
    assert_eq!(document["webhooks"].as_object().map(serde_json::Map::len), Some(16));
}

#[tokio::test]
async fn the_document_says_what_has_to_be_given_and_what_every_post_may_answer() {
    let document = World::new().get("/openapi.json").await.json();
    assert_eq!(document["components"]["schemas"]["NewWebhook"]["required"], json!(["url", "events"]));
    assert_eq!(document["components"]["schemas"]["WebhookInput"]["required"], Value::Null, "a PATCH may leave all out");
    let own = &document["paths"]["/openapi.json"]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(own["type"], "object");
    let mut keyed = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let Some(post) = methods.get("post") else { continue };
        let parameters = post["parameters"].as_array().expect("parameters");
        if parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key") {
            assert!(post["responses"]["400"].is_object(), "{path} refuses a malformed key");
            keyed += 1;
        }
    }
    assert!(keyed > 15, "{keyed}");
}

#[tokio::test]
async fn the_page_needs_no_script_and_nothing_from_elsewhere() {
    let world = World::new();
    let page = world.ask(Method::GET, "/docs").send().await;
    let text = String::from_utf8(page.body.to_vec()).expect("text");
    let policy = page.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.starts_with("default-src 'none'; style-src 'self'") && !policy.contains("unsafe"));
    assert!(!text.contains("<script") && !text.contains("style=") && !text.contains("src="));
    for part in ["POST</code> <code>/v1/events", "alert.domain_matched", "id=\"schema-Webhook\""] {
        assert!(text.contains(part), "{part}");
    }
    let style = world.ask(Method::GET, "/docs/style.css").send().await;
    assert_eq!(style.headers["content-type"], "text/css; charset=utf-8");
}

#[tokio::test]
async fn the_open_routes_say_what_they_should() {
    let world = World::new();
    let addresses = world.ask(Method::GET, "/v1/egress-ips").send().await.json();
    assert_eq!(addresses, serde_json::json!({"data": ["203.0.113.10"], "fixed": true}));
    assert_eq!(world.ask(Method::GET, "/version").send().await.json()["version"], "0.0.0-test");
    let system = world.get("/v1/system").await.json();
    assert_eq!(
        (&system["accounts"], &system["disk_free_bytes"], &system["trouble"]),
        (&json!(1), &json!(8), &Value::Null)
    );
    let event_type = world.get("/v1/event-types/alert.domain_matched").await.json();
    assert_eq!(event_type["example"]["domain"], "newstartup.com");
    assert_eq!(world.get("/v1/event-types/nope").await.status.as_u16(), 404);
}
