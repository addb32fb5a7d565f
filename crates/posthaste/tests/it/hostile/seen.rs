//! What was seen when a row was played, in the words of the table, and whether it is what the row expects.

use serde_json::Value;
use tokio::task::JoinError;

use crate::api::Reply;
use crate::table::Row;

/// How the words of a play that has ended with a panic begin.
const PANICKED: &str = "panicked: ";

/// A row that was played, or the reason why it was not.
pub(super) enum Played {
    /// What was seen.
    Seen(Seen),
    /// Why it cannot be played here.
    LeftOut(String),
}

/// What was seen: the words of the table that it fits, and what is wrong beside them.
#[derive(Debug, Default)]
pub(super) struct Seen {
    words: Vec<String>,
    faults: Vec<String>,
    /// Whether time ran out, or was found long.
    late: bool,
    /// What a reader of a failure wants to know beside the words.
    more: String,
}

impl Played {
    /// Not played, for this reason.
    pub(super) fn left_out(why: impl Into<String>) -> Self {
        Self::LeftOut(why.into())
    }

    /// A row whose play panicked.
    pub(super) fn panicked(error: JoinError) -> Self {
        let said = match error.try_into_panic() {
            Ok(panic) => panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        Self::Seen(Seen { more: format!("{PANICKED}{said}"), ..Seen::default() })
    }
}

impl Played {
    /// Whether it is at fault, and time has to do with it: the machine's other work may have taken what it had. So it may have where an
    /// attempt beside the one that is looked at ran out of time, or where a play did not come to its end.
    pub(super) fn wanted_time(&self, row: &Row) -> bool {
        let Self::Seen(seen) = self else { return false };
        let by_time = |fault: &str| seen.late || fault.contains("_timeout") || fault.contains(PANICKED);
        seen.fault(row).is_some_and(|fault| by_time(&fault))
    }
}

impl From<Seen> for Played {
    fn from(seen: Seen) -> Self {
        Self::Seen(seen)
    }
}

impl Seen {
    /// Something that fits this word of the table.
    pub(super) fn word(word: impl Into<String>) -> Self {
        Self { words: vec![word.into()], ..Self::default() }
    }

    /// An answer of the API. Every refusal must be a problem document.
    pub(super) fn reply(reply: &Reply) -> Self {
        let mut seen = Self { more: shorten(&reply.text()), ..Self::default() };
        seen.words.push(format!("status:{}", reply.status));
        if (200..300).contains(&reply.status) {
            seen.words.push("accept".to_owned());
            return seen;
        }
        if (400..500).contains(&reply.status) {
            seen.words.push("status:4xx".to_owned());
        }
        let problem = reply.json();
        seen.must(reply.header("content-type") == Some("application/problem+json"), "no problem document");
        seen.must(problem["code"].is_string() && problem["request_id"].is_string(), "no code or no request_id");
        seen.must(problem["status"] == reply.status, "the document names another status");
        if reply.status == 422 {
            let codes = problem["errors"].as_array().into_iter().flatten().filter_map(|error| error["code"].as_str());
            seen.words.extend(codes.map(|code| format!("refuse:{code}")));
        }
        seen
    }

    /// A refusal of the API, whose faults must all lie under `pointer`.
    pub(super) fn reply_about(reply: &Reply, pointer: &str) -> Self {
        let mut seen = Self::reply(reply);
        if reply.status == 422 {
            let problem = reply.json();
            let pointers =
                problem["errors"].as_array().into_iter().flatten().filter_map(|error| error["pointer"].as_str());
            let all: Vec<&str> = pointers.collect();
            let under = all.iter().all(|given| given.starts_with(pointer));
            seen.must(!all.is_empty() && under, format!("pointers {all:?} instead of {pointer}"));
        }
        seen
    }

    /// An answer of the API, or a connection that was closed without one.
    pub(super) fn maybe_reply(reply: std::io::Result<Reply>) -> Self {
        match reply {
            Ok(reply) => Self::reply(&reply),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                Self { more: "no answer and no end".to_owned(), ..Self::default() }
            }
            Err(_) => Self::word("closed"),
        }
    }

    /// An attempt as the API shows it. Every attempt must end in time.
    pub(super) fn attempt(attempt: &Value) -> Self {
        let mut seen = Self::word(match attempt["error"]["code"].as_str() {
            Some(code) => format!("attempt_error:{code}"),
            None => "delivered".to_owned(),
        });
        seen.more = attempt["error"]["message"].as_str().unwrap_or_default().to_owned();
        let took = attempt["duration_ms"].as_f64().unwrap_or(f64::MAX);
        let ended = seen.in_time(took <= 5_250.0);
        seen.must(ended, format!("it took {took} ms"));
        seen.in_time(!attempt["error"]["code"].as_str().is_some_and(|code| code.ends_with("_timeout")));
        let told = attempt["error"].is_null()
            || attempt["error"]["message"].is_string() && attempt["error"]["hint"].is_string();
        seen.must(told, "an error without message and hint");
        seen
    }

    /// Adds a fault unless `fine`.
    pub(super) fn must(&mut self, fine: bool, fault: impl Into<String>) {
        if !fine {
            self.faults.push(fault.into());
        }
    }

    /// Hands on whether something came in time, and remembers if it did not.
    pub(super) fn in_time(&mut self, fine: bool) -> bool {
        self.late |= !fine;
        fine
    }

    /// Also fits this word, if `fine`; else that is its fault.
    pub(super) fn check(mut self, name: &str, fine: bool, fault: impl Into<String>) -> Self {
        if fine {
            self.words.push(format!("check:{name}"));
        }
        self.must(fine, fault);
        self
    }

    /// Takes over what another one found wrong, and only the words that both have.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.words.retain(|word| other.words.contains(word));
        self.faults.extend(other.faults);
        self.late |= other.late;
        self.more = format!("{} / {}", self.more, other.more);
        self
    }

    /// Whether it fits a word.
    pub(super) fn fits(&self, word: &str) -> bool {
        self.words.iter().any(|seen| seen == word)
    }

    /// What is wrong with it for this row.
    pub(super) fn fault(&self, row: &Row) -> Option<String> {
        let fits = row.expected.iter().any(|word| self.fits(word));
        (!fits || !self.faults.is_empty()).then(|| {
            format!(
                "{} {}({})",
                self.words.join(", "),
                self.faults.iter().fold(String::new(), |all, fault| all + fault + "; "),
                self.more
            )
        })
    }
}

/// The start of a text, for a line of a report.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(300).collect()
}
