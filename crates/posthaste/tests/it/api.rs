//! A client of the API: HTTP/1.1 written and read by hand, so that what is malformed can be sent too.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// After so long an answer will not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The API of a server, called with one key, or with none.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    key: Option<Arc<str>>,
    from: IpAddr,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// The status code.
    pub(crate) status: u16,
    /// The headers as they came.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Api {
    /// The API at `address`, called with `key`.
    pub(crate) fn new(address: SocketAddr, key: &str) -> Self {
        Self { address, key: Some(key.into()), from: "127.0.0.1".parse().expect("an address") }
    }

    /// The same API, called with another key.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.into()), ..self.clone() }
    }

    /// The same API, called without a key.
    pub(crate) fn without_key(&self) -> Self {
        Self { key: None, ..self.clone() }
    }

    /// The same API, called from another address of this machine.
    pub(crate) fn from(&self, address: &str) -> Self {
        Self { from: address.parse().expect("an address"), ..self.clone() }
    }

    /// The key that it is called with; empty without one.
    pub(crate) fn key(&self) -> &str {
        self.key.as_deref().unwrap_or_default()
    }

    /// A connection to it.
    pub(crate) async fn connect(&self) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.from, 0))?;
        socket.connect(self.address).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &[], body.to_string().as_bytes()).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Reply {
        self.send("PATCH", path, &[], body.to_string().as_bytes()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], b"").await
    }

    /// Sends a request; a body is JSON unless `headers` say otherwise.
    ///
    /// # Panics
    /// When no answer comes.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let sent = self.try_send(method, path, headers, body).await;
        sent.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// As [`Self::send`].
    ///
    /// # Errors
    /// When no answer comes.
    pub(crate) async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Reply> {
        let given = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        if let Some(key) = self.key.as_ref().filter(|_| !given("authorization")) {
            head.push_str(&format!("Authorization: Bearer {key}\r\n"));
        }
        if !body.is_empty() && !given("content-type") {
            head.push_str("Content-Type: application/json\r\n");
        }
        if !body.is_empty() || !matches!(method, "GET" | "TRACE" | "OPTIONS") {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.raw(&[head.as_bytes(), body]).await
    }

    /// Sends `parts` as they are and reads one answer.
    ///
    /// # Errors
    /// When the connection ends without an answer, or none comes in time.
    pub(crate) async fn raw(&self, parts: &[&[u8]]) -> io::Result<Reply> {
        let whole = |bytes: &[u8]| Reply::parse(bytes).is_some_and(|reply| reply.ends_by_itself());
        let bytes = self.converse(parts, whole).await?;
        Reply::parse(&bytes)
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "closed without a whole answer"))
    }

    /// Sends `parts` as they are and reads until the other side closes.
    ///
    /// # Errors
    /// When it cannot connect, or the other side does not close in time.
    pub(crate) async fn to_the_end(&self, parts: &[&[u8]]) -> io::Result<Vec<u8>> {
        self.converse(parts, |_| false).await
    }

    /// Sends `parts` as they are and reads until `enough`, or until the other side closes.
    async fn converse(&self, parts: &[&[u8]], enough: impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
        let stream = self.connect().await?;
        let (mut read, mut write) = stream.into_split();
        let mut answer = Vec::new();
        let sending = async {
            for part in parts {
                // A server that has answered need not read on; what it answered decides.
                if write.write_all(part).await.is_err() {
                    break;
                }
            }
        };
        let reading = async {
            loop {
                match read.read_buf(&mut answer).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) if enough(&answer) => break,
                    Ok(_) => {}
                }
            }
        };
        // Whoever has the answer needs not send the rest.
        let both = async {
            tokio::pin!(sending, reading);
            tokio::select! {
                () = &mut reading => {}
                () = &mut sending => reading.await,
            }
        };
        match tokio::time::timeout(PATIENCE, both).await {
            Ok(()) => Ok(answer),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no end of the answer")),
        }
    }
}

impl Reply {
    /// The answer in `bytes`, if they hold a whole one; a body without a length ends with `bytes`.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        if status == 100 {
            return Self::parse(&bytes[end + 4..]);
        }
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let rest = &bytes[end + 4..];
        let reply = Self { status, headers, body: Vec::new() };
        let body = if reply.header("transfer-encoding").is_some() {
            dechunk(rest)?
        } else if let Some(length) = reply.header("content-length") {
            rest.get(..length.parse().ok()?)?.to_vec()
        } else {
            rest.to_vec()
        };
        Some(Self { body, ..reply })
    }

    /// Whether its end is known without the end of the connection.
    fn ends_by_itself(&self) -> bool {
        self.header("transfer-encoding").is_some() || self.header("content-length").is_some()
    }

    /// The first value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The answer's JSON, which must come with this status.
    ///
    /// # Panics
    /// When the status is another one.
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }
}

/// The body in chunks; `None` while its end has not come.
fn dechunk(bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut body, mut rest) = (Vec::new(), bytes);
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

#[test]
fn answers_are_read_to_their_end() {
    let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(Reply::parse(whole).map(|reply| (reply.status, reply.text())), Some((200, "{}".to_owned())));
    assert!(Reply::parse(&whole[..whole.len() - 1]).is_none());
    let chunked = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 A\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
    assert_eq!(Reply::parse(chunked).map(|reply| (reply.status, reply.text())), Some((202, "abcd".to_owned())));
    assert!(Reply::parse(&chunked[..chunked.len() - 6]).is_none());
}
