//! Receivers on loopback that play a script: what they do before TLS, how much of a request they read, and what they
//! answer, byte by byte. They keep every request.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use serde_json::Value;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Something that a receiver does.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Sends these bytes.
    Write(Vec<u8>),
    /// Waits.
    Pause(Duration),
    /// Waits until a test opens this.
    Gate(tokio::sync::watch::Receiver<bool>),
    /// Sends these bytes one by one, over and over, with a pause after each.
    Trickle(Vec<u8>, Duration),
    /// Sends these bytes over and over, as fast as they are taken.
    Flood(Vec<u8>),
    /// Ends its direction; the other one stays open.
    HalfClose,
    /// Ends the connection with a reset.
    Reset,
    /// Ends the connection.
    Close,
    /// Does nothing until the other side ends the connection.
    Hang,
}

/// How much of a request is read before the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// All of it.
    Whole,
    /// About this many bytes.
    Part(usize),
}

/// Chooses what to do with a request.
pub(crate) type Answer = Arc<dyn Fn(&Request) -> Vec<Step> + Send + Sync>;

/// What a receiver does with each connection.
#[derive(Clone)]
pub(crate) struct Script {
    /// Before anything else.
    pub(crate) before_tls: Vec<Step>,
    /// `None` for no TLS.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// After TLS.
    pub(crate) before_request: Vec<Step>,
    /// How much of each request is read.
    pub(crate) reading: Reading,
    /// What is done then; the connection stays open after it, unless it says otherwise.
    pub(crate) answer: Answer,
}

impl Script {
    /// Reads each request and chooses its answer.
    pub(crate) fn choosing(tls: Option<Arc<ServerConfig>>, answer: Answer) -> Self {
        Self { before_tls: Vec::new(), tls, before_request: Vec::new(), reading: Reading::Whole, answer }
    }

    /// Reads each request and does always the same.
    pub(crate) fn answering(tls: Option<Arc<ServerConfig>>, steps: Vec<Step>) -> Self {
        Self::choosing(tls, Arc::new(move |_| steps.clone()))
    }
}

/// An answer without a body.
pub(crate) fn status(code: u16) -> Vec<Step> {
    vec![Step::Write(format!("HTTP/1.1 {code} X\r\nContent-Length: 0\r\n\r\n").into_bytes())]
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Where it came from.
    pub(crate) peer: SocketAddr,
    /// The request line and the headers, as they came.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Method, target, version.
    pub(crate) fn line(&self) -> &str {
        self.head.split("\r\n").next().unwrap_or_default()
    }

    /// The path and query.
    pub(crate) fn path(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }

    /// Every header, names as they came.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.head
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name, value.trim()))
    }

    /// The value of a header, whatever the case of its name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The delivery that it belongs to.
    pub(crate) fn delivery(&self) -> &str {
        self.header("webhook-id").unwrap_or_default()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// What a receiver has seen.
#[derive(Debug, Default)]
struct Log {
    connections: AtomicUsize,
    /// Bytes that came after TLS, requests or not.
    read: AtomicU64,
    /// Bytes that were sent by [`Step::Flood`].
    flooded: AtomicU64,
    /// Connections that have ended.
    ended: AtomicUsize,
    requests: Mutex<Vec<Request>>,
}

/// A receiver; it plays its script as long as the runtime lives.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    log: Arc<Log>,
}

impl Receiver {
    /// Starts one on a free port of `127.0.0.2`, the "public" address of the tests.
    pub(crate) async fn start(script: Script) -> Self {
        Self::start_at("127.0.0.2:0", script).await
    }

