//! Planned attempts: what loads of them bring, and what becomes of each once it is due.

use std::time::Duration;

use domain::attempt::Reason;
use domain::delivery::{Due, Next, Settlement};
use domain::retry::JITTER_MAX;
use domain::time::Timestamp;

use super::{Known, Output, Scheduler};
use crate::lane::{Job, keeps_order};

/// Over how long at most that is spread which came due while the process was down.
const SPREAD_MAX: Duration = Duration::from_secs(600);
/// What is planned for no later than so long from now may come of a schedule that was longer then.
const LONGER_BEFORE: Duration = Duration::from_secs(86_400);

impl Scheduler {
    /// Asks for planned attempts, where some are to be read.
    pub(super) fn load_planned(&mut self, now: Timestamp) {
        if self.crowded() {
            return;
        }
        let limit = self.bounds.due;
        let load = self.horizon.load(now, limit).or_else(|| {
            let longest = || self.lanes.values().map(|lane| lane.webhook.schedule(&self.policy).longest()).max();
            self.horizon.load_beyond(now, || furthest(now, longest().unwrap_or_default()), limit)
        });
        if let Some(load) = load {
            self.loads += 1;
            self.planned_load = self.loads;
            self.out.push(Output::LoadDue(load));
        }
    }

    pub(super) fn planned(&mut self, now: Timestamp, rows: Vec<Due>) {
        let beyond = self.horizon.looks_beyond();
        for due in self.horizon.loaded(rows, self.bounds.due) {
            if self.read_since_held(due.webhook, self.planned_load) {
                if beyond {
                    self.bring_near(now, due);
                } else {
                    self.learn_of_loaded(now, Job::on_disk(due));
                }
            }
        }
    }

    /// Plans anew, on disk too, what a clock that was ahead has planned for later than anything can be.
    fn bring_near(&mut self, now: Timestamp, due: Due) {
        let due_at = self.near(now, &due);
        let Some(lane) = self.lanes.get(&due.webhook).filter(|lane| !lane.deleted) else { return };
        let in_order = lane.ordered.is_some() && keeps_order(&due);
        if due_at == due.due_at || in_order || self.known.contains_key(&due.delivery) {
            return;
        }
        let (lease, then) = (lane.lease, Some(Job::on_disk(Due { due_at, ..due })));
        self.known.insert(due.delivery, Known::Recording { due, lease, then, slot: None });
        self.begun(lease);
        self.unrecorded += 1;
        let Due { delivery, webhook, retries_made, reason, .. } = due;
        let next = Next::Retry { due_at, retries_made, reason };
        self.out.push(Output::Settle(Box::new(Settlement {
            delivery,
            webhook,
            attempt: None,
            next,
            epoch: lease.epoch,
        })));
    }

    /// When an attempt is due that was planned for `due`, where no schedule can have planned that.
    pub(super) fn near(&self, now: Timestamp, due: &Due) -> Timestamp {
        let Some(lane) = self.lanes.get(&due.webhook) else { return due.due_at };
        let schedule = lane.webhook.schedule(&self.policy);
        if due.due_at <= furthest(now, schedule.longest()) {
            return due.due_at;
        }
        let delay = match due.reason {
            Reason::Retry => schedule.delays().get(usize::from(due.retries_made).saturating_sub(1)).copied(),
            Reason::First | Reason::Replay | Reason::Test => None,
        };
        now.plus(delay.unwrap_or_default())
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

/// What was never tried is due at once, whatever the clock says of the node that accepted it.
pub(super) fn first_at_once(now: Timestamp, due: Due) -> Due {
    let due_at = if due.reason == Reason::First { due.due_at.min(now) } else { due.due_at };
    Due { due_at, ..due }
}

/// The latest instant for which a schedule with this longest delay can have planned anything.
fn furthest(now: Timestamp, longest: Duration) -> Timestamp {
    now.plus(longest.max(LONGER_BEFORE)).plus(JITTER_MAX)
}
