//! The schemas of the description, as those who generate clients from it read them.

use http::Method;
use serde_json::{Value, json};

use crate::world::World;

pub(crate) async fn document() -> Value {
    World::new().get("/openapi.json").await.json()
}

/// What a schema says when references are followed, and `null` beside another is left out.
pub(crate) fn followed<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let found = document.pointer(reference.trim_start_matches('#'));
        return followed(document, found.unwrap_or_else(|| panic!("{reference} is there")));
    }
    let either = schema["oneOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    match either {
        [one, null] | [null, one] if null["type"] == "null" => followed(document, one),
        _ => schema,
    }
}

/// A member of a named schema.
fn member<'a>(document: &'a Value, name: &str, member: &str) -> &'a Value {
    let schema = &document["components"]["schemas"][name];
    let parts = schema["allOf"].as_array().into_iter().flatten().chain([schema]);
    let found = parts.map(|part| &followed(document, part)["properties"][member]).find(|found| found.is_object());
    found.unwrap_or_else(|| panic!("{name}.{member}"))
}

/// The words that a member may have; of a list, each of its elements.
fn words(document: &Value, name: &str, of: &str) -> Vec<String> {
    let schema = followed(document, member(document, name, of));
    let schema = if schema["items"].is_object() { followed(document, &schema["items"]) } else { schema };
    let words = schema["enum"].as_array().unwrap_or_else(|| panic!("{name}.{of} is of a closed set: {schema}"));
    words.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The parameter of an operation.
fn parameter<'a>(document: &'a Value, path: &str, method: &str, name: &str) -> &'a Value {
    let parameters = document["paths"][path][method]["parameters"].as_array().expect("parameters");
    &parameters.iter().find(|parameter| parameter["name"] == name).unwrap_or_else(|| panic!("{name}"))["schema"]
}

#[tokio::test]
async fn what_an_object_of_any_members_may_hold_is_said() {
    let document = document().await;
    for (name, of) in [
        ("NewEvent", "data"),
        ("TestInput", "data"),
        ("EventDetail", "data"),
        ("EventType", "schema"),
        ("EventType", "example"),
        ("AuditEntry", "detail"),
    ] {
        assert_eq!(member(&document, name, of)["additionalProperties"], true, "{name}.{of}");
    }
    let own = &document["paths"]["/openapi.json"]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(own["additionalProperties"], true);
}

#[tokio::test]
async fn a_pair_is_a_list_of_two_texts() {
    let document = document().await;
    assert!(!document.to_string().contains("prefixItems"));
    for name in ["CarriedAnswer", "InboxRequest"] {
        let pair = followed(&document, &member(&document, name, "headers")["items"]);
        let said = (&pair["type"], &pair["items"]["type"], &pair["minItems"], &pair["maxItems"]);
        assert_eq!(said, (&json!("array"), &json!("string"), &json!(2), &json!(2)), "{name}: {pair}");
    }
}

#[tokio::test]
async fn closed_sets_list_their_words() {
    let document = document().await;
    let delivery = "pending sending delivered failed held cancelled";
    let errors = "dns_not_found dns_timeout dns_failed connect_refused connect_timeout address_blocked tls_expired \
                  tls_name_mismatch tls_unknown_issuer tls_other response_timeout connection_reset bad_http http_3xx \
                  http_4xx http_5xx";
    let sets = [
        ("Webhook", "status", "active paused"),
        ("Webhook", "health", "healthy failing"),
        ("Webhook", "signing", "hmac ed25519"),
        ("WebhookInput", "signing", "hmac ed25519"),
        ("NewWebhook", "signing", "hmac ed25519"),
        ("StatusReason", "by", "person us"),
        ("StatusReason", "cause", "key gone all_failed nobody_listens"),
        ("Delivery", "status", delivery),
        ("DeliveryNews", "status", delivery),
        ("AttemptNews", "status", delivery),
        ("Delivery", "waiting_for", "slot rate retry_after order probe spread"),
        ("Delivery", "last_error", errors),
        ("DeliveryNews", "last_error", errors),
        ("AttemptError", "code", errors),
        ("ErrorFigures", "code", errors),
        ("CarriedAnswer", "error", errors),
        ("AttemptHead", "reason", "first retry replay test"),
        ("Replay", "status", "queued running paused stopped done"),
        ("ReplayReason", "by", "person us"),
        ("ReplayReason", "cause", "key failures webhook_paused"),
        ("ResumeInput", "held", "deliver cancel"),
        ("StatsInShort", "health", "healthy degraded failing no_traffic"),
        ("Stats", "health", "healthy degraded failing no_traffic"),
        ("EventType", "enforcement", "reject flag off"),
        ("NewPortalSession", "access", "manage read"),
        ("PortalSession", "access", "manage read"),
        ("OpenPortalSession", "access", "manage read"),
        ("OpenPortalSession", "kind", "link browser embed"),
        ("CurrentSession", "kind", "browser portal key"),
        ("AuditActor", "kind", "settings key session posthaste"),
        ("AuditTarget", "kind", "account webhook key session delivery replay"),
        ("ClusterNode", "status", "live leaving gone"),
    ];
    for (name, of, all) in sets {
        assert_eq!(words(&document, name, of), all.split_whitespace().collect::<Vec<_>>(), "{name}.{of}");
    }
    let scopes: Vec<_> = domain::key::Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    for name in ["Key", "NewKey", "CurrentSession"] {
        assert_eq!(words(&document, name, "scopes"), scopes, "{name}");
    }
    assert!(words(&document, "AuditEntry", "action").contains(&"webhook.secret_rotated".to_owned()));
    let status = parameter(&document, "/v1/accounts/{account}/webhooks", "get", "status");
    assert_eq!(followed(&document, status)["enum"], json!(["active", "paused"]));
}
