//! What was read from a connection and not yet understood.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// The size that a buffer starts with, and that it shrinks back to between requests.
const START: usize = 8 * 1024;
/// The most that it holds: the largest head of an answer that is taken.
pub(crate) const BUFFER_MAX: usize = 64 * 1024;

/// Bytes read and not yet consumed. Grows as it must, to [`BUFFER_MAX`].
#[derive(Debug)]
pub(crate) struct Buffer {
    /// Always initialised as a whole, so that reading into it needs no zeroing.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; START], start: 0, end: 0 }
    }

    /// What was read and not yet consumed.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.end - self.start == BUFFER_MAX
    }

    /// Leaves the first `count` unread bytes behind.
    pub(crate) const fn consume(&mut self, count: usize) {
        assert!(count <= self.end - self.start, "only what was read can be consumed");
        self.start += count;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Empties it, and gives back what a large answer made it take.
    pub(crate) fn reset(&mut self) {
        (self.start, self.end) = (0, 0);
        if self.bytes.len() > START {
            self.bytes = vec![0; START];
        }
    }

    /// Reads once; `Ok(0)` is the end of the stream. Must not be called when full.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let mut space = ReadBuf::new(&mut self.bytes[self.end..]);
        ready!(Pin::new(stream).poll_read(cx, &mut space))?;
        let count = space.filled().len();
        self.end += count;
        Poll::Ready(Ok(count))
    }

    fn make_room(&mut self) {
        if self.end < self.bytes.len() {
            return;
        }
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        } else {
            assert!(self.bytes.len() < BUFFER_MAX, "a full buffer cannot be read into");
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads as much as it gives at once.
    fn fill(buffer: &mut Buffer, mut source: &[u8]) -> usize {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(Ok(count)) = buffer.poll_fill(&mut cx, &mut source) else {
            panic!("memory can always be read")
        };
        count
    }

    #[test]
    fn it_grows_to_its_limit_and_shrinks_back() {
        let source = vec![7; 2 * BUFFER_MAX];
        let mut buffer = Buffer::new();
        let mut total = 0;
        while !buffer.is_full() {
            total += fill(&mut buffer, &source);
        }
        assert_eq!((total, buffer.unread().len(), buffer.bytes.len()), (BUFFER_MAX, BUFFER_MAX, BUFFER_MAX));
        buffer.reset();
        assert_eq!((buffer.unread().len(), buffer.bytes.len()), (0, START));
    }

    #[test]
    fn what_is_consumed_makes_room() {
        let mut buffer = Buffer::new();
        assert_eq!(fill(&mut buffer, &[1; START]), START);
        buffer.consume(START - 2);
        assert_eq!(fill(&mut buffer, &[2; 5]), 5);
        assert_eq!(buffer.unread(), [1, 1, 2, 2, 2, 2, 2]);
        assert_eq!(buffer.bytes.len(), START);
        buffer.consume(7);
        assert_eq!(fill(&mut buffer, &[]), 0);
    }
}
