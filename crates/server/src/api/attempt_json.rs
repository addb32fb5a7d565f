//! Attempts as the API writes them: what was sent, what came back, and where the time went.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use domain::attempt::{Answer, Attempt, LoggedAttempt, Reason};
use domain::endpoint_url::EndpointUrl;
use domain::event::Event;
use domain::explain::{Case, explain};
use domain::id::{AttemptId, DeliveryId, ReplayId};
use domain::signature;
use domain::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::closed_sets;
use super::delivery_json::{Context, planned};
use super::webhook_json::MASK;

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
    #[schema(value_type = closed_sets::AttemptReason, example = "first")]
    reason: Reason,
    /// When it started.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// How long it took, in milliseconds.
    duration_ms: f64,
    /// The status code of the answer, if there was one.
    #[schema(required)]
    status_code: Option<u16>,
    /// Why it failed; null for a success.
    #[schema(required)]
    error: Option<ErrorJson>,
    /// The peer.
    #[schema(value_type = Option<String>, example = "203.0.113.7:443", required)]
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
    /// The replay in bulk that it is part of.
    #[schema(value_type = Option<String>, example = "rpl_01k9x5m2q7a3b01k9x5m", required)]
    replay: Option<ReplayId>,
    /// What was sent.
    request: RequestJson,
    /// What came back, if anything did.
    #[schema(required)]
    response: Option<ResponseJson>,
}

/// Why an attempt failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AttemptError)]
pub(crate) struct ErrorJson {
    /// The code.
    #[schema(value_type = closed_sets::ErrorCode, example = "http_5xx")]
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
    /// The body, byte for byte, less what the account redacts.
    body: String,
    /// Whether values of the body are masked, since the account redacts them: then it is not what was signed.
    redacted: bool,
    /// How many bytes were sent.
    #[serde(skip)]
    sent_bytes: usize,
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
    #[schema(required)]
    dns: Option<f64>,
    /// The TCP connection.
    #[schema(required)]
    connect: Option<f64>,
    /// The TLS handshake.
    #[schema(required)]
    tls: Option<f64>,
    /// From the request's first byte to the end of the answer's head.
    #[schema(required)]
    first_byte: Option<f64>,
}

/// A span in milliseconds, to the microsecond.
#[expect(clippy::cast_precision_loss, reason = "spans of this system are far below 2^53 µs")]
pub(crate) fn milliseconds(span: Duration) -> f64 {
    span.as_micros() as f64 / 1_000.0
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
            request_bytes: request.sent_bytes,
            next_attempt_at: schedule.first().map(|planned| planned.at),
            last_attempt_at: schedule.last().map(|planned| planned.at),
            ..case
        });
        let error = case.map(|case| ErrorJson::new(&case));
        let response = attempt.answer.as_ref().map(ResponseJson::new);
        let head = AttemptHeadJson::with(context.delivery.id, attempt, error);
        Self { head, replay: logged.replay.clone(), request, response }
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
        let Context { delivery, event, redact, .. } = context;
        let with =
            |event: &Event, data: &[u8]| signature::body(&event.event_type, &delivery.webhook, event.timestamp, data);
        let body = event.map(|event| with(event, &event.data));
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
        let sent_bytes = body.as_ref().map_or(0, Bytes::len);
        // The headers are those of what was sent; the body is as the account lets it be seen.
        let mut redacted = false;
        let shown = event.and_then(|event| match redact.apply(&event.data) {
            Cow::Borrowed(_) => body,
            Cow::Owned(data) => {
                redacted = true;
                Some(with(event, &data))
            }
        });
        let body = shown.map_or_else(String::new, |body| String::from_utf8_lossy(&body).into_owned());
        Self { method: "POST", url: sent.url.clone(), headers, body, redacted, sent_bytes }
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
