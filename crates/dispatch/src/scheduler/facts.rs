//! What the scheduler learns from the store: what was committed, and what was loaded.

use std::sync::Arc;
use std::time::Duration;

use domain::attempt::Reason;
use domain::delivery::Due;
use domain::event::Event;
use domain::id::{DeliveryId, EVENT_RESIDUE_BITS, EventId};
use domain::order::OrderKey;
use domain::store::Fact;
use domain::time::Timestamp;
use domain::webhook::Webhook;

use super::{Known, Scheduler};
use crate::lane::{Job, Lane};

/// A step of the wall clock that is more than a correction: it was wrong, or the machine has stood still.
const STOOD_STILL: Duration = Duration::from_secs(60);

impl Scheduler {
    pub(super) fn fact(&mut self, now: Timestamp, fact: Fact) {
        match fact {
            Fact::Accepted { event, on_disk } => self.accepted(now, &event, &on_disk),
            Fact::Webhook(webhook) => self.webhook_told(now, webhook),
            Fact::Resumed { webhook, rate } => self.resumed(now, webhook, rate),
            Fact::WebhookDeleted { webhook } => self.webhook_deleted(webhook),
            // Asked for on any node; by the time that this one hears of it, it may have sent it already: its row says what is to be done, and when.
            Fact::Replayed(due) if self.parts.is_some() => self.name(due.webhook, due.delivery),
            Fact::Replayed(due) => self.replayed(now, due),
            Fact::BulkReplay(replay) => self.replays.learn(replay),
            Fact::Cancelled { delivery, webhook } => self.cancelled(now, delivery, webhook),
            Fact::Settled(settlement) => self.settled(now, &settlement),
        }
    }

    fn accepted(&mut self, now: Timestamp, event: &Arc<Event>, on_disk: &[bool]) {
        for (place, webhook) in (0u16..).zip(&event.targets) {
            let delivery = DeliveryId { event: event.id, place };
            if !event.test && self.parts.is_some() && self.lanes.get(webhook).is_some_and(|lane| lane.ordered.is_some())
            {
                self.grown_in_order(now, *webhook, event.id);
                continue;
            }
            if on_disk.get(usize::from(place)).copied().unwrap_or(false) {
                if let Some(lane) = self.lanes.get_mut(webhook) {
                    lane.grown(delivery, delivery);
                }
                self.enqueue(now, *webhook);
                continue;
            }
            let due = Due {
                delivery,
                webhook: *webhook,
                due_at: now.min(accepted_at(event.id)),
                attempts_made: 0,
                retries_made: 0,
                reason: if event.test { Reason::Test } else { Reason::First },
            };
            let job = Job::new(due, Some(Arc::clone(event)));
            if event.test { self.learn_of(now, job) } else { self.learn_of_new(now, job) }
        }
    }

    fn webhook_told(&mut self, now: Timestamp, webhook: Arc<Webhook>) {
        let lanes = self.lanes.len();
        self.webhook_changed(now, webhook);
        if let Some(parts) = self.parts.as_mut().filter(|_| self.lanes.len() > lanes) {
            parts.arrivals.look_back();
        }
    }

    pub(super) fn webhook_changed(&mut self, now: Timestamp, webhook: Arc<Webhook>) {
        let number = webhook.number;
        if webhook.pause.is_none() && self.lanes.get(&number).is_some_and(Lane::paused) {
            // What has come due until now is held by the pause that ends, and goes on by its place in that.
            self.come_due(now);
        }
        self.replays.webhook(&webhook);
        let Some(lease) = self.lease(webhook.account, number) else { return };
        if self.lanes.get(&number).is_some_and(|lane| lane.webhook.version > webhook.version) {
            // Another node's change, told late.
            return;
        }
        let policy = Arc::clone(&self.policy);
        let lane = self
            .lanes
            .entry(number)
            .or_insert_with(|| Lane::new(Arc::clone(&webhook), lease, self.loads, &policy, now));
        if lane.webhook.url != webhook.url {
            lane.begin_anew(&policy);
        }
        let reordered = lane.webhook.order != webhook.order;
        lane.webhook = webhook;
        lane.pausing = false;
        if lane.webhook.pause.is_some() {
            // The store has written everything of a paused webhook to disk; resuming loads it, oldest first.
            let dropped = lane.drain();
            for job in dropped.into_iter().chain(self.horizon.take_of(number)) {
                self.known.remove(&job.due.delivery);
                self.no_longer_planned(&job.due);
            }
            self.put_in_order(now, number);
        } else if reordered {
            self.put_in_order(now, number);
        }
        self.enqueue(now, number);
    }

    fn resumed(&mut self, now: Timestamp, webhook: u32, rate: Option<u32>) {
        let policy = Arc::clone(&self.policy);
        if let Some(lane) = self.lanes.get_mut(&webhook) {
            lane.begin_anew(&policy);
            lane.held_rate = rate;
            lane.failing_since = None;
            lane.failing_recorded = false;
            lane.on_disk.resumed();
            lane.free_since = None;
        }
        self.enqueue(now, webhook);
    }

    fn webhook_deleted(&mut self, webhook: u32) {
        self.replays.webhook_deleted(webhook);
        let Some(lane) = self.lanes.get_mut(&webhook) else { return };
        lane.deleted = true;
        let dropped: Vec<_> = lane.drain().into_iter().chain(lane.tests.drain(..)).collect();
        self.leave_turns(webhook);
        for job in dropped {
            self.known.remove(&job.due.delivery);
        }
        self.dissolve_order(webhook);
        self.close(webhook);
    }

