//! Replays in bulk: which one hands over how much, and when one has to stand still. It knows what has been committed, and
//! decides by that alone.
//!
//! A replay hands over only as much as is sent within a moment: so what it has in its lanes never delays a retry for
//! long, memory stays bounded whatever its size, and not much more goes out once it has to stand still.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::replay::{Cause, HANDED_OVER_MAX, Replay};
use domain::time::Timestamp;
use domain::webhook::Webhook;

/// How many of a replay may wait to be sent before so many were sent in a row without a failure.
const CAREFUL: u64 = 20;
/// How many may wait then.
const WAITING_MAX: u64 = HANDED_OVER_MAX as u64;
/// How far ahead a replay with a rate plans.
const AHEAD: Duration = Duration::from_secs(1);
/// How long after a hand-over that failed the next one comes.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What a replay is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Hand over so many deliveries.
    HandOver { account: u32, replay: u32, count: u32 },
    /// Stand still.
    Pause { account: u32, replay: u32, cause: Cause },
}

/// The replays that are not over.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    known: BTreeMap<u32, Known>,
    paused_webhooks: HashSet<u32>,
}

#[derive(Debug)]
struct Known {
    replay: Arc<Replay>,
    /// Whether a step is under way.
    busy: bool,
    /// How many wait for something other than their turn, such as a paused webhook: they do not hold the others up.
    aside: u64,
    /// No step before this instant.
    not_before: Timestamp,
}

impl Replays {
    /// A replay stands as the store says.
    pub(crate) fn learn(&mut self, replay: Arc<Replay>) {
        if replay.ended() {
            self.known.remove(&replay.number);
            return;
        }
        let started = self.known.get(&replay.number).is_none_or(|known| !known.replay.running());
        let aside = replay.waiting();
        let known = self.known.entry(replay.number).or_insert_with(|| Known {
            replay: Arc::clone(&replay),
            busy: false,
            aside: 0,
            not_before: Timestamp(0),
        });
        // What waits since before a pause or a restart may wait for its webhook, so it is not counted on.
        known.aside = if started { aside } else { known.aside.min(aside) };
        known.replay = replay;
    }

    /// A webhook was created, changed, paused or resumed.
    pub(crate) fn webhook(&mut self, webhook: &Webhook) {
        if webhook.pause.is_none() {
            self.paused_webhooks.remove(&webhook.number);
        } else if self.paused_webhooks.insert(webhook.number) {
            for known in self.known.values_mut() {
                if known.replay.webhook.is_none() && known.replay.account == webhook.account {
                    known.aside = known.replay.waiting();
                }
            }
        }
    }

    /// A webhook was deleted.
    pub(crate) fn webhook_deleted(&mut self, webhook: u32) {
        self.paused_webhooks.remove(&webhook);
    }

    /// A step has been made, or could not be made.
    pub(crate) fn stepped(&mut self, now: Timestamp, replay: u32, made: bool) {
        if let Some(known) = self.known.get_mut(&replay) {
            known.busy = false;
            if !made {
                known.not_before = now.plus(AGAIN_AFTER);
            }
        }
    }

    /// The wall clock has stepped by so many microseconds.
    pub(crate) fn clock_stepped(&mut self, micros: i64) {
        for known in self.known.values_mut() {
            known.not_before = Timestamp(known.not_before.0.saturating_add(micros));
        }
    }

    /// What is to be done now; each step is expected to be answered by [`Self::stepped`].
    /// Only replays of accounts that are `ours` are carried on.
    pub(crate) fn steps(&mut self, now: Timestamp, failures_max: u32, ours: impl Fn(u32) -> bool) -> Vec<Step> {
        let mut steps = Vec::new();
        for number in self.candidates(ours) {
            let Some(known) = self.known.get_mut(&number) else { continue };
            if known.busy || known.not_before > now {
                continue;
            }
            let (replay, account) = (&known.replay, known.replay.account);
            let in_a_row = replay.streak.min(0).unsigned_abs();
            let step = if in_a_row >= failures_max.into() {
                let last = replay.errors.iter().max_by_key(|(_, count)| **count).map(|(error, _)| *error);
                Step::Pause { account, replay: number, cause: Cause::Failures { in_a_row, last } }
            } else if replay.webhook.is_some_and(|webhook| self.paused_webhooks.contains(&webhook)) {
                Step::Pause { account, replay: number, cause: Cause::WebhookPaused }
            } else {
                match known.room(now) {
                    0 => continue,
                    count => Step::HandOver { account, replay: number, count },
                }
            };
            known.busy = true;
            steps.push(step);
        }
        steps
    }

    /// When [`Self::steps`] may have something to do next, if nothing happens before.
    pub(crate) fn wake_at(&self, ours: impl Fn(u32) -> bool) -> Option<Timestamp> {
        let at = |number: u32| {
            let known = self.known.get(&number)?;
            let paced = known.replay.rate.map(|_| known.replay.paced_until.minus(AHEAD / 2));
            let waits = known.replay.waiting().saturating_sub(known.aside) > known.limit() / 2;
            if known.busy || waits {
                return None;
            }
            Some(paced.unwrap_or_default().max(known.not_before))
        };
        self.candidates(ours).into_iter().filter_map(at).min()
    }

    /// The replays that run, have something left, and whose turn it is.
    fn candidates(&self, ours: impl Fn(u32) -> bool) -> Vec<u32> {
        // As `Replay::waits_for` says it of one, of all in one go.
        let (mut whole, mut parts, mut webhooks) = (HashSet::new(), HashSet::new(), HashSet::new());
        let mut candidates = Vec::new();
        for replay in self.known.values().map(|known| &*known.replay).filter(|replay| replay.remaining() > 0) {
            let blocked = whole.contains(&replay.account)
                || replay.webhook.map_or_else(|| parts.contains(&replay.account), |w| webhooks.contains(&w));
            match replay.webhook {
                None => whole.insert(replay.account),
                Some(webhook) => parts.insert(replay.account) | webhooks.insert(webhook),
            };
            if replay.running() && !blocked && ours(replay.account) {
                candidates.push(replay.number);
            }
        }
        candidates
    }
}

impl Known {
    fn limit(&self) -> u64 {
        if self.replay.streak < CAREFUL as i64 { CAREFUL } else { WAITING_MAX }
    }

    /// How many deliveries may be handed over now.
    fn room(&self, now: Timestamp) -> u32 {
        let limit = self.limit();
        let waiting = self.replay.waiting().saturating_sub(self.aside);
        // A hand-over is a transaction: it is worth half of what may wait.
        if waiting > limit / 2 {
            return 0;
        }
        let mut room = (limit - waiting).min(self.replay.remaining());
        if let Some(rate) = self.replay.rate {
            let next = self.replay.next_at(now);
            if next > now.plus(AHEAD / 2) {
                return 0;
            }
            let ahead = now.plus(AHEAD).since(next);
            let micros = u64::try_from(ahead.as_micros()).unwrap_or(u64::MAX);
            room = room.min((micros.saturating_mul(rate.into()) / 1_000_000).max(1));
        }
        u32::try_from(room).unwrap_or(HANDED_OVER_MAX).min(HANDED_OVER_MAX)
    }
}

#[cfg(test)]
mod tests;
