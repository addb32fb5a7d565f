//! A stream that refuses what the HTTP parser behind it would tolerate (see `framing`), and closes connections on which
//! nothing moves, or on which a head takes too long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::framing::{Fault, Framing};

/// How long a head may take from its first byte.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection may rest.
const IDLE_TIME: Duration = Duration::from_secs(75);
/// What the parser's own refusal, which has no body, is replaced by: a status line, and this.
const REFUSAL: &str = concat!(
    r#"{"type":"urn:posthaste:problem:http_invalid","title":"Refused","status":STATUS,"detail":"DETAIL The connection is "#,
    r#"closed.","code":"http_invalid","request_id":"req_unread"}"#
);
/// What there is to say of what the parser refused by itself.
const UNKNOWN: &str = "The request's head is not valid HTTP, is too large, or could be read in two ways.";

/// The problem document that goes out in place of a refusal of the parser, with its head; `None` for any other bytes.
fn refusal(bytes: &[u8], fault: Option<Fault>) -> Option<Vec<u8>> {
    if !bytes.starts_with(b"HTTP/1.1 4") && !bytes.starts_with(b"HTTP/1.1 5") {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?.to_ascii_lowercase();
    let status = text.get(9..12)?;
    // Every refusal of ours has a document, and says so.
    let is_bare =
        text.ends_with("\r\n\r\n") && text.contains("\r\ncontent-length: 0\r\n") && !text.contains("\r\ncontent-type:");
    if !is_bare {
        return None;
    }
    let body = REFUSAL.replace("STATUS", status).replace("DETAIL", fault.map_or(UNKNOWN, Fault::detail));
    let head = format!(
        "HTTP/1.1 {status} Refused\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    Some((head + &body).into_bytes())
}

/// The stream of a connection, followed and timed.
pub(crate) struct StrictHead<S> {
    stream: S,
    framing: Framing,
    timer: Pin<Box<Sleep>>,
    /// When something last moved.
    moved: Instant,
    /// Whether anything has come yet: who connects is to say something as soon as a head has to be said.
    silent: bool,
    /// Since when the present head has been coming.
    head_since: Option<Instant>,
    /// What is left to write in place of the parser's last words.
    farewell: Vec<u8>,
}

impl<S> StrictHead<S> {
    pub(crate) fn new(stream: S) -> Self {
        let moved = Instant::now();
        let timer = Box::pin(tokio::time::sleep_until(moved + HEAD_TIME));
        Self { stream, framing: Framing::new(), timer, moved, silent: true, head_since: None, farewell: Vec::new() }
    }

    /// Whether the connection has rested, or the head has taken, too long.
    fn too_long(&mut self, cx: &mut Context<'_>) -> bool {
        let idle = self.moved + if self.silent { HEAD_TIME } else { IDLE_TIME };
        let deadline = self.head_since.map_or(idle, |since| idle.min(since + HEAD_TIME));
        // The timer is moved only when it rings, or would ring too late: not with every request.
        if self.timer.deadline() > deadline {
            self.timer.as_mut().reset(deadline);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return true;
            }
            self.timer.as_mut().reset(deadline);
        }
        false
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StrictHead<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.framing.fault().is_some() {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            // Nothing filled is the end of the stream: the parser closes the connection.
            Poll::Pending if this.too_long(cx) => return Poll::Ready(Ok(())),
            Poll::Pending => return Poll::Pending,
        }
        this.moved = Instant::now();
        this.silent = false;
        if let Err(refused) = this.framing.follow(&buf.filled()[before..]) {
            // A byte that no head may hold takes the place of the offending one: the parser answers 400 and closes.
            let at = before + refused.at;
            buf.filled_mut()[at] = 0;
            buf.set_filled(at + 1);
        }
        this.head_since = this.framing.in_head().then(|| this.head_since.unwrap_or(this.moved));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> StrictHead<S> {
    /// Takes the parser's own refusal, to write a better one.
    fn takes_refusal(&mut self, bytes: &[u8]) -> bool {
        match refusal(bytes, self.framing.fault()) {
            Some(farewell) => {
                self.farewell = farewell;
                true
            }
            None => false,
        }
    }

    /// Writes what is left of the last words.
    fn say_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.farewell.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.farewell) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => drop(self.farewell.drain(..written)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn written(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.silent = false;
        match result {
            Poll::Ready(result) => {
                self.moved = Instant::now();
                Poll::Ready(result)
            }
            // Who takes nothing of an answer for so long is gone.
            Poll::Pending if self.too_long(cx) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StrictHead<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.takes_refusal(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.written(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let [only] = slices
            && this.takes_refusal(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        std::task::ready!(this.say_farewell(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        std::task::ready!(this.say_farewell(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    /// Reads to the end; what was read, and after how many seconds it ended.
    async fn read_to_end(stream: &mut StrictHead<tokio::io::DuplexStream>) -> (Vec<u8>, u64) {
        let start = Instant::now();
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.expect("an end, not a fault");
        (read, start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_ten_seconds_from_its_first_byte_however_it_trickles() {
        let (mut client, server) = duplex(1024);
        let mut stream = StrictHead::new(server);
        let trickle = async {
            for byte in b"GET / HTTP/1.1\r\nHost: example.com\r\n" {
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                client.write_all(&[*byte]).await.expect("the server reads");
            }
        };
        tokio::select! {
            (read, seconds) = read_to_end(&mut stream) => assert_eq!((read.len(), seconds), (7, 11)),
            () = trickle => unreachable!("the server reads for ever"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_rest_between_requests_and_not_for_ever() {
        let (mut client, server) = duplex(1024);
        let mut stream = StrictHead::new(server);
        let request = b"GET / HTTP/1.0\r\n\r\n";
        client.write_all(request).await.expect("room");
        let mut first = [0; 18];
        stream.read_exact(&mut first).await.expect("a request");
        tokio::time::sleep(Duration::from_secs(60)).await;
        stream.write_all(b"an answer").await.expect("room");
        assert_eq!(read_to_end(&mut stream).await, (Vec::new(), 75), "counted from the answer");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_of_an_answer_is_given_up() {
        let (_client, server) = duplex(16);
        let mut stream = StrictHead::new(server);
        let start = Instant::now();
        let fault = stream.write_all(&[0; 64]).await.expect_err("nobody reads");
        assert_eq!((fault.kind(), start.elapsed().as_secs()), (io::ErrorKind::TimedOut, 75));
    }

    #[tokio::test]
    async fn the_parser_s_bare_refusal_becomes_a_document_and_nothing_else_is_touched() {
        let (mut client, server) = duplex(4096);
        let mut stream = StrictHead::new(server);
        let ours = b"HTTP/1.1 404 Not Found\r\ncontent-type: application/problem+json\r\ncontent-length: 0\r\n\r\n";
        let empty = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        for bytes in [&ours[..], empty, b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: x\r\n\r\n"] {
            stream.write_all(bytes).await.expect("room");
        }
        stream.shutdown().await.expect("an end");
        drop(stream);
        let mut read = String::new();
        client.read_to_string(&mut read).await.expect("text");
        let rest =
            read.strip_prefix(std::str::from_utf8(&[&ours[..], empty].concat()).expect("text")).expect("untouched");
        let (head, body) = rest.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 400 ") && head.contains(&format!("content-length: {}", body.len())));
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!((&body["status"], &body["code"]), (&400.into(), &"http_invalid".into()));
    }

    #[tokio::test]
    async fn a_refused_head_ends_in_a_byte_that_no_head_may_hold() {
        let (mut client, server) = duplex(1024);
        let mut stream = StrictHead::new(server);
        client.write_all(b"GET / HTTP/1.1\nHost: x\r\n\r\n").await.expect("room");
        assert_eq!(read_to_end(&mut stream).await.0, b"GET / HTTP/1.1\0");
    }
}
