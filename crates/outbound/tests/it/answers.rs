//! Rows R of the table of hostile inputs that need no TLS: what a receiver answers.

use std::time::Duration;

use bytes::Bytes;
use domain::attempt::{ANSWER_KEPT_MAX, Answer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::receiver::{Receiver, Request, flood, hang, read_request, reset};
use crate::sending::{ANSWERED, PATIENT, SHORT, network, request, send, word};

/// What the receiver does after its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Close,
    Hang,
    Reset,
}

/// Sends one request to a receiver that answers with `bytes`; gives the outcome in a word, and the answer.
async fn play(bytes: Vec<u8>, then: Then, timeout: Duration) -> (String, Option<Answer>) {
    let receiver = Receiver::start(move |mut stream, _| {
        let bytes = bytes.clone();
        async move {
            read_request(&mut stream).await.expect("a request comes");
            // The sender may have enough before the end.
            drop(stream.write_all(&bytes).await);
            match then {
                Then::Close => {}
                Then::Hang => hang(stream).await,
                Then::Reset => reset(&stream),
            }
        }
    })
    .await;
    let mut outgoing = request(&receiver.http());
    outgoing.timeout = timeout;
    let outcome = send(&network(), outgoing).await;
    assert_eq!(receiver.accepted(), 1, "one request, one connection");
    assert_eq!(outcome.remote_address, Some(receiver.address));
    (word(&outcome), outcome.result.ok())
}

async fn check(bytes: impl Into<Vec<u8>>, then: Then, expect: &str) -> Option<Answer> {
    let bytes = bytes.into();
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
    let timeout = match then {
        Then::Hang if expect == "response_timeout" => SHORT,
        Then::Hang => ANSWERED,
        Then::Close | Then::Reset => PATIENT,
    };
    let (word, answer) = play(bytes, then, timeout).await;
    assert_eq!(word, expect, "{shown:?}, then {then:?}");
    answer
}

fn status_line(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")
}

/// R001–R017, and that the connection staying open costs no time.
#[tokio::test]
async fn statuses() {
    let statuses =
        ["200 OK", "202 Accepted", "301 Moved", "302 X", "304 X", "307 X", "308 X", "400 X", "404 X", "405 X", "418 X"];
    for status in statuses.into_iter().chain(["499 X", "500 X", "502 X", "504 X", "599 X"]) {
        let (found, answer) = play(status_line(status).into_bytes(), Then::Hang, PATIENT).await;
        assert_eq!(found, status[..3]);
        assert!(answer.is_some_and(|answer| answer.body.is_empty() && !answer.truncated));
    }
    assert_eq!(play(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), Then::Hang, PATIENT).await.0, "204");
}

/// R004, R018–R024, R046, R058–R060: headers are kept as they came, and nothing follows from them here.
#[tokio::test]
async fn headers_are_kept_and_ignored() {
    let long = "9".repeat(10_240);
    for (name, value) in [
        ("Location", &b"https://169.254.169.254/"[..]),
        ("Retry-After", b"1"),
        ("Retry-After", b"99999999999"),
        ("retry-after", long.as_bytes()),
        ("X-A", b"caf\xe9\xff"),
        ("Set-Cookie", b"session=x; Path=/"),
        ("Refresh", b"0; url=https://169.254.169.254/"),
        ("WWW-Authenticate", b"Basic realm=\"x\""),
    ] {
        let head = [b"HTTP/1.1 429 X\r\n", name.as_bytes(), b": ", value, b"\r\nContent-Length: 0\r\n\r\n"].concat();
        let answer = check(head, Then::Hang, "429").await.expect("an answer");
        assert_eq!(answer.headers[0], (name.to_owned(), value.to_vec()));
        assert_eq!(answer.headers[1], ("Content-Length".to_owned(), b"0".to_vec()));
    }
}

