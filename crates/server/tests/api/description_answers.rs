//! What the server answers, held against what the description says of it.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::description_shapes::{document, followed};
use crate::world::{PLATFORM, Reply, World};

/// Nullable members that are left out where there is nothing to say; whatever else is nullable is always sent.
const LEFT_OUT: [(&str, &str); 16] = [
    ("BatchResult", "code"),
    ("BatchResult", "deliveries"),
    ("BatchResult", "detail"),
    ("BatchResult", "errors"),
    ("BatchResult", "id"),
    ("BatchResult", "retry_after"),
    ("BatchResult", "timestamp"),
    ("ReceivedResponse", "body_base64"),
    ("ReplayReason", "key"),
    ("ReplayReason", "reason"),
    ("Stats", "certificate_ends_at"),
    ("Stats", "health"),
    ("StatusReason", "key"),
    ("StatusReason", "reason"),
    ("UrlWarning", "webhook_id"),
    ("WebhookRow", "stats"),
];

/// The names of the schemas that `value` refers to, and those that these refer to.
fn named(document: &Value, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            let name = value["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/components/schemas/"));
            if let Some(name) = name
                && found.insert(name.to_owned())
            {
                named(document, &document["components"]["schemas"][name], found);
            }
            members.values().for_each(|value| named(document, value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| named(document, value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn what_is_always_sent_is_required_also_where_it_may_be_null() {
    let document = document().await;
    let mut answers = BTreeSet::new();
    for methods in document["paths"].as_object().expect("paths").values() {
        for operation in methods.as_object().expect("methods").values() {
            named(&document, &operation["responses"], &mut answers);
        }
    }
    answers.extend(["DeliveryNews".to_owned(), "AttemptNews".to_owned()]);
    let (mut lacking, mut left_out) = (Vec::new(), Vec::new());
    for name in &answers {
        let schema = &document["components"]["schemas"][name];
        for part in schema["allOf"].as_array().into_iter().flatten().chain([schema]) {
            let required = part["required"].as_array().cloned().unwrap_or_default();
            for (of, about) in part["properties"].as_object().into_iter().flatten() {
                let nullable = about["type"].as_array().is_some_and(|types| types.contains(&json!("null")))
                    || about["oneOf"].as_array().is_some_and(|either| either.iter().any(|one| one["type"] == "null"));
                if nullable && !required.contains(&json!(of)) {
                    let known = LEFT_OUT.contains(&(name.as_str(), of.as_str()));
                    if known { &mut left_out } else { &mut lacking }.push(format!("{name}.{of}"));
                }
            }
        }
    }
    assert!(lacking.is_empty(), "nullable and not required: {}", lacking.join(", "));
    assert!(left_out.len() >= LEFT_OUT.len() - 1, "{left_out:?}");
}

/// Whatever in `value` is not as the schema says it.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.trim_start_matches('#')).expect("a schema");
        return faults(document, schema, value, at, found);
    }
    if schema["oneOf"].is_array() && value.is_null() {
        return;
    }
    let schema = followed(document, schema);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        faults(document, part, value, at, found);
    }
    if let Some(words) = schema["enum"].as_array()
        && !value.is_null()
        && !words.contains(value)
    {
        found.push(format!("{at}: {value} is none of {words:?}"));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let one = schema["type"].is_string().then(|| vec![schema["type"].clone()]);
    let kinds = schema["type"].as_array().cloned().or(one).unwrap_or_default();
    let is = |wanted: &Value| wanted == kind || wanted == "number" && kind == "integer";
    if !kinds.is_empty() && !kinds.iter().any(is) {
        found.push(format!("{at}: {kind} is none of {kinds:?}"));
    }
    for of in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(of).is_none() {
            found.push(format!("{at}/{of} is missing"));
        }
    }
    for (of, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(of) {
            faults(document, schema, value, &format!("{at}/{of}"), found);
        }
    }
    for value in value.as_array().into_iter().flatten() {
        faults(document, &schema["items"], value, &format!("{at}[]"), found);
    }
}

/// The headers of an answer that the description should know of.
const TOLD: [&str; 9] = [
    "allow",
    "etag",
    "link",
    "location",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "www-authenticate",
    "x-request-id",
];

/// Holds an answer against what is said of the operation: its body, and its headers.
fn check(document: &Value, method: &Method, path: &str, reply: &Reply, found: &mut Vec<String>) {
    let operation = &document["paths"][path][method.as_str().to_ascii_lowercase()];
    let said = &operation["responses"][reply.status.as_str()];
    let at = format!("{method} {path} {}", reply.status.as_u16());
    if !said.is_object() {
        found.push(format!("{at} is not described"));
        return;
    }
    let content = said["content"].as_object().into_iter().flatten().next();
    if let Some((media, content)) = content
        && media.ends_with("json")
    {
        faults(document, &content["schema"], &reply.json(), &at, found);
    }
    let known: BTreeSet<_> =
        said["headers"].as_object().into_iter().flatten().map(|(name, _)| name.to_ascii_lowercase()).collect();
    for name in TOLD {
        if reply.headers.contains_key(name) && !known.contains(name) {
            found.push(format!("{at}: the header {name} is not described"));
        }
    }
}

