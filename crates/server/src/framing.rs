//! The framing of requests, followed a few bytes at a time: a head, as many body bytes as `Content-Length` says, the next
//! head. What two readers could take for different requests is refused: a bare line feed in a head, a length given
//! together with a transfer coding, and transfer codings besides one `chunked`, which the parser would pass over. So is a
//! request that does not say once for which host it is (RFC 9112, section 3.2), which the parser does not look at.
//!
//! A request with a transfer coding is the last of its connection, so chunks need not be followed.

/// More of a header's line than is needed to know its name and a length.
const LINE_KEPT: usize = 64;
/// How the request line of a version ends that needs a `Host`; HTTP/1.0 had none.
const NEEDS_HOST: &[u8; 9] = b"HTTP/1.1\r";

/// What is wrong with a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A line feed without its carriage return.
    LineFeed,
    /// More than one length, none that is a number, or one beside a transfer coding.
    Length,
    /// Another transfer coding than one `chunked`.
    Coding,
    /// HTTP/1.1 without a `Host`.
    NoHost,
    /// More than one `Host`.
    TwoHosts,
}

impl Fault {
    /// What is wrong, where, and the way out.
    pub(crate) const fn detail(self) -> &'static str {
        match self {
            Self::LineFeed => {
                "A line of the request's head ends with a line feed alone: end every line with a carriage return and a line feed."
            }
            Self::Length => {
                "The request's head does not say once how long the body is: send one Content-Length, a number, and no \
                 Transfer-Encoding beside it."
            }
            Self::Coding => {
                "The header Transfer-Encoding is not understood: send it once, as chunked, or send a Content-Length in its place."
            }
            Self::NoHost => "The header Host is missing: send it once, with the host of the URL.",
            Self::TwoHosts => "The header Host is there more than once: send it once, with the host of the URL.",
        }
    }
}

/// A head that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    /// At which byte of those that were followed.
    pub(crate) at: usize,
    /// Why.
    pub(crate) fault: Fault,
}

/// Where in the stream of requests the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a head, or before one.
    Head,
    /// In a body with so many bytes to come.
    Body(u64),
    /// After the head of the connection's last request: whatever comes is its body.
    Last,
    /// A head was refused, for a fault that is known: nothing more is read.
    Refused(Fault),
}

/// What is seen of the head that is being read.
#[derive(Debug, Default)]
struct Head {
    /// The start of the present line.
    line: Vec<u8>,
    /// Bytes of the present line, those not kept included.
    line_len: usize,
    /// The line's last bytes, as many as are needed to know a version by.
    tail: [u8; NEEDS_HOST.len()],
    /// Lines that have ended.
    lines: usize,
    /// Whether the request line's version needs a `Host`, and how many have come.
    needs_host: bool,
    hosts: usize,
    length: Option<u64>,
    coded: bool,
}

/// Follows the framing, a byte range at a time.
#[derive(Debug)]
pub(crate) struct Framing {
    place: Place,
    head: Head,
}

impl Framing {
    pub(crate) fn new() -> Self {
        Self { place: Place::Head, head: Head::default() }
    }

    /// Whether a head has begun and not ended.
    pub(crate) fn in_head(&self) -> bool {
        self.place == Place::Head && (self.head.lines > 0 || self.head.line_len > 0)
    }

