//! One exchange over HTTP/1.1, in the caller's own task: the request is written while the answer is read, so that an
//! answer that comes early is not lost.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use domain::attempt::{ANSWER_READ_MAX, Answer, ErrorCode, Failure, KEPT_CONNECTION};
use domain::endpoint_url::EndpointUrl;
use domain::transport::Outgoing;
use tokio::io::AsyncWrite as _;
use tokio::time::Instant;

use crate::attempt::{Progress, Stage};
use crate::body::{Body, BodyReader};
use crate::buffer::Buffer;
use crate::head::{Head, HeadReader, Parsed, write_look, write_request};
use crate::stream::Stream;
use crate::tls;

/// A body up to this size goes out in one piece with its head; copying it is cheaper than a second packet.
const COPIED_MAX: usize = 16 * 1024;
/// So many interim answers are read in one go; then the deadline is looked at again.
const INTERIM_AT_ONCE: usize = 32;
/// The most bytes of interim answers (1xx) that are read past.
const INTERIM_MAX: usize = 512 * 1024;
/// A peer that closes a connection this soon after an answer does not mean to keep it.
const CLOSED_AT_ONCE: Duration = Duration::from_secs(1);
/// A connection is used for this long at most, so that a receiver that moves or takes a server out is followed within a minute.
pub(crate) const LIFETIME_MAX: Duration = Duration::from_secs(60);

/// A connection that can carry one request after the other.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    pub(crate) peer: SocketAddr,
    /// From then on no request is sent over it.
    until: Instant,
    /// The same, by what the peer said about idle connections with its last answer.
    idle_until: Instant,
    /// When the last answer was complete; `None` before the first.
    answered_at: Option<Instant>,
    buffer: Buffer,
    /// The request's bytes; kept for the next one.
    out: Vec<u8>,
}

/// Why an exchange brought no answer.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The peer had closed the connection before a byte of the request went out: another one may carry it.
    NotSent,
    /// The attempt has failed.
    Failed(Failure),
}

impl Broken {
    /// The same, on a connection that has carried an answer before.
    fn on_kept(self) -> Self {
        match self {
            Self::Failed(Failure { code: ErrorCode::ConnectionReset, .. }) => {
                Self::Failed(Failure { code: ErrorCode::ConnectionReset, detail: KEPT_CONNECTION.to_owned() })
            }
            other @ (Self::NotSent | Self::Failed(_)) => other,
        }
    }
}

/// How the read side ended before a head was complete.
enum Ended {
    Closed,
    Error(io::Error),
}

impl Connection {
    pub(crate) fn new(stream: Stream, peer: SocketAddr) -> Self {
        let until = Instant::now() + LIFETIME_MAX;
        Self { stream, peer, until, idle_until: until, answered_at: None, buffer: Buffer::new(), out: Vec::new() }
    }

    /// Whether another request may go over it: not too old, and the peer has neither closed it nor sent anything.
    pub(crate) fn is_usable(&mut self, now: Instant) -> bool {
        // Nothing is awaited here: only what the reactor already knows counts.
        let mut cx = Context::from_waker(Waker::noop());
        now < self.until.min(self.idle_until)
            && self.buffer.poll_fill(&mut cx, &mut self.stream).is_pending()
            && !self.stream.holds_unread()
    }

    /// Whether a connection that is not usable at `now` was closed as soon as it was kept.
    pub(crate) fn was_closed_at_once(&self, now: Instant) -> bool {
        now < self.until.min(self.idle_until) && self.answered_at.is_some_and(|at| now - at < CLOSED_AT_ONCE)
    }

