//! `posthaste listen`: a temporary webhook whose requests are carried over a stream to a command, which makes them on its
//! own machine and reports the answers back. So it works from any network, and no range of addresses has to be opened.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use data_encoding::BASE64;
use domain::attempt::{ANSWER_KEPT_MAX, Answer, ErrorCode, Failure, Outcome, Timing};
use domain::endpoint_url::EndpointUrl;
use domain::event_filter::EventFilter;
use domain::id::WebhookId;
use domain::key::Scope;
use domain::secret::SigningSecret;
use domain::store::Change;
use domain::webhook::Webhook;
use futures_util::stream;
use http::Method;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::webhook_input::not_null;
use crate::app::Api;
use crate::auth::{self, Caller, InAccount};
use crate::body::JsonBody;
use crate::carrier::{Carried, listen_url};
use crate::json;
use crate::json_input::Input;
use crate::operation::{Operation, shape, text};
use crate::problem::Problem;

/// How long a stream stays silent at most.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What is listened to.
#[derive(ToSchema)]
#[schema(as = NewListener)]
#[expect(dead_code, reason = "describes what `listen` reads")]
struct ListenInput {
    /// Which events: exact names, groups such as `alert.*`, or `*`; everything if not given.
    #[schema(example = json!(["alert.*"]))]
    events: Option<Vec<String>>,
    /// A name for the temporary webhook.
    name: Option<String>,
}

/// What a request that was carried came to.
#[derive(ToSchema)]
#[schema(as = CarriedAnswer)]
#[expect(dead_code, reason = "describes what `answer` reads")]
struct AnswerInput {
    /// The ticket that came with the request.
    ticket: u64,
    /// The status of the answer, 200 to 599; left out if there was none.
    status: Option<u16>,
    /// The answer's headers, as pairs of name and value.
    headers: Option<Vec<(String, String)>>,
    /// The answer's body in base64; 16 KiB of it are kept.
    body_base64: Option<String>,
    /// Why there was no answer: an error code of an attempt, such as `connect_refused`.
    error: Option<String>,
    /// The particular of the error.
    detail: Option<String>,
    /// How long the request took, in milliseconds.
    duration_ms: u64,
}

/// A request that is to be made, as an event `request` of the stream.
#[derive(Serialize)]
struct RequestJson {
    ticket: u64,
    headers: Vec<(String, String)>,
    body: String,
    timeout_ms: u64,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(&Method::POST, "/v1/accounts/{account}/listen", "listen", listen, "Listen with a temporary webhook").scope(Scope::WebhooksWrite)
            .about(
                "Server-sent events: `webhook` with the temporary webhook and its secret, then a `request` for each attempt. \
                 Make it, and report its answer to …/listen/{id}/answers within its time. The webhook is deleted when the \
                 stream ends.",
            )
            .may_take(shape::<ListenInput>())
            .answers(200, "The stream; it does not end by itself.", Some(text("text/event-stream"))),
        Operation::new(
            &Method::POST,
            "/v1/accounts/{account}/listen/{id}/answers",
            "answer_carried",
            answer,
            "Report the answer of a carried request",
        ).scope(Scope::WebhooksWrite)
        .takes(shape::<AnswerInput>())
        .answers(204, "Taken.", None)
        .refuses(409, "Nobody waits for this answer any more."),
    ]
}

