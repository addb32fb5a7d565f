//! Making carried requests, and bringing their answers back. What was made once is not made again, when the server asks
//! for it again over a new connection: it gets the answer that there was.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

impl ToMake {
    /// The value of the header that ends so, whatever the prefix of our headers is.
    fn named(&self, end: &str) -> String {
        let found = self.headers.iter().find(|(name, _)| name.to_ascii_lowercase().ends_with(end));
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }
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

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
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
    made: Arc<Mutex<Made>>,
}

/// Requests that are being made, and the answers to the last that were.
#[derive(Debug, Default)]
struct Made {
    /// The ticket under which each is asked for now, and its answer once there is one.
    requests: HashMap<(String, u64), (u64, Option<Value>)>,
    order: VecDeque<(String, u64)>,
}

/// What to do with a request.
#[derive(Debug, PartialEq)]
enum Todo {
    Make,
    /// It is being made; its answer goes to who asks now.
    Wait,
    Repeat(Value),
}

impl Made {
    fn ask(&mut self, key: &(String, u64), ticket: u64) -> Todo {
        if let Some((asked, answer)) = self.requests.get_mut(key) {
            *asked = ticket;
            return answer.clone().map_or(Todo::Wait, |mut answer| {
                answer["ticket"] = ticket.into();
                Todo::Repeat(answer)
            });
        }
        if self.order.len() == HEARD_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.requests.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.requests.insert(key.clone(), (ticket, None));
        Todo::Make
    }

    /// Keeps the answer, and puts the ticket into it under which it is asked for by now.
    fn done(&mut self, key: &(String, u64), answer: &mut Value) {
        if let Some((ticket, kept)) = self.requests.get_mut(key) {
            answer["ticket"] = (*ticket).into();
            *kept = Some(answer.clone());
        }
    }
}

impl Carrier {
    pub(super) fn new(session: &Session<'_>, webhook: &str, to: Url, heard: UnboundedSender<Carried>) -> Self {
        let back = path(&["accounts", &session.account, "listen", webhook, "answers"]);
        Self { client: session.client.clone(), back, to, heard, made: Arc::default() }
    }

    /// Where requests go: host and port.
    pub(super) fn place(&self) -> &str {
        &self.to[Position::BeforeHost..Position::AfterPort]
    }

    /// Makes a request, and brings its answer back, beside whatever else happens.
    pub(super) fn carry(&self, data: &str) {
        let Ok(request) = serde_json::from_str::<ToMake>(data) else { return };
        let (carrier, ticket) = (self.clone(), request.ticket);
        let key = (request.named("-delivery"), request.named("-attempt").parse().unwrap_or(0));
        let todo = self.made().ask(&key, ticket);
        tokio::spawn(async move {
            let answer = match todo {
                Todo::Wait => return,
                Todo::Repeat(answer) => answer,
                Todo::Make => {
                    let start = Instant::now();
                    let carried = carrier.make(request, &key).await;
                    let took = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
                    let mut answer = answer(ticket, took, &carried);
                    carrier.made().done(&key, &mut answer);
                    // First what the line needs: its attempt is told as soon as the answer is back.
                    if carrier.heard.send(carried).is_err() {
                        return;
                    }
                    answer
                }
            };
            if let Err(stop) = carrier.client.post(&carrier.back, &answer).await {
                // It is asked for again, or the attempt has failed by its deadline, and its line says so.
                tracing::debug!(said = %stop.said, "an answer did not get through");
            }
        });
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn make(&self, request: ToMake, key: &(String, u64)) -> Carried {
        let carried = Carried { delivery: key.0.clone(), attempt: key.1, ..Carried::default() };
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
    fn a_request_that_comes_again_is_not_made_again() {
        let (mut made, key) = (Made::default(), ("dlv_a".to_owned(), 1));
        assert_eq!(made.ask(&key, 7), Todo::Make);
        assert_eq!(made.ask(&key, 9), Todo::Wait);
        let mut answer = json!({"ticket": 7, "status": 200});
        made.done(&key, &mut answer);
        assert_eq!(answer["ticket"], 9, "the answer goes to who asked last");
        assert_eq!(made.ask(&key, 11), Todo::Repeat(json!({"ticket": 11, "status": 200})));
        for attempt in 2..2 + HEARD_MAX as u64 {
            assert_eq!(made.ask(&("dlv_a".to_owned(), attempt), 1), Todo::Make);
        }
        assert_eq!((made.requests.len(), made.ask(&key, 13)), (HEARD_MAX, Todo::Make), "the oldest is forgotten");
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