/// R025–R033, R045, R047, R048.
#[tokio::test]
async fn heads_that_are_none() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    check(interim.repeat(10_000), Then::Hang, "response_timeout").await;
    assert_eq!(play(interim.repeat(30_000).into_bytes(), Then::Hang, PATIENT).await.0, "bad_http");
    check(interim, Then::Close, "bad_http").await;
    check(format!("{interim}{}", status_line("200 OK")), Then::Hang, "200").await;
    for bytes in [
        "HTTP/1.1 099 X\r\n\r\n",
        "HTTP/1.1 600 X\r\n\r\n",
        "HTTP/1.1 abc X\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 20\r\n\r\n",
        "HTTP/1.1 -200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "220 smtp.example.com ESMTP\r\n",
    ] {
        check(bytes, Then::Hang, "bad_http").await;
    }
    let flood = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-A: b\r\n".repeat(100_000));
    check(flood, Then::Hang, "bad_http").await;
    check("", Then::Close, "connection_reset").await;
    check("", Then::Reset, "connection_reset").await;
    check("HTTP/1.1 2", Then::Close, "connection_reset").await;
    check("HTTP/1.1 200 OK\r\nX-A", Then::Close, "connection_reset").await;
    check("HTTP/1.1 200 OK\r\nX-A", Then::Reset, "connection_reset").await;
    check(b"HTTP/1.1 200 \xff\xfe\r\nContent-Length: 0\r\n\r\n".as_slice(), Then::Hang, "200").await;
}

/// R034, R037–R041, R050–R052: a complete head decides; the body is kept as it came.
#[tokio::test]
async fn bodies_decide_nothing() {
    for (head, body, then, status, kept, truncated) in [
        ("200 OK\r\nContent-Length: 1000000000000", &b"x"[..], Then::Hang, "200", &b"x"[..], true),
        ("500 X\r\nContent-Length: 10", b"abc", Then::Close, "500", b"abc", true),
        ("500 X\r\nContent-Length: 10", b"abc", Then::Reset, "500", b"abc", true),
        ("200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked", b"0\r\n\r\n", Then::Hang, "200", b"", false),
        ("500 X\r\nTransfer-Encoding: chunked", b"zz\r\n", Then::Hang, "500", b"", true),
        ("200 OK\r\nTransfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n", Then::Hang, "200", b"abc", false),
        ("200 OK\r\nTransfer-Encoding: chunked", b"3\r\nabc\r\n", Then::Close, "200", b"abc", true),
        ("200 OK\r\nContent-Length: 3", b"a\0b", Then::Hang, "200", b"a\0b", false),
        ("200 OK\r\nContent-Length: 3", b"\xed\xa0\x80", Then::Hang, "200", b"\xed\xa0\x80", false),
        ("200 OK", b"\x1b[2J\x1b]0;owned\x07", Then::Close, "200", b"\x1b[2J\x1b]0;owned\x07", false),
    ] {
        let bytes = [format!("HTTP/1.1 {head}\r\n\r\n").as_bytes(), body].concat();
        let answer = check(bytes, then, status).await.expect("an answer");
        assert_eq!((answer.body.as_slice(), answer.truncated), (kept, truncated), "{head} {body:?}");
    }
    check("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", Then::Hang, "bad_http").await;
}

/// R036, R040, R042–R044: nothing is decompressed, and little is read.
#[tokio::test]
async fn large_bodies_are_cut() {
    for head in ["", "Content-Encoding: gzip\r\n", "Content-Length: 999999999\r\n"] {
        let receiver = Receiver::start(move |mut stream, _| async move {
            read_request(&mut stream).await.expect("a request comes");
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n").as_bytes()).await.expect("the sender reads");
            flood(&mut stream, &[b'x'; 4_096]).await;
        })
        .await;
        let outcome = send(&network(), request(&receiver.http())).await;
        let answer = outcome.result.as_ref().expect("an answer");
        assert_eq!((answer.body.len(), answer.truncated), (ANSWER_KEPT_MAX, true), "{head:?}");
        assert!(outcome.duration < PATIENT, "the flood is not listened to until the deadline");
    }
    let extension = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;{}\r\n", "x".repeat(1_000_000));
    assert!(check(extension, Then::Close, "200").await.is_some_and(|answer| answer.truncated));
    let just_fits =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {ANSWER_KEPT_MAX}\r\n\r\n{}", "x".repeat(ANSWER_KEPT_MAX));
    let answer = check(just_fits, Then::Hang, "200").await.expect("an answer");
    assert_eq!((answer.body.len(), answer.truncated), (ANSWER_KEPT_MAX, false));
}

