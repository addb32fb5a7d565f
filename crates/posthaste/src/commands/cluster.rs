//! `posthaste cluster`: the nodes that share the work.

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::cli::Session;
use crate::client::known::Server;
use crate::client::path::path;
use crate::exit::{Ended, Exit};
use crate::output::Tone;
use crate::output::table::{Cell, Table};
use crate::output::value::text;

/// What to show of the nodes.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every node with its shards, and how far behind sending is
    Status,
}

/// Shows the nodes; fails if a shard is nobody's.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    let Session { console, client, .. } = session;
    let What::Status = options.what;
    let answer = client.get(&path(&["cluster"])).await?;
    let found = answer.value()?;
    let free = found["free"].as_u64().unwrap_or_default();
    let end = if free == 0 { Exit::Ok } else { Exit::Failure };
    if console.json() {
        console.line(&answer.text());
        return Ok(end);
    }
    if found["shared"] == false {
        console.line("one process does all the work: the store is embedded");
    } else {
        table(found["nodes"].as_array().map(Vec::as_slice).unwrap_or_default()).print(console, "There is no node.");
        console.line(&format!("\n{} shards, {free} of them nobody's", found["shards"]));
    }
    match found["oldest_due"].as_str() {
        Some(at) => {
            let lag = found["lag_seconds"].as_f64().unwrap_or_default();
            console.line(&format!("the oldest delivery that is due was due at {at}, {lag:.1} s ago"));
        }
        None => console.line("nothing is overdue"),
    }
    Ok(end)
}

fn table(nodes: &[Value]) -> Table {
    let mut table =
        Table::new(&["NODE", "STATE", "SHARDS", "IN FLIGHT", "IN MEMORY", "OLDEST DUE", "VERSION", "SINCE"]);
    for node in nodes {
        let here = if node["here"] == true { " (here)" } else { "" };
        let status = text(node, "status");
        let is_gone = status == "gone";
        let state = match status {
            "live" => Cell::toned(Tone::Ok, status),
            "gone" => Cell::toned(Tone::Bad, format!("gone, heard {}", text(node, "heard"))),
            _ => Cell::toned(Tone::Quiet, status),
        };
        let figure = |name: &str| if is_gone { "—".to_owned() } else { node[name].to_string() };
        table.row(vec![
            format!("{}{here}", text(node, "name")).into(),
            state,
            figure("shards").into(),
            figure("in_flight").into(),
            figure("known").into(),
            node["oldest_due"].as_str().unwrap_or("—").into(),
            text(node, "version").into(),
            text(node, "since").into(),
        ]);
    }
    table
}
