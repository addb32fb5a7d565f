//! The body of an answer: found where it ends, kept as it came, cut at a limit, never decompressed.

use domain::attempt::ANSWER_KEPT_MAX;

use crate::head::Framing;

/// The longest line that a chunk's size or a trailer may have, extensions included.
const LINE_MAX: usize = 4 * 1024;

/// How far a body has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// More must be read.
    Unfinished,
    /// It has ended, and what follows is not its own.
    Ended,
    /// It breaks the rules: nothing more can be told from it.
    Broken,
}

/// Finds the bytes of a body in what is read from the connection.
#[derive(Debug)]
pub(crate) struct BodyReader {
    state: State,
    passed: usize,
}

#[derive(Debug)]
enum State {
    Length(u64),
    UntilClose,
    /// In the line that gives a chunk's size; so many bytes of it have passed.
    Size {
        size: u64,
        digits: u8,
        passed: usize,
        in_extension: bool,
    },
    Chunk(u64),
    /// Behind a chunk's bytes.
    ChunkEnd,
    /// In the lines behind the last chunk; so many bytes of the present one have passed.
    Trailer {
        passed: usize,
        total: usize,
    },
    Ended,
}

const SIZE: State = State::Size { size: 0, digits: 0, passed: 0, in_extension: false };

impl BodyReader {
    pub(crate) const fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Ended,
            Framing::Length(length) => State::Length(length),
            Framing::UntilClose => State::UntilClose,
            Framing::Chunked => SIZE,
        };
        Self { state, passed: 0 }
    }

    /// How many bytes of the body have passed, kept or not.
    pub(crate) const fn passed(&self) -> usize {
        self.passed
    }

    /// Whether the end of the connection is the end of the body.
    pub(crate) const fn ends_with_connection(&self) -> bool {
        matches!(self.state, State::UntilClose)
    }

    /// Takes what it can from `bytes`, and keeps the body's first ones in `kept`; also says how many it has taken.
    pub(crate) fn take(&mut self, bytes: &[u8], kept: &mut Vec<u8>) -> (Body, usize) {
        let mut at = 0;
        loop {
            let left = &bytes[at..];
            match &mut self.state {
                State::Ended => return (Body::Ended, at),
                _ if left.is_empty() => return (Body::Unfinished, at),
                State::UntilClose | State::Length(_) | State::Chunk(_) => {
                    let count = self.state.pass(left.len());
                    keep(kept, &left[..count]);
                    self.passed += count;
                    at += count;
                }
                State::Size { .. } | State::ChunkEnd | State::Trailer { .. } => {
                    at += 1;
                    let Some(next) = self.state.step(left[0]) else { return (Body::Broken, at) };
                    self.state = next;
                }
            }
        }
    }
}

impl State {
    /// Lets bytes of the body pass, as many as belong to it of those that are there, and says how many.
    fn pass(&mut self, there: usize) -> usize {
        let (length, behind) = match self {
            Self::Length(length) => (length, Self::Ended),
            Self::Chunk(length) => (length, Self::ChunkEnd),
            Self::UntilClose | Self::Size { .. } | Self::ChunkEnd | Self::Trailer { .. } | Self::Ended => return there,
        };
        let count = usize::try_from(*length).unwrap_or(usize::MAX).min(there);
        *length -= count as u64;
        if *length == 0 {
            *self = behind;
        }
        count
    }

    /// The state behind one byte of the lines between chunks; `None` if it may not stand there.
    fn step(&self, byte: u8) -> Option<Self> {
        match *self {
            Self::Size { size, digits, passed, in_extension } => {
                let passed = (passed < LINE_MAX).then_some(passed + 1)?;
                match byte {
                    b'\n' if digits > 0 && size == 0 => Some(Self::Trailer { passed: 0, total: 0 }),
                    b'\n' if digits > 0 => Some(Self::Chunk(size)),
                    b'\r' | b' ' | b'\t' if digits > 0 => Some(Self::Size { size, digits, passed, in_extension }),
                    b';' if digits > 0 => Some(Self::Size { size, digits, passed, in_extension: true }),
                    _ if in_extension => Some(Self::Size { size, digits, passed, in_extension }),
                    _ => {
                        let digit = char::from(byte).to_digit(16).filter(|_| digits < 16)?;
                        Some(Self::Size {
                            size: size << 4 | u64::from(digit),
                            digits: digits + 1,
                            passed,
                            in_extension,
                        })
                    }
                }
            }
            Self::ChunkEnd => match byte {
                b'\r' => Some(Self::ChunkEnd),
                b'\n' => Some(SIZE),
                _ => None,
            },
            Self::Trailer { passed, total } => match byte {
                b'\n' if passed == 0 => Some(Self::Ended),
                b'\n' => Some(Self::Trailer { passed: 0, total: total + 1 }),
                b'\r' => Some(Self::Trailer { passed, total: total + 1 }),
                _ => (total < LINE_MAX).then_some(Self::Trailer { passed: passed + 1, total: total + 1 }),
            },
            Self::Length(_) | Self::UntilClose | Self::Chunk(_) | Self::Ended => None,
        }
    }
}

