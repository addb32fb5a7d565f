//! The OpenAPI 3.1 document: the operations, their schemas, and the requests that we send under `webhooks`.

use std::collections::BTreeMap;

use domain::brand::Brand;
use domain::catalogue::{Catalogue, EventType};
use domain::key::Scope;
use serde_json::{Map, Value, json};

use super::answer_headers;
use crate::operation::{Access, Operation, Parameter, Place, Shape, shape};
use crate::problem::{FaultSchema, ProblemDocument};

/// What every reader should know first.
const ABOUT: &str = "Events come in at POST /v1/events and go out as signed webhooks; everything else manages them and shows what \
became of each. Send a key as \"Authorization: Bearer …\": a platform key (phk_…) may do everything, an account key (pha_…) \
sees its own account only. Refusals are problem documents (RFC 9457) with a code and every fault of the input. Lists take limit \
and cursor, and answer {data, next_cursor}. POSTs take an Idempotency-Key. Besides \
what each operation lists, a request may be answered 405 where its address does not take its method (the header Allow lists those that it \
takes), 408 where its body came too slowly, 400 where its head is not valid HTTP, 414 where its address is too long for a head, and 431 where \
its head is too large; after these four the connection is closed.";

/// The document.
pub(super) fn document(operations: &[Operation], catalogue: &Catalogue, brand: &Brand, version: &str) -> Value {
    let mut schemas = BTreeMap::new();
    for named in [shape::<ProblemDocument<'_>>(), shape::<FaultSchema>()] {
        take(&mut schemas, &named);
    }
    for named in super::stream_shapes() {
        take(&mut schemas, &named);
    }
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations {
        let described = describe(operation, &mut schemas);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_ascii_lowercase()] = described;
    }
    let webhooks: Map<String, Value> =
        catalogue.types().iter().map(|event_type| (event_type.name.to_string(), sent(event_type, brand))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": format!("{} webhooks", brand.name),
            "version": version,
            "description": ABOUT,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}, {"session": []}],
        "paths": paths,
        "webhooks": webhooks,
        "components": {
            "headers": answer_headers::described(),
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A platform key (phk_…) or an account key (pha_…)."},
                "session": {
                    "type": "apiKey", "in": "cookie", "name": "posthaste_session",
                    "description": "A browser's session; over https the name starts with __Host- or __Secure-. What changes \
                        something needs the header X-Requested-With too.",
                },
            },
        },
    })
}

/// Takes the named schemas of a shape in.
fn take(schemas: &mut BTreeMap<String, Value>, shape: &Shape) {
    for (name, schema) in &shape.named {
        schemas.entry(name.clone()).or_insert_with(|| serde_json::to_value(schema).unwrap_or_default());
    }
}

fn describe(operation: &Operation, schemas: &mut BTreeMap<String, Value>) -> Value {
    let (status, about, answer) = &operation.answer;
    let mut responses = Map::new();
    let told = |status: u16, mut answer: Value| {
        answer["headers"] = answer_headers::of(operation, status);
        answer
    };
    responses.insert(status.to_string(), told(*status, content(about, answer.as_ref(), schemas)));
    if let Some((status, about, answer)) = &operation.other_answer {
        responses.insert(status.to_string(), told(*status, content(about, Some(answer), schemas)));
    }
    for (status, about) in refusals(operation) {
        let document = json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
        responses.insert(status.to_string(), told(status, json!({"description": about, "content": document})));
    }
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [group(operation.path)],
        "parameters": parameters(operation, schemas),
        "responses": responses,
    });
    if !operation.about.is_empty() {
        described["description"] = json!(operation.about);
    }
    if let Some((shape, required)) = &operation.body {
        let mut body = content("", Some(shape), schemas);
        body["required"] = json!(required);
        if let Some(other) = &operation.other_body {
            body["content"][other.media] = content("", Some(other), schemas)["content"][other.media].take();
        }
        described["requestBody"] = json!({"required": required, "content": body["content"]});
    }
    match operation.access {
        Access::Open => described["security"] = json!([]),
        // In version 3.1 also a scheme that is no OAuth may name what a key needs.
        Access::Scope(scope) => described["security"] = json!([{"key": [scope.as_str()]}]),
        Access::Platform => described["security"] = json!([{"key": ["platform"]}]),
        Access::Member | Access::AnyKey => {}
    }
    described
}

fn content(about: &str, shape: Option<&Shape>, schemas: &mut BTreeMap<String, Value>) -> Value {
    let Some(shape) = shape else { return json!({"description": about}) };
    take(schemas, shape);
    let media = shape.media;
    json!({"description": about, "content": {media: {"schema": shape.schema}}})
}

