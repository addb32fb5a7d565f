//! Planned attempts: what loads of them bring, and what becomes of each once it is due.

use std::time::Duration;

use domain::attempt::Reason;
use domain::delivery::Due;
use domain::time::Timestamp;

use super::{Known, Scheduler};
use crate::lane::{Job, keeps_order};

/// Over how long at most that is spread which came due while the process was down.
const SPREAD_MAX: Duration = Duration::from_secs(600);

impl Scheduler {
    pub(super) fn planned(&mut self, now: Timestamp, rows: Vec<Due>) {
        for due in self.horizon.loaded(rows, self.bounds.due) {
            if self.read_since_held(due.webhook, self.planned_load) {
                self.learn_of_loaded(now, Job::on_disk(due));
            }
        }
    }

    /// Takes in what a load of planned attempts has brought: the load does not bring it again. What came due while the
    /// process was down is not sent all at once: each retry waits for up to half as long again as it is late already. First attempts go
    /// at once, as what is new does: each lane bounds how many.
    pub(super) fn learn_of_loaded(&mut self, now: Timestamp, job: Job) {
        let due = job.due;
        let Some(lane) = self.lanes.get_mut(&due.webhook) else { return };
        if lane.webhook.pause.is_some() && due.reason != Reason::Test {
            lane.on_disk.grown();
            return;
        }
        if self.known.contains_key(&due.delivery) || (lane.ordered.is_some() && keeps_order(&due)) {
            return;
        }
        let held = lane.on_disk.held || lane.held_rate.is_some();
        if held && lane.ordered.is_none() && due.due_at <= now && due.reason != Reason::Test {
            // It goes out oldest first, and at its rate: the backlog brings it in that order.
            lane.on_disk.grown();
            self.enqueue(now, due.webhook);
            return;
        }
        let shard = lane.lease.shard;
        let since = self.here_since(shard);
        let late = since.since(due.due_at);
        let at = if due.reason == Reason::Retry && !late.is_zero() {
            since.plus((late / 2).min(SPREAD_MAX).mul_f64(self.chance.f64()))
        } else {
            due.due_at
        };
        if at > now {
            self.horizon.keep(at, job);
            self.known.insert(due.delivery, Known::Planned(at));
        } else {
            self.now_due(now, job);
        }
    }

    /// A planned attempt is due. In a lane that has enough in memory it stays on disk, and is loaded when its turn comes: a
    /// webhook that is far behind leaves room for the others.
    pub(super) fn now_due(&mut self, now: Timestamp, job: Job) {
        if let Some(lane) = self.lanes.get_mut(&job.due.webhook)
            && lane.waiting() >= self.bounds.lane
            && lane.ordered.is_none()
            && job.due.reason != Reason::Test
        {
            lane.on_disk.grown();
        } else {
            self.learn_of(now, job);
        }
    }

    pub(super) fn come_due(&mut self, now: Timestamp) {
        while let Some(job) = self.horizon.pop_due(now) {
            self.known.remove(&job.due.delivery);
            self.no_longer_planned(&job.due);
            self.now_due(now, job);
        }
        while let Some(&(at, webhook)) = self.paced.first() {
            if at > now {
                break;
            }
            self.paced.pop_first();
            self.enqueue(now, webhook);
        }
    }
}
