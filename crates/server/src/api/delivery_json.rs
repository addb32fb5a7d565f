//! Deliveries and their attempts as the API writes them.

use std::net::SocketAddr;
use std::time::Duration;

use data_encoding::BASE64;
use domain::attempt::{Answer, Attempt, ErrorCode, LoggedAttempt, Reason};
use domain::delivery::{Delivery, DeliveryStatus};
use domain::endpoint_url::EndpointUrl;
use domain::event::Event;
use domain::explain::{Case, explain};
use domain::id::{AccountId, AttemptId, DeliveryId, EventId, WebhookId};
use domain::policy::Policy;
use domain::signature;
use domain::time::Timestamp;
use domain::webhook::Webhook;
use serde::Serialize;
use utoipa::ToSchema;

use super::webhook_json::MASK;

/// A delivery: one event on its way to one webhook.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryJson {
    /// Its id; also `webhook-id` of its requests.
    #[schema(value_type = String, example = "dlv_01k9x5m2q7a3b00")]
    id: DeliveryId,
    /// The account.
    #[schema(value_type = String, example = "default")]
    account: AccountId,
    /// The webhook that it goes to.
    #[schema(value_type = String, example = "wh_abc123")]
    webhook_id: WebhookId,
    /// The event that is delivered.
    #[schema(value_type = String, example = "evt_01k9x5m2q7a3b")]
    event_id: EventId,
    /// The event's type.
    #[schema(example = "alert.domain_matched")]
    event: String,
    /// The event's timestamp: when it was accepted.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// `pending`, `sending`, `delivered`, `failed`, `held` or `cancelled`.
    #[schema(value_type = String, example = "delivered")]
    status: &'static str,
    /// Why it waits, where the status alone does not say.
    #[schema(example = "waiting for a free slot")]
    note: Option<&'static str>,
    /// Whether it is a test; tests are left out of the figures.
    test: bool,
    /// Attempts made, replays included.
    attempts_made: u16,
    /// Retries of the present schedule that were made.
    retries_made: u16,
    /// When the next attempt is due; null once the delivery has ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// The status code of the last attempt's answer.
    last_status_code: Option<u16>,
    /// The error code of the last attempt.
    #[schema(value_type = Option<String>, example = "http_5xx")]
    last_error: Option<&'static str>,
    /// How long the last attempt took, in milliseconds.
    last_duration_ms: Option<f64>,
}

/// A delivery with its attempts, and the rest of its schedule.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryDetail)]
pub(crate) struct DeliveryDetailJson {
    #[serde(flatten)]
    delivery: DeliveryJson,
    /// Its attempts, oldest first.
    attempts: Vec<AttemptJson>,
    /// The attempts that are planned while each one fails: the next, and the earliest instants of those after it.
    schedule: Vec<PlannedJson>,
}

/// An attempt that is planned.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlannedAttempt)]
pub(crate) struct PlannedJson {
    /// Its number.
    number: u16,
    /// Its earliest start: each is counted from the end of the one before it.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// The head of an attempt: what a line of a log shows.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AttemptHead)]
pub(crate) struct AttemptHeadJson {
    /// Its id.
    #[schema(example = "att_01k9x5m2q7a3b0001")]
    id: String,
    /// Its number in the delivery, from 1; it grows over replays.
    number: u16,
    /// Why it was made: `first`, `retry`, `replay` or `test`.
    #[schema(value_type = String, example = "first")]
    reason: Reason,
    /// When it started.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// How long it took, in milliseconds.
    duration_ms: f64,
    /// The status code of the answer, if there was one.
    status_code: Option<u16>,
    /// Why it failed; null for a success.
    error: Option<ErrorJson>,
    /// The peer.
    #[schema(value_type = Option<String>, example = "203.0.113.7:443")]
    remote_address: Option<SocketAddr>,
    /// Where the time went, in milliseconds; null for a stage that was not reached or not needed.
    timing: TimingJson,
}

/// An attempt: one HTTP request of a delivery.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(crate) struct AttemptJson {
    #[serde(flatten)]
    head: AttemptHeadJson,
    /// What was sent.
    request: RequestJson,
    /// What came back, if anything did.
    response: Option<ResponseJson>,
}

