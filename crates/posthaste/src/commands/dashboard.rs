//! `posthaste dashboard`: a link that signs a browser in, once.

use clap::Args;
use http::Method;
use serde_json::Value;

use crate::cli::Session;
use crate::client::known::Server;
use crate::client::path::path;
use crate::client::{Answer, Client, Sending};
use crate::exit::{Ended, Exit, Stop};
use crate::output::value::{instant, text};

/// Who wants to sign in.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) server: Server,
}

/// Prints a link.
pub(crate) async fn run(_options: &Options, session: &Session<'_>) -> Ended {
    let answer = make(&session.client).await?;
    let made: Value = answer.value()?;
    if session.console.json() {
        session.console.line(&answer.text());
    } else {
        session.console.line(text(&made, "url"));
        let until = instant(&made, "expires_at");
        session.console.talk(&format!("It signs in one browser, once, until {until}, with what your key may do."));
    }
    Ok(Exit::Ok)
}

/// A link that signs in once.
///
/// # Errors
/// As [`Client::send`].
pub(crate) async fn link(client: &Client) -> Result<String, Stop> {
    Ok(text(&make(client).await?.value()?, "url").to_owned())
}

async fn make(client: &Client) -> Result<Answer, Stop> {
    client.send(Method::POST, &path(&["sessions", "links"]), Sending::default()).await
}