/// Keeps the first bytes of a body.
pub(crate) fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = ANSWER_KEPT_MAX - kept.len();
    kept.extend_from_slice(&bytes[..room.min(bytes.len())]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads `bytes` in pieces of `piece`; gives the body, how it ended, and how many bytes were taken.
    fn read(framing: Framing, bytes: &[u8], piece: usize) -> (Vec<u8>, Body, usize) {
        let (mut reader, mut kept, mut taken) = (BodyReader::new(framing), Vec::new(), 0);
        let mut end = reader.take(&[], &mut kept).0;
        for part in bytes.chunks(piece) {
            if end != Body::Unfinished {
                break;
            }
            let (state, count) = reader.take(part, &mut kept);
            taken += count;
            end = state;
        }
        assert_eq!(reader.passed(), kept.len());
        (kept, end, taken)
    }

    fn check(framing: Framing, bytes: &[u8], body: &[u8], end: Body, taken: usize) {
        for piece in [1, 3, bytes.len().max(1)] {
            assert_eq!(read(framing, bytes, piece), (body.to_vec(), end, taken), "in pieces of {piece}");
        }
    }

    #[test]
    fn each_framing_finds_its_end() {
        check(Framing::Length(0), b"x", b"", Body::Ended, 0);
        check(Framing::Length(3), b"abcHTTP", b"abc", Body::Ended, 3);
        check(Framing::Length(9), b"abc", b"abc", Body::Unfinished, 3);
        check(Framing::Length(u64::MAX), b"abc", b"abc", Body::Unfinished, 3);
        check(Framing::UntilClose, b"abc", b"abc", Body::Unfinished, 3);
        check(
            Framing::Chunked,
            b"3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\n\r\nH",
            b"abc0123456789",
            Body::Ended,
            34,
        );
        check(Framing::Chunked, b"03 \r\nabc\r\n0\r\nX: y\r\nZ: 1\r\n\r\n", b"abc", Body::Ended, 27);
        check(Framing::Chunked, b"0\r\n\r\n", b"", Body::Ended, 5);
        check(Framing::Chunked, b"5\r\nab", b"ab", Body::Unfinished, 5);
    }

    #[test]
    fn broken_chunks_are_broken() {
        check(Framing::Chunked, b"zz\r\n", b"", Body::Broken, 1);
        check(Framing::Chunked, b"\r\n", b"", Body::Broken, 1);
        check(Framing::Chunked, b"-1\r\n", b"", Body::Broken, 1);
        check(Framing::Chunked, b"1\r\nabc", b"a", Body::Broken, 5);
        check(Framing::Chunked, b"11111111111111111\r\n", b"", Body::Broken, 17);
        let extension = [b"1;".as_slice(), &[b'x'; 10_000]].concat();
        check(Framing::Chunked, &extension, b"", Body::Broken, LINE_MAX + 1);
        let trailers = [b"0\r\n".as_slice(), &b"X: y\r\n".repeat(10_000)].concat();
        assert_eq!(read(Framing::Chunked, &trailers, 1_000).1, Body::Broken);
    }

    #[test]
    fn only_the_first_bytes_are_kept() {
        let mut reader = BodyReader::new(Framing::UntilClose);
        let mut kept = Vec::new();
        reader.take(&[1; ANSWER_KEPT_MAX - 1], &mut kept);
        reader.take(&[2; 9], &mut kept);
        reader.take(&[3; 9], &mut kept);
        assert_eq!((kept.len(), kept.last(), reader.passed()), (ANSWER_KEPT_MAX, Some(&2), ANSWER_KEPT_MAX + 17));
    }

    proptest! {
        /// Chunks of any sizes, read in pieces of any size, give the bytes that went in, and leave what follows.
        #[test]
        fn chunks_go_round(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8), piece in 1usize..70) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
            let end = bytes.len();
            bytes.extend(b"HTTP/1.1");
            prop_assert_eq!(read(Framing::Chunked, &bytes, piece), (chunks.concat(), Body::Ended, end));
        }
    }
}