/// Why an attempt failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AttemptError)]
pub(crate) struct ErrorJson {
    /// The code.
    #[schema(example = "http_5xx")]
    code: &'static str,
    /// What happened, as a sentence.
    message: String,
    /// What to do about it.
    hint: String,
}

/// A header.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Header)]
pub(crate) struct HeaderJson {
    /// Its name.
    name: String,
    /// Its value.
    value: String,
    /// Set where the value is no UTF-8 text: bytes then read `\xNN`, and a backslash `\\`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    escaped: bool,
}

impl HeaderJson {
    fn text(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into(), escaped: false }
    }

    /// A header of an answer, in a form from which its bytes can be told.
    fn received(name: &str, value: &[u8]) -> Self {
        match std::str::from_utf8(value) {
            Ok(text) => Self::text(name, text),
            Err(_) => Self { name: name.to_owned(), value: value.escape_ascii().to_string(), escaped: true },
        }
    }
}

/// What was sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SentRequest)]
pub(crate) struct RequestJson {
    /// Always `POST`.
    method: &'static str,
    /// The URL.
    url: String,
    /// The headers in the order in which they went out; the values of the webhook's own headers are masked.
    headers: Vec<HeaderJson>,
    /// The body, byte for byte.
    body: String,
}

/// What came back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReceivedResponse)]
pub(crate) struct ResponseJson {
    /// The status code.
    status_code: u16,
    /// The headers in the order in which they came.
    headers: Vec<HeaderJson>,
    /// The first bytes of the body as text, at most 16 KiB.
    body: String,
    /// The same bytes in base64, if they are no UTF-8 text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    /// Whether more came than was kept, or the body ended early.
    truncated: bool,
}

/// Where the time of an attempt went, in milliseconds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Timing)]
pub(crate) struct TimingJson {
    /// From due to the start; not part of the attempt.
    queue: f64,
    /// The name look-up.
    dns: Option<f64>,
    /// The TCP connection.
    connect: Option<f64>,
    /// The TLS handshake.
    tls: Option<f64>,
    /// From the request's first byte to the end of the answer's head.
    first_byte: Option<f64>,
}

/// A span in milliseconds, to the microsecond.
#[expect(clippy::cast_precision_loss, reason = "spans of this system are far below 2^53 µs")]
pub(crate) fn milliseconds(span: Duration) -> f64 {
    span.as_micros() as f64 / 1_000.0
}

impl DeliveryJson {
    /// A delivery as it stands at `now`; `sending` tells whether a request is in flight.
    pub(crate) fn new(delivery: &Delivery, sending: bool, now: Timestamp) -> Self {
        let status = if sending { DeliveryStatus::Sending } else { delivery.status };
        let overdue = delivery.next_attempt_at.is_some_and(|due| due < now);
        Self {
            id: delivery.id,
            account: delivery.account.clone(),
            webhook_id: delivery.webhook.clone(),
            event_id: delivery.id.event,
            event: delivery.event_type.to_string(),
            timestamp: delivery.timestamp,
            status: status.as_str(),
            note: match status {
                DeliveryStatus::Pending if overdue => Some("waiting for a free slot"),
                DeliveryStatus::Held => Some("the webhook is paused"),
                DeliveryStatus::Pending
                | DeliveryStatus::Sending
                | DeliveryStatus::Delivered
                | DeliveryStatus::Failed
                | DeliveryStatus::Cancelled => None,
            },
            test: delivery.test,
            attempts_made: delivery.attempts_made,
            retries_made: delivery.retries_made,
            next_attempt_at: delivery.next_attempt_at,
            ended_at: delivery.ended_at,
            last_status_code: delivery.last_status_code,
            last_error: delivery.last_error.map(ErrorCode::as_str),
            last_duration_ms: delivery.last_duration.map(milliseconds),
        }
    }
}

