//! Replays in bulk: their steps, and what must hold of them.

use std::time::Duration;

use dispatch::scheduler::Input;
use domain::delivery::DeliveryStatus;
use domain::replay::{ReplayChange, State};
use domain::store::{Change, ChangeError, Fact};

use super::{Action, World};
use crate::ledger::{Violation, check};

impl World {
    /// A replay was started: while it goes on, people change it, and the process may die.
    pub(crate) fn disturb_the_replay(&mut self) {
        for _ in 0..self.chance.u32(..4) {
            let at = self.some_time(Duration::from_secs(8));
            self.plan(at, Action::ReplayPerson);
        }
        if self.chance.bool() {
            let at = self.some_time(Duration::from_secs(8));
            self.plan(at, Action::Crash);
        }
    }

    /// A step of a replay is made in a moment; sometimes the process dies just before or just after it.
    pub(super) fn plan_step(&mut self, replay: u32, change: ReplayChange) {
        let (within, life) = (self.some_time(Duration::from_millis(30)), self.life);
        self.plan(within, Action::ReplayStep { replay, change, life });
    }

    pub(super) fn replay_step(&mut self, replay: u32, change: ReplayChange) -> Result<(), Violation> {
        let (now, dies) = (self.now(), self.chance.u16(..200));
        if dies == 0 {
            return self.crash("before a step of a replay");
        }
        let made = match self.disk.change(now, Change::BulkReplay(change)) {
            Ok(facts) => {
                self.handed_over(replay, &facts)?;
                if dies == 1 {
                    return self.crash("after a step of a replay");
                }
                self.learn(facts)?;
                true
            }
            Err(ChangeError::State(_) | ChangeError::NotFound) => false,
            Err(error) => return Err(Violation(format!("a step of replay {replay}: {error}"))),
        };
        self.advance(Input::ReplayStepped { replay, made })
    }

    /// A replay has handed deliveries over: each for the first time, and only what it covers.
    fn handed_over(&mut self, replay: u32, facts: &[Fact]) -> Result<(), Violation> {
        // What was held and is sent again goes another way from here on.
        self.resumed.clear();
        for fact in facts {
            if let Fact::Replayed(due) = fact {
                self.tell(format!("replay {replay} hands {} over", due.delivery));
                self.ledger.handed_over(replay, due.delivery)?;
            }
        }
        Ok(())
    }

    /// Every replay has come to its end, and has handed over or passed over whatever it covers.
    pub(super) fn judge_the_replays(&mut self) -> Result<(), Violation> {
        for replay in self.disk.replays() {
            let (number, bulk) = (replay.number, self.ledger.bulk.get(&replay.number).cloned().unwrap_or_default());
            let handed_over = bulk.handed_over.len() as u64;
            check(handed_over == replay.handed_over, || {
                format!("replay {number} counts {} handed over, {handed_over} were", replay.handed_over)
            })?;
            check(replay.total == bulk.covers.len() as u64, || {
                format!("replay {number} covers {}, {} were counted", replay.total, bulk.covers.len())
            })?;
            check(matches!(replay.state, State::Done { .. } | State::Stopped { .. }), || {
                format!("replay {number} has not ended: {replay:?}")
            })?;
            if matches!(replay.state, State::Done { .. }) {
                let all = handed_over + replay.passed_over.sum();
                check(all == replay.total, || format!("replay {number} is done with {all} of {}", replay.total))?;
            }
            check(replay.waiting() == 0 && replay.results.retrying == 0, || {
                format!("replay {number} still waits for {} and {:?}", replay.waiting(), replay.results)
            })?;
            for delivery in &bulk.handed_over {
                let state = self.disk.delivery(*delivery, self.now()).map(|(delivery, _)| delivery.status);
                let sent = self.ledger.replays_sent.get(&(number, *delivery)).copied().unwrap_or(0);
                check(sent > 0 || state == Some(DeliveryStatus::Cancelled) || replay.results.cancelled > 0, || {
                    format!("replay {number} handed {delivery} over, and it was never sent")
                })?;
            }
        }
        Ok(())
    }
}
