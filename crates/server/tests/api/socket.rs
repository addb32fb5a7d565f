//! The accept loop over real sockets: what a head may be, how long it may take, and how serving ends.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::world::{PLATFORM, World};

/// The API on a socket.
struct Served {
    world: World,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

async fn serve() -> Served {
    let (world, app) = World::parts();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server::serve(app, listener, async {
        let _told = stopped.await;
    }));
    Served { world, address, stop, serving }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    /// Sends the bytes, and reads until the server closes.
    async fn until_closed(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.expect("the server reads");
        read_to_end(&mut stream).await
    }
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset ends what came before it as well.
    let _ended =
        tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut text)).await.expect("it is closed");
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads one answer with a `Content-Length`.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    loop {
        let so_far = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = so_far.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            if body.len() >= length.parse().expect("a number") {
                return so_far;
            }
        }
        let mut byte = [0; 1024];
        let read = stream.read(&mut byte).await.expect("the server answers");
        assert!(read > 0, "closed after {so_far}");
        text.extend_from_slice(&byte[..read]);
    }
}

fn event(headers: &str, body: &str) -> String {
    format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {PLATFORM}\r\nContent-Type: application/json\r\n{headers}\r\n{body}"
    )
}

const BODY: &str = r#"{"event":"alert.rule_created","data":{}}"#;

fn with_length(headers: &str) -> String {
    event(&format!("Content-Length: {}\r\n{headers}", BODY.len()), BODY)
}