/// What an attempt's row needs beside the attempt.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) delivery: &'a Delivery,
    /// `None` once it is past retention.
    pub(crate) event: Option<&'a Event>,
    /// `None` once it is deleted.
    pub(crate) webhook: Option<&'a Webhook>,
    pub(crate) policy: &'a Policy,
}

impl DeliveryDetailJson {
    /// A delivery with its attempts.
    pub(crate) fn new(delivery: DeliveryJson, context: Context<'_>, attempts: &[LoggedAttempt]) -> Self {
        let rows = attempts.iter().map(|attempt| AttemptJson::new(attempt, context)).collect();
        Self { delivery, attempts: rows, schedule: planned(context, attempts.last().map(|logged| &logged.attempt)) }
    }
}

impl DeliveryDetailJson {
    /// The last attempt as it is written; null if there is none.
    pub(crate) fn last_attempt(&self) -> serde_json::Value {
        self.attempts.last().and_then(|attempt| serde_json::to_value(attempt).ok()).unwrap_or_default()
    }
}

/// The attempts that are still planned.
fn planned(context: Context<'_>, last: Option<&Attempt>) -> Vec<PlannedJson> {
    let Context { delivery, webhook, policy, .. } = context;
    let Some(next) = delivery.next_attempt_at else { return Vec::new() };
    let schedule = webhook.map_or(&policy.retry_schedule, |webhook| webhook.schedule(policy));
    // The next attempt is the schedule's own start when none of it was made: fresh, or replayed. A replay is due at once,
    // a first retry not before the first delay after the last attempt.
    let fresh = delivery.retries_made == 0
        && last.is_none_or(|last| {
            last.failure.is_none() || schedule.delays().first().is_some_and(|delay| next < last.ended_at().plus(*delay))
        });
    let used = usize::from(delivery.retries_made) + usize::from(!fresh);
    let mut at = next;
    let mut number = delivery.attempts_made.saturating_add(1);
    let mut planned = vec![PlannedJson { number, at }];
    for delay in schedule.delays().iter().skip(used) {
        at = at.plus(*delay);
        number = number.saturating_add(1);
        planned.push(PlannedJson { number, at });
    }
    planned
}

impl AttemptJson {
    /// An attempt of a delivery.
    pub(crate) fn new(logged: &LoggedAttempt, context: Context<'_>) -> Self {
        let attempt = &logged.attempt;
        let request = RequestJson::new(attempt, context);
        // Hints speak of the next attempt, so only the last one has it.
        let is_last = attempt.number == context.delivery.attempts_made;
        let schedule = if is_last { planned(context, Some(attempt)) } else { Vec::new() };
        let timeout = context.webhook.map_or(context.policy.timeout, |webhook| webhook.timeout(context.policy));
        let case = case(attempt, context.delivery.id, timeout).map(|case| Case {
            request_bytes: request.body.len(),
            next_attempt_at: schedule.first().map(|planned| planned.at),
            last_attempt_at: schedule.last().map(|planned| planned.at),
            ..case
        });
        let error = case.map(|case| ErrorJson::new(&case));
        let response = attempt.answer.as_ref().map(ResponseJson::new);
        Self { head: AttemptHeadJson::with(context.delivery.id, attempt, error), request, response }
    }
}

impl AttemptHeadJson {
    /// The head of an attempt, of which only the attempt itself is at hand.
    pub(crate) fn new(delivery: DeliveryId, attempt: &Attempt, timeout: Duration, next: Option<Timestamp>) -> Self {
        let case = case(attempt, delivery, timeout).map(|case| Case { next_attempt_at: next, ..case });
        Self::with(delivery, attempt, case.map(|case| ErrorJson::new(&case)))
    }

