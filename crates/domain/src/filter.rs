//! The one grammar for choosing deliveries and attempts: in the API's query, the dashboard's URL and the CLI.
//!
//! ```text
//! status=failed,pending event=alert.* code=5xx,429 error=response_timeout webhook=wh_… test=false since=24h until=… q="new startup"
//! ```
//!
//! Keys stand side by side as "and"; values of one key, separated by commas or by naming the key again, as "or". `since`
//! and `until` take an instant (RFC 3339) or a span back from now. A key without a value is refused, never ignored.

mod line;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::attempt::ErrorCode;
use crate::delivery::{Delivery, DeliveryStatus};
use crate::event_filter::{EventPattern, shown};
use crate::id::WebhookId;
use crate::refusal::Refusal;
use crate::time::{Timestamp, parse_span};

/// The code of every refusal of a filter.
pub const FILTER_INVALID: &str = "filter_invalid";
/// How long the text that is searched for may be, in characters.
pub const SEARCH_LEN_MAX: usize = 200;

/// The keys, as a refusal lists them.
const KEYS: &str = "status, event, code, error, webhook, test, since, until, q";

/// A status code, or a class of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodePattern {
    /// One code, 100–599, such as 404.
    Exact(u16),
    /// A class by its first digit, 1–5: 5 is `5xx`.
    Class(u8),
}

impl CodePattern {
    /// The pattern that `text` writes: `404` or `5xx`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [class @ b'1'..=b'5', b'x', b'x'] => Some(Self::Class(class - b'0')),
            [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9'] => text.parse().ok().map(Self::Exact),
            _ => None,
        }
    }

    /// Whether the status code `code` is meant.
    #[must_use]
    pub fn matches(self, code: u16) -> bool {
        match self {
            Self::Exact(exact) => code == exact,
            Self::Class(class) => code / 100 == u16::from(class),
        }
    }
}

impl fmt::Display for CodePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(code) => write!(f, "{code}"),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}

/// Which deliveries are meant. An empty list, or `None`, leaves everything in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// To this webhook.
    pub webhook: Option<WebhookId>,
    /// Of a type that one of these means.
    pub events: Vec<EventPattern>,
    /// In one of these states.
    pub status: Vec<DeliveryStatus>,
    /// Whose last attempt was answered with one of these.
    pub code: Vec<CodePattern>,
    /// Whose last attempt failed by one of these.
    pub error: Vec<ErrorCode>,
    /// Tests only, or all but tests.
    pub test: Option<bool>,
    /// Whose event was accepted at this instant or after it.
    pub since: Option<Timestamp>,
    /// Whose event was accepted before this instant.
    pub until: Option<Timestamp>,
    /// Whose ids or bodies hold this text.
    pub q: Option<String>,
}

