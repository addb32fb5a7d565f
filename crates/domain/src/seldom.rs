//! What happens again and again, told of once in a while: a log in which a fault fills the disk hides all others.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is told of at most.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Counts what happens, and says when it is to be told of.
#[derive(Debug)]
pub struct Seldom(Mutex<State>);

#[derive(Debug)]
struct State {
    told_at: Option<Instant>,
    /// How many times it has happened since.
    untold: u64,
}

impl Default for Seldom {
    fn default() -> Self {
        Self::new()
    }
}

impl Seldom {
    /// Nothing has happened yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(State { told_at: None, untold: 0 }))
    }

    /// It has happened at `now`. If it is to be told of, says how many times it has happened that nobody was told of, this one
    /// included: at the first time, and then every 10 seconds at most.
    pub fn happened(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.untold += 1;
        if state.told_at.is_some_and(|at| now.saturating_duration_since(at) < TOLD_EVERY) {
            return None;
        }
        state.told_at = Some(now);
        Some(std::mem::take(&mut state.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_is_told_at_once_and_then_the_count_every_ten_seconds() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let told: Vec<_> =
            [0, 1, 9, 10, 11, 19, 40, 41].map(|seconds| seldom.happened(start + Duration::from_secs(seconds))).into();
        assert_eq!(told, [Some(1), None, None, Some(3), None, None, Some(3), None]);
    }
}