    /// Sends `request`, and reads the answer into `progress`, its body as far as limits and deadline allow. Says whether
    /// the connection may carry another request.
    pub(crate) async fn exchange(&mut self, request: &Outgoing, progress: &mut Progress) -> Result<bool, Broken> {
        progress.enter(Stage::Answer);
        self.out.clear();
        write_request(&mut self.out, request);
        let mut tail: &[u8] = &request.body;
        if tail.len() <= COPIED_MAX {
            self.out.extend_from_slice(tail);
            tail = &[];
        }
        let is_kept = self.answered_at.is_some();
        let answered = self.send_and_read_head(tail).await;
        let (head, all_sent) = answered.map_err(|broken| if is_kept { broken.on_kept() } else { broken })?;
        progress.leave();
        self.idle_until = Instant::now() + head.idle_max.unwrap_or(LIFETIME_MAX);
        // Until the end is seen, something is missing.
        let answer = Answer { status: head.status, headers: head.headers, body: Vec::new(), truncated: true };
        let answer = progress.answer.insert(answer);
        let ended = self.read_body(BodyReader::new(head.framing), answer).await;
        self.answered_at = Some(Instant::now());
        Ok(ended && head.keep_alive && all_sent && self.rest())
    }

    /// Asks for the head of an answer, and reads it. The connection ends with that.
    pub(crate) async fn look(mut self, url: &EndpointUrl, headers: &[(String, String)]) -> Result<Head, Broken> {
        self.out.clear();
        write_look(&mut self.out, url, headers);
        Ok(self.send_and_read_head(&[]).await?.0)
    }

    /// Puts it into the state in which it waits for the next request; false if it holds bytes that nobody asked for.
    fn rest(&mut self) -> bool {
        let is_clean = self.buffer.unread().is_empty();
        self.buffer.reset();
        self.out.clear();
        self.out.shrink_to(COPIED_MAX);
        is_clean
    }

    /// Writes the request, which is `self.out` and then `tail`, and reads until the head of the answer is complete. Also
    /// says whether all was written by then.
    async fn send_and_read_head(&mut self, tail: &[u8]) -> Result<(Head, bool), Broken> {
        let Self { stream, buffer, out, .. } = self;
        let mut writer = Writer { parts: [out, tail], sent: 0, state: Writing::More };
        let mut reader = HeadReader::default();
        let mut interim = 0;
        std::future::poll_fn(|cx| {
            if writer.state != Writing::Done && writer.poll(cx, stream).is_err_and(|not_sent| not_sent) {
                return Poll::Ready(Err(Broken::NotSent));
            }
            let mut at_once = 0;
            loop {
                match reader.read(buffer.unread()) {
                    Ok(Parsed::Final(length, head)) => {
                        buffer.consume(length);
                        return Poll::Ready(Ok((head, writer.state == Writing::Done)));
                    }
                    Ok(Parsed::Interim(length)) => {
                        buffer.consume(length);
                        interim += length;
                        if interim > INTERIM_MAX {
                            return Poll::Ready(Err(bad_http("interim answers (1xx) without end")));
                        }
                        at_once += 1;
                        if at_once == INTERIM_AT_ONCE {
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        continue;
                    }
                    Ok(Parsed::Incomplete) if buffer.is_full() => {
                        return Poll::Ready(Err(bad_http("its head is larger than 64 KiB")));
                    }
                    Ok(Parsed::Incomplete) => {}
                    Err(why) => return Poll::Ready(Err(bad_http(&why))),
                }
                match buffer.poll_fill(cx, stream) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(no_head(Ended::Closed, interim))),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(no_head(Ended::Error(error), interim))),
                }
            }
        })
        .await
    }

    /// Reads the body; true if it ended where it should, and within the limit. What goes wrong here changes no verdict.
    async fn read_body(&mut self, mut reader: BodyReader, answer: &mut Answer) -> bool {
        let Self { stream, buffer, .. } = self;
        let mut read = 0;
        loop {
            let (body, taken) = reader.take(buffer.unread(), &mut answer.body);
            buffer.consume(taken);
            read += taken;
            match body {
                Body::Ended => {
                    answer.truncated = reader.passed() > answer.body.len();
                    return true;
                }
                Body::Broken => return false,
                Body::Unfinished if read >= ANSWER_READ_MAX => return false,
                Body::Unfinished => {}
            }
            let closed = match std::future::poll_fn(|cx| buffer.poll_fill(cx, stream)).await {
                Ok(count) => count == 0,
                // Many servers leave out TLS's own farewell.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => true,
                Err(_) => return false,
            };
            if closed {
                answer.truncated = !reader.ends_with_connection() || reader.passed() > answer.body.len();
                return false;
            }
        }
    }
}

