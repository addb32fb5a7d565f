//! `posthaste webhooks`: everything that can be done with webhooks.

mod edit;
mod show;
mod stats;

use std::collections::HashMap;

use clap::{Args, Subcommand};
use domain::webhook::Held;
use http::Method;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::cli::Session;
use crate::client::Sending;
use crate::client::known::Server;
use crate::client::list::{self, Paging};
use crate::client::path::path;
use crate::exit::{Ended, Exit, Stop};
use crate::output::value::text;

/// What to do with webhooks.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The webhooks of the account
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// A new webhook; its signing secret is printed
    Create(edit::Create),
    /// One webhook
    Show {
        /// Its id, wh_…
        id: String,
    },
    /// Change a webhook; what is not given stays as it is
    Edit(edit::Edit),
    /// Pause: its events are kept as held, nothing is lost
    Pause {
        /// Its id, wh_…
        id: String,
        /// Why, for whoever looks
        #[arg(long)]
        reason: Option<String>,
    },
    /// Resume: deliver what is held, or cancel it
    Resume {
        /// Its id, wh_…
        id: String,
        /// What to do with what is held
        #[arg(long, value_parser = Held::ALL.map(Held::as_str))]
        held: String,
        /// Deliveries per second for what is held
        #[arg(long, value_name = "COUNT")]
        rate: Option<u32>,
    },
    /// Figures of a webhook, or of the whole account
    Stats {
        /// Its id, wh_…; the account's figures if it is left out
        id: Option<String>,
        /// How far back
        #[arg(long, default_value = "24h", value_name = "SPAN")]
        window: String,
        /// The length of a step: 1m to 1d
        #[arg(long, value_name = "SPAN")]
        step: Option<String>,
    },
    /// Send a test event, paused or not, and show the attempt
    Test {
        /// Its id, wh_…
        id: String,
        /// The event's type
        #[arg(long, default_value = "alert.domain_matched")]
        event: String,
    },
    /// The signing secret
    Secret {
        /// Its id, wh_…
        id: String,
    },
    /// A new signing secret; the old one goes on for the overlap
    Rotate {
        /// Its id, wh_…
        id: String,
        /// For how long both secrets hold
        #[arg(long, default_value = "24h", value_name = "SPAN")]
        overlap: String,
    },
    /// The receiver knows the new secret: end the overlap now
    Confirm {
        /// Its id, wh_…
        id: String,
    },
    /// Delete a webhook; what is pending is cancelled, its log stays
    Delete {
        /// Its id, wh_…
        id: String,
    },
}

/// Does it.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    let Session { console, client, account, .. } = session;
    let of = |id: &str| path(&["accounts", account, "webhooks", id]);
    let doing = |id: &str, verb: &str| path(&["accounts", account, "webhooks", id, verb]);
    match &options.what {
        What::List { paging } => {
            let webhooks =
                list::fetch(client, &["accounts", account, "webhooks"], show::asked(console), paging).await?;
            let nothing = "There are no webhooks. `posthaste webhooks create NAME URL --events 'alert.*'` makes one.";
            webhooks.show(console, show::table, nothing);
        }
        What::Create(create) => {
            let made = client.post(&path(&["accounts", account, "webhooks"]), &create.body()?).await?;
            show::made(session, &made)?;
        }
        What::Show { id } => {
            show::one(session, &client.get(&of(id)).await?)?;
            // With `--json` the result is the webhook's document: the figures have a command of their own.
            if !session.console.json() {
                stats::brief(session, id).await?;
            }
        }
        What::Edit(edit) => {
            let mut sending = Sending::json(&edit.body()?);
            if let Some(etag) = &edit.if_match {
                // A shell takes the quotes away that a tag has.
                sending = sending.with("if-match", format!("\"{}\"", etag.trim_matches('"')));
            }
            show::one(session, &client.send(Method::PATCH, &of(&edit.id), sending).await?)?;
        }
        What::Pause { id, reason } => {
            let body = reason.as_ref().map_or_else(|| json!({}), |reason| json!({"reason": reason}));
            show::one(session, &client.post(&doing(id, "pause"), &body).await?)?;
        }
        What::Resume { id, held, rate } => {
            let mut body = json!({"held": held});
            if let Some(rate) = rate {
                body["rate"] = json!(rate);
            }
            show::one(session, &client.post(&doing(id, "resume"), &body).await?)?;
        }
        What::Stats { id, window, step } => {
            let figures = stats::fetch(session, id.as_deref(), window, step.as_deref()).await?;
            stats::show(session, &figures)?;
        }
        What::Test { id, event } => return test(session, id, event, None).await,
        What::Secret { id } => {
            show::secret(session, &client.get(&path(&["accounts", account, "webhooks", id, "secret"])).await?)?;
        }
        What::Rotate { id, overlap } => {
            let rotate = path(&["accounts", account, "webhooks", id, "secret", "rotate"]);
            show::secret(session, &client.post(&rotate, &json!({"overlap": overlap})).await?)?;
        }
        What::Confirm { id } => {
            let confirm = path(&["accounts", account, "webhooks", id, "secret", "confirm"]);
            show::secret(session, &client.post(&confirm, &json!({})).await?)?;
        }
        What::Delete { id } => {
            client.send(Method::DELETE, &of(id), Sending::default()).await?;
            console.talk(&format!("✓ Deleted {id}. What was pending is cancelled; its log stays."));
        }
    }
    Ok(Exit::Ok)
}

