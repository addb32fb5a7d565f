//! Fair turns: accounts first, then new work and old, then webhooks, by the slot time that each has used.

use std::collections::{BTreeSet, HashMap};

/// New work gets so many parts of an account's slot time for each part of old work, while both wait: retries never starve
/// first attempts, nor are starved.
const NEW_PER_OLD: u64 = 4;

/// What kind of work a turn is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// First attempts, and tests.
    New,
    /// Retries, replays, and what was loaded from disk.
    Old,
}

/// Which kinds of work a lane could start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kinds {
    pub(crate) new: bool,
    pub(crate) old: bool,
}

/// Whose turn it is. An account, and within it a kind of work and a webhook, that has held slots for less time comes first;
/// one that comes back from idling starts at the present level, so that it cannot save turns up.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    accounts: HashMap<u32, AccountTurns>,
    /// Accounts with lanes that wait, by used slot time.
    ready: BTreeSet<(u64, u32)>,
    /// The used slot time of whoever had the last turn.
    level: u64,
}

#[derive(Debug, Default)]
struct AccountTurns {
    cost: u64,
    /// The used slot time of the lane that had the last turn.
    level: u64,
    new: Work,
    old: Work,
    /// [`Work::used`] of the kind that had the last turn.
    kind_level: u64,
}

/// One kind of work of an account.
#[derive(Debug, Default)]
struct Work {
    /// Lanes that wait, by used slot time.
    ready: BTreeSet<(u64, u32)>,
    /// Slot time used, old work's weighted.
    used: u64,
}

impl Work {
    fn enqueue(&mut self, lane: (u64, u32), level: u64) {
        if self.ready.is_empty() {
            self.used = self.used.max(level);
        }
        self.ready.insert(lane);
    }
}

impl AccountTurns {
    fn waits(&self) -> bool {
        !(self.new.ready.is_empty() && self.old.ready.is_empty())
    }

    /// The kind of work whose turn it is.
    fn kind(&self) -> Kind {
        let old_first = self.new.ready.is_empty() || self.old.used < self.new.used;
        if !self.old.ready.is_empty() && old_first { Kind::Old } else { Kind::New }
    }

    const fn work(&mut self, kind: Kind) -> &mut Work {
        match kind {
            Kind::New => &mut self.new,
            Kind::Old => &mut self.old,
        }
    }

    fn remove(&mut self, lane: (u64, u32)) {
        self.new.ready.remove(&lane);
        self.old.ready.remove(&lane);
    }
}

impl Turns {
    /// A lane waits for its turn with work of these kinds. Returns the lane's cost, raised to the present level of its
    /// account.
    pub(crate) fn enqueue(&mut self, account: u32, webhook: u32, cost: u64, kinds: Kinds) -> u64 {
        let entry = self.accounts.entry(account).or_default();
        if !entry.waits() {
            entry.cost = entry.cost.max(self.level);
            self.ready.insert((entry.cost, account));
        }
        let cost = cost.max(entry.level);
        if kinds.new {
            entry.new.enqueue((cost, webhook), entry.kind_level);
        }
        if kinds.old {
            entry.old.enqueue((cost, webhook), entry.kind_level);
        }
        cost
    }

    /// A lane waits no more. `cost` is what [`Self::enqueue`] returned.
    pub(crate) fn remove(&mut self, account: u32, webhook: u32, cost: u64) {
        if let Some(entry) = self.accounts.get_mut(&account) {
            entry.remove((cost, webhook));
            if !entry.waits() {
                self.ready.remove(&(entry.cost, account));
            }
        }
    }

    /// The lane whose turn it is, and for which work; it is taken out.
    pub(crate) fn next(&mut self) -> Option<(u32, Kind)> {
        let &(cost, account) = self.ready.first()?;
        let entry = self.accounts.get_mut(&account)?;
        let kind = entry.kind();
        let work = entry.work(kind);
        let used = work.used;
        let lane = *work.ready.first()?;
        entry.remove(lane);
        self.level = cost;
        entry.level = lane.0;
        entry.kind_level = used;
        if !entry.waits() {
            self.ready.remove(&(cost, account));
        }
        Some((lane.1, kind))
    }

