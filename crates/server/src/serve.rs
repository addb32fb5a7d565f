//! The accept loop: connections of HTTP/1.1 with keep-alive, bounded in number, and a shutdown that lets answers end.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use domain::seldom::Seldom;
use http::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::app::{Api, App};
use crate::auth::Peer;
use crate::key_uses::WRITTEN_EVERY;
use crate::refuse::refuse;
use crate::stopping::Stopping;
use crate::strict_head::StrictHead;

/// Connections at once.
const CONNECTIONS_MAX: usize = 8_192;
/// While less than this part of them is left, connections are closed after each answer, so that those who come get their turn.
const CROWDED: usize = 8;
/// Further connections that are answered at once that there are too many; even further ones wait in the listener's queue.
const REFUSED_MAX: usize = 512;
/// The largest head, and the most that is read ahead.
const READ_AHEAD_MAX: usize = 64 * 1024;
/// Connections that the system holds until they are accepted. The standard library's 128 are used up by a hundred clients that come back
/// together: whoever comes after them is not answered, and tries again a second later.
const WAITING_MAX: u32 = 4_096;
/// How long answers may take to end once the shutdown has begun.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// How long to wait when the machine has no descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens on `address`, with room for thousands who come at once; the system may bound it further (`net.core.somaxconn`).
///
/// # Errors
/// When the address is taken, or none of this machine. To be called where a runtime is.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart need not wait until the system has forgotten the connections of before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING_MAX)
}

/// Serves the API on `listener` until `shutdown`; then lets the answers under way end, at most 5 seconds.
pub async fn serve(app: App, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let stopping = Stopping::default();
    let api = Arc::new(Api::new(app, stopping.clone()));
    let router = crate::router::router_of(Arc::clone(&api));
    let writing = tokio::spawn(write_key_uses(Arc::clone(&api)));
    serve_router(router, &stopping, listener, CONNECTIONS_MAX, shutdown).await;
    writing.abort();
    api.key_uses.write(&*api.store).await;
}

/// Writes now and then when keys were last used.
async fn write_key_uses(api: Arc<Api>) {
    loop {
        tokio::time::sleep(WRITTEN_EVERY).await;
        api.key_uses.write(&*api.store).await;
    }
}

/// Serves the figures alone, without a key, for `--metrics-listen`.
pub async fn serve_metrics(router: Router, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    serve_router(router, &Stopping::default(), listener, CONNECTIONS_MAX, shutdown).await;
}

async fn serve_router(
    router: Router,
    stopping: &Stopping,
    listener: TcpListener,
    most: usize,
    shutdown: impl Future<Output = ()>,
) {
    let mut connections = JoinSet::new();
    let slots = Arc::new(Semaphore::new(most));
    let refusals = Arc::new(Semaphore::new(REFUSED_MAX));
    let mut shutdown = std::pin::pin!(shutdown);
    let unaccepted = Seldom::default();
    loop {
        let refusal = tokio::select! {
            () = &mut shutdown => break,
            refusal = Arc::clone(&refusals).acquire_owned() => refusal.expect("the semaphore is never closed"),
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match Arc::clone(&slots).try_acquire_owned() {
                Ok(slot) => {
                    let slots = Arc::clone(&slots);
                    let crowded = move || slots.available_permits() < most / CROWDED;
                    let connection = connection(stream, peer.ip(), router.clone(), stopping.watch(), crowded);
                    connections.spawn(async move {
                        connection.await;
                        drop(slot);
                    });
                }
                Err(_) => {
                    connections.spawn(async move {
                        refuse(stream).await;
                        drop(refusal);
                    });
                }
            },
            Err(error) => {
                if let Some(times) = unaccepted.happened(Instant::now()) {
                    tracing::warn!(
                        %error, times,
                        "a connection could not be accepted; too many open files: raise their limit (LimitNOFILE, ulimit -n)"
                    );
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    stopping.stop();
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIME, drained).await.is_err() {
        tracing::warn!("some answers did not end in time");
    }
}

async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    router: Router,
    mut stopping: watch::Receiver<bool>,
    crowded: impl Fn() -> bool,
) {
    // Answers are small: waiting for more to send would only delay them.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |request| answer(request, peer, router.clone(), crowded()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // `StrictHead` times heads and idle connections with one timer for all requests.
        .header_read_timeout(None)
        .max_buf_size(READ_AHEAD_MAX)
        .serve_connection(TokioIo::new(StrictHead::new(stream)), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A fault of one connection is its client's to see.
        _ended = connection.as_mut() => return,
        _stopping = stopping.wait_for(|stopping| *stopping) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ended = connection.await;
}

async fn answer(
    mut request: hyper::Request<Incoming>,
    peer: IpAddr,
    router: Router,
    crowded: bool,
) -> Result<Response, Infallible> {
    let coded = request.headers().contains_key(TRANSFER_ENCODING);
    request.extensions_mut().insert(Peer(peer));
    let mut response = router.oneshot(Request::from(request.map(axum::body::Body::new))).await?;
    if coded || crowded {
        // `StrictHead` does not follow chunks: no other request may come after them.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn ask(stream: &mut TcpStream) {
        stream.write_all(b"GET /here HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("it is sent");
    }

    /// The answer's head up to `length` bytes, or all of it.
    async fn read(stream: &mut TcpStream, length: usize) -> String {
        let mut head = vec![0; length];
        let read = stream.read(&mut head).await.expect("an answer, not a reset");
        String::from_utf8_lossy(&head[..read]).into_owned()
    }

    #[tokio::test]
    async fn who_comes_with_many_others_is_connected_before_they_are_accepted() {
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("the system's bound");
        let many = allowed.trim().parse::<usize>().expect("a number").min(400);
        let listener = bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut connected = Vec::new();
        for _ in 0..many {
            // Nobody accepts: whom the system has no room for never gets an answer.
            let patience = Duration::from_secs(60);
            let connecting = tokio::time::timeout(patience, TcpStream::connect(address)).await;
            connected.push(connecting.expect("room for it").expect("a connection"));
        }
        drop(listener);
    }

    #[tokio::test]
    async fn whoever_is_too_many_is_told_so_and_when_to_come_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().route("/here", axum::routing::get(async || "here"));
        tokio::spawn(async move {
            serve_router(router, &Stopping::default(), listener, 1, std::future::pending()).await;
        });
        let mut first = TcpStream::connect(address).await.expect("a connection");
        ask(&mut first).await;
        assert!(read(&mut first, 15).await.starts_with("HTTP/1.1 200 OK"));
        let mut second = TcpStream::connect(address).await.expect("a connection");
        ask(&mut second).await;
        let mut told = String::new();
        second.read_to_string(&mut told).await.expect("an answer, not a reset");
        assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("\r\nretry-after: 1\r\n"), "{told}");
        assert!(told.ends_with("\"request_id\":\"req_unread\"}"), "{told}");
    }
}
