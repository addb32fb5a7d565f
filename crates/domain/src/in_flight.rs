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

    /// An attempt has ended, and is recorded.
    pub fn ended(&self, delivery: DeliveryId) {
        self.map().remove(&delivery);
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
