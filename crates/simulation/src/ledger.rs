//! What the simulation knows to be true from outside: what was acknowledged, what receivers saw, what people did; and the
//! invariants that must hold between these and the system.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::attempt::Reason;
use domain::id::{DeliveryId, EventId};
use domain::store::Accepted;
use domain::time::Timestamp;

/// What a receiver saw of one delivery.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// The bytes of the first request; every other must be the same.
    body: Vec<u8>,
    /// Requests in all.
    pub(crate) requests: u32,
    /// Whether a success was recorded, and no replay asked for since.
    recorded_success: bool,
    /// Retries and first attempts since the schedule began.
    in_schedule: u32,
    /// The end of the last attempt.
    ended_at: Timestamp,
    /// The end of the last attempt, if it was recorded as failed.
    failed_at: Option<Timestamp>,
}

/// The outside's knowledge.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Acknowledged events and the webhooks that they were to go to, by place.
    pub(crate) acknowledged: BTreeMap<EventId, Vec<u32>>,
    /// The last timestamp of each account.
    timestamps: HashMap<u32, Timestamp>,
    pub(crate) seen: BTreeMap<DeliveryId, Seen>,
    /// Deliveries in flight at a crash whose outcome was not yet on disk: each may be repeated once.
    excused: BTreeMap<DeliveryId, u32>,
    /// Attempts that a crash made again.
    pub(crate) repeats: u32,
    pub(crate) crashes: u32,
    /// What each replay in bulk covers, and has handed over.
    pub(crate) bulk: BTreeMap<u32, Bulk>,
    /// The replay that handed a delivery over last, until that attempt is recorded.
    handed_over_by: BTreeMap<DeliveryId, u32>,
    /// How often each delivery was sent for a replay, retries and what a crash repeats left out.
    pub(crate) replays_sent: BTreeMap<(u32, DeliveryId), u32>,
}

/// A replay in bulk, as the outside knows it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Bulk {
    pub(crate) covers: BTreeSet<DeliveryId>,
    pub(crate) handed_over: BTreeSet<DeliveryId>,
}

/// An invariant does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

/// Fails with a text unless a condition holds.
pub(crate) fn check(holds: bool, text: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation(text())) }
}

impl Ledger {
    /// An event was acknowledged.
    pub(crate) fn acknowledged(&mut self, account: u32, accepted: &Accepted, targets: &[u32]) -> Result<(), Violation> {
        check(accepted.deliveries == targets.len(), || {
            format!(
                "I2: {} goes to {} webhooks, not to the {} that take it",
                accepted.id,
                accepted.deliveries,
                targets.len()
            )
        })?;
        // Unique, since they only grow: over crashes and steps of the clock back.
        let last = self.timestamps.insert(account, accepted.timestamp);
        check(last.is_none_or(|last| last < accepted.timestamp), || {
            format!("I13: account {account} was given timestamp {} after {last:?}", accepted.timestamp)
        })?;
        let last = self.acknowledged.last_key_value().map(|(id, _)| *id);
        check(last.is_none_or(|last| last < accepted.id), || format!("{} was given after {last:?}", accepted.id))?;
        let known = self.acknowledged.insert(accepted.id, targets.to_vec());
        check(known.is_none(), || format!("{} was given to two events", accepted.id))
    }

    /// A request goes out.
    pub(crate) fn request(
        &mut self,
        now: Timestamp,
        delivery: DeliveryId,
        reason: Reason,
        least_delay: std::time::Duration,
        body: &[u8],
    ) -> Result<(), Violation> {
        let excused = self.excused.get_mut(&delivery);
        let seen = self.seen.entry(delivery).or_default();
        if seen.requests == 0 {
            seen.body = body.to_vec();
        }
        seen.requests += 1;
        check(seen.body == body, || format!("I9: {delivery} was sent with other bytes than before"))?;
        if let Some(excused) = excused
            && *excused > 0
        {
            // A crash lost the record of this attempt: it is made again, under the same number.
            *excused -= 1;
            self.repeats += 1;
            return Ok(());
        }
        if reason == Reason::Replay {
            if let Some(replay) = self.handed_over_by.remove(&delivery) {
                let sent = self.replays_sent.entry((replay, delivery)).or_default();
                *sent += 1;
                check(*sent == 1, || format!("replay {replay} has sent {delivery} twice"))?;
            }
            seen.in_schedule = 0;
            seen.recorded_success = false;
            seen.failed_at = None;
        }
        check(!seen.recorded_success, || format!("D5: {delivery} was sent again after a recorded success"))?;
        seen.in_schedule += 1;
        check(seen.in_schedule <= 6, || format!("D3: {delivery} was sent a seventh time"))?;
        if reason == Reason::Retry
            && let Some(failed_at) = seen.failed_at
        {
            check(now.since(failed_at) >= least_delay, || {
                format!(
                    "I6: {delivery} was sent {:?} after its failure, {least_delay:?} is the least",
                    now.since(failed_at)
                )
            })?;
        }
        Ok(())
    }

    /// An attempt has ended.
    pub(crate) fn ended(&mut self, delivery: DeliveryId, at: Timestamp) {
        if let Some(seen) = self.seen.get_mut(&delivery) {
            seen.ended_at = at;
        }
    }

    /// The end of an attempt was recorded.
    pub(crate) fn recorded(&mut self, delivery: DeliveryId, success: bool) {
        self.excused.remove(&delivery);
        if let Some(seen) = self.seen.get_mut(&delivery) {
            seen.recorded_success = success;
            seen.failed_at = (!success).then_some(seen.ended_at);
        }
    }

    /// A replay in bulk has made a delivery due.
    pub(crate) fn handed_over(&mut self, replay: u32, delivery: DeliveryId) -> Result<(), Violation> {
        let bulk = self.bulk.entry(replay).or_default();
        check(bulk.covers.contains(&delivery), || format!("replay {replay} does not cover {delivery}"))?;
        check(bulk.handed_over.insert(delivery), || format!("replay {replay} has handed {delivery} over twice"))?;
        self.handed_over_by.insert(delivery, replay);
        self.replayed(delivery);
        Ok(())
    }

    /// A person asked for a replay: the schedule starts afresh. What a crash has lost of before is not made again.
    pub(crate) fn replayed(&mut self, delivery: DeliveryId) {
        self.excused.remove(&delivery);
        let seen = self.seen.entry(delivery).or_default();
        seen.recorded_success = false;
        seen.in_schedule = 0;
        seen.failed_at = None;
    }

    /// The process died while these were in flight, or ended and not yet on disk.
    pub(crate) fn crashed(&mut self, unrecorded: impl Iterator<Item = DeliveryId>) {
        self.crashes += 1;
        for delivery in unrecorded {
            *self.excused.entry(delivery).or_default() += 1;
        }
    }
}
