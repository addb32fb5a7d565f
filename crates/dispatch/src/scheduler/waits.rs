//! What a delivery that is due waits for: the answer to "why is it not sent?".

use domain::id::DeliveryId;
use domain::time::Timestamp;
use domain::waiting::Waits;

use super::{Known, Scheduler};

impl Scheduler {
    /// What a delivery of this webhook waits for; `None` if it is planned for its own time, or being sent.
    #[must_use]
    pub fn waits(&self, now: Timestamp, webhook: u32, delivery: DeliveryId) -> Option<Waits> {
        let lane = self.lanes.get(&webhook)?;
        match self.known.get(&delivery) {
            Some(Known::Sending { .. } | Known::Recording { .. }) => return None,
            Some(Known::Planned(at)) => return (*at > now).then_some(Waits::Spread(*at)),
            Some(Known::Waiting) | None => {}
        }
        let beside = || lane.new.iter().chain(&lane.old).chain(&lane.tests).any(|job| job.due.delivery == delivery);
        match &lane.ordered {
            Some(ordered) if !ordered.is_head(delivery) && !beside() => Some(Waits::Order),
            Some(_) | None => Some(lane.waits(now, &self.policy)),
        }
    }
}
