//! `posthaste events`: what was accepted, and to whom it goes.

use clap::{Args, Subcommand};
use domain::time::Clock;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cli::Session;
use crate::client::Answer;
use crate::client::known::Server;
use crate::client::list::{self, Paging};
use crate::client::path::path;
use crate::clock::SystemClock;
use crate::commands::deliveries::pairs;
use crate::commands::webhooks;
use crate::exit::{Ended, Exit, Stop};
use crate::output::table::Table;
use crate::output::value::{instant, number, text};
use crate::output::{delivery, visible_lines};

/// What to show of the events.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Events, newest first
    ///
    /// Filter them by words such as `event=alert.* since=24h until=1h q="new startup"`: keys side by side are "and", values
    /// by commas are "or".
    List {
        /// KEY=VALUE: event, since, until, q
        #[arg(value_name = "FILTER")]
        filter: Vec<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// One event: its data and its deliveries
    Show {
        /// Its id, evt_…
        id: String,
    },
}

/// Lists or shows events.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    let Session { console, client, account, .. } = session;
    match &options.what {
        What::List { filter, paging } => {
            let pairs = pairs(filter, &["event", "since", "until", "q"])?;
            let events = list::fetch(client, &["accounts", account, "events"], pairs, paging).await?;
            let nothing = if filter.is_empty() {
                "There are no events yet. `posthaste send alert.rule_created` sends one.".to_owned()
            } else {
                format!("No events match {}.", filter.join(" "))
            };
            events.show(console, table, &nothing);
        }
        What::Show { id } => {
            let event = client.get(&path(&["accounts", account, "events", id])).await?;
            if console.json() {
                console.line(&event.text());
            } else {
                show(session, &event).await?;
            }
        }
    }
    Ok(Exit::Ok)
}

fn table(events: &[Value]) -> Table {
    let mut table = Table::new(&["ACCEPTED", "EVENT", "DELIVERIES", "BYTES", "ID", ""]);
    for event in events {
        table.row(vec![
            instant(event, "timestamp").into(),
            text(event, "event").into(),
            number(event, "delivery_count").unwrap_or(0).to_string().into(),
            number(event, "size").unwrap_or(0).to_string().into(),
            text(event, "id").into(),
            marks(event).into(),
        ]);
    }
    table
}

/// What an event is marked with: a test, or accepted though its data break the schema.
fn marks(event: &Value) -> String {
    let marks: Vec<_> = ["test", "flagged"].into_iter().filter(|mark| event[*mark] == true).collect();
    marks.join(", ")
}

async fn show(session: &Session<'_>, answer: &Answer) -> Result<(), Stop> {
    /// The producer's own bytes, which a parsed value would not be.
    #[derive(Deserialize)]
    struct Data {
        data: Option<Box<RawValue>>,
    }
    let console = session.console;
    let event = answer.value()?;
    table(std::slice::from_ref(&event)).print(console, "");
    if let Data { data: Some(data) } = answer.read()? {
        console.line(&format!("\n{}\n", visible_lines(data.get())));
    }
    let deliveries = event["deliveries"].as_array().map_or(&[][..], Vec::as_slice);
    let nothing = format!("No webhook gets {}.", text(&event, "event"));
    let names = webhooks::names(session).await?;
    delivery::table(deliveries, &names, SystemClock.now()).print(console, &nothing);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_shown_with_its_marks() {
        assert_eq!(marks(&json!({"test": false, "flagged": true})), "flagged");
        assert_eq!(marks(&json!({"test": true, "flagged": true})), "test, flagged");
        assert_eq!(marks(&json!({"test": false, "flagged": false})), "");
    }
}
