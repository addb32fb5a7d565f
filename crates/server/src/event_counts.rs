//! How many events of each type an account's producers have posted, and how many were refused for breaking the type's
//! schema, in the last 24 hours. Counted in memory, since the process started: to count refusals on disk would cost a write
//! for each.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::store::Fact;
use domain::time::Timestamp;

/// The length of a step.
const HOUR: i64 = 3_600_000_000;
/// How many steps are kept, the present one included.
const HOURS: i64 = 24;

/// How many events of a type there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Accepted; tests are left out.
    pub(crate) accepted: u64,
    /// Refused, since their data broke the schema.
    pub(crate) refused: u64,
}

/// The steps of one type in which there was something, oldest first.
type Steps = VecDeque<(i64, Count)>;

/// The counts.
#[derive(Debug)]
pub(crate) struct EventCounts {
    started_at: Timestamp,
    accounts: Mutex<HashMap<u32, HashMap<Arc<str>, Steps>>>,
}

impl EventCounts {
    pub(crate) fn new(started_at: Timestamp) -> Self {
        Self { started_at, accounts: Mutex::default() }
    }

    /// Counts the events among these facts.
    pub(crate) fn observe(&self, facts: &[Fact]) {
        let mut accounts = None;
        for fact in facts {
            if let Fact::Accepted { event, .. } = fact
                && !event.test
            {
                let accounts = accounts.get_or_insert_with(|| self.accounts());
                at(accounts, event.account, &event.event_type, event.timestamp).accepted += 1;
            }
        }
    }

    /// Counts an event that broke the schema of its type.
    pub(crate) fn refused(&self, account: u32, event_type: &Arc<str>, now: Timestamp) {
        at(&mut self.accounts(), account, event_type, now).refused += 1;
    }

    /// From when on is counted.
    pub(crate) fn since(&self, now: Timestamp) -> Timestamp {
        self.started_at.max(Timestamp(first(now) * HOUR))
    }

    /// What there was of a type.
    pub(crate) fn of(&self, account: u32, event_type: &str, now: Timestamp) -> Count {
        let accounts = self.accounts();
        let steps = accounts.get(&account).and_then(|types| types.get(event_type));
        let steps = steps.into_iter().flatten().filter(|(hour, _)| *hour >= first(now));
        steps.fold(Count::default(), |sum, (_, count)| Count {
            accepted: sum.accepted + count.accepted,
            refused: sum.refused + count.refused,
        })
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<u32, HashMap<Arc<str>, Steps>>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The oldest step that counts.
const fn first(now: Timestamp) -> i64 {
    now.0.div_euclid(HOUR) - HOURS + 1
}

/// The present step of a type.
fn at<'a>(
    accounts: &'a mut HashMap<u32, HashMap<Arc<str>, Steps>>,
    account: u32,
    event_type: &Arc<str>,
    now: Timestamp,
) -> &'a mut Count {
    let types = accounts.entry(account).or_default();
    let steps = types.entry(Arc::clone(event_type)).or_default();
    let hour = now.0.div_euclid(HOUR);
    while steps.front().is_some_and(|(oldest, _)| *oldest < first(now)) {
        steps.pop_front();
    }
    // A clock that was set back counts into the latest step.
    if steps.back().is_none_or(|(latest, _)| *latest < hour) {
        steps.push_back((hour, Count::default()));
    }
    let last = steps.len() - 1;
    &mut steps[last].1
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_day_is_counted_and_no_more() {
        let hour = |number: u64| Timestamp(1_773_844_200_000_000).plus(Duration::from_secs(3_600 * number));
        let counts = EventCounts::new(hour(0));
        let name: Arc<str> = "alert.rule_created".into();
        for number in 0..30 {
            counts.refused(1, &name, hour(number));
        }
        assert_eq!(counts.of(1, &name, hour(29)), Count { accepted: 0, refused: 24 });
        assert_eq!(counts.of(1, &name, hour(40)), Count { accepted: 0, refused: 13 });
        assert_eq!(counts.of(2, &name, hour(29)), Count::default());
        assert_eq!(counts.since(hour(1)), hour(0));
        assert!(counts.since(hour(40)) > hour(15) && counts.since(hour(40)) < hour(17));
        // A step back of the clock loses nothing.
        counts.refused(1, &name, hour(28));
        assert_eq!(counts.of(1, &name, hour(29)).refused, 25);
    }
}
