//! Times, sizes and foreign words as the sentences write them.

use std::time::Duration;

use crate::time::Timestamp;

/// The most characters of a receiver's own words that a sentence repeats.
const EXCERPT_MAX: usize = 120;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `14:02:41 UTC`, with the day in front if it is another one than `seen_from`'s.
pub(super) fn clock(at: Timestamp, seen_from: Timestamp) -> String {
    let text = at.to_string();
    let time = text.get(11..19).unwrap_or_default();
    if text.get(..10) == seen_from.to_string().get(..10) {
        return format!("{time} UTC");
    }
    format!("{} {time} UTC", day(at, seen_from))
}

/// `21 Nov`, with the year behind it if it is another one than `seen_from`'s.
pub(super) fn day(at: Timestamp, seen_from: Timestamp) -> String {
    let text = at.to_string();
    let number = |range| text.get(range).and_then(|digits: &str| digits.parse::<usize>().ok()).unwrap_or_default();
    let month = MONTHS.get(number(5..7).wrapping_sub(1)).unwrap_or(&"");
    let day = format!("{} {month}", number(8..10));
    match text.get(..4) {
        Some(year) if seen_from.to_string().get(..4) != Some(year) => format!("{day} {year}"),
        Some(_) | None => day,
    }
}

/// `5 s`, `250 ms`, `2 m 30 s`, `7 h 12 m`: the two largest units.
pub(super) fn span(span: Duration) -> String {
    let ms = span.as_millis();
    if ms < 1_000 || (ms < 60_000 && !ms.is_multiple_of(1_000)) {
        return format!("{ms} ms");
    }
    let seconds = span.as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let place = units.iter().position(|(_, unit)| seconds >= *unit).unwrap_or(3);
    let mut left = seconds;
    let mut parts = Vec::new();
    for (name, unit) in units.iter().skip(place).take(2) {
        if left / unit > 0 {
            parts.push(format!("{} {name}", left / unit));
        }
        left %= unit;
    }
    parts.join(" ")
}

/// `82 KiB`, or `600 bytes`.
pub(super) fn kibibytes(bytes: usize) -> String {
    if bytes < 1_024 { format!("{bytes} bytes") } else { format!("{} KiB", bytes.div_ceil(1_024)) }
}

/// `start: detail.`, or `start.` if there is no detail.
pub(super) fn sentence(start: &str, detail: &str) -> String {
    let detail = tame(detail, 200);
    let detail = detail.trim_end_matches('.');
    if detail.is_empty() { format!("{start}.") } else { format!("{start}: {detail}.") }
}

/// At most `max` characters of `text` on one line, without any that would act on a terminal or turn the text around.
pub(super) fn tame(text: &str, max: usize) -> String {
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let words = text.split(|c: char| c.is_whitespace() || acts(c)).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    if line.chars().nth(max).is_none() {
        return line;
    }
    let mut cut: String = line.chars().take(max).collect();
    cut.push('…');
    cut
}

/// The words of an answer's body that say what is wrong: a message in its JSON, or its plain text. `None` for pages,
/// bytes, and what says nothing.
pub(super) fn excerpt(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let words = match serde_json::from_str::<serde_json::Value>(text) {
        Ok(json) => message_in(&json)?.to_owned(),
        Err(_) if text.trim_start().starts_with(['<', '{', '[']) => return None,
        Err(_) => text.to_owned(),
    };
    Some(tame(&words, EXCERPT_MAX).replace('"', "'")).filter(|words| !words.is_empty())
}

fn message_in(json: &serde_json::Value) -> Option<&str> {
    let read = |key: &str| match json.get(key)? {
        serde_json::Value::String(words) => Some(words.as_str()),
        inner @ serde_json::Value::Object(_) => inner.get("message").and_then(serde_json::Value::as_str),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Array(_) => None,
    };
    json.as_str().or_else(|| ["message", "error", "detail", "reason", "title"].into_iter().find_map(read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units() {
        for (ms, expect) in [
            (0, "0 ms"),
            (250, "250 ms"),
            (1_500, "1500 ms"),
            (5_000, "5 s"),
            (150_000, "2 m 30 s"),
            (25_920_000, "7 h 12 m"),
            (25_950_000, "7 h 12 m"),
            (3_600_000, "1 h"),
            (3_601_000, "1 h"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(span(Duration::from_millis(ms)), expect);
        }
    }

    #[test]
    fn days_say_the_year_only_if_it_is_another() {
        let at = |text: &str| text.parse::<Timestamp>().expect("an instant");
        let now = at("2026-11-23T14:02:41Z");
        assert_eq!(clock(now, now), "14:02:41 UTC");
        assert_eq!(clock(at("2026-11-24T00:00:01Z"), now), "24 Nov 00:00:01 UTC");
        assert_eq!(day(at("2026-02-01T00:00:00Z"), now), "1 Feb");
        assert_eq!(day(at("2025-12-31T00:00:00Z"), now), "31 Dec 2025");
    }

    #[test]
    fn foreign_words_are_tamed() {
        assert_eq!(tame("a\x1b[2J\r\n\tb\u{202e}c", 80), "a [2J b c");
        assert_eq!(tame("abcdef", 3), "abc…");
        assert_eq!(tame("abc", 3), "abc");
    }

    #[test]
    fn an_excerpt_is_what_the_answer_says() {
        for (body, expect) in [
            (&b"missing id"[..], Some("missing id")),
            (br#"{"error":"missing id"}"#, Some("missing id")),
            (br#"{"error":{"message":"missing \"id\""}}"#, Some("missing 'id'")),
            (br#""missing id""#, Some("missing id")),
            (br#"{"ok":false}"#, None),
            (b"<script>alert(1)</script>", None),
            (b"{broken", None),
            (b"\xff\xfe", None),
            (b"", None),
            (b" \r\n", None),
        ] {
            assert_eq!(excerpt(body).as_deref(), expect, "{body:?}");
        }
    }
}