    /// Starts one on this address.
    pub(crate) async fn start_at(address: &str, script: Script) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port of loopback");
        Self::serve(listener, script)
    }

    /// Starts one on which no connection comes about before `release`: its queue is full, and SYNs are dropped.
    pub(crate) async fn start_crowded(script: Script, release: impl Future<Output = ()> + Send + 'static) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any: SocketAddr = "127.0.0.2:0".parse().expect("an address");
        socket.bind(&any.into()).expect("a port of loopback");
        socket.listen(0).expect("it listens");
        socket.set_nonblocking(true).expect("non-blocking");
        let listener = TcpListener::from_std(socket.into()).expect("a listener");
        let address = listener.local_addr().expect("an address");
        // Connections that nobody accepts fill the queue; those that wait for a place tell that it is full.
        let mut crowd = Vec::new();
        while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            crowd.push(stream);
        }
        let receiver = Self { address, log: Arc::default() };
        let log = Arc::clone(&receiver.log);
        tokio::spawn(async move {
            release.await;
            for _ in &crowd {
                let _one_of_the_crowd = listener.accept().await;
            }
            drop(crowd);
            accept(listener, script, log).await;
        });
        receiver
    }

    fn serve(listener: TcpListener, script: Script) -> Self {
        let address = listener.local_addr().expect("an address");
        let log = Arc::<Log>::default();
        tokio::spawn(accept(listener, script, Arc::clone(&log)));
        Self { address, log }
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections came.
    pub(crate) fn connections(&self) -> usize {
        self.log.connections.load(Ordering::SeqCst)
    }

    /// How many connections have ended.
    pub(crate) fn ended(&self) -> usize {
        self.log.ended.load(Ordering::SeqCst)
    }

    /// Waits until every connection has ended, as those of a dead process do.
    pub(crate) async fn let_go(&self) {
        let over = async || (self.ended() == self.connections()).then_some(());
        crate::wait::until("the end of its connections", Duration::from_secs(20), over).await;
    }

    /// How many bytes came after TLS.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.log.read.load(Ordering::SeqCst)
    }

    /// How many bytes [`Step::Flood`] could send.
    pub(crate) fn bytes_flooded(&self) -> u64 {
        self.log.flooded.load(Ordering::SeqCst)
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The requests so far that `wanted` chooses.
    pub(crate) fn requests_where(&self, wanted: impl Fn(&Request) -> bool) -> Vec<Request> {
        let requests = self.log.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().filter(|request| wanted(request)).cloned().collect()
    }
}

async fn accept(listener: TcpListener, script: Script, log: Arc<Log>) {
    while let Ok((stream, peer)) = listener.accept().await {
        log.connections.fetch_add(1, Ordering::SeqCst);
        let (script, log) = (script.clone(), Arc::clone(&log));
        tokio::spawn(async move {
            // However it ends: the script has been played.
            let _played = converse(stream, peer, &script, &log).await;
            log.ended.fetch_add(1, Ordering::SeqCst);
        });
    }
}

/// Why a connection is not served on: the script, or the other side, ended it.
struct Over;

/// One connection of a receiver.
enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

