//! The yardstick: one bare HTTP/1.1 exchange over a kept connection, both ends hyper, nothing in between.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Serves `200 OK` to whatever comes, after `seen` has had the path and the body.
pub(crate) fn serve(seen: impl Fn(&str, &Bytes) + Clone + Send + Sync + 'static) -> io::Result<SocketAddr> {
    let listener = server::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = listener.local_addr()?;
    serve_on(listener, seen);
    Ok(address)
}

/// [`serve`], where it is bound already.
pub(crate) fn serve_on(listener: TcpListener, seen: impl Fn(&str, &Bytes) + Clone + Send + Sync + 'static) {
    answer_on(listener, move |path, body| {
        seen(&path, &body);
        std::future::ready(StatusCode::OK)
    });
}

/// Serves what `answer` says to a path and a body.
pub(crate) fn serve_with<F: Future<Output = StatusCode> + Send>(
    answer: impl Fn(String, Bytes) -> F + Clone + Send + Sync + 'static,
) -> io::Result<SocketAddr> {
    let listener = server::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = listener.local_addr()?;
    answer_on(listener, answer);
    Ok(address)
}

fn answer_on<F: Future<Output = StatusCode> + Send>(
    listener: TcpListener,
    answer: impl Fn(String, Bytes) -> F + Clone + Send + Sync + 'static,
) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A connection without it is only slower.
            let _ = stream.set_nodelay(true);
            let answer = answer.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = answer.clone();
                    async move {
                        let path = request.uri().path().to_owned();
                        if path == "/hang" {
                            std::future::pending::<()>().await;
                        }
                        let mut response = Response::new(Full::new(Bytes::new()));
                        if let Ok(body) = request.into_body().collect().await {
                            *response.status_mut() = answer(path, body.to_bytes()).await;
                        }
                        Ok::<_, Infallible>(response)
                    }
                });
                // The other end closes when it is done.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}
