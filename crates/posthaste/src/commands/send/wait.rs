//! Waiting for the deliveries of an event, with a line for each attempt.

use std::collections::HashMap;
use std::time::Duration;

use domain::time::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use crate::cli::Session;
use crate::client::path::path;
use crate::commands::webhooks::{self, Names};
use crate::exit::{Ended, Exit, Stop};
use crate::output::value::{milliseconds, number, text, timestamp};
use crate::output::{Tone, delivery, news, span, visible};

/// How often is looked; the pause grows to the second.
const LOOK_FIRST: Duration = Duration::from_millis(50);
const LOOK_LAST: Duration = Duration::from_secs(1);

/// Waits until every delivery of the event has ended, or is held, or the time is up. The event is accepted: while the server cannot be
/// asked, it is waited for, and whoever is told that this failed is not to send it again.
pub(super) async fn until_all_have_ended(session: &Session<'_>, event: &str, within: Duration) -> Ended {
    let start = Instant::now();
    let mut seen = Seen::default();
    let (mut pause, mut lost) = (LOOK_FIRST, false);
    loop {
        match seen.look(session, event).await {
            Ok(deliveries) if deliveries.iter().all(ended) => return Ok(finish(session, &seen.event, &deliveries)),
            Ok(_) => lost = false,
            Err(stop) if stop.exit.may_pass() => {
                if !std::mem::replace(&mut lost, true) {
                    session.console.talk("The server cannot be asked; trying again.");
                }
            }
            Err(stop) => {
                let said = format!("{}\n  {event} was accepted all the same, and is delivered.", stop.said);
                return Err(Stop { said, ..stop });
            }
        }
        if start.elapsed() >= within {
            if session.console.json() && !seen.event.is_null() {
                session.console.value(&seen.event);
            }
            let said =
                format!("Wait longer with --within, or look later: not all have ended after {}.", span::spoken(within));
            return Err(Stop::new(Exit::TimedOut, said));
        }
        tokio::time::sleep(pause.min(within.saturating_sub(start.elapsed()))).await;
        pause = (pause * 2).min(LOOK_LAST);
    }
}

/// What was seen of an event.
#[derive(Default)]
struct Seen {
    /// The event, as it was when it was looked at last.
    event: Value,
    names: Option<Names>,
    /// How many attempts of each delivery were told.
    told: HashMap<String, u64>,
}

impl Seen {
    /// Looks at the event, and tells what is new; its deliveries.
    async fn look(&mut self, session: &Session<'_>, event: &str) -> Result<Vec<Value>, Stop> {
        self.event = session.client.get(&path(&["accounts", &session.account, "events", event])).await?.value()?;
        if self.names.is_none() {
            self.names = Some(webhooks::names(session).await?);
        }
        let deliveries = self.event["deliveries"].as_array().cloned().unwrap_or_default();
        if let Some(names) = &self.names {
            for delivery in &deliveries {
                tell(session, delivery, names, &mut self.told).await?;
            }
        }
        Ok(deliveries)
    }
}

/// A held delivery waits for a person: there is nothing to wait for.
fn ended(delivery: &Value) -> bool {
    matches!(text(delivery, "status"), "delivered" | "failed" | "cancelled" | "held")
}

/// Says which attempts a delivery has had since it was last looked at.
async fn tell(
    session: &Session<'_>,
    delivery: &Value,
    names: &Names,
    told: &mut HashMap<String, u64>,
) -> Result<(), Stop> {
    let (id, made) = (text(delivery, "id"), number(delivery, "attempts_made").unwrap_or(0));
    let before = told.get(id).copied().unwrap_or(0);
    if made <= before || session.console.json() {
        return Ok(());
    }
    let full = session.client.get(&path(&["accounts", &session.account, "deliveries", id])).await?.value()?;
    let name = names.of(text(delivery, "webhook_id"));
    for attempt in full["attempts"].as_array().into_iter().flatten() {
        let count = number(attempt, "number").unwrap_or(0);
        if count > before {
            let last = count == number(&full, "attempts_made").unwrap_or(0);
            session.console.line(&line(session, name, attempt, last.then_some(&full)));
            told.insert(id.to_owned(), count);
        }
    }
    Ok(())
}

fn line(session: &Session<'_>, name: &str, attempt: &Value, delivery: Option<&Value>) -> String {
    let due = delivery.and_then(|delivery| timestamp(delivery, "next_attempt_at"));
    let (icon, tone) = match (attempt["error"].is_null(), due) {
        (true, _) => ("✓", Tone::Ok),
        (false, Some(_)) => ("↻", Tone::Warn),
        (false, None) => ("✕", Tone::Bad),
    };
    let next = |due: Timestamp| format!("   next in {}", span::ahead(due.since(news::ended_at(attempt))));
    let next = due.map_or(String::new(), next);
    format!(
        "  {} {:<14} {:<4} {:>7}   attempt {}{next}",
        session.console.tone(tone, icon),
        visible(name),
        delivery::outcome(attempt),
        milliseconds(attempt, "duration_ms").unwrap_or_default(),
        number(attempt, "number").unwrap_or(0),
    )
}

/// The last line, and how the command ends.
fn finish(session: &Session<'_>, event: &Value, deliveries: &[Value]) -> Exit {
    let count = |status: &str| deliveries.iter().filter(|delivery| text(delivery, "status") == status).count();
    let (delivered, held) = (count("delivered"), count("held"));
    let bad = deliveries.len() - delivered - held;
    let last = deliveries.iter().filter_map(|delivery| timestamp(delivery, "ended_at")).max().unwrap_or_default();
    let took = last.since(timestamp(event, "timestamp").unwrap_or_default());
    // The event's page is where the API has the event.
    let page = path(&["accounts", &session.account, "events", text(event, "id")]);
    let page = session.client.address(page.strip_prefix("/v1").unwrap_or(&page));
    if session.console.json() {
        session.console.value(event);
    } else if deliveries.is_empty() {
        session.console.talk(&format!(
            "No webhook gets {}: `posthaste webhooks list` shows what they take.",
            text(event, "event")
        ));
    } else if bad == 0 && held == 0 {
        session.console.line(&format!("All delivered in {}.   {page}", span::spoken(took)));
    } else {
        let held = if held == 0 { String::new() } else { format!(", {held} held while the webhook is paused") };
        session.console.line(&format!("{delivered} of {} delivered, {bad} not{held}.   {page}", deliveries.len()));
        session.console.talk(&format!("posthaste events show {}", text(event, "id")));
    }
    if bad > 0 { Exit::DeliveryFailed } else { Exit::Ok }
}
