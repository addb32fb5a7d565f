//! What a delivery that is due waits for: the answer to "why is it not sent?".

use std::collections::HashSet;
use std::time::Duration;

use domain::id::DeliveryId;
use domain::time::Timestamp;
use domain::waiting::Waits;

use super::{Known, Scheduler};
use crate::lane::Lane;

/// A webhook whose own reason to wait has gone is given this long to be sent to, before what it has kept waiting counts as late.
pub(super) const AFTER_PATIENCE: Duration = Duration::from_secs(1);

impl Scheduler {
    /// The webhooks whose deliveries wait for a reason of their own, or did a moment ago.
    #[must_use]
    pub fn patient(&mut self, now: Timestamp) -> HashSet<u32> {
        let policy = &*self.policy;
        let patient = |lane: &mut Lane| lane.look(now, policy).is_none_or(|since| now.since(since) < AFTER_PATIENCE);
        self.lanes.iter_mut().filter_map(|(webhook, lane)| patient(lane).then_some(*webhook)).collect()
    }

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
