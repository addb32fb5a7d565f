//! Replays in bulk, as the API gives them, in lines and tables.

use std::time::Duration;

use serde_json::Value;

use crate::output::table::{Cell, Table};
use crate::output::value::{instant, milliseconds, number, text};
use crate::output::{Console, Tone, span, visible};

/// A count with its thousands set apart.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// The number `name`, as [`count`] writes it.
fn counted(value: &Value, name: &str) -> String {
    count(number(value, name).unwrap_or(0))
}

/// The status with its icon.
fn status(replay: &Value) -> Cell {
    let word = text(replay, "status");
    let (icon, tone) = match word {
        "running" => ("◔", Tone::Info),
        "queued" => ("○", Tone::Info),
        "paused" => ("‖", Tone::Quiet),
        "done" => ("✓", Tone::Ok),
        "stopped" => ("⊘", Tone::Quiet),
        _ => ("", Tone::Plain),
    };
    Cell::toned(tone, format!("{icon} {word}"))
}

/// How many have been sent, or were cancelled instead.
pub(crate) fn sent(replay: &Value) -> u64 {
    number(replay, "handed_over").unwrap_or(0).saturating_sub(number(replay, "waiting").unwrap_or(0))
}

/// How many of those that it covers need nothing more: sent, or passed over.
pub(crate) fn settled(replay: &Value) -> u64 {
    let waiting = number(replay, "waiting").unwrap_or(0) + number(replay, "remaining").unwrap_or(0);
    number(replay, "total").unwrap_or(0).saturating_sub(waiting)
}

/// The filter as a line.
fn filter(replay: &Value) -> String {
    let pairs = replay["filter"].as_object().into_iter().flatten();
    pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect::<Vec<_>>().join(" ")
}

/// Replays under a head.
pub(crate) fn table(replays: &[Value]) -> Table {
    let mut table = Table::new(&["STARTED", "STATUS", "SENT", "OF", "DELIVERED", "FAILED", "BY", "REPLAY", "FILTER"]);
    for replay in replays {
        let results = &replay["results"];
        let failed = number(results, "failed").unwrap_or(0) + number(results, "retrying").unwrap_or(0);
        table.row(vec![
            instant(replay, "created_at").into(),
            status(replay),
            count(sent(replay)).into(),
            counted(replay, "total").into(),
            counted(results, "delivered").into(),
            count(failed).into(),
            text(replay, "started_by").into(),
            text(replay, "id").into(),
            filter(replay).into(),
        ]);
    }
    table
}

/// Counts by name, those that are zero left out; nothing if all are.
fn named(counts: &Value, words: impl Fn(&str) -> String) -> Option<String> {
    let counts = counts.as_object()?.iter().filter_map(|(name, count)| Some((name, count.as_u64()?)));
    let said: Vec<_> = counts
        .filter(|(_, value)| *value > 0)
        .map(|(name, value)| match words(name).as_str() {
            "tests" if value == 1 => "1 test".to_owned(),
            words => format!("{} {words}", count(value)),
        })
        .collect();
    (!said.is_empty()).then(|| said.join(", "))
}

/// Why some could not be sent again.
fn why_not(name: &str) -> String {
    match name {
        "unfinished" => "still to be sent anyway",
        "tests" => "tests",
        "webhook_paused" => "of a paused webhook",
        "webhook_deleted" => "of a deleted webhook",
        "gone" => "past retention",
        other => other,
    }
    .to_owned()
}

/// What a filter means, and cannot be sent again, as a sentence; nothing if it is nothing.
pub(crate) fn left_out(counts: &Value) -> Option<String> {
    named(counts, why_not).map(|said| format!("Left out: {said}."))
}

/// A replay in full.
pub(crate) fn show(console: &Console, replay: &Value) {
    table(std::slice::from_ref(replay)).print(console, "");
    for line in particulars(replay) {
        console.line(&format!("  {}", visible(&line)));
    }
}

/// What there is to say of a replay beyond its row.
pub(crate) fn particulars(replay: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let reason = text(&replay["status_reason"], "sentence");
    if !reason.is_empty() {
        lines.push(format!("{}, since {}.", reason.trim_end_matches('.'), instant(&replay["status_reason"], "since")));
    }
    if !replay["waits_for"].is_null() {
        lines.push(format!("It waits for {}: one goes at a time for each webhook.", text(replay, "waits_for")));
    }
    lines.extend(named(&replay["results"], str::to_owned).map(|said| format!("Results: {said}.")));
    lines.extend(named(&replay["errors"], str::to_owned).map(|said| format!("Errors: {said}.")));
    lines.extend(named(&replay["passed_over"], why_not).map(|said| format!("Passed over: {said}.")));
    lines.extend(left_out(&replay["left_out"]));
    if let Some(seconds) = number(&replay["eta"], "seconds") {
        let ahead = span::ahead(Duration::from_secs(seconds));
        lines.push(format!("Done in about {ahead} (by {}).", text(&replay["eta"], "basis")));
    } else if let Some(ran) = milliseconds(replay, "ran_ms") {
        lines.push(format!("It has run for {ran}."));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_replay_is_told_in_sentences() {
        let replay = json!({
            "total": 30, "handed_over": 25, "waiting": 5, "remaining": 3,
            "status_reason": {"sentence": "Paused by key ops: lunch", "since": "2026-03-18T14:30:00.000000Z"},
            "waits_for": null, "results": {"delivered": 18, "failed": 2, "retrying": 0},
            "errors": {"http_5xx": 2}, "passed_over": {"gone": 2, "tests": 1}, "left_out": {"unfinished": 4}, "eta": null,
        });
        assert_eq!((sent(&replay), settled(&replay)), (20, 22));
        let lines = particulars(&replay);
        assert!(lines[0].starts_with("Paused by key ops: lunch, since 20"), "{lines:?}");
        assert_eq!(
            lines[1..],
            [
                "Results: 18 delivered, 2 failed.",
                "Errors: 2 http_5xx.",
                "Passed over: 2 past retention, 1 test.",
                "Left out: 4 still to be sent anyway.",
            ]
        );
    }
}
