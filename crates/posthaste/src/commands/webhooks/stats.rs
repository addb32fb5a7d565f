//! Figures of a webhook, or of the account: counts, latency, errors, and bars over time.

use serde_json::Value;

use crate::cli::Session;
use crate::client::Answer;
use crate::client::path::query;
use crate::exit::Stop;
use crate::output::Tone;
use crate::output::table::{Cell, Table};
use crate::output::value::{instant, text};

/// A bar's heights, from little to all.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Fetches figures: a webhook's with an id, else the account's.
///
/// # Errors
/// As [`crate::client::Client::send`].
pub(super) async fn fetch(
    session: &Session<'_>,
    id: Option<&str>,
    window: &str,
    step: Option<&str>,
) -> Result<Answer, Stop> {
    let account: &str = &session.account;
    let parts = match id {
        Some(id) => vec!["accounts", account, "webhooks", id, "stats"],
        None => vec!["accounts", account, "stats"],
    };
    let asked = [("window", Some(window)), ("step", step)];
    let pairs = asked.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    session.client.get(&query(&parts, &pairs.collect::<Vec<_>>())).await
}

/// Shows the figures of a webhook's last 24 hours on one line.
///
/// # Errors
/// As [`crate::client::Client::send`].
pub(super) async fn brief(session: &Session<'_>, id: &str) -> Result<(), Stop> {
    let stats = fetch(session, Some(id), "24h", None).await?.value()?;
    session.console.line(&format!("\nThe last 24 h: {}", in_brief(&stats)));
    Ok(())
}

fn in_brief(stats: &Value) -> String {
    let counts = ["delivered", "failed", "pending", "held"].map(|name| format!("{} {name}", count(stats, name)));
    let p95 = stats["latency"]["p95"].as_f64().map_or(String::new(), |ms| format!(", answers within {ms:.0} ms (p95)"));
    format!("{}{p95}", counts.join(", "))
}

/// Shows figures.
///
/// # Errors
/// When the answer is no JSON.
pub(super) fn show(session: &Session<'_>, answer: &Answer) -> Result<(), Stop> {
    let console = session.console;
    if console.json() {
        console.line(&answer.text());
        return Ok(());
    }
    let stats = answer.value()?;
    let mut table = Table::new(&["", ""]);
    let mut row = |name: &str, value: Cell| table.row(vec![Cell::toned(Tone::Quiet, name), value]);
    if let Some(health) = stats["health"].as_str() {
        row("health", self::health(health));
    }
    let after_retry = match count(&stats, "delivered_after_retry") {
        0 => String::new(),
        retried => format!("  ({retried} after a retry)"),
    };
    row("delivered", format!("{}{after_retry}", count(&stats, "delivered")).into());
    row("failed", count(&stats, "failed").to_string().into());
    row("cancelled", count(&stats, "cancelled").to_string().into());
    row("success", stats["success"].as_f64().map_or("–".to_owned(), |share| format!("{:.1} %", share * 100.0)).into());
    let latency = |name: &str| stats["latency"][name].as_f64().map_or("–".to_owned(), |ms| format!("{ms:.0} ms"));
    row("answer", format!("p50 {}, p95 {}, p99 {}", latency("p50"), latency("p95"), latency("p99")).into());
    row("waiting", format!("{} pending, {} held", count(&stats, "pending"), count(&stats, "held")).into());
    if stats["oldest_due_at"].is_string() {
        row("oldest due", instant(&stats, "oldest_due_at").into());
    }
    row("attempts", count(&stats, "attempts").to_string().into());
    for error in stats["errors"].as_array().into_iter().flatten() {
        let status = error["status_code"].as_u64().map_or(String::new(), |status| format!(" {status}"));
        let missed = format!("{} × {}{status}", count(error, "attempts"), text(error, "code"));
        row("", Cell::toned(Tone::Bad, &missed));
    }
    table.print(console, "");
    let buckets = stats["buckets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (window, step) = (text(&stats, "window"), text(&stats, "step"));
    console.line(&format!("\nThe last {window}, a bar for each {step}, since {}", instant(&stats, "since")));
    for field in ["delivered", "failed"] {
        let (bars, most) = bars(buckets, field);
        console.line(&format!("{field:>10} {bars} at most {most}"));
    }
    Ok(())
}

fn health(word: &str) -> Cell {
    match word {
        "healthy" => Cell::toned(Tone::Ok, "✓ healthy"),
        "degraded" => Cell::toned(Tone::Bad, "! degraded"),
        "failing" => Cell::toned(Tone::Bad, "✕ failing"),
        _ => Cell::toned(Tone::Quiet, "no traffic"),
    }
}

fn count(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or(0)
}

/// A bar for each step, and what the highest stands for. A step with nothing is a space; what there is is never invisible.
fn bars(buckets: &[Value], field: &str) -> (String, u64) {
    let counts: Vec<u64> = buckets.iter().map(|bucket| count(bucket, field)).collect();
    let most = counts.iter().copied().max().unwrap_or(0);
    let bar = |&count: &u64| match (count * BARS.len() as u64).div_ceil(most.max(1)) {
        0 => ' ',
        height => usize::try_from(height - 1).ok().and_then(|at| BARS.get(at)).copied().unwrap_or('█'),
    };
    (counts.iter().map(bar).collect(), most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_in_brief_are_one_line() {
        let stats = json!({"delivered": 12, "failed": 1, "pending": 3, "held": 0, "latency": {"p95": 41.6}});
        assert_eq!(in_brief(&stats), "12 delivered, 1 failed, 3 pending, 0 held, answers within 42 ms (p95)");
        assert_eq!(in_brief(&json!({})), "0 delivered, 0 failed, 0 pending, 0 held");
    }

    #[test]
    fn bars_show_what_there_is() {
        let buckets: Vec<Value> = [0, 1, 400, 800].map(|count| json!({"delivered": count})).into();
        assert_eq!(bars(&buckets, "delivered"), (" ▁▄█".to_owned(), 800));
        assert_eq!(bars(&buckets, "failed"), ("    ".to_owned(), 0));
        assert_eq!(bars(&[], "failed"), (String::new(), 0));
    }
}
