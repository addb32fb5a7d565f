//! `POST /v1/events`: one event, a JSON array of them, or one per line. The 2xx is sent after the fsync.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use domain::catalogue::EventType;
use domain::event::NewEvent;
use domain::id::AccountId;
use domain::key::Scope;
use domain::store::{AcceptError, Accepted};
use domain::trace::{Span, SpanName, TraceParent};
use http::header::HeaderMap;
use http::{Method, StatusCode};
use utoipa::ToSchema;

use super::answer_headers::RATE_LIMIT;
use super::event_batch::{self, BATCH_MAX};
use crate::app::Api;
use crate::auth::{self, Caller};
use crate::body::{self, EVENTS_BODY_MAX, Kind};
use crate::json_input::{Given, Input};
use crate::limits::Left;
use crate::operation::{Operation, one_or_more, shape, text};
use crate::problem::Problem;
use crate::{idempotency, json, json_input};

/// The largest `data`.
pub(super) const DATA_MAX: usize = 256 * 1024;

/// An event as the platform posts it. An array of these, or one per line as `application/x-ndjson`, is a batch.
#[derive(ToSchema)]
#[schema(as = NewEvent)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `prepare` reads")]
pub(crate) struct EventInput {
    /// The account; `default` if not given, for an account key its own.
    #[schema(example = "default", nullable = false)]
    account: Option<String>,
    /// The event's type.
    #[schema(example = "alert.rule_created")]
    event: String,
    /// What happened: an object that the type's schema allows, at most 256 KiB. Its bytes are delivered as they came.
    #[schema(value_type = BTreeMap<String, Value>, additional_properties = true)]
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
    #[schema(format = DateTime, example = "2026-03-18T14:30:00.000000Z")]
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
            .scope(Scope::EventsWrite)
            .takes(one_or_more::<EventInput>(BATCH_MAX))
            .or_takes(text("application/x-ndjson"))
            .answers(202, "One event: accepted, and on disk.", Some(shape::<AcceptedAnswer>()))
            .or_answers(200, "A batch: what has become of each event, in their order.", shape::<event_batch::BatchAnswer>())
            .tells(202, RATE_LIMIT[0])
            .tells(202, RATE_LIMIT[1])
            .refuses(413, "The data of an event is over 256 KiB, or the batch over 1,000 events or 16 MiB.")
            .idempotent(),
    ]
}

async fn post(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    // Only where somebody collects traces is there anything to measure.
    let traced = api.tracer.is_some().then(|| (trace(request.headers()), api.now()));
    let answer = accept(&api, request).await;
    let code = answer.as_ref().err().map(Problem::code);
    if let Some(code) = code {
        api.live.metrics().refused(code);
    }
    if let (Some(tracer), Some((trace, started_at))) = (&api.tracer, traced) {
        let ended_at = api.now();
        let attributes = vec![("http.route", "/v1/events".to_owned())];
        tracer.ended(Span { name: SpanName::Accept, trace, started_at, ended_at, attributes, error: code });
    }
    answer
}

/// Has the store accept events; the time until they are on disk is a span of its own.
pub(super) async fn commit(api: &Api, events: Vec<NewEvent>) -> Vec<Result<Accepted, AcceptError>> {
    let Some(tracer) = &api.tracer else { return api.store.accept(events).await };
    let (trace, started_at) = (events.first().and_then(|event| event.trace), api.now());
    let attributes = vec![("posthaste.events", events.len().to_string())];
    let answers = api.store.accept(events).await;
    let error = answers.iter().any(Result::is_err).then_some("not_accepted");
    tracer.ended(Span { name: SpanName::Commit, trace, started_at, ended_at: api.now(), attributes, error });
    answers
}

async fn accept(api: &Api, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = auth::caller(&parts, api).await?;
    if parts.uri.query().is_some_and(|query| !query.is_empty()) {
        crate::page::no_parameters(&crate::page::pairs(parts.uri.query()))?;
    }
    let read = body::read(api, &parts.headers, body, EVENTS_BODY_MAX).await?;
    let text = json_input::text(&read.bytes)?;
    match read.kind {
        Kind::Json if text.trim_ascii_start().starts_with('[') => {
            event_batch::accept(api, &caller, &parts.headers, text, event_batch::read_array(text)?).await
        }
        Kind::Json => one(api, &caller, &parts.headers, text).await,
        Kind::Ndjson => event_batch::accept(api, &caller, &parts.headers, text, event_batch::read_lines(text)?).await,
        Kind::Unsaid => Err(body::unsupported(
            "content_type",
            "Send \"Content-Type: application/json\", or application/x-ndjson for one event per line.",
        )),
    }
}

