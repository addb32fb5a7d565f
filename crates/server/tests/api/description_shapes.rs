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

#[tokio::test]
async fn inputs_say_that_they_refuse_what_they_do_not_know() {
    let document = document().await;
    let mut bodies = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let Some(content) = operation["requestBody"]["content"].get("application/json") else { continue };
            let schema = &content["schema"];
            let one = schema["oneOf"].get(0).unwrap_or(schema);
            let schema = followed(&document, one);
            assert_eq!(schema["additionalProperties"], false, "{method} {path}: {schema}");
            assert!(schema["allOf"].is_null(), "{method} {path}: parts of an object would refuse each other's members");
            bodies += 1;
        }
    }
    assert!(bodies > 15, "{bodies}");
}

#[tokio::test]
async fn the_limits_of_inputs_are_said_as_they_hold() {
    let document = document().await;
    let key = parameter(&document, "/v1/events", "post", "Idempotency-Key");
    assert_eq!((&key["minLength"], &key["maxLength"], &key["pattern"]), (&json!(1), &json!(255), &json!("^[!-~]+$")));
    let events = &document["paths"]["/v1/events"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(events["oneOf"][1]["maxItems"], 1_000);
    let q = parameter(&document, "/v1/accounts/{account}/deliveries", "get", "q");
    assert_eq!(q["maxLength"], 200);
    let world = World::new();
    let webhook = world.webhook("default").await;
    let hooks = "/v1/accounts/default/webhooks".to_owned();
    let one = format!("{hooks}/{webhook}");
    let make = |more: Value| {
        let mut body = json!({"url": "https://hooks.crm.example.com/in", "events": ["*"]});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    let patch = |more: Value| more;
    // The longest that is taken is as long as is said, and one more is refused.
    type Body<'a> = &'a dyn Fn(Value) -> Value;
    let texts: [(&str, &str, Method, &str, Body<'_>, u16); 7] = [
        ("WebhookInput", "name", Method::PATCH, &one, &patch, 200),
        ("NewWebhook", "name", Method::POST, &hooks, &make, 201),
        ("AccountInput", "name", Method::PATCH, "/v1/accounts/default", &patch, 200),
        ("NewAccount", "name", Method::POST, "/v1/accounts", &patch, 201),
        ("NewKey", "name", Method::POST, "/v1/accounts/default/keys", &patch, 201),
        ("PauseInput", "reason", Method::POST, &format!("{one}/pause"), &patch, 200),
        ("NewPortalSession", "name", Method::POST, "/v1/accounts/default/portal-sessions", &patch, 201),
    ];
    for (name, of, method, path, body, taken) in texts {
        let most = member(&document, name, of)["maxLength"].as_u64().unwrap_or_else(|| panic!("{name}.{of}"));
        for (length, status) in [(most, taken), (most + 1, 422)] {
            let text = "ü".repeat(usize::try_from(length).expect("short"));
            let body = body(json!({of: text}));
            let reply = world.ask(method.clone(), path).key(crate::world::PLATFORM).json(&body).send().await;
            assert_eq!(reply.status.as_u16(), status, "{name}.{of} of {length}: {reply:?}");
        }
    }
    let counts = [
        ("WebhookInput", "rate_limit", one.as_str()),
        ("WebhookInput", "max_in_flight", &one),
        ("AccountInput", "events_per_second", "/v1/accounts/default"),
        ("AccountInput", "max_webhooks", "/v1/accounts/default"),
    ];
    for (name, of, path) in counts {
        let schema = member(&document, name, of);
        let (least, most) = (schema["minimum"].as_u64().expect("a least"), schema["maximum"].as_u64().expect("a most"));
        for (count, status) in [(least, 200), (most, 200), (least - 1, 422), (most + 1, 422)] {
            let reply = world.patch(path, &json!({of: count})).await;
            assert_eq!(reply.status.as_u16(), status, "{name}.{of} of {count}: {reply:?}");
        }
    }
    assert_eq!(member(&document, "NewWebhook", "id")["pattern"], "^wh_[A-Za-z0-9_-]{1,64}$");
    assert_eq!(member(&document, "NewAccount", "id")["pattern"], "^[A-Za-z0-9_-]{1,64}$");
    let schedule = member(&document, "WebhookInput", "retry_schedule");
    assert_eq!((&schedule["minItems"], &schedule["maxItems"]), (&json!(1), &json!(20)));
    let schemas = &document["components"]["schemas"];
    let says = |name: &str, text: &str| {
        let about = schemas[name]["description"].as_str().unwrap_or_default().replace('\n', " ");
        assert!(about.contains(text), "{name}: {about}");
    };
    says("NewKey", "`expires_at` or `expires_in`, not both");
    says("ReplayInput", "at least one of `webhook`, `status`, `event`, `code`, `error`, `since`, `until` and `q`");
}

#[tokio::test]
async fn texts_and_kinds_are_those_of_the_api() {
    let document = document().await;
    assert!(!document.to_string().contains("[`"), "a link of the code's own documentation");
    for name in ["AcceptedEvent", "BatchResult"] {
        assert_eq!(member(&document, name, "timestamp")["format"], "date-time", "{name}");
    }
    for (path, name) in [("deliveries", "test"), ("deliveries/count", "test"), ("deliveries/export", "attempts")] {
        let schema = parameter(&document, &format!("/v1/accounts/{{account}}/{path}"), "get", name);
        assert_eq!(schema["type"], "boolean", "{path}: {name}");
    }
    let pointer = member(&document, "Fault", "pointer")["description"].as_str().expect("a text");
    assert!(pointer.contains("name of the parameter"), "{pointer}");
    let replay = &document["paths"]["/v1/accounts/{account}/deliveries/{id}/replay"]["post"];
    assert_eq!(replay["responses"]["409"]["description"], "Its webhook was deleted.");
    assert!(replay["description"].as_str().is_some_and(|about| about.contains("still waits for its retry")));
}

#[tokio::test]
async fn refusals_without_an_id_or_a_way_out_are_explained() {
    let document = document().await;
    let id = member(&document, "Problem", "request_id")["description"].as_str().expect("a text");
    assert!(id.contains("`req_unread`"), "{id}");
    let world = World::new();
    let mut told = String::new();
    for _ in 0..11 {
        let reply = world.ask(Method::GET, "/v1/accounts").key("phk_wrong").send().await;
        told = reply.json()["detail"].as_str().unwrap_or_default().to_owned();
    }
    assert!(told.contains("Wait a minute, or send a valid key"), "{told}");
    let valid = world.get("/v1/accounts").await;
    assert_eq!(valid.status, 200, "a valid key passes, as is said");
}

#[tokio::test]
async fn what_any_request_may_be_answered_is_said_once() {
    let document = document().await;
    let about = document["info"]["description"].as_str().expect("a text");
    for status in ["400", "405", "408", "414", "431", "Allow"] {
        assert!(about.contains(status), "{status}: {about}");
    }
}

#[tokio::test]
async fn whatever_a_stream_tells_has_a_schema() {
    let document = document().await;
    let stream = &document["paths"]["/v1/accounts/{account}/stream"]["get"]["description"];
    assert!(stream.as_str().is_some_and(|about| about.contains("the schema `StreamMessages`")), "{stream}");
    for (event, holds) in [
        ("delivery", "attempts_made"),
        ("attempt", "webhook_name"),
        ("webhook", "deleted"),
        ("webhook", "failing_since"),
        ("replay", "handed_over"),
    ] {
        let schema = followed(&document, member(&document, "StreamMessages", event));
        let either = [&schema["oneOf"], &schema["allOf"]].into_iter().filter_map(Value::as_array).flatten();
        let mut parts = either.chain([schema]).map(|part| followed(&document, part));
        assert!(parts.any(|part| part["properties"][holds].is_object()), "{event}: {schema}");
    }
    let reset = followed(&document, member(&document, "StreamMessages", "reset"));
    assert_eq!(reset["type"], "object");
}
