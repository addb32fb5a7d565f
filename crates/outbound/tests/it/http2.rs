//! HTTP/2, for webhooks that ask for it: rows R084–R088, and that it works.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use domain::attempt::ANSWER_KEPT_MAX;
use domain::transport::Outgoing;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use outbound::{Network, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::authority::{Authority, acceptor};
use crate::receiver::{Receiver, flood, hang};
use crate::sending::{PATIENT, SHORT, failure, request, send, with, word};

const NAME: &str = "localhost";

fn over_http2(url: &str) -> Outgoing {
    Outgoing { http2: true, ..request(url) }
}

/// A receiver that speaks HTTP/2, answers with `size` bytes, and counts the requests.
async fn speaking(root: &Authority, size: usize) -> (Receiver, Arc<AtomicUsize>) {
    let tls = acceptor(root.sign(&[NAME], |_| {}), &[b"h2"]);
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    let receiver = Receiver::start(move |stream, _| {
        let (tls, counter) = (tls.clone(), Arc::clone(&counter));
        async move {
            let stream = tls.accept(stream).await.expect("a handshake");
            let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                counter.fetch_add(1, Ordering::SeqCst);
                async move {
                    assert_eq!(request.headers()["x-key"], "a b");
                    assert_eq!(request.uri().path(), "/hook");
                    let body = request.into_body().collect().await.expect("a whole body").to_bytes();
                    assert_eq!(body, "{}");
                    Ok::<_, Infallible>(hyper::Response::new(Full::new(Bytes::from(vec![b'x'; size]))))
                }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            drop(server.serve_connection(TokioIo::new(stream), answer).await);
        }
    })
    .await;
    (receiver, requests)
}

fn trusting(root: &Authority) -> Network {
    with(Settings { trust_ca: vec![root.pem()], ..Settings::default() })
}

#[tokio::test]
async fn requests_share_a_connection() {
    let root = Authority::root();
    let (receiver, requests) = speaking(&root, 3).await;
    let network = trusting(&root);
    let url = receiver.named("https", NAME);
    let outcome = send(&network, over_http2(&url)).await;
    let answer = outcome.result.as_ref().expect("an answer");
    assert_eq!((answer.status, answer.body.as_slice(), answer.truncated), (200, b"xxx".as_slice(), false));
    let mut sends = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (network, url) = (network.clone(), url.clone());
        sends.spawn(async move { word(&send(&network, over_http2(&url)).await) });
    }
    while let Some(found) = sends.join_next().await {
        assert_eq!(found.expect("no panic"), "200");
    }
    assert_eq!((receiver.accepted(), requests.load(Ordering::SeqCst)), (1, 21));
}

#[tokio::test]
async fn large_answers_are_cut() {
    let root = Authority::root();
    let network = trusting(&root);
    for (size, truncated) in [(ANSWER_KEPT_MAX, false), (ANSWER_KEPT_MAX + 1, true), (10_000_000, true)] {
        let (receiver, _) = speaking(&root, size).await;
        let outcome = send(&network, over_http2(&receiver.named("https", NAME))).await;
        let answer = outcome.result.as_ref().expect("an answer");
        assert_eq!((answer.body.len(), answer.truncated), (ANSWER_KEPT_MAX, truncated), "{size}");
    }
}

#[tokio::test]
async fn it_is_offered_only_where_it_is_wanted() {
    let root = Authority::root();
    let network = trusting(&root);
    // A receiver that speaks HTTP/2 only shares no protocol with a webhook that does not want it.
    let (receiver, _) = speaking(&root, 3).await;
    assert_eq!(word(&send(&network, request(&receiver.named("https", NAME))).await), "tls_other");
    // One that does not speak it gets HTTP/1.1.
    let tls = acceptor(root.sign(&[NAME], |_| {}), &[b"http/1.1"]);
    let old = Receiver::start(move |stream, _| {
        let tls = tls.clone();
        async move {
            let mut stream = tls.accept(stream).await.expect("a handshake");
            crate::receiver::read_request(&mut stream).await.expect("a request comes");
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.expect("the sender reads");
        }
    })
    .await;
    assert_eq!(word(&send(&network, over_http2(&old.named("https", NAME))).await), "200");
}

/// R084–R088: frames that lead nowhere end by the deadline, and the connection is not used again.
#[tokio::test]
async fn hostile_frames() {
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    // INITIAL_WINDOW_SIZE is 0: the body can never be sent.
    const WINDOW_0: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
    const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0abcdefgh";
    const RST_STREAM_1: &[u8] = b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08";
    // HEADERS of stream 1 that end it, with no field at all.
    const NO_STATUS: &[u8] = b"\0\0\0\x01\x05\0\0\0\x01";
    let root = Authority::root();
    for (name, once, again, expect) in [
        ("SETTINGS flood", SETTINGS, SETTINGS, "response_timeout bad_http connection_reset"),
        ("PING flood", SETTINGS, PING, "response_timeout bad_http connection_reset"),
        ("RST_STREAM storm", SETTINGS, RST_STREAM_1, "bad_http connection_reset"),
        ("window 0", WINDOW_0, &b""[..], "response_timeout"),
        ("HEADERS without :status", SETTINGS, NO_STATUS, "bad_http connection_reset"),
    ] {
        let tls = acceptor(root.sign(&[NAME], |_| {}), &[b"h2"]);
        let receiver = Receiver::start(move |stream, _| {
            let tls = tls.clone();
            async move {
                let mut stream = tls.accept(stream).await.expect("a handshake");
                stream.write_all(once).await.expect("the sender reads");
                stream.read_u8().await.expect("it speaks, too");
                if again.is_empty() {
                    hang(stream).await;
                } else {
                    flood(&mut stream, again).await;
                }
            }
        })
        .await;
        let network = trusting(&root);
        for connections in 1..=2 {
            let mut outgoing = over_http2(&receiver.named("https", NAME));
            outgoing.timeout = if expect.contains("response_timeout") { SHORT } else { PATIENT };
            let outcome = send(&network, outgoing).await;
            let found = word(&outcome);
            assert!(expect.contains(&found), "{name}: {found}");
            if found == "bad_http" {
                let (_, detail) = failure(&outcome);
                assert!(detail.starts_with("http2 error: "), "{name}: the hint says why: {detail}");
            }
            assert_eq!(receiver.accepted(), connections, "{name}");
        }
    }
}
