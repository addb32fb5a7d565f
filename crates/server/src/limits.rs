//! How often something may happen per key: a count in a window of time, bounded in memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::time::Timestamp;

/// Keys remembered before those whose window has ended are thrown out.
const REMEMBERED_MAX: usize = 10_000;

/// At most `most` times in `window`, for each key by itself.
pub(crate) struct Limits<K> {
    most: u32,
    window: Duration,
    counts: Mutex<HashMap<K, (Timestamp, u32)>>,
}

impl<K: Eq + Hash> Limits<K> {
    pub(crate) fn new(most: u32, window: Duration) -> Self {
        Self { most, window, counts: Mutex::new(HashMap::new()) }
    }

    /// Counts one for `key`.
    ///
    /// # Errors
    /// How long to wait, when `key` has used up its window.
    pub(crate) fn take(&self, key: K, now: Timestamp) -> Result<(), Duration> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= REMEMBERED_MAX {
            counts.retain(|_, (start, _)| self.open(*start, now));
        }
        if counts.len() >= REMEMBERED_MAX {
            // Every window is open: rather forget them all than grow, or refuse whoever is new.
            counts.clear();
        }
        let (start, count) = counts.entry(key).or_insert((now, 0));
        if !self.open(*start, now) {
            (*start, *count) = (now, 0);
        }
        if *count >= self.most {
            return Err(start.plus(self.window).since(now));
        }
        *count += 1;
        Ok(())
    }

    /// A clock that stepped back closes the window too, so that nobody waits for it to catch up.
    fn open(&self, start: Timestamp, now: Timestamp) -> bool {
        start <= now && now.since(start) < self.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_key_by_itself_and_starts_again_after_the_window() {
        let limits = Limits::new(2, Duration::from_secs(10));
        let at = |seconds: i64| Timestamp(seconds * 1_000_000);
        assert_eq!(limits.take("a", at(100)), Ok(()));
        assert_eq!(limits.take("a", at(101)), Ok(()));
        assert_eq!(limits.take("a", at(102)), Err(Duration::from_secs(8)));
        assert_eq!(limits.take("b", at(102)), Ok(()));
        assert_eq!(limits.take("a", at(110)), Ok(()));
        assert_eq!(limits.take("a", at(50)), Ok(()), "the clock stepped back");
    }

    #[test]
    fn remembers_no_more_keys_than_it_should() {
        let limits = Limits::new(1, Duration::from_secs(10));
        for key in 0..3 * REMEMBERED_MAX {
            assert_eq!(limits.take(key, Timestamp(0)), Ok(()));
        }
        assert!(limits.counts.lock().expect("not poisoned").len() <= REMEMBERED_MAX);
    }
}
