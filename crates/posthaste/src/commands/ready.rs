//! `posthaste ready`: whether a server can work, for health checks of containers and load balancers.

use clap::Args;

use crate::cli::Session;
use crate::client::known::Server;
use crate::exit::{Ended, Exit};

/// Which server to ask.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) server: Server,
}

/// Asks `/readyz`; no key is needed for that.
pub(crate) async fn run(_options: &Options, session: &Session<'_>) -> Ended {
    let answer = session.client.get("/readyz").await?;
    if session.console.json() {
        session.console.line(&answer.text());
    } else {
        session.console.line("ready");
    }
    Ok(Exit::Ok)
}
