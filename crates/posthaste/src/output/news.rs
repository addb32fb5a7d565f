//! News of attempts, as the stream tells them, one line each.

use std::time::Duration;

use domain::time::Timestamp;
use serde_json::Value;

use crate::output::delivery::outcome;
use crate::output::value::{milliseconds, number, text, timestamp};
use crate::output::{Console, Tone, span, visible};

/// What comes of an attempt: when it is made again, or that it is not.
pub(crate) fn next(news: &Value) -> String {
    match (timestamp(news, "next_attempt_at"), text(news, "status")) {
        (Some(_), "held") => "held: the webhook is paused".to_owned(),
        (Some(due), _) => format!("next in {}", span::ahead(due.since(ended_at(news)))),
        (None, "failed") => "failed for good".to_owned(),
        (None, _) => String::new(),
    }
}

/// What came of an attempt, as an icon and a tone.
pub(crate) fn icon(news: &Value) -> (&'static str, Tone) {
    match (news["error"].is_null(), news["next_attempt_at"].is_null()) {
        (true, _) => ("✓", Tone::Ok),
        (false, false) => ("↻", Tone::Warn),
        (false, true) => ("✕", Tone::Bad),
    }
}

/// One attempt: time, icon, what came of it, how long it took, the event's type.
pub(crate) fn head(console: &Console, news: &Value) -> String {
    let (icon, tone) = icon(news);
    head_with(&console.tone(tone, icon), news)
}

fn head_with(icon: &str, news: &Value) -> String {
    format!(
        "  {}  {icon} {:<16} {:>7}  {}",
        timestamp(news, "started_at").map_or_else(String::new, span::time_of_day),
        outcome(news),
        milliseconds(news, "duration_ms").unwrap_or_default(),
        visible(text(news, "event")),
    )
}

/// When an attempt ended: what the delay until the next one counts from.
pub(crate) fn ended_at(attempt: &Value) -> Timestamp {
    let took = attempt["duration_ms"].as_f64().unwrap_or_default().max(0.0);
    let took = Duration::try_from_secs_f64(took / 1_000.0).unwrap_or_default();
    timestamp(attempt, "started_at").unwrap_or_default().plus(took)
}

/// [`head`], the webhook, the attempt's number, and [`next`].
pub(crate) fn line(console: &Console, news: &Value) -> String {
    with_rest(&head(console, news), news)
}

/// [`line()`] without colour.
pub(crate) fn plain(news: &Value) -> String {
    with_rest(&head_with(icon(news).0, news), news)
}

fn with_rest(head: &str, news: &Value) -> String {
    let webhook = visible(text(news, "webhook_name"));
    let count = number(news, "number").unwrap_or(0);
    let test = if news["test"] == true { " (test)" } else { "" };
    let line = format!("{head}  → {webhook}   attempt {count}{test}   {}", next(news));
    line.trim_end().to_owned()
}
