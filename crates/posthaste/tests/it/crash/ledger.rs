//! What was acknowledged, what arrived, and whether the two and the API's log fit together.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::WEBHOOKS;
use super::load::TYPES;

/// An event that was answered with 202.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Acknowledged {
    event: String,
    timestamp: String,
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub(super) struct Came {
    /// The place of its webhook.
    pub(super) webhook: usize,
    /// `webhook-id`: the delivery.
    pub(super) delivery: String,
    /// The number of the attempt.
    pub(super) number: u16,
    /// Whether it is answered with 200.
    pub(super) success: bool,
    /// Its body.
    pub(super) body: Vec<u8>,
}

/// A delivery in the API's log.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) event: String,
    pub(super) webhook: String,
    pub(super) status: String,
}

#[derive(Debug, Default)]
struct Book {
    round: usize,
    acknowledged: HashMap<usize, Acknowledged>,
    /// In the order of arrival, each with its round.
    came: Vec<(usize, Came)>,
}

/// The ledger, written by the load and the receiver at once.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Book>);

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What arrives from here on belongs to `round`.
    pub(super) fn begin_round(&self, round: usize) {
        self.book().round = round;
    }

    /// Event `number` was answered with 202. Posted again under its key, it must be the same event.
    pub(super) fn acknowledged(&self, number: usize, event: String, timestamp: String) {
        let now = Acknowledged { event, timestamp };
        let before = self.book().acknowledged.insert(number, now.clone());
        assert!(before.is_none_or(|before| before == now), "one idempotency key, two events");
    }

    /// A request arrived.
    pub(super) fn came(&self, came: Came) {
        let mut book = self.book();
        let round = book.round;
        book.came.push((round, came));
    }

    /// Checks everything against everything; gives the figures.
    ///
    /// # Panics
    /// When something was lost, repeated without need, or changed.
    pub(super) fn judge(&self, kept: &HashMap<String, Kept>, rounds: usize, in_flight_max: usize) -> String {
        let book = self.book();
        let mut of: HashMap<&str, Vec<&(usize, Came)>> = HashMap::new();
        for entry in &book.came {
            of.entry(&entry.1.delivery).or_default().push(entry);
        }
        let delivered = delivered(&of, kept);
        nothing_missing(&book, &delivered);
        timestamps_unique(&book);
        let repeats = repeats(&of, rounds);
        let worst = repeats.iter().max().copied().unwrap_or_default();
        assert!(worst <= in_flight_max, "{worst} requests were repeated after one kill, more than can be in flight");
        format!(
            "{} kills: {} events acknowledged, {} deliveries, {} requests, {} of them repeated after a kill, at most {worst} \
             after one",
            rounds,
            book.acknowledged.len(),
            kept.len(),
            book.came.len(),
            repeats.iter().sum::<usize>(),
        )
    }
}

/// The deliveries that a receiver has answered with 200, by event and webhook; each must be `delivered` in the log, and
/// each of the log must be among them.
fn delivered<'a>(
    of: &HashMap<&'a str, Vec<&'a (usize, Came)>>,
    kept: &'a HashMap<String, Kept>,
) -> HashSet<(&'a str, &'a str)> {
    let mut delivered = HashSet::new();
    for (delivery, kept) in kept {
        assert_eq!(kept.status, "delivered", "{delivery} in the log");
        let requests = of.get(delivery.as_str()).unwrap_or_else(|| panic!("{delivery} never arrived"));
        assert!(requests.iter().any(|(_, came)| came.success), "{delivery} was never answered with 200");
        assert!(
            delivered.insert((kept.event.as_str(), kept.webhook.as_str())),
            "two deliveries of an event to a webhook"
        );
    }
    for delivery in of.keys() {
        assert!(kept.contains_key(*delivery), "{delivery} arrived, and the log does not know it");
    }
    delivered
}

/// Every acknowledged event has reached every webhook that takes it.
fn nothing_missing(book: &Book, delivered: &HashSet<(&str, &str)>) {
    for (number, acknowledged) in &book.acknowledged {
        for (place, filter) in WEBHOOKS.iter().enumerate() {
            let webhook = format!("wh_{place}");
            let has = delivered.contains(&(acknowledged.event.as_str(), webhook.as_str()));
            assert_eq!(has, takes(filter, TYPES[number % TYPES.len()]), "event {number} at {webhook}");
        }
    }
    let webhooks_of =
        |number: &usize| WEBHOOKS.iter().filter(|filter| takes(filter, TYPES[number % TYPES.len()])).count();
    let expected: usize = book.acknowledged.keys().map(webhooks_of).sum();
    assert_eq!(delivered.len(), expected, "deliveries of events that nobody posted");
}

fn takes(filter: &[&str], event: &str) -> bool {
    filter.iter().any(|part| match part.strip_suffix('*') {
        Some(start) => event.starts_with(start),
        None => *part == event,
    })
}

/// `webhook_id` + `timestamp` name one event, over all lives of the process; and the body is the acknowledged event's.
fn timestamps_unique(book: &Book) {
    let mut numbers: HashMap<(String, String), u64> = HashMap::new();
    for (_, came) in &book.came {
        let body: Value = serde_json::from_slice(&came.body).expect("JSON");
        let text = |name: &str| body[name].as_str().expect("text").to_owned();
        let number = body["data"]["n"].as_u64().expect("a number");
        assert_eq!(text("webhook_id"), format!("wh_{}", came.webhook));
        let before = numbers.insert((text("webhook_id"), text("timestamp")), number);
        assert!(before.is_none_or(|before| before == number), "events {before:?} and {number} have one timestamp");
        let acknowledged = &book.acknowledged[&usize::try_from(number).expect("small")];
        assert_eq!(text("timestamp"), acknowledged.timestamp, "event {number}");
    }
}

/// How many requests of each round were made again in a later one. Within one life nothing is repeated; equal ids carry
/// equal bytes; nothing follows a success that was recorded.
fn repeats(of: &HashMap<&str, Vec<&(usize, Came)>>, rounds: usize) -> Vec<usize> {
    let mut repeats = vec![0; rounds + 1];
    for (delivery, requests) in of {
        for pair in requests.windows(2) {
            let [(before, one), (after, other)] = pair else { continue };
            assert_eq!(one.body, other.body, "{delivery} has changed");
            if one.number == other.number {
                assert!(before < after, "attempt {} of {delivery} was made twice in one life", one.number);
                repeats[*before] += 1;
            } else {
                assert_eq!(other.number, one.number + 1, "attempts of {delivery}");
                assert!(!one.success, "{delivery} was tried again after a recorded success");
            }
        }
    }
    repeats
}
