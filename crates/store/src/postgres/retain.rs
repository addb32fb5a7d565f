//! Retention: what has ended goes, a day's tables at once where everything in them may, else a bounded batch at a time. What is
//! unfinished never goes.

use std::collections::HashSet;

use domain::store::NoSpace;

/// For whom nothing more is accepted, since what is kept has reached its size and what is left is unfinished.
#[derive(Debug, Default)]
pub(super) struct Full(HashSet<Option<u32>>);

impl Full {
    /// Why nothing is accepted for an account, if that is so.
    pub(super) fn refuses(&self, account: u32) -> Option<NoSpace> {
        if self.0.contains(&None) {
            return Some(NoSpace::Store);
        }
        self.0.contains(&Some(account)).then_some(NoSpace::Account)
    }
}