async fn listen(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    let mut input = Input::parse_optional(body.text()?, &["events", "name"])?;
    let texts: Vec<String> =
        not_null(&mut input, "events", "events_invalid", "a list of names").unwrap_or_else(|| vec!["*".to_owned()]);
    let events = EventFilter::parse(&texts, &api.catalogue);
    let name: Option<String> = not_null(&mut input, "name", "name_invalid", "text");
    if let Err(faults) = &events {
        input.faults.extend(faults.clone());
    }
    input.check()?;
    let Ok(events) = events else { return Err(Problem::fault("/events", "events_invalid", "events are invalid.")) };
    let name = name.filter(|name| !name.is_empty() && !name.chars().any(char::is_control));
    let webhook = temporary(&api, &at, name.as_deref().unwrap_or("posthaste listen"), events)?;
    let requests = api.carrier.listen(&webhook.url).ok_or_else(Problem::not_found)?;
    let (id, url) = (webhook.id.clone(), Arc::clone(&webhook.url));
    let greeting = json!({
        "id": webhook.id,
        "name": webhook.name,
        "events": texts,
        "secret": webhook.secrets.current.reveal(),
    });
    if let Err(error) = api.store.change(Change::PutWebhook(Box::new(webhook)), at.caller.by(), None).await {
        api.carrier.close(&url);
        return Err(error.into());
    }
    tracing::info!(account = %at.account.id, webhook = %id, by = at.caller.name(), "listening");
    let guard = Listening { api: Arc::clone(&api), account: at.account.number, caller: at.caller, id, url };
    let carrying = Carrying { guard, requests, greeting: Some(greeting.to_string()) };
    let mut response = Response::new(Body::from_stream(stream::unfold(carrying, Carrying::step)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn temporary(api: &Api, at: &InAccount, name: &str, events: EventFilter) -> Result<Webhook, Problem> {
    let id: WebhookId = api.new_id("wh").parse().map_err(|_| Problem::not_found())?;
    let url = listen_url(&id).ok_or_else(Problem::not_found)?;
    let secret = SigningSecret::from_bytes(&api.chance());
    let name = name.chars().take(super::webhook_input::NAME_MAX).collect();
    Ok(Webhook { name, temporary: true, ..Webhook::new(&at.account, id, Arc::new(url), events, secret, api.now()) })
}

/// A listener; dropping it takes its webhook away.
struct Listening {
    api: Arc<Api>,
    account: u32,
    caller: Caller,
    id: WebhookId,
    url: Arc<EndpointUrl>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.api.carrier.close(&self.url);
        let number = self.api.directory.read().webhook(self.account, &self.id).map(|webhook| webhook.number);
        // The stream may be dropped while the runtime ends; then the next start takes the webhook away.
        if let (Some(number), Ok(runtime)) = (number, tokio::runtime::Handle::try_current()) {
            let (store, by) = (Arc::clone(&self.api.store), self.caller.by());
            runtime.spawn(async move {
                if let Err(error) = store.change(Change::DeleteWebhook(number), by, None).await {
                    tracing::warn!(webhook = number, %error, "a temporary webhook was left behind");
                }
            });
        }
    }
}

struct Carrying {
    guard: Listening,
    requests: mpsc::Receiver<Carried>,
    greeting: Option<String>,
}

impl Carrying {
    async fn step(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if let Some(greeting) = self.greeting.take() {
            return Some((Ok(format!("event: webhook\ndata: {greeting}\n\n").into()), self));
        }
        let mut stopping = self.guard.api.stopping.watch();
        let piece = tokio::select! {
            carried = self.requests.recv() => {
                let Carried { ticket, request } = carried?;
                let timeout_ms = u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX);
                // Event data is JSON in UTF-8, and so is every body that we make.
                let body = String::from_utf8_lossy(&request.body).into_owned();
                let request = RequestJson { ticket, headers: request.headers, body, timeout_ms };
                format!("event: request\ndata: {}\n\n", json::write_text(&request))
            }
            () = auth::ends(&self.guard.caller, &self.guard.api) => return None,
            () = tokio::time::sleep(HEARTBEAT) => ": alive\n\n".to_owned(),
            _said = stopping.wait_for(|stopping| *stopping) => return None,
        };
        Some((Ok(piece.into()), self))
    }
}

async fn answer(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    let webhook = at.webhook(&api)?;
    let names = ["ticket", "status", "headers", "body_base64", "error", "detail", "duration_ms"];
    let mut input = Input::parse(body.text()?, &names)?;
    let ticket: Option<u64> = not_null(&mut input, "ticket", "ticket_invalid", "a number");
    let status: Option<u16> = not_null(&mut input, "status", "status_invalid", "a status code");
    let headers: Vec<(String, String)> =
        not_null(&mut input, "headers", "headers_invalid", "a list of pairs").unwrap_or_default();
    let body: String = not_null(&mut input, "body_base64", "body_invalid", "base64").unwrap_or_default();
    let error: Option<String> = not_null(&mut input, "error", "error_invalid", "an error code");
    let detail: String = not_null(&mut input, "detail", "detail_invalid", "text").unwrap_or_default();
    let took: Option<u64> = not_null(&mut input, "duration_ms", "duration_invalid", "milliseconds");
    let bytes = BASE64.decode(body.as_bytes());
    if bytes.is_err() {
        input.fault("body_base64", "body_invalid", "body_base64 is no base64.");
    }
    for (name, missing) in [("ticket", ticket.is_none()), ("duration_ms", took.is_none())] {
        if missing && input.raw(name).is_none() {
            input.fault(name, "field_missing", format!("The field {name} is missing."));
        }
    }
    let code = error.as_deref().map(|text| ErrorCode::parse(text).ok_or(text));
    if let Some(Err(text)) = code {
        input.fault("error", "error_invalid", format!("There is no error code {text:?}."));
    }
    if status.is_some_and(|status| !(200..600).contains(&status)) || status.is_none() && code.is_none() {
        input.fault("status", "status_invalid", "Give a status from 200 to 599, or an error.");
    }
    input.check()?;
    let mut bytes = bytes.unwrap_or_default();
    let truncated = bytes.len() > ANSWER_KEPT_MAX;
    bytes.truncate(ANSWER_KEPT_MAX);
    let result = match (code, status) {
        (Some(Ok(code)), _) => Err(Failure { code, detail }),
        (_, Some(status)) => {
            let headers = headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
            Ok(Answer { status, headers, body: bytes, truncated })
        }
        (Some(Err(_)) | None, None) => return Err(Problem::fault("/status", "status_invalid", "There is no status.")),
    };
    let duration = Duration::from_millis(took.unwrap_or_default()).min(Duration::from_secs(60));
    let outcome = Outcome { result, remote_address: None, timing: Timing::default(), duration };
    if api.carrier.answered(&webhook.url, ticket.unwrap_or_default(), outcome) {
        Ok(json::no_content())
    } else {
        Err(Problem::conflict(
            "nobody_waits",
            "Nobody waits for this answer any more: it came too late, or came before.",
        ))
    }
}
