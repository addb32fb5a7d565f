//! What waits to be written, and how much of it goes into one transaction, in either store.

use std::sync::Arc;

use domain::delivery::Settlement;
use domain::event::NewEvent;
use domain::store::{AcceptError, Accepted, StoreError};
use tokio::sync::oneshot;

/// Bounds of one transaction, so that its first request does not wait for too many others.
const EVENTS_AT_ONCE: usize = 4_096;
const SETTLEMENTS_AT_ONCE: usize = 8_192;
const BYTES_AT_ONCE: usize = 16 * 1024 * 1024;

/// Answers to events, in their order.
pub(crate) type Answered = Vec<Result<Accepted, AcceptError>>;

/// What goes into one transaction, and who waits for it.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) events: Vec<NewEvent>,
    pub(crate) bytes: usize,
    pub(crate) accepts: Vec<(usize, oneshot::Sender<Answered>)>,
    pub(crate) settlements: Vec<Arc<Settlement>>,
    pub(crate) settles: Vec<oneshot::Sender<Result<(), StoreError>>>,
    /// Whether a transaction with these settlements may have been committed: where a connection can be lost.
    pub(crate) again: bool,
}

impl Batch {
    pub(crate) const fn is_empty(&self) -> bool {
        self.accepts.is_empty() && self.settles.is_empty()
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.events.len() >= EVENTS_AT_ONCE
            || self.settlements.len() >= SETTLEMENTS_AT_ONCE
            || self.bytes >= BYTES_AT_ONCE
    }

    pub(crate) fn accept(&mut self, events: Vec<NewEvent>, answer: oneshot::Sender<Answered>) {
        self.bytes += bytes(&events);
        self.accepts.push((events.len(), answer));
        self.events.extend(events);
    }

    pub(crate) fn settle(&mut self, settlements: Vec<Settlement>, answer: oneshot::Sender<Result<(), StoreError>>) {
        self.settlements.extend(settlements.into_iter().map(Arc::new));
        self.settles.push(answer);
    }

    /// Takes in the ends of attempts of another, after its own.
    pub(crate) fn join(&mut self, other: Self) {
        self.settlements.extend(other.settlements);
        self.settles.extend(other.settles);
        self.again |= other.again;
    }

    /// It is written: answers everybody. Whoever asked may have gone.
    pub(crate) fn answer(self, answers: Answered) {
        let mut answers = answers.into_iter();
        for (number, answer) in self.accepts {
            let _ = answer.send(answers.by_ref().take(number).collect());
        }
        for answer in self.settles {
            let _ = answer.send(Ok(()));
        }
    }

    /// Refuses its events, and gives back the ends of attempts, which are tried again.
    pub(crate) fn refuse_events(self, error: &StoreError) -> Self {
        for (number, answer) in self.accepts {
            let _ = answer.send(vec![Err(AcceptError::Store(error.clone())); number]);
        }
        Self { settlements: self.settlements, settles: self.settles, again: self.again, ..Self::default() }
    }
}

/// The bytes of events, as they count while they wait.
pub(crate) fn bytes(events: &[NewEvent]) -> usize {
    events.iter().map(|event| event.data.len()).sum()
}
