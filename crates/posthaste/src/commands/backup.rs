//! `posthaste backup`: a copy of the embedded store, while it is served or not; and whether a copy is whole.

mod manifest;
mod restore;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use domain::time::Clock;
use domain::vault::Vault;
use serde_json::json;
use store::sqlite::OpenError;

use crate::clock::SystemClock;
use crate::commands::progress::Progress;
use crate::exit::{Ended, Exit, Stop};
use crate::output::Console;
use crate::settings::source::Environment;
use crate::settings::{self, BadSetting, Mode, Settings, Typed};
use crate::{embedded, encryption_key, private_file};
use manifest::Manifest;
pub(crate) use restore::Options as RestoreOptions;
pub(crate) use restore::run as restore;

/// The database in a backup.
const DATABASE: &str = "posthaste.db";
/// This release.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The encryption key in a backup that was made with it.
const KEY: &str = "encryption.key";

/// What to copy, and where to.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    place: Place,
    /// The new directory that the backup goes to
    #[arg(long, value_name = "DIR", required = true)]
    to: Option<PathBuf>,
    /// Put the encryption key into the backup: whoever has it can then read every secret in it
    #[arg(long)]
    with_key: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check a backup: its files, the database's structure, and the checksum of every row
    Verify {
        /// The backup's directory
        from: PathBuf,
    },
}

/// Where the embedded store is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// Where the embedded store keeps everything [default: as `posthaste serve` finds it]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The settings file [default: posthaste.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    /// The settings of `serve` with this place, and the data directory.
    ///
    /// # Errors
    /// When a setting cannot be used, or none says where the data is.
    pub(crate) fn find(&self, environment: &Environment) -> Result<(Settings, PathBuf), Stop> {
        let mut typed = Typed { config: self.config.clone(), ..Typed::default() };
        if let Some(data) = &self.data {
            let text = data.to_str().ok_or_else(|| BadSetting::new("data", "the path is no text"))?;
            typed.texts.insert("data", vec![text.to_owned()]);
        }
        let settings = settings::resolve(&typed, environment, Mode::Serve)?;
        let data = settings.data.clone().ok_or_else(|| {
            BadSetting::new("data", "say where the store is: --data DIR, POSTHASTE_DATA or data in posthaste.toml")
        })?;
        Ok((settings, data))
    }
}

/// Makes a backup, or checks one.
pub(crate) async fn run(options: Options, console: &Console, environment: &Environment) -> Ended {
    match (options.what, options.to) {
        (Some(What::Verify { from }), _) => {
            let progress = Progress::new(console);
            let checked = blocking(move || verify(&from, &progress)).await?;
            say_verified(console, &checked);
        }
        (None, Some(to)) => {
            let (settings, data) = options.place.find(environment)?;
            embedded::must_be_there(&data)?;
            let key = options.with_key.then(|| encryption_key::existing(&settings, &data)).transpose()?;
            let progress = Progress::new(console);
            let made_at = SystemClock.now().to_string();
            let target = to.clone();
            let made = blocking(move || make(&data, &target, key, made_at, &progress)).await?;
            say_made(console, &to, &made);
        }
        (None, None) => return Err(Stop::usage("Say where the backup goes: --to DIR.")),
    }
    Ok(Exit::Ok)
}

/// Work that waits for a disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Stop> + Send + 'static) -> Result<T, Stop> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Stop::failure(error.to_string())))
}

/// Makes a backup: first beside its place, then, whole and on disk, in it.
fn make(
    data: &Path,
    to: &Path,
    key: Option<encryption_key::Found>,
    made_at: String,
    progress: &Progress,
) -> Result<Manifest, Stop> {
    if to.exists() {
        return Err(Stop::new(Exit::Refused, format!("{} is there already: name a new directory.", to.display())));
    }
    let part = beside(to)?;
    if part.exists() {
        // What an earlier run left that did not come to its end.
        std::fs::remove_dir_all(&part).map_err(|error| failed(&part, &error))?;
    }
    store::sqlite::could_be_served(data).map_err(|error| not_made(&error))?;
    private_file::make_directory(&part).map_err(|error| failed(&part, &error))?;
    let made = fill(data, &part, key, made_at, progress);
    if made.is_err() {
        // A part of one is of no use to anybody, and takes room.
        let _gone_or_not = std::fs::remove_dir_all(&part);
    }
    let made = made?;
    // The copy's own files of SQLite go with its last reader; its name comes once all else is on disk.
    std::fs::rename(&part, to).map_err(|error| failed(to, &error))?;
    private_file::sync_directory(to).map_err(|error| failed(to, &error))?;
    progress.end();
    Ok(made)
}

