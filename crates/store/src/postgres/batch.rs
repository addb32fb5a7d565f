//! What waits to be written, and what of it goes into one transaction.

use std::sync::Arc;

use domain::audit::By;
use domain::delivery::Settlement;
use domain::event::NewEvent;
use domain::store::{Change, ChangeError, Changed, Keep, StoreError};
use tokio::sync::oneshot;

use super::accept::Answered;

/// Bounds of one transaction, so that its first request does not wait for too many others.
const EVENTS_AT_ONCE: usize = 4_096;
const SETTLEMENTS_AT_ONCE: usize = 8_192;
const BYTES_AT_ONCE: usize = 16 * 1024 * 1024;

/// What is to be written, and who waits for it.
pub(super) enum Message {
    Accept(Vec<NewEvent>, oneshot::Sender<Answered>),
    Settle(Vec<Settlement>, oneshot::Sender<Result<(), StoreError>>),
    Change(Box<(Change, By, Option<Keep>)>, oneshot::Sender<Result<Changed, ChangeError>>),
    /// To read what others have changed, at once.
    Learn(oneshot::Sender<()>),
    Stop,
}

/// The messages of one transaction.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) events: Vec<NewEvent>,
    pub(super) bytes: usize,
    pub(super) accepts: Vec<(usize, oneshot::Sender<Answered>)>,
    pub(super) settlements: Vec<Arc<Settlement>>,
    pub(super) settles: Vec<oneshot::Sender<Result<(), StoreError>>>,
    /// Whether a transaction with these settlements may have been committed.
    pub(super) again: bool,
}

impl Batch {
    pub(super) const fn is_empty(&self) -> bool {
        self.accepts.is_empty() && self.settles.is_empty()
    }

    pub(super) const fn is_full(&self) -> bool {
        self.events.len() >= EVENTS_AT_ONCE
            || self.settlements.len() >= SETTLEMENTS_AT_ONCE
            || self.bytes >= BYTES_AT_ONCE
    }

    /// Takes a message in; gives back one that needs a transaction of its own.
    pub(super) fn take(&mut self, message: Message) -> Option<Message> {
        match message {
            Message::Accept(events, answer) => {
                self.bytes += bytes(&events);
                self.accepts.push((events.len(), answer));
                self.events.extend(events);
                None
            }
            Message::Settle(settlements, answer) => {
                self.settlements.extend(settlements.into_iter().map(Arc::new));
                self.settles.push(answer);
                None
            }
            Message::Change(..) | Message::Learn(_) | Message::Stop => Some(message),
        }
    }
}

/// The bytes of events, as they count while they wait.
pub(super) fn bytes(events: &[NewEvent]) -> usize {
    events.iter().map(|event| event.data.len()).sum()
}
