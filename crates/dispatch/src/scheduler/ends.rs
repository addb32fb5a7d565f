//! The end of an attempt: what becomes of its delivery, and what it teaches about its webhook.

use std::time::Duration;

use domain::attempt::{Attempt, ErrorCode, Failure, Outcome, Reason};
use domain::delivery::{Due, Next, Settlement};
use domain::id::DeliveryId;
use domain::retry::{Standing, Verdict, judge};
use domain::retry_after::retry_after;
use domain::shard::{Epoch, Lease};
use domain::time::Timestamp;
use domain::webhook::PauseCause;

use super::{Ended, FAILING_RECORDED_AFTER, GIVEN_UP_AFTER, Known, Output, REMEMBERED_FROM, Ration, Scheduler, Slot};
use crate::lane::{Job, Lane, keeps_order, overload};

/// How long after an attempt could not be made it is begun again.
const MADE_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long after its end an attempt is heard of here at most.
const HEARD_OF_WITHIN: Duration = Duration::from_secs(10);

impl Scheduler {
    /// Whether a delivery could not be sent for so long that its schedule is over: behind a receiver that takes less than it
    /// gets, nothing would ever end otherwise. Time during which it could not be sent through no fault of its receiver does
    /// not count.
    pub(super) fn too_old(&self, now: Timestamp, job: &Job) -> bool {
        let due = &job.due;
        if due.reason == Reason::Test {
            return false;
        }
        let Some(lane) = self.lanes.get(&due.webhook) else { return false };
        let left: Duration =
            lane.webhook.schedule(&self.policy).delays().iter().skip(usize::from(due.retries_made)).sum();
        let kept = job.in_turn_since.max(lane.hold_until).max(self.started_at);
        let since = due.due_at.max(lane.webhook.updated_at).max(kept);
        now.since(since) > left + GIVEN_UP_AFTER
    }

    pub(super) fn give_up(&mut self, due: Due, lease: Lease) {
        self.known.insert(due.delivery, Known::Recording { due, lease, then: None, slot: None });
        self.begun(lease);
        self.unrecorded += 1;
        self.out.push(Output::Settle(Box::new(Settlement {
            delivery: due.delivery,
            webhook: due.webhook,
            attempt: None,
            next: Next::Failed,
            epoch: lease.epoch,
        })));
    }

    pub(super) fn ended(&mut self, now: Timestamp, ended: Ended) {
        let Ended { delivery, request, started_at, outcome, epoch } = ended;
        if !self.waits_for(delivery, epoch) {
            return self.out.push(Output::Dropped(delivery));
        }
        let Some(Known::Sending { due, lease, slot, again, cancelled }) = self.known.remove(&delivery) else { return };
        // The clock may have stepped meanwhile: what follows is planned by the one of now.
        let ended_at = started_at.plus(outcome.duration).clamp(now.minus(HEARD_OF_WITHIN), now);
        let verdict = self.judge(&due, &outcome, ended_at);
        self.learn(now, &due, &outcome, &verdict);
        self.leave_alone(&due, &outcome, ended_at);
        let (mut next, failure) = self.next(&due, verdict);
        if let Some(again) = again {
            next = Next::Retry { due_at: again.due_at, retries_made: again.retries_made, reason: again.reason };
        }
        let attempts_made = due.attempts_made.saturating_add(1);
        let then = match next {
            Next::Retry { due_at, retries_made, reason } if !cancelled => {
                Some(Job::on_disk(Due { due_at, retries_made, reason, attempts_made, ..due }))
            }
            Next::Retry { .. } | Next::Delivered | Next::Failed => None,
        };
        let made = Due { attempts_made, ..due };
        self.known.insert(delivery, Known::Recording { due: made, lease, then, slot: Some(slot) });
        self.unrecorded += 1;
        let mut timing = outcome.timing;
        timing.queue = started_at.since(due.due_at);
        let attempt = Attempt {
            number: attempts_made,
            reason: due.reason,
            started_at,
            duration: outcome.duration,
            timing,
            request,
            answer: outcome.result.ok(),
            failure,
            remote_address: outcome.remote_address,
        };
        let settlement = Settlement { delivery, webhook: due.webhook, attempt: Some(attempt), next, epoch };
        self.out.push(Output::Settle(Box::new(settlement)));
    }