/// Makes all that a backup has in the directory `part`.
fn fill(
    data: &Path,
    part: &Path,
    key: Option<encryption_key::Found>,
    made_at: String,
    progress: &Progress,
) -> Result<Manifest, Stop> {
    let database = part.join(DATABASE);
    progress.start("copying");
    store::sqlite::copy(data, &database, |done, all| progress.at(done, all))
        .map_err(|error| Stop::failure(format!("The store could not be copied: {error}.")))?;
    progress.start("checking");
    let checked = store::sqlite::check_file(&database).map_err(|error| match error {
        OpenError::Damaged { what, .. } => Stop::failure(format!(
            "The store in {} is damaged: {what}. Nothing was backed up; restore the last backup that is whole.",
            data.display()
        )),
        OpenError::Locked(_)
        | OpenError::OtherKey(_)
        | OpenError::Moved { .. }
        | OpenError::Newer { .. }
        | OpenError::Unusable { .. } => not_made(&error),
    })?;
    let mut files = vec![manifest::file(part, DATABASE, progress)?];
    if let Some(found) = key {
        if store::sqlite::copy_opens_with(&database, &Vault::new(&found.key)).ok().flatten() != Some(true) {
            return Err(Stop::failure("The encryption key is not that of the store: nothing was made."));
        }
        let text = encryption_key::text(&found.key);
        private_file::create(&part.join(KEY), text.as_bytes()).map_err(|error| failed(part, &error))?;
        files.push(manifest::file(part, KEY, progress)?);
    }
    let made = Manifest::new(made_at, &checked, files);
    made.write(part)?;
    Ok(made)
}

/// Why a store is not one to be backed up by this release, or any more.
fn not_made(error: &OpenError) -> Stop {
    match error {
        OpenError::Newer { file, found, known } => Stop::failure(format!(
            "Nothing was backed up: {} was written by a newer posthaste, with layout {found}; this one, {VERSION}, knows layouts up \
             to {known}. Back it up with the release that serves it.",
            file.display()
        )),
        OpenError::Moved { .. } => Stop::new(
            Exit::Refused,
            format!("Nothing was backed up: {error}. Back the database up, by pg_dump or as any other there."),
        ),
        OpenError::Locked(_) | OpenError::OtherKey(_) | OpenError::Damaged { .. } | OpenError::Unusable { .. } => {
            Stop::failure(format!("Nothing was backed up: {error}."))
        }
    }
}

/// Checks a backup, file by file and row by row.
fn verify(from: &Path, progress: &Progress) -> Result<Manifest, Stop> {
    let manifest = Manifest::read(from)?;
    progress.start("comparing files");
    manifest.compare(from, progress)?;
    progress.start("checking rows");
    let checked = store::sqlite::check_file(&from.join(DATABASE)).map_err(|error| match error {
        OpenError::Newer { .. } => manifest.newer(from),
        OpenError::Locked(_)
        | OpenError::OtherKey(_)
        | OpenError::Moved { .. }
        | OpenError::Damaged { .. }
        | OpenError::Unusable { .. } => Stop::failure(format!("The backup is damaged: {error}.")),
    })?;
    manifest.compare_rows(&checked)?;
    progress.end();
    Ok(manifest)
}

/// Where a directory is made before it gets its name.
fn beside(to: &Path) -> Result<PathBuf, Stop> {
    let name = to.file_name().ok_or_else(|| Stop::usage(format!("{} names no directory.", to.display())))?;
    let mut part = name.to_owned();
    part.push(".part");
    Ok(to.with_file_name(part))
}

/// That a file of a backup, or one that is to be, cannot be read or written, and the way out.
fn failed(path: &Path, error: &std::io::Error) -> Stop {
    let kind = error.kind();
    let mend = if kind == std::io::ErrorKind::PermissionDenied {
        ": run this as a user that may use it, or name another place"
    } else if kind == std::io::ErrorKind::StorageFull {
        ": make room, or name a place on another disk"
    } else {
        ""
    };
    Stop::failure(format!("{}: {error}{mend}.", path.display()))
}

fn say_made(console: &Console, to: &Path, made: &Manifest) {
    if console.json() {
        console.value(&json!({"backup": to.display().to_string(), "manifest": made}));
    } else {
        console.line(&format!("{}", to.display()));
        console.talk(&format!("✓ Backed up: {}.", made.summary()));
    }
    if !made.has_key() {
        console.complain(
            "The encryption key is NOT in the backup: without it nothing that is restored can be read. Keep a copy of it in another place.",
        );
    }
}

fn say_verified(console: &Console, manifest: &Manifest) {
    if console.json() {
        console.value(&json!({"whole": true, "manifest": manifest}));
    } else {
        console.line(&format!("✓ Whole: {}.", manifest.summary()));
        if !manifest.sums() {
            console.talk("It was made by an earlier release: the rows' checksums are compared when it is restored.");
        }
    }
}
