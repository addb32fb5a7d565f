//! Where an event came from in the producer's traces: the W3C `traceparent` that came with its POST.
//!
//! It is kept with the event and linked on the spans of its attempts, and never sent on: receivers are strangers.

use std::fmt;

use crate::time::Timestamp;

/// Told of what took how long, where somebody collects traces.
pub trait Tracer: Send + Sync {
    /// Takes a span that has ended. Never waits.
    fn ended(&self, span: Span);
}

/// Something that took a while, and has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What it was.
    pub name: SpanName,
    /// The producer's place in its trace, if it said so: an attempt is linked to it, all else is its child.
    pub trace: Option<TraceParent>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Particulars; never secrets, payloads or URLs.
    pub attributes: Vec<(&'static str, String)>,
    /// The code of what went wrong, if anything did.
    pub error: Option<&'static str>,
}

/// The spans that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanName {
    /// A request with events, from its head to its answer.
    Accept,
    /// Its events, from the queue to the disk.
    Commit,
    /// An attempt of a delivery.
    Attempt,
}

impl SpanName {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Commit => "commit",
            Self::Attempt => "attempt",
        }
    }
}

/// A caller's place in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; not all zero.
    pub trace_id: [u8; 16],
    /// The caller's span; not all zero.
    pub span_id: [u8; 8],
    /// The flags: bit 0 says that the caller records the trace.
    pub flags: u8,
}

/// How many bytes of the header's text version 00 has.
const LENGTH: usize = 55;

impl TraceParent {
    /// How many bytes [`Self::to_bytes`] gives.
    pub const BYTES: usize = 25;

    /// Reads the header's text. `None` where the specification says to go on as if it had not come: it is no part of the
    /// request that could be refused.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        // A later version may be longer, and keeps these places.
        if text.len() < LENGTH || text.get(LENGTH).is_some_and(|byte| *byte != b'-') {
            return None;
        }
        let version = hex::<1>(&text[..2])?[0];
        if version == 0xff || (version == 0 && text.len() > LENGTH) {
            return None;
        }
        if [text[2], text[35], text[52]] != [b'-'; 3] {
            return None;
        }
        let found =
            Self { trace_id: hex(&text[3..35])?, span_id: hex(&text[36..52])?, flags: hex::<1>(&text[53..55])?[0] };
        found.valid()
    }

    /// As it is stored.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.trace_id);
        bytes[16..24].copy_from_slice(&self.span_id);
        bytes[24] = self.flags;
        bytes
    }

    /// Reads what [`Self::to_bytes`] gave.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let (trace_id, rest) = bytes.split_first_chunk()?;
        let (span_id, rest) = rest.split_first_chunk()?;
        Self { trace_id: *trace_id, span_id: *span_id, flags: *rest.first()? }.valid()
    }

    fn valid(self) -> Option<Self> {
        (self.trace_id != [0; 16] && self.span_id != [0; 8]).then_some(self)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace_id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("-")?;
        self.span_id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "-{:02x}", self.flags)
    }
}

/// The bytes of lower-case hex digits.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn is_read_and_written_and_stored() {
        let parent = TraceParent::parse(TEXT).expect("the specification's own example");
        assert_eq!((parent.trace_id[0], parent.span_id[7], parent.flags), (0x4b, 0xb7, 1));
        assert_eq!(parent.to_string(), TEXT);
        assert_eq!(TraceParent::from_bytes(&parent.to_bytes()), Some(parent));
        assert_eq!(TraceParent::from_bytes(&[1; 24]), None);
        assert_eq!(TraceParent::from_bytes(&[0; 25]), None);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_this_one_goes() {
        let later = format!("cc{}-what-comes-then", &TEXT[2..]);
        assert_eq!(TraceParent::parse(&later), TraceParent::parse(TEXT));
    }

    #[test]
    fn what_is_malformed_never_came() {
        for text in [
            "",
            &TEXT[..54],
            &format!("{TEXT}-x"),
            &format!("{TEXT}0"),
            &format!("ff{}", &TEXT[2..]),
            &TEXT.to_uppercase(),
            &TEXT.replace('-', "_"),
            &TEXT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &TEXT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &TEXT.replace("4bf9", "4bfg"),
            &format!("cc{}.", &TEXT[2..]),
            &"é".repeat(28),
        ] {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
    }
}
