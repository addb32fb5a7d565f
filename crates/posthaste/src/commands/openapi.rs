//! `posthaste openapi`: the API's description, as the server gives it.

use clap::Args;

use crate::cli::Session;
use crate::client::known::Server;
use crate::exit::{Ended, Exit};

/// From which server.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) server: Server,
}

/// Prints the document, which is JSON in any case.
pub(crate) async fn run(_options: &Options, session: &Session<'_>) -> Ended {
    session.console.line(&session.client.get("/openapi.json").await?.text());
    Ok(Exit::Ok)
}
