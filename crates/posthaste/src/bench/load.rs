//! The load: posts over kept connections, as fast as they are answered or at a fixed rate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Failed;

/// Where to post, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'static str,
    pub(crate) key: Option<Arc<str>>,
}

/// One kept connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    target: Target,
}

impl Connection {
    pub(crate) async fn open(target: &Target) -> Result<Self, Failed> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, target: target.clone() })
    }

    /// Posts `body`; the status and the answer's body.
    pub(crate) async fn post(&mut self, body: Bytes) -> Result<(StatusCode, Bytes), Failed> {
        self.call(Method::POST, self.target.path, body).await
    }

    /// Posts `body`; the whole answer, as far as a load looks at it.
    pub(crate) async fn post_whole(&mut self, body: Bytes) -> Result<Answer, Failed> {
        self.ask(Method::POST, self.target.path, &[], body).await
    }

    /// Whether the server keeps it open.
    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Failed> {
        let answer = self.ask(method, path, &[], body).await?;
        Ok((answer.status, answer.body))
    }

    /// Sends a request with further headers, and has its whole answer. The body is JSON unless they say otherwise.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, Failed> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, "bench");
        if !headers.iter().any(|(name, _)| *name == CONTENT_TYPE.as_str()) {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = &self.target.key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        self.sender.ready().await?;
        let answer = self.sender.send_request(request.body(Full::new(body))?).await?;
        let (head, body) = answer.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, body: body.collect().await?.to_bytes() })
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Whether it says when to come again.
    pub(crate) fn retry_after(&self) -> bool {
        self.headers.contains_key(RETRY_AFTER)
    }
}

/// What a load came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    /// Requests answered with 2xx.
    pub(crate) answered: u64,
    /// From the first request to the last answer.
    pub(crate) took: Duration,
}

impl Done {
    pub(crate) fn per_second(&self) -> f64 {
        self.answered as f64 / self.took.as_secs_f64()
    }
}

/// Opens kept connections: before the time of a load begins, since what it measures is requests.
pub(crate) async fn open(target: &Target, connections: usize) -> Result<Vec<Connection>, Failed> {
    let mut opened = Vec::with_capacity(connections);
    for _ in 0..connections {
        opened.push(Connection::open(target).await?);
    }
    Ok(opened)
}

/// Posts over all `connections` for `during`, over each as fast as it is answered. `body` makes the n-th body.
pub(crate) async fn flat_out(
    connections: Vec<Connection>,
    during: Duration,
    body: impl Fn(u64) -> Bytes + Clone + Send + Sync + 'static,
) -> Result<Done, Failed> {
    let (count, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let start = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|mut connection| {
            let (count, over, body) = (Arc::clone(&count), Arc::clone(&over), body.clone());
            tokio::spawn(async move {
                let mut answered = 0u64;
                while !over.load(Ordering::Relaxed) {
                    let n = count.fetch_add(1, Ordering::Relaxed);
                    let (status, text) = connection.post(body(n)).await?;
                    if !status.is_success() {
                        return Err(Failed(format!("{status}: {}", String::from_utf8_lossy(&text))));
                    }
                    answered += 1;
                }
                Ok(answered)
            })
        })
        .collect();
    tokio::time::sleep(during).await;
    over.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for task in tasks {
        answered += task.await??;
    }
    Ok(Done { answered, took: start.elapsed() })
}

/// Posts at `rate` per second for `during`, whatever the answers take; returns once all are answered.
pub(crate) async fn at_rate(
    target: &Target,
    rate: u32,
    during: Duration,
    body: impl Fn(u64) -> Bytes + Clone + Send + Sync + 'static,
) -> Result<Done, Failed> {
    let gap = Duration::from_secs(1) / rate.max(1);
    let total = u64::from(rate) * during.as_secs();
    let mut idle = Vec::new();
    let (back, mut returned) = tokio::sync::mpsc::unbounded_channel::<Result<Connection, Failed>>();
    let start = Instant::now();
    let mut answered = 0;
    for n in 0..total {
        tokio::time::sleep_until(start + gap * u32::try_from(n).unwrap_or(u32::MAX)).await;
        while let Ok(connection) = returned.try_recv() {
            idle.push(connection?);
            answered += 1;
        }
        let mut connection = match idle.pop() {
            Some(connection) => connection,
            None => Connection::open(target).await?,
        };
        let (back, body) = (back.clone(), body(n));
        tokio::spawn(async move {
            let result = match connection.post(body).await {
                Ok((status, _)) if status.is_success() => Ok(connection),
                Ok((status, text)) => Err(Failed(format!("{status}: {}", String::from_utf8_lossy(&text)))),
                Err(failed) => Err(failed),
            };
            // The other end waits for every answer.
            let _ = back.send(result);
        });
    }
    drop(back);
    while let Some(connection) = returned.recv().await {
        connection?;
        answered += 1;
    }
    Ok(Done { answered, took: start.elapsed() })
}
