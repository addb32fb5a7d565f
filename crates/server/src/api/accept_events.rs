//! `POST /v1/events`: one event, a JSON array of them, or one per line. The 2xx is sent after the fsync.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use domain::catalogue::EventType;
use domain::event::{Idempotency, NewEvent};
use domain::id::AccountId;
use domain::refusal::Refusal;
use domain::store::{AcceptError, Accepted};
use http::header::HeaderMap;
use http::{Method, StatusCode};
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::app::Api;
use crate::auth::{self, Caller};
use crate::body::{self, EVENTS_BODY_MAX, Kind};
use crate::json_input::{Given, Input};
use crate::operation::{Access, Operation, shape};
use crate::problem::Problem;
use crate::{idempotency, json, json_input};

/// The largest `data`.
const DATA_MAX: usize = 256 * 1024;
/// The most events of a batch.
const BATCH_MAX: usize = 1_000;
/// After so many events of a batch others get their turn.
const BATCH_STRETCH: usize = 64;

/// An event as the platform posts it. An array of these, or one per line as `application/x-ndjson`, is a batch.
#[derive(ToSchema)]
#[schema(as = NewEvent)]
#[expect(dead_code, reason = "describes what `prepare` reads")]
pub(crate) struct EventInput {
    /// The account; `default` if not given, for an account key its own.
    #[schema(example = "default")]
    account: Option<String>,
    /// The event's type.
    #[schema(example = "alert.rule_created")]
    event: String,
    /// What happened: an object that the type's schema allows, at most 256 KiB. Its bytes are delivered as they came.
    #[schema(value_type = Object)]
    data: String,
}

/// The members of [`EventInput`].
const NAMES: [&str; 3] = ["account", "event", "data"];

/// An accepted event.
#[derive(ToSchema)]
#[schema(as = AcceptedEvent)]
#[expect(dead_code, reason = "describes what `write_accepted` writes by hand")]
pub(crate) struct AcceptedAnswer {
    /// The event's id.
    #[schema(example = "evt_01k9x5m2q7a3b")]
    id: String,
    /// The event's timestamp: part of every delivery's body, unique in its account.
    #[schema(example = "2026-03-18T14:30:00.000000Z")]
    timestamp: String,
    /// How many webhooks it goes to.
    #[schema(example = 2)]
    deliveries: u32,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(&Method::POST, "/v1/events", "post_events", post, "Post an event, or a batch of them")
            .about(
                "One event gets 202 after it is on disk. A JSON array, or application/x-ndjson with one event per line, is a \
                 batch of at most 1,000: each is accepted or refused by itself, and the answer is 200 with \
                 {\"results\":[…]} in order, each with its own status.",
            )
            .access(Access::Events)
            .takes(shape::<EventInput>())
            .answers(202, "Accepted, and on disk.", Some(shape::<AcceptedAnswer>()))
            .refuses(413, "The data of an event is over 256 KiB, or the batch over 1,000 events or 16 MiB.")
            .idempotent(),
    ]
}

async fn post(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = auth::authenticate(&parts, &api)?;
    if !caller.writes_events() {
        return Err(Problem::forbidden("This key may not post events: it lacks the scope events:write."));
    }
    if parts.uri.query().is_some_and(|query| !query.is_empty()) {
        crate::page::no_parameters(&crate::page::pairs(parts.uri.query()))?;
    }
    let read = body::read(&api, &parts.headers, body, EVENTS_BODY_MAX).await?;
    let text = json_input::text(&read.bytes)?;
    match read.kind {
        Kind::Json if text.trim_ascii_start().starts_with('[') => {
            batch(&api, &caller, &parts.headers, text, read_array(text)?).await
        }
        Kind::Json => one(&api, &caller, &parts.headers, text).await,
        Kind::Ndjson => batch(&api, &caller, &parts.headers, text, read_lines(text)?).await,
        Kind::Unsaid => Err(body::unsupported(
            "content_type",
            "Send \"Content-Type: application/json\", or application/x-ndjson for one event per line.",
        )),
    }
}

async fn one(api: &Api, caller: &Caller, headers: &HeaderMap, text: &str) -> Result<Response, Problem> {
    let mut event = prepare(api, caller, text)?;
    event.idempotency = idempotency::of(headers, caller, Some(event.account), "/v1/events", text.as_bytes())?;
    let accepted = api.store.accept(vec![event]).await.pop();
    match accepted {
        Some(Ok(accepted)) => {
            let mut answer = String::with_capacity(112);
            write_accepted(&mut answer, &accepted, "");
            Ok(json::answer(StatusCode::ACCEPTED, answer))
        }
        Some(Err(error)) => Err(refusal(error)),
        None => Err(Problem::unavailable("store_stopped", "The store did not answer.")),
    }
}

