//! `posthaste replay`: send deliveries again.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::Session;
use crate::client::known::Server;
use crate::client::path::path;
use crate::commands::deliveries::said_replayed;
use crate::exit::{Ended, Exit};

/// Which deliveries.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Their ids, dlv_…
    #[arg(required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// Replays them.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    each(session, &options.ids, "replay", said_replayed).await
}

/// Does `verb` to each delivery; stops at the first that is refused, since the rest would most likely be, too.
///
/// # Errors
/// As [`crate::client::Client::send`].
pub(super) async fn each(session: &Session<'_>, ids: &[String], verb: &str, said: fn(&Value) -> String) -> Ended {
    let Session { console, client, account, .. } = session;
    for id in ids {
        let answer = client.post(&path(&["accounts", account, "deliveries", id, verb]), &json!({})).await;
        let delivery = answer.and_then(|answer| answer.value()).map_err(|mut stop| {
            stop.said = format!("{id}: {}", stop.said);
            stop
        })?;
        if console.json() {
            console.value(&delivery);
        } else {
            console.line(&said(&delivery));
        }
    }
    Ok(Exit::Ok)
}
