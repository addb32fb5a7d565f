//! A batch of events: a JSON array, or one per line. Each is accepted or refused by itself, the good ones in one commit.

use std::collections::BTreeMap;
use std::fmt;

use axum::response::Response;
use domain::event::{Idempotency, NewEvent};
use domain::refusal::Refusal;
use domain::store::{AcceptError, Accepted};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::accept_events::{commit, give_back, prepare, refusal, take, trace, write_accepted};
use crate::app::Api;
use crate::auth::Caller;
use crate::problem::{FaultSchema, Problem};
use crate::{idempotency, json, json_input};

/// The most events of a batch.
pub(super) const BATCH_MAX: usize = 1_000;
/// After so many events of a batch others get their turn.
const BATCH_STRETCH: usize = 64;

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

/// The events of an array, each as it was written.
///
/// # Errors
/// 400 if it is no JSON, 413 if there are too many.
pub(super) fn read_array(text: &str) -> Result<Vec<&str>, Problem> {
    let Elements(elements) = serde_json::from_str(text)
        .map_err(|error| if error.is_data() { too_many() } else { json_input::unreadable(text, &error) })?;
    Ok(elements.into_iter().map(RawValue::get).collect())
}

/// The lines that are not blank.
///
/// # Errors
/// 413 if there are too many.
pub(super) fn read_lines(text: &str) -> Result<Vec<&str>, Problem> {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim_ascii().is_empty()).take(BATCH_MAX + 1).collect();
    if lines.len() > BATCH_MAX { Err(too_many()) } else { Ok(lines) }
}

fn too_many() -> Problem {
    Problem::too_large("batch_too_large", "A batch has at most 1,000 events; nothing of this one was accepted.")
}

/// What has become of a batch.
#[derive(ToSchema)]
#[schema(as = BatchAnswer)]
#[expect(dead_code, reason = "describes what `write_results` writes by hand")]
pub(super) struct BatchAnswer {
    /// One for each event, in their order.
    results: Vec<ResultJson>,
}

/// What has become of an event of a batch: accepted with an id, or refused with a code.
#[derive(ToSchema)]
#[schema(as = BatchResult)]
#[expect(dead_code, reason = "describes what `write_results` writes by hand")]
struct ResultJson {
    /// The status that the event would have got by itself: 202 if it was accepted.
    #[schema(example = 202)]
    status: u16,
    /// The event's id.
    #[schema(example = "evt_01k9x5m2q7a3b")]
    id: Option<String>,
    /// The event's timestamp.
    #[schema(format = DateTime, example = "2026-03-18T14:30:00.000000Z")]
    timestamp: Option<String>,
    /// How many webhooks it goes to.
    #[schema(example = 2)]
    deliveries: Option<u32>,
    /// The kind of the problem.
    #[schema(example = "event_type_unknown")]
    code: Option<String>,
    /// What is wrong, and the way out.
    detail: Option<String>,
    /// After how many seconds to post the event again, where it was too much at the moment.
    #[schema(example = 1)]
    retry_after: Option<u64>,
    /// Every fault of the event, each with its place.
    errors: Option<Vec<FaultSchema>>,
}

/// A refused event of a batch.
#[derive(Serialize)]
struct Refused<'a> {
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Refusal],
}

/// Accepts the events of a batch: `text` is the whole, `texts` its parts.
///
/// # Errors
/// What stands for the batch as a whole; what stands for one event is in its result.
pub(super) async fn accept(
    api: &Api,
    caller: &Caller,
    headers: &HeaderMap,
    text: &str,
    texts: Vec<&str>,
) -> Result<Response, Problem> {
    let key = idempotency::of(headers, caller, None, "/v1/events", text.as_bytes())?;
    let trace = trace(headers);
    let mut results: Vec<Result<Option<Accepted>, Problem>> = Vec::with_capacity(texts.len());
    let mut events = Vec::with_capacity(texts.len());
    let mut learnt = false;
    for (place, text) in texts.into_iter().enumerate() {
        if place % BATCH_STRETCH == BATCH_STRETCH - 1 {
            tokio::task::yield_now().await;
        }
        results.push(prepare(api, caller, text, &mut learnt).await.map(|mut event| {
            event.trace = trace;
            event.idempotency = key.as_ref().map(|key| in_batch(key, events.len(), event.account));
            events.push(event);
            None
        }));
    }
    let over = over_quotas(api, &events);
    let mut asked = Vec::with_capacity(events.len());
    for (result, mut event) in results.iter_mut().filter(|result| result.is_ok()).zip(events) {
        match over.get(&event.account) {
            Some(over) if key.is_none() => *result = Err(over.clone()),
            // The same batch again is answered as it was, whatever was posted since.
            over => {
                event.only_repeated = over.is_some();
                asked.push(event);
            }
        }
    }
    let accounts: Vec<u32> = asked.iter().map(|event| event.account).collect();
    let accepted = accept_all(api, asked, key.is_some()).await?;
    let mut repeated: BTreeMap<u32, usize> = BTreeMap::new();
    let waiting = results.iter_mut().filter(|result| result.is_ok());
    for ((result, accepted), account) in waiting.zip(accepted).zip(accounts) {
        if accepted.as_ref().is_ok_and(|accepted| accepted.repeated) && !over.contains_key(&account) {
            *repeated.entry(account).or_default() += 1;
        }
        *result = match (accepted, over.get(&account)) {
            (Err(AcceptError::NotRepeated), Some(over)) => Err(over.clone()),
            (accepted, _) => accepted.map(Some).map_err(refusal),
        };
    }
    repeated.into_iter().for_each(|(account, number)| give_back(api, account, number));
    if let Some(over) = over.into_values().next()
        && results.iter().all(is_over)
    {
        return Err(over);
    }
    for problem in results.iter().filter_map(|result| result.as_ref().err()) {
        api.live.metrics().refused(problem.code());
    }
    Ok(json::answer(StatusCode::OK, write_results(&results)))
}

/// The accounts whose quota is used up, and how their events are refused.
fn over_quotas(api: &Api, events: &[NewEvent]) -> BTreeMap<u32, Problem> {
    let mut numbers: BTreeMap<u32, usize> = BTreeMap::new();
    for event in events {
        *numbers.entry(event.account).or_default() += 1;
    }
    numbers.into_iter().filter_map(|(account, number)| Some((account, take(api, account, number).err()?))).collect()
}

/// Whether this is all there is to say of an event: its account's quota is used up.
fn is_over(result: &Result<Option<Accepted>, Problem>) -> bool {
    result.as_ref().is_err_and(|problem| problem.status() == StatusCode::TOO_MANY_REQUESTS)
}

/// The idempotency of the batch's `place`th event.
fn in_batch(key: &Idempotency, place: usize, account: u32) -> Idempotency {
    let mut hash = Sha256::new();
    hash.update(key.key);
    hash.update((place as u64).to_be_bytes());
    hash.update(account.to_be_bytes());
    Idempotency { account, key: hash.finalize().into(), request: key.request }
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
        accepted = commit(api, events).await;
        if let Some(Err(AcceptError::OtherRequest)) = accepted.first() {
            return Err(AcceptError::OtherRequest.into());
        }
        events = rest;
    }
    if !events.is_empty() {
        accepted.extend(commit(api, events).await);
    }
    match accepted.first() {
        // A store that takes nothing now answers for the batch as a whole, with its Retry-After.
        Some(Err(error @ (AcceptError::Store(_) | AcceptError::Clock(_)))) if accepted.iter().all(Result::is_err) => {
            Err(error.clone().into())
        }
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
                retry_after: problem.retry_after(),
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
