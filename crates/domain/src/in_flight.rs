//! Which deliveries are being sent at this moment: kept by the dispatcher, read by the log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::id::DeliveryId;
use crate::time::Timestamp;

/// The deliveries in flight, each with the start of its attempt. Bounded by the dispatcher's slots.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<Mutex<HashMap<DeliveryId, Timestamp>>>);

impl InFlight {
    fn map(&self) -> MutexGuard<'_, HashMap<DeliveryId, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt starts.
    pub fn started(&self, delivery: DeliveryId, at: Timestamp) {
        self.map().insert(delivery, at);
    }

    /// An attempt has ended, and is recorded.
    pub fn ended(&self, delivery: DeliveryId) {
        self.map().remove(&delivery);
    }

    /// Since when the delivery is being sent, if it is.
    #[must_use]
    pub fn since(&self, delivery: DeliveryId) -> Option<Timestamp> {
        self.map().get(&delivery).copied()
    }

    /// All deliveries in flight, by id.
    #[must_use]
    pub fn all(&self) -> Vec<DeliveryId> {
        let mut all: Vec<_> = self.map().keys().copied().collect();
        all.sort_unstable();
        all
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.map().len()
    }
}
