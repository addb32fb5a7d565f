//! The one place that writes to the terminal: results to stdout, talk to stderr, colour only where a person looks.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use domain::delivery::DeliveryStatus;
use serde_json::Value;

use crate::exit::Stop;

pub(crate) mod delivery;
pub(crate) mod news;
pub(crate) mod replay;
pub(crate) mod span;
pub(crate) mod table;
pub(crate) mod value;

/// What a text means; its colour where there is colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing in particular.
    Plain,
    /// It went well.
    Ok,
    /// It failed.
    Bad,
    /// It failed, and is tried again.
    Warn,
    /// It is on its way.
    Info,
    /// It stands still, on purpose.
    Quiet,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Ok => "\x1b[32m",
            Self::Bad => "\x1b[31m",
            Self::Warn => "\x1b[33m",
            Self::Info => "\x1b[34m",
            Self::Quiet => "\x1b[2m",
        }
    }
}

/// Where a command's words go.
#[derive(Debug)]
pub(crate) struct Console {
    json: bool,
    colour_out: bool,
    colour_err: bool,
    closed: AtomicBool,
    lost: AtomicBool,
}

impl Console {
    /// The process's own stdout and stderr. `plain` is without colour wherever that is.
    pub(crate) fn new(json: bool, plain: bool) -> Self {
        Self {
            json,
            colour_out: !plain && std::io::stdout().is_terminal(),
            colour_err: !plain && std::io::stderr().is_terminal(),
            closed: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        }
    }

    /// Whether results are wanted as JSON.
    pub(crate) const fn json(&self) -> bool {
        self.json
    }

    /// Whether nobody reads stdout any more, as behind `| head`.
    pub(crate) fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// A line of the result, to stdout.
    pub(crate) fn line(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let written = writeln!(out, "{text}").and_then(|()| out.flush());
        drop(out);
        self.wrote(written);
    }

    /// Bytes of the result, to stdout, as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(bytes).and_then(|()| out.flush());
        drop(out);
        self.wrote(written);
    }

    /// Notes how a write of the result has ended. Who reads no further wants no more; anything else is a result that is lost.
    fn wrote(&self, written: std::io::Result<()>) {
        let Err(error) = written else { return };
        if !self.closed.swap(true, Ordering::Relaxed) && error.kind() != std::io::ErrorKind::BrokenPipe {
            self.complain(&format!("The result could not be written to stdout: {error}."));
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a part of the result could not be written, though somebody wants it.
    pub(crate) fn lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// A JSON value on one line, to stdout: one line of NDJSON, or the whole result.
    pub(crate) fn value(&self, value: &Value) {
        self.line(&value.to_string());
    }

    /// A line beside the result, to stderr; nothing where results are JSON, so that scripts read stderr for errors.
    pub(crate) fn talk(&self, text: &str) {
        if !self.json {
            self.complain(text);
        }
    }

    /// A line to stderr, in any case. A closed stderr leaves nobody to tell.
    pub(crate) fn complain(&self, text: &str) {
        let _nobody_to_tell = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Says why a command ended: the sentence, or the problem document where results are JSON.
    pub(crate) fn stop(&self, stop: &Stop) {
        if self.json {
            let own = || serde_json::json!({"error": stop.said, "exit": stop.exit.code()});
            self.complain(&stop.problem.clone().unwrap_or_else(own).to_string());
        } else {
            let said = visible_lines(&stop.said);
            let mark = if self.colour_err { paint(Tone::Bad, "✕") } else { "✕".to_owned() };
            self.complain(&format!("{mark} {said}"));
        }
    }

    /// The text in its tone's colour, for stdout.
    pub(crate) fn tone(&self, tone: Tone, text: &str) -> String {
        if self.colour_out { paint(tone, text) } else { text.to_owned() }
    }
}

fn paint(tone: Tone, text: &str) -> String {
    if tone == Tone::Plain { text.to_owned() } else { format!("{}{text}\x1b[0m", tone.code()) }
}

/// The icon and tone of a delivery's status (`dashboard.md` §1). `retrying`: pending after a failed attempt.
pub(crate) const fn delivery_icon(status: DeliveryStatus, retrying: bool) -> (&'static str, Tone) {
    match status {
        DeliveryStatus::Pending if retrying => ("↻", Tone::Warn),
        DeliveryStatus::Pending => ("○", Tone::Info),
        DeliveryStatus::Sending => ("◔", Tone::Info),
        DeliveryStatus::Delivered => ("✓", Tone::Ok),
        DeliveryStatus::Failed => ("✕", Tone::Bad),
        DeliveryStatus::Held => ("‖", Tone::Quiet),
        DeliveryStatus::Cancelled => ("⊘", Tone::Quiet),
    }
}

/// Text of a stranger made safe to show: control characters, and those that turn the direction of text, are written as
/// escapes, so that no answer of a receiver can move the cursor or forge a line.
pub(crate) fn visible(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, character| {
        let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || turns {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
        shown
    })
}

/// [`visible`], line by line.
pub(crate) fn visible_lines(text: &str) -> String {
    text.lines().map(visible).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_s_text_cannot_move_the_cursor() {
        assert_eq!(visible("a\x1b[2Jb\r\n"), "a\\u{1b}[2Jb\\r\\n");
        assert_eq!(visible("\u{202e}evil"), "\\u{202e}evil");
        assert_eq!(visible("Grüße ✓"), "Grüße ✓");
        assert_eq!(visible_lines("one\n\x07two"), "one\n\\u{7}two");
    }

    #[test]
    fn every_status_has_its_icon() {
        let icons: Vec<_> = DeliveryStatus::ALL.into_iter().map(|status| delivery_icon(status, false).0).collect();
        assert_eq!(icons, ["○", "◔", "✓", "✕", "‖", "⊘"]);
        assert_eq!(delivery_icon(DeliveryStatus::Pending, true).0, "↻");
    }
}
