//! The client side of the REST API: a small HTTP/1.1 client, and the server and key that commands talk to.

pub(crate) mod connect;
pub(crate) mod known;
pub(crate) mod lines;
pub(crate) mod list;
pub(crate) mod path;
pub(crate) mod patience;
pub(crate) mod problem;
pub(crate) mod sse;

use std::time::Duration;

use domain::attempt::ErrorCode;
use http::header::{CONTENT_TYPE, ETAG};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use crate::exit::{Exit, Stop};
use connect::NotConnected;

/// For how long an answer may take before a command gives up.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// What a stream of events is, and an answer of lines.
const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";

/// A server, and the key to it.
#[derive(Clone)]
pub(crate) struct Client {
    base: Url,
    key: Option<Zeroizing<String>>,
    roots: connect::Roots,
}

/// A request's body and headers beside the ones that every request has.
#[derive(Debug, Default, Clone)]
pub(crate) struct Sending {
    /// The body; none for an empty one.
    pub(crate) body: Option<Bytes>,
    /// Further headers.
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Sending {
    /// A JSON body.
    pub(crate) fn json(value: &Value) -> Self {
        Self::text(value.to_string())
    }

    /// A body that is JSON already.
    pub(crate) fn text(text: String) -> Self {
        Self { body: Some(text.into()), headers: vec![("content-type", "application/json".to_owned())] }
    }

    /// With one header more.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// An answer with a 2xx status.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: u16,
    etag: Option<String>,
    body: Bytes,
}

impl Answer {
    /// The body as JSON; `null` for an empty one.
    ///
    /// # Errors
    /// When it is not JSON: the other side is not posthaste.
    pub(crate) fn value(&self) -> Result<Value, Stop> {
        if self.body.is_empty() { Ok(Value::Null) } else { self.read() }
    }

    /// The version that it is of, without its quotes.
    pub(crate) fn etag(&self) -> Option<&str> {
        self.etag.as_deref().map(|etag| etag.trim_matches('"'))
    }

    /// The body as it came, for `--json`: no member is reordered, no number written anew.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim_end().to_owned()
    }

    /// The body as `T`.
    ///
    /// # Errors
    /// When it does not fit.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Stop> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Stop::failure(format!("Check the URL: the server's answer is not what posthaste sends ({error})."))
                .lasting()
        })
    }
}

impl Client {
    /// A client of the server at `base`.
    pub(crate) fn new(base: Url, key: Option<Zeroizing<String>>, roots: connect::Roots) -> Self {
        Self { base, key, roots }
    }

    /// The certificates that are trusted besides the system's.
    pub(crate) fn roots(&self) -> &connect::Roots {
        &self.roots
    }

