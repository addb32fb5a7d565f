//! Durations counted by size: for figures that many threads add to, and somebody reads now and then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in seconds: from a fast disk's fsync to what is long for a person.
const BOUNDS: [f64; 13] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, f64::INFINITY];

/// How many durations there were of which size.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS.len()],
    sum_micros: AtomicU64,
}

/// What a [`Histogram`] held at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// All durations together, in seconds.
    pub sum: f64,
    /// How many there were.
    pub count: u64,
    /// For each upper bound, in seconds, how many were over the bound before it and not over this one.
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Counts a duration.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let place = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len() - 1);
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// What it holds now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<_> = BOUNDS.into_iter().zip(counts).collect();
        let sum = Duration::from_micros(self.sum_micros.load(Ordering::Relaxed)).as_secs_f64();
        Snapshot { sum, count: buckets.iter().map(|(_, count)| count).sum(), buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_one_bucket() {
        let histogram = Histogram::default();
        for micros in [0, 500, 501, 30_000_000, 31_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let found = histogram.snapshot();
        assert_eq!(found.count, 5);
        assert!((found.sum - 61.001_001).abs() < 1e-9);
        let of = |place: usize| found.buckets[place].1;
        assert_eq!((of(0), of(1), of(11), of(12)), (2, 1, 1, 1));
        // OpenMetrics wants a last bucket `+Inf`, and quantiles are nothing without it.
        assert!(found.buckets[12].0.is_infinite());
    }
}
