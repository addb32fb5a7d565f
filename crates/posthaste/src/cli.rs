//! The command line: what can be typed, and which file carries it out.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::bench;
use crate::client::Client;
use crate::client::known::{self, Server};
use crate::commands;
use crate::commands as c;
use crate::exit::{Ended, Exit, Stop};
use crate::output::Console;
use crate::settings::source::Environment;

/// Webhook delivery: accept events, sign them, send them, retry them, show what happened.
#[derive(Debug, Parser)]
#[command(name = "posthaste", version, about, max_term_width = 110, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Results as JSON: one document, or one line for each event of a stream
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands, in the order of the help.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything in one process, for trying it out: server, dispatcher, inbox, samples
    Dev(c::dev::Options),
    /// The server, for production
    Serve(c::serve::Options),
    /// What talks to a server
    #[command(flatten)]
    Client(Box<ClientCommand>),
    /// A copy of the embedded store, while it is served or not; or check one
    Backup(c::backup::Options),
    /// A data directory out of a backup
    Restore(c::backup::RestoreOptions),
    /// Everything that an embedded store keeps, carried into PostgreSQL; run again, it goes on
    Migrate(c::migrate::Options),
    /// Every setting, with its value and where it came from
    Config(c::config::Options),
    /// Completions for a shell
    Completions(c::completions::Options),
    /// What this build does on this machine
    Bench(bench::Options),
}

/// The commands that talk to a server.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Send an event
    Send(c::send::Options),
    /// Send a sample event to one webhook, and show the attempt
    Trigger(c::trigger::Options),
    /// Bring events to a URL on this machine, through any network
    Listen(c::listen::Options),
    /// A line for each attempt, as they happen
    Tail(c::tail::Options),
    /// Check a signature, explain why it does not fit, or show code that checks it
    Verify(c::verify::Options),
    /// Webhooks: list, create, show, edit, pause, resume, stats, test, secret, rotate, confirm, delete
    Webhooks(c::webhooks::Options),
    /// Events that were accepted
    Events(c::events::Options),
    /// Deliveries: list, export, show, replay, cancel
    Deliveries(c::deliveries::Options),
    /// Send deliveries again: the same bytes, at once, the schedule afresh
    Replay(c::replay::Options),
    /// The types of events that there are
    EventTypes(c::event_types::Options),
    /// A link that signs a browser in to the dashboard, once
    Dashboard(c::dashboard::Options),
    /// A link and a token with which a customer looks after one account
    Portal(c::portal::Options),
    /// API keys
    Keys(c::keys::Options),
    /// Accounts
    Accounts(c::accounts::Options),
    /// What was changed, when and by whom
    Audit(c::audit::Options),
    /// The nodes that share the work: their shards, and how far behind sending is
    Cluster(c::cluster::Options),
    /// What can be found out about this machine and the server
    Doctor(c::doctor::Options),
    /// Whether the server can work, for health checks
    Ready(c::ready::Options),
    /// The API's description, OpenAPI 3.1
    Openapi(c::openapi::Options),
}

/// What a command of the client works with.
pub(crate) struct Session<'a> {
    /// Where its words go.
    pub(crate) console: &'a Console,
    /// The server.
    pub(crate) client: Client,
    /// The account to act for.
    pub(crate) account: String,
    /// The process's variables.
    pub(crate) environment: &'a Environment,
}

/// The arguments as they are meant: `help COMMAND` asks for what `COMMAND --help` does.
pub(crate) fn asked(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = arguments.collect();
    let command = arguments.iter().skip(1).position(|argument| !argument.as_encoded_bytes().starts_with(b"-"));
    if let Some(first) = command.map(|after| after + 1)
        && arguments[first] == "help"
    {
        arguments.remove(first);
        arguments.push("--help".into());
    }
    arguments
}

