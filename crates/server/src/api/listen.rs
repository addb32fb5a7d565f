//! `posthaste listen`: a webhook whose requests are carried over a stream to a command, which makes them on its own machine
//! and reports the answers back. So it works from any network, and no range of addresses has to be opened.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use data_encoding::BASE64;
use domain::attempt::{ANSWER_KEPT_MAX, Answer, ErrorCode, Failure, Outcome, Timing};
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
use utoipa::ToSchema;

use super::answer_headers::RETRY_AFTER;
use super::closed_sets;
use super::stream::Open;
use super::webhook_input::{NAME_MAX, not_null};
use super::webhooks::check_room;
use crate::app::Api;
use crate::auth::{self, Caller, InAccount};
use crate::body::JsonBody;
use crate::carrier::{Carried, Turn, is_carried, listen_url};
use crate::json;
use crate::json_input::Input;
use crate::listening::Listening;
use crate::operation::{Operation, Pair, shape, text};
use crate::problem::Problem;

/// How long a stream stays silent at most.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What is listened to.
#[derive(ToSchema)]
#[schema(as = NewListener)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `listen` reads")]
struct ListenInput {
    /// Which events: exact names, groups such as `alert.*`, or `*`; everything if not given.
    #[schema(example = json!(["alert.*"]), nullable = false, min_items = 1)]
    events: Option<Vec<String>>,
    /// A name for the webhook.
    #[schema(nullable = false)]
    name: Option<String>,
    /// Whether the webhook stays when the stream ends; what it gets meanwhile is held.
    #[schema(nullable = false)]
    keep: Option<bool>,
    /// The id of a webhook that was made here, to go on with it; nothing else is given then.
    #[schema(nullable = false)]
    webhook: Option<String>,
}

