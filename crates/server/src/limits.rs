//! How often something may happen: a count in a window of time for each key, or a rate for each account. Bounded in
//! memory; and what an answer says of it.
//!
//! Answers say it as draft-ietf-httpapi-ratelimit-headers-11 has it: `RateLimit-Policy: "events";q=100;w=1` is the quota
//! and its window in seconds, `RateLimit: "events";r=0;t=1` what is left of it and when there is more.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::time::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Keys remembered before those whose window has ended are thrown out.
const REMEMBERED_MAX: usize = 10_000;
/// For how much time's worth of events an account may get ahead of its rate.
const AHEAD: Duration = Duration::from_secs(1);
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What is left of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    /// What the quota is of.
    pub(crate) name: &'static str,
    /// How many in a window.
    pub(crate) quota: u32,
    pub(crate) window: Duration,
    /// How many more now.
    pub(crate) left: u32,
    /// How long until there is more; zero if there is some.
    pub(crate) wait: Duration,
}

impl Left {
    /// Says so in an answer's head.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let Self { name, quota, window, left, wait } = self;
        let until = if wait.is_zero() { *window } else { *wait };
        for (header, text) in [
            (POLICY, format!("\"{name}\";q={quota};w={}", whole_seconds(*window))),
            (LIMIT, format!("\"{name}\";r={left};t={}", whole_seconds(until))),
        ] {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(header, value);
            }
        }
    }
}

/// Rounded up: who comes back after that many seconds is not too early.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis().div_ceil(1_000).max(1)).unwrap_or(u64::MAX)
}

/// At most `most` times in `window`, for each key by itself.
pub(crate) struct Limits<K> {
    name: &'static str,
    most: u32,
    window: Duration,
    counts: Mutex<HashMap<K, (Timestamp, u32)>>,
}

impl<K: Eq + Hash> Limits<K> {
    pub(crate) fn new(name: &'static str, most: u32, window: Duration) -> Self {
        Self { name, most, window, counts: Mutex::new(HashMap::new()) }
    }

    /// Counts one for `key`.
    ///
    /// # Errors
    /// When `key` has used up its window.
    pub(crate) fn take(&self, key: K, now: Timestamp) -> Result<(), Left> {
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
            let wait = start.plus(self.window).since(now);
            return Err(Left { name: self.name, quota: self.most, window: self.window, left: 0, wait });
        }
        *count += 1;
        Ok(())
    }

    /// One that was counted has turned out to be none.
    pub(crate) fn give_back(&self, key: &K) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = counts.get_mut(key) {
            *count = count.saturating_sub(1);
        }
    }

    /// A clock that stepped back closes the window too, so that nobody waits for it to catch up.
    fn open(&self, start: Timestamp, now: Timestamp) -> bool {
        start <= now && now.since(start) < self.window
    }
}

/// Events per second of each account.
#[derive(Default)]
pub(crate) struct EventRates {
    /// When what an account has posted would have been posted at its rate.
    even_at: Mutex<HashMap<u32, Timestamp>>,
}

impl EventRates {
    /// Counts `number` events of an account that may post `rate` a second. A batch is taken whole while there is anything
    /// left, and what it goes over is made up for afterwards: so a batch of any size can be posted, and the rate holds.
    ///
    /// # Errors
    /// When the account is too far ahead of its rate.
    pub(crate) fn take(&self, account: u32, number: usize, rate: u32, now: Timestamp) -> Result<Left, Left> {
        let mut even_at = self.even_at.lock().unwrap_or_else(PoisonError::into_inner);
        if even_at.len() >= REMEMBERED_MAX {
            even_at.retain(|_, at| *at > now);
        }
        // A clock that stepped back must not keep anybody waiting for more than a batch's worth.
        let ahead = even_at.get(&account).map_or(Duration::ZERO, |at| at.since(now)).min(AHEAD + cost(1_000, rate));
        let left = |ahead: Duration, wait| {
            let spare = AHEAD.saturating_sub(ahead).as_micros() * u128::from(rate) / 1_000_000;
            let left = u32::try_from(spare).unwrap_or(u32::MAX);
            Left { name: "events", quota: rate, window: AHEAD, left, wait }
        };
        if ahead + cost(1, rate) > AHEAD {
            return Err(Left { left: 0, ..left(ahead, (ahead + cost(1, rate)).saturating_sub(AHEAD)) });
        }
        let ahead = ahead + cost(number as u64, rate);
        even_at.insert(account, now.plus(ahead));
        Ok(left(ahead, Duration::ZERO))
    }

