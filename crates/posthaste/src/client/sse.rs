//! Reading server-sent events.

use std::collections::VecDeque;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;

/// For how long a stream may be silent: three times what lies between two signs of life.
const SILENT_MAX: Duration = Duration::from_secs(45);
/// The longest line that is kept: far above any event that we send.
const LINE_MAX: usize = 1 << 20;

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its id, for `Last-Event-ID`.
    pub(crate) id: Option<String>,
    /// Its name; `message` if it has none, nothing where only an id was told.
    pub(crate) name: String,
    /// Its data.
    pub(crate) data: String,
}

/// A stream of events. It ends when the connection does, or is silent for too long.
#[derive(Debug)]
pub(crate) struct Events {
    body: Incoming,
    reader: Reader,
    ready: VecDeque<Event>,
}

impl Events {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, reader: Reader::default(), ready: VecDeque::new() }
    }

    /// The next event; `None` once the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let frame = tokio::time::timeout(SILENT_MAX, self.body.frame()).await.ok()??.ok()?;
            if let Ok(bytes) = frame.into_data() {
                self.reader.feed(&bytes, &mut self.ready)?;
            }
        }
    }
}

/// Bytes to events, by the rules of the HTML standard: lines of `field: value`, an empty line ends an event.
#[derive(Debug, Default)]
struct Reader {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
}

impl Reader {
    /// Takes bytes in, puts whole events out. `None` if a line is longer than any that we send.
    fn feed(&mut self, bytes: &[u8], out: &mut VecDeque<Event>) -> Option<()> {
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.take(String::from_utf8_lossy(&line).trim_end_matches('\r'), out);
            } else if self.line.len() < LINE_MAX {
                self.line.push(byte);
            } else {
                return None;
            }
        }
        Some(())
    }

    fn take(&mut self, line: &str, out: &mut VecDeque<Event>) {
        if line.is_empty() {
            let mut event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                if event.name.is_empty() {
                    "message".clone_into(&mut event.name);
                }
                out.push_back(event);
            } else if event.id.is_some() {
                // No event, but the place from which to resume.
                out.push_back(Event { id: event.id, ..Event::default() });
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // Comments keep the connection alive; `retry` is for browsers.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_however_the_bytes_are_cut() {
        let text =
            ": hello\n\nid: 7\nevent: attempt\ndata: {\"a\":\ndata: 1}\n\ndata: x\r\n\r\nevent: no data\n\nid: 8\n\n";
        for size in [1, 3, 1_000] {
            let (mut reader, mut out) = (Reader::default(), VecDeque::new());
            for piece in text.as_bytes().chunks(size) {
                reader.feed(piece, &mut out).expect("short lines");
            }
            let attempt = Event { id: Some("7".into()), name: "attempt".into(), data: "{\"a\":\n1}".into() };
            let place = Event { id: Some("8".into()), ..Event::default() };
            assert_eq!(out, [attempt, Event { id: None, name: "message".into(), data: "x".into() }, place]);
        }
    }

    #[test]
    fn an_endless_line_ends_the_stream() {
        let (mut reader, mut out) = (Reader::default(), VecDeque::new());
        assert_eq!(reader.feed(&vec![b'x'; LINE_MAX + 1], &mut out), None);
    }
}
