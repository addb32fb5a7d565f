//! `posthaste migrate`: everything that an embedded store keeps, carried into PostgreSQL.

use std::path::{Path, PathBuf};

use clap::Args;
use domain::time::Clock;
use domain::vault::Vault;
use serde_json::json;
use store::moving::{self, MoveError, Moved, Parts, Step};
use store::postgres::{self, Address};
use store::sqlite;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::clock::SystemClock;
use crate::commands::progress::Progress;
use crate::exit::{Ended, Exit, Stop};
use crate::output::Console;
use crate::settings::source::{Environment, Origin};
use crate::settings::{self, BadSetting, Mode, Typed};
use crate::{chance, embedded, encryption_key};

/// What is moved, and where to.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where the embedded store keeps everything: it may not be served meanwhile, and is not served any more after it
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The database: empty, or with what an earlier run has carried [default: as `posthaste serve` finds it]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Give a move up that is not finished: take out of the database what it has carried; nothing else is touched
    #[arg(long)]
    abandon: bool,
    /// The settings file [default: posthaste.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Moves a store, or goes on with it.
pub(crate) async fn run(options: Options, console: &Console, environment: &Environment) -> Ended {
    let Options { from, to, abandon, config } = options;
    let mut typed = Typed { config, ..Typed::default() };
    typed.texts.extend(to.map(|url| ("database", vec![url])));
    let settings = settings::resolve(&typed, environment, Mode::Serve).map_err(as_typed)?;
    let to = settings.database.clone().ok_or_else(|| {
        BadSetting::new("database", "say which database everything goes into: --to postgres://user@host/database")
    })?;
    embedded::must_be_ours(&from).map_err(as_typed)?;
    let key = encryption_key::existing(&settings, &from).map_err(as_typed)?.key;
    if abandon {
        return give_up(&from, &to, &key, console).await;
    }
    let (steps, mut told) = mpsc::unbounded_channel();
    let work = {
        let (from, to) = (from.clone(), to.clone());
        // It reads the store on this thread, and waits for the database on the others.
        tokio::task::spawn_blocking(move || {
            let parts = parts(&from, &to, &key);
            let step = |step| {
                // Nobody looks any more once Ctrl-C was pressed.
                let _ = steps.send(step);
            };
            Handle::current().block_on(moving::run(parts, step))
        })
    };
    let progress = Progress::new(console);
    let mut step = None;
    while let Some(next) = told.recv().await {
        show(console, &progress, step, next);
        step = Some(next);
    }
    progress.end();
    let moved = work.await.map_err(|error| Stop::failure(error.to_string()))?;
    let moved = moved.map_err(|error| refused(Run::Move, &to, &error))?;
    if console.json() {
        console.value(&as_json(&from, &to, &moved));
    } else {
        say(console, &moved);
        console.talk(&format!(
            "Serve it: posthaste serve --database …, with the encryption key that {} was served with, given to every node.",
            from.display()
        ));
    }
    Ok(Exit::Ok)
}

fn parts<'a>(from: &'a Path, to: &'a Address, key: &[u8; 32]) -> Parts<'a> {
    Parts {
        from,
        to,
        vault: Vault::new(key),
        chance: Box::new(chance::fill),
        now: SystemClock.now(),
        rows_at_once: moving::ROWS_AT_ONCE,
    }
}

/// Gives a move up that is not finished.
async fn give_up(from: &Path, to: &Address, key: &[u8; 32], console: &Console) -> Ended {
    let work = {
        let (from, to, key) = (from.to_owned(), to.clone(), Zeroizing::new(*key));
        tokio::task::spawn_blocking(move || Handle::current().block_on(moving::abandon(parts(&from, &to, &key))))
    };
    let given_up = work.await.map_err(|error| Stop::failure(error.to_string()))?;
    let rows = given_up.map_err(|error| refused(Run::Abandon, to, &error))?;
    let (from, host) = (from.display().to_string(), to.hosts());
    if console.json() {
        console.value(&json!({"from": from, "to": host, "abandoned": true, "rows": rows}));
    } else {
        console.line(&format!(
            "✓ Given up: the {rows} rows that had gone over were taken out of the database again, with their tables."
        ));
        console.talk(&format!("Serve the directory as before: posthaste serve --data {from}"));
    }
    Ok(Exit::Ok)
}

/// A bad setting by the options that this command has for the two places.
fn as_typed(bad: BadSetting) -> BadSetting {
    let origin = match (&*bad.name, bad.origin) {
        ("database", Some(Origin::Flag(_))) => Some(Origin::Flag("to")),
        ("data", None) => Some(Origin::Flag("from")),
        (_, origin) => origin,
    };
    BadSetting { origin, ..bad }
}

fn show(console: &Console, progress: &Progress, before: Option<Step>, step: Step) {
    match step {
        Step::Checking => {
            progress.start("checking the store");
            say_aside(console, progress, "checking the store");
        }
        Step::Carried(done, all) => {
            if !matches!(before, Some(Step::Carried(..) | Step::Kind(..))) {
                progress.start("carrying rows over");
            }
            progress.at(done, all);
        }
        Step::Kind(_, 0) => {}
        Step::Kind(kind, rows) => say_aside(console, progress, &format!("carried over: {kind} ({rows})")),
        Step::Compared(done, all) => {
            if !matches!(before, Some(Step::Compared(..))) {
                progress.start("comparing");
                say_aside(console, progress, "comparing both sides");
            }
            progress.at(done, all);
        }
    }
}

