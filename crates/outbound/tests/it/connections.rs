//! Kept connections: when they are used again, and when not.

use std::net::IpAddr;

use domain::attempt::KEPT_CONNECTION;
use outbound::Settings;
use tokio::io::AsyncWriteExt as _;

use crate::receiver::{Receiver, hang, read_request, reset};
use crate::sending::{network, request, send, with, word};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_clean_connection_carries_the_next_request() {
    let receiver = Receiver::answering(OK).await;
    let network = network();
    for _ in 0..5 {
        let outcome = send(&network, request(&receiver.http())).await;
        assert_eq!(word(&outcome), "200");
    }
    assert_eq!((receiver.accepted(), network.waiting_connections()), (1, 1));
    // Another origin never shares it, even at the same address.
    let by_name = receiver.http().replace("127.0.0.2", "localhost");
    assert_eq!(word(&send(&network, request(&by_name)).await), "200");
    assert_eq!(receiver.accepted(), 2);
}

#[tokio::test]
async fn timing_says_what_was_needed() {
    let receiver = Receiver::answering(OK).await;
    let network = network();
    let first = send(&network, request(&receiver.http())).await.timing;
    assert!(first.connect.is_some() && first.tls.is_none() && first.first_byte.is_some());
    let second = send(&network, request(&receiver.http())).await.timing;
    assert!(second.connect.is_none() && second.first_byte.is_some());
}

/// R038, R039 and the like.
#[tokio::test]
async fn a_doubtful_connection_is_not_used_again() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let receiver = Receiver::answering(answer).await;
        let network = network();
        for _ in 0..2 {
            assert_eq!(word(&send(&network, request(&receiver.http())).await), "200");
        }
        assert_eq!(receiver.accepted(), 2, "{:?}", String::from_utf8_lossy(answer));
    }
}

/// The peer closes between two requests: nothing of the second has gone out, so it goes over a new connection.
#[tokio::test]
async fn a_connection_closed_in_between_is_replaced() {
    let (closed, mut was_closed) = tokio::sync::mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut stream, number| {
        let closed = closed.clone();
        async move {
            read_request(&mut stream).await.expect("a request comes");
            stream.write_all(OK).await.expect("the sender reads");
            if number == 1 {
                stream.shutdown().await.expect("it can be closed");
                drop(stream);
                closed.send(()).expect("the test listens");
            } else {
                hang(stream).await;
            }
        }
    })
    .await;
    let network = network();
    assert_eq!(word(&send(&network, request(&receiver.http())).await), "200");
    was_closed.recv().await.expect("it was closed");
    let outcome = send(&network, request(&receiver.http())).await;
    assert_eq!((word(&outcome).as_str(), receiver.accepted()), ("200", 2));
}

/// A request that has gone out on a kept connection may have been handled: it is not sent twice.
#[tokio::test]
async fn a_request_that_went_out_is_not_repeated() {
    let receiver = Receiver::start(|mut stream, _| async move {
        read_request(&mut stream).await.expect("a request comes");
        stream.write_all(OK).await.expect("the sender reads");
        read_request(&mut stream).await.expect("another one comes");
        reset(&stream);
    })
    .await;
    let network = network();
    assert_eq!(word(&send(&network, request(&receiver.http())).await), "200");
    let outcome = send(&network, request(&receiver.http())).await;
    assert_eq!((word(&outcome).as_str(), receiver.accepted()), ("connection_reset", 1));
    assert_eq!(outcome.result.expect_err("it failed").detail, KEPT_CONNECTION, "and that is said");
}

/// Some servers answer as if the connection were kept, and close it: no second request is risked on one of theirs.
#[tokio::test]
async fn a_peer_that_closes_kept_connections_gets_new_ones() {
    let (closed, mut was_closed) = tokio::sync::mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut stream, number| {
        let closed = closed.clone();
        async move {
            while read_request(&mut stream).await.is_some() {
                stream.write_all(OK).await.expect("the sender reads");
                if number == 1 {
                    drop(stream);
                    closed.send(()).expect("the test listens");
                    return;
                }
            }
        }
    })
    .await;
    let network = network();
    assert_eq!(word(&send(&network, request(&receiver.http())).await), "200");
    was_closed.recv().await.expect("it was closed");
    for made in 2..5 {
        assert_eq!(word(&send(&network, request(&receiver.http())).await), "200");
        assert_eq!((receiver.accepted(), network.waiting_connections()), (made, 0));
    }
}

/// The fixed source addresses of the page.
#[tokio::test]
async fn sockets_are_bound_to_the_egress_addresses() {
    let sources: Vec<IpAddr> = ["127.0.0.7", "127.0.0.8"].map(|ip| ip.parse().expect("an address")).to_vec();
    let (say, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut stream, _| {
        say.send(stream.peer_addr().expect("a peer").ip()).expect("the test listens");
        async move {
            read_request(&mut stream).await.expect("a request comes");
            stream.write_all(b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n").await.expect("the sender reads");
        }
    })
    .await;
    let network = with(Settings { egress: sources.clone(), ..Settings::default() });
    for expected in [sources[0], sources[1], sources[0]] {
        assert_eq!(word(&send(&network, request(&receiver.http())).await), "204");
        assert_eq!(heard.recv().await, Some(expected));
    }
}

#[tokio::test]
async fn an_address_of_another_machine_is_no_egress_address() {
    let settings = Settings { egress: vec!["192.0.2.1".parse().expect("an address")], ..Settings::default() };
    let error = outbound::Network::new(settings).err().expect("it cannot be bound").to_string();
    assert!(error.starts_with("--egress-ip: 192.0.2.1"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_share_what_is_free() {
    let receiver = Receiver::answering(OK).await;
    let network = network();
    let mut sends = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (network, url) = (network.clone(), receiver.http());
        sends.spawn(async move {
            for _ in 0..20 {
                assert_eq!(word(&send(&network, request(&url)).await), "200");
            }
        });
    }
    while let Some(ended) = sends.join_next().await {
        ended.expect("all succeed");
    }
    assert!(receiver.accepted() <= 50, "{} connections", receiver.accepted());
}