    fn with(delivery: DeliveryId, attempt: &Attempt, error: Option<ErrorJson>) -> Self {
        Self {
            id: AttemptId { delivery, number: attempt.number }.to_string(),
            number: attempt.number,
            reason: attempt.reason,
            started_at: attempt.started_at,
            duration_ms: milliseconds(attempt.duration),
            status_code: attempt.status_code(),
            error,
            remote_address: attempt.remote_address,
            timing: TimingJson {
                queue: milliseconds(attempt.timing.queue),
                dns: attempt.timing.dns.map(milliseconds),
                connect: attempt.timing.connect.map(milliseconds),
                tls: attempt.timing.tls.map(milliseconds),
                first_byte: attempt.timing.first_byte.map(milliseconds),
            },
        }
    }
}

/// What the sentences about a failed attempt need, as far as the attempt tells; `None` for a success.
fn case(attempt: &Attempt, delivery: DeliveryId, timeout: Duration) -> Option<Case<'_>> {
    Some(Case {
        failure: attempt.failure.as_ref()?,
        attempt,
        delivery,
        request_bytes: 0,
        timeout,
        next_attempt_at: None,
        last_attempt_at: None,
        look_alike: None,
    })
}

impl ErrorJson {
    fn new(case: &Case<'_>) -> Self {
        let said = explain(case);
        Self { code: case.failure.code.as_str(), message: said.message, hint: said.hint }
    }
}

impl RequestJson {
    fn new(attempt: &Attempt, context: Context<'_>) -> Self {
        let Context { delivery, event, .. } = context;
        let body =
            event.map(|event| signature::body(&event.event_type, &delivery.webhook, event.timestamp, &event.data));
        let sent = &attempt.request;
        let mut headers: Vec<HeaderJson> = Vec::new();
        if let Ok(url) = EndpointUrl::stored(&sent.url) {
            headers.push(HeaderJson::text("Host", url.authority()));
        }
        if let Some(body) = &body {
            headers.push(HeaderJson::text("Content-Length", body.len().to_string()));
        }
        let ours = sent.headers(&delivery.event_type, delivery.id, attempt.number);
        headers.extend(ours.into_iter().map(|(name, value)| HeaderJson::text(name, value)));
        headers.extend(sent.custom.iter().map(|name| HeaderJson::text(name, MASK)));
        let body = body.map_or_else(String::new, |body| String::from_utf8_lossy(&body).into_owned());
        Self { method: "POST", url: sent.url.clone(), headers, body }
    }
}

impl ResponseJson {
    fn new(answer: &Answer) -> Self {
        let text = std::str::from_utf8(&answer.body);
        Self {
            status_code: answer.status,
            headers: answer.headers.iter().map(|(name, value)| HeaderJson::received(name, value)).collect(),
            body: String::from_utf8_lossy(&answer.body).into_owned(),
            body_base64: text.is_err().then(|| BASE64.encode(&answer.body)),
            truncated: answer.truncated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_milliseconds_with_decimals() {
        assert!((milliseconds(Duration::from_micros(1_250)) - 1.25).abs() < f64::EPSILON);
    }

    #[test]
    fn an_answer_s_bytes_can_be_told_from_what_is_written() {
        let answer = |body: &[u8], value: &[u8]| Answer {
            status: 500,
            headers: vec![("X".to_owned(), value.to_vec())],
            body: body.to_vec(),
            truncated: false,
        };
        let text = ResponseJson::new(&answer("ä\u{1b}[31m".as_bytes(), "ü".as_bytes()));
        assert_eq!((text.body.as_str(), text.body_base64), ("ä\u{1b}[31m", None));
        assert_eq!((text.headers[0].value.as_str(), text.headers[0].escaped), ("ü", false));
        let bytes = ResponseJson::new(&answer(b"\xff\x00", b"\xffa\\"));
        assert_eq!(bytes.body_base64.as_deref(), Some("/wA="));
        assert_eq!((bytes.headers[0].value.as_str(), bytes.headers[0].escaped), ("\\xffa\\\\", true));
    }
}
