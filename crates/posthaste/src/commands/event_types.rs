//! `posthaste event-types`: the catalogue.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cli::Session;
use crate::client::known::Server;
use crate::client::list::{self, Paging};
use crate::client::path::path;
use crate::exit::{Ended, Exit, Stop};
use crate::output::table::Table;
use crate::output::value::{pretty, text};
use crate::output::{visible, visible_lines};

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

/// What is shown as it was written: the order of its fields is the catalogue's.
#[derive(Deserialize)]
struct Shown<'a> {
    #[serde(borrow)]
    example: &'a RawValue,
    #[serde(borrow)]
    schema: &'a RawValue,
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
                let shown = answer.text();
                let shown: Shown<'_> =
                    serde_json::from_str(&shown).map_err(|error| Stop::failure(error.to_string()))?;
                console.line(&format!("\nExample\n{}", visible_lines(&pretty(shown.example.get()))));
                console.line(&format!("\nSchema of data\n{}", visible_lines(&pretty(shown.schema.get()))));
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
