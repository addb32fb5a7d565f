//! `posthaste keys rotate-encryption`: another key for what is encrypted at rest.
//!
//! The new key is on disk before anything is sealed with it, and takes the old one's place once the store opens with it.
//! Wherever the process ends, the next start finds the one that opens the store.

use std::path::{Path, PathBuf};

use clap::Args;
use domain::vault::Vault;
use serde_json::json;
use store::sqlite::OpenError;
use zeroize::Zeroizing;

use crate::commands::backup::Place;
use crate::exit::{Ended, Exit, Stop};
use crate::output::Console;
use crate::settings::source::Environment;
use crate::settings::{BadSetting, Settings};
use crate::{chance, embedded, encryption_key, private_file};

/// Where the store is, and where the new key goes.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// The file of the new key, where the key does not lie beside the data; made with a new key if it is not there
    #[arg(long, value_name = "FILE")]
    new_key: Option<PathBuf>,
}

/// Seals everything anew.
pub(crate) async fn run(options: &Options, console: &Console, environment: &Environment) -> Ended {
    let (settings, data) = options.place.find(environment)?;
    if settings.encryption_key.is_some() != options.new_key.is_some() {
        let said = if options.new_key.is_some() {
            "the key lies beside the data, and so will the new one: leave --new-key out"
        } else {
            "the key is given by the environment: name the file of the new one with --new-key, and give that key from then on"
        };
        return Err(BadSetting::new("encryption-key", said).into());
    }
    let new_file = options.new_key.clone();
    let done = {
        let (data, new_file) = (data.clone(), new_file.clone());
        tokio::task::spawn_blocking(move || rotate(&settings, &data, new_file.as_deref())).await
    };
    let rows = done.unwrap_or_else(|error| Err(Stop::failure(error.to_string())))?;
    if console.json() {
        let rows = rows.iter().map(|(table, rows)| ((*table).to_owned(), json!(rows)));
        console.value(&json!({"sealed_anew": serde_json::Value::from_iter(rows)}));
    } else {
        let webhooks = rows.iter().find(|(table, _)| *table == "webhooks").map_or(0, |(_, rows)| *rows);
        console.talk(&format!("✓ The secrets of {webhooks} webhooks, and all else that is sealed, have another key."));
    }
    match &new_file {
        Some(file) => console.complain(&format!(
            "Give the key in {} from now on: POSTHASTE_ENCRYPTION_KEY or POSTHASTE_ENCRYPTION_KEY_FILE.",
            file.display()
        )),
        None => console.complain(&format!(
            "Keep a copy of {}/encryption.key elsewhere. Backups made before today need the one before it: encryption.key.old.",
            data.display()
        )),
    }
    Ok(Exit::Ok)
}

fn rotate(settings: &Settings, data: &Path, new_file: Option<&Path>) -> Result<Vec<(&'static str, usize)>, Stop> {
    embedded::must_be_ours(data)?;
    let old = encryption_key::existing(settings, data)?.key;
    let new = match new_file {
        Some(file) if file.exists() => encryption_key::of_file(file)?,
        Some(_) | None => encryption_key::new(),
    };
    if *old == *new {
        let said =
            "Nothing was changed: the new key is the present one. Name a file that is not there yet, and one is made.";
        return Err(Stop::new(Exit::Refused, said));
    }
    let keep = || match new_file {
        Some(file) if file.exists() => Ok(()),
        Some(file) => private_file::create(file, encryption_key::text(&new).as_bytes()),
        None => encryption_key::keep_new(data, &new),
    };
    let vault = |key: &Zeroizing<[u8; 32]>| Vault::new(key);
    let mut chance: store::sqlite::Chance = Box::new(chance::fill);
    let done = store::sqlite::rotate(data, &vault(&old), &vault(&new), &mut chance, keep);
    let done = done.map_err(|error| match error {
        OpenError::Locked(_) => {
            Stop::new(Exit::Refused, format!("Nothing was changed: {error}: stop the server first."))
        }
        OpenError::Moved { .. } => Stop::new(Exit::Refused, format!("Nothing was changed: {error}.")),
        OpenError::Newer { .. } | OpenError::OtherKey(_) | OpenError::Damaged { .. } | OpenError::Unusable { .. } => {
            Stop::failure(format!("Nothing was changed: {error}."))
        }
    })?;
    if new_file.is_none() {
        encryption_key::finish_rotation(data)?;
    }
    Ok(done)
}