/// R034, R035: a trickle ends with the deadline, and is what its head says it is.
#[tokio::test]
async fn trickles() {
    for (head, expect) in [("HTTP/1.1 500 X\r\n\r\n", "500"), ("HTTP/1.1 200 OK\r\n", "response_timeout")] {
        let receiver = Receiver::start(move |mut stream, _| async move {
            read_request(&mut stream).await.expect("a request comes");
            stream.write_all(head.as_bytes()).await.expect("the sender reads");
            while stream.write_all(b"a").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let mut outgoing = request(&receiver.http());
        outgoing.timeout = if expect == "500" { ANSWERED } else { SHORT };
        let outcome = send(&network(), outgoing).await;
        assert_eq!(word(&outcome), expect);
        assert!(outcome.duration >= SHORT);
        assert!(outcome.result.ok().is_none_or(|answer| answer.truncated && answer.body.starts_with(b"aaa")));
    }
}

/// R073, R074 and what else can stand in a connection's way.
#[tokio::test]
async fn connections_that_lead_nowhere() {
    let silent = Receiver::start(|stream, _| hang(stream)).await;
    let mut outgoing = request(&silent.http());
    outgoing.timeout = SHORT;
    assert_eq!(word(&send(&network(), outgoing).await), "response_timeout");

    let free = TcpListener::bind("127.0.0.2:0").await.expect("a free port").local_addr().expect("an address");
    let outcome = send(&network(), request(&format!("http://{free}/"))).await;
    assert_eq!((word(&outcome).as_str(), outcome.remote_address), ("connect_refused", Some(free)));

    // A listener whose queue is full answers no SYN, as a firewall that drops them.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.2:0".parse().expect("an address")).expect("loopback can be bound");
    let full = socket.listen(0).expect("a listener");
    let address = full.local_addr().expect("an address");
    let mut waiting = Vec::new();
    while let Ok(connected) = tokio::time::timeout(SHORT, tokio::net::TcpStream::connect(address)).await {
        waiting.push(connected.expect("the queue takes it"));
    }
    let mut outgoing = request(&format!("http://{address}/"));
    outgoing.timeout = SHORT;
    let outcome = send(&network(), outgoing).await;
    assert_eq!((word(&outcome).as_str(), outcome.remote_address), ("connect_timeout", Some(address)));
}

/// R077, R079, R080, R081: endings around a large request.
#[tokio::test]
async fn endings_around_the_request() {
    let large = Bytes::from(vec![b'x'; 200 * 1024]);
    let early = Receiver::start(|mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\nno").await.expect("the sender reads");
        hang(stream).await;
    })
    .await;
    let mut outgoing = request(&early.http());
    outgoing.body = Bytes::from(vec![b'x'; 16 * 1024 * 1024]);
    assert_eq!(word(&send(&network(), outgoing).await), "500", "an early answer is read while the request goes out");

    let resetting = Receiver::start(|stream, _| async move { reset(&stream) }).await;
    let mut outgoing = request(&resetting.http());
    outgoing.body = large.clone();
    assert_eq!(word(&send(&network(), outgoing).await), "connection_reset");

    let half = Receiver::start(|mut stream, _| async move {
        read_request(&mut stream).await.expect("a request comes");
        stream.shutdown().await.expect("half of it can be closed");
        hang(stream).await;
    })
    .await;
    assert_eq!(word(&send(&network(), request(&half.http())).await), "connection_reset");

    let (say, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let whole = Receiver::start(move |mut stream, _| {
        let say = say.clone();
        async move {
            say.send(read_request(&mut stream).await.expect("a request comes")).expect("the test listens");
            tokio::time::sleep(SHORT).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.expect("the sender reads");
        }
    })
    .await;
    let mut outgoing = request(&whole.http());
    outgoing.body = large.clone();
    let outcome = send(&network(), outgoing).await;
    assert_eq!(word(&outcome), "200");
    assert!(outcome.timing.first_byte.is_some_and(|span| span >= SHORT) && outcome.timing.dns.is_none());
    let Request { head, body } = heard.recv().await.expect("it came");
    let host = whole.address;
    assert_eq!(
        head,
        format!(
            "POST /hook?a=b HTTP/1.1\r\nHost: {host}\r\nContent-Length: 204800\r\n\
             X-CronDB-Event: watchlist.domain_changed\r\nX-Key: a b\r\n\r\n"
        )
    );
    assert_eq!(body, large);
}
