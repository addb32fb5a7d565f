//! `posthaste send`: an event, and if wanted its deliveries until they have ended.

pub(crate) mod data;
mod wait;

use clap::Args;
use http::Method;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cli::Session;
use crate::client::Sending;
use crate::client::known::Server;
use crate::client::path::path;
use crate::exit::{Ended, Exit, Stop};
use crate::output::value::{number, text};

/// What to send.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The event's type, such as enrichment.completed
    event: String,
    /// What happened: JSON, @FILE, or - for stdin; the type's example if not given
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// Wait until every delivery has ended
    #[arg(long)]
    wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "SPAN", default_value = "5m", requires = "wait")]
    within: String,
    /// The same key again sends nothing again, for 24 h
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// The body of the request. `data` goes out as it was written: no number is read and written again.
#[derive(Serialize)]
struct Body<'a> {
    account: &'a str,
    event: &'a str,
    data: &'a RawValue,
}

/// Sends it.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    let within =
        domain::time::parse_span(&options.within).map_err(|error| Stop::usage(format!("--within: {error}.")))?;
    let accepted = post(options, session).await?;
    let (id, deliveries) = (text(&accepted, "id"), number(&accepted, "deliveries").unwrap_or(0));
    if !options.wait {
        if session.console.json() {
            session.console.value(&accepted);
        } else {
            session.console.line(&said(id, &options.event, deliveries));
            session.console.talk(&format!("posthaste events show {id}"));
        }
        return Ok(Exit::Ok);
    }
    if !session.console.json() {
        session.console.line(&said(id, &options.event, deliveries));
    }
    wait::until_all_have_ended(session, id, within).await
}

fn said(id: &str, event: &str, deliveries: u64) -> String {
    match deliveries {
        0 => format!("{id}  {event}  → no webhook gets it"),
        1 => format!("{id}  {event}  → 1 webhook"),
        many => format!("{id}  {event}  → {many} webhooks"),
    }
}

async fn post(options: &Options, session: &Session<'_>) -> Result<Value, Stop> {
    let data = match &options.data {
        Some(given) => data::read(given)?,
        None => example(session, &options.event).await?,
    };
    let body = Body { account: &session.account, event: &options.event, data: data::json(&data)? };
    let body = serde_json::to_string(&body).map_err(|error| Stop::usage(error.to_string()))?;
    let mut sending = Sending::text(body);
    if let Some(key) = &options.idempotency_key {
        sending = sending.with("idempotency-key", key.clone());
    }
    session.client.send(Method::POST, &path(&["events"]), sending).await?.value()
}

/// The example of a type, byte for byte as the server has it.
async fn example(session: &Session<'_>, event: &str) -> Result<String, Stop> {
    #[derive(serde::Deserialize)]
    struct Type {
        example: Box<RawValue>,
    }
    let found: Type = session.client.get(&path(&["event-types", event])).await?.read()?;
    Ok(found.example.get().to_owned())
}