#[tokio::test]
async fn answers_are_as_described() {
    let world = World::new();
    let document = world.get("/openapi.json").await.json();
    let webhook = world.webhook("default").await;
    let event = world.event("default").await;
    let delivery = World::first_delivery(&event);
    world.settle(delivery, 500, b"no").await;
    let mut found = Vec::new();
    const ACCOUNT: &str = "/v1/accounts/{account}";
    let fill = |path: &str| {
        let id = if path.contains("/events/") {
            event.clone()
        } else if path.contains("/deliveries/") {
            delivery.to_string()
        } else {
            webhook.clone()
        };
        path.replace("{account}", "default").replace("{id}", &id).replace("{name}", "alert.rule_created")
    };
    let hook = json!({"url": "https://hooks.crm.example.com/2", "events": ["*"], "signing": "ed25519"});
    let posts = [
        ("/v1/events".to_owned(), json!({"event": "alert.rule_created", "data": {"rule": 1}})),
        ("/v1/events".to_owned(), json!([{"event": "alert.rule_created", "data": {"rule": 1}}, {"event": "nope"}])),
        ("/v1/events".to_owned(), json!({"event": "nope", "data": {}})),
        ("/v1/accounts".to_owned(), json!({"id": "acme", "name": "Acme"})),
        ("/v1/accounts".to_owned(), json!({"id": "acme", "name": "Acme"})),
        (format!("{ACCOUNT}/webhooks"), hook),
        (format!("{ACCOUNT}/webhooks/{{id}}/pause"), json!({"reason": "noon"})),
        (format!("{ACCOUNT}/replays"), json!({"webhook": webhook, "since": "1h", "dry_run": true})),
        (format!("{ACCOUNT}/webhooks/{{id}}/resume"), json!({"held": "deliver"})),
        (format!("{ACCOUNT}/webhooks/{{id}}/secret/rotate"), json!({})),
        (format!("{ACCOUNT}/keys"), json!({"name": "one", "scopes": ["events:write"]})),
        (format!("{ACCOUNT}/portal-sessions"), json!({})),
        ("/v1/sessions".to_owned(), json!({"token": PLATFORM})),
        ("/v1/sessions".to_owned(), json!({"token": "phl_wrong"})),
        (format!("{ACCOUNT}/deliveries/{{id}}/replay"), json!({})),
        (format!("{ACCOUNT}/deliveries/{{id}}/cancel"), json!({})),
        (format!("{ACCOUNT}/deliveries/{{id}}/cancel"), json!({})),
        (format!("{ACCOUNT}/replays"), json!({"status": "cancelled"})),
        (format!("{ACCOUNT}/url-check"), json!({"url": "https://moved.example.com/", "connect": true})),
    ];
    for (path, body) in &posts {
        let reply = world.post(&fill(path), body).await;
        check(&document, &Method::POST, path, &reply, &mut found);
    }
    let own = [
        "",
        "/webhooks",
        "/webhooks?limit=1",
        "/webhooks?stats=24h",
        "/webhooks/{id}",
        "/webhooks/{id}/secret",
        "/webhooks/{id}/stats",
        "/stats",
        "/events",
        "/events/{id}",
        "/event-types",
        "/deliveries",
        "/deliveries/{id}",
        "/deliveries/count",
        "/replays",
        "/keys",
        "/audit",
        "/portal-sessions",
    ];
    let others = [
        "/v1/accounts",
        "/v1/accounts?limit=1",
        "/v1/keys",
        "/v1/audit",
        "/v1/sessions/current",
        "/v1/brand",
        "/v1/inbox",
        "/v1/event-types",
        "/v1/event-types/{name}",
        "/v1/egress-ips",
        "/v1/system",
        "/v1/cluster",
        "/livez",
        "/version",
        "/.well-known/webhooks/{id}/keys",
    ];
    let paths = own.iter().map(|path| format!("{ACCOUNT}{path}")).chain(others.map(str::to_owned));
    for path in paths {
        let plain = path.split('?').next().unwrap_or_default();
        let reply = world.get(&fill(&path)).await;
        check(&document, &Method::GET, plain, &reply, &mut found);
        if !path.contains("well-known") && path.starts_with("/v1") {
            let reply = world.ask(Method::GET, &fill(&path)).send().await;
            check(&document, &Method::GET, plain, &reply, &mut found);
        }
    }
    let one = format!("{ACCOUNT}/webhooks/{{id}}");
    for (method, path) in [(Method::PATCH, one.as_str()), (Method::PATCH, ACCOUNT), (Method::DELETE, &one)] {
        let ask = || world.ask(method.clone(), &fill(path)).key(PLATFORM).json(&json!({}));
        check(&document, &method, path, &ask().header("if-match", "\"nope\"").send().await, &mut found);
        let body = if method == Method::DELETE { Value::Null } else { json!({"name": "Another"}) };
        let reply =
            if body.is_null() { world.delete(&fill(path)).await } else { world.patch(&fill(path), &body).await };
        check(&document, &method, path, &reply, &mut found);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test]
async fn an_answer_to_too_many_says_what_the_quota_is() {
    let world = World::new();
    let document = world.get("/openapi.json").await.json();
    let mut found = Vec::new();
    let path = "/v1/accounts/{account}/url-check";
    let mut statuses = BTreeSet::new();
    for _ in 0..31 {
        let reply = world.post("/v1/accounts/default/url-check", &json!({"url": "https://a.example.com/"})).await;
        statuses.insert(reply.status.as_u16());
        check(&document, &Method::POST, path, &reply, &mut found);
    }
    assert_eq!(statuses, BTreeSet::from([200, 429]));
    world.patch("/v1/accounts/default", &json!({"events_per_second": 100})).await;
    let reply = world.post("/v1/events", &json!({"event": "alert.rule_created", "data": {"rule": 1}})).await;
    assert!(reply.headers.contains_key("ratelimit"), "{reply:?}");
    check(&document, &Method::POST, "/v1/events", &reply, &mut found);
    assert_eq!(found, Vec::<String>::new());
    let headers = document["components"]["headers"].as_object().expect("headers");
    let described: BTreeSet<_> = headers.keys().map(|name| name.to_ascii_lowercase()).collect();
    assert_eq!(described, TOLD.map(str::to_owned).into());
}
