//! The retry schedule, and the verdict on an attempt: what becomes of a delivery after it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attempt::{ErrorCode, Failure, Outcome};
use crate::retry_after::retry_after;
use crate::time::{Timestamp, parse_span, write_span};

/// The longest jitter, however long the delay: a tenth of six hours would make a schedule that people go by 36 minutes late.
pub const JITTER_MAX: Duration = Duration::from_secs(30);
/// The longest delay of a schedule.
const DELAY_MAX: Duration = Duration::from_secs(7 * 86_400);
/// How many delays a schedule may have.
const DELAYS_MAX: usize = 20;

/// The delays between the attempts of a delivery, each from the end of the failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct RetrySchedule(Vec<Duration>);

/// The schedule breaks a rule; the text says which.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSchedule(String);

impl RetrySchedule {
    /// The page's own: 30 s, 2 min, 10 min, 1 h, 6 h.
    #[must_use]
    pub fn page() -> Self {
        Self([30, 120, 600, 3_600, 21_600].map(Duration::from_secs).to_vec())
    }

    /// A schedule of `delays`.
    ///
    /// # Errors
    /// Unless there are 1–20 delays, each over 0 s and at most 7 d.
    pub fn new(delays: Vec<Duration>) -> Result<Self, BadSchedule> {
        if delays.is_empty() || delays.len() > DELAYS_MAX {
            return Err(BadSchedule(format!("a schedule has 1 to {DELAYS_MAX} delays, this one has {}", delays.len())));
        }
        for delay in &delays {
            if delay.is_zero() || *delay > DELAY_MAX {
                return Err(BadSchedule(format!("each delay is over 0 s and at most 7 d, not {}", write_span(*delay))));
            }
        }
        Ok(Self(delays))
    }

    /// Reads `30s,2m,10m,1h,6h`.
    ///
    /// # Errors
    /// When a delay is no span, or the rules of [`Self::new`] are broken.
    pub fn parse(text: &str) -> Result<Self, BadSchedule> {
        Self::try_from(text.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>())
    }

    /// The delays, first retry first.
    #[must_use]
    pub fn delays(&self) -> &[Duration] {
        &self.0
    }

    /// The longest delay: as far as `Retry-After` can postpone.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.0.iter().copied().max().unwrap_or_default()
    }

    /// All delays together: how long after its first attempt a delivery is still tried, attempts and jitter aside.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.0.iter().sum()
    }
}

impl TryFrom<Vec<String>> for RetrySchedule {
    type Error = BadSchedule;

    fn try_from(texts: Vec<String>) -> Result<Self, BadSchedule> {
        let delays = texts
            .iter()
            .map(|text| parse_span(text).map_err(|error| BadSchedule(format!("{text:?}: {error}"))))
            .collect::<Result<Vec<_>, _>>()?;
        Self::new(delays)
    }
}

impl From<RetrySchedule> for Vec<String> {
    fn from(schedule: RetrySchedule) -> Self {
        schedule.0.iter().map(|delay| write_span(*delay)).collect()
    }
}

/// What the outcome of an attempt means for its delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// A complete answer head with a 2xx status.
    Delivered,
    /// Failed; the next attempt is not made before this instant.
    Retry {
        /// Why it failed.
        failure: Failure,
        /// When the next attempt is due.
        due_at: Timestamp,
    },
    /// Failed, and the schedule has ended.
    Failed {
        /// Why the last attempt failed.
        failure: Failure,
    },
}

/// What [`judge`] needs beside the outcome.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The schedule in force for the webhook.
    pub schedule: &'a RetrySchedule,
    /// How many retries of the schedule are already made, this attempt included if it was one.
    pub retries_made: u16,
    /// The end of this attempt.
    pub ended_at: Timestamp,
    /// Largest share of a delay that is added to it, 0 to 1.
    pub jitter: f64,
    /// A chance number from 0 (included) to 1 (excluded).
    pub chance: f64,
}

/// The verdict on an attempt: success is a complete answer head with a 2xx status, everything else a failure.
pub fn judge(outcome: &Outcome, standing: &Standing<'_>) -> Verdict {
    let Some(failure) = failure(outcome) else { return Verdict::Delivered };
    let Some(delay) = standing.schedule.delays().get(usize::from(standing.retries_made)) else {
        return Verdict::Failed { failure };
    };
    let asked = outcome.result.as_ref().ok().and_then(|answer| retry_after(answer, standing.ended_at));
    let asked = asked.unwrap_or_default().min(standing.schedule.longest());
    let delay = (*delay).max(asked);
    // Late only: a jitter that could be negative would bring an attempt forward.
    let jitter =
        delay.mul_f64(standing.jitter.clamp(0.0, 1.0)).min(JITTER_MAX).mul_f64(standing.chance.clamp(0.0, 1.0));
    Verdict::Retry { failure, due_at: standing.ended_at.plus(delay).plus(jitter) }
}

