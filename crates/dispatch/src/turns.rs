//! Fair turns: accounts first, webhooks second, by the slot time that each has used.

use std::collections::{BTreeSet, HashMap};

/// Whose turn it is. An account, and within it a webhook, that has held slots for less time comes first; one that comes
/// back from idling starts at the present level, so that it cannot save turns up.
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
    level: u64,
    ready: BTreeSet<(u64, u32)>,
}

impl Turns {
    /// A lane waits for its turn. Returns the lane's cost, raised to the present level of its account.
    pub(crate) fn enqueue(&mut self, account: u32, webhook: u32, cost: u64) -> u64 {
        let entry = self.accounts.entry(account).or_default();
        if entry.ready.is_empty() {
            entry.cost = entry.cost.max(self.level);
            self.ready.insert((entry.cost, account));
        }
        let cost = cost.max(entry.level);
        entry.ready.insert((cost, webhook));
        cost
    }

    /// A lane waits no more. `cost` is what [`Self::enqueue`] returned.
    pub(crate) fn remove(&mut self, account: u32, webhook: u32, cost: u64) {
        if let Some(entry) = self.accounts.get_mut(&account) {
            entry.ready.remove(&(cost, webhook));
            if entry.ready.is_empty() {
                self.ready.remove(&(entry.cost, account));
            }
        }
    }

    /// The lane whose turn it is; it is taken out.
    pub(crate) fn next(&mut self) -> Option<u32> {
        let &(cost, account) = self.ready.first()?;
        let entry = self.accounts.get_mut(&account)?;
        let (lane_cost, webhook) = entry.ready.pop_first()?;
        self.level = cost;
        entry.level = lane_cost;
        if entry.ready.is_empty() {
            self.ready.remove(&(cost, account));
        }
        Some(webhook)
    }

    /// An account has used slot time, or less than was charged (`micros` may be negative).
    pub(crate) fn charge(&mut self, account: u32, micros: i64) {
        let entry = self.accounts.entry(account).or_default();
        let waits = !entry.ready.is_empty();
        if waits {
            self.ready.remove(&(entry.cost, account));
        }
        entry.cost = entry.cost.saturating_add_signed(micros);
        if waits {
            self.ready.insert((entry.cost, account));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_that_used_less_comes_first() {
        let mut turns = Turns::default();
        let mut served = [0u32; 2];
        let mut costs = [0u64; 2];
        for _ in 0..300 {
            for (account, cost) in costs.iter_mut().enumerate() {
                let account = u32::try_from(account).expect("two");
                *cost = turns.enqueue(account, account, *cost);
            }
            let webhook = turns.next().expect("both wait");
            // Account 0 holds its slots for twice as long.
            let held = if webhook == 0 { 2_000 } else { 1_000 };
            turns.charge(webhook, held);
            served[webhook as usize] += 1;
        }
        assert_eq!(served, [100, 200]);
    }

    #[test]
    fn idling_saves_nothing_up() {
        let mut turns = Turns::default();
        for _ in 0..1_000 {
            turns.enqueue(1, 1, 0);
            assert_eq!(turns.next(), Some(1));
            turns.charge(1, 1_000);
        }
        let mut newcomer = 0;
        for _ in 0..100 {
            let one = turns.enqueue(1, 1, 0);
            let two = turns.enqueue(2, 2, 0);
            let served = turns.next().expect("both wait");
            if served == 2 {
                newcomer += 1;
                turns.remove(1, 1, one);
            } else {
                turns.remove(2, 2, two);
            }
            turns.charge(served, 1_000);
        }
        assert!(newcomer < 60, "{newcomer}");
    }
}