/// The operation's own refusals, and those that follow from how it is reached.
fn refusals(operation: &Operation) -> Vec<(u16, &'static str)> {
    let mut refusals = operation.refusals.clone();
    if operation.access != Access::Open {
        refusals.push((401, "There is no valid key."));
        refusals.push((429, "Too many requests; Retry-After says how long to wait."));
        refusals.push((503, "The store cannot answer now; Retry-After says how long to wait."));
    }
    match operation.access {
        Access::Platform => refusals.push((403, "The key is not a platform key, or is one with scopes.")),
        Access::Scope(_) => refusals.push((403, "The key lacks the scope.")),
        Access::Open | Access::Member | Access::AnyKey => {}
    }
    if operation.path.contains('{') || operation.access == Access::Scope(Scope::EventsWrite) {
        refusals.push((404, "It never existed, was deleted, or belongs to another account."));
    }
    // What honours the header reads a body too, if one is sent.
    if operation.body.is_some() || operation.is_idempotent() {
        refusals.push((400, "The body cannot be read, or a header is malformed."));
        refusals.push((413, "The body is too large."));
        refusals.push((415, "The body is not JSON."));
    }
    if operation.parameters.iter().any(|parameter| parameter.place == Place::Query) {
        refusals.push((422, "A parameter cannot be taken."));
    }
    let mut seen = Vec::new();
    refusals.retain(|(status, _)| {
        !seen.contains(status) && {
            seen.push(*status);
            true
        }
    });
    refusals.sort_unstable_by_key(|(status, _)| *status);
    refusals
}

fn parameters(operation: &Operation, schemas: &mut BTreeMap<String, Value>) -> Vec<Value> {
    let in_path = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path =
        in_path.map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    let others = operation.parameters.iter().map(|Parameter { name, place, about, value }| {
        let place = match place {
            Place::Query => "query",
            Place::Header => "header",
        };
        let value = value();
        take(schemas, &value);
        json!({"name": name, "in": place, "required": false, "description": about, "schema": value.schema})
    });
    in_path.chain(others).collect()
}

/// The group of a path: its resource.
fn group(path: &str) -> &str {
    let public = path.strip_prefix("/v1/").or_else(|| path.strip_prefix("/.well-known/"));
    let path = public.unwrap_or("operations");
    let path = path.strip_prefix("accounts/{account}/").unwrap_or(path);
    path.split('/').next().unwrap_or(path)
}

/// The request that we send for an event of this type.
fn sent(event_type: &EventType, brand: &Brand) -> Value {
    let prefix = &brand.header_prefix;
    let header = |name: String, about: &str, example: &str| json!({"name": name, "in": "header", "required": true, "description": about, "schema": {"type": "string"}, "example": example});
    let headers = [
        header(
            format!("{prefix}-Signature"),
            "sha256= and the HMAC-SHA256 of the raw body in lower-case hex; the key is the whole secret.",
            "sha256=a1b2c3d4e5f6…",
        ),
        header(format!("{prefix}-Event"), "The event's type.", &event_type.name),
        header(format!("{prefix}-Delivery"), "The delivery's id; the same on every attempt.", "dlv_01k9x5m2q7a3b00"),
        header(format!("{prefix}-Attempt"), "The attempt's number, from 1.", "1"),
        header("User-Agent".to_owned(), "Who sends.", &brand.user_agent),
        header("webhook-id".to_owned(), "The delivery's id (Standard Webhooks).", "dlv_01k9x5m2q7a3b00"),
        header("webhook-timestamp".to_owned(), "The second of the attempt (Standard Webhooks).", "1773844200"),
        header(
            "webhook-signature".to_owned(),
            "One or more signatures, with a space between (Standard Webhooks): v1 by the secret, and v1a by the key pair of a webhook with one.",
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
    ];
    let data: Value = serde_json::from_str(event_type.example.get()).unwrap_or_default();
    let schema = json!({
        "type": "object",
        "required": ["event", "webhook_id", "timestamp", "data"],
        "properties": {
            "event": {"const": &*event_type.name},
            "webhook_id": {"type": "string"},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": event_type.schema,
        },
    });
    let example = json!({"event": &*event_type.name, "webhook_id": "wh_abc123", "timestamp": "2026-03-18T14:30:00.000000Z", "data": data});
    json!({"post": {
        "operationId": format!("on_{}", event_type.name.replace('.', "_")),
        "summary": event_type.description,
        "tags": ["sent requests"],
        "security": [],
        "parameters": headers,
        "requestBody": {"required": true, "content": {"application/json": {"schema": schema, "example": example}}},
        "responses": {
            "2XX": {"description": "Taken. The body of the answer does not matter."},
            "410": {"description": "Gone: the webhook is paused."},
            "default": {"description": "A failure: it is sent again by the retry schedule."},
        },
    }})
}
