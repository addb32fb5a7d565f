//! A window of time, cut into steps that start at whole minutes, hours or days of UTC.

use std::time::Duration;

use super::{HOURS_KEPT, MINUTES_KEPT};
use crate::time::{Timestamp, parse_span, write_span};

const MINUTE_MICROS: i64 = 60_000_000;
const HOUR: u32 = 60;
const DAY: u32 = 24 * HOUR;
/// The steps that a window can be cut into, in minutes: each fits an hour or a day without a rest.
const STEPS: [u32; 11] = [1, 5, 10, 15, 30, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY];
/// How many steps a window has at most.
const STEPS_MAX: i64 = 3_000;

/// The length of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step(u32);

/// A window that there are no figures for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadWindow {
    /// The length of a step is none of those that there are.
    #[error("a step is 1m, 5m, 10m, 15m, 30m, 1h, 2h, 3h, 6h, 12h or 1d")]
    Step,
    /// The window is empty, or goes back further than figures are kept.
    #[error("a window is over 0 s and at most {}", write_span(*.0))]
    Length(Duration),
    /// Figures by the minute are not kept for so long.
    #[error("figures are kept by the minute for 48h: for a longer window, ask for steps of 1h or more")]
    Minutes,
    /// There are too many steps.
    #[error("a window has at most 3,000 steps: ask for longer ones")]
    Steps,
}

impl Step {
    /// A minute.
    pub const MINUTE: Self = Self(1);
    /// An hour.
    pub const HOUR: Self = Self(HOUR);

    /// Reads `1m`, `1h`, `1d` and the lengths between that there are.
    ///
    /// # Errors
    /// [`BadWindow::Step`].
    pub fn parse(text: &str) -> Result<Self, BadWindow> {
        let span = parse_span(text).map_err(|_| BadWindow::Step)?;
        let known = STEPS.into_iter().map(Self).find(|step| step.span() == span);
        known.ok_or(BadWindow::Step)
    }

    /// The step that shows a window in some dozens of bars.
    #[must_use]
    pub const fn fitting(window: Duration) -> Self {
        match window.as_secs() / 3_600 {
            0..=1 => Self::MINUTE,
            2..=48 => Self::HOUR,
            49..=336 => Self(6 * HOUR),
            _ => Self(DAY),
        }
    }

    /// Its length.
    #[must_use]
    pub const fn span(self) -> Duration {
        Duration::from_secs(self.0 as u64 * 60)
    }

    /// Whether it is shorter than an hour, so that figures by the minute are needed.
    #[must_use]
    pub const fn is_within_hours(self) -> bool {
        self.0 < HOUR
    }

    /// The first minute of the step that a minute since 1970 is in.
    #[must_use]
    pub const fn start(self, minute: i64) -> i64 {
        minute - minute.rem_euclid(self.0 as i64)
    }
}

/// A window of time: whole steps, the last of which is still going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How it is cut.
    pub step: Step,
    /// Its first minute since 1970, at which a step starts.
    pub first: i64,
    /// Its last minute.
    pub last: i64,
}

impl Window {
    /// The last `length` before `now`, widened to whole steps; without `step`, one that fits.
    ///
    /// # Errors
    /// [`BadWindow`].
    pub fn back(now: Timestamp, length: Duration, step: Option<Step>) -> Result<Self, BadWindow> {
        const LONGEST: Duration = Duration::from_secs(366 * 86_400);
        const { assert!(LONGEST.as_secs() < HOURS_KEPT.as_secs(), "what can be asked for is kept") };
        if length.is_zero() || length > LONGEST {
            return Err(BadWindow::Length(LONGEST));
        }
        let step = step.unwrap_or(Step::fitting(length));
        if step.is_within_hours() && length > MINUTES_KEPT {
            return Err(BadWindow::Minutes);
        }
        let window = Self { step, first: step.start(minute(now.minus(length))), last: minute(now) };
        if (window.last - window.first) / i64::from(step.0) >= STEPS_MAX {
            return Err(BadWindow::Steps);
        }
        Ok(window)
    }

    /// When it starts.
    #[must_use]
    pub const fn since(&self) -> Timestamp {
        instant(self.first)
    }

    /// The starts of its steps, oldest first.
    pub fn starts(&self) -> impl Iterator<Item = Timestamp> + use<> {
        let (step, last) = (i64::from(self.step.0), self.last);
        std::iter::successors(Some(self.first), move |start| Some(start + step))
            .take_while(move |start| *start <= last)
            .map(instant)
    }
}

/// The minute since 1970 that an instant is in.
#[must_use]
pub const fn minute(at: Timestamp) -> i64 {
    at.0.div_euclid(MINUTE_MICROS)
}

/// When a minute since 1970 starts.
#[must_use]
pub const fn instant(minute: i64) -> Timestamp {
    Timestamp(minute.saturating_mul(MINUTE_MICROS))
}