    /// Lets go of a deleted webhook's lane once nothing of it is in flight. What is still planned finds it closed.
    pub(super) fn close(&mut self, webhook: u32) {
        if self.lanes.get(&webhook).is_some_and(|lane| lane.deleted && lane.in_flight == 0) {
            self.lanes.remove(&webhook);
        }
    }

    fn replayed(&mut self, now: Timestamp, due: Due) {
        match self.known.get_mut(&due.delivery) {
            Some(Known::Sending { again, .. }) => *again = Some(due),
            Some(Known::Recording { due: made, then, .. }) => {
                *then = Some(Job::on_disk(Due { attempts_made: made.attempts_made, ..due }));
            }
            Some(Known::Planned(_) | Known::Waiting) => {
                self.drop_waiting(now, due.delivery, due.webhook);
                self.learn_of(now, Job::on_disk(due));
            }
            None => self.learn_of(now, Job::on_disk(due)),
        }
    }

    fn cancelled(&mut self, now: Timestamp, delivery: DeliveryId, webhook: u32) {
        self.out_of_date(delivery);
        if let Some(lane) = self.lanes.get_mut(&webhook) {
            lane.on_disk.ended(delivery);
        }
        match self.known.get_mut(&delivery) {
            Some(Known::Sending { cancelled, again, .. }) => {
                *cancelled = true;
                *again = None;
            }
            Some(Known::Recording { then, .. }) => *then = None,
            Some(Known::Planned(_) | Known::Waiting) => self.drop_waiting(now, delivery, webhook),
            None => {}
        }
        self.enqueue(now, webhook);
    }

    /// Takes out a delivery that is planned or waits. In an order, the next of its key follows.
    pub(super) fn drop_waiting(&mut self, now: Timestamp, delivery: DeliveryId, webhook: u32) {
        match self.known.remove(&delivery) {
            Some(Known::Planned(at)) => {
                if let Some(job) = self.horizon.forget(at, delivery) {
                    self.no_longer_planned(&job.due);
                }
            }
            Some(Known::Waiting) => {
                if let Some(lane) = self.lanes.get_mut(&webhook) {
                    for queue in [&mut lane.new, &mut lane.old, &mut lane.tests] {
                        queue.retain(|job| job.due.delivery != delivery);
                    }
                    if let Some(ordered) = &mut lane.ordered {
                        ordered.forget(delivery);
                    }
                }
            }
            Some(Known::Sending { .. } | Known::Recording { .. }) | None => {}
        }
        self.follow(now, webhook, delivery, None);
    }

    pub(super) fn backlog(&mut self, now: Timestamp, webhook: u32, load: u64, rows: Option<Vec<(Due, OrderKey)>>) {
        let Some(lane) = self.lanes.get_mut(&webhook).filter(|lane| lane.on_disk.loading == Some(load)) else { return };
        lane.on_disk.loading = None;
        let settled = std::mem::take(&mut lane.on_disk.settled_meanwhile);
        let Some(mut rows) = rows else {
            lane.on_disk.not_before = now.plus(Duration::from_secs(1));
            self.enqueue(now, webhook);
            return;
        };
        let last = rows.len() < self.bounds.backlog;
        if lane.ordered.is_some() {
            self.read_in_order(now, webhook, rows, last, &settled);
        } else {
            lane.on_disk.after = rows.last().filter(|_| !last).map(|(row, _)| row.delivery);
            if last {
                lane.on_disk.passed();
            }
            rows.retain(|(due, _)| !settled.contains(&due.delivery));
            for (due, _) in rows {
                self.learn_of(now, Job::on_disk(due));
            }
        }
        self.enqueue(now, webhook);
    }

    /// Plans keep their distance from now, and what has lasted for a while has lasted no longer for it.
    pub(super) fn clock_stepped(&mut self, now: Timestamp, micros: i64) {
        self.horizon.shift(micros);
        if Duration::from_micros(micros.unsigned_abs()) > STOOD_STILL {
            // What was due in the time that was passed over is late through no fault of its receiver.
            self.started_at = now;
            self.parts.iter_mut().for_each(|parts| parts.held_since(now));
        }
        self.replays.clock_stepped(micros);
        if let Some(parts) = &mut self.parts {
            parts.arrivals.clock_stepped();
        }
        let shift = |at: &mut Timestamp| *at = Timestamp(at.0.saturating_add(micros));
        for state in self.known.values_mut() {
            match state {
                Known::Planned(at) => shift(at),
                Known::Recording { then: Some(job), .. } => shift(&mut job.due.due_at),
                Known::Waiting | Known::Sending { .. } | Known::Recording { then: None, .. } => {}
            }
        }
        for lane in self.lanes.values_mut() {
            shift(&mut lane.next_start);
            shift(&mut lane.next_held_start);
            shift(&mut lane.hold_until);
            shift(&mut lane.hold_recorded);
            shift(&mut lane.on_disk.not_before);
            lane.failing_since.as_mut().map(shift);
            if let Some(ordered) = &mut lane.ordered {
                ordered.shift(shift);
            }
            for job in lane.new.iter_mut().chain(&mut lane.old).chain(&mut lane.tests) {
                shift(&mut job.due.due_at);
            }
        }
        let paced = std::mem::take(&mut self.paced);
        self.paced = paced
            .into_iter()
            .map(|(mut at, webhook)| {
                shift(&mut at);
                (at, webhook)
            })
            .collect();
    }
}

/// When an event was accepted, as its id has it.
pub(super) fn accepted_at(event: EventId) -> Timestamp {
    Timestamp(i64::try_from(event.0 >> EVENT_RESIDUE_BITS).unwrap_or(i64::MAX))
}