/// `{"id":…,"timestamp":…,"deliveries":…}`, after `first`.
fn write_accepted(out: &mut String, accepted: &Accepted, first: &str) {
    let Accepted { id, timestamp, deliveries, .. } = accepted;
    write!(out, r#"{{{first}"id":"{id}","timestamp":"{timestamp}","deliveries":{deliveries}}}"#)
        .expect("writing to memory does not fail");
}

fn refusal(error: AcceptError) -> Problem {
    match error {
        AcceptError::Gone => Problem::account_not_found(),
        AcceptError::OtherRequest | AcceptError::Store(_) => error.into(),
    }
}

/// Checks one event; it is accepted by [`domain::store::Store::accept`] only.
fn prepare(api: &Api, caller: &Caller, text: &str) -> Result<NewEvent, Problem> {
    let mut input = Input::parse(text, &NAMES)?;
    let account = read_account(&mut input);
    let event_type = read_type(api, &mut input);
    let data = input.raw("data");
    if data.is_none() {
        input.fault("data", "field_missing", "The field data is missing: an object with what happened.");
    }
    if let Some(data) = data
        && data.get().len() > DATA_MAX
    {
        let detail = format!("data has {} bytes; at most {DATA_MAX} (256 KiB) are taken.", data.get().len());
        return Err(Problem::too_large("data_too_large", detail));
    }
    let mut flagged = false;
    if let (Some(event_type), Some(data)) = (&event_type, data) {
        match event_type.check(data) {
            Ok(breaks) => flagged = breaks,
            Err(faults) => input.faults.extend(faults),
        }
    }
    let account = account.map(|named| find_account(api, caller, named.as_ref()));
    input.check()?;
    let (Some(account), Some(event_type), Some(data)) = (account, event_type, data) else {
        return Err(Problem::fault("", "body_invalid", "The event is incomplete."));
    };
    Ok(NewEvent {
        account: account?,
        event_type: Arc::clone(&event_type.name),
        // A copy: a slice would keep the whole request, or the connection's buffer, in memory for as long as the event.
        data: Bytes::copy_from_slice(data.get().as_bytes()),
        test_for: None,
        flagged,
        idempotency: None,
    })
}

/// The account that the event names: `Some(None)` if it names none, `None` if that is a fault.
fn read_account(input: &mut Input<'_>) -> Option<Option<AccountId>> {
    match input.text("account", "account_invalid") {
        Given::Absent if input.raw("account").is_some() => None,
        Given::Absent => Some(None),
        Given::Null => {
            input.fault("account", "account_invalid", "account must be an account's id, or left out, not null.");
            None
        }
        Given::Value(text) => {
            let id: Result<AccountId, _> = text.parse();
            if id.is_err() {
                input.fault("account", "account_invalid", "An account's id has 1 to 64 letters, digits, _ and -.");
            }
            id.ok().map(Some)
        }
    }
}

/// The number of the account that the event is for.
fn find_account(api: &Api, caller: &Caller, named: Option<&AccountId>) -> Result<u32, Problem> {
    if let (None, Some(own)) = (named, caller.account()) {
        return Ok(own);
    }
    let default: AccountId;
    let id = match named {
        Some(id) => id,
        None => {
            default = "default".parse().map_err(|_| Problem::account_not_found())?;
            &default
        }
    };
    auth::account(api, caller, Some(id)).map(|account| account.number)
}

fn read_type(api: &Api, input: &mut Input<'_>) -> Option<Arc<EventType>> {
    match input.text("event", "event_type_unknown") {
        Given::Value(name) => {
            let found = api.catalogue.get(&name).cloned();
            if found.is_none() {
                let shown: String = name.chars().take(80).collect();
                let detail =
                    format!("There is no event type {shown:?}. GET /v1/event-types lists those that there are.");
                input.fault("event", "event_type_unknown", detail);
            }
            found
        }
        Given::Absent if input.raw("event").is_some() => None,
        Given::Absent | Given::Null => {
            input.fault("event", "field_missing", "The field event is missing: the name of an event type.");
            None
        }
    }
}

/// The elements of an array, each as it was written, and not more than a batch may have.
struct Elements<'a>(Vec<&'a RawValue>);

const TOO_MANY: &str = "more events than a batch may have";

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementsVisitor;
        impl<'de> Visitor<'de> for ElementsVisitor {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    if elements.len() == BATCH_MAX {
                        return Err(serde::de::Error::custom(TOO_MANY));
                    }
                    elements.push(element);
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(ElementsVisitor)
    }
}

fn read_array(text: &str) -> Result<Vec<&str>, Problem> {
    let Elements(elements) = serde_json::from_str(text)
        .map_err(|error| if error.is_data() { too_many() } else { json_input::unreadable(text, &error) })?;
    Ok(elements.into_iter().map(RawValue::get).collect())
}

