//! `posthaste trigger`: a sample event to one webhook, through the real pipeline.

use clap::Args;

use crate::cli::Session;
use crate::client::known::Server;
use crate::commands::send::data;
use crate::commands::webhooks;
use crate::exit::{Ended, Exit, Stop};
use crate::output::value::text;

/// What to send, and where.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The event's type, such as alert.domain_matched
    event: String,
    /// The webhook, by id or name; may be left out where there is only one
    #[arg(long, value_name = "WEBHOOK")]
    webhook: Option<String>,
    /// What to send instead of the type's example: JSON, @FILE, or - for stdin
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// Sends it, and shows the attempt.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    let id = match &options.webhook {
        Some(named) => webhooks::find(session, named).await?,
        None => the_only_one(session).await?,
    };
    let data = options.data.as_deref().map(data::read).transpose()?;
    let data = data.as_deref().map(data::json).transpose()?;
    webhooks::test(session, &id, &options.event, data).await
}

async fn the_only_one(session: &Session<'_>) -> Result<String, Stop> {
    match &webhooks::all(session).await?[..] {
        [one] => Ok(text(one, "id").to_owned()),
        [] => Err(Stop::new(Exit::NotFound, "Make a webhook first: `posthaste webhooks create NAME URL`.")),
        several => {
            let names: Vec<&str> = several.iter().map(|webhook| text(webhook, "name")).collect();
            Err(Stop::usage(format!("Say which webhook, by --webhook: {}.", names.join(", "))))
        }
    }
}