/// Whether results, and so faults, are wanted as JSON by arguments that could not be understood as a whole.
pub(crate) fn wants_json(arguments: impl Iterator<Item = OsString>) -> bool {
    arguments.take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

/// What is wrong with the arguments, as any other fault is told.
pub(crate) fn misused(error: &clap::Error) -> Stop {
    let said = error.render().to_string();
    let said = said.strip_prefix("error: ").unwrap_or(&said).trim_end();
    Stop::usage(said)
}

/// Carries a command out.
pub(crate) async fn run(command: Command, console: &Console, environment: &Environment) -> Ended {
    match command {
        Command::Dev(options) => commands::dev::run(options, console, environment).await,
        Command::Serve(options) => commands::serve::run(options, console, environment).await,
        Command::Backup(options) => interruptible(commands::backup::run(options, console, environment)).await,
        Command::Restore(options) => interruptible(commands::backup::restore(options, console, environment)).await,
        Command::Migrate(options) => interruptible(commands::migrate::run(options, console, environment)).await,
        Command::Config(options) => commands::config::run(&options, console, environment),
        Command::Completions(options) => commands::completions::run(&options, console),
        Command::Bench(options) => interruptible(bench_run(options, console)).await,
        // It has to take its webhook away before it ends.
        Command::Client(command) if matches!(*command, ClientCommand::Listen(_)) => {
            client_command(*command, console, environment).await
        }
        Command::Client(command) => interruptible(client_command(*command, console, environment)).await,
    }
}

async fn bench_run(options: bench::Options, console: &Console) -> Ended {
    let failed = |bench::Failed(said)| Stop::failure(said);
    match &options.what {
        Some(bench::What::Burst(options)) => return burst(options, console).await,
        Some(bench::What::Soak(options)) => return soak(options, console).await,
        Some(bench::What::Pending(options)) => {
            let report = bench::pending(options).await.map_err(failed)?;
            return measured(&report, &report.lines(), console);
        }
        None => {}
    }
    match &options.database {
        Some(server) => {
            let report = bench::on_database(server, &options, console.json()).await.map_err(failed)?;
            measured(&report, &report.lines(), console)
        }
        None => {
            let report = bench::run(&options, console.json()).await.map_err(failed)?;
            measured(&report, &report.lines(), console)
        }
    }
}

fn measured(report: &impl serde::Serialize, lines: &[String], console: &Console) -> Ended {
    if console.json() {
        console.line(&serde_json::to_string(report).map_err(|error| Stop::failure(error.to_string()))?);
    } else {
        lines.iter().for_each(|line| console.line(line));
    }
    Ok(Exit::Ok)
}

async fn burst(options: &bench::BurstOptions, console: &Console) -> Ended {
    let bursts = bench::burst(options).await.map_err(|bench::Failed(said)| Stop::failure(said))?;
    if console.json() {
        console.line(&serde_json::to_string(&bursts).map_err(|error| Stop::failure(error.to_string()))?);
    } else {
        bursts.print(console);
    }
    Ok(if bursts.is_right() { Exit::Ok } else { Exit::Failure })
}

async fn soak(options: &bench::SoakOptions, console: &Console) -> Ended {
    let report = bench::soak(options, |line| console.talk(line)).await;
    let report = report.map_err(|bench::Failed(said)| Stop::failure(said))?;
    measured(&report, &report.lines(), console)?;
    if report.faults.is_empty() { Ok(Exit::Ok) } else { Err(Stop::failure(report.faults.join("\n"))) }
}

async fn client_command(command: ClientCommand, console: &Console, environment: &Environment) -> Ended {
    let open = |server: &Server| -> Result<Session<'_>, Stop> {
        let client = known::client(server, environment)?;
        let account = known::account(server, environment);
        Ok(Session { console, client, account, environment })
    };
    if let ClientCommand::Keys(options) = &command
        && let Some(rotation) = options.rotation()
    {
        return commands::keys::rotate_encryption(rotation, console, environment).await;
    }
    match command {
        ClientCommand::Send(options) => commands::send::run(&options, &open(&options.server)?).await,
        ClientCommand::Trigger(options) => commands::trigger::run(&options, &open(&options.server)?).await,
        ClientCommand::Listen(options) => commands::listen::run(&options, &open(&options.server)?).await,
        ClientCommand::Tail(options) => commands::tail::run(&options, &open(&options.server)?).await,
        ClientCommand::Verify(options) => commands::verify::run(&options, &open(&options.server)?).await,
        ClientCommand::Webhooks(options) => commands::webhooks::run(&options, &open(&options.server)?).await,
        ClientCommand::Events(options) => commands::events::run(&options, &open(&options.server)?).await,
        ClientCommand::Deliveries(options) => commands::deliveries::run(&options, &open(&options.server)?).await,
        ClientCommand::Replay(options) => commands::replay::run(&options, &open(&options.server)?).await,
        ClientCommand::EventTypes(options) => commands::event_types::run(&options, &open(&options.server)?).await,
        ClientCommand::Dashboard(options) => commands::dashboard::run(&options, &open(&options.server)?).await,
        ClientCommand::Portal(options) => commands::portal::run(&options, &open(&options.server)?).await,
        ClientCommand::Keys(options) => commands::keys::run(&options, &open(&options.server)?).await,
        ClientCommand::Accounts(options) => commands::accounts::run(&options, &open(&options.server)?).await,
        ClientCommand::Audit(options) => commands::audit::run(&options, &open(&options.server)?).await,
        ClientCommand::Cluster(options) => commands::cluster::run(&options, &open(&options.server)?).await,
        ClientCommand::Doctor(options) => commands::doctor::run(&options, &open(&options.server)?).await,
        ClientCommand::Ready(options) => commands::ready::run(&options, &open(&options.server)?).await,
        ClientCommand::Openapi(options) => commands::openapi::run(&options, &open(&options.server)?).await,
    }
}

/// Ctrl-C ends a command of the client at once.
async fn interruptible(command: impl Future<Output = Ended>) -> Ended {
    tokio::select! {
        ended = command => ended,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_faults_are_told_apart_from_help() {
        assert!(Cli::try_parse_from(["posthaste", "nope"]).expect_err("no such command").use_stderr());
        assert!(!Cli::try_parse_from(["posthaste", "--help"]).expect_err("help").use_stderr());
        let parsed =
            Cli::try_parse_from(["posthaste", "deliveries", "list", "status=failed", "event=alert.*", "--json"]);
        assert!(parsed.is_ok_and(|cli| cli.json));
    }

    #[test]
    fn json_is_asked_for_before_the_words_that_are_no_options() {
        let wants = |words: &str| wants_json(words.split(' ').map(OsString::from));
        assert!(wants("posthaste webhooks list --nope --json") && wants("posthaste --json nope"));
        assert!(!wants("posthaste webhooks list --nope") && !wants("posthaste send -- --json"));
    }
}
