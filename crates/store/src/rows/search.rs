//! The search for a text in ids and bodies.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use domain::id::{AttemptId, DeliveryId, EventId};
use domain::redaction::Redaction;

/// For how long a page looks: by the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    until: Option<Instant>,
}

impl Patience {
    /// From now on for so long.
    pub(crate) fn of(span: Duration) -> Self {
        Self { until: Instant::now().checked_add(span) }
    }

    /// A part of the time that is left: one of `shares` that have to do with it.
    pub(crate) fn share(&self, shares: usize) -> Self {
        let shares = u32::try_from(shares).unwrap_or(u32::MAX).max(1);
        let now = Instant::now();
        Self { until: self.until.and_then(|until| now.checked_add(until.saturating_duration_since(now) / shares)) }
    }

    /// Whether the time is over.
    pub(crate) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

/// One page's search. Letters of the basic alphabet are found in either case.
pub(crate) struct Search<'a> {
    /// In lower case.
    wanted: String,
    /// Set if the text is an id: that is looked up, not searched for.
    id: Option<Wanted>,
    /// Whether it may be a part of an id.
    part_of_id: bool,
    /// What is not shown is not found either.
    redaction: &'a Redaction,
    /// The event searched last, whose other deliveries come next, and whether its body holds the text.
    last: Option<(EventId, bool)>,
}

/// What an id names.
enum Wanted {
    Event(EventId),
    Delivery(DeliveryId),
}

impl<'a> Search<'a> {
    pub(crate) fn new(text: &str, redaction: &'a Redaction) -> Self {
        let event = text.parse().map(Wanted::Event);
        let delivery = || text.parse().map(Wanted::Delivery);
        let attempt = || text.parse::<AttemptId>().map(|attempt| Wanted::Delivery(attempt.delivery));
        let id = event.or_else(|_| delivery()).or_else(|_| attempt()).ok();
        let part_of_id = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        Self { wanted: text.to_ascii_lowercase(), id, part_of_id, redaction, last: None }
    }

    /// The one event that is meant, or whose deliveries are, if the text is an id.
    pub(crate) fn event(&self) -> Option<EventId> {
        self.id.as_ref().map(|id| match id {
            Wanted::Event(event) => *event,
            Wanted::Delivery(delivery) => delivery.event,
        })
    }

    /// Whether an id that is written so holds the text.
    pub(crate) fn is_in_id(&self, id: &str) -> bool {
        self.part_of_id && id.to_ascii_lowercase().contains(&self.wanted)
    }

    /// Whether an id of the delivery holds the text, or the body of its event, if that can be said without the body. Its
    /// webhook's id is the caller's to compare.
    pub(crate) fn finds_by_id(&self, delivery: DeliveryId) -> Option<bool> {
        match &self.id {
            Some(Wanted::Event(event)) => return Some(delivery.event == *event),
            Some(Wanted::Delivery(id)) => return Some(delivery == *id),
            None => {}
        }
        if self.part_of_id && delivery.to_string().contains(&self.wanted) {
            return Some(true);
        }
        self.last.filter(|(event, _)| *event == delivery.event).map(|(_, found)| found)
    }

    /// Remembers what [`Self::finds_event_by_id`] and [`Self::is_in`] have said of an event: its other deliveries come next.
    pub(crate) const fn remember(&mut self, event: EventId, found: bool) {
        self.last = Some((event, found));
    }

    /// Whether the event's id or body holds the text, if that can be said without the body.
    pub(crate) fn finds_event_by_id(&self, event: EventId) -> Option<bool> {
        if let Some(id) = self.event() {
            return Some(event == id);
        }
        (self.part_of_id && event.to_string().contains(&self.wanted)).then_some(true)
    }

    /// Whether a body holds the text, as far as it is shown.
    pub(crate) fn is_in(&self, data: &[u8]) -> bool {
        let wanted = self.wanted.as_bytes();
        if !holds(data, wanted) {
            return false;
        }
        match self.redaction.apply(data) {
            Cow::Borrowed(_) => true,
            Cow::Owned(shown) => holds(&shown, wanted),
        }
    }
}

/// Whether `text` holds `wanted`, which is in lower case.
fn holds(text: &[u8], wanted: &[u8]) -> bool {
    let Some((first, rest)) = wanted.split_first() else { return true };
    memchr::memchr2_iter(*first, first.to_ascii_uppercase(), text)
        .any(|at| text.get(at + 1..at + 1 + rest.len()).is_some_and(|after| after.eq_ignore_ascii_case(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_in_either_case_and_to_the_last_byte() {
        assert!(holds(br#"{"domain":"NewStartup.com"}"#, b"newstartup"));
        assert!(holds(b"abc", b"c") && holds(b"aab", b"ab") && holds("naïve".as_bytes(), "ï".as_bytes()));
        assert!(!holds(b"abc", b"abcd") && !holds(b"", b"a") && !holds(b"abab", b"abc"));
    }

    #[test]
    fn what_is_not_shown_is_not_found() {
        let redaction = Redaction::parse(&["/email".to_owned()]).expect("pointers");
        let search = |text: &str| Search::new(text, &redaction).is_in(br#"{"email":"jane@x.com","name":"Jane"}"#);
        assert!(search("jane") && search("\"name\""));
        assert!(!search("jane@") && !search("x.com"));
    }
}
