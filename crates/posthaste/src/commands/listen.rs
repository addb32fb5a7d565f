//! `posthaste listen`: a webhook whose requests are made here, to a local URL. It works through any network, and needs no
//! opened range: the server carries the requests over a stream, and takes the answers back. A lost connection is made
//! again, and goes on where it was.

mod carry;

use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;
use url::Url;

use crate::cli::Session;
use crate::client::Sending;
use crate::client::known::Server;
use crate::client::path::path;
use crate::client::patience::Patience;
use crate::client::sse::{Event, Events};
use crate::commands::tail::{self, follow};
use crate::exit::{Ended, Exit, Stop};
use crate::output::value::{number, text};
use crate::output::{news, visible};
use crate::signals::Signals;

use carry::{Carried, Carrier};

/// How long to wait before connecting again, in seconds; it doubles while the server is away.
const AGAIN: (u64, u64) = (1, 15);
/// The same before the first connection, while the node that the webhook was at may have died.
const FIRST_AGAIN_MAX: u64 = 3;
/// For how long the end waits for the temporary webhook to be taken away.
const GOODBYE_WITHIN: Duration = Duration::from_secs(3);

/// What to listen to, and where to bring it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where requests are made, such as http://localhost:3000/hook
    to: String,
    /// Which events: names, groups such as alert.*, or *
    #[arg(long, value_name = "EVENTS", value_delimiter = ',', default_value = "*")]
    events: Vec<String>,
    /// Keep the webhook when this ends: what it gets is held until somebody listens with --webhook again
    #[arg(long)]
    keep: bool,
    /// Go on with a webhook that was kept, oldest deliveries first
    #[arg(long, value_name = "ID", conflicts_with_all = ["events", "keep", "print_secret"])]
    webhook: Option<String>,
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
    let mut signals = Signals::listen().map_err(|error| Stop::failure(format!("No signals can be had: {error}.")))?;
    let mut listening = Listening::new(options, session, to);
    let ended = tokio::select! {
        ended = listening.run() => ended,
        () = signals.next() => Ok(Exit::Interrupted),
    };
    listening.goodbye().await;
    ended
}

/// The two streams of a connection: what is to be made, and what has come of it.
struct Streams {
    requests: Events,
    attempts: Events,
}

struct Listening<'a> {
    options: &'a Options,
    session: &'a Session<'a>,
    to: Url,
    /// What makes the requests; from the first connection on.
    carrier: Option<Carrier>,
    /// The id of the webhook; from the first connection on, or as it was given.
    webhook: Option<String>,
    temporary: bool,
    answered: UnboundedReceiver<Carried>,
    answers: tokio::sync::mpsc::UnboundedSender<Carried>,
    heard: carry::Heard,
    /// The last event of the stream of attempts.
    last: Option<String>,
}

impl<'a> Listening<'a> {
    fn new(options: &'a Options, session: &'a Session<'a>, to: Url) -> Self {
        let (answers, answered) = unbounded_channel();
        let (webhook, heard) = (options.webhook.clone(), carry::Heard::default());
        Self { options, session, to, carrier: None, webhook, temporary: false, answered, answers, heard, last: None }
    }

    async fn run(&mut self) -> Ended {
        let mut again = AGAIN.0;
        // Until when the first connection is tried, once it was refused in a way that may pass; and whether that was said.
        let mut until = (None, false);
        let mut patience = Patience::new();
        loop {
            match self.connect().await {
                Ok(streams) => {
                    again = AGAIN.0;
                    self.follow(streams).await;
                    if self.session.console.closed() {
                        return Ok(Exit::Ok);
                    }
                }
                Err(stop) if self.carrier.is_none() && self.may_pass(&stop, &mut until) => {
                    tokio::time::sleep(Duration::from_secs(again)).await;
                    again = (again * 2).min(FIRST_AGAIN_MAX);
                    continue;
                }
                // A server that is not there yet may be started after this, as with `tail`.
                Err(stop) if self.carrier.is_none() => {
                    if let Some(away) = patience.after(self.why(stop))? {
                        away.say(self.session.console);
                    }
                    patience.wait().await;
                    continue;
                }
                Err(stop) if !(stop.exit.may_pass() || is_elsewhere(&stop)) => return Err(self.why(stop)),
                Err(_) => {}
            }
            let console = self.session.console;
            if console.json() {
                console.value(&json!({"type": "reconnecting", "after_s": again}));
            }
            console.talk(&format!("The connection is lost: reconnecting ({again} s)…"));
            tokio::time::sleep(Duration::from_secs(again)).await;
            again = (again * 2).min(AGAIN.1);
        }
    }

    /// Whether a first connection that was refused is to be tried again: the node that the webhook was at may have died, and another
    /// takes its place when its lease ends. Says so once; not at once, since a node that has just started takes its shards within a moment.
    fn may_pass(&self, stop: &Stop, (until, said): &mut (Option<Instant>, bool)) -> bool {
        let (true, Some(wait)) = (is_elsewhere(stop), stop.retry_after) else { return false };
        if until.is_some() && !std::mem::replace(said, true) {
            let (console, seconds) = (self.session.console, wait.as_secs());
            if console.json() {
                console.value(&json!({"type": "waiting", "for_s": seconds}));
            }
            console.talk(&format!(
                "Another node sends these requests, or did until it died: trying for {seconds} s, until this one may have taken its place…"
            ));
        }
        Instant::now() < *until.get_or_insert_with(|| Instant::now() + wait)
    }

