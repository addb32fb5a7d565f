//! The head of a request as it is written, and the head of an answer as it is read. HTTP/1.1 only.

use std::io::Write as _;
use std::mem::MaybeUninit;
use std::time::Duration;

use domain::endpoint_url::EndpointUrl;
use domain::transport::Outgoing;
use httparse::{ParserConfig, Response, Status};

/// The most headers that an answer may have.
const HEADERS_MAX: usize = 100;
/// How every answer starts.
const START: &[u8] = b"HTTP/1.";
/// A receiver that closes idle connections after so many seconds is not trusted to the last of them.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

/// Appends the head of `request` to `out`: names as they are given, `Host` and `Content-Length` first.
pub(crate) fn write_request(out: &mut Vec<u8>, request: &Outgoing) {
    write_start(out, "POST", &request.url);
    write!(out, "Content-Length: {}\r\n", request.body.len()).expect("writing to memory does not fail");
    write_headers(out, &request.headers);
}

/// Appends a request for the head of an answer alone, after which the connection is of no use.
pub(crate) fn write_look(out: &mut Vec<u8>, url: &EndpointUrl, headers: &[(String, String)]) {
    write_start(out, "HEAD", url);
    out.extend_from_slice(b"Connection: close\r\n");
    write_headers(out, headers);
}

fn write_start(out: &mut Vec<u8>, method: &str, url: &EndpointUrl) {
    let (path, authority) = (url.path_and_query(), url.authority());
    write!(out, "{method} {path} HTTP/1.1\r\nHost: {authority}\r\n").expect("writing to memory does not fail");
}

fn write_headers(out: &mut Vec<u8>, headers: &[(String, String)]) {
    for (name, value) in headers {
        // Names and values were judged when they were taken. One that broke the head would let its owner write requests
        // of his own, so it is asserted once more, where it would do harm.
        assert!(is_line_safe(name) && is_line_safe(value), "a header holds a control character");
        for part in [name.as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn is_line_safe(text: &str) -> bool {
    !text.bytes().any(|byte| byte < b' ' || byte == 0x7f)
}

/// How an answer's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many bytes; there may be none.
    Length(u64),
    /// With a chunk of no bytes.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// The complete head of a final answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// 200–599.
    pub(crate) status: u16,
    /// In the order in which they came, names as they were written.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) framing: Framing,
    /// Whether another request may follow on the connection once the body has ended.
    pub(crate) keep_alive: bool,
    /// How long the receiver keeps it open while nothing is sent, less a margin, if it says.
    pub(crate) idle_max: Option<Duration>,
}

/// What the bytes read so far are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// The start of a head.
    Incomplete,
    /// An interim answer (1xx) of so many bytes; the final one follows.
    Interim(usize),
    /// A final head of so many bytes.
    Final(usize, Head),
}

/// Reads heads without parsing the same bytes again and again while they trickle in.
#[derive(Debug, Default)]
pub(crate) struct HeadReader {
    scanned: usize,
}

impl HeadReader {
    /// Looks at all `unread` bytes, of which some may be new.
    ///
    /// # Errors
    /// When this is no HTTP that we take: why, in words.
    pub(crate) fn read(&mut self, unread: &[u8]) -> Result<Parsed, String> {
        let text = unread.trim_ascii_start();
        if !text.iter().zip(START).all(|(byte, expected)| byte == expected) {
            return Err("it does not start with HTTP/1".to_owned());
        }
        let scanned = std::mem::take(&mut self.scanned);
        let parsed =
            if has_blank_line(&unread[scanned.saturating_sub(3)..]) { parse(unread)? } else { Parsed::Incomplete };
        if parsed == Parsed::Incomplete {
            self.scanned = unread.len();
        }
        Ok(parsed)
    }
}

fn has_blank_line(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair == b"\n\n") || bytes.windows(3).any(|three| three == b"\n\r\n")
}

fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut answer = Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut answer, bytes, &mut headers).map_err(
        |error| match error {
            httparse::Error::TooManyHeaders => format!("it has more than {HEADERS_MAX} headers"),
            httparse::Error::HeaderName
            | httparse::Error::HeaderValue
            | httparse::Error::NewLine
            | httparse::Error::Status
            | httparse::Error::Token
            | httparse::Error::Version => format!("{error}"),
        },
    )?;
    let Status::Complete(length) = parsed else { return Ok(Parsed::Incomplete) };
    let status = answer.code.unwrap_or_default();
    match status {
        101 => Err("it switches protocols, which nobody asked for".to_owned()),
        100..=199 => Ok(Parsed::Interim(length)),
        200..=599 => Ok(Parsed::Final(length, understand(status, &answer)?)),
        _ => Err(format!("its status is {status:03}")),
    }
}

