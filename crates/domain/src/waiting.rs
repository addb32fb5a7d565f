//! Why a delivery that is due has not been sent: known to the dispatcher, asked by the log.

use std::collections::HashSet;

use async_trait::async_trait;

use crate::id::DeliveryId;
use crate::store::{Store, StoreError};
use crate::time::Timestamp;

/// What a delivery waits for that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// A free slot: its webhook has as many requests in flight as it takes, or all slots are in use.
    Slot,
    /// Its webhook's rate, or the rate at which held deliveries are sent.
    Rate,
    /// The receiver has asked to be left alone until then.
    RetryAfter(Timestamp),
    /// An earlier event of its key, in a webhook with an order.
    Order,
    /// The attempt that is in flight: a receiver that keeps failing gets one at a time.
    Probe,
    /// Its place among what came due while this process was down, which is sent spread over some minutes.
    Spread(Timestamp),
}

impl Waits {
    /// Every word for one in the API.
    pub const WORDS: [&'static str; 6] = [
        Self::Slot.as_str(),
        Self::Rate.as_str(),
        Self::RetryAfter(Timestamp(0)).as_str(),
        Self::Order.as_str(),
        Self::Probe.as_str(),
        Self::Spread(Timestamp(0)).as_str(),
    ];

    /// The word for it in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slot => "slot",
            Self::Rate => "rate",
            Self::RetryAfter(_) => "retry_after",
            Self::Order => "order",
            Self::Probe => "probe",
            Self::Spread(_) => "spread",
        }
    }

    /// Until when, where that is known.
    #[must_use]
    pub const fn until(self) -> Option<Timestamp> {
        match self {
            Self::RetryAfter(at) | Self::Spread(at) => Some(at),
            Self::Slot | Self::Rate | Self::Order | Self::Probe => None,
        }
    }
}

/// Whoever knows what deliveries wait for.
#[async_trait]
pub trait Waiting: Send + Sync {
    /// What each of these deliveries waits for, with the numbers of their webhooks; `None` if it does not wait, or if nobody
    /// can say.
    async fn waits(&self, deliveries: Vec<(u32, DeliveryId)>) -> Vec<Option<Waits>>;

    /// The numbers of the webhooks whose deliveries wait for a reason of their own: what their receiver asked for, their rate,
    /// their order, their cap, or that it keeps failing. How late these are says nothing of whether sending keeps up.
    async fn patient(&self) -> HashSet<u32>;
}

/// When the oldest delivery was due that waits for nothing but to be sent: how far behind sending is. Whoever wants to know asks
/// here, so that figures, dashboard and watchdog say the same.
///
/// # Errors
/// [`StoreError`].
pub async fn oldest_due(
    store: &dyn Store,
    waiting: &dyn Waiting,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    store.oldest_due(now, waiting.patient().await).await
}

/// Nobody knows: where there is no dispatcher.
#[derive(Debug, Clone, Copy, Default)]
pub struct NobodyKnows;

#[async_trait]
impl Waiting for NobodyKnows {
    async fn waits(&self, deliveries: Vec<(u32, DeliveryId)>) -> Vec<Option<Waits>> {
        vec![None; deliveries.len()]
    }

    async fn patient(&self) -> HashSet<u32> {
        HashSet::new()
    }
}