/// Why an outcome is a failure, or `None` for a success.
#[must_use]
pub fn failure(outcome: &Outcome) -> Option<Failure> {
    let answer = match &outcome.result {
        Ok(answer) => answer,
        Err(failure) => return Some(failure.clone()),
    };
    let code = match answer.status {
        200..=299 => return None,
        300..=399 => ErrorCode::Http3xx,
        400..=499 => ErrorCode::Http4xx,
        _ => ErrorCode::Http5xx,
    };
    Some(Failure { code, detail: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::{Answer, Timing};
    use proptest::prelude::*;

    fn answer(status: u16, retry_after: Option<&str>) -> Outcome {
        Outcome {
            result: Ok(Answer {
                status,
                headers: retry_after.map(|v| ("Retry-After".to_owned(), v.as_bytes().to_vec())).into_iter().collect(),
                body: Vec::new(),
                truncated: false,
            }),
            remote_address: None,
            timing: Timing::default(),
            duration: Duration::ZERO,
        }
    }

    fn delay_of(outcome: &Outcome, retries_made: u16, chance: f64) -> Option<Duration> {
        let ended_at = Timestamp(1_795_464_000_000_000);
        let schedule = RetrySchedule::page();
        let standing = Standing { schedule: &schedule, retries_made, ended_at, jitter: 0.1, chance };
        match judge(outcome, &standing) {
            Verdict::Retry { due_at, .. } => Some(due_at.since(ended_at)),
            Verdict::Delivered | Verdict::Failed { .. } => None,
        }
    }

    #[test]
    fn the_page_s_delays() {
        for (made, seconds) in [30, 120, 600, 3_600, 21_600].into_iter().enumerate() {
            let made = u16::try_from(made).expect("five");
            assert_eq!(delay_of(&answer(500, None), made, 0.0), Some(Duration::from_secs(seconds)));
        }
        assert_eq!(delay_of(&answer(500, None), 5, 0.0), None);
        assert_eq!(delay_of(&answer(204, None), 0, 0.0), None);
    }

    #[test]
    fn retry_after_postpones_and_never_brings_forward() {
        let check = |status: u16, value: &str, made: u16, seconds: u64| {
            assert_eq!(
                delay_of(&answer(status, Some(value)), made, 0.0),
                Some(Duration::from_secs(seconds)),
                "{status} {value}"
            );
        };
        check(429, "120", 0, 120);
        check(503, "1", 0, 30);
        check(500, "7200", 0, 30);
        check(429, "99999999999", 0, 21_600);
        check(429, &"9".repeat(10_240), 0, 21_600);
        check(429, "soon", 0, 30);
        check(429, "1e9", 0, 30);
        check(429, "-5", 0, 30);
        check(429, "Thu, 01 Jan 1970 00:00:00 GMT", 0, 30);
        let later = Timestamp(1_795_464_000_000_000).plus(Duration::from_secs(90));
        let date = jiff::Timestamp::from_microsecond(later.0).expect("in range").strftime("%a, %d %b %Y %H:%M:%S GMT");
        check(503, &date.to_string(), 0, 90);
    }

    #[test]
    fn schedules_are_judged() {
        for text in ["", "0s", "30", "30s,soon", "8d", "1s,,2s"] {
            assert!(RetrySchedule::parse(text).is_err(), "{text}");
        }
        assert!(RetrySchedule::new(vec![Duration::from_secs(1); 21]).is_err());
        assert_eq!(RetrySchedule::parse("30s,2m,10m,1h,6h"), Ok(RetrySchedule::page()));
    }

    proptest! {
        #[test]
        fn never_early_and_late_by_at_most_the_jitter(
            made in 0u16..5, chance in 0.0f64..1.0, status in 300u16..600, asked in proptest::option::of(0u64..100_000),
        ) {
            let asked_text = asked.map(|s| s.to_string());
            let outcome = answer(status, asked_text.as_deref());
            let delay = RetrySchedule::page().delays()[usize::from(made)];
            let got = delay_of(&outcome, made, chance).expect("a retry");
            let asked = asked.filter(|_| status == 429 || status == 503).map_or(Duration::ZERO, Duration::from_secs);
            let least = delay.max(asked.min(RetrySchedule::page().longest()));
            prop_assert!(got >= least);
            prop_assert!(got <= least + least.mul_f64(0.1).min(Duration::from_secs(30)));
        }
    }
}
