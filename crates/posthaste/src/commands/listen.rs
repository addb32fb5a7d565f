//! `posthaste listen`: a temporary webhook whose requests are made here, to a local URL. It works through any network,
//! and needs no opened range: the server carries the requests over a stream, and takes the answers back.

mod carry;

use clap::Args;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;
use url::Url;

use crate::cli::Session;
use crate::client::Sending;
use crate::client::known::Server;
use crate::client::path::path;
use crate::client::sse::Events;
use crate::commands::tail;
use crate::exit::{Ended, Exit, Stop};
use crate::output::value::{number, text};
use crate::output::{news, visible};

use carry::{Carried, Carrier};

/// What to listen to, and where to bring it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where requests are made, such as http://localhost:3000/hook
    to: String,
    /// Which events: names, groups such as alert.*, or *
    #[arg(long, value_name = "EVENTS", value_delimiter = ',', default_value = "*")]
    events: Vec<String>,
    /// Print the signing secret, and nothing else, to stdout before the first line
    #[arg(long)]
    print_secret: bool,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// Carries requests until Ctrl-C.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    let to = Url::parse(&options.to).ok().filter(|to| matches!(to.scheme(), "http" | "https") && to.has_host());
    let to =
        to.ok_or_else(|| Stop::usage(format!("Give a URL such as http://localhost:3000/hook, not {:?}.", options.to)))?;
    let open = path(&["accounts", &session.account, "listen"]);
    let wanted = Sending::json(&json!({"events": options.events, "name": format!("listen {to}")}));
    let mut requests = session.client.stream(Method::POST, &open, wanted).await?;
    let webhook = greeting(&mut requests).await?;
    let id = text(&webhook, "id").to_owned();
    let attempts = tail::path(&session.account, Some(&id));
    let mut attempts = session.client.stream(Method::GET, &attempts, Sending::default()).await?;
    greet(options, &webhook, session);
    let (answers, mut answered) = unbounded_channel();
    let carrier = Carrier::new(session, &id, to, answers);
    let mut heard = carry::Heard::default();
    loop {
        tokio::select! {
            request = requests.next() => match request {
                Some(event) if event.name == "request" => carrier.carry(&event.data),
                Some(_) => {}
                None => return Err(lost()),
            },
            Some(answer) = answered.recv() => heard.remember(answer),
            attempt = attempts.next() => match attempt {
                Some(event) if event.name == "attempt" => say(&event.data, &mut heard, &carrier, session),
                Some(_) => {}
                None => return Err(lost()),
            },
        }
        if session.console.closed() {
            return Ok(Exit::Ok);
        }
    }
}

fn lost() -> Stop {
    Stop::new(Exit::Unreachable, "Start again: the connection was lost, and the temporary webhook with it.")
}

async fn greeting(requests: &mut Events) -> Result<Value, Stop> {
    let first = requests.next().await.filter(|event| event.name == "webhook").ok_or_else(lost)?;
    serde_json::from_str(&first.data).map_err(|_| lost())
}

fn greet(options: &Options, webhook: &Value, session: &Session<'_>) {
    let console = session.console;
    if console.json() {
        console.value(&json!({"type": "connected", "webhook": webhook}));
        return;
    }
    if options.print_secret {
        console.line(text(webhook, "secret"));
    }
    console.talk(&format!("Temporary webhook {} (removed when you stop)", text(webhook, "id")));
    console.talk(&format!("Signing secret  {}     (also: --print-secret)", text(webhook, "secret")));
    console.talk("Connecting… connected. Waiting for events.");
}

fn say(data: &str, heard: &mut carry::Heard, carrier: &Carrier, session: &Session<'_>) {
    let console = session.console;
    if console.json() {
        console.line(data);
        return;
    }
    let Ok(attempt) = serde_json::from_str::<Value>(data) else { return };
    let head = news::head(console, &attempt);
    let next = news::next(&attempt);
    let count = number(&attempt, "number").unwrap_or(0);
    let said = heard.take(text(&attempt, "delivery_id"), count).map(|carried| note(&carried, carrier));
    console.line(format!("{head}  {}     {next}", visible(&said.unwrap_or_default())).trim_end());
    if matches!(number(&attempt, "status_code"), Some(401 | 403)) {
        let id = text(&attempt, "id");
        console.line(&format!("{:28}posthaste verify --explain {id} --body FILE tells why", ""));
    }
}

/// What went wrong here, in a sentence; nothing for a success.
fn note(carried: &Carried, carrier: &Carrier) -> String {
    use domain::attempt::ErrorCode;
    match (carried.error, carried.status) {
        (Some(ErrorCode::ConnectRefused), _) => format!("Nothing listens on {}.", carrier.place()),
        (Some(_), _) => carried.detail.clone(),
        (None, Some(200..=299) | None) => String::new(),
        (None, Some(_)) if carried.body.is_empty() => "Your server said nothing.".to_owned(),
        (None, Some(_)) => {
            let said: String =
                String::from_utf8_lossy(&carried.body).lines().next().unwrap_or_default().chars().take(80).collect();
            format!("Your server said: {said:?}")
        }
    }
}
