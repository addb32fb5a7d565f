//! `posthaste event-types`: the catalogue.

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::cli::Session;
use crate::client::known::Server;
use crate::client::list::{self, Paging};
use crate::client::path::path;
use crate::exit::{Ended, Exit};
use crate::output::table::Table;
use crate::output::value::text;
use crate::output::visible;

/// What to show of the catalogue.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every type of event
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// One type: description, schema, example
    Show {
        /// Its name, such as alert.domain_matched
        name: String,
    },
}

/// Lists or shows types.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    let Session { console, client, .. } = session;
    match &options.what {
        What::List { paging } => {
            let types = list::fetch(client, &["event-types"], Vec::new(), paging).await?;
            types.show(console, table, "There are no event types.");
        }
        What::Show { name } => {
            let answer = client.get(&path(&["event-types", name])).await?;
            if console.json() {
                console.line(&answer.text());
            } else {
                let found = answer.value()?;
                console.line(&format!("{}  {}", visible(text(&found, "name")), visible(text(&found, "description"))));
                console.line(&format!("\nExample\n{:#}", found["example"]));
                console.line(&format!("\nSchema of data\n{:#}", found["schema"]));
                console.talk(&format!("\nSend one: posthaste send {name}"));
            }
        }
    }
    Ok(Exit::Ok)
}

fn table(types: &[Value]) -> Table {
    let mut table = Table::new(&["EVENT", "TRIGGER"]);
    for each in types {
        table.row(vec![text(each, "name").into(), text(each, "description").into()]);
    }
    table
}
