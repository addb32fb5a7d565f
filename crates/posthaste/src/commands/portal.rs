//! `posthaste portal`: a link and a token with which a customer looks after one account.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::Session;
use crate::client::known::Server;
use crate::client::path::path;
use crate::exit::{Ended, Exit};
use crate::output::value::{instant, text};

/// What the customer may do, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// manage, or read to look only
    #[arg(long, value_name = "ACCESS", default_value = "manage")]
    access: String,
    /// For how long, 1m to 24h
    #[arg(long, value_name = "SPAN", default_value = "1h")]
    ttl: String,
    /// Who it is for, as the audit log will say
    #[arg(long, value_name = "NAME", default_value = "portal")]
    name: String,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// Makes a portal session of the account.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    let console = session.console;
    let wanted = json!({"access": options.access, "ttl": options.ttl, "name": options.name});
    let answer = session.client.post(&path(&["accounts", &session.account, "portal-sessions"]), &wanted).await?;
    if console.json() {
        console.line(&answer.text());
        return Ok(Exit::Ok);
    }
    let made: Value = answer.value()?;
    console.line(&format!("Link   {}", text(&made, "url")));
    console.line(&format!("Token  {}", text(&made, "token")));
    console.line(&format!("Frame  {}", text(&made, "frame_url")));
    let (link, token) = (instant(&made, "url_expires_at"), instant(&made, "expires_at"));
    console
        .talk(&format!("The link signs one browser in, once, until {link}. The token is for a frame, until {token}."));
    Ok(Exit::Ok)
}