async fn one(api: &Api, caller: &Caller, headers: &HeaderMap, text: &str) -> Result<Response, Problem> {
    let mut event = prepare(api, caller, text, &mut false).await?;
    event.trace = trace(headers);
    event.idempotency = idempotency::of(headers, caller, Some(event.account), "/v1/events", text.as_bytes())?;
    let account = event.account;
    let (left, over) = match take(api, account, 1) {
        Ok(left) => (left, None),
        // The same request again is answered as it was.
        Err(over) if event.idempotency.is_some() => {
            event.only_repeated = true;
            (None, Some(over))
        }
        Err(over) => return Err(over),
    };
    let accepted = commit(api, vec![event]).await.pop();
    match accepted {
        Some(Ok(accepted)) => {
            if accepted.repeated && over.is_none() {
                give_back(api, account, 1);
            }
            let mut answer = String::with_capacity(112);
            write_accepted(&mut answer, &accepted, "");
            let mut response = json::answer(StatusCode::ACCEPTED, answer);
            if let Some(left) = left {
                left.write(response.headers_mut());
            }
            Ok(response)
        }
        Some(Err(error)) => Err(over.filter(|_| error == AcceptError::NotRepeated).unwrap_or_else(|| refusal(error))),
        None => Err(Problem::unavailable("store_stopped", "The store did not answer.")),
    }
}

/// Where the producer's trace is, if it says so in a way that can be read.
pub(super) fn trace(headers: &HeaderMap) -> Option<TraceParent> {
    let mut given = headers.get_all("traceparent").iter();
    match (given.next(), given.next()) {
        (Some(one), None) => TraceParent::parse(one.to_str().ok()?),
        _ => None,
    }
}

/// Counts so many events of an account; what is left of its quota, if it has one.
///
/// # Errors
/// 429 when it is used up.
pub(super) fn take(api: &Api, account: u32, number: usize) -> Result<Option<Left>, Problem> {
    let Some(rate) = quota(api, account) else { return Ok(None) };
    api.event_rates.take(account, number, rate, api.now()).map(Some).map_err(|over| {
        let detail = format!("The account may post {rate} events a second. Wait, or post fewer.");
        Problem::over("too_many_events", over, detail)
    })
}

/// So many of those that were counted came before: they use up nothing.
pub(super) fn give_back(api: &Api, account: u32, number: usize) {
    if let Some(rate) = quota(api, account) {
        api.event_rates.give_back(account, number, rate);
    }
}

/// How many events an account may post a second, if that is bounded.
fn quota(api: &Api, account: u32) -> Option<u32> {
    let own = api.directory.read().account_numbered(account).and_then(|account| account.limits.events_per_second);
    own.or(api.policy.events_per_second)
}

/// `{"id":…,"timestamp":…,"deliveries":…}`, after `first`.
pub(super) fn write_accepted(out: &mut String, accepted: &Accepted, first: &str) {
    let Accepted { id, timestamp, deliveries, .. } = accepted;
    write!(out, r#"{{{first}"id":"{id}","timestamp":"{timestamp}","deliveries":{deliveries}}}"#)
        .expect("writing to memory does not fail");
}

pub(super) fn refusal(error: AcceptError) -> Problem {
    match error {
        AcceptError::Gone => Problem::account_not_found(),
        AcceptError::OtherRequest | AcceptError::NotRepeated | AcceptError::Clock(_) | AcceptError::Store(_) => {
            error.into()
        }
    }
}

/// Checks one event; it is accepted by [`domain::store::Store::accept`] only. `learnt`: whether this request has made the node
/// learn what others have changed.
pub(super) async fn prepare(api: &Api, caller: &Caller, text: &str, learnt: &mut bool) -> Result<NewEvent, Problem> {
    match check(api, caller, text) {
        // Perhaps another node opened the account a moment ago.
        Err(problem)
            if problem.status() == StatusCode::NOT_FOUND
                && !std::mem::replace(learnt, true)
                && api.live.has_learnt().await =>
        {
            check(api, caller, text)
        }
        checked => checked,
    }
}

fn check(api: &Api, caller: &Caller, text: &str) -> Result<NewEvent, Problem> {
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
    let (mut flagged, mut broken) = (false, false);
    if let (Some(event_type), Some(data)) = (&event_type, data) {
        match event_type.check(data) {
            Ok(breaks) => flagged = breaks,
            Err(faults) => {
                broken = true;
                input.faults.extend(faults);
            }
        }
    }
    let account = account.map(|named| find_account(api, caller, named.as_ref()));
    if let (true, Some(event_type), Some(Ok(account))) = (broken, &event_type, &account) {
        api.live.counts().refused(*account, &event_type.name, api.now());
    }
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
        trace: None,
        idempotency: None,
        only_repeated: false,
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