impl Connection {
    fn bytes(&mut self) -> &mut dyn Bytes {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.as_mut(),
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    async fn play(&mut self, steps: Vec<Step>, log: &Log) -> Result<(), Over> {
        for step in steps {
            match step {
                Step::Write(bytes) => self.write(&bytes).await?,
                Step::Pause(span) => tokio::time::sleep(span).await,
                // The test is over when nobody can open it any more.
                Step::Gate(mut gate) => {
                    gate.wait_for(|open| *open).await.map_err(|_| Over)?;
                }
                Step::Trickle(bytes, pause) => loop {
                    for byte in &bytes {
                        self.write(&[*byte]).await?;
                        tokio::time::sleep(pause).await;
                    }
                },
                Step::Flood(bytes) => loop {
                    self.write(&bytes).await?;
                    log.flooded.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                },
                Step::HalfClose => {
                    let _gone_already = self.bytes().shutdown().await;
                }
                Step::Reset => {
                    SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO)).map_err(|_| Over)?;
                    return Err(Over);
                }
                Step::Close => return Err(Over),
                Step::Hang => {
                    let mut buffer = [0; 4096];
                    while self.bytes().read(&mut buffer).await.is_ok_and(|read| read > 0) {}
                    return Err(Over);
                }
            }
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Over> {
        self.bytes().write_all(bytes).await.map_err(|_| Over)?;
        self.bytes().flush().await.map_err(|_| Over)
    }
}

async fn converse(stream: TcpStream, peer: SocketAddr, script: &Script, log: &Log) -> Result<(), Over> {
    let mut plain = Connection::Plain(stream);
    plain.play(script.before_tls.clone(), log).await?;
    let connection = match (&script.tls, plain) {
        (Some(tls), Connection::Plain(stream)) => {
            let stream = TlsAcceptor::from(Arc::clone(tls)).accept(stream).await.map_err(|_| Over)?;
            Connection::Tls(Box::new(stream))
        }
        (_, connection) => connection,
    };
    serve(connection, peer, script, log).await
}

async fn serve(mut connection: Connection, peer: SocketAddr, script: &Script, log: &Log) -> Result<(), Over> {
    connection.play(script.before_request.clone(), log).await?;
    let mut buffer = Vec::new();
    loop {
        let most = match script.reading {
            Reading::Whole => usize::MAX,
            Reading::Part(bytes) => bytes,
        };
        let (head, body) = read_request(&mut connection, &mut buffer, most, log).await?;
        let request = Request { peer, head, body };
        let steps = (script.answer)(&request);
        log.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        connection.play(steps, log).await?;
    }
}

/// Reads one request, or about `most` bytes of it; what follows stays in `buffer`.
async fn read_request(
    connection: &mut Connection,
    buffer: &mut Vec<u8>,
    most: usize,
    log: &Log,
) -> Result<(String, Vec<u8>), Over> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let length = head.split("\r\n").filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            let whole = end + 4 + length.unwrap_or(0);
            if buffer.len() >= whole || buffer.len() >= most {
                let rest = buffer.split_off(whole.min(buffer.len()));
                let body = std::mem::replace(buffer, rest).split_off(end + 4);
                return Ok((head, body));
            }
        }
        let read = connection.bytes().read_buf(buffer).await.map_err(|_| Over)?;
        if read == 0 {
            return Err(Over);
        }
        log.read.fetch_add(read as u64, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::wait;

    async fn exchange(receiver: &Receiver, request: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(receiver.address).await?;
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    }

    const REQUEST: &[u8] = b"POST /x HTTP/1.1\r\nwebhook-id: dlv_1\r\nContent-Length: 2\r\n\r\n{}";

    #[tokio::test]
    async fn receivers_play_their_scripts_and_keep_requests() {
        let closing = vec![Step::Write(b"abc".to_vec()), Step::Close];
        let receiver = Receiver::start(Script::answering(None, closing)).await;
        assert_eq!(exchange(&receiver, REQUEST).await.expect("an answer"), b"abc");
        let requests = receiver.requests();
        assert_eq!(
            (requests[0].path(), requests[0].delivery(), requests[0].body.as_slice()),
            ("/x", "dlv_1", &b"{}"[..])
        );
        assert_eq!((receiver.connections(), receiver.bytes_read()), (1, REQUEST.len() as u64));

        let resetting = Receiver::start(Script::answering(None, vec![Step::Write(b"a".to_vec()), Step::Reset])).await;
        let error = exchange(&resetting, REQUEST).await.expect_err("a reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

        let flood =
            Script { reading: Reading::Part(1), ..Script::answering(None, vec![Step::Flood(vec![b'x'; 65_536])]) };
        let flooding = Receiver::start(flood).await;
        let mut stream = TcpStream::connect(flooding.address).await.expect("a connection");
        stream.write_all(REQUEST).await.expect("sent");
        let mut some = vec![0; 1_000_000];
        stream.read_exact(&mut some).await.expect("as much as is wanted");
        drop(stream);
        wait::until("the flood's end", Duration::from_secs(5), async || (flooding.ended() == 1).then_some(())).await;
        assert!(flooding.bytes_flooded() >= 900_000);
    }

    #[tokio::test]
    async fn a_crowded_receiver_takes_no_connection_until_it_is_released() {
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let script = Script::answering(None, vec![Step::Write(b"ok".to_vec()), Step::Close]);
        let receiver = Receiver::start_crowded(script, async move {
            let _either_way = released.await;
        })
        .await;
        let early = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(receiver.address)).await;
        assert!(early.is_err(), "SYNs are dropped");
        release.send(()).expect("it waits");
        let answer = tokio::time::timeout(Duration::from_secs(10), exchange(&receiver, REQUEST)).await;
        assert_eq!(answer.expect("in time").expect("an answer"), b"ok");
    }
}
