//! `posthaste tail`: attempts as they happen, as lines or on the whole terminal.

mod curl;
mod draw;
mod filter;
pub(super) mod follow;
mod full;
mod terminal;
mod view;

use std::io::IsTerminal as _;

use clap::Args;
use domain::event_filter::EventPattern;
use serde_json::Value;

use crate::cli::Session;
use crate::client::known::Server;
use crate::client::path::query;
use crate::client::patience::Patience;
use crate::commands::webhooks;
use crate::exit::{Ended, Exit, Stop};
use crate::output::news;

use filter::Filter;
use follow::News;

/// Whose attempts.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// KEY=VALUE: status, event, code, error, webhook, test
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
    /// Only this webhook's, by id or name
    #[arg(long, value_name = "WEBHOOK")]
    webhook: Option<String>,
    /// Only of these types: names, groups such as alert.*, or *
    #[arg(long, value_name = "EVENTS", value_delimiter = ',', value_parser = pattern)]
    events: Vec<EventPattern>,
    /// Only attempts that failed
    #[arg(long)]
    failed: bool,
    /// On the whole terminal: move, look into a delivery, send it again
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    pub(crate) server: Server,
}

fn pattern(text: &str) -> Result<EventPattern, String> {
    EventPattern::parse(text).ok_or_else(|| "write a type, a group such as alert.*, or *".to_owned())
}

/// Follows until Ctrl-C, or until nobody reads. A server that is away is waited for, from the first; a lost connection is made again, and
/// goes on where it was.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    let filter = Filter::new(&options.filter, &options.events, options.failed)?;
    if options.full && (session.console.json() || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal()) {
        return Err(Stop::usage("Leave --full out here: it needs a terminal, and shows no JSON."));
    }
    let webhook = match &options.webhook {
        Some(named) => Some(found(session, named).await?),
        None => filter.webhook(),
    };
    let path = path(&session.account, webhook.as_deref());
    let news = follow::follow(session.client.clone(), path);
    if options.full { full::run(session, filter, news).await } else { lines(session, &filter, news).await }
}

async fn lines(session: &Session<'_>, filter: &Filter, mut news: follow::Receiver) -> Ended {
    let console = session.console;
    while let Some(told) = news.recv().await {
        match told? {
            News::Connected { again: false } => console.talk("Connected. Waiting for attempts."),
            News::Connected { again: true } => console.talk("Connected again."),
            News::Away(away) => away.say(console),
            News::Missed => console.talk("Some attempts were missed: `posthaste deliveries list` has them."),
            News::Attempt(data) => {
                if let Some(attempt) = serde_json::from_str::<Value>(&data).ok().filter(|news| filter.wants(news)) {
                    console.line(&if console.json() { data } else { news::line(console, &attempt) });
                }
            }
        }
        if console.closed() {
            break;
        }
    }
    Ok(Exit::Ok)
}

/// The id of a webhook by its name, once the server can be asked.
async fn found(session: &Session<'_>, named: &str) -> Result<String, Stop> {
    let mut patience = Patience::new();
    loop {
        let stop = match webhooks::find(session, named).await {
            Ok(id) => return Ok(id),
            Err(stop) => stop,
        };
        if let Some(away) = patience.after(stop)? {
            away.say(session.console);
        }
        patience.wait().await;
    }
}

/// The stream of an account's attempts.
pub(super) fn path(account: &str, webhook: Option<&str>) -> String {
    let mut pairs = vec![("types".to_owned(), "attempt".to_owned())];
    pairs.extend(webhook.map(|id| ("webhook".to_owned(), id.to_owned())));
    query(&["accounts", account, "stream"], &pairs)
}
