//! What the scheduler learns from the store: what was committed, and what was loaded.

use std::sync::Arc;

use domain::attempt::Reason;
use domain::delivery::Due;
use domain::event::Event;
use domain::id::{DeliveryId, EVENT_RESIDUE_BITS, EventId};
use domain::store::Fact;
use domain::time::Timestamp;
use domain::webhook::Webhook;

use super::{BACKLOG_MAX, Known, Scheduler};
use crate::lane::{Job, Lane, OnDisk};

impl Scheduler {
    pub(super) fn fact(&mut self, now: Timestamp, fact: Fact) {
        match fact {
            Fact::Accepted { event, on_disk } => self.accepted(now, &event, &on_disk),
            Fact::Webhook(webhook) => self.webhook_changed(now, webhook),
            Fact::Resumed { webhook, rate } => self.resumed(now, webhook, rate),
            Fact::WebhookDeleted { webhook } => self.webhook_deleted(webhook),
            Fact::Replayed(due) => self.replayed(now, due),
            Fact::Cancelled { delivery, webhook } => self.cancelled(now, delivery, webhook),
            Fact::Settled(settlement) => self.settled(now, settlement.delivery, settlement.webhook),
        }
    }

    fn accepted(&mut self, now: Timestamp, event: &Arc<Event>, on_disk: &[bool]) {
        for (place, webhook) in (0u16..).zip(&event.targets) {
            if on_disk.get(usize::from(place)).copied().unwrap_or(false) {
                self.more_on_disk(now, *webhook);
                continue;
            }
            let due = Due {
                delivery: DeliveryId { event: event.id, place },
                webhook: *webhook,
                due_at: now.min(accepted_at(event.id)),
                attempts_made: 0,
                retries_made: 0,
                reason: if event.test { Reason::Test } else { Reason::First },
            };
            self.learn_of(now, Job { due, event: Some(Arc::clone(event)) });
        }
    }

    fn webhook_changed(&mut self, now: Timestamp, webhook: Arc<Webhook>) {
        let number = webhook.number;
        let policy = Arc::clone(&self.policy);
        let lane = self.lanes.entry(number).or_insert_with(|| Lane::new(Arc::clone(&webhook), &policy));
        lane.webhook = webhook;
        lane.pausing = false;
        if lane.webhook.pause.is_some() {
            // The store has written everything of a paused webhook to disk; resuming loads it, oldest first.
            let dropped: Vec<_> = lane.new.drain(..).chain(lane.old.drain(..)).collect();
            for job in dropped {
                self.known.remove(&job.due.delivery);
            }
        }
        self.enqueue(now, number);
    }

    fn resumed(&mut self, now: Timestamp, webhook: u32, rate: Option<u32>) {
        if let Some(lane) = self.lanes.get_mut(&webhook) {
            lane.held_rate = rate;
            lane.failures_in_a_row = 0;
            lane.failing_since = None;
            lane.failing_recorded = false;
        }
        self.more_on_disk(now, webhook);
    }

    /// Rows of the webhook may be on disk only: they are loaded from the oldest on.
    fn more_on_disk(&mut self, now: Timestamp, webhook: u32) {
        if let Some(lane) = self.lanes.get_mut(&webhook) {
            lane.on_disk.grown();
            self.enqueue(now, webhook);
        }
    }

    fn webhook_deleted(&mut self, webhook: u32) {
        let Some(lane) = self.lanes.get_mut(&webhook) else { return };
        lane.deleted = true;
        let dropped: Vec<_> = lane.new.drain(..).chain(lane.old.drain(..)).chain(lane.tests.drain(..)).collect();
        self.leave_turns(webhook);
        for job in dropped {
            self.known.remove(&job.due.delivery);
        }
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
            Some(Known::Recording { attempts_made, then, .. }) => {
                *then = Some(Job { due: Due { attempts_made: *attempts_made, ..due }, event: None });
            }
            Some(Known::Planned(at)) => {
                let at = *at;
                self.horizon.forget(at, due.delivery);
                self.known.remove(&due.delivery);
                self.learn_of(now, Job { due, event: None });
            }
            Some(Known::Waiting) => {
                self.drop_waiting(due.delivery, due.webhook);
                self.learn_of(now, Job { due, event: None });
            }
            None => self.learn_of(now, Job { due, event: None }),
        }
    }

    fn cancelled(&mut self, now: Timestamp, delivery: DeliveryId, webhook: u32) {
        match self.known.get_mut(&delivery) {
            Some(Known::Sending { cancelled, again, .. }) => {
                *cancelled = true;
                *again = None;
            }
            Some(Known::Recording { then, .. }) => *then = None,
            Some(Known::Planned(at)) => {
                let at = *at;
                self.horizon.forget(at, delivery);
                self.known.remove(&delivery);
            }
            Some(Known::Waiting) => self.drop_waiting(delivery, webhook),
            None => {}
        }
        self.enqueue(now, webhook);
    }

    fn drop_waiting(&mut self, delivery: DeliveryId, webhook: u32) {
        self.known.remove(&delivery);
        if let Some(lane) = self.lanes.get_mut(&webhook) {
            for queue in [&mut lane.new, &mut lane.old, &mut lane.tests] {
                queue.retain(|job| job.due.delivery != delivery);
            }
        }
    }

    pub(super) fn backlog(&mut self, now: Timestamp, webhook: u32, rows: Vec<Due>) {
        let Some(lane) = self.lanes.get_mut(&webhook) else { return };
        let OnDisk { settled_meanwhile, .. } = &mut lane.on_disk;
        let settled = std::mem::take(settled_meanwhile);
        lane.on_disk.loading = false;
        if rows.len() < BACKLOG_MAX {
            lane.on_disk.more = std::mem::take(&mut lane.on_disk.grown_meanwhile);
            lane.on_disk.after = None;
        } else {
            lane.on_disk.after = rows.last().map(|row| row.delivery);
        }
        for due in rows {
            if !settled.contains(&due.delivery) {
                self.learn_of(now, Job { due, event: None });
            }
        }
        self.enqueue(now, webhook);
    }

    pub(super) fn clock_stepped(&mut self, micros: i64) {
        self.horizon.shift(micros);
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
fn accepted_at(event: EventId) -> Timestamp {
    Timestamp(i64::try_from(event.0 >> EVENT_RESIDUE_BITS).unwrap_or(i64::MAX))
}
