//! The customers' ends: some answer well, some do not, some not at all.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::RETRY_AFTER;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::tally::Tally;
use crate::bench::number;

/// Bytes of a large answer: far more than is kept of one.
const LARGE: usize = 1 << 20;
/// For how long one that hangs keeps a connection.
const HANGS: Duration = Duration::from_secs(60);

/// Shared by all receivers.
#[derive(Debug)]
pub(super) struct Town {
    tally: Arc<Tally>,
    /// Whether all of them answer 200 from now on.
    well: AtomicBool,
    count: AtomicU64,
    large: Bytes,
}

/// A receiver; it is gone with this value, its connections too.
#[derive(Debug)]
pub(super) struct Receiver {
    address: SocketAddr,
    scheme: &'static str,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// The address of one of its answers: `steady`, `flaky`, `slow`, `large`, `failing`, `gone`, `hang`, `cut`.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}://{}/{path}", self.scheme, self.address)
    }
}

impl Town {
    pub(super) fn new(tally: Arc<Tally>) -> Self {
        Self { tally, well: AtomicBool::new(false), count: AtomicU64::new(0), large: Bytes::from(vec![b'x'; LARGE]) }
    }

    /// All of them answer 200 from now on.
    pub(super) fn gets_well(&self) {
        self.well.store(true, Ordering::Relaxed);
    }

    /// Opens a receiver at a port of its own; with `tls`, it speaks that.
    pub(super) async fn open(self: &Arc<Self>, tls: Option<TlsAcceptor>) -> io::Result<Receiver> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        Ok(Receiver { address, scheme, task: tokio::spawn(Arc::clone(self).take(listener, tls)) })
    }

    async fn take(self: Arc<Self>, listener: TcpListener, tls: Option<TlsAcceptor>) {
        // They end with this task.
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            while connections.try_join_next().is_some() {}
            // A connection without it is only slower.
            let _ = stream.set_nodelay(true);
            let (town, tls) = (Arc::clone(&self), tls.clone());
            connections.spawn(async move {
                match tls {
                    None => town.converse(stream).await,
                    Some(tls) => {
                        // The other end may give up at any time.
                        if let Ok(stream) = tls.accept(stream).await {
                            town.converse(stream).await;
                        }
                    }
                }
            });
        }
    }

    async fn converse(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = service_fn(move |request| Arc::clone(&self).answer(request));
        // The other end closes when it is done, or this one cuts it.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    /// # Errors
    /// Where the connection is cut.
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        self.tally.received.fetch_add(1, Ordering::Relaxed);
        if path == "steady" {
            number(&body).into_iter().for_each(|n| self.tally.arrived(n));
        }
        let mut response = Response::new(Full::new(Bytes::from_static(b"thanks")));
        if self.well.load(Ordering::Relaxed) {
            return Ok(response);
        }
        let nth = self.count.fetch_add(1, Ordering::Relaxed);
        match path.as_str() {
            "flaky" if nth % 100 == 7 => {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response.headers_mut().insert(RETRY_AFTER, http::HeaderValue::from_static("1"));
            }
            "flaky" if nth.is_multiple_of(3) => *response.status_mut() = StatusCode::BAD_GATEWAY,
            "slow" => tokio::time::sleep(Duration::from_millis(if nth % 10 == 3 { 400 } else { 60 })).await,
            "large" => *response.body_mut() = Full::new(self.large.clone()),
            "failing" => {
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                *response.body_mut() = Full::new(self.large.slice(..4_096));
            }
            "gone" => *response.status_mut() = StatusCode::GONE,
            "hang" => tokio::time::sleep(HANGS).await,
            "cut" => return Err(io::ErrorKind::ConnectionReset.into()),
            _ => {}
        }
        Ok(response)
    }
}

/// A port of this machine where nobody listens any more.
pub(super) fn nobody() -> io::Result<String> {
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    Ok(format!("http://{address}/nobody"))
}
