//! The screen as lines: a head, the attempts, the delivery that is looked into, and the keys.

use serde_json::Value;

use super::view::{Link, View};
use crate::output::delivery::{explanation, outcome};
use crate::output::value::{instant, milliseconds, number, place, text};
use crate::output::{Tone, news, visible};

/// What the keys do.
const KEYS: &str = "j k move   Enter open   r replay   c copy cURL   o browser   q quit";

/// A line, and what it means.
pub(super) type Line = (Tone, String);

/// Exactly `rows` lines of at most `columns` characters.
pub(super) fn draw(view: &View, account: &str, filter: &str, (columns, rows): (usize, usize)) -> Vec<Line> {
    let mut lines = vec![head(view, account, filter)];
    let body = rows.saturating_sub(2);
    let detail = view.detail.as_ref().map(detail).unwrap_or_default();
    // The list keeps a third of the screen at least.
    let below = if detail.is_empty() { 0 } else { (detail.len() + 1).min(body - body.div_ceil(3)) };
    let above = body - below;
    let from = (view.chosen + 1).saturating_sub(above);
    let shown = view.rows.iter().enumerate().skip(from).take(above);
    lines.extend(shown.map(|(row, attempt)| {
        let mark = if row == view.chosen { "›" } else { " " };
        (news::icon(attempt).1, format!("{mark}{}", news::plain(attempt)))
    }));
    if view.rows.is_empty() && above > 1 {
        lines.push((Tone::Quiet, "  Waiting for attempts. `posthaste send alert.rule_created` makes one.".to_owned()));
    }
    lines.resize(above + 1, (Tone::Plain, String::new()));
    if below > 0 {
        lines.push((Tone::Quiet, "─".repeat(columns)));
        lines.extend(detail.into_iter().take(below - 1));
    }
    lines.resize(rows.saturating_sub(1), (Tone::Plain, String::new()));
    lines.push(if view.note.is_empty() { (Tone::Quiet, KEYS.to_owned()) } else { (Tone::Info, visible(&view.note)) });
    lines.truncate(rows);
    lines.into_iter().map(|(tone, text)| (tone, text.chars().take(columns).collect())).collect()
}

fn head(view: &View, account: &str, filter: &str) -> Line {
    let (state, tone) = match view.link {
        Link::Connecting => ("◌ connecting", Tone::Info),
        Link::Live => ("● live", Tone::Ok),
        Link::Lost => ("○ connection lost, trying again", Tone::Warn),
    };
    let filter = if filter.is_empty() { String::new() } else { format!("   {filter}") };
    (tone, visible(&format!("posthaste tail   {account}   {state}   {} attempts{filter}", view.seen)))
}

/// A delivery with its attempts and what is planned.
fn detail(delivery: &Value) -> Vec<Line> {
    let (id, event) = (text(delivery, "id"), text(delivery, "event"));
    let mut lines = vec![(Tone::Plain, format!("{id}   {}   {}", text(delivery, "status"), visible(event)))];
    let attempts = delivery["attempts"].as_array().map_or(&[][..], Vec::as_slice);
    if let Some(url) = attempts.last().map(|attempt| text(&attempt["request"], "url")) {
        lines.push((Tone::Plain, format!("POST {}", visible(place(url)))));
    }
    for attempt in attempts {
        let (icon, tone) = if attempt["error"].is_null() { ("✓", Tone::Ok) } else { ("✕", Tone::Bad) };
        let took = milliseconds(attempt, "duration_ms").unwrap_or_default();
        lines.push((
            tone,
            format!(
                "{icon} {}  attempt {} ({})  {}  {took}",
                instant(attempt, "started_at"),
                number(attempt, "number").unwrap_or(0),
                text(attempt, "reason"),
                outcome(attempt),
            ),
        ));
        lines.extend(explanation(attempt).map(|said| (Tone::Plain, format!("    {said}"))));
        let answered = text(&attempt["response"], "body").lines().next().unwrap_or_default();
        if !answered.is_empty() {
            lines.push((Tone::Quiet, format!("    it answered: {}", visible(answered))));
        }
    }
    for plan in delivery["schedule"].as_array().into_iter().flatten() {
        let count = number(plan, "number").unwrap_or(0);
        lines.push((Tone::Info, format!("○ {}  attempt {count} is planned", instant(plan, "at"))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn attempt(event: &str, error: Option<&str>) -> Value {
        json!({
            "delivery_id": "dlv_a", "event": event, "webhook_name": "CRM\u{1b}[2J", "number": 1, "duration_ms": 12.0,
            "status_code": 200, "error": error.map(|code| json!({"code": code})), "next_attempt_at": null,
        })
    }

    #[test]
    fn every_size_is_filled_and_never_left() {
        let mut view = View::default();
        for row in 0..30 {
            view.push(attempt(&format!("alert.number_{row}"), None));
        }
        view.chosen = 29;
        view.detail = Some(json!({"id": "dlv_a", "status": "failed", "event": "alert.x", "attempts": [
            {"number": 1, "reason": "first", "error": {"code": "http_5xx", "message": "It answered 500.", "hint": "Look."},
             "status_code": 500, "request": {"url": "https://a.example/"}, "response": {"body": "oh\nno"}},
        ]}));
        for size in [(80, 24), (20, 10), (10, 3), (1, 2), (0, 0), (300, 80)] {
            let lines = draw(&view, "default", "event=alert.*", size);
            assert_eq!(lines.len(), size.1, "{size:?}");
            assert!(lines.iter().all(|(_, line)| line.chars().count() <= size.0), "{size:?}");
            assert!(lines.iter().all(|(_, line)| !line.contains('\u{1b}')), "a stranger's escapes are shown as text");
        }
        let lines: Vec<String> = draw(&view, "acme", "", (100, 24)).into_iter().map(|(_, line)| line).collect();
        assert!(lines[0].contains("acme") && lines[0].contains("30 attempts"));
        assert!(
            lines.iter().any(|line| line.starts_with("›") && line.contains("alert.number_0 ")),
            "the chosen row is seen"
        );
        for words in ["dlv_a   failed", "attempt 1 (first)  500", "It answered 500. Look.", "it answered: oh"] {
            assert!(lines.iter().any(|line| line.contains(words)), "no {words:?} in {lines:#?}");
        }
        assert_eq!(lines[23], KEYS);
    }
}
