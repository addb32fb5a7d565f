//! How a box answers: switchable, so that each kind of failure can be seen.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a slow answer takes: long, and within the deadline of an attempt.
const SLOW: Duration = Duration::from_secs(3);
/// How long a box that hangs keeps a connection: far longer than any deadline.
const HANG: Duration = Duration::from_secs(60);
/// What 429 asks for, in seconds.
const RETRY_AFTER: &str = "10";

/// How a box answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// 200, at once.
    #[serde(rename = "200")]
    Ok,
    /// 500.
    #[serde(rename = "500")]
    ServerError,
    /// 410: the webhook is paused.
    #[serde(rename = "410")]
    Gone,
    /// 429 with `Retry-After`.
    #[serde(rename = "429")]
    TooMany,
    /// 200, after three seconds.
    #[serde(rename = "slow")]
    Slow,
    /// No answer.
    #[serde(rename = "hang")]
    Hang,
    /// 500 to the first two attempts of each delivery, then 200.
    #[serde(rename = "fail_twice")]
    FailTwice,
}

/// An answer as it goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    /// How long it takes.
    pub(crate) after: Duration,
    /// Its status; `None` for no answer at all.
    pub(crate) status: Option<u16>,
    /// Its `Retry-After`.
    pub(crate) retry_after: Option<&'static str>,
    /// Its body.
    pub(crate) body: &'static str,
}

impl Answer {
    /// All of them, as they are written.
    pub(crate) const NAMES: &'static str = "200, 500, 410, 429, slow, hang, fail_twice";

    /// All of them, each with its name.
    pub(crate) const ALL: [(&'static str, Self); 7] = [
        ("200", Self::Ok),
        ("500", Self::ServerError),
        ("410", Self::Gone),
        ("429", Self::TooMany),
        ("slow", Self::Slow),
        ("hang", Self::Hang),
        ("fail_twice", Self::FailTwice),
    ];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, answer)| *answer == self).map_or("", |(name, _)| name)
    }

    /// What the `nth` request of a delivery gets, from 1.
    pub(crate) const fn reply(self, nth: u32) -> Reply {
        match self {
            Self::Ok => at_once(200, "thank you"),
            Self::ServerError => at_once(500, "something broke"),
            Self::Gone => at_once(410, "gone for good"),
            Self::TooMany => Reply { retry_after: Some(RETRY_AFTER), ..at_once(429, "too many requests") },
            Self::Slow => Reply { after: SLOW, ..at_once(200, "thank you for waiting") },
            Self::Hang => Reply { after: HANG, status: None, retry_after: None, body: "" },
            Self::FailTwice if nth <= 2 => at_once(500, "something broke"),
            Self::FailTwice => at_once(200, "thank you"),
        }
    }

    /// How it answers, for people.
    pub(crate) const fn said(self) -> &'static str {
        match self {
            Self::Ok => "answers 200",
            Self::ServerError => "answers 500",
            Self::Gone => "answers 410",
            Self::TooMany => "answers 429, Retry-After 10 s",
            Self::Slow => "answers 200 after 3 s",
            Self::Hang => "does not answer",
            Self::FailTwice => "answers 500, 500, then 200",
        }
    }
}

const fn at_once(status: u16, body: &'static str) -> Reply {
    Reply { after: Duration::ZERO, status: Some(status), retry_after: None, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answers_as_its_name_says() {
        let check = |name: &str, nth, status: Option<u16>| {
            let answer: Answer = serde_json::from_value(name.into()).expect(name);
            assert_eq!(answer.reply(nth).status, status, "{name} {nth}");
            assert!(Answer::NAMES.split(", ").any(|known| known == name));
        };
        check("200", 1, Some(200));
        check("500", 9, Some(500));
        check("410", 1, Some(410));
        check("429", 1, Some(429));
        check("slow", 1, Some(200));
        check("hang", 1, None);
        for (nth, status) in [(1, 500), (2, 500), (3, 200), (4, 200)] {
            check("fail_twice", nth, Some(status));
        }
        assert_eq!(Answer::ALL.map(|(name, _)| name).join(", "), Answer::NAMES);
        assert!(Answer::ALL.iter().all(|(name, answer)| serde_json::to_value(answer).expect("JSON") == *name));
        assert_eq!(Answer::TooMany.reply(1).retry_after, Some("10"));
        assert!(serde_json::from_str::<Answer>("\"404\"").is_err());
    }
}
