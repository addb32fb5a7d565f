//! The search for a text in ids and bodies: newest first, within a budget.

use domain::delivery::Delivery;
use domain::id::{AttemptId, DeliveryId, EventId};
use rusqlite::Connection;

use super::events;
use super::fault::Fault;

/// How many bytes of bodies one page is searched through.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many deliveries one page is searched through.
const DELIVERIES_MAX: usize = 20_000;

/// One page's search. Letters of the basic alphabet are found in either case.
pub(super) struct Search {
    /// In lower case.
    wanted: String,
    /// Set if the text is an id: that is looked up, not searched for.
    id: Option<Wanted>,
    bytes_left: usize,
    deliveries_left: usize,
    /// The event searched last, whose other deliveries come next, and whether its body holds the text.
    last: Option<(EventId, bool)>,
}

/// What an id names.
enum Wanted {
    Event(EventId),
    Delivery(DeliveryId),
}

impl Search {
    pub(super) fn new(text: &str) -> Self {
        let event = text.parse().map(Wanted::Event);
        let delivery = || text.parse().map(Wanted::Delivery);
        let attempt = || text.parse::<AttemptId>().map(|attempt| Wanted::Delivery(attempt.delivery));
        let id = event.or_else(|_| delivery()).or_else(|_| attempt()).ok();
        let wanted = text.to_ascii_lowercase();
        Self { wanted, id, bytes_left: BYTES_MAX, deliveries_left: DELIVERIES_MAX, last: None }
    }

    /// The one event whose deliveries are meant, if the text is an id.
    pub(super) fn event(&self) -> Option<EventId> {
        self.id.as_ref().map(|id| match id {
            Wanted::Event(event) => *event,
            Wanted::Delivery(delivery) => delivery.event,
        })
    }

    /// Whether the budget is used up.
    pub(super) const fn is_spent(&self) -> bool {
        self.bytes_left == 0 || self.deliveries_left == 0
    }

    /// Whether an id of the delivery, or its event's body, holds the text.
    pub(super) fn finds(&mut self, conn: &Connection, delivery: &Delivery) -> Result<bool, Fault> {
        match &self.id {
            Some(Wanted::Event(event)) => return Ok(delivery.id.event == *event),
            Some(Wanted::Delivery(id)) => return Ok(delivery.id == *id),
            None => {}
        }
        self.deliveries_left = self.deliveries_left.saturating_sub(1);
        let wanted = self.wanted.as_str();
        if delivery.id.to_string().contains(wanted)
            || delivery.id.event.to_string().contains(wanted)
            || delivery.webhook.as_str().to_ascii_lowercase().contains(wanted)
        {
            return Ok(true);
        }
        if let Some((event, found)) = self.last
            && event == delivery.id.event
        {
            return Ok(found);
        }
        let body = events::data(conn, delivery.id.event)?.unwrap_or_default();
        self.bytes_left = self.bytes_left.saturating_sub(body.len());
        let found = holds(&body, wanted.as_bytes());
        self.last = Some((delivery.id.event, found));
        Ok(found)
    }
}

/// Whether `text` holds `wanted`, which is in lower case.
fn holds(text: &[u8], wanted: &[u8]) -> bool {
    let Some((first, rest)) = wanted.split_first() else { return true };
    let upper = first.to_ascii_uppercase();
    let starts = text.iter().enumerate().filter(|(_, byte)| *byte == first || **byte == upper);
    starts
        .map(|(at, _)| &text[at + 1..])
        .any(|after| after.get(..rest.len()).is_some_and(|a| a.eq_ignore_ascii_case(rest)))
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
}
