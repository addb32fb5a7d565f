//! Webhooks with an order: what the scheduler does to keep it. See [`crate::ordered`].

use std::collections::HashSet;

use domain::delivery::Due;
use domain::id::DeliveryId;
use domain::order::OrderKey;
use domain::time::Timestamp;

use super::planned::first_at_once;
use super::{Known, Scheduler};
use crate::lane::{Job, keeps_order};
use crate::ordered::Ordered;

/// How many keys of a webhook may wait for a retry, when all together are too many.
const KEYS_WHEN_CROWDED: usize = 64;

impl Scheduler {
    /// Takes in a first attempt whose event is in memory: it may be in memory only.
    pub(super) fn learn_of_new(&mut self, now: Timestamp, job: Job) {
        let due = job.due;
        let lane = self.lanes.get_mut(&due.webhook);
        let Some(ordered) = lane.and_then(|lane| lane.ordered.as_mut()) else { return self.learn_of(now, job) };
        if self.known.contains_key(&due.delivery) {
            return;
        }
        let key = job.event.as_ref().map_or(OrderKey::NONE, |event| ordered.order.key(&event.data));
        match ordered.take(key, job) {
            Some(head) => self.lead(now, head),
            None => {
                self.known.insert(due.delivery, Known::Waiting);
            }
        }
    }

    /// The head of a key is started as soon as it is due. Planned for later it stays in memory however far ahead that is: by
    /// it is known that its key is blocked.
    pub(super) fn lead(&mut self, now: Timestamp, mut job: Job) {
        job.due.due_at = self.near(now, &job.due);
        let due = job.due;
        let lane = self.lanes.get_mut(&due.webhook);
        let Some(ordered) = lane.and_then(|lane| lane.ordered.as_mut()) else { return };
        if due.due_at > now {
            ordered.planned += 1;
            self.planned_in_order += 1;
            self.known.insert(due.delivery, Known::Planned(due.due_at));
            self.horizon.keep(due.due_at, job);
        } else {
            ordered.ready(job);
            self.known.insert(due.delivery, Known::Waiting);
        }
        self.make_room(due.webhook);
        self.enqueue(now, due.webhook);
    }

    /// A planned attempt has come due, or is made no more.
    pub(super) fn no_longer_planned(&mut self, due: &Due) {
        let lane = self.lanes.get_mut(&due.webhook);
        if let Some(ordered) = lane.and_then(|lane| lane.ordered.as_mut())
            && keeps_order(due)
        {
            ordered.planned = ordered.planned.saturating_sub(1);
            self.planned_in_order = self.planned_in_order.saturating_sub(1);
            self.make_room(due.webhook);
        }
    }

    /// Says whether a webhook may begin further keys.
    fn make_room(&mut self, webhook: u32) {
        let most = if self.planned_in_order < self.bounds.all_keys { self.bounds.keys } else { KEYS_WHEN_CROWDED };
        let lane = self.lanes.get_mut(&webhook);
        if let Some(ordered) = lane.and_then(|lane| lane.ordered.as_mut()) {
            ordered.room = ordered.planned < most;
        }
    }

    /// An attempt is recorded, or a delivery is sent no more: `then` is what follows of it. Once it has ended, or has left
    /// the order, the next of its key has its turn.
    pub(super) fn follow(&mut self, now: Timestamp, webhook: u32, delivery: DeliveryId, then: Option<Job>) {
        let lane = self.lanes.get_mut(&webhook);
        if let Some(ordered) = lane.and_then(|lane| lane.ordered.as_mut()) {
            if ordered.barrier.remove(&delivery) {
                self.enqueue(now, webhook);
            } else if ordered.is_head(delivery) && !then.as_ref().is_some_and(|job| keeps_order(&job.due)) {
                if let Some(next) = ordered.ended(delivery, now) {
                    self.lead(now, next);
                }
                self.enqueue(now, webhook);
            }
        }
        if let Some(job) = then {
            self.learn_of(now, job);
        }
    }

