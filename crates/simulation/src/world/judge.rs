//! What must hold after a pause, and at the end of a run.

use std::collections::VecDeque;

use domain::delivery::DeliveryStatus;
use domain::id::DeliveryId;

use super::{World, Write};
use crate::ledger::{Violation, check};

impl World {
    /// I14: what a resumed webhook held is sent oldest first.
    pub(super) fn in_turn(&mut self, webhook: u32, delivery: DeliveryId) -> Result<(), Violation> {
        let Some(held) = self.resumed.get_mut(&webhook) else { return Ok(()) };
        match held.iter().position(|held| *held == delivery) {
            None => Ok(()),
            Some(0) => {
                held.pop_front();
                Ok(())
            }
            Some(place) => Err(Violation(format!("I14: {delivery} is sent before {place} older ones that were held"))),
        }
    }

    /// A webhook has been resumed: what it holds, less what is being sent or recorded, goes out oldest first.
    pub(crate) fn expect_held(&mut self, webhook: u32) {
        let now = self.now();
        let recording: Vec<DeliveryId> = self.writes.iter().filter_map(Write::settles).collect();
        let mut held: VecDeque<DeliveryId> =
            self.disk.backlog(webhook, None, now, usize::MAX >> 1).into_iter().map(|due| due.delivery).collect();
        held.retain(|id| !self.in_flight.contains_key(id) && !recording.contains(id));
        self.resumed.insert(webhook, held);
    }

    /// Everything that was acknowledged has ended, is in the log, and is forgotten by the scheduler.
    pub(super) fn judge_the_end(&mut self) -> Result<(), Violation> {
        let acknowledged = self.ledger.acknowledged.clone();
        for (event, targets) in &acknowledged {
            for (place, webhook) in (0u16..).zip(targets) {
                let id = DeliveryId { event: *event, place };
                let Some((delivery, attempts)) = self.disk.delivery(id, self.now()) else {
                    return Err(Violation(format!("I1: the acknowledged {id} for {webhook} is missing")));
                };
                check(
                    matches!(
                        delivery.status,
                        DeliveryStatus::Delivered | DeliveryStatus::Failed | DeliveryStatus::Cancelled
                    ),
                    || format!("I7: {id} is still {:?}, due {:?}", delivery.status, delivery.next_attempt_at),
                )?;
                let numbers: Vec<u16> = attempts.iter().map(|logged| logged.attempt.number).collect();
                let expected: Vec<u16> = (1..=delivery.attempts_made).collect();
                check(numbers == expected, || {
                    format!("I3: {id} has attempts {numbers:?} of {}", delivery.attempts_made)
                })?;
                let requests = self.ledger.seen.get(&id).map_or(0, |seen| seen.requests);
                check(u32::from(delivery.attempts_made) <= requests, || {
                    format!("I10: {id} has more rows than requests")
                })?;
            }
        }
        self.judge_the_replays()?;
        check(self.scheduler.known() == 0, || format!("{} deliveries stay in memory", self.scheduler.known()))
    }
}
