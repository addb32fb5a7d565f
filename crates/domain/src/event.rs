//! An event: something that happened, accepted from the platform; and to whom it goes.

use std::sync::Arc;

use bytes::Bytes;

use crate::id::{EventId, PLACES_MAX};
use crate::time::Timestamp;
use crate::trace::TraceParent;
use crate::webhook::Webhook;

/// An accepted event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// The number of its account.
    pub account: u32,
    /// Its type.
    pub event_type: Arc<str>,
    /// Unique in its account, given at acceptance, never changed.
    pub timestamp: Timestamp,
    /// The producer's own bytes.
    pub data: Bytes,
    /// The numbers of the webhooks that it goes to; the place in this list is part of each delivery's id.
    pub targets: Vec<u32>,
    /// Whether it is a test for one webhook.
    pub test: bool,
    /// Whether its data broke its type's schema, and was taken all the same (`flag`).
    pub flagged: bool,
    /// Where it came from in the producer's traces.
    pub trace: Option<TraceParent>,
}

/// An event that has passed every check and waits for its transaction.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The number of the account.
    pub account: u32,
    /// The type's name.
    pub event_type: Arc<str>,
    /// The producer's own bytes.
    pub data: Bytes,
    /// Set for a test: the number of the one webhook that it goes to, subscribed or not, paused or not.
    pub test_for: Option<u32>,
    /// Whether its data broke its type's schema.
    pub flagged: bool,
    /// Where it comes from in the producer's traces.
    pub trace: Option<TraceParent>,
    /// The key under which the request may come again.
    pub idempotency: Option<Idempotency>,
    /// Accepted only if its key was answered before: of what is over a quota the first answer is given again.
    pub only_repeated: bool,
}

/// An idempotency key: the same one with the same request gets the same answer, and acts once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The account that the route is of, 0 for the platform's own: part of what [`Self::key`] is the hash of.
    pub account: u32,
    /// Hash of calling key, account and key.
    pub key: [u8; 32],
    /// Hash of the request: its route and its body.
    pub request: [u8; 32],
}

/// The numbers of the webhooks among `webhooks` that take an event of this type: at most [`PLACES_MAX`].
#[must_use]
pub fn fan_out<'a>(event_type: &str, webhooks: impl Iterator<Item = &'a Arc<Webhook>>) -> Vec<u32> {
    webhooks.filter(|webhook| webhook.takes(event_type)).map(|webhook| webhook.number).take(PLACES_MAX).collect()
}
