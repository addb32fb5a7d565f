//! The framing of requests, followed a few bytes at a time: a head, as many body bytes as `Content-Length` says, the next
//! head. What two readers could take for different requests is refused: a bare line feed in a head, a length given
//! together with a transfer coding, and transfer codings besides one `chunked`, which the parser would pass over.
//!
//! A request with a transfer coding is the last of its connection, so chunks need not be followed.

/// More of a header's line than is needed to know its name and a length.
const LINE_KEPT: usize = 64;

/// Where in the stream of requests the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a head, or before one.
    Head,
    /// In a body with so many bytes to come.
    Body(u64),
    /// After the head of the connection's last request: whatever comes is its body.
    Last,
    /// A head was refused: nothing more is read.
    Refused,
}

/// What is seen of the head that is being read.
#[derive(Debug, Default)]
struct Head {
    /// The start of the present line.
    line: Vec<u8>,
    /// Bytes of the present line, those not kept included.
    line_len: usize,
    /// The byte before.
    last: u8,
    /// Lines that have ended.
    lines: usize,
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

    /// Refuses whatever else may come.
    pub(crate) fn refuse(&mut self) {
        self.place = Place::Refused;
    }

    /// Whether a head was refused.
    pub(crate) fn is_refused(&self) -> bool {
        self.place == Place::Refused
    }

    /// Follows `bytes`; `Err` tells at which byte the head is refused.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut at = 0;
        while at < bytes.len() {
            match self.place {
                Place::Head => at = self.follow_line(bytes, at)?,
                Place::Body(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += here;
                    let left = left - here as u64;
                    self.place = if left == 0 { Place::Head } else { Place::Body(left) };
                }
                Place::Last | Place::Refused => return Ok(()),
            }
        }
        Ok(())
    }

    /// Follows the present line from `at`; tells where the next one starts.
    fn follow_line(&mut self, bytes: &[u8], at: usize) -> Result<usize, usize> {
        let rest = &bytes[at..];
        let end = rest.iter().position(|&byte| byte == b'\n');
        let part = &rest[..end.unwrap_or(rest.len())];
        let head = &mut self.head;
        head.line.extend_from_slice(&part[..part.len().min(LINE_KEPT.saturating_sub(head.line.len()))]);
        head.line_len += part.len();
        if let Some(&last) = part.last() {
            head.last = last;
        }
        let Some(end) = end else { return Ok(bytes.len()) };
        let line_feed = at + end;
        if head.line_len == 0 || head.last != b'\r' {
            return Err(line_feed);
        }
        if head.line_len > 1 {
            head.end_line().map_err(|()| line_feed)?;
        } else if head.lines > 0 {
            // The empty line: the body follows. Empty lines before a request line are no head's end.
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
    /// Takes a header's line in; `Err` if the head says its body's length twice over, or in a way that is not ours to understand.
    fn end_line(&mut self) -> Result<(), ()> {
        let line = &self.line;
        if self.lines > 0
            && let Some(colon) = line.iter().position(|&byte| byte == b':')
        {
            // The parser refuses white space before the colon; it is looked through here, so that nothing hangs on that.
            let name = line[..colon].trim_ascii();
            if name.eq_ignore_ascii_case(b"transfer-encoding") {
                let chunked = line[colon + 1..].trim_ascii().eq_ignore_ascii_case(b"chunked");
                if self.coded || !chunked || self.line_len > LINE_KEPT {
                    return Err(());
                }
                self.coded = true;
            } else if name.eq_ignore_ascii_case(b"content-length") {
                let value = line[colon + 1..].trim_ascii();
                let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                // A second length, or one that is no number, is not ours to understand.
                if self.length.is_some() || length.is_none() || self.line_len > LINE_KEPT {
                    return Err(());
                }
                self.length = length;
            }
            if self.coded && self.length.is_some() {
                return Err(());
            }
        }
        self.lines += 1;
        self.line.clear();
        self.line_len = 0;
        self.last = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes in pieces of every size give the same answer as in one.
    fn follow(bytes: &[u8]) -> Result<(), usize> {
        let whole = Framing::new().follow(bytes);
        for size in 1..bytes.len() {
            let mut framing = Framing::new();
            let mut at = 0;
            let pieces = bytes.chunks(size).try_for_each(|piece| {
                let result = framing.follow(piece).map_err(|place| at + place);
                at += piece.len();
                result
            });
            assert_eq!(pieces, whole, "in pieces of {size}");
        }
        whole
    }

    #[test]
    fn requests_follow_each_other() {
        let one = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n\n\n\n";
        let two = [&one[..], b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", one].concat();
        assert_eq!(follow(&two), Ok(()), "line feeds in a body are its own");
    }

    #[test]
    fn a_bare_line_feed_in_a_head_is_refused_where_it_is() {
        assert_eq!(follow(b"GET / HTTP/1.1\nHost: x\r\n\r\n"), Err(14));
        assert_eq!(follow(b"GET / HTTP/1.1\r\nHost: x\n\r\n"), Err(23));
        assert_eq!(follow(b"GET / HTTP/1.1\r\nHost: x\r\n\n"), Err(25));
        assert_eq!(follow(b"\nGET / HTTP/1.1\r\n\r\n"), Err(0));
        let second = b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nxGET / HTTP/1.1\nHost: x\r\n\r\n";
        assert_eq!(follow(second), Err(53));
    }

    #[test]
    fn a_length_beside_a_transfer_coding_is_refused_in_either_order() {
        assert!(follow(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(follow(b"POST / HTTP/1.1\r\ntransfer-encoding : chunked\r\nCONTENT-LENGTH:1\r\n\r\n").is_err());
        assert!(follow(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n").is_err());
        assert!(follow(b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n").is_ok(), "a plus is the parser's to refuse");
        assert!(follow(b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n").is_err());
    }

    #[test]
    fn a_transfer_coding_besides_one_chunked_is_refused() {
        let head = |lines: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n");
        for coding in
            ["gzip, chunked", "chunked, chunked", "identity, chunked", "chunked, identity", "xchunked", "", "gzip"]
        {
            assert!(follow(head(&format!("Transfer-Encoding: {coding}")).as_bytes()).is_err(), "{coding:?}");
        }
        assert!(follow(head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked").as_bytes()).is_err());
        let padded = format!("Transfer-Encoding: chunked{}", " ".repeat(LINE_KEPT));
        assert!(follow(head(&padded).as_bytes()).is_err(), "what was not kept may be another coding");
        for coding in ["chunked", "Chunked", " chunked "] {
            assert_eq!(follow(head(&format!("Transfer-Encoding:{coding}")).as_bytes()), Ok(()), "{coding:?}");
        }
    }

    #[test]
    fn after_a_transfer_coding_everything_is_the_last_request_s_body() {
        let chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n\n\n";
        let mut framing = Framing::new();
        assert_eq!(framing.follow(chunked), Ok(()));
        assert_eq!(framing.place, Place::Last);
    }

    #[test]
    fn long_lines_are_followed_without_being_kept() {
        let mut framing = Framing::new();
        let long = format!("GET / HTTP/1.1\r\nCookie: {}\r\n", "a".repeat(100_000));
        assert_eq!(framing.follow(long.as_bytes()), Ok(()));
        assert!(framing.in_head());
        assert!(framing.head.line.capacity() <= 2 * LINE_KEPT);
        assert_eq!(framing.follow(b"\r\n"), Ok(()));
        assert!(!framing.in_head());
    }
}
