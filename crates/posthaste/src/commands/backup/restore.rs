//! `posthaste restore`: a data directory out of a backup, checked before anything is served from it.

use std::path::{Path, PathBuf};

use clap::Args;
use domain::directory::SharedDirectory;
use domain::time::{Clock, Timestamp};
use domain::vault::Vault;
use serde_json::json;
use store::sqlite::{Checked, Engine, Limits, Parts, UNFINISHED};

use super::manifest::Manifest;
use super::{DATABASE, KEY, Place, blocking, failed};
use crate::clock::SystemClock;
use crate::commands::progress::Progress;
use crate::exit::{Ended, Exit, Stop};
use crate::output::Console;
use crate::settings::Settings;
use crate::settings::source::Environment;
use crate::{chance, embedded, encryption_key, private_file};

/// What to restore, and where to.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The backup's directory
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// What was restored.
struct Restored {
    manifest: Manifest,
    /// What the store holds, once it was opened; `None` without its key.
    opened: Option<Checked>,
}

/// Restores a backup into an empty data directory.
pub(crate) async fn run(options: Options, console: &Console, environment: &Environment) -> Ended {
    let (settings, data) = options.place.find(environment)?;
    let progress = Progress::new(console);
    let (from, target) = (options.from.clone(), data.clone());
    let now = SystemClock.now();
    let restored = blocking(move || restore(&from, &target, &settings, now, &progress)).await?;
    let shown = data.display();
    if console.json() {
        let rows = restored.opened.as_ref().map(|checked| {
            let rows = checked.rows.iter().map(|(table, rows)| ((*table).to_owned(), json!(rows)));
            serde_json::Value::from_iter(rows)
        });
        console.value(&json!({"data": shown.to_string(), "manifest": restored.manifest, "opened": rows}));
    } else {
        console.line(&format!("{shown}"));
        console.talk(&format!("✓ Restored: {}.", restored.manifest.summary()));
        console.talk("What was delivered after the backup was made is sent again, under the same ids.");
    }
    if restored.opened.is_none() {
        console.complain(&format!(
            "The encryption key is not in the backup: put it into {shown}/{KEY}, or give POSTHASTE_ENCRYPTION_KEY, before you start."
        ));
    }
    Ok(Exit::Ok)
}

fn restore(
    from: &Path,
    data: &Path,
    settings: &Settings,
    now: Timestamp,
    progress: &Progress,
) -> Result<Restored, Stop> {
    embedded::may_be_there(data)?;
    must_be_empty(data)?;
    let manifest = super::verify(from, progress)?;
    embedded::make(data)?;
    progress.start("copying");
    if manifest.has_key() && !data.join(KEY).exists() {
        let text = std::fs::read(from.join(KEY)).map_err(|error| failed(from, &error))?;
        private_file::create(&data.join(KEY), &text).map_err(|error| failed(data, &error))?;
    }
    // Under another name until it is whole: a start in between would take it for an empty store, and refuse its key.
    private_file::copy(&from.join(DATABASE), &data.join(UNFINISHED), &data.join(DATABASE))
        .map_err(|error| failed(data, &error))?;
    let opened = if settings.encryption_key.is_some() || data.join(KEY).exists() {
        let found = encryption_key::find(settings, data)?;
        progress.start("opening");
        open(data, Vault::new(&found.key), now)?;
        Some(
            store::sqlite::check(data)
                .map_err(|error| Stop::failure(format!("What was restored is damaged: {error}.")))?,
        )
    } else {
        None
    };
    progress.end();
    Ok(Restored { manifest, opened })
}

/// Opens the store once, as a start would, which brings it to the present layout.
fn open(data: &Path, vault: Vault, now: Timestamp) -> Result<(), Stop> {
    let parts = Parts {
        dir: data,
        vault,
        directory: SharedDirectory::default(),
        limits: Limits::default(),
        chance: Box::new(chance::fill),
        now,
    };
    let opened = Engine::open(parts);
    opened.map(|_| ()).map_err(|error| Stop::failure(format!("What was restored cannot be opened: {error}.")))
}

/// A restore never mixes with what is there; only the key may have been put there before.
fn must_be_empty(data: &Path) -> Result<(), Stop> {
    let entries = match std::fs::read_dir(data) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(data, &error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| failed(data, &error))?;
        // What a restore has left that was not finished is written anew.
        if entry.file_name() != KEY && entry.file_name() != UNFINISHED {
            let said = format!("{} is not empty: name an empty or a new directory.", data.display());
            return Err(Stop::new(Exit::Refused, said));
        }
    }
    Ok(())
}
