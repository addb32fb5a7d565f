//! `posthaste config show`: every setting, with its value and where it came from.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::encryption_key;
use crate::exit::{Ended, Exit};
use crate::keeping::Place;
use crate::output::table::{Cell, Table};
use crate::output::{Console, Tone};
use crate::settings::resolved::Shown;
use crate::settings::source::{Environment, Origin};
use crate::settings::{self, Mode, Typed};

/// What to do with the settings.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every setting, its value (secrets masked) and where it came from
    Show {
        /// As `posthaste dev` has them
        #[arg(long)]
        dev: bool,
        #[command(flatten)]
        typed: Box<Typed>,
    },
}

/// Prints the settings.
pub(crate) fn run(options: &Options, console: &Console, environment: &Environment) -> Ended {
    let What::Show { dev, typed } = &options.what;
    let mode = if *dev { Mode::Dev } else { Mode::Serve };
    let settings = settings::resolve(typed, environment, mode)?;
    // Where the settings name no one place, the key lies in none.
    let place = Place::of(&settings, mode).ok().flatten();
    let rows = encryption_key::shown(&settings, place.as_ref().and_then(Place::directory));
    if console.json() {
        console.value(&rows.iter().map(as_json).collect());
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["SETTING", "VALUE", "FROM"]);
    for shown in &rows {
        let tone = if shown.origin == Origin::Default { Tone::Quiet } else { Tone::Plain };
        let value = if shown.value.is_empty() { "–" } else { &shown.value };
        table.row(vec![shown.name.into(), Cell::toned(tone, value), Cell::toned(tone, shown.origin.to_string())]);
    }
    table.print(console, "");
    Ok(Exit::Ok)
}

fn as_json(shown: &Shown) -> serde_json::Value {
    let value = if shown.value.is_empty() { serde_json::Value::Null } else { shown.value.clone().into() };
    json!({"name": shown.name, "value": value, "origin": shown.origin.to_string()})
}