/// A line beside the result, above the bar where there is one.
fn say_aside(console: &Console, progress: &Progress, text: &str) {
    if !progress.line(text) {
        console.talk(text);
    }
}

fn as_json(from: &std::path::Path, to: &Address, moved: &Moved) -> serde_json::Value {
    let rows = moved.rows.iter().map(|(table, rows)| ((*table).to_owned(), json!(rows)));
    json!({
        "from": from.display().to_string(),
        "to": to.hosts(),
        "resumed": moved.resumed,
        "already": moved.already,
        "compared": !moved.already,
        "rows": serde_json::Value::from_iter(rows),
        "left_out": {"accounts_being_erased": moved.left_out},
    })
}

fn say(console: &Console, moved: &Moved) {
    let of = |table: &str| moved.rows.iter().find(|(name, _)| *name == table).map_or(0, |(_, rows)| *rows);
    let (accounts, webhooks, keys, events) = (of("accounts"), of("webhooks"), of("keys"), of("events"));
    let (ended, waiting, attempts) = (of("deliveries"), of("hot"), of("attempts"));
    let what = format!(
        "{accounts} accounts, {webhooks} webhooks, {keys} keys, {events} events; {ended} deliveries have ended, {waiting} \
         wait; {attempts} attempts beside them"
    );
    if moved.already {
        console.line(&format!("✓ It was moved already: {what}."));
    } else {
        console.line(&format!("✓ Moved, and every row compared: {what}."));
    }
    if moved.left_out > 0 {
        console.talk(&format!("Not carried over: {} closed accounts, which were being erased.", moved.left_out));
    }
}

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    Move,
    Abandon,
}

/// Why nothing was moved or given up, or not to its end, and the way out of that.
fn refused(run: Run, to: &Address, error: &MoveError) -> Stop {
    let host = to.hosts();
    // What was begun goes on; but what would be refused again is to be mended first.
    let again = match run {
        Run::Move => "Then run it again: it goes on where it was",
        Run::Abandon => "Then run it again",
    };
    match error {
        MoveError::From(sqlite::OpenError::OtherKey(_)) => BadSetting::new("encryption-key", error.to_string()).into(),
        MoveError::To(postgres::OpenError::OtherKey) => {
            BadSetting::new("encryption-key", format!("{host}: {error}")).into()
        }
        MoveError::From(sqlite::OpenError::Locked(_)) => {
            Stop::new(Exit::Refused, format!("{error}: stop the server first."))
        }
        MoveError::From(_) => Stop::failure(format!("{error}.")),
        MoveError::MovedElsewhere { .. } => Stop::new(Exit::Refused, format!("{error}.")),
        MoveError::NotEmpty | MoveError::Busy | MoveError::NotUnderWay => {
            Stop::new(Exit::Refused, format!("{host}: {error}."))
        }
        MoveError::OtherMove { may_be_abandoned } => {
            let mend = match (run, may_be_abandoned) {
                (Run::Abandon, _) => "nothing was taken out of it. Where nobody needs it any more, drop it by hand",
                (Run::Move, false) => "name an empty database",
                (Run::Move, true) => {
                    "name an empty database, or, where it was this directory's, empty this one: the same command with --abandon"
                }
            };
            Stop::new(Exit::Refused, format!("{host}: {error}: {mend}."))
        }
        MoveError::Unreachable(_) => Stop::new(
            Exit::Unreachable,
            format!(
                "{host}: {error}. See that it runs, and that the address is right, with what it says of TLS. {again}."
            ),
        ),
        MoveError::To(postgres::OpenError::NoDatabase(what)) if run == Run::Abandon => {
            Stop::failure(format!("{host}: {what}: name the one that the move goes into."))
        }
        MoveError::To(postgres::OpenError::Foreign(_)) if run == Run::Abandon => {
            Stop::new(Exit::Refused, format!("{host}: {}.", MoveError::NotUnderWay))
        }
        // It says itself what is to be changed: run again before that, it would be refused again.
        MoveError::To(
            postgres::OpenError::OldServer(_)
            | postgres::OpenError::Encoding(_)
            | postgres::OpenError::ReadOnly
            | postgres::OpenError::NotPermitted(_)
            | postgres::OpenError::NotOwned { .. }
            | postgres::OpenError::Elsewhere { .. }
            | postgres::OpenError::NoDatabase(_)
            | postgres::OpenError::NotLetIn(_)
            | postgres::OpenError::NoTls(_)
            | postgres::OpenError::Foreign(_)
            | postgres::OpenError::Newer { .. }
            | postgres::OpenError::Served { .. }
            | postgres::OpenError::Unfinished,
        ) => Stop::failure(format!("{host}: {error}.")),
        MoveError::To(postgres::OpenError::Damaged(_)) => Stop::failure(format!(
            "{host}: {error}. The directory lacks nothing: move it into another, empty database."
        )),
        MoveError::To(postgres::OpenError::Unusable(_)) => {
            Stop::failure(format!("{host}: {error}. Mend what it names there. {again}."))
        }
        MoveError::Differs { .. } => {
            let mend = "Take out what was carried, by the same command with --abandon, and move it again";
            Stop::failure(format!("{host}: {error}: somebody has written to the database. {mend}."))
        }
    }
}