    /// Why a head was refused, if one was.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self.place {
            Place::Refused(fault) => Some(fault),
            Place::Head | Place::Body(_) | Place::Last => None,
        }
    }

    /// Follows `bytes`; `Err` tells at which byte the head is refused, and so is whatever else may come.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let mut at = 0;
        while at < bytes.len() {
            match self.place {
                Place::Head => {
                    at = self.follow_line(bytes, at).inspect_err(|why| self.place = Place::Refused(why.fault))?
                }
                Place::Body(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += here;
                    let left = left - here as u64;
                    self.place = if left == 0 { Place::Head } else { Place::Body(left) };
                }
                Place::Last | Place::Refused(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Follows the present line from `at`; tells where the next one starts.
    fn follow_line(&mut self, bytes: &[u8], at: usize) -> Result<usize, Refused> {
        let rest = &bytes[at..];
        let end = rest.iter().position(|&byte| byte == b'\n');
        let head = &mut self.head;
        head.take(&rest[..end.unwrap_or(rest.len())]);
        let Some(end) = end else { return Ok(bytes.len()) };
        let line_feed = at + end;
        let refused = |fault| Refused { at: line_feed, fault };
        if head.line_len == 0 || !head.tail.ends_with(b"\r") {
            return Err(refused(Fault::LineFeed));
        }
        if head.line_len > 1 {
            head.end_line().map_err(refused)?;
        } else if head.lines > 0 {
            // The empty line: the body follows. Empty lines before a request line are no head's end.
            if head.needs_host && head.hosts == 0 {
                return Err(refused(Fault::NoHost));
            }
            self.end_head();
        } else {
            self.head = Head::default();
        }
        Ok(line_feed + 1)
    }

    fn end_head(&mut self) {
        self.place = match (self.head.coded, self.head.length) {
            (true, _) => Place::Last,
            (false, Some(length)) if length > 0 => Place::Body(length),
            (false, _) => Place::Head,
        };
        let mut line = std::mem::take(&mut self.head.line);
        line.clear();
        self.head = Head { line, ..Head::default() };
    }
}

impl Head {
    /// Takes more of the present line in.
    fn take(&mut self, part: &[u8]) {
        self.line.extend_from_slice(&part[..part.len().min(LINE_KEPT.saturating_sub(self.line.len()))]);
        self.line_len += part.len();
        let last = &part[part.len().saturating_sub(self.tail.len())..];
        self.tail.rotate_left(last.len());
        let before = self.tail.len() - last.len();
        self.tail[before..].copy_from_slice(last);
    }

    /// Takes a whole line in; `Err` if the head says its body's length or its host twice over, or in a way that is not ours to
    /// understand.
    fn end_line(&mut self) -> Result<(), Fault> {
        let line = &self.line;
        if self.lines == 0 {
            self.needs_host = self.tail == *NEEDS_HOST;
        } else if let Some(colon) = line.iter().position(|&byte| byte == b':') {
            // The parser refuses white space before the colon; it is looked through here, so that nothing hangs on that.
            let name = line[..colon].trim_ascii();
            if name.eq_ignore_ascii_case(b"transfer-encoding") {
                let chunked = line[colon + 1..].trim_ascii().eq_ignore_ascii_case(b"chunked");
                if self.coded || !chunked || self.line_len > LINE_KEPT {
                    return Err(Fault::Coding);
                }
                self.coded = true;
            } else if name.eq_ignore_ascii_case(b"content-length") {
                let value = line[colon + 1..].trim_ascii();
                let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                // A second length, or one that is no number, is not ours to understand.
                if self.length.is_some() || length.is_none() || self.line_len > LINE_KEPT {
                    return Err(Fault::Length);
                }
                self.length = length;
            } else if name.eq_ignore_ascii_case(b"host") {
                self.hosts += 1;
                if self.hosts > 1 {
                    return Err(Fault::TwoHosts);
                }
            }
            if self.coded && self.length.is_some() {
                return Err(Fault::Length);
            }
        }
        self.lines += 1;
        self.line.clear();
        self.line_len = 0;
        self.tail = Default::default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes in pieces of every size give the same answer as in one.
    fn follow(bytes: &[u8]) -> Result<(), (usize, Fault)> {
        let whole = Framing::new().follow(bytes).map_err(|refused| (refused.at, refused.fault));
        for size in 1..bytes.len() {
            let mut framing = Framing::new();
            let mut at = 0;
            let pieces = bytes.chunks(size).try_for_each(|piece| {
                let result = framing.follow(piece).map_err(|refused| (at + refused.at, refused.fault));
                at += piece.len();
                result
            });
            assert_eq!(pieces, whole, "in pieces of {size}");
            assert_eq!(framing.fault(), whole.err().map(|(_, fault)| fault), "in pieces of {size}");
        }
        whole
    }

    /// A request line, the lines of a head, its end.
    fn head(lines: &str) -> String {
        format!("POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n")
    }

    #[test]
    fn requests_follow_each_other() {
        let one = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n\n\n\n";
        let two = [&one[..], b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", one].concat();
        assert_eq!(follow(&two), Ok(()), "line feeds in a body are its own");
    }

    #[test]
    fn a_bare_line_feed_in_a_head_is_refused_where_it_is() {
        let at = |at| Err((at, Fault::LineFeed));
        assert_eq!(follow(b"GET / HTTP/1.1\nHost: x\r\n\r\n"), at(14));
        assert_eq!(follow(b"GET / HTTP/1.1\r\nHost: x\n\r\n"), at(23));
        assert_eq!(follow(b"GET / HTTP/1.1\r\nHost: x\r\n\n"), at(25));
        assert_eq!(follow(b"\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"), at(0));
        let second = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nxGET / HTTP/1.1\nHost: x\r\n\r\n";
        assert_eq!(follow(second), at(62));
    }

    #[test]
    fn a_length_beside_a_transfer_coding_is_refused_in_either_order() {
        for lines in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "transfer-encoding : chunked\r\nCONTENT-LENGTH:1",
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: x",
        ] {
            assert!(matches!(follow(head(lines).as_bytes()), Err((_, Fault::Length))), "{lines:?}");
        }
        assert!(follow(head("Content-Length: +1").as_bytes()).is_ok(), "a plus is the parser's to refuse");
    }

    #[test]
    fn a_transfer_coding_besides_one_chunked_is_refused() {
        let coded = |lines: &str| follow(head(lines).as_bytes()).map_err(|(_, fault)| fault);
        for coding in
            ["gzip, chunked", "chunked, chunked", "identity, chunked", "chunked, identity", "xchunked", "", "gzip"]
        {
            assert_eq!(coded(&format!("Transfer-Encoding: {coding}")), Err(Fault::Coding), "{coding:?}");
        }
        assert_eq!(coded("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Err(Fault::Coding));
        let padded = format!("Transfer-Encoding: chunked{}", " ".repeat(LINE_KEPT));
        assert_eq!(coded(&padded), Err(Fault::Coding), "what was not kept may be another coding");
        for coding in ["chunked", "Chunked", " chunked "] {
            assert_eq!(coded(&format!("Transfer-Encoding:{coding}")), Ok(()), "{coding:?}");
        }
    }

    #[test]
    fn a_request_names_its_host_once_and_one_of_http_1_0_at_most_once() {
        let fault = |text: &str| follow(text.as_bytes()).map_err(|(_, fault)| fault);
        let long = "x".repeat(10 * LINE_KEPT);
        for target in ["/", "http://x/", &long] {
            assert_eq!(fault(&format!("GET {target} HTTP/1.1\r\n\r\n")), Err(Fault::NoHost), "{target}");
            assert_eq!(fault(&format!("GET {target} HTTP/1.1\r\nX-Host: x\r\nHosts: x\r\n\r\n")), Err(Fault::NoHost));
            assert_eq!(fault(&format!("GET {target} HTTP/1.0\r\nX-A: b\r\n\r\n")), Ok(()), "{target}");
        }
        for host in ["Host: x", "HOST:x:1", "host :  x  ", "Host:", &format!("Host: {long}")] {
            for version in ["1.0", "1.1"] {
                let once = format!("GET / HTTP/{version}\r\nX-A: b\r\n{host}\r\n");
                assert_eq!(fault(&format!("{once}\r\n")), Ok(()), "{once}");
                assert_eq!(fault(&format!("{once}Host: x\r\n\r\n")), Err(Fault::TwoHosts), "{once}");
            }
        }
        let second = "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        assert_eq!(follow(second.as_bytes()), Err((second.len() - 1, Fault::NoHost)), "each for itself");
        // The parser refuses other versions.
        assert_eq!(fault("PRI * HTTP/2.0\r\n\r\n"), Ok(()));
    }

    #[test]
    fn after_a_transfer_coding_everything_is_the_last_request_s_body() {
        let chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n\n\n";
        let mut framing = Framing::new();
        assert_eq!(framing.follow(chunked), Ok(()));
        assert_eq!(framing.place, Place::Last);
    }

    #[test]
    fn long_lines_are_followed_without_being_kept() {
        let mut framing = Framing::new();
        let long = format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n", "a".repeat(100_000));
        assert_eq!(framing.follow(long.as_bytes()), Ok(()));
        assert!(framing.in_head());
        assert!(framing.head.line.capacity() <= 2 * LINE_KEPT);
        assert_eq!(framing.follow(b"\r\n"), Ok(()));
        assert!(!framing.in_head());
    }
}
