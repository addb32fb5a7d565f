//! How a webhook fares, in one word.

use super::Figures;

/// So many attempts in a row without a 2xx are a failing receiver.
const FAILING_FROM: u64 = 10;
/// A smaller share of what ended, delivered, is a receiver to look at.
const DEGRADED_BELOW: f64 = 0.95;

/// How a webhook fares. A badge, never a state: nothing follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// What is sent arrives.
    Healthy,
    /// Less than 95 % of what ended in the last hour was delivered, or none of the day's few attempts got a 2xx.
    Degraded,
    /// None of the last ten attempts, or more, got a 2xx.
    Failing,
    /// No attempt in the last day.
    NoTraffic,
}

impl Health {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Degraded, Self::Failing, Self::NoTraffic];

    /// Judges by the figures of the last 24 hours and of the last hour.
    #[must_use]
    pub fn judge(day: &Figures, hour: &Figures) -> Self {
        if day.attempts() == 0 {
            Self::NoTraffic
        } else if day.misses_in_a_row >= FAILING_FROM {
            Self::Failing
        } else if day.succeeded == 0 || hour.success().is_some_and(|share| share < DEGRADED_BELOW) {
            Self::Degraded
        } else {
            Self::Healthy
        }
    }

    /// The word as API, dashboard and CLI write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
            Self::NoTraffic => "no_traffic",
        }
    }
}
