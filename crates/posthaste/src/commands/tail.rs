//! `posthaste tail`: a line for each attempt, as they happen.

use std::time::Duration;

use clap::Args;
use domain::event_filter::EventPattern;
use http::Method;
use serde_json::Value;

use crate::cli::Session;
use crate::client::Sending;
use crate::client::known::Server;
use crate::client::path::query;
use crate::commands::webhooks;
use crate::exit::{Ended, Exit};
use crate::output::news;
use crate::output::value::text;

/// How long to wait before connecting again; it doubles while the server is away.
const AGAIN_FIRST: Duration = Duration::from_millis(500);
const AGAIN_LAST: Duration = Duration::from_secs(15);

/// Whose attempts.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only this webhook's, by id or name
    #[arg(long, value_name = "WEBHOOK")]
    webhook: Option<String>,
    /// Only of these types: names, groups such as alert.*, or *
    #[arg(long, value_name = "EVENTS", value_delimiter = ',', value_parser = pattern)]
    events: Vec<EventPattern>,
    /// Only attempts that failed
    #[arg(long)]
    failed: bool,
    #[command(flatten)]
    pub(crate) server: Server,
}

fn pattern(text: &str) -> Result<EventPattern, String> {
    EventPattern::parse(text).ok_or_else(|| "write a type, a group such as alert.*, or *".to_owned())
}

impl Options {
    fn wants(&self, news: &Value) -> bool {
        let event = text(news, "event");
        let named = self.events.is_empty() || self.events.iter().any(|pattern| pattern.matches(event));
        named && (!self.failed || !news["error"].is_null())
    }
}

/// Prints lines until Ctrl-C, or until nobody reads them. A lost connection is made again, and goes on where it was.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    let webhook = match &options.webhook {
        Some(named) => Some(webhooks::find(session, named).await?),
        None => None,
    };
    let path = path(&session.account, webhook.as_deref());
    let (mut last_id, mut again) = (None, AGAIN_FIRST);
    let mut lost = false;
    loop {
        match session.client.stream(Method::GET, &path, resume(last_id.as_deref())).await {
            Ok(mut events) => {
                session.console.talk(if lost { "Connected again." } else { "Connected. Waiting for attempts." });
                again = AGAIN_FIRST;
                while let Some(event) = events.next().await {
                    last_id = event.id.or(last_id);
                    match event.name.as_str() {
                        "attempt" => say(options, &event.data, session),
                        "reset" => {
                            session.console.talk("Some attempts were missed: `posthaste deliveries list` has them.")
                        }
                        _ => {}
                    }
                    if session.console.closed() {
                        return Ok(Exit::Ok);
                    }
                }
            }
            // Before the first connection there is nothing to resume: say what is wrong.
            Err(stop) if !lost && last_id.is_none() => return Err(stop),
            Err(stop) if stop.exit != Exit::Unreachable && stop.exit != Exit::Failure => return Err(stop),
            Err(_) => {}
        }
        if !std::mem::replace(&mut lost, true) || again == AGAIN_FIRST {
            session.console.talk("The connection was lost; trying again.");
        }
        tokio::time::sleep(again).await;
        again = (again * 2).min(AGAIN_LAST);
    }
}

fn say(options: &Options, data: &str, session: &Session<'_>) {
    let Ok(news) = serde_json::from_str::<Value>(data) else { return };
    if !options.wants(&news) {
        return;
    }
    if session.console.json() {
        session.console.line(data);
    } else {
        session.console.line(&news::line(session.console, &news));
    }
}

/// The stream of an account's attempts.
pub(super) fn path(account: &str, webhook: Option<&str>) -> String {
    let mut pairs = vec![("types".to_owned(), "attempt".to_owned())];
    pairs.extend(webhook.map(|id| ("webhook".to_owned(), id.to_owned())));
    query(&["accounts", account, "stream"], &pairs)
}

fn resume(last_id: Option<&str>) -> Sending {
    match last_id {
        Some(id) => Sending::default().with("last-event-id", id),
        None => Sending::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_wanted_is_said() {
        let options = Options {
            webhook: None,
            events: vec![pattern("alert.*").expect("a group")],
            failed: true,
            server: Server::default(),
        };
        let news = |event: &str, error: Value| json!({"event": event, "error": error});
        assert!(options.wants(&news("alert.rule_created", json!({"code": "http_5xx"}))));
        assert!(!options.wants(&news("alert.rule_created", Value::Null)));
        assert!(!options.wants(&news("sequence.email_sent", json!({"code": "http_5xx"}))));
        assert!(pattern("a.b.*.c").is_err());
    }
}
