//! Instants and spans: the wall clock's microsecond, how both read, and the seam through which time comes in.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant of the wall clock: microseconds since 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This instant, `span` later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This instant, `span` earlier.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The span from `earlier` to this instant; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Whole seconds since 1970, as `webhook-timestamp` has them.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
}

/// RFC 3339 in UTC with exactly six digits and `Z`: one length, so that texts sort as instants do.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Written by hand, since every body has one and a general formatter costs more than the signature.
        let days = self.0.div_euclid(86_400_000_000);
        let within = self.0.rem_euclid(86_400_000_000);
        let (year, month, day) = civil_from_days(days);
        let (seconds, micros) = (within / 1_000_000, within % 1_000_000);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{micros:06}Z",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }
}

/// The civil date of a count of days since 1970-01-01 (Howard Hinnant's `civil_from_days`).
const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// The text was not an RFC 3339 instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time such as 2026-03-18T14:30:00Z")]
pub struct BadTimestamp;

impl FromStr for Timestamp {
    type Err = BadTimestamp;

    fn from_str(text: &str) -> Result<Self, BadTimestamp> {
        let instant: jiff::Timestamp = text.parse().map_err(|_| BadTimestamp)?;
        Ok(Self(instant.as_microsecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where the wall clock's time comes from: the machine in production, the test in simulation.
pub trait Clock: Send + Sync {
    /// The wall clock's time. It may step in both directions.
    fn now(&self) -> Timestamp;

    /// The wall clock's time as far as something may be erased by it: where it has stepped far ahead a moment ago it may be wrong, and what is
    /// erased does not come back.
    fn trusted(&self) -> Timestamp {
        self.now()
    }
}

/// The text was not a span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a span of time: write a whole number with ms, s, m, h or d, such as 30s or 2m")]
pub struct BadSpan;

/// Reads `250ms`, `30s`, `2m`, `1h` or `7d`.
///
/// # Errors
/// [`BadSpan`] for anything else: no sign, no fraction, no missing unit.
pub fn parse_span(text: &str) -> Result<Duration, BadSpan> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| BadSpan)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(BadSpan),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or(BadSpan)
}

/// Writes a span as [`parse_span`] reads it, in the largest unit that holds it whole.
#[must_use]
pub fn write_span(span: Duration) -> String {
    let ms = span.as_millis();
    for (unit, unit_ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if ms > 0 && ms.is_multiple_of(unit_ms) {
            return format!("{}{unit}", ms / unit_ms);
        }
    }
    format!("{ms}ms")
}

/// A [`Duration`] in JSON as [`parse_span`] reads it; for `#[serde(with)]`.
pub mod span_text {
    use super::{Deserialize, Deserializer, Duration, Serializer, parse_span, write_span};

    /// Writes the span as text.
    ///
    /// # Errors
    /// Only the serializer's own.
    pub fn serialize<S: Serializer>(span: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&write_span(*span))
    }

    /// Reads the span from text.
    ///
    /// # Errors
    /// When the text is no span.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        parse_span(&text).map_err(serde::de::Error::custom)
    }
}

/// [`span_text`] for an `Option`.
pub mod some_span_text {
    use super::{Deserialize, Deserializer, Duration, Serializer, parse_span, write_span};

    /// Writes the span as text.
    ///
    /// # Errors
    /// Only the serializer's own.
    pub fn serialize<S: Serializer>(span: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => s.serialize_some(&write_span(*span)),
            None => s.serialize_none(),
        }
    }

    /// Reads the span from text.
    ///
    /// # Errors
    /// When the text is no span.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.map(|text| parse_span(&text)).transpose().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn six_digits_and_z() {
        let at: Timestamp = "2026-03-18T14:30:00Z".parse().expect("an instant");
        assert_eq!(at.to_string(), "2026-03-18T14:30:00.000000Z");
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(Timestamp(951_782_400_000_001).to_string(), "2000-02-29T00:00:00.000001Z");
        assert_eq!("yesterday".parse::<Timestamp>(), Err(BadTimestamp));
    }

    #[test]
    fn spans_read_and_write() {
        for text in ["30s", "2m", "10m", "1h", "6h", "7d", "250ms"] {
            assert_eq!(write_span(parse_span(text).expect("a span")), text);
        }
        for text in ["", "30", "-5s", "1.5s", "soon", "NaNs", "1e9h", "5 apples", "99999999999999999999s", "s"] {
            assert_eq!(parse_span(text), Err(BadSpan), "{text}");
        }
    }

    proptest! {
        #[test]
        fn timestamps_agree_with_a_calendar_library(micros in -10_000_000_000_000_000i64..10_000_000_000_000_000) {
            let text = Timestamp(micros).to_string();
            prop_assert_eq!(text.parse(), Ok(Timestamp(micros)));
        }
    }
}