impl DeliveryFilter {
    /// Reads the pairs of a query, decoded, without those that are not the filter's (`limit`, `cursor`).
    ///
    /// # Errors
    /// A refusal with [`FILTER_INVALID`] for each fault; the pointer is the key, such as `since`.
    pub fn parse<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        now: Timestamp,
    ) -> Result<Self, Vec<Refusal>> {
        let mut filter = Self::default();
        let mut refusals = Vec::new();
        for (key, value) in pairs {
            if let Err(detail) = filter.take(key, value, now) {
                refusals.push(Refusal::new(key, FILTER_INVALID, detail));
            }
        }
        if let (Some(since), Some(until)) = (filter.since, filter.until)
            && since > until
        {
            let detail = format!("`since` ({since}) is after `until` ({until}).");
            refusals.push(Refusal::new("since", FILTER_INVALID, detail));
        }
        if refusals.is_empty() { Ok(filter) } else { Err(refusals) }
    }

    /// Reads one line, as the CLI and the dashboard's field take it: what [`fmt::Display`] writes.
    ///
    /// # Errors
    /// As [`Self::parse`]; a word without `=` is refused with itself as pointer.
    pub fn parse_line(line: &str, now: Timestamp) -> Result<Self, Vec<Refusal>> {
        let pairs = line::split(line)?;
        Self::parse(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())), now)
    }

    /// The pairs of a query that say the same, instants instead of spans.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        fn list<T>(key: &'static str, values: &[T], text: impl Fn(&T) -> String) -> Option<(&'static str, String)> {
            let texts: Vec<_> = values.iter().map(text).collect();
            (!texts.is_empty()).then(|| (key, texts.join(",")))
        }
        [
            list("status", &self.status, |status| status.as_str().to_owned()),
            list("event", &self.events, ToString::to_string),
            list("code", &self.code, ToString::to_string),
            list("error", &self.error, |error| error.as_str().to_owned()),
            self.webhook.as_ref().map(|webhook| ("webhook", webhook.to_string())),
            self.test.map(|test| ("test", test.to_string())),
            self.since.map(|since| ("since", since.to_string())),
            self.until.map(|until| ("until", until.to_string())),
            self.q.clone().map(|q| ("q", q)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Whether `delivery` is meant, as far as its row tells: `q` is left to who has the bodies.
    #[must_use]
    pub fn matches(&self, delivery: &Delivery) -> bool {
        fn one<T>(wanted: &[T], is: impl Fn(&T) -> bool) -> bool {
            wanted.is_empty() || wanted.iter().any(is)
        }
        self.webhook.as_ref().is_none_or(|webhook| *webhook == delivery.webhook)
            && one(&self.status, |status| *status == delivery.status)
            && one(&self.events, |pattern| pattern.matches(&delivery.event_type))
            && one(&self.code, |pattern| delivery.last_status_code.is_some_and(|code| pattern.matches(code)))
            && one(&self.error, |error| Some(*error) == delivery.last_error)
            && self.test.is_none_or(|test| test == delivery.test)
            && self.since.is_none_or(|since| delivery.timestamp >= since)
            && self.until.is_none_or(|until| delivery.timestamp < until)
    }

    /// Adds one pair; the fault as a sentence.
    fn take(&mut self, key: &str, value: &str, now: Timestamp) -> Result<(), String> {
        let missing = || format!("`{key}` has no value; leave it out to leave everything in.");
        match key {
            _ if value.is_empty() && KEYS.split(", ").any(|known| known == key) => Err(missing()),
            "status" => each(&mut self.status, value, DeliveryStatus::parse, || {
                let all: Vec<_> = DeliveryStatus::ALL.iter().map(|status| status.as_str()).collect();
                format!("no status of a delivery; those are {}", all.join(", "))
            }),
            "event" => each(&mut self.events, value, EventPattern::parse, || {
                "no event type, no group such as `alert.*`, and not `*`".to_owned()
            }),
            "code" => each(&mut self.code, value, CodePattern::parse, || {
                "no status code such as 404, and no class such as 5xx".to_owned()
            }),
            "error" => each(&mut self.error, value, ErrorCode::parse, || {
                let all: Vec<_> = ErrorCode::ALL.iter().map(|error| error.as_str()).collect();
                format!("no error of an attempt; those are {}", all.join(", "))
            }),
            "webhook" => {
                let webhook =
                    value.parse().map_err(|_| format!("{} is no webhook's id, such as `wh_abc123`.", shown(value)))?;
                once(&mut self.webhook, key, webhook)
            }
            "test" => {
                let test = value.parse().map_err(|_| format!("{} is neither `true` nor `false`.", shown(value)))?;
                once(&mut self.test, key, test)
            }
            "since" => once(&mut self.since, key, instant(value, now)?),
            "until" => once(&mut self.until, key, instant(value, now)?),
            "q" if value.chars().nth(SEARCH_LEN_MAX).is_some() => {
                Err(format!("`q` may be at most {SEARCH_LEN_MAX} characters long."))
            }
            "q" => once(&mut self.q, key, value.to_owned()),
            _ => Err(format!("{} is no key of the filter; those are {KEYS}.", shown(key))),
        }
    }
}

/// Adds each value of a list; one that is there already is not added again.
fn each<T: PartialEq>(
    into: &mut Vec<T>,
    list: &str,
    parse: impl Fn(&str) -> Option<T>,
    fault: impl Fn() -> String,
) -> Result<(), String> {
    for text in list.split(',') {
        let value = parse(text).ok_or_else(|| format!("{} is {}.", shown(text), fault()))?;
        if !into.contains(&value) {
            into.push(value);
        }
    }
    Ok(())
}

fn once<T>(into: &mut Option<T>, key: &str, value: T) -> Result<(), String> {
    match into.replace(value) {
        Some(_) => Err(format!("`{key}` is given twice.")),
        None => Ok(()),
    }
}

/// The instant that `text` names, or the one a span before `now`.
pub(crate) fn instant(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let at = match parse_span(text) {
        Ok(span) => now.minus(span),
        Err(_) => text.parse().ok().or_else(|| end_of_time(text)).ok_or_else(|| {
            format!("{} is neither a span such as 24h nor a time such as 2026-03-18T14:30:00Z.", shown(text))
        })?,
    };
    if at.0 < 0 { Err(format!("{} is before 1970.", shown(text))) } else { Ok(at) }
}

/// The last two days of the year 9999, which the calendar library counts in part only, stand for its last instant: whoever writes
/// them means "without end".
fn end_of_time(text: &str) -> Option<Timestamp> {
    let time = text.strip_prefix("9999-12-3").and_then(|rest| rest.strip_prefix(['0', '1']))?;
    format!("9999-12-29{time}").parse::<Timestamp>().ok()?;
    Some(Timestamp(jiff::Timestamp::MAX.as_microsecond()))
}

/// The line that [`DeliveryFilter::parse_line`] reads.
impl fmt::Display for DeliveryFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.pairs().iter().map(|(key, value)| line::word(key, value)).collect();
        f.write_str(&words.join(" "))
    }
}

/// As its line, for the store: instants are absolute, so it reads back the same at any time.
impl Serialize for DeliveryFilter {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeliveryFilter {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let line = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::parse_line(&line, Timestamp(0)).map_err(|refusals| {
            serde::de::Error::custom(refusals.first().map_or("not a filter", |refusal| refusal.detail.as_str()))
        })
    }
}

#[cfg(test)]
mod tests;
