//! Durations in buckets of fixed borders, so that histograms can be added up and percentiles read from the sum.
//!
//! Borders are log-linear: each doubling is cut into 16 equal parts. What is read is off by at most 1/32 of itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Parts of each doubling, as a power of two.
const PARTS_BITS: u32 = 4;
const PARTS: u64 = 1 << PARTS_BITS;
/// Longer durations, over an hour, count as this: no attempt lasts as long.
const LONGEST: u64 = (1 << 32) - 1;

/// How often each duration occurred, in microseconds, to within 1/32 of itself. At most 464 buckets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram(
    /// The numbers of the buckets that are not empty, ascending, with their counts. The numbers never change meaning.
    Vec<(u16, u64)>,
);

/// The number of the bucket that holds this many microseconds.
const fn bucket(micros: u64) -> u16 {
    if micros < PARTS {
        return micros as u16;
    }
    let doubling = micros.ilog2() - PARTS_BITS;
    ((doubling as u64 + 1) * PARTS + (micros >> doubling) - PARTS) as u16
}

/// The middle of a bucket, in microseconds.
const fn middle(bucket: u16) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * PARTS {
        return bucket;
    }
    let doubling = bucket / PARTS - 1;
    let first = (bucket % PARTS + PARTS) << doubling;
    first + ((1 << doubling) >> 1)
}

impl Histogram {
    /// Counts a duration.
    pub fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(LONGEST).min(LONGEST);
        self.count(bucket(micros), 1);
    }

    fn count(&mut self, bucket: u16, number: u64) {
        match self.0.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.0[at].1 += number,
            Err(at) => self.0.insert(at, (bucket, number)),
        }
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        for (bucket, number) in &other.0 {
            self.count(*bucket, *number);
        }
    }

    /// How many durations were counted.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.iter().map(|(_, number)| number).sum()
    }

    /// The duration that this percentage of all does not exceed; `None` if there are none.
    #[must_use]
    pub fn percentile(&self, percent: u8) -> Option<Duration> {
        let rank = (self.number() * u64::from(percent.min(100))).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.0.iter().find(|(_, number)| {
            seen += number;
            seen >= rank
        });
        found.map(|(bucket, _)| Duration::from_micros(middle(*bucket)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(all: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for micros in all {
            histogram.record(Duration::from_micros(*micros));
        }
        histogram
    }

    #[test]
    fn borders_follow_each_other_without_a_gap() {
        let mut last = 0;
        for micros in 1..200_000 {
            let here = bucket(micros);
            assert!(here == last || here == last + 1, "{micros}");
            last = here;
        }
        assert_eq!(bucket(LONGEST), 463);
        assert_eq!(Histogram::default().percentile(50), None);
    }

    fn micros() -> impl Strategy<Value = u64> {
        (0u32..32).prop_flat_map(|bits| 0..=(1u64 << bits))
    }

    proptest! {
        #[test]
        fn a_percentile_is_off_by_a_thirty_second_at_most(all in prop::collection::vec(micros(), 1..200), percent in 0u8..=100) {
            let read = of(&all).percentile(percent).expect("there are some").as_micros() as u64;
            let mut sorted = all;
            sorted.sort_unstable();
            let rank = (sorted.len() * usize::from(percent)).div_ceil(100).max(1);
            let exact = sorted[rank - 1].min(LONGEST);
            prop_assert!(read.abs_diff(exact) * 32 <= exact, "{read} for {exact}");
        }

        #[test]
        fn the_sum_is_the_histogram_of_all(parts in prop::collection::vec(prop::collection::vec(micros(), 0..40), 0..6)) {
            let mut sum = Histogram::default();
            for part in &parts {
                sum.add(&of(part));
            }
            let all = parts.concat();
            prop_assert_eq!(sum.number(), all.len() as u64);
            prop_assert_eq!(sum, of(&all));
        }
    }
}