    /// The address of `path` on the server, for people.
    pub(crate) fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base.as_str().trim_end_matches('/'))
    }

    /// `GET path`.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Stop> {
        self.send(Method::GET, path, Sending::default()).await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Answer, Stop> {
        self.send(Method::POST, path, Sending::json(body)).await
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] when there is no server, [`Exit::TimedOut`] when it does not answer, or the exit code of
    /// the status with the words of its problem document.
    pub(crate) async fn send(&self, method: Method, path: &str, sending: Sending) -> Result<Answer, Stop> {
        let exchange = async {
            let response = self.start(method, path, sending).await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| self.lost(&error.to_string()))?.to_bytes();
            let etag = head.headers.get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
            Ok::<_, Stop>(Answer { status: head.status.as_u16(), etag, body })
        };
        let answer = match tokio::time::timeout(ANSWER_WITHIN, exchange).await {
            Ok(answer) => answer?,
            Err(_) => return Err(self.late()),
        };
        if (200..300).contains(&answer.status) {
            Ok(answer)
        } else {
            Err(self.refused(answer.status, path, &answer.body))
        }
    }

    /// Opens a stream of server-sent events.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(crate) async fn stream(&self, method: Method, path: &str, sending: Sending) -> Result<sse::Events, Stop> {
        self.open(method, path, sending.with("accept", EVENTS), EVENTS).await.map(sse::Events::new)
    }

    /// `GET path`, for an answer of as many lines as there are.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(crate) async fn lines(&self, path: &str) -> Result<lines::Lines, Stop> {
        self.open(Method::GET, path, Sending::default(), LINES).await.map(lines::Lines::new)
    }

    /// Sends a request, and waits for the answer's head: a success is of the given type.
    async fn open(&self, method: Method, path: &str, sending: Sending, kind: &str) -> Result<Incoming, Stop> {
        let opening = self.start(method, path, sending);
        let Ok(response) = tokio::time::timeout(ANSWER_WITHIN, opening).await else { return Err(self.late()) };
        let (head, body) = response?.into_parts();
        if head.status.is_success() {
            // A page of something else at this address would be an answer that ends at once, again and again.
            let told = head.headers.get(CONTENT_TYPE).and_then(|told| told.to_str().ok()).unwrap_or("no type");
            return if told.starts_with(kind) { Ok(body) } else { Err(self.foreign(told)) };
        }
        let body = body.collect().await.map_err(|error| self.lost(&error.to_string()))?.to_bytes();
        let wait = head.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let stop = self.refused(head.status.as_u16(), path, &body);
        Err(Stop { retry_after: wait.map(Duration::from_secs), ..stop })
    }

    async fn start(&self, method: Method, path: &str, sending: Sending) -> Result<Response<Incoming>, Stop> {
        let mut sender = connect::connect(&self.base, &self.roots).await.map_err(|fault| self.unreachable(&fault))?;
        let target = format!("{}{path}", self.base.path().trim_end_matches('/'));
        let mut request = Request::builder().method(method).uri(target).header("host", self.base.authority());
        request = request.header("user-agent", concat!("posthaste/", env!("CARGO_PKG_VERSION")));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {}", key.as_str()));
        }
        for (name, value) in sending.headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(sending.body.unwrap_or_default()))
            .map_err(|error| Stop::usage(format!("This cannot be sent as an HTTP request: {error}.")))?;
        sender.send_request(request).await.map_err(|error| self.unanswered(&error))
    }

    fn refused(&self, status: u16, path: &str, body: &[u8]) -> Stop {
        problem::stop(status, &self.address(""), path, body)
    }

    fn unreachable(&self, NotConnected { code, said }: &NotConnected) -> Stop {
        let base = &self.base;
        if *code == ErrorCode::TlsOther {
            let said = format!(
                "Name its authority's PEM file by POSTHASTE_TRUST_CA, or mend the URL: no TLS with the server at {base} ({said})."
            );
            return Stop::new(Exit::Unreachable, said).lasting();
        }
        let advice = "Start one with `posthaste dev`, or name it by --server or POSTHASTE_URL";
        Stop::new(Exit::Unreachable, format!("{advice}: no server at {base} ({said})."))
    }

    fn lost(&self, said: &str) -> Stop {
        Stop::new(Exit::Unreachable, format!("Try again: the connection to {} was lost ({said}).", self.base))
    }

    /// What came of a request that was sent.
    fn unanswered(&self, error: &hyper::Error) -> Stop {
        if !error.is_parse() {
            return self.lost(&error.to_string());
        }
        let secure = if self.base.scheme() == "http" { "; it may want https://" } else { "" };
        let said = format!("Mend the URL: what answers at {} does not speak HTTP ({error}){secure}.", self.base);
        Stop::new(Exit::Unreachable, said).lasting()
    }

    /// What answers is something else.
    fn foreign(&self, told: &str) -> Stop {
        let said =
            format!("Check the URL: what answers at {} with {told} is not posthaste, or a proxy before it.", self.base);
        Stop::new(Exit::Unreachable, said).lasting()
    }

    fn late(&self) -> Stop {
        let seconds = ANSWER_WITHIN.as_secs();
        Stop::new(Exit::TimedOut, format!("Try again later: {} did not answer within {seconds} s.", self.base))
    }
}