#[tokio::test]
async fn a_connection_is_kept_for_many_requests() {
    let served = serve().await;
    let mut stream = served.connect().await;
    for _ in 0..3 {
        stream.write_all(with_length("").as_bytes()).await.expect("the server reads");
        let answer = read_answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 202 Accepted\r\n"), "{answer}");
    }
    // Three at once, the last one of which closes.
    let three = with_length("").repeat(2) + &with_length("Connection: close\r\n");
    stream.write_all(three.as_bytes()).await.expect("the server reads");
    assert_eq!(read_to_end(&mut stream).await.matches("HTTP/1.1 202 Accepted").count(), 3);
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused_and_the_connection_closed() {
    let served = serve().await;
    let second = "GET /version HTTP/1.1\r\nHost: x\r\n\r\n";
    for (name, request) in [
        ("length and coding", with_length("Transfer-Encoding: chunked\r\n")),
        (
            "coding and length",
            event(&format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", BODY.len()), "0\r\n\r\n"),
        ),
        ("two lengths", with_length("Content-Length: 3\r\n")),
        ("unknown coding", event("Transfer-Encoding: xchunked\r\n", BODY)),
        ("space before the colon", event("Transfer-Encoding : chunked\r\n", "0\r\n\r\n")),
        ("chunk size in hex notation", event("Transfer-Encoding: chunked\r\n", &format!("0x5\r\n{BODY}\r\n0\r\n\r\n"))),
        ("bare line feed", with_length("").replace("Host: x\r\n", "Host: x\n")),
        ("NUL in a header", with_length("X-A: a\0b\r\n")),
    ] {
        let answer = served.until_closed(format!("{request}{second}").as_bytes()).await;
        let is_problem = answer.starts_with("HTTP/1.1 400 ") && answer.contains("application/problem+json");
        assert!(answer.is_empty() || is_problem, "{name}: {answer}");
        assert_eq!(
            answer.matches("HTTP/1.1").count(),
            usize::from(!answer.is_empty()),
            "{name}: no second request is read"
        );
    }
    let events = served.world.store_events().await;
    assert_eq!(events, 0, "nothing was accepted");
}

/// RFC 9112, section 3.2, whatever is asked for; of two hosts one may have been meant by who looked before.
#[tokio::test]
async fn a_request_that_does_not_name_its_host_once_is_refused_and_told_why() {
    let served = serve().await;
    let head = |path: &str, version: &str, hosts: &str| {
        format!("GET {path} HTTP/{version}\r\n{hosts}Authorization: Bearer {PLATFORM}\r\n")
    };
    let second = "GET /version HTTP/1.1\r\nHost: x\r\n\r\n";
    for path in ["/livez", "/readyz", "/", "/metrics", "/v1/accounts", "/v1/accounts/default/stream", "/nowhere"] {
        for (version, hosts, said) in [
            ("1.1", "", "The header Host is missing"),
            ("1.1", "Host: x\r\nhost: x\r\n", "The header Host is there more than once"),
            ("1.0", "Host: x\r\nHost: y\r\n", "The header Host is there more than once"),
        ] {
            let request = format!("{}\r\n{second}", head(path, version, hosts));
            let answer = served.until_closed(request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400 ") && answer.matches("HTTP/1.1").count() == 1, "{path}: {answer}");
            let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
            assert!(head.contains("content-type: application/problem+json"), "{path}: {head}");
            let body: serde_json::Value = serde_json::from_str(body).expect("a document");
            assert_eq!(body["code"], "http_invalid", "{path}: {body}");
            let detail = body["detail"].as_str().expect("words");
            assert!(detail.starts_with(said) && detail.contains("send it once"), "{path}: {detail}");
        }
    }
    // HTTP/1.0 had no such header.
    for hosts in ["", "Host: x\r\n"] {
        let answer = served.until_closed(format!("{}\r\n", head("/livez", "1.0", hosts)).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_chunked_body_is_taken_and_is_the_connection_s_last() {
    let served = serve().await;
    let chunks = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    let answer = served.until_closed(event("Transfer-Encoding: chunked\r\n", &chunks).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 202 Accepted\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn whoever_expects_to_be_told_to_go_on_is_told() {
    let served = serve().await;
    let mut stream = served.connect().await;
    let head = event(&format!("Content-Length: {}\r\nExpect: 100-continue\r\n", BODY.len()), "");
    stream.write_all(head.as_bytes()).await.expect("the server reads");
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.expect("an interim answer");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(BODY.as_bytes()).await.expect("the server reads");
    assert!(read_answer(&mut stream).await.starts_with("HTTP/1.1 202 "));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let served = serve().await;
    let answer = served.until_closed(event("Content-Length: 104857600\r\n", "").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("application/problem+json"), "{answer}");
}

#[tokio::test]
async fn a_key_that_is_too_long_for_a_head_is_refused() {
    let served = serve().await;
    let request =
        format!("GET /v1/accounts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", "a".repeat(1 << 20));
    let mut stream = served.connect().await;
    let (mut reading, mut writing) = stream.split();
    let mut answer = Vec::new();
    // The server may close before it has read everything.
    let (_sent, _read) = tokio::join!(writing.write_all(request.as_bytes()), reading.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn who_leaves_in_the_middle_of_a_body_stores_nothing() {
    let served = serve().await;
    let request = with_length("");
    let mut stream = served.connect().await;
    stream.write_all(&request.as_bytes()[..request.len() - 5]).await.expect("the server reads");
    stream.shutdown().await.expect("closed");
    read_to_end(&mut stream).await;
    assert_eq!(served.world.store_events().await, 0);
}

#[tokio::test]
async fn serving_ends_streams_and_idle_connections_and_lets_answers_out() {
    let served = serve().await;
    let mut idle = served.connect().await;
    idle.write_all(with_length("").as_bytes()).await.expect("the server reads");
    read_answer(&mut idle).await;
    let mut stream = served.connect().await;
    let request =
        format!("GET /v1/accounts/default/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {PLATFORM}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the server reads");
    let mut first = [0; 16];
    stream.read_exact(&mut first).await.expect("the stream begins");
    served.stop.send(()).expect("it serves");
    tokio::time::timeout(Duration::from_secs(5), served.serving)
        .await
        .expect("within the drain's time")
        .expect("no panic");
    read_to_end(&mut idle).await;
    assert!(read_to_end(&mut stream).await.contains("retry: 2000"));
    assert!(TcpStream::connect(served.address).await.is_err(), "nobody listens any more");
}
