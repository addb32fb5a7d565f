//! What becomes of an event that is posted, in either store: where it goes, and what its post is answered.

use std::sync::Arc;

use domain::directory::Directory;
use domain::event::{Event, NewEvent, fan_out};
use domain::id::EventId;
use domain::store::{AcceptError, Accepted};
use domain::time::Timestamp;

use crate::rows::idempotency::{Found, Kept};
use crate::rows::stamps::Stamp;

/// The webhooks that a new event goes to; `None` if its account or webhook is gone.
pub(crate) fn targets(directory: &Directory, new: &NewEvent) -> Option<Vec<u32>> {
    directory.account_numbered(new.account)?;
    match new.test_for {
        None => Some(fan_out(&new.event_type, directory.webhooks_of(new.account))),
        Some(number) => {
            directory.webhook_numbered(number).filter(|webhook| webhook.account == new.account).map(|_| vec![number])
        }
    }
}

/// Whether the clock is within what ids can hold.
///
/// # Errors
/// [`AcceptError::Clock`].
pub(crate) fn clock(now: Timestamp) -> Result<(), AcceptError> {
    if EventId::reach(now) { Ok(()) } else { Err(AcceptError::Clock(now)) }
}

/// The event as it is kept, under its stamp.
pub(crate) fn event(new: &NewEvent, stamp: Stamp, targets: Vec<u32>) -> Arc<Event> {
    Arc::new(Event {
        id: stamp.key,
        account: new.account,
        event_type: Arc::clone(&new.event_type),
        timestamp: stamp.timestamp(),
        data: new.data.clone(),
        targets,
        test: new.test_for.is_some(),
        flagged: new.flagged,
        trace: new.trace,
    })
}

/// The answer to an event that was accepted, now or before under the same idempotency key.
pub(crate) fn accepted(stamp: Stamp, deliveries: usize, repeated: bool) -> Accepted {
    Accepted { id: stamp.key, timestamp: stamp.timestamp(), deliveries, repeated }
}

/// The answer to an event by what became of its idempotency key before; `None` if it is new.
pub(crate) fn before(found: &Found) -> Option<Result<Accepted, AcceptError>> {
    match found {
        Found::New => None,
        Found::Same(Kept::Event(stamp, deliveries)) => Some(Ok(accepted(*stamp, *deliveries, true))),
        // The request's hash covers the route, so a change is never the same request as an event.
        Found::OtherRequest | Found::Same(Kept::Answer(_)) => Some(Err(AcceptError::OtherRequest)),
    }
}