/// What a request that was carried came to.
#[derive(ToSchema)]
#[schema(as = CarriedAnswer)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `answer` reads")]
struct AnswerInput {
    /// The ticket that came with the request.
    ticket: u64,
    /// The status of the answer, 200 to 599; left out if there was none.
    #[schema(nullable = false, minimum = 200, maximum = 599)]
    status: Option<u16>,
    /// The answer's headers, as pairs of name and value.
    #[schema(value_type = Option<Vec<Pair>>, nullable = false)]
    headers: Option<Vec<(String, String)>>,
    /// The answer's body in base64; 16 KiB of it are kept.
    #[schema(nullable = false)]
    body_base64: Option<String>,
    /// Why there was no answer: an error code of an attempt, such as `connect_refused`.
    #[schema(value_type = Option<closed_sets::ErrorCode>, nullable = false)]
    error: Option<String>,
    /// The particular of the error.
    #[schema(nullable = false)]
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
                 Make it, and report its answer to …/listen/{id}/answers within its time. When the stream ends, the webhook \
                 is paused, and what it gets is held; go on with it by `webhook`, which brings first what was not answered, \
                 and no secret. It is deleted when nobody does so for 60 s, unless `keep` is true.",
            )
            .may_take(shape::<ListenInput>())
            .answers(200, "The stream; it does not end by itself.", Some(text("text/event-stream")))
            .refuses(409, "The webhook that is named sends to a URL, another node sends its requests (a node that has died is replaced within `Retry-After`), or the account has as many webhooks as it may.")
            .tells(409, RETRY_AFTER),
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
    let wanted = Wanted::read(&api, &at, &body)?;
    if let Wanted::Again(id) = &wanted {
        // Perhaps another node made the webhook a moment ago.
        let webhook = match find(&api, &at, id) {
            Err(_) if api.live.has_learnt().await => find(&api, &at, id)?,
            found => found?,
        };
        if !is_carried(&webhook.url) {
            return Err(not_carried());
        }
    }
    let open = api.streams.open(at.account.number)?;
    let listening = Listening {
        store: Arc::clone(&api.store),
        directory: api.directory.clone(),
        clock: Arc::clone(&api.clock),
        carrier: api.carrier.clone(),
    };
    // One at a time, so that nobody pauses what somebody has just come to listen to.
    let alone = api.carrier.changing.lock().await;
    let (webhook, greeting) = match wanted {
        Wanted::New { webhook, events } => {
            if !api.carrier.serves_any() {
                // It has just come: nothing is made that would have to be deleted at once.
                return Err(elsewhere(&api));
            }
            let greeting = json!({
                "id": webhook.id,
                "name": webhook.name,
                "events": events,
                "temporary": webhook.temporary,
                "secret": webhook.secrets.current.reveal(),
            });
            let _creating = api.creating.lock().await;
            check_room(&api, &at.account)?;
            let id = webhook.id.clone();
            api.store.change(Change::PutWebhook(webhook), at.caller.by(), None).await?;
            let webhook = find(&api, &at, &id)?;
            if let Err(elsewhere) = check_here(&api, &webhook) {
                // This node has no shard to put it into: it has just come, or is about to go.
                api.store.change(Change::DeleteWebhook(webhook.number), at.caller.by(), None).await?;
                return Err(elsewhere);
            }
            (webhook, greeting)
        }
        Wanted::Again(id) => {
            let webhook = find(&api, &at, &id)?;
            check_here(&api, &webhook)?;
            listening.come(webhook.number, at.caller.by()).await?;
            let greeting = json!({
                "id": webhook.id, "name": webhook.name, "events": webhook.events, "temporary": webhook.temporary,
            });
            (webhook, greeting)
        }
    };
    let turn = api.carrier.attend(&webhook.url).ok_or_else(not_carried)?;
    drop(alone);
    tracing::info!(account = %at.account.id, webhook = %webhook.id, by = at.caller.name(), "listening");
    let listener = Listener { listening, webhook, turn };
    let greeting = Some(greeting.to_string());
    let carrying = Carrying { api: Arc::clone(&api), caller: at.caller, listener, greeting, next: 0, _open: open };
    let mut response = Response::new(Body::from_stream(stream::unfold(carrying, Carrying::step)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn find(api: &Api, at: &InAccount, id: &WebhookId) -> Result<Arc<Webhook>, Problem> {
    api.directory.read().webhook(at.account.number, id).cloned().ok_or_else(Problem::not_found)
}

/// Requests are carried at the node that sends them.
fn check_here(api: &Api, webhook: &Webhook) -> Result<(), Problem> {
    if api.carrier.serves(webhook) { Ok(()) } else { Err(elsewhere(api)) }
}

fn elsewhere(api: &Api) -> Problem {
    let detail = "Another node sends this webhook's requests, or did until it died some seconds ago, and only there they can be \
                  carried to you. Connect to that one, or start without `webhook`: a new one is placed at the node that \
                  you are connected to.";
    let problem = Problem::conflict("carried_elsewhere", detail);
    // Another node that lives renews its lease: by then it is known to live.
    let wait = api.cluster.as_ref().map(|cluster| cluster.terms()).map(|terms| terms.length + terms.renewed_every);
    wait.into_iter().fold(problem, Problem::again_in)
}

fn not_carried() -> Problem {
    Problem::conflict(
        "not_listened_to",
        "The webhook sends to a URL. Only one that was made by `listen` is listened to.",
    )
}

/// What is to be listened to.
enum Wanted {
    /// A webhook that is to be made.
    New { webhook: Box<Webhook>, events: Vec<String> },
    /// One that is there.
    Again(WebhookId),
}

impl Wanted {
    fn read(api: &Api, at: &InAccount, body: &JsonBody) -> Result<Self, Problem> {
        let mut input = Input::parse_optional(body.text()?, &["events", "name", "keep", "webhook"])?;
        let texts: Option<Vec<String>> = not_null(&mut input, "events", "events_invalid", "a list of names");
        let name: Option<String> = not_null(&mut input, "name", "name_invalid", "text");
        let keep: Option<bool> = not_null(&mut input, "keep", "keep_invalid", "true or false");
        let again: Option<String> = not_null(&mut input, "webhook", "webhook_invalid", "the id of a webhook");
        if again.is_some() {
            for name in ["events", "name", "keep"] {
                if input.raw(name).is_some() {
                    let detail = format!("{name} is for a new webhook: leave it out, or leave webhook out.");
                    input.fault(name, "not_with_webhook", detail);
                }
            }
        }
        let texts = texts.unwrap_or_else(|| vec!["*".to_owned()]);
        let events = EventFilter::parse(&texts, &api.catalogue);
        if let Err(faults) = &events {
            input.faults.extend(faults.clone());
        }
        input.check()?;
        if let Some(id) = again {
            return Ok(Self::Again(id.parse().map_err(|_| Problem::not_found())?));
        }
        let Ok(events) = events else { return Err(Problem::fault("/events", "events_invalid", "events are invalid.")) };
        let name = name.filter(|name| !name.is_empty() && !name.chars().any(char::is_control));
        let name = name.as_deref().unwrap_or("posthaste listen").chars().take(NAME_MAX).collect();
        let id: WebhookId = api.new_id("wh").parse().map_err(|_| Problem::not_found())?;
        let url = listen_url(&id).ok_or_else(Problem::not_found)?;
        let secret = SigningSecret::from_bytes(&api.chance());
        let plain = Webhook::new(&at.account, id, Arc::new(url), events, secret, api.now());
        let webhook = Webhook { name, temporary: !keep.unwrap_or_default(), ..plain };
        Ok(Self::New { webhook: Box::new(webhook), events: texts })
    }
}

/// Who listens; dropping it leaves the webhook to wait.
struct Listener {
    listening: Listening,
    webhook: Arc<Webhook>,
    turn: Turn,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !self.listening.carrier.leave(&self.turn) {
            return;
        }
        // The stream may be dropped while the runtime ends; then the next start sees to the webhook.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let Webhook { number, temporary, .. } = *self.webhook;
            let url = Arc::clone(&self.webhook.url);
            runtime.spawn(self.listening.clone().left(self.turn.clone(), number, temporary, url));
        }
    }
}

struct Carrying {
    api: Arc<Api>,
    caller: Caller,
    listener: Listener,
    greeting: Option<String>,
    /// The ticket from which on requests have not been sent on this stream.
    next: u64,
    _open: Open,
}

impl Carrying {
    async fn step(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if let Some(greeting) = self.greeting.take() {
            return Some((Ok(format!("event: webhook\ndata: {greeting}\n\n").into()), self));
        }
        let mut stopping = self.api.stopping.watch();
        let piece = tokio::select! {
            carried = self.api.carrier.next(&self.listener.turn, self.next) => {
                let Carried { ticket, request } = carried?;
                self.next = ticket + 1;
                let timeout_ms = u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX);
                // Event data is JSON in UTF-8, and so is every body that we make.
                let body = String::from_utf8_lossy(&request.body).into_owned();
                let request = RequestJson { ticket, headers: request.headers, body, timeout_ms };
                format!("event: request\ndata: {}\n\n", json::write_text(&request))
            }
            () = auth::ends(&self.caller, &self.api) => return None,
            () = tokio::time::sleep(HEARTBEAT) => ": alive\n\n".to_owned(),
            _said = stopping.wait_for(|stopping| *stopping) => return None,
        };
        // A deleted webhook gets nothing more.
        self.api.directory.read().webhook_numbered(self.listener.webhook.number)?;
        // Another node sends what it gets from now on: whoever comes again is told.
        self.api.carrier.serves(&self.listener.webhook).then_some(())?;
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