fn bad_http(why: &str) -> Broken {
    Broken::Failed(Failure { code: ErrorCode::BadHttp, detail: why.to_owned() })
}

/// What it means that the connection ended before a head was complete.
fn no_head(ended: Ended, interim: usize) -> Broken {
    let (code, detail) = match ended {
        Ended::Closed if interim > 0 => (ErrorCode::BadHttp, "an interim answer (1xx) was its last word".to_owned()),
        Ended::Error(error) if tls::is_fault(&error) => return Broken::Failed(tls::failure(&error)),
        Ended::Closed | Ended::Error(_) => (ErrorCode::ConnectionReset, String::new()),
    };
    Broken::Failed(Failure { code, detail })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    More,
    Flush,
    /// Everything is on its way.
    Done,
    /// The peer takes no more; it may still have answered.
    Refused,
}

/// Writes the parts of a request, as far as the peer takes them.
struct Writer<'a> {
    parts: [&'a [u8]; 2],
    sent: usize,
    state: Writing,
}

impl Writer<'_> {
    /// Writes what can be written now. `Err(true)` if the very first byte was refused.
    fn poll(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Result<(), bool> {
        let [head, tail] = self.parts;
        loop {
            let polled = match self.state {
                Writing::Done | Writing::Refused => return Ok(()),
                Writing::Flush => Pin::new(&mut *stream).poll_flush(cx).map_ok(|()| 0),
                Writing::More => {
                    let left =
                        if self.sent < head.len() { &head[self.sent..] } else { &tail[self.sent - head.len()..] };
                    Pin::new(&mut *stream).poll_write(cx, left)
                }
            };
            match polled {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(count)) => {
                    self.sent += count;
                    let all = self.sent == head.len() + tail.len();
                    self.state = match self.state {
                        Writing::Flush => Writing::Done,
                        Writing::More if all => Writing::Flush,
                        Writing::More if count > 0 => Writing::More,
                        Writing::More | Writing::Done | Writing::Refused => Writing::Refused,
                    };
                }
                Poll::Ready(Err(_)) => {
                    self.state = Writing::Refused;
                    return if self.sent == 0 { Err(true) } else { Err(false) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use domain::endpoint_url::EndpointUrl;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A peer that closes connections 11 s after its last answer is sent nothing 10 s after it.
    #[tokio::test]
    async fn the_peer_s_idle_limit_counts_from_its_last_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback can be bound");
        let address = listener.local_addr().expect("an address");
        let near = TcpStream::connect(address).await.expect("it listens");
        let (mut far, _) = listener.accept().await.expect("a connection");
        let mut connection = Connection::new(Stream::Plain(near), address);
        let url = EndpointUrl::stored(&format!("http://{address}/")).expect("a URL");
        let request = Outgoing {
            url: Arc::new(url),
            headers: Vec::new(),
            body: Bytes::new(),
            timeout: Duration::from_secs(5),
            http2: false,
        };
        for (line, idle) in [("Keep-Alive: timeout=11\r\n", 10), ("Keep-Alive: timeout=21\r\n", 20), ("", 59)] {
            let answer = format!("HTTP/1.1 200 OK\r\n{line}Content-Length: 0\r\n\r\n");
            far.write_all(answer.as_bytes()).await.expect("it is read");
            let mut progress = Progress::new(Instant::now());
            assert!(connection.exchange(&request, &mut progress).await.expect("an answer"), "it can go on");
            let usable_after = |connection: &mut Connection, seconds: u64| {
                connection.is_usable(Instant::now() + Duration::from_secs(seconds))
            };
            assert!(usable_after(&mut connection, idle - 1) && !usable_after(&mut connection, idle + 1), "{line}");
        }
    }
}