    /// Rows of a webhook with an order were read, in the order of events.
    pub(super) fn read_in_order(
        &mut self,
        now: Timestamp,
        webhook: u32,
        rows: Vec<(Due, OrderKey)>,
        last: bool,
        settled: &HashSet<DeliveryId>,
    ) {
        let end = rows.last().map(|(due, _)| due.delivery);
        let mut in_order = Vec::with_capacity(rows.len());
        for (due, key) in rows.into_iter().filter(|(due, _)| !settled.contains(&due.delivery)) {
            if keeps_order(&due) {
                in_order.push((Job::on_disk(first_at_once(now, due)), key));
            } else {
                self.learn_of(now, Job::on_disk(due));
            }
        }
        let known = &self.known;
        let lane = self.lanes.get_mut(&webhook);
        let Some(ordered) = lane.and_then(|lane| lane.ordered.as_mut()) else { return };
        let known = |delivery| known.contains_key(&delivery);
        let (heads, behind) = ordered.read(in_order, end.filter(|_| !last), now, self.bounds.lane, known);
        for delivery in behind {
            self.known.insert(delivery, Known::Waiting);
        }
        for head in heads {
            self.lead(now, head);
        }
    }

    /// Makes a webhook's order anew, after a change of it or a pause: everything on disk is read again, and nothing starts
    /// before what is in flight has ended. What is in memory only is kept.
    pub(super) fn put_in_order(&mut self, now: Timestamp, webhook: u32) {
        let mut fresh = self.dissolve_order(webhook);
        let Some(lane) = self.lanes.get_mut(&webhook) else { return };
        let paused = lane.webhook.pause.is_some();
        let order = lane.webhook.order.clone();
        if order.is_some() {
            let waiting = lane.drain();
            let planned = self.horizon.take_of(webhook);
            for job in waiting.into_iter().chain(planned) {
                self.known.remove(&job.due.delivery);
                if keeps_order(&job.due) {
                    fresh.extend(job.event.is_some().then_some(job));
                } else {
                    self.learn_of(now, job);
                }
            }
        }
        let mut ordered = order.map(Ordered::new).map(Box::new);
        if let Some(ordered) = &mut ordered {
            ordered.barrier = self.under_way(webhook);
        }
        let Some(lane) = self.lanes.get_mut(&webhook) else { return };
        lane.ordered = ordered;
        lane.on_disk.start_over();
        fresh.sort_by_key(|job| job.due.delivery);
        for job in fresh.into_iter().filter(|_| !paused) {
            self.learn_of_new(now, job);
        }
    }

    /// What of a webhook is in flight or being recorded, and keeps the order.
    fn under_way(&self, webhook: u32) -> HashSet<DeliveryId> {
        let under_way = self.known.iter().filter_map(|(delivery, known)| match known {
            Known::Sending { due, .. } | Known::Recording { due, .. } => Some((delivery, due)),
            Known::Waiting | Known::Planned(_) => None,
        });
        under_way.filter(|(_, due)| due.webhook == webhook && keeps_order(due)).map(|(delivery, _)| *delivery).collect()
    }

    /// Forgets what waits in a webhook's order; returns what is in memory only.
    pub(super) fn dissolve_order(&mut self, webhook: u32) -> Vec<Job> {
        let Some(ordered) = self.lanes.get_mut(&webhook).and_then(|lane| lane.ordered.take()) else {
            return Vec::new();
        };
        self.planned_in_order = self.planned_in_order.saturating_sub(ordered.planned);
        let (jobs, heads) = ordered.dissolve();
        for job in &jobs {
            self.known.remove(&job.due.delivery);
        }
        for head in heads {
            if let Some(Known::Planned(at)) = self.known.get(&head) {
                self.horizon.forget(*at, head);
                self.known.remove(&head);
            }
        }
        jobs.into_iter().filter(|job| job.event.is_some()).collect()
    }
}
