//! The machine's clock: the one place where the wall clock is read.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::time::{Clock, Timestamp};

/// A lead of the wall clock over the monotonic one, since somebody last looked, that may be a correction.
const LEAD_MAX: Duration = Duration::from_secs(3_600);
/// A larger one is believed once it has lasted for so long.
const BELIEVED_AFTER: Duration = Duration::from_secs(86_400);

/// The wall clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where time comes in")]
    fn now(&self) -> Timestamp {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX))
    }

    fn trusted(&self) -> Timestamp {
        static ANCHOR: Mutex<Option<Anchor>> = Mutex::new(None);
        let mut anchor = ANCHOR.lock().unwrap_or_else(PoisonError::into_inner);
        let (wall, monotonic) = (self.now(), Instant::now());
        anchor.get_or_insert(Anchor { wall, monotonic, ahead_since: None }).trusted(wall, monotonic)
    }
}

/// An instant of both clocks, by which steps of the wall clock are noticed.
#[derive(Debug)]
struct Anchor {
    wall: Timestamp,
    monotonic: Instant,
    /// Since when the wall clock is further ahead than a correction takes it.
    ahead_since: Option<Instant>,
}

impl Anchor {
    fn trusted(&mut self, wall: Timestamp, monotonic: Instant) -> Timestamp {
        let expected = self.wall.plus(monotonic - self.monotonic);
        if wall.since(expected) > LEAD_MAX {
            let since = *self.ahead_since.get_or_insert(monotonic);
            if monotonic - since < BELIEVED_AFTER {
                return expected;
            }
        }
        *self = Self { wall, monotonic, ahead_since: None };
        wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_erased_by_a_clock_that_has_just_leapt() {
        let (start, began) = (Timestamp(1_795_464_000_000_000), Instant::now());
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        let mut anchor = Anchor { wall: start, monotonic: began, ahead_since: None };
        let at = |lead: Duration, passed: Duration| (start.plus(passed).plus(lead), began + passed);
        let mut trusted = |lead, passed| {
            let (wall, monotonic) = at(lead, passed);
            anchor.trusted(wall, monotonic).since(start)
        };
        assert_eq!(trusted(Duration::ZERO, hours(5)), hours(5), "it goes");
        assert_eq!(trusted(Duration::from_secs(600), hours(6)), hours(6) + Duration::from_secs(600), "it is corrected");
        let lead = hours(24 * 60);
        assert_eq!(trusted(lead, hours(7)), hours(7) + Duration::from_secs(600), "it leaps, and is not believed");
        assert_eq!(trusted(Duration::ZERO, hours(8)), hours(8), "it comes back");
        assert_eq!(trusted(lead, hours(9)), hours(9));
        assert_eq!(trusted(lead, hours(32)), hours(32));
        assert_eq!(trusted(lead, hours(33)), lead + hours(33), "a day later it may be right");
        assert_eq!(trusted(Duration::ZERO, hours(34)), hours(34), "set back, it is what it says");
    }
}