fn read_lines(text: &str) -> Result<Vec<&str>, Problem> {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim_ascii().is_empty()).take(BATCH_MAX + 1).collect();
    if lines.len() > BATCH_MAX { Err(too_many()) } else { Ok(lines) }
}

fn too_many() -> Problem {
    Problem::too_large("batch_too_large", "A batch has at most 1,000 events; nothing of this one was accepted.")
}

/// A refused event of a batch.
#[derive(Serialize)]
struct Refused<'a> {
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Refusal],
}

async fn batch(
    api: &Api,
    caller: &Caller,
    headers: &HeaderMap,
    text: &str,
    texts: Vec<&str>,
) -> Result<Response, Problem> {
    let key = idempotency::of(headers, caller, None, "/v1/events", text.as_bytes())?;
    let mut results: Vec<Result<Option<Accepted>, Problem>> = Vec::with_capacity(texts.len());
    let mut events = Vec::with_capacity(texts.len());
    for (place, text) in texts.into_iter().enumerate() {
        if place % BATCH_STRETCH == BATCH_STRETCH - 1 {
            tokio::task::yield_now().await;
        }
        results.push(prepare(api, caller, text).map(|mut event| {
            event.idempotency = key.as_ref().map(|key| in_batch(key, events.len(), event.account));
            events.push(event);
            None
        }));
    }
    let accepted = accept_all(api, events, key.is_some()).await?;
    let waiting = results.iter_mut().filter(|result| result.is_ok());
    for (result, accepted) in waiting.zip(accepted) {
        *result = accepted.map(Some).map_err(refusal);
    }
    Ok(json::answer(StatusCode::OK, write_results(&results)))
}

/// The idempotency of the batch's `place`th event.
fn in_batch(key: &Idempotency, place: usize, account: u32) -> Idempotency {
    let mut hash = Sha256::new();
    hash.update(key.key);
    hash.update((place as u64).to_be_bytes());
    hash.update(account.to_be_bytes());
    Idempotency { key: hash.finalize().into(), request: key.request }
}

async fn accept_all(
    api: &Api,
    mut events: Vec<NewEvent>,
    keyed: bool,
) -> Result<Vec<Result<Accepted, AcceptError>>, Problem> {
    let mut accepted = Vec::with_capacity(events.len());
    if keyed && !events.is_empty() {
        // The first one alone tells whether the key came with another batch; of that one, nothing may be accepted.
        let rest = events.split_off(1);
        accepted = api.store.accept(events).await;
        if let Some(Err(AcceptError::OtherRequest)) = accepted.first() {
            return Err(AcceptError::OtherRequest.into());
        }
        events = rest;
    }
    if !events.is_empty() {
        accepted.extend(api.store.accept(events).await);
    }
    match accepted.first() {
        // A store that takes nothing now answers for the batch as a whole, with its Retry-After.
        Some(Err(AcceptError::Store(error))) if accepted.iter().all(Result::is_err) => Err(error.clone().into()),
        Some(_) | None => Ok(accepted),
    }
}

fn write_results(results: &[Result<Option<Accepted>, Problem>]) -> String {
    let mut out = String::with_capacity(16 + results.len() * 112);
    out.push_str(r#"{"results":["#);
    for (place, result) in results.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        match result {
            Ok(Some(accepted)) => write_accepted(&mut out, accepted, r#""status":202,"#),
            Ok(None) => out.push_str(r#"{"status":503,"code":"store_stopped","detail":"The store did not answer."}"#),
            Err(problem) => out.push_str(&json::write_text(&Refused {
                // A line that is no JSON is one event's fault, not the request's.
                status: if problem.status() == StatusCode::BAD_REQUEST { 422 } else { problem.status().as_u16() },
                code: problem.code(),
                detail: problem.detail(),
                errors: problem.errors(),
            })),
        }
    }
    out.push_str("]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_bounded_before_it_is_kept() {
        let of = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
        assert_eq!(read_array(&of(BATCH_MAX)).expect("a batch").len(), BATCH_MAX);
        assert_eq!(read_array(&of(BATCH_MAX + 1)).expect_err("too many").status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(read_array("[{},").expect_err("broken").status(), StatusCode::BAD_REQUEST);
        assert_eq!(read_array("[]").expect("an empty batch").len(), 0);
        assert_eq!(read_lines(&"{}\n".repeat(BATCH_MAX)).expect("a batch").len(), BATCH_MAX);
        assert!(read_lines(&"{}\n".repeat(BATCH_MAX + 1)).is_err());
        assert_eq!(read_lines("{}\r\n\n{}").expect("two lines"), ["{}", "{}"]);
    }
}
