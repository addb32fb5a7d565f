//! Making carried requests, and bringing their answers back.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use data_encoding::BASE64;
use domain::attempt::{ANSWER_KEPT_MAX, ErrorCode};
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;
use url::{Position, Url};

use crate::cli::Session;
use crate::client::Client;
use crate::client::connect::connect;
use crate::client::path::path;

/// How many answers are remembered until the attempt's line is printed.
const HEARD_MAX: usize = 1_000;

/// A request as the stream brings it.
#[derive(Debug, Deserialize)]
struct ToMake {
    ticket: u64,
    headers: Vec<(String, String)>,
    body: String,
    timeout_ms: u64,
}

/// What a request came to here.
#[derive(Debug, Default)]
pub(super) struct Carried {
    delivery: String,
    attempt: u64,
    /// The status of the answer, if there was one.
    pub(super) status: Option<u16>,
    /// Why there was none.
    pub(super) error: Option<ErrorCode>,
    /// The particular of the error.
    pub(super) detail: String,
    headers: Vec<(String, String)>,
    /// The first bytes of the answer's body.
    pub(super) body: Vec<u8>,
}

/// Answers whose attempts have not been told yet.
#[derive(Debug, Default)]
pub(super) struct Heard {
    answers: HashMap<(String, u64), Carried>,
    order: VecDeque<(String, u64)>,
}

impl Heard {
    /// Keeps an answer for its attempt's line.
    pub(super) fn remember(&mut self, carried: Carried) {
        let key = (carried.delivery.clone(), carried.attempt);
        if self.order.len() == HEARD_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.answers.insert(key, carried);
    }

    /// The answer of this attempt.
    pub(super) fn take(&mut self, delivery: &str, attempt: u64) -> Option<Carried> {
        let key = (delivery.to_owned(), attempt);
        self.order.retain(|known| *known != key);
        self.answers.remove(&key)
    }
}

/// Makes requests to the local URL.
#[derive(Clone)]
pub(super) struct Carrier {
    client: Client,
    back: String,
    to: Url,
    heard: UnboundedSender<Carried>,
}

impl Carrier {
    pub(super) fn new(session: &Session<'_>, webhook: &str, to: Url, heard: UnboundedSender<Carried>) -> Self {
        let back = path(&["accounts", &session.account, "listen", webhook, "answers"]);
        Self { client: session.client.clone(), back, to, heard }
    }

    /// Where requests go: host and port.
    pub(super) fn place(&self) -> &str {
        &self.to[Position::BeforeHost..Position::AfterPort]
    }

    /// Makes a request, and brings its answer back, beside whatever else happens.
    pub(super) fn carry(&self, data: &str) {
        let Ok(request) = serde_json::from_str::<ToMake>(data) else { return };
        let carrier = self.clone();
        tokio::spawn(async move {
            let start = Instant::now();
            let ticket = request.ticket;
            let carried = carrier.make(request).await;
            let took = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            let answer = answer(ticket, took, &carried);
            // First what the line needs: its attempt is told as soon as the answer is back.
            if carrier.heard.send(carried).is_ok()
                && let Err(stop) = carrier.client.post(&carrier.back, &answer).await
            {
                // The attempt has failed by its deadline, and its line says so.
                tracing::debug!(said = %stop.said, "an answer came too late");
            }
        });
    }

    async fn make(&self, request: ToMake) -> Carried {
        let named = |end: &str| {
            let found = request.headers.iter().find(|(name, _)| name.to_ascii_lowercase().ends_with(end));
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let attempt = named("-attempt").parse().unwrap_or(0);
        let carried = Carried { delivery: named("-delivery"), attempt, ..Carried::default() };
        let within = Duration::from_millis(request.timeout_ms);
        match tokio::time::timeout(within, self.exchange(request)).await {
            Ok(Ok((status, headers, body))) => Carried { status: Some(status), headers, body, ..carried },
            Ok(Err((code, detail))) => Carried { error: Some(code), detail, ..carried },
            Err(_) => {
                let detail = format!("No answer within {} ms.", within.as_millis());
                Carried { error: Some(ErrorCode::ResponseTimeout), detail, ..carried }
            }
        }
    }

    async fn exchange(&self, request: ToMake) -> Result<(u16, Vec<(String, String)>, Vec<u8>), (ErrorCode, String)> {
        let mut sender = connect(&self.to, self.client.roots()).await.map_err(|fault| (fault.code, fault.said))?;
        let mut built = Request::post(&self.to[Position::BeforePath..Position::AfterQuery]);
        built = built.header(header::HOST, self.place());
        for (name, value) in &request.headers {
            built = built.header(name, value);
        }
        let bad = |error: &dyn std::error::Error| (ErrorCode::BadHttp, error.to_string());
        let built = built.body(Full::new(Bytes::from(request.body))).map_err(|error| bad(&error))?;
        let response = sender.send_request(built).await.map_err(|error| {
            let code = if error.is_parse() { ErrorCode::BadHttp } else { ErrorCode::ConnectionReset };
            (code, error.to_string())
        })?;
        let (head, body) = response.into_parts();
        let text = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        // The head decides; what can be read of the body is shown.
        let body = Limited::new(body, ANSWER_KEPT_MAX).collect().await.map(|body| body.to_bytes().to_vec());
        Ok((head.status.as_u16(), headers, body.unwrap_or_default()))
    }
}

/// What the server is told.
fn answer(ticket: u64, took: u64, carried: &Carried) -> Value {
    match (carried.status, carried.error) {
        (Some(status), _) => json!({
            "ticket": ticket, "duration_ms": took, "status": status, "headers": carried.headers,
            "body_base64": BASE64.encode(&carried.body),
        }),
        (None, code) => json!({
            "ticket": ticket, "duration_ms": took, "detail": carried.detail,
            "error": code.unwrap_or(ErrorCode::ConnectionReset).as_str(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_wait_for_their_attempt_and_no_longer() {
        let mut heard = Heard::default();
        for attempt in 0..HEARD_MAX as u64 + 1 {
            heard.remember(Carried { delivery: "dlv_a".into(), attempt, status: Some(200), ..Carried::default() });
        }
        assert!(heard.take("dlv_a", 0).is_none(), "the oldest has gone");
        assert_eq!(heard.take("dlv_a", 7).and_then(|carried| carried.status), Some(200));
        assert!(heard.take("dlv_a", 7).is_none());
        assert_eq!(heard.answers.len(), heard.order.len());
    }

    #[test]
    fn the_server_is_told_a_status_or_an_error() {
        let refused = Carried { error: Some(ErrorCode::ConnectRefused), detail: "x".into(), ..Carried::default() };
        let expected = json!({"ticket": 3, "duration_ms": 5, "detail": "x", "error": "connect_refused"});
        assert_eq!(answer(3, 5, &refused), expected);
        let answered = Carried { status: Some(401), body: b"bad".to_vec(), ..Carried::default() };
        assert_eq!(answer(3, 5, &answered)["body_base64"], "YmFk");
    }
}
