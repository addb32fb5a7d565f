//! What must hold, at every step and at the end.

use std::time::Duration;

use dispatch::scheduler::Start;
use domain::shard::Shard;
use domain::time::Timestamp;

use super::{Running, START, World};
use crate::ledger::{Violation, check};

/// From a node's death to its shards being served by others.
pub(super) const SERVED_WITHIN: Duration = Duration::from_secs(20);
/// From a node's coming or going to all nodes holding their shares.
pub(super) const BALANCED_WITHIN: Duration = Duration::from_secs(15);
/// From `SIGTERM` to everything being handed over.
pub(super) const LEFT_WITHIN: Duration = Duration::from_secs(7);
/// How long after something that excuses it a node may still lose shards.
const EXCUSED_FOR: Duration = Duration::from_secs(30);

impl World {
    /// An attempt starts: the node holds the shard, nobody else sends to the webhook, and the attempt is due and not recorded.
    pub(super) fn judge_the_start(&mut self, number: u32, start: &Start, took: Duration) -> Result<(), Violation> {
        let (now, due) = (self.now, start.due);
        let (delivery, webhook) = (due.delivery, due.webhook);
        check(due.due_at <= now, || format!("I6: {delivery} starts before it is due"))?;
        let row = self.shared.row(self.shard(webhook));
        check(row.owner == Some(number) && row.epoch == start.epoch && row.until > now, || {
            format!("I4: node {number} sends {delivery} under epoch {}, the lease is {row:?}", start.epoch)
        })?;
        let on_disk = self.shared.unfinished(delivery).map(|due| due.attempts_made + 1);
        check(on_disk == Some(start.number()), || {
            format!("D5: node {number} sends attempt {} of {delivery}, the next is {on_disk:?}", start.number())
        })?;
        let running = self.running.entry(webhook).or_default();
        running.retain(|request| request.until > now);
        let other = running.iter().find(|request| request.node != number).map(|request| request.node);
        check(other.is_none(), || {
            format!("node {number} sends to webhook {webhook}, and a request of node {other:?} is under way")
        })?;
        let (count, cap) = (running.len(), usize::from(self.policy.max_in_flight));
        check(count < cap, || format!("I5: {count} in flight to webhook {webhook}, {cap} may be"))?;
        running.push(Running { node: number, until: now.plus(took) });
        Ok(())
    }

    /// A node has lost shards that it did not give up: only after it stood still, or the store was away.
    pub(super) fn judge_the_loss(&self, number: u32, shards: &[Shard], went_on: Timestamp) -> Result<(), Violation> {
        let excuse = went_on.max(self.store_failed);
        check(self.now.since(excuse) < EXCUSED_FOR, || {
            format!("node {number} has lost {} shards, and nothing was wrong with it", shards.len())
        })
    }

    /// Whether nothing has gone wrong since.
    pub(super) fn quiet_since(&self, since: Timestamp) -> bool {
        self.disturbed == since && self.store_failed < since
    }

    pub(super) fn judge_the_take_over(&self, from: u32, since: Timestamp) -> Result<(), Violation> {
        if !self.quiet_since(since) {
            return Ok(());
        }
        let left = self.shared.leases.iter().filter(|row| row.owner == Some(from)).count();
        check(left == 0, || format!("R3: {left} shards of node {from} have no other owner after {SERVED_WITHIN:?}"))
    }

    pub(super) fn judge_the_balance(&self, since: Timestamp) -> Result<(), Violation> {
        // Of a node that fell just before, the shards come later than that.
        let fell_before = self.fell.values().any(|fell| fell.plus(SERVED_WITHIN) > since);
        if !self.quiet_since(since) || fell_before {
            return Ok(());
        }
        let standing = self.nodes.iter().filter(|(_, node)| node.stopped_until.is_none() && !node.leaving);
        let count = |number: u32| self.shared.leases.iter().filter(|row| row.owner == Some(number)).count();
        let counts: Vec<_> = standing.map(|(number, _)| (*number, count(*number))).collect();
        if counts.len() < self.nodes.len() {
            return Ok(());
        }
        let share = usize::from(self.size.shards) / counts.len();
        let even = counts.iter().all(|(_, count)| *count == share || *count == share + 1);
        let all: usize = counts.iter().map(|(_, count)| count).sum();
        check(even && all == usize::from(self.size.shards), || format!("the shards are not shared evenly: {counts:?}"))
    }

    pub(super) fn judge_the_leave(&self, number: u32, since: Timestamp) -> Result<(), Violation> {
        let excused = self.store_failed >= since || self.fell.contains_key(&number);
        check(excused || !self.nodes.contains_key(&number), || {
            format!("R5: node {number} has not handed its shards over after {LEFT_WITHIN:?}")
        })
    }

    /// Everything that was acknowledged has ended, everybody has forgotten it, and no more was sent twice than may have been.
    pub(super) fn judge_the_end(&self) -> Result<(), Violation> {
        let unfinished = self.shared.unfinished_count();
        check(unfinished == 0, || format!("I7: {unfinished} deliveries have not ended"))?;
        for (event, targets) in &self.acknowledged {
            let recorded = (0u16..).take(*targets).map(|place| domain::id::DeliveryId { event: *event, place });
            let missing = recorded.filter(|delivery| !self.shared.attempts.contains_key(delivery)).count();
            check(missing == 0, || format!("I1: {missing} deliveries of {event} have no attempt"))?;
        }
        for (number, node) in &self.nodes {
            let known = node.scheduler.known();
            check(known == 0, || format!("node {number} still has {known} deliveries in memory"))?;
        }
        let (repeats, excused) = (self.told.repeats, self.excused);
        check(repeats <= excused, || format!("D6: {repeats} requests were repeated, {excused} were in flight"))?;
        check(self.now > START, || "no time has passed".to_owned())
    }
}
