//! Webhooks in tables and sentences.

use serde_json::Value;

use crate::cli::Session;
use crate::client::Answer;
use crate::exit::{Ended, Exit, Stop};
use crate::output::table::{Cell, Table};
use crate::output::value::{instant, number, place, text, texts};
use crate::output::{Console, Tone, delivery, visible};

/// What a list of webhooks is asked for besides: figures, for people.
pub(super) fn asked(console: &Console) -> Vec<(String, String)> {
    if console.json() { Vec::new() } else { vec![("stats".to_owned(), "1h".to_owned())] }
}

/// Webhooks under a head.
pub(super) fn table(webhooks: &[Value]) -> Table {
    let mut table = Table::new(&["NAME", "STATUS", "EVENTS", "URL", "ID"]);
    for webhook in webhooks {
        let cells = [texts(webhook, "events"), place(text(webhook, "url")).to_owned(), text(webhook, "id").to_owned()];
        let mut row = vec![text(webhook, "name").into(), status(webhook)];
        row.extend(cells.into_iter().map(Cell::from));
        table.row(row);
    }
    table
}

fn status(webhook: &Value) -> Cell {
    match text(webhook, "status") {
        "active" => Cell::toned(Tone::Ok, "✓ active"),
        "paused" => Cell::toned(Tone::Quiet, paused(webhook)),
        other => other.into(),
    }
}

/// Since when and by whom a webhook is paused; how many deliveries it holds, where its figures are known.
fn paused(webhook: &Value) -> String {
    let reason = &webhook["status_reason"];
    let by = if text(reason, "key").is_empty() { text(reason, "by") } else { text(reason, "key") };
    let held = number(&webhook["stats"], "held").map_or(String::new(), |held| format!(", {held} held"));
    format!("‖ paused since {} by {by}{held}", instant(reason, "since"))
}

/// One webhook in full.
pub(super) fn one(session: &Session<'_>, answer: &Answer) -> Result<(), Stop> {
    if session.console.json() {
        session.console.line(&answer.text());
        return Ok(());
    }
    let webhook = &answer.value()?;
    table(std::slice::from_ref(webhook)).print(session.console, "");
    let reason = text(&webhook["status_reason"], "sentence");
    if !reason.is_empty() {
        session.console.line(&format!("\n‖ {}", visible(reason)));
    }
    let mut rest = Table::new(&["", ""]);
    let mut row = |name: &str, value: String| rest.row(vec![Cell::toned(Tone::Quiet, name), value.into()]);
    let defaults = texts(webhook, "defaults");
    for name in ["timeout", "retry_schedule", "rate_limit", "max_in_flight", "http2", "signing", "order", "headers"] {
        let from = if defaults.split(',').any(|its| its == name) { "  (the operator's)" } else { "" };
        row(&name.replace('_', " "), format!("{}{from}", words(&webhook[name])));
    }
    if let Some(key) = webhook["public_key"].as_str() {
        row("public key", key.to_owned());
    }
    row("created", instant(webhook, "created_at"));
    row("changed", instant(webhook, "updated_at"));
    if let Some(etag) = answer.etag() {
        row("etag", etag.to_owned());
    }
    rest.print(session.console, "");
    Ok(())
}

/// A value of any shape on one line.
fn words(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => values.iter().map(words).collect::<Vec<_>>().join(", "),
        Value::Object(members) if members.is_empty() => "none".to_owned(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| format!("{name}: {}", words(value))).collect::<Vec<_>>().join(", ")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// A webhook that was made, with its secret.
pub(super) fn made(session: &Session<'_>, answer: &Answer) -> Result<(), Stop> {
    let console = session.console;
    if console.json() {
        console.line(&answer.text());
        return Ok(());
    }
    let webhook = answer.value()?;
    table(std::slice::from_ref(&webhook)).print(console, "");
    console.line(&format!("\nSigning secret  {}", text(&webhook, "secret")));
    if let Some(key) = webhook["public_key"].as_str() {
        console.line(&format!("Public key      {key}"));
    }
    console.talk(&format!("Test it: posthaste webhooks test {}", text(&webhook, "id")));
    Ok(())
}

/// A signing secret, the public key on a line of its own if there is one, and what signs which header now.
pub(super) fn secret(session: &Session<'_>, answer: &Answer) -> Result<(), Stop> {
    let console = session.console;
    if console.json() {
        console.line(&answer.text());
        return Ok(());
    }
    let secrets = answer.value()?;
    console.line(text(&secrets, "secret"));
    if let Some(key) = secrets["public_key"].as_str() {
        console.line(key);
    }
    if let Some(previous) = secrets.get("previous").filter(|previous| !previous.is_null()) {
        console.talk(&format!("The previous secret holds until {}:", instant(previous, "until")));
        for signs in secrets["signs"].as_array().into_iter().flatten() {
            let what = if text(signs, "scheme") == "ed25519" { "key pair" } else { "secret" };
            let by = texts(signs, "by").replace(',', " and the ");
            console.talk(&format!("  {} is signed by the {by} {what}", text(signs, "header")));
        }
        if let Some(key) = previous["public_key"].as_str() {
            console.talk(&format!("The previous public key is {key}"));
        }
    }
    Ok(())
}

/// The attempt of a test, and how the command ends by it.
pub(super) fn tested(session: &Session<'_>, answer: &Answer) -> Ended {
    let console = session.console;
    let test = answer.value()?;
    let attempt = &test["attempt"];
    if console.json() {
        console.line(&answer.text());
    } else {
        if !text(&test, "note").is_empty() {
            console.talk(text(&test, "note"));
        }
        if attempt.is_null() {
            console.line("The attempt has not ended yet: `posthaste deliveries list` shows it.");
        } else {
            console.line(&delivery::attempt_line(console, attempt));
        }
        if let Some(said) = delivery::explanation(attempt) {
            console.line(&format!("  {said}"));
        }
    }
    Ok(match (attempt.is_null(), attempt["error"].is_null()) {
        (true, _) => Exit::TimedOut,
        (false, true) => Exit::Ok,
        (false, false) => Exit::DeliveryFailed,
    })
}
