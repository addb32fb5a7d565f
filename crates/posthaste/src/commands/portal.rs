//! `posthaste portal`: a link and a token with which a customer looks after one account.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use crate::cli::Session;
use crate::client::Sending;
use crate::client::known::Server;
use crate::client::list::{self, Paging};
use crate::client::path::path;
use crate::exit::{Ended, Exit};
use crate::output::table::Table;
use crate::output::value::{instant, text};

/// What the customer may do, and for how long; or which portals are open.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<What>,
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

#[derive(Debug, Subcommand)]
enum What {
    /// The portal sessions that have not ended
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// End one at once
    End {
        /// Its id, such as ses_01k9x5m2q7a3b4c5d6e7
        id: String,
    },
}

/// Makes, lists or ends portal sessions of the account.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    match &options.what {
        None => make(options, session).await,
        Some(What::List { paging }) => {
            let parts = ["accounts", &session.account, "portal-sessions"];
            let open = list::fetch(&session.client, &parts, Vec::new(), paging).await?;
            open.show(session.console, table, "No portal of this account is open.");
            Ok(Exit::Ok)
        }
        Some(What::End { id }) => {
            let at = path(&["accounts", &session.account, "portal-sessions", id]);
            session.client.send(Method::DELETE, &at, Sending::default()).await?;
            if session.console.json() {
                session.console.line(&json!({"ended": id}).to_string());
            }
            session.console.talk(&format!("{id} has ended: whoever used it is signed out."));
            Ok(Exit::Ok)
        }
    }
}

fn table(sessions: &[Value]) -> Table {
    let mut table = Table::new(&["ID", "KIND", "WHO", "MAY", "MADE", "ENDS"]);
    for one in sessions {
        let cells = ["id", "kind", "name", "access"].map(|name| text(one, name).to_owned());
        let instants = ["created_at", "expires_at"].map(|name| instant(one, name));
        table.row(cells.into_iter().chain(instants).map(Into::into).collect());
    }
    table
}

async fn make(options: &Options, session: &Session<'_>) -> Ended {
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
    let frame = made["frame_url"].as_str();
    console.line(&format!(
        "Frame  {}",
        frame.unwrap_or("none: no page may show it until --portal-origin names that page's origin")
    ));
    let (link, token) = (instant(&made, "url_expires_at"), instant(&made, "expires_at"));
    console
        .talk(&format!("The link signs one browser in, once, until {link}. The token is for a frame, until {token}."));
    Ok(Exit::Ok)
}
