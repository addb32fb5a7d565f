//! Exchanges over HTTP/2, for webhooks that ask for it: many at once over one connection.

use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use domain::attempt::{ANSWER_READ_MAX, Answer, ErrorCode, Failure};
use domain::transport::Outgoing;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::attempt::{Progress, Stage, plain};
use crate::body::keep;
use crate::http1::LIFETIME_MAX;
use crate::stream::Stream;

/// How many requests share a connection.
const SHARED_MAX: usize = 100;
/// How much a peer may send ahead, per request and in all: with the head it bounds an attempt's memory.
const WINDOW: u32 = 64 * 1024;
/// The largest head of an answer that is taken.
const HEAD_MAX: u32 = 64 * 1024;

/// The connections in use, by origin.
#[derive(Debug, Default)]
pub(crate) struct Http2(Mutex<HashMap<Box<str>, Vec<Arc<Shared>>>>);

/// A connection that requests share. It ends when nobody uses or keeps it any more.
#[derive(Debug)]
pub(crate) struct Shared {
    sender: SendRequest<Full<Bytes>>,
    pub(crate) peer: SocketAddr,
    until: Instant,
    /// Whether a request got no answer over it: the next ones go over another.
    is_suspect: AtomicBool,
    /// Carries the connection's frames.
    carrier: AbortHandle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // A peer that floods the connection must not be listened to any longer than it is of use.
        self.carrier.abort();
    }
}

impl Http2 {
    fn connections(&self) -> MutexGuard<'_, HashMap<Box<str>, Vec<Arc<Shared>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to `origin` whose peer is among the `addresses` that the host leads to now.
    pub(crate) fn take(&self, origin: &str, addresses: &[IpAddr], now: Instant) -> Option<Arc<Shared>> {
        let mut connections = self.connections();
        let shared = connections.get_mut(origin)?;
        shared.retain(|one| one.is_usable(now) && addresses.contains(&one.peer.ip()));
        // One reference is the pool's own.
        let free = shared.iter().find(|one| Arc::strong_count(one) <= SHARED_MAX).map(Arc::clone);
        if shared.is_empty() {
            connections.remove(origin);
        }
        free
    }

    /// Starts HTTP/2 over a fresh stream, and keeps the connection for others.
    pub(crate) async fn start(&self, origin: &str, stream: Stream, peer: SocketAddr) -> Result<Arc<Shared>, Failure> {
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(HEAD_MAX)
            .max_send_buf_size(usize::try_from(WINDOW).unwrap_or(usize::MAX))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failure(&error))?;
        let carrier = tokio::spawn(async move {
            // Each request learns of the connection's end by itself.
            drop(connection.await);
        })
        .abort_handle();
        let until = Instant::now() + LIFETIME_MAX;
        let shared = Arc::new(Shared { sender, peer, until, is_suspect: AtomicBool::new(false), carrier });
        self.connections().entry(origin.into()).or_default().push(Arc::clone(&shared));
        Ok(shared)
    }

    /// Lets go of what is too old or closed.
    pub(crate) fn sweep(&self, now: Instant) {
        self.connections().retain(|_, shared| {
            shared.retain(|one| one.is_usable(now));
            !shared.is_empty()
        });
    }
}

/// Makes the connection suspect unless an answer came: also when the deadline drops the exchange.
struct Unanswered<'a>(&'a Shared);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.is_suspect.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn is_usable(&self, now: Instant) -> bool {
        now < self.until && !self.sender.is_closed() && !self.is_suspect.load(Ordering::Relaxed)
    }

    /// Sends `request`, and reads the answer into `progress`, its body as far as limits and deadline allow.
    pub(crate) async fn exchange(&self, request: &Outgoing, progress: &mut Progress) -> Result<(), Failure> {
        progress.enter(Stage::Answer);
        let unanswered = Unanswered(self);
        let mut sender = self.sender.clone();
        sender.ready().await.map_err(|error| failure(&error))?;
        let answered = sender.send_request(build(request)?).await.map_err(|error| failure(&error))?;
        std::mem::forget(unanswered);
        let (head, mut body) = answered.into_parts();
        let status = head.status.as_u16();
        if !(200..=599).contains(&status) {
            let detail = format!("its status is {status:03}");
            return Err(Failure { code: ErrorCode::BadHttp, detail });
        }
        progress.leave();
        let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
        // Until the end is seen, something is missing.
        let answer = Answer { status, headers: headers.collect(), body: Vec::new(), truncated: true };
        let answer = progress.answer.insert(answer);
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Ok(()) };
            let Some(data) = frame.data_ref() else { continue };
            keep(&mut answer.body, data);
            read += data.len();
            if read > ANSWER_READ_MAX {
                return Ok(());
            }
        }
        answer.truncated = read > answer.body.len();
        Ok(())
    }
}

fn build(request: &Outgoing) -> Result<http::Request<Full<Bytes>>, Failure> {
    let mut built = http::Request::post(request.url.as_str()).header("content-length", request.body.len());
    for (name, value) in &request.headers {
        built = built.header(name, value);
    }
    built
        .body(Full::new(request.body.clone()))
        .map_err(|error| Failure { code: ErrorCode::BadHttp, detail: format!("the request cannot be built: {error}") })
}

/// What an error of HTTP/2 means for the attempt.
fn failure(error: &hyper::Error) -> Failure {
    // The library's own text is no more than "http2 error".
    let mut detail = error.to_string();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(inner) = cause {
        if inner.is::<io::Error>() {
            return plain(ErrorCode::ConnectionReset);
        }
        detail = format!("{detail}: {inner}");
        cause = inner.source();
    }
    if error.is_canceled() || error.is_closed() || error.is_incomplete_message() {
        return plain(ErrorCode::ConnectionReset);
    }
    Failure { code: ErrorCode::BadHttp, detail }
}
