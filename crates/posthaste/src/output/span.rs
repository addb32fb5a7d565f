//! How spans and times of day read in a line for people.

use std::time::Duration;

use domain::time::Timestamp;
use jiff::tz::TimeZone;

/// A span as a person says it: `3 ms`, `7.1 s`, `2 min`, `1 h 12 min`, `2 d`.
pub(crate) fn spoken(span: Duration) -> String {
    let ms = span.as_millis();
    let seconds = span.as_secs();
    match seconds {
        0 if ms == 0 && !span.is_zero() => "<1 ms".to_owned(),
        0 => format!("{ms} ms"),
        1..=59 if ms.is_multiple_of(1_000) => format!("{seconds} s"),
        1..=59 => format!("{:.1} s", span.as_secs_f64()),
        60..=3_599 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..=86_399 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 { format!("{large} {large_unit}") } else { format!("{large} {large_unit} {small} {small_unit}") }
}

/// A span to something that is still to come, to the second: what is left of a delay of 2 s reads `2 s`, not `1.9 s`.
pub(crate) fn ahead(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        return spoken(span);
    }
    spoken(Duration::from_secs(span.as_secs_f64().round() as u64))
}

/// The time of day, such as `14:02:11`, in the machine's time zone.
pub(crate) fn time_of_day(at: Timestamp) -> String {
    local(at, "%H:%M:%S")
}

/// Day and time, such as `2026-11-21 14:02:11`, in the machine's time zone.
pub(crate) fn day_and_time(at: Timestamp) -> String {
    local(at, "%Y-%m-%d %H:%M:%S")
}

fn local(at: Timestamp, format: &str) -> String {
    match jiff::Timestamp::from_microsecond(at.0) {
        Ok(instant) => instant.to_zoned_datetime(TimeZone::system()).strftime(format).to_string(),
        Err(_) => at.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_say_them() {
        let check = |ms, expected| assert_eq!(spoken(Duration::from_millis(ms)), expected);
        check(0, "0 ms");
        assert_eq!(spoken(Duration::from_micros(300)), "<1 ms");
        check(3, "3 ms");
        check(2_000, "2 s");
        check(7_130, "7.1 s");
        check(120_000, "2 min");
        check(150_000, "2 min 30 s");
        check(25_920_000, "7 h 12 min");
        check(172_800_000, "2 d");
        assert_eq!(ahead(Duration::from_millis(1_996)), "2 s");
    }
}