/// Sends a test through the real pipeline, and shows the attempt.
///
/// # Errors
/// As [`crate::client::Client::send`].
pub(super) async fn test(session: &Session<'_>, id: &str, event: &str, data: Option<&RawValue>) -> Ended {
    /// `data` goes out as it was written.
    #[derive(Serialize)]
    struct Body<'a> {
        event: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a RawValue>,
    }
    let body = serde_json::to_string(&Body { event, data }).map_err(|error| Stop::usage(error.to_string()))?;
    let to = path(&["accounts", &session.account, "webhooks", id, "test"]);
    show::tested(session, &session.client.send(Method::POST, &to, Sending::text(body)).await?)
}

/// The names of an account's webhooks.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<String, String>);

impl Names {
    /// The name of a webhook; the id itself if it has none, or was deleted.
    pub(crate) fn of<'a>(&'a self, id: &'a str) -> &'a str {
        self.0.get(id).map_or(id, String::as_str)
    }
}

/// The names of the account's webhooks.
///
/// # Errors
/// As [`crate::client::Client::send`].
pub(super) async fn names(session: &Session<'_>) -> Result<Names, Stop> {
    let all = all(session).await?;
    Ok(Names(all.iter().map(|webhook| (text(webhook, "id").to_owned(), text(webhook, "name").to_owned())).collect()))
}

/// The account's webhooks.
///
/// # Errors
/// As [`crate::client::Client::send`].
pub(super) async fn all(session: &Session<'_>) -> Result<Vec<Value>, Stop> {
    let parts = ["accounts", &session.account, "webhooks"];
    Ok(list::fetch(&session.client, &parts, Vec::new(), &Paging::all()).await?.values())
}

/// The id of the one webhook that `named` means: an id, or a name that no other has.
///
/// # Errors
/// [`Exit::NotFound`] when there is none, [`Exit::Usage`] when there are several.
pub(super) async fn find(session: &Session<'_>, named: &str) -> Result<String, Stop> {
    if named.starts_with("wh_") {
        return Ok(named.to_owned());
    }
    let all = all(session).await?;
    let ids: Vec<&str> = all.iter().filter(|w| text(w, "name") == named).map(|w| text(w, "id")).collect();
    match ids[..] {
        [id] => Ok(id.to_owned()),
        [] => Err(Stop::new(
            Exit::NotFound,
            format!("No webhook is named {named:?}: `posthaste webhooks list` shows them."),
        )),
        _ => Err(Stop::usage(format!("Give the id: {} webhooks are named {named:?}: {}.", ids.len(), ids.join(", ")))),
    }
}
