//! `posthaste replay`: send deliveries again, single ones by id, or many by a filter.

mod follow;

use std::io::{BufRead as _, IsTerminal as _};

use clap::{Args, Subcommand};
use domain::time::Clock as _;
use serde_json::{Value, json};

use crate::cli::Session;
use crate::client::known::Server;
use crate::client::list::{self, Paging};
use crate::client::path::path;
use crate::client::patience::Patience;
use crate::clock::SystemClock;
use crate::commands::deliveries::said_replayed;
use crate::commands::webhooks::{self, Names};
use crate::exit::{Ended, Exit, Stop};
use crate::output::value::{number, text};
use crate::output::{delivery, replay};

/// From how many deliveries on a person is asked first.
const ASKED_FROM: u64 = 10_000;

/// Which deliveries.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<What>,
    /// Single deliveries, dlv_…
    ids: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// Deliveries per second at most
    #[arg(long, value_name = "COUNT")]
    rate: Option<u32>,
    /// Only count, and show the first 20; nothing is sent
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before more than 10,000 deliveries are sent
    #[arg(long)]
    yes: bool,
    /// Start it, and do not wait for it
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// Which deliveries, in the words of the log's filter: options side by side are "and", values by commas are "or".
#[derive(Debug, Args)]
#[command(next_help_heading = "Many deliveries")]
struct Filter {
    /// To this webhook, by id or name
    #[arg(long, value_name = "WEBHOOK")]
    webhook: Option<String>,
    /// In these states: delivered, failed, cancelled
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Of these types: names, groups such as alert.*, or *
    #[arg(long, value_name = "EVENTS")]
    event: Option<String>,
    /// Whose last attempt was answered with these: 404, or a class such as 5xx
    #[arg(long, value_name = "CODES")]
    code: Option<String>,
    /// Whose last attempt failed by these, such as response_timeout
    #[arg(long, value_name = "ERRORS")]
    error: Option<String>,
    /// Of events accepted since: a time, or a span back from now such as 24h
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Of events accepted before: a time, or a span back from now
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// With this text in an id or the event's data; bodies are read for it, so give --since too
    #[arg(long, value_name = "TEXT")]
    q: Option<String>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Replays of many deliveries, newest first
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// How far one has come, and what came of it
    Show {
        /// Its id, rpl_…
        id: String,
        /// Follow it until it ends or stands still
        #[arg(long)]
        follow: bool,
    },
    /// Let one stand still
    Pause {
        /// Its id, rpl_…
        id: String,
        /// Why, for whoever looks
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let one go on where it was
    Resume {
        /// Its id, rpl_…
        id: String,
        /// Deliveries per second from here on
        #[arg(long, value_name = "COUNT")]
        rate: Option<u32>,
    },
    /// End one for good
    Stop {
        /// Its id, rpl_…
        id: String,
    },
}

/// Replays, or looks after what is being replayed.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    let Session { console, client, account, .. } = session;
    let doing = |id: &str, verb: &str| path(&["accounts", account, "replays", id, verb]);
    let changed = match &options.what {
        None => return send_again(options, session).await,
        Some(What::List { paging }) => {
            let rows = list::fetch(client, &["accounts", account, "replays"], Vec::new(), paging).await?;
            rows.show(
                console,
                replay::table,
                "There are no replays yet. `posthaste replay --status failed` starts one.",
            );
            return Ok(Exit::Ok);
        }
        Some(What::Show { id, follow }) => {
            if *follow {
                return follow::to_the_end(session, id, Patience::new()).await;
            }
            client.get(&path(&["accounts", account, "replays", id])).await?
        }
        Some(What::Pause { id, reason }) => {
            let body = reason.as_ref().map_or_else(|| json!({}), |reason| json!({"reason": reason}));
            client.post(&doing(id, "pause"), &body).await?
        }
        Some(What::Resume { id, rate }) => {
            let body = rate.map_or_else(|| json!({}), |rate| json!({"rate": rate}));
            client.post(&doing(id, "resume"), &body).await?
        }
        Some(What::Stop { id }) => client.post(&doing(id, "stop"), &json!({})).await?,
    };
    if console.json() {
        console.line(&changed.text());
    } else {
        replay::show(console, &changed.value()?);
    }
    Ok(Exit::Ok)
}

