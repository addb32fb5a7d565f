//! A receiver on 127.0.0.2 that does what a test tells it to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A listening receiver; it stops when dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Serves each connection by `serve`, which also gets the connection's number, from 1.
    pub(crate) async fn start<F, Served>(serve: F) -> Self
    where
        F: Fn(TcpStream, usize) -> Served + Send + 'static,
        Served: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.2:0").await.expect("loopback can be bound");
        let address = listener.local_addr().expect("a bound socket has an address");
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("connections can be accepted");
                stream.set_nodelay(true).expect("a socket option");
                let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::spawn(serve(stream, number));
            }
        });
        Self { address, accepted, task }
    }

    /// Answers every request on every connection with these bytes.
    pub(crate) async fn answering(bytes: &'static [u8]) -> Self {
        Self::start(move |mut stream, _| async move {
            while read_request(&mut stream).await.is_some() {
                stream.write_all(bytes).await.expect("the sender reads");
            }
        })
        .await
    }

    /// How many connections were accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// A URL in the clear by its address.
    pub(crate) fn http(&self) -> String {
        format!("http://{}/hook?a=b", self.address)
    }

    /// A URL by the name `host`.
    pub(crate) fn named(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}/hook", self.address.port())
    }
}

/// A request as it came: the head with its blank line, and the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// Reads one request; `None` when the connection ends first.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("our requests are text");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap_or_else(|| {
        assert!(head.starts_with("HEAD "), "our requests say a length: {head}");
        "0"
    });
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { head, body })
}

/// Never ends, and keeps the connection open meanwhile.
pub(crate) async fn hang<T>(stream: T) {
    std::future::pending::<()>().await;
    drop(stream);
}

/// Closes with a reset instead of a farewell.
pub(crate) fn reset(stream: &TcpStream) {
    stream.set_zero_linger().expect("a socket option");
}

/// Writes the same bytes for as long as the peer takes them.
pub(crate) async fn flood(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    while stream.write_all(bytes).await.is_ok() {}
}
