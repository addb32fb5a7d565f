//! Which deliveries are being sent at this moment: kept by the dispatcher, read by the log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::id::DeliveryId;

/// A delivery in flight, and the number of the attempt that is being made.
pub type Flight = (DeliveryId, u16);

/// The deliveries in flight, each with the number of its attempt: one that is recorded already is no longer in flight, whatever stands
/// here until the recorder comes to it. Bounded by the dispatcher's slots.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<Mutex<HashMap<DeliveryId, u16>>>);

impl InFlight {
    fn map(&self) -> MutexGuard<'_, HashMap<DeliveryId, u16>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt starts.
    pub fn started(&self, delivery: DeliveryId, number: u16) {
        self.map().insert(delivery, number);
    }

    /// Nothing is in flight any more of a delivery.
    pub fn ended(&self, delivery: DeliveryId) {
        self.map().remove(&delivery);
    }

    /// An attempt is recorded. The next one may have started meanwhile, where it was due at once: that is in flight still.
    pub fn recorded(&self, delivery: DeliveryId, number: u16) {
        let mut map = self.map();
        if map.get(&delivery) == Some(&number) {
            map.remove(&delivery);
        }
    }

    /// Whether a delivery of which so many attempts are recorded is being sent.
    #[must_use]
    pub fn has(&self, delivery: DeliveryId, attempts_made: u16) -> bool {
        self.map().get(&delivery).is_some_and(|number| *number > attempts_made)
    }

    /// All deliveries in flight, by id.
    #[must_use]
    pub fn all(&self) -> Vec<Flight> {
        let mut all: Vec<_> = self.map().iter().map(|(delivery, number)| (*delivery, *number)).collect();
        all.sort_unstable();
        all
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.map().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::EventId;

    #[test]
    fn what_started_before_the_last_was_recorded_is_in_flight_still() {
        let (flights, delivery) = (InFlight::default(), DeliveryId { event: EventId::first_at(1), place: 0 });
        flights.started(delivery, 1);
        flights.started(delivery, 2);
        flights.recorded(delivery, 1);
        assert!(flights.has(delivery, 1) && !flights.has(delivery, 2));
        flights.recorded(delivery, 2);
        assert_eq!((flights.all(), flights.count()), (Vec::new(), 0));
    }
}
