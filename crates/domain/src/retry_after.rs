//! `Retry-After`: how long a receiver asks to be left alone. What is done, and what is told, goes by this.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::Offset;

use crate::attempt::Answer;
use crate::time::Timestamp;

/// What more digits than fit ask for: "very long"; whoever acts on it cuts it to the schedule's longest delay.
const VERY_LONG: Duration = Duration::from_secs(u32::MAX as u64);
/// A year of two digits is never further ahead than this (RFC 9110, 5.6.7).
const AHEAD_MAX: Duration = Duration::from_secs(50 * 31_556_952);

/// How long the receiver asked us to wait, counted from `now`: `Retry-After` on 429 and 503, as seconds or as a date.
#[must_use]
pub fn retry_after(answer: &Answer, now: Timestamp) -> Option<Duration> {
    if answer.status != 429 && answer.status != 503 {
        return None;
    }
    let (_, value) = answer.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    let value = std::str::from_utf8(value).ok()?.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        return Some(value.parse().map_or(VERY_LONG, Duration::from_secs).min(VERY_LONG));
    }
    Some(date(value, now)?.since(now))
}

/// What is told of it: a date asks for whole seconds too, less what the attempt took.
#[must_use]
pub fn whole_seconds(asked: Duration) -> Duration {
    Duration::from_secs(asked.as_secs() + u64::from(asked.subsec_nanos() > 0))
}

/// A date in any of the three forms that RFC 9110 knows (5.6.7): `Thu, 26 Nov 2026 14:00:00 GMT`,
/// `Thursday, 26-Nov-26 14:00:00 GMT` and `Thu Nov 26 14:00:00 2026`.
fn date(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(date) = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text) {
        return Some(Timestamp(date.as_microsecond()));
    }
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    match words[..] {
        [day_name, date, time, "GMT"] if day_name.ends_with(',') => {
            let mut parts = date.split('-');
            let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
            if parts.next().is_some() || year.len() != 2 {
                return None;
            }
            of_short_year(number(year)?, (month, day, time), now)
        }
        [_, month, day, time, year] if year.len() == 4 => instant(number(year)?, (month, day, time)),
        _ => None,
    }
}

/// The last instant with these two digits of a year that is not more than 50 years ahead.
fn of_short_year(year: i16, rest: (&str, &str, &str), now: Timestamp) -> Option<Timestamp> {
    let this_year = Offset::UTC.to_datetime(jiff::Timestamp::from_microsecond(now.0).ok()?).year();
    let century = this_year.div_euclid(100);
    let years = [century.saturating_add(1), century, century.saturating_sub(1)];
    let instants = years.into_iter().filter_map(|century| instant(century.checked_mul(100)?.checked_add(year)?, rest));
    instants.into_iter().find(|at| at.since(now) <= AHEAD_MAX)
}

fn instant(year: i16, (month, day, time): (&str, &str, &str)) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = i8::try_from(MONTHS.iter().position(|name| *name == month)?).ok()?.checked_add(1)?;
    let mut parts = time.split(':').map(number::<i8>);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    // A leap second is the last one of its minute, as most clocks have it.
    let second = if second == 60 { 59 } else { second };
    let date =
        DateTime::new(year, month, number(day)?, hour, minute, second, 0).ok().filter(|_| parts.next().is_none())?;
    Some(Timestamp(Offset::UTC.to_timestamp(date).ok()?.as_microsecond()))
}

fn number<N: std::str::FromStr>(digits: &str) -> Option<N> {
    digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23T20:00:00Z.
    const NOW: Timestamp = Timestamp(1_795_464_000_000_000);

    fn asked(status: u16, value: &str, now: Timestamp) -> Option<u64> {
        let headers = vec![("retry-after".to_owned(), value.as_bytes().to_vec())];
        retry_after(&Answer { status, headers, body: Vec::new(), truncated: false }, now).map(|asked| asked.as_secs())
    }

    #[test]
    fn seconds_are_digits_only() {
        assert_eq!(NOW.to_string(), "2026-11-23T20:00:00.000000Z");
        for (value, seconds) in [("0", Some(0)), (" 15 ", Some(15)), ("+15", None), ("-5", None), ("1e9", None)] {
            assert_eq!(asked(429, value, NOW), seconds, "{value:?}");
        }
        for value in ["", "soon", "15 s", "1.5"] {
            assert_eq!(asked(503, value, NOW), None, "{value:?}");
        }
        assert_eq!(asked(429, &"9".repeat(10_240), NOW), Some(VERY_LONG.as_secs()));
        for status in [200, 500, 502, 504] {
            assert_eq!(asked(status, "15", NOW), None, "{status}");
        }
    }

    #[test]
    fn dates_come_in_three_forms() {
        for date in ["Mon, 23 Nov 2026 20:01:30 GMT", "Monday, 23-Nov-26 20:01:30 GMT", "Mon Nov 23 20:01:30 2026"] {
            assert_eq!(asked(503, date, NOW), Some(90), "{date}");
        }
        assert_eq!(asked(503, "Sun Nov  6 08:49:37 1994", NOW), Some(0), "that is over");
        assert_eq!(asked(503, "Wed Dec  2 20:00:00 2026", NOW), Some(9 * 86_400), "a day of one digit");
        for date in [
            "Monday, 23-Nov-2026 20:01:30 GMT",
            "Monday, 23-Nov-26 20:01:30 CET",
            "Monday, 31-Feb-26 20:01:30 GMT",
            "Monday, 23-nov-26 20:01:30 GMT",
            "Monday, 23-Nov-26 20:01 GMT",
            "Mon Nov 23 20:01:30:1 2026",
            "Mon Nov 23 +20:01:30 2026",
            "Mon Nov 23 20:01:30 26",
        ] {
            assert_eq!(asked(503, date, NOW), None, "{date}");
        }
    }

    #[test]
    fn a_year_of_two_digits_is_at_most_fifty_years_ahead() {
        let of = |year: &str, now: Timestamp| {
            let date = date(&format!("Monday, 01-Mar-{year} 00:00:00 GMT"), now).expect("a date").to_string();
            date[..4].to_owned()
        };
        for (year, whole) in [("26", "2026"), ("27", "2027"), ("76", "2076"), ("77", "1977"), ("94", "1994")] {
            assert_eq!(of(year, NOW), whole);
        }
        let late: Timestamp = "2096-11-23T20:00:00Z".parse().expect("an instant");
        for (year, whole) in [("97", "2097"), ("00", "2100"), ("46", "2146"), ("47", "2047"), ("95", "2095")] {
            assert_eq!(of(year, late), whole);
        }
    }
}