    fn judge(&mut self, due: &Due, outcome: &Outcome, ended_at: Timestamp) -> Verdict {
        let schedule = match self.lanes.get(&due.webhook) {
            Some(lane) => lane.webhook.schedule(&self.policy),
            None => &self.policy.retry_schedule,
        };
        let standing = Standing {
            schedule,
            retries_made: due.retries_made,
            ended_at,
            jitter: self.policy.jitter,
            chance: self.chance.f64(),
        };
        judge(outcome, &standing)
    }

    fn next(&self, due: &Due, verdict: Verdict) -> (Next, Option<Failure>) {
        match verdict {
            Verdict::Delivered => (Next::Delivered, None),
            // A person waits for a test's answer: it is not retried.
            Verdict::Retry { failure, .. } if due.reason == Reason::Test => (Next::Failed, Some(failure)),
            Verdict::Retry { failure, due_at } => {
                let next = Next::Retry { due_at, retries_made: due.retries_made + 1, reason: Reason::Retry };
                (next, Some(failure))
            }
            Verdict::Failed { failure } => (Next::Failed, Some(failure)),
        }
    }

    /// Gives a slot back.
    fn release(&mut self, webhook: u32, slot: Slot, now: Timestamp) {
        let Slot { since, charged, ration, .. } = slot;
        self.in_flight -= 1;
        if ration == Ration::Failing {
            self.failing_in_flight -= 1;
        }
        let Some(lane) = self.lanes.get_mut(&webhook) else { return };
        lane.in_flight -= 1;
        let held = u64::try_from(now.since(since).as_micros()).unwrap_or(u64::MAX).min(60_000_000);
        lane.mean_held = (lane.mean_held * 7 + held) / 8;
        let difference = i64::try_from(held).unwrap_or(i64::MAX) - i64::try_from(charged).unwrap_or(i64::MAX);
        if lane.queued.is_none() {
            lane.cost = lane.cost.saturating_add_signed(difference);
        }
        let account = lane.webhook.account;
        self.charge(slot, account, difference);
        self.close(webhook);
        self.enqueue(now, webhook);
    }

    pub(super) fn charge(&mut self, slot: Slot, account: u32, micros: i64) {
        match slot.ration {
            Ration::Ordinary => self.turns.charge(account, slot.kind, micros),
            Ration::Failing => self.failing_turns.charge(account, slot.kind, micros),
        }
    }

    /// What an attempt teaches about its webhook: how much it takes, whether it is to be paused.
    fn learn(&mut self, now: Timestamp, due: &Due, outcome: &Outcome, verdict: &Verdict) {
        let webhook = due.webhook;
        let was_failing = self.lanes.get(&webhook).is_some_and(Lane::failing);
        let Some(lane) = self.lanes.get_mut(&webhook) else { return };
        let succeeded = matches!(verdict, Verdict::Delivered);
        let status = outcome.result.as_ref().ok().map(|answer| answer.status);
        let error: Option<ErrorCode> = outcome.result.as_ref().err().map(|failure| failure.code);
        lane.learn(succeeded, overload(error, status), &self.policy);
        if due.reason != Reason::Test {
            if succeeded {
                lane.failing_since = None;
                if std::mem::take(&mut lane.failing_recorded) {
                    self.out.push(Output::Failing { webhook, since: None });
                }
            } else {
                let since = *lane.failing_since.get_or_insert(now);
                if !lane.failing_recorded && now.since(since) >= FAILING_RECORDED_AFTER {
                    lane.failing_recorded = true;
                    self.out.push(Output::Failing { webhook, since: Some(since) });
                }
                let cause = if status == Some(410) {
                    Some(PauseCause::Gone)
                } else if now.since(since) >= self.policy.pause_after {
                    Some(PauseCause::AllFailed { since })
                } else {
                    None
                };
                if let Some(cause) = cause
                    && !lane.paused()
                {
                    lane.pausing = true;
                    self.out.push(Output::Pause { webhook, cause });
                }
            }
        }
        if was_failing != self.lanes.get(&webhook).is_some_and(Lane::failing) {
            // It waits in the other ration's turns from now on.
            self.leave_turns(webhook);
            self.enqueue(now, webhook);
        }
    }