    /// So many that were counted have turned out to be none.
    pub(crate) fn give_back(&self, account: u32, number: usize, rate: u32) {
        let mut even_at = self.even_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = even_at.get_mut(&account) {
            *at = at.minus(cost(number as u64, rate));
        }
    }
}

/// The time that so many events take at a rate a second.
fn cost(number: u64, rate: u32) -> Duration {
    Duration::from_micros(number.saturating_mul(1_000_000) / u64::from(rate.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp(1_000_000_000_000 + millis * 1_000)
    }

    #[test]
    fn counts_each_key_by_itself_and_starts_again_after_the_window() {
        let limits = Limits::new("calls", 2, Duration::from_secs(10));
        let refused = |seconds| {
            let (window, wait) = (Duration::from_secs(10), Duration::from_secs(seconds));
            Err(Left { name: "calls", quota: 2, window, left: 0, wait })
        };
        assert_eq!(limits.take("a", at(100_000)), Ok(()));
        assert_eq!(limits.take("a", at(101_000)), Ok(()));
        assert_eq!(limits.take("a", at(102_000)), refused(8));
        assert_eq!(limits.take("b", at(102_000)), Ok(()));
        assert_eq!(limits.take("a", at(110_000)), Ok(()));
        assert_eq!(limits.take("a", at(50_000)), Ok(()), "the clock stepped back");
    }

    #[test]
    fn remembers_no_more_keys_than_it_should() {
        let limits = Limits::new("calls", 1, Duration::from_secs(10));
        for key in 0..3 * REMEMBERED_MAX {
            assert_eq!(limits.take(key, Timestamp(0)), Ok(()));
        }
        assert!(limits.counts.lock().expect("not poisoned").len() <= REMEMBERED_MAX);
    }

    #[test]
    fn a_rate_holds_over_any_time_and_each_account_has_its_own() {
        let rates = EventRates::default();
        let mut taken = 0;
        for millis in 0..=10_000 {
            taken += u32::from(rates.take(1, 1, 50, at(millis)).is_ok());
        }
        assert!((500..=550).contains(&taken), "{taken} in ten seconds at 50 a second");
        let over = rates.take(1, 1, 50, at(10_000)).expect_err("nothing is left");
        assert_eq!((over.left, over.quota), (0, 50));
        assert!(over.wait <= Duration::from_millis(20) && !over.wait.is_zero());
        assert!(rates.take(1, 1, 50, at(10_000).plus(over.wait)).is_ok(), "who waits as told is taken");
        assert_eq!(rates.take(2, 10, 50, at(10_000)).map(|left| left.left), Ok(40));
    }

    #[test]
    fn a_batch_is_taken_whole_and_made_up_for() {
        let rates = EventRates::default();
        assert_eq!(rates.take(1, 1_000, 100, at(0)).map(|left| left.left), Ok(0));
        let over = rates.take(1, 1, 100, at(0)).expect_err("it is far ahead");
        assert_eq!(over.wait, Duration::from_millis(9_010));
        assert!(rates.take(1, 1, 100, at(9_000)).is_err());
        assert!(rates.take(1, 1, 100, at(9_010)).is_ok());
        assert!(rates.take(1, 1, 100, at(-3_600_000)).is_err_and(|over| over.wait <= Duration::from_secs(11)));
    }

    #[test]
    fn an_answer_says_it_as_the_draft_does() {
        let mut headers = HeaderMap::new();
        let wait = Duration::from_millis(1_200);
        Left { name: "events", quota: 100, window: AHEAD, left: 0, wait }.write(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"events\";q=100;w=1");
        assert_eq!(headers["ratelimit"], "\"events\";r=0;t=2");
    }
}
