//! The headers of answers, as the description has them: each once, and which answer carries which.

use serde_json::{Map, Value, json};

use crate::operation::{LINK, Operation};

/// The version of what is answered.
pub(super) const ETAG: &str = "ETag";
/// The address of what was made.
pub(super) const LOCATION: &str = "Location";
/// What is left of a quota, and the quota.
pub(super) const RATE_LIMIT: [&str; 2] = ["RateLimit", "RateLimit-Policy"];
/// How long to wait.
pub(super) const RETRY_AFTER: &str = "Retry-After";

const WWW_AUTHENTICATE: &str = "WWW-Authenticate";
const REQUEST_ID: &str = "X-Request-Id";
/// Of 405, which no operation has, since it is of an address and a method that are none.
const ALLOW: &str = "Allow";

/// Every header by its name: what it says, whether it is a number, and an example.
const HEADERS: [(&str, &str, bool, &str); 9] = [
    (ALLOW, "The methods that the address takes.", false, "GET,HEAD,POST"),
    (ETAG, "The version, for If-Match.", false, "\"3\""),
    (
        LINK,
        "The address of the next page, if there is one: rel=\"next\".",
        false,
        "</v1/accounts?cursor=b2Zm>; rel=\"next\"",
    ),
    (LOCATION, "The address of what was made.", false, "/v1/accounts/acme"),
    (RATE_LIMIT[0], "What is left of the quota, and in how many seconds there is more.", false, "\"events\";r=0;t=1"),
    (RATE_LIMIT[1], "The quota, and its window in seconds.", false, "\"events\";q=100;w=1"),
    (RETRY_AFTER, "After how many seconds it is worth asking again.", true, "1"),
    (WWW_AUTHENTICATE, "How to say who asks.", false, "Bearer"),
    (REQUEST_ID, "The request's id: the server's log and the audit log name it.", false, "req_5f0c2a9e00001a"),
];

/// All of them, for the document's components.
pub(super) fn described() -> Map<String, Value> {
    let header = |(name, about, number, example): (&str, &str, bool, &str)| {
        let schema = if number { json!({"type": "integer", "minimum": 1}) } else { json!({"type": "string"}) };
        let example = if number { json!(example.parse::<u64>().unwrap_or(1)) } else { json!(example) };
        (name.to_owned(), json!({"description": about, "schema": schema, "example": example}))
    };
    HEADERS.into_iter().map(header).collect()
}

/// References to those that an answer of this status may carry.
pub(super) fn of(operation: &Operation, status: u16) -> Value {
    let own = operation.told.iter().filter(|(of, _)| *of == status).map(|(_, name)| *name);
    let by_status: &[&str] = match status {
        401 => &[WWW_AUTHENTICATE],
        429 => &[RETRY_AFTER, RATE_LIMIT[0], RATE_LIMIT[1]],
        503 => &[RETRY_AFTER],
        _ => &[],
    };
    let names = own.chain(by_status.iter().copied()).chain([REQUEST_ID]);
    names.map(|name| (name.to_owned(), json!({"$ref": format!("#/components/headers/{name}")}))).collect()
}