/// What the headers mean for the connection.
fn understand(status: u16, answer: &Response<'_, '_>) -> Result<Head, String> {
    let mut length: Option<u64> = None;
    let mut coding: Option<bool> = None;
    let is_new = answer.version == Some(1);
    let mut keep_alive = is_new;
    let mut idle_max = None;
    let mut headers = Vec::with_capacity(answer.headers.len());
    for header in answer.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let one = read_length(header.value).ok_or("its Content-Length is no number")?;
            if length.is_some_and(|other| other != one) {
                return Err("it has two different Content-Length".to_owned());
            }
            length = Some(one);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            let last = header.value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
            coding = Some(last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        } else if header.name.eq_ignore_ascii_case("connection") {
            keep_alive &= !has_token(header.value, b"close");
        } else if header.name.eq_ignore_ascii_case("keep-alive") {
            idle_max = read_keep_alive(header.value).or(idle_max);
        }
        headers.push((header.name.to_owned(), header.value.to_vec()));
    }
    let framing = match (coding, length) {
        _ if status == 204 || status == 304 => Framing::Length(0),
        (Some(true), _) if is_new => Framing::Chunked,
        (Some(_), _) | (None, None) => Framing::UntilClose,
        (None, Some(length)) => Framing::Length(length),
    };
    // Both framings at once is how answers are smuggled: the connection is not trusted any further.
    keep_alive &= framing != Framing::UntilClose && !(coding.is_some() && length.is_some());
    Ok(Head { status, headers, framing, keep_alive, idle_max })
}

/// A length, also one that is given twice in one line.
fn read_length(value: &[u8]) -> Option<u64> {
    let mut lengths = std::str::from_utf8(value).ok()?.split(',').map(|part| {
        let part = part.trim();
        part.parse::<u64>().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let first = lengths.next()??;
    lengths.all(|other| other == Some(first)).then_some(first)
}

fn has_token(value: &[u8], token: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
}

/// The seconds of `Keep-Alive: timeout=5`, less a margin.
fn read_keep_alive(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?;
    let seconds = text.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?.parse().ok()?;
    Some(Duration::from_secs(seconds).saturating_sub(KEEP_ALIVE_MARGIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Parsed, String> {
        HeadReader::default().read(bytes)
    }

    fn head(bytes: &str) -> Head {
        match read(bytes.as_bytes()) {
            Ok(Parsed::Final(length, head)) => {
                assert_eq!(length, bytes.len());
                head
            }
            other => panic!("{bytes:?} is a head, not {other:?}"),
        }
    }

    #[test]
    fn framing_and_reuse() {
        for (lines, framing, keep_alive) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", Framing::Length(5), true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n", Framing::Length(5), true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n", Framing::Length(5), true),
            ("HTTP/1.1 200 OK\nContent-Length: 5\n", Framing::Length(5), true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: x, Close\r\n", Framing::Length(5), false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n", Framing::Length(5), false),
            ("HTTP/1.1 200 OK\r\n", Framing::UntilClose, false),
            ("HTTP/1.1 204 X\r\n", Framing::Length(0), true),
            ("HTTP/1.1 304 X\r\nContent-Length: 9\r\n", Framing::Length(0), true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n", Framing::Chunked, true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n", Framing::UntilClose, false),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n", Framing::UntilClose, false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n", Framing::Chunked, false),
        ] {
            let end = if lines.contains('\r') { "\r\n" } else { "\n" };
            let head = head(&format!("{lines}{end}"));
            assert_eq!((head.framing, head.keep_alive), (framing, keep_alive), "{lines:?}");
        }
    }

    #[test]
    fn names_keep_their_case_and_values_their_bytes() {
        let Ok(Parsed::Final(_, head)) = read(b"HTTP/1.1 200 \xff\xfe\r\nX-Aa: caf\xe9\xff \r\nx-B:\r\n\r\nrest")
        else {
            panic!("a head");
        };
        assert_eq!(head.headers, [("X-Aa".to_owned(), b"caf\xe9\xff".to_vec()), ("x-B".to_owned(), Vec::new())]);
    }

    #[test]
    fn what_is_no_http_is_named() {
        let flood = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-A: b\r\n".repeat(101));
        for (bytes, why) in [
            ("SSH-2.0-OpenSSH\r\n", "it does not start with HTTP/1"),
            ("HTTP/9.9 200 OK\r\n\r\n", "it does not start with HTTP/1"),
            ("HTTP/1.1 099 X\r\n\r\n", "its status is 099"),
            ("HTTP/1.1 600 X\r\n\r\n", "its status is 600"),
            ("HTTP/1.1 abc X\r\n\r\n", "status"),
            ("HTTP/1.1 20\r\n\r\n", "status"),
            ("HTTP/1.1 -200 OK\r\n\r\n", "status"),
            ("HTTP/1.1 101 Switching\r\n\r\n", "switches protocols"),
            ("HTTP/1.1 200 OK\r\nX A: b\r\n\r\n", "header name"),
            ("HTTP/1.1 200 OK\r\nX-A: a\0b\r\n\r\n", "header value"),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "no number"),
            ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", "no number"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "two different"),
            (&flood, "more than 100 headers"),
        ] {
            let error = read(bytes.as_bytes()).expect_err(bytes);
            assert!(error.contains(why), "{bytes:?}: {error}");
        }
    }

    #[test]
    fn interim_answers_and_trickles() {
        assert_eq!(read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"), Ok(Parsed::Interim(25)));
        let bytes = b"\r\nHTTP/1.1 200 OK\r\nX-A: b\r\n\r\n";
        let mut reader = HeadReader::default();
        for end in 0..bytes.len() {
            assert_eq!(reader.read(&bytes[..end]), Ok(Parsed::Incomplete), "{end}");
        }
        assert!(matches!(reader.read(bytes), Ok(Parsed::Final(29, _))));
    }

    #[test]
    fn how_long_a_receiver_keeps_a_connection() {
        for (value, expect) in
            [("timeout=5, max=100", Some(4)), ("timeout=0", Some(0)), ("max=5", None), ("timeout=x", None)]
        {
            assert_eq!(read_keep_alive(value.as_bytes()), expect.map(Duration::from_secs), "{value}");
        }
    }
}