    /// A receiver that answers 429 or 503 with `Retry-After` is left alone until then, by the whole lane and not only by the
    /// delivery that was answered so. A test's answer concerns nobody but the person who asked for it.
    fn leave_alone(&mut self, due: &Due, outcome: &Outcome, ended_at: Timestamp) {
        if due.reason != Reason::Test
            && let Ok(answer) = &outcome.result
            && let Some(asked) = retry_after(answer, ended_at)
            && let Some(lane) = self.lanes.get_mut(&due.webhook)
        {
            let asked = asked.min(lane.webhook.schedule(&self.policy).longest());
            lane.hold_until = lane.hold_until.max(ended_at.plus(asked));
            // Shorter than a restart takes is not worth a write, nor is what the attempts in flight add to it.
            if asked >= REMEMBERED_FROM && lane.hold_until > lane.hold_recorded.plus(REMEMBERED_FROM / 2) {
                lane.hold_recorded = lane.hold_until;
                self.out.push(Output::LeaveAlone { webhook: due.webhook, until: lane.hold_until });
            }
        }
    }

    pub(super) fn settled(&mut self, now: Timestamp, settlement: &Settlement) {
        if !self.concerns(settlement) {
            return;
        }
        let (delivery, webhook) = (settlement.delivery, settlement.webhook);
        self.out_of_date(delivery);
        if let Some(lane) = self.lanes.get_mut(&webhook) {
            lane.on_disk.ended(delivery);
        }
        if let Some(Known::Recording { .. }) = self.known.get(&delivery)
            && let Some(Known::Recording { lease, then, slot, .. }) = self.known.remove(&delivery)
        {
            self.unrecorded -= 1;
            self.done(lease);
            if let Some(slot) = slot {
                self.release(webhook, slot, now);
            }
            self.follow(now, webhook, delivery, then);
        }
    }

    /// The event of an attempt could not be read, or this machine had nothing left for a connection, so none was made: it waits where it
    /// was, for its turn in the order too, and is tried again in a while.
    pub(super) fn unmade(&mut self, now: Timestamp, delivery: DeliveryId, epoch: Epoch) {
        if !self.waits_for(delivery, epoch) {
            return self.out.push(Output::Dropped(delivery));
        }
        let Some(Known::Sending { due, lease, slot, again, cancelled }) = self.known.remove(&delivery) else { return };
        self.done(lease);
        self.release(due.webhook, slot, now);
        let due = again.unwrap_or(due);
        let at = now.plus(MADE_AGAIN_AFTER);
        let ordered = self.lanes.get(&due.webhook).is_some_and(|lane| lane.ordered.is_some()) && keeps_order(&due);
        if cancelled || ordered {
            let then = (!cancelled).then(|| Job::on_disk(Due { due_at: at, ..due }));
            self.follow(now, due.webhook, delivery, then);
        } else {
            self.horizon.keep(at, Job::on_disk(due));
            self.known.insert(delivery, Known::Planned(at));
        }
    }

    pub(super) fn gone(&mut self, now: Timestamp, delivery: DeliveryId, epoch: Epoch) {
        if !self.waits_for(delivery, epoch) {
            return self.out.push(Output::Dropped(delivery));
        }
        if let Some(Known::Sending { due, lease, slot, .. }) = self.known.remove(&delivery) {
            self.done(lease);
            self.release(due.webhook, slot, now);
            self.follow(now, due.webhook, delivery, None);
        }
    }
}