async fn send_again(options: &Options, session: &Session<'_>) -> Ended {
    let body = options.filter.body(session).await?;
    match (options.ids.is_empty(), &body) {
        (false, None) if options.dry_run => {
            Err(Stop::usage("--dry-run counts what a filter means; leave it out to send single deliveries again."))
        }
        (false, None) => each(session, &options.ids, "replay", said_replayed).await,
        (true, Some(body)) => many(options, session, body.clone()).await,
        (false, Some(_)) => Err(Stop::usage("Give ids of deliveries, or a filter such as --status failed, not both.")),
        (true, None) => Err(Stop::usage(
            "Say which deliveries: ids, or a filter such as --webhook NAME --status failed --since 24h.",
        )),
    }
}

impl Filter {
    /// What the API takes; nothing if no filter is given.
    async fn body(&self, session: &Session<'_>) -> Result<Option<Value>, Stop> {
        let mut body = serde_json::Map::new();
        if let Some(named) = &self.webhook {
            body.insert("webhook".to_owned(), webhooks::find(session, named).await?.into());
        }
        let rest = [
            ("status", &self.status),
            ("event", &self.event),
            ("code", &self.code),
            ("error", &self.error),
            ("since", &self.since),
            ("until", &self.until),
            ("q", &self.q),
        ];
        for (name, value) in rest {
            if let Some(value) = value {
                body.insert(name.to_owned(), value.clone().into());
            }
        }
        Ok((!body.is_empty()).then(|| body.into()))
    }
}

async fn many(options: &Options, session: &Session<'_>, mut body: Value) -> Ended {
    let Session { console, client, account, .. } = session;
    let replays = path(&["accounts", account, "replays"]);
    let asks = !options.yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if options.dry_run || asks {
        body["dry_run"] = true.into();
        let counted = client.post(&replays, &body).await?;
        let found = counted.value()?;
        let total = number(&found, "total").unwrap_or(0);
        if options.dry_run {
            if console.json() {
                console.line(&counted.text());
                return Ok(Exit::Ok);
            }
            console.line(&format!("{} would be sent again.", deliveries(total)));
            if let Some(said) = replay::left_out(&found["left_out"]) {
                console.line(&said);
            }
            let rows = found["deliveries"].as_array().map_or(&[][..], Vec::as_slice);
            let names = if rows.is_empty() { Names::default() } else { webhooks::names(session).await? };
            delivery::table(rows, &names, SystemClock.now()).print(console, "");
            return Ok(Exit::Ok);
        }
        if total > ASKED_FROM && !confirmed(session, total)? {
            return Err(Stop::failure("Nothing was sent again. `--yes` leaves the question out."));
        }
        body["dry_run"] = false.into();
    }
    if let Some(rate) = options.rate {
        body["rate"] = rate.into();
    }
    let started = client.post(&replays, &body).await?;
    let replay = started.value()?;
    let (id, total) = (text(&replay, "id"), number(&replay, "total").unwrap_or(0));
    if options.detach {
        if console.json() {
            console.line(&started.text());
        } else {
            let are = if total == 1 { "is" } else { "are" };
            console.line(&format!("{} {are} sent again: `posthaste replay show {id} --follow`", deliveries(total)));
        }
        return Ok(Exit::Ok);
    }
    console.talk(&format!("{id}: {} to send again.", deliveries(total)));
    let mut patience = Patience::new();
    patience.reached();
    follow::to_the_end(session, id, patience).await
}

fn deliveries(total: u64) -> String {
    if total == 1 { "1 delivery".to_owned() } else { format!("{} deliveries", replay::count(total)) }
}

/// Asks the person at the terminal.
fn confirmed(session: &Session<'_>, total: u64) -> Result<bool, Stop> {
    session.console.complain(&format!("Send {} again? [y/N]", deliveries(total)));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|error| Stop::failure(error.to_string()))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
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
