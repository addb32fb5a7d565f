//! The feed: through which the dispatcher is told what has happened.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use domain::cluster::Hint;
use domain::id::DeliveryId;
use domain::store::Fact;
use domain::waiting::{Waiting, Waits};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::Message;
use crate::leases;
use crate::scheduler::Input;

/// How long the dispatcher may take to say who is patient.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Where the store tells what it has committed, before there is a dispatcher.
#[derive(Clone)]
pub struct Feed(pub(super) UnboundedSender<Message>);

impl Feed {
    /// Tells the dispatcher what was committed, in the order of the commits.
    pub fn publish(&self, facts: Vec<Fact>) {
        // Without a dispatcher there is nobody to tell: the store tells it all again at the next start.
        let _ = self.0.send(Message::Facts(facts));
    }

    /// Tells the dispatcher what another node has said.
    pub fn hint(&self, hint: Hint) {
        let message = match hint {
            Hint::Nodes => Message::Lease(leases::Input::Nudged),
            Hint::Freed => Message::Lease(leases::Input::Freed),
            Hint::Accepted(arrivals) => Message::Input(Input::Accepted(arrivals)),
            Hint::Many => Message::Input(Input::ManyAccepted),
        };
        // As above.
        let _ = self.0.send(message);
    }
}

#[async_trait]
impl Waiting for Feed {
    async fn waits(&self, deliveries: Vec<(u32, DeliveryId)>) -> Vec<Option<Waits>> {
        let unknown = vec![None; deliveries.len()];
        let (answer, answered) = oneshot::channel();
        if self.0.send(Message::Ask(deliveries, answer)).is_err() {
            return unknown;
        }
        answered.await.unwrap_or(unknown)
    }

    async fn patient(&self) -> HashSet<u32> {
        let (answer, answered) = oneshot::channel();
        if self.0.send(Message::Patient(answer)).is_err() {
            return HashSet::new();
        }
        // Where the dispatcher does not answer, nothing has a good reason to wait.
        tokio::time::timeout(ANSWERS_WITHIN, answered).await.ok().and_then(Result::ok).unwrap_or_default()
    }
}

/// The other end of a [`Feed`].
pub struct Facts(pub(super) UnboundedReceiver<Message>);

/// A feed of facts from the store to the dispatcher.
#[must_use]
pub fn feed() -> (Feed, Facts) {
    let (sender, receiver) = unbounded_channel();
    (Feed(sender), Facts(receiver))
}
