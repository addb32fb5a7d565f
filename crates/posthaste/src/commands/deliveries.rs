//! `posthaste deliveries`: the log by filter, one in full, replay and cancel.

mod export;

use clap::{Args, Subcommand};
use domain::time::Clock;
use serde_json::Value;

use crate::cli::Session;
use crate::client::known::Server;
use crate::client::list::{self, Paging};
use crate::client::path::path;
use crate::clock::SystemClock;
use crate::commands::replay;
use crate::commands::webhooks::{self, Names};
use crate::exit::{Ended, Exit, Stop};
use crate::output::{delivery, value};

/// What to do with deliveries.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The log, newest first
    ///
    /// Filter it by words such as `status=failed,pending event=alert.* code=5xx error=response_timeout webhook=wh_…
    /// since=24h until=1h q="new startup"`: keys side by side are "and", values by commas are "or".
    List {
        /// KEY=VALUE: status, event, code, error, webhook, test, since, until, q
        #[arg(value_name = "FILTER")]
        filter: Vec<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// The log that a filter means, newest first, as one JSON document a line
    ///
    /// With --out, a connection that is lost is made again, and an export that was interrupted goes on where the file ends
    /// with --resume and the same filter. Until it is whole, FILE.resume beside it says which that is.
    Export {
        /// KEY=VALUE: status, event, code, error, webhook, test, since, until, q
        #[arg(value_name = "FILTER")]
        filter: Vec<String>,
        #[command(flatten)]
        how: export::How,
    },
    /// One delivery with its attempts, and what is planned
    Show {
        /// Its id, dlv_…
        id: String,
    },
    /// Send deliveries again: the same bytes, at once, the schedule afresh
    Replay {
        /// Their ids, dlv_…
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Cancel unfinished deliveries
    Cancel {
        /// Their ids, dlv_…
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// Lists, shows, replays or cancels.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    let Session { console, client, account, .. } = session;
    match &options.what {
        What::List { filter, paging } => {
            let pairs = pairs(filter, &KEYS)?;
            let rows = list::fetch(client, &["accounts", account, "deliveries"], pairs, paging).await?;
            let nothing = if filter.is_empty() {
                "There are no deliveries yet. `posthaste send alert.rule_created` sends an event.".to_owned()
            } else {
                format!("No deliveries match {}.", filter.join(" "))
            };
            let names = if console.json() { Names::default() } else { webhooks::names(session).await? };
            rows.show(console, |rows| delivery::table(rows, &names, SystemClock.now()), &nothing);
            Ok(Exit::Ok)
        }
        What::Export { filter, how } => export::run(session, &pairs(filter, &KEYS)?, how).await,
        What::Show { id } => {
            let found = client.get(&path(&["accounts", account, "deliveries", id])).await?;
            if console.json() {
                console.line(&found.text());
            } else {
                delivery::show(console, &found.value()?, SystemClock.now());
            }
            Ok(Exit::Ok)
        }
        What::Replay { ids } => replay::each(session, ids, "replay", said_replayed).await,
        What::Cancel { ids } => replay::each(session, ids, "cancel", said_cancelled).await,
    }
}

/// The keys of the filter of deliveries.
const KEYS: [&str; 9] = ["status", "event", "code", "error", "webhook", "test", "since", "until", "q"];

/// The words of a filter that has these keys.
///
/// # Errors
/// For a word that is no pair, or of another key: the server's own words would be about the query that is made of it.
pub(super) fn pairs(words: &[String], keys: &[&str]) -> Result<Vec<(String, String)>, Stop> {
    let pair = |word: &String| match word.split_once('=') {
        None => Err(Stop::usage(format!("Write filters as KEY=VALUE, such as {}=…, not {word:?}.", keys[0]))),
        Some((key @ ("limit" | "cursor"), value)) => {
            Err(Stop::usage(format!("Write --{key} {value}: it is an option, not a part of the filter.")))
        }
        Some((key, value)) if keys.contains(&key) => Ok((key.to_owned(), value.to_owned())),
        Some((key, _)) => Err(Stop::usage(format!("Filter by {}: there is no key {key:?} here.", keys.join(", ")))),
    };
    words.iter().map(pair).collect()
}

pub(super) fn said_replayed(delivery: &Value) -> String {
    format!("✓ {} is sent again: `posthaste deliveries show {0}`", value::text(delivery, "id"))
}

fn said_cancelled(delivery: &Value) -> String {
    format!("⊘ {} is cancelled.", value::text(delivery, "id"))
}

#[cfg(test)]
mod tests {
    use domain::filter::DeliveryFilter;
    use domain::time::Timestamp;

    use super::*;

    #[test]
    fn filters_are_key_and_value() {
        let read = |words: &[&str]| pairs(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>(), &KEYS);
        assert_eq!(read(&["q=a=b"]), Ok(vec![("q".to_owned(), "a=b".to_owned())]));
        // Every key of the grammar is one here.
        let known = DeliveryFilter::parse([("none", "x")], Timestamp(0)).expect_err("no key");
        assert!(known[0].detail.ends_with(&format!("those are {}.", KEYS.join(", "))), "{}", known[0].detail);
        for (words, said) in [
            (&["failed"][..], "KEY=VALUE"),
            (&["status=failed", "limit=3"], "--limit 3"),
            (&["actor=me"], "there is no key \"actor\""),
        ] {
            let stop = read(words).expect_err("it is refused");
            assert!(stop.exit == Exit::Usage && stop.said.contains(said), "{}", stop.said);
        }
    }
}
