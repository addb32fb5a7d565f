//! Deliveries and attempts, as the API gives them, in lines and tables.

use domain::delivery::DeliveryStatus;
use domain::time::Timestamp;
use serde_json::Value;

use crate::commands::webhooks::Names;
use crate::output::span;
use crate::output::table::{Cell, Table};
use crate::output::value::{instant, milliseconds, number, place, text, timestamp};
use crate::output::{Console, Tone, delivery_icon, visible};

/// The status of a delivery with its icon.
pub(crate) fn status(delivery: &Value) -> Cell {
    let word = text(delivery, "status");
    let Some(status) = DeliveryStatus::parse(word) else { return word.into() };
    let (icon, tone) = delivery_icon(status, number(delivery, "attempts_made").unwrap_or(0) > 0);
    Cell::toned(tone, format!("{icon} {word}"))
}

/// What the last attempt came to: the status code or the error's code; `–` before the first.
pub(crate) fn last(delivery: &Value) -> String {
    match (number(delivery, "last_status_code"), text(delivery, "last_error")) {
        (Some(code), _) => code.to_string(),
        (None, "") => "–".to_owned(),
        (None, error) => error.to_owned(),
    }
}

/// Deliveries under a head.
pub(crate) fn table(deliveries: &[Value], names: &Names, now: Timestamp) -> Table {
    let mut table = Table::new(&["ACCEPTED", "STATUS", "LAST", "ATTEMPTS", "EVENT", "WEBHOOK", "DELIVERY", "NEXT"]);
    for delivery in deliveries {
        table.row(vec![
            instant(delivery, "timestamp").into(),
            status(delivery),
            last(delivery).into(),
            number(delivery, "attempts_made").unwrap_or(0).to_string().into(),
            text(delivery, "event").into(),
            names.of(text(delivery, "webhook_id")).into(),
            text(delivery, "id").into(),
            next(delivery, now).into(),
        ]);
    }
    table
}

/// When the next attempt is due; `–` where there is none.
pub(crate) fn next(delivery: &Value, now: Timestamp) -> String {
    match timestamp(delivery, "next_attempt_at") {
        Some(due) if due > now => format!("in {}", span::ahead(due.since(now))),
        Some(_) if text(delivery, "note").is_empty() => "due".to_owned(),
        Some(_) => text(delivery, "note").to_owned(),
        None => "–".to_owned(),
    }
}

/// One attempt on one line: icon, what came, how long it took, its number and reason.
pub(crate) fn attempt_line(console: &Console, attempt: &Value) -> String {
    let (icon, tone) = if attempt["error"].is_null() { ("✓", Tone::Ok) } else { ("✕", Tone::Bad) };
    format!(
        "{} {:<16} {:>7}  attempt {} ({})",
        console.tone(tone, icon),
        outcome(attempt),
        milliseconds(attempt, "duration_ms").unwrap_or_default(),
        number(attempt, "number").unwrap_or(0),
        text(attempt, "reason"),
    )
}

/// What an attempt came to: the status code, or the error's code.
pub(crate) fn outcome(attempt: &Value) -> String {
    match number(attempt, "status_code") {
        Some(code) => code.to_string(),
        None => text(&attempt["error"], "code").to_owned(),
    }
}

/// The sentence and the hint of a failed attempt; nothing for a success.
pub(crate) fn explanation(attempt: &Value) -> Option<String> {
    let error = attempt.get("error").filter(|error| !error.is_null())?;
    Some(format!("{} {}", visible(text(error, "message")), visible(text(error, "hint"))).trim_end().to_owned())
}

/// A delivery in full: where it stands, its attempts, what is planned.
pub(crate) fn show(console: &Console, delivery: &Value, now: Timestamp) {
    let mut head = Table::new(&["DELIVERY", "STATUS", "EVENT", "WEBHOOK", "ACCEPTED", "NEXT"]);
    head.row(vec![
        text(delivery, "id").into(),
        status(delivery),
        text(delivery, "event").into(),
        text(delivery, "webhook_id").into(),
        instant(delivery, "timestamp").into(),
        next(delivery, now).into(),
    ]);
    head.print(console, "");
    for attempt in delivery["attempts"].as_array().into_iter().flatten() {
        console.line(&format!("\n  {}  {}", instant(attempt, "started_at"), attempt_line(console, attempt)));
        show_attempt(console, attempt);
    }
    let planned = delivery["schedule"].as_array().map_or(&[][..], Vec::as_slice);
    for plan in planned {
        let number = number(plan, "number").unwrap_or(0);
        console.line(&format!("\n  {}  ○ attempt {number} is planned", instant(plan, "at")));
    }
}

fn show_attempt(console: &Console, attempt: &Value) {
    console.line(&format!("      {}", text(attempt, "id")));
    console.line(&format!("      POST {}", visible(place(text(&attempt["request"], "url")))));
    if let Some(said) = explanation(attempt) {
        console.line(&format!("      {said}"));
    }
    let body = text(&attempt["response"], "body");
    if !body.is_empty() {
        let cut: String = body.chars().take(200).collect();
        let more = if cut.len() < body.len() { " …" } else { "" };
        console.line(&format!("      it answered: {}{more}", visible(&cut)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn what_is_next_is_said_in_words() {
        let now = Timestamp(1_795_464_000_000_000);
        let at = |seconds| now.plus(Duration::from_secs(seconds)).to_string();
        assert_eq!(next(&json!({"next_attempt_at": at(48)}), now), "in 48 s");
        assert_eq!(next(&json!({"next_attempt_at": at(0)}), now), "due");
        assert_eq!(
            next(&json!({"next_attempt_at": at(0), "note": "waiting for a free slot"}), now),
            "waiting for a free slot"
        );
        assert_eq!(next(&json!({"next_attempt_at": null}), now), "–");
    }

    #[test]
    fn the_last_attempt_is_a_code() {
        assert_eq!(last(&json!({"last_status_code": 500, "last_error": "http_5xx"})), "500");
        assert_eq!(last(&json!({"last_status_code": null, "last_error": "dns_not_found"})), "dns_not_found");
        assert_eq!(last(&json!({"last_status_code": null, "last_error": null})), "–");
        assert_eq!(explanation(&json!({"error": null})), None);
        let failed = json!({"error": {"code": "x", "message": "It \u{1b}[2J.", "hint": "Look."}});
        assert_eq!(explanation(&failed).as_deref(), Some("It \\u{1b}[2J. Look."));
    }
}
