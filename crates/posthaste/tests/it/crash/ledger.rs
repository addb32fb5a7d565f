//! What was acknowledged, what arrived, and whether the two and the API's log fit together.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::WEBHOOKS;
use super::load::TYPES;

/// How long before a kill a request can have arrived whose outcome was not yet on disk. Far more than a busy machine needs:
/// what is older was never going to be written.
const UNRECORDED_MAX: Duration = Duration::from_secs(5);

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
    /// In the order of arrival.
    came: Vec<Arrived>,
    /// When each round's kill was.
    killed: Vec<Instant>,
    /// Deliveries that the log had as delivered before a kill, with the round of that.
    recorded: HashMap<String, usize>,
}

/// A request with its round and time.
#[derive(Debug)]
struct Arrived {
    round: usize,
    at: Instant,
    came: Came,
}

/// Requests in flight per webhook at most, as the settings have it by default: sent, and their outcome not yet on disk.
const IN_FLIGHT_PER_WEBHOOK: usize = 10;

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
        let arrived = Arrived { round: book.round, at: Instant::now(), came };
        book.came.push(arrived);
    }

    /// How many requests have arrived.
    pub(super) fn arrived(&self) -> usize {
        self.book().came.len()
    }

    /// This round's kill was just now; before it, the log had these deliveries as delivered.
    pub(super) fn killed<'a>(&self, recorded: impl Iterator<Item = &'a str>) {
        let mut book = self.book();
        let round = book.round;
        book.killed.push(Instant::now());
        book.recorded.extend(recorded.map(|id| (id.to_owned(), round)));
    }

    /// Checks everything against everything; gives the figures.
    ///
    /// # Panics
    /// When something was lost, repeated without need, or changed.
    pub(super) fn judge(&self, kept: &HashMap<String, Kept>) -> String {
        let book = self.book();
        let mut of: Requests<'_> = HashMap::new();
        for arrived in &book.came {
            of.entry(&arrived.came.delivery).or_default().push(arrived);
        }
        let delivered = delivered(&of, kept);
        nothing_missing(&book, &delivered);
        timestamps_unique(&book);
        let repeats = repeats(&of, &book);
        let in_flight_max = WEBHOOKS.len() * IN_FLIGHT_PER_WEBHOOK;
        assert!(
            repeats.iter().all(|repeats| *repeats <= in_flight_max),
            "more came again after a kill than can have been in flight ({in_flight_max}): {repeats:?}"
        );
        format!(
            "{} kills: {} events acknowledged, {} deliveries, {} requests; {} of them were in flight at a kill and came again, \
             at most {} of one kill",
            book.killed.len(),
            book.acknowledged.len(),
            kept.len(),
            book.came.len(),
            repeats.iter().sum::<usize>(),
            repeats.iter().max().copied().unwrap_or_default(),
        )
    }
}

/// The requests of each delivery, in the order of arrival.
type Requests<'a> = HashMap<&'a str, Vec<&'a Arrived>>;

/// The deliveries that a receiver has answered with 200, by event and webhook; each must be `delivered` in the log, and
/// each of the log must be among them.
fn delivered<'a>(of: &Requests<'a>, kept: &'a HashMap<String, Kept>) -> HashSet<(&'a str, &'a str)> {
    let mut delivered = HashSet::new();
    for (delivery, kept) in kept {
        assert_eq!(kept.status, "delivered", "{delivery} in the log");
        let requests = of.get(delivery.as_str()).unwrap_or_else(|| panic!("{delivery} never arrived"));
        assert!(requests.iter().any(|arrived| arrived.came.success), "{delivery} was never answered with 200");
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
    for Arrived { came, .. } in &book.came {
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

/// How many requests of each round were made again in a later one: those whose outcome was not on disk at the kill (settled
/// question 14). Within one life nothing is repeated; what the log had was on disk; equal ids carry equal bytes; nothing
/// follows a success that was recorded.
fn repeats(of: &Requests<'_>, book: &Book) -> Vec<usize> {
    let mut repeats = vec![0; book.killed.len()];
    for (delivery, requests) in of {
        for pair in requests.windows(2) {
            let [before, after] = pair else { continue };
            let (one, other) = (&before.came, &after.came);
            assert_eq!(one.body, other.body, "{delivery} has changed");
            if one.number != other.number {
                assert_eq!(other.number, one.number + 1, "attempts of {delivery}");
                assert!(!one.success, "{delivery} was tried again after a recorded success");
                continue;
            }
            assert!(before.round < after.round, "attempt {} of {delivery} was made twice in one life", one.number);
            let recorded = book.recorded.get(*delivery).is_some_and(|round| *round < after.round);
            assert!(!recorded, "{delivery} was in the log as delivered, and came again after a kill");
            let age = book.killed[before.round].saturating_duration_since(before.at);
            assert!(age < UNRECORDED_MAX, "{delivery} had arrived {age:?} before the kill, and was not recorded");
            repeats[before.round] += 1;
        }
    }
    repeats
}