    /// An account has used slot time for this kind of work, or less than was charged (`micros` may be negative).
    pub(crate) fn charge(&mut self, account: u32, kind: Kind, micros: i64) {
        let entry = self.accounts.entry(account).or_default();
        let waits = entry.waits();
        if waits {
            self.ready.remove(&(entry.cost, account));
        }
        entry.cost = entry.cost.saturating_add_signed(micros);
        let weight = if kind == Kind::Old { NEW_PER_OLD.cast_signed() } else { 1 };
        let work = entry.work(kind);
        work.used = work.used.saturating_add_signed(micros.saturating_mul(weight));
        if waits {
            self.ready.insert((entry.cost, account));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Kinds = Kinds { new: true, old: false };
    const OLD: Kinds = Kinds { new: false, old: true };

    #[test]
    fn the_account_that_used_less_comes_first() {
        let mut turns = Turns::default();
        let mut served = [0u32; 2];
        let mut costs = [0u64; 2];
        for _ in 0..300 {
            for (account, cost) in costs.iter_mut().enumerate() {
                let account = u32::try_from(account).expect("two");
                *cost = turns.enqueue(account, account, *cost, NEW);
            }
            let (webhook, _) = turns.next().expect("both wait");
            // Account 0 holds its slots for twice as long.
            let held = if webhook == 0 { 2_000 } else { 1_000 };
            turns.charge(webhook, Kind::New, held);
            served[webhook as usize] += 1;
        }
        assert_eq!(served, [100, 200]);
    }

    #[test]
    fn idling_saves_nothing_up() {
        let mut turns = Turns::default();
        for _ in 0..1_000 {
            turns.enqueue(1, 1, 0, NEW);
            assert_eq!(turns.next(), Some((1, Kind::New)));
            turns.charge(1, Kind::New, 1_000);
        }
        let mut newcomer = 0;
        for _ in 0..100 {
            let one = turns.enqueue(1, 1, 0, NEW);
            let two = turns.enqueue(2, 2, 0, NEW);
            let (served, _) = turns.next().expect("both wait");
            if served == 2 {
                newcomer += 1;
                turns.remove(1, 1, one);
            } else {
                turns.remove(2, 2, two);
            }
            turns.charge(served, Kind::New, 1_000);
        }
        assert!(newcomer < 60, "{newcomer}");
    }

    /// How much of an account's slot time old work gets, when each of its attempts holds its slot for `old_takes`.
    fn share_of_old(turns: &mut Turns, old_takes: i64, rounds: usize) -> f64 {
        let mut used = [0i64; 2];
        let mut costs = [0u64; 3];
        for _ in 0..rounds {
            for (cost, (webhook, kinds)) in costs.iter_mut().zip([(1, NEW), (2, OLD), (3, OLD)]) {
                *cost = turns.enqueue(9, webhook, *cost, kinds);
            }
            let (webhook, kind) = turns.next().expect("all wait");
            let takes = if kind == Kind::Old { old_takes } else { 1_000 };
            turns.charge(9, kind, takes);
            costs[webhook as usize - 1] += u64::try_from(takes).expect("positive");
            used[usize::from(kind == Kind::Old)] += takes;
            for (cost, webhook) in costs.iter().zip(1..) {
                turns.remove(9, webhook, *cost);
            }
        }
        used[1] as f64 / (used[0] + used[1]) as f64
    }

    #[test]
    fn old_work_of_an_account_gets_a_fifth_of_its_slot_time_however_many_webhooks_have_some() {
        for old_takes in [1_000, 10_000, 100_000] {
            let share = share_of_old(&mut Turns::default(), old_takes, 10_000);
            assert!((0.18..=0.21).contains(&share), "{old_takes}: {share}");
        }
    }

    #[test]
    fn old_work_alone_has_every_turn_and_saves_none_up_for_new_work() {
        let mut turns = Turns::default();
        for _ in 0..1_000 {
            turns.enqueue(9, 2, 0, OLD);
            assert_eq!(turns.next(), Some((2, Kind::Old)));
            turns.charge(9, Kind::Old, 5_000);
        }
        let share = share_of_old(&mut turns, 1_000, 1_000);
        assert!((0.17..=0.22).contains(&share), "{share}");
    }
}
