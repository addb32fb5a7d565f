//! What goes wrong, and how everything gets well again.

use std::sync::Arc;
use std::time::Duration;

use dispatch::scheduler::Scheduler;

use super::{Action, World, Write};
use crate::ledger::Violation;
use crate::people;
use crate::receiver::Mood;

impl World {
    pub(super) fn change_moods(&mut self) {
        for webhook in self.disk.webhook_numbers() {
            let mood = Mood::any(&mut self.chance);
            self.moods.insert(webhook, mood);
            self.tell(format!("receiver {webhook} is {mood:?}"));
        }
    }

    /// The process dies and starts again: all that is in memory is gone.
    pub(super) fn crash(&mut self, when: &str) -> Result<(), Violation> {
        self.tell(format!("crash {when}, {} in flight, {} writes lost", self.in_flight.len(), self.writes.len()));
        let lost = std::mem::take(&mut self.writes);
        let ended = lost.iter().filter_map(Write::settles);
        let mut unrecorded: Vec<_> = self.in_flight.keys().copied().chain(ended).collect();
        unrecorded.extend(self.disk.uncommitted());
        self.ledger.crashed(unrecorded.into_iter());
        self.in_flight.clear();
        // What was held is found again by its due times.
        self.resumed.clear();
        self.committing = false;
        self.agenda.retain(|_, action| !matches!(action, Action::Commit | Action::Tick));
        self.next_tick = None;
        self.life += 1;
        let now = self.now();
        let facts = self.disk.reopen(now);
        self.scheduler = Scheduler::new(Arc::clone(&self.policy), self.chance.u64(..), now).with_bounds(self.bounds);
        self.cancel_later();
        self.learn(facts)
    }

    /// What deleted webhooks have left is to be cancelled, some at a time.
    pub(crate) fn cancel_later(&mut self) {
        if self.disk.cancels() {
            let within = self.some_time(Duration::from_secs(60));
            self.plan(within, Action::Cancel);
        }
    }

    pub(super) fn cancel_some(&mut self) -> Result<(), Violation> {
        let now = self.now();
        let facts = self.disk.cancel_some(now);
        self.cancel_later();
        self.learn(facts)
    }

    /// From here on everything is well: receivers answer, nothing is paused.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.tell("everything heals");
        for webhook in self.disk.webhook_numbers() {
            self.moods.insert(webhook, Mood::Well);
            people::resume(self, webhook)?;
        }
        people::resume_replays(self)
    }
}