    /// Opens both streams, and says so.
    async fn connect(&mut self) -> Result<Streams, Stop> {
        let session = self.session;
        let open = path(&["accounts", &session.account, "listen"]);
        let wanted = match &self.webhook {
            Some(id) => json!({"webhook": id}),
            None => {
                let name = format!("listen {}", self.to);
                json!({"events": self.options.events, "name": name, "keep": self.options.keep})
            }
        };
        let mut requests = session.client.stream(Method::POST, &open, Sending::json(&wanted)).await?;
        let webhook = greeting(&mut requests).await?;
        let id = text(&webhook, "id").to_owned();
        self.temporary = webhook["temporary"] == true;
        self.webhook = Some(id.clone());
        let attempts = tail::path(&session.account, Some(&id));
        let attempts = session.client.stream(Method::GET, &attempts, follow::resume(self.last.as_deref())).await?;
        self.greet(&webhook);
        if self.carrier.is_none() {
            self.carrier = Some(Carrier::new(session, &id, self.to.clone(), self.answers.clone()));
        }
        Ok(Streams { requests, attempts })
    }

    fn greet(&self, webhook: &Value) {
        let console = self.session.console;
        if console.json() {
            console.value(&json!({"type": "connected", "webhook": webhook}));
            return;
        }
        if self.carrier.is_some() {
            console.talk("Connected again.");
            return;
        }
        let (id, secret) = (text(webhook, "id"), text(webhook, "secret"));
        if self.options.print_secret {
            console.line(secret);
        }
        console.talk(&match (self.temporary, secret.is_empty()) {
            (true, _) => format!("Temporary webhook {id} (removed when you stop; --keep keeps it)"),
            (false, false) => format!("Webhook {id} (kept when you stop)"),
            (false, true) => format!("Webhook {id} again: what it held comes first"),
        });
        if !secret.is_empty() {
            console.talk(&format!("Signing secret  {secret}     (also: --print-secret)"));
        }
        console.talk("Connecting… connected. Waiting for events.");
    }

    /// Carries requests and tells attempts until one of the streams ends, or nobody reads what is told.
    async fn follow(&mut self, mut streams: Streams) {
        while !self.session.console.closed() {
            let Some(carrier) = &self.carrier else { return };
            tokio::select! {
                request = streams.requests.next() => match request {
                    Some(event) if event.name == "request" => carrier.carry(&event.data),
                    Some(_) => {}
                    None => return,
                },
                Some(answer) = self.answered.recv() => self.heard.remember(answer),
                attempt = streams.attempts.next() => match attempt {
                    Some(event) => self.told(event),
                    None => return,
                },
            }
        }
    }

    /// An event of the stream of attempts.
    fn told(&mut self, event: Event) {
        let Some(carrier) = &self.carrier else { return };
        // Answers may wait that are older than the news of them.
        while let Ok(answer) = self.answered.try_recv() {
            self.heard.remember(answer);
        }
        match event.name.as_str() {
            "attempt" => say(&event.data, &mut self.heard, carrier, self.session),
            "reset" if !self.heard.is_empty() => {
                self.session.console.talk("Some attempts were not told: `posthaste deliveries list` has them.");
            }
            _ => {}
        }
        self.last = event.id.or(self.last.take());
    }

    /// Why it ends, once it had begun.
    fn why(&self, stop: Stop) -> Stop {
        if self.carrier.is_some() && stop.exit == Exit::NotFound {
            let said = "Start again: the webhook is gone. Nobody has listened for a minute, or somebody has deleted it. \
                        One that is made with --keep stays.";
            return Stop { said: said.to_owned(), ..stop };
        }
        match &self.webhook {
            Some(id) if has_no_webhook(&stop) => {
                let account = &self.session.account;
                let said = format!(
                    "There is no webhook {id} in account {account}, or no longer: leave --webhook out to make one, with --keep one that stays."
                );
                Stop { said, ..stop }
            }
            Some(_) | None => stop,
        }
    }

    /// Takes a temporary webhook away; says how to go on with one that is kept.
    async fn goodbye(&self) {
        let (Some(id), Some(_)) = (&self.webhook, &self.carrier) else { return };
        if !self.temporary {
            let (to, said) = (&self.to, "is kept. What it gets is held until");
            self.session.console.talk(&format!("Webhook {id} {said}: posthaste listen {to} --webhook {id}"));
            return;
        }
        let webhook = path(&["accounts", &self.session.account, "webhooks", id]);
        let deleting = self.session.client.send(Method::DELETE, &webhook, Sending::default());
        if !matches!(tokio::time::timeout(GOODBYE_WITHIN, deleting).await, Ok(Ok(_))) {
            tracing::debug!(webhook = id, "the server takes the webhook away by itself");
        }
    }
}

/// Whether a webhook was asked for that is not there; an account that is not there has words of its own.
fn has_no_webhook(stop: &Stop) -> bool {
    stop.problem.as_ref().is_some_and(|problem| problem["code"] == "not_found")
}

/// Whether another node sends this webhook's requests, as far as the one that was asked knows. A node that died holds what it held for
/// some seconds, and one that has just come takes more.
fn is_elsewhere(stop: &Stop) -> bool {
    stop.problem.as_ref().is_some_and(|problem| problem["code"] == "carried_elsewhere")
}

async fn greeting(requests: &mut Events) -> Result<Value, Stop> {
    let lost = || Stop::new(Exit::Unreachable, "Try again: the connection was lost.");
    let first = requests.next().await.filter(|event| event.name == "webhook").ok_or_else(lost)?;
    serde_json::from_str(&first.data).map_err(|_| lost())
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
