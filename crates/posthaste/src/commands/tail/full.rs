//! The loop of the full screen: news, keys and answers, each drawn at once.

use crossterm::event::Event;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::mpsc;

use super::filter::Filter;
use super::follow::{self, News};
use super::terminal::Terminal;
use super::view::{Action, Link, View};
use super::{curl, draw};
use crate::cli::Session;
use crate::client::Client;
use crate::client::path::path;
use crate::client::patience::Away;
use crate::exit::{Ended, Exit, Stop};
use crate::output::value::text;
use crate::signals::Signals;

/// What a request came to.
enum Done {
    /// A delivery was fetched, to look into it.
    Fetched(Box<Value>),
    /// It is sent again.
    Replayed(String),
    /// A request, as a command to copy.
    Curl(String),
    /// Said to whoever sits there.
    Said(String),
}

/// Shows the screen until somebody quits.
pub(super) async fn run(session: &Session<'_>, filter: Filter, mut news: follow::Receiver) -> Ended {
    let unusable = |error: std::io::Error| Stop::failure(format!("The terminal cannot be used: {error}."));
    let mut signals = Signals::listen().map_err(unusable)?;
    let terminal = Terminal::take().map_err(unusable)?;
    let mut keys = terminal.events();
    let (tell, mut done) = mpsc::unbounded_channel();
    let asking = Asking { client: session.client.clone(), account: session.account.clone(), tell };
    let mut view = View::default();
    loop {
        let lines = draw::draw(&view, &session.account, &filter.said, terminal.size());
        let lines: Vec<String> = lines.iter().map(|(tone, line)| session.console.tone(*tone, line)).collect();
        terminal.show(&lines).map_err(unusable)?;
        tokio::select! {
            () = signals.next() => return Ok(Exit::Interrupted),
            told = news.recv() => match told {
                Some(told) => tell_view(&mut view, &filter, told?, &asking),
                None => return Ok(Exit::Ok),
            },
            Some(done) = done.recv() => match done {
                Done::Fetched(delivery) => view.detail = Some(*delivery),
                Done::Replayed(id) => view.note = format!("{id} is sent again."),
                Done::Curl(command) => {
                    terminal.copy(&command).map_err(unusable)?;
                    "The request is on the clipboard, as a command for curl.".clone_into(&mut view.note);
                }
                Done::Said(said) => view.note = said,
            },
            event = keys.recv() => match event {
                Some(Event::Key(key)) => match view.key(key) {
                    Action::Draw => {}
                    Action::Quit => return Ok(Exit::Ok),
                    Action::Interrupt => return Ok(Exit::Interrupted),
                    Action::Open(delivery) => asking.fetch(delivery, |delivery| Done::Fetched(Box::new(delivery))),
                    Action::Replay(delivery) => asking.replay(delivery),
                    Action::Copy(delivery, attempt) => asking.fetch(delivery, move |delivery| of_attempt(&delivery, &attempt)),
                    Action::Browse(delivery) => asking.browse(&delivery),
                },
                // Drawn again at its new size.
                Some(_) => {}
                None => return Ok(Exit::Ok),
            },
        }
    }
}

fn tell_view(view: &mut View, filter: &Filter, told: News, asking: &Asking) {
    match told {
        News::Connected { again } => {
            view.link = Link::Live;
            if !again {
                view.note.clear();
            }
        }
        News::Away(Away::Lost) => view.link = Link::Lost,
        News::Away(Away::NotYet(stop)) => {
            stop.said.lines().next().unwrap_or_default().clone_into(&mut view.note);
        }
        News::Missed => "Some attempts were missed: `posthaste deliveries list` has them.".clone_into(&mut view.note),
        News::Attempt(data) => {
            let Ok(attempt) = serde_json::from_str::<Value>(&data) else { return };
            // What is looked into has changed.
            let looked_into = view.detail.as_ref().map(|delivery| text(delivery, "id").to_owned());
            if looked_into.as_deref() == Some(text(&attempt, "delivery_id")) {
                asking.fetch(looked_into.unwrap_or_default(), |delivery| Done::Fetched(Box::new(delivery)));
            }
            if filter.wants(&attempt) {
                view.push(attempt);
            }
        }
    }
}

/// The command for the attempt's request.
fn of_attempt(delivery: &Value, attempt: &str) -> Done {
    let found = delivery["attempts"].as_array().into_iter().flatten().find(|found| text(found, "id") == attempt);
    match found {
        Some(attempt) => Done::Curl(curl::command(&attempt["request"])),
        None => Done::Said("The log no longer has this attempt.".to_owned()),
    }
}

/// Asks the server beside the screen, which goes on meanwhile.
struct Asking {
    client: Client,
    account: String,
    tell: mpsc::UnboundedSender<Done>,
}

impl Asking {
    fn path(&self, delivery: &str, rest: &[&str]) -> String {
        path(&[&["accounts", &self.account, "deliveries", delivery], rest].concat())
    }

    fn start(&self, asked: impl Future<Output = Result<Done, Stop>> + Send + 'static) {
        let tell = self.tell.clone();
        tokio::spawn(async move {
            let done =
                asked.await.unwrap_or_else(|stop| Done::Said(stop.said.lines().next().unwrap_or_default().to_owned()));
            // The screen may have gone.
            let _gone = tell.send(done);
        });
    }

    fn fetch(&self, delivery: String, then: impl FnOnce(Value) -> Done + Send + 'static) {
        let (client, path) = (self.client.clone(), self.path(&delivery, &[]));
        self.start(async move { Ok(then(client.get(&path).await?.value()?)) });
    }

    fn replay(&self, delivery: String) {
        let (client, path) = (self.client.clone(), self.path(&delivery, &["replay"]));
        self.start(async move { client.post(&path, &json!({})).await.map(|_| Done::Replayed(delivery)) });
    }

    fn browse(&self, delivery: &str) {
        let address = self.client.address(&format!("/accounts/{}/deliveries/{delivery}", self.account));
        self.start(async move {
            let opened = Command::new(opener())
                .arg(&address)
                .stdin(std::process::Stdio::null())
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status()
                .await;
            let opened = opened.is_ok_and(|status| status.success());
            Ok(Done::Said(if opened { format!("Opened {address}") } else { format!("Open {address} in a browser.") }))
        });
    }
}

/// What opens an address on this machine.
const fn opener() -> &'static str {
    if cfg!(target_os = "macos") { "open" } else { "xdg-open" }
}
