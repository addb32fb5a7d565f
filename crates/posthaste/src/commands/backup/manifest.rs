//! What a backup holds: its files with their hashes, and how many rows of each kind.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::sqlite::Checked;

use super::{DATABASE, KEY, VERSION, failed};
use crate::commands::progress::Progress;
use crate::exit::Stop;
use crate::private_file;

/// The manifest's name in a backup.
const FILE: &str = "manifest.json";
/// The form of backups that this release makes and reads.
const FORMAT: u32 = 1;

/// The manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The form of the backup.
    format: u32,
    /// The release that made it.
    version: String,
    /// When the copy was begun.
    made_at: String,
    /// The store's layout.
    layout: i64,
    /// Whether the checksum of every row was compared when it was made.
    sums_compared: bool,
    /// The files, this one left out.
    files: Vec<Entry>,
    /// The rows of each table.
    rows: BTreeMap<String, u64>,
}

/// What the manifests of all forms have.
#[derive(Deserialize)]
struct Made {
    format: u32,
    version: String,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    name: String,
    bytes: u64,
    /// Of its content, in hex.
    sha256: String,
}

/// The entry of a file that is there.
pub(super) fn file(dir: &Path, name: &str, progress: &Progress) -> Result<Entry, Stop> {
    let path = dir.join(name);
    let mut file = File::open(&path).map_err(|error| failed(&path, &error))?;
    let all = file.metadata().map_err(|error| failed(&path, &error))?.len();
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        let read = file.read(&mut buffer).map_err(|error| failed(&path, &error))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
        progress.at(bytes, all);
    }
    Ok(Entry { name: name.to_owned(), bytes, sha256: data_encoding::HEXLOWER.encode(&hash.finalize()) })
}

impl Manifest {
    pub(super) fn new(made_at: String, checked: &Checked, files: Vec<Entry>) -> Self {
        Self {
            format: FORMAT,
            version: VERSION.to_owned(),
            made_at,
            layout: checked.layout,
            sums_compared: checked.sums,
            files,
            rows: rows(checked),
        }
    }

    /// Writes it into the backup, on disk when this returns.
    pub(super) fn write(&self, dir: &Path) -> Result<(), Stop> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| Stop::failure(error.to_string()))?;
        text.push(b'\n');
        let path = dir.join(FILE);
        private_file::create(&path, &text).map_err(|error| failed(&path, &error))
    }

    /// Reads a backup's.
    pub(super) fn read(dir: &Path) -> Result<Self, Stop> {
        let path = dir.join(FILE);
        let text = std::fs::read(&path).map_err(|error| {
            if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
                return failed(&path, &error);
            }
            let named = "name the directory that `posthaste backup --to` made";
            Stop::failure(format!("{} is no backup: there is no {FILE} in it; {named}.", dir.display()))
        })?;
        let damaged = |error| Stop::failure(format!("{} is damaged: {error}.", path.display()));
        let made: Made = serde_json::from_slice(&text).map_err(damaged)?;
        if made.format != FORMAT {
            return Err(newer(dir, &made.version));
        }
        let found: Self = serde_json::from_slice(&text).map_err(damaged)?;
        // Names are those of this form, so that a manifest cannot lead anywhere else.
        if !found.files.iter().any(|file| file.name == DATABASE)
            || found.files.iter().any(|file| ![DATABASE, KEY].contains(&&*file.name))
        {
            return Err(Stop::failure(format!("{} names other files than a backup has.", path.display())));
        }
        Ok(found)
    }

    /// What to say of a backup whose database this release cannot read, since a newer one has made it.
    pub(super) fn newer(&self, dir: &Path) -> Stop {
        newer(dir, &self.version)
    }

    /// Compares every file with what is written here.
    pub(super) fn compare(&self, dir: &Path, progress: &Progress) -> Result<(), Stop> {
        for entry in &self.files {
            if file(dir, &entry.name, progress)? != *entry {
                let path = dir.join(&entry.name);
                return Err(Stop::failure(format!(
                    "{} is not the file that was backed up: its size or SHA-256 is another.",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// Compares the numbers of rows.
    pub(super) fn compare_rows(&self, checked: &Checked) -> Result<(), Stop> {
        if rows(checked) == self.rows {
            return Ok(());
        }
        Err(Stop::failure(format!("The database has other rows than the manifest says: {}.", summary(&rows(checked)))))
    }

    /// Whether the encryption key is in the backup.
    pub(super) fn has_key(&self) -> bool {
        self.files.iter().any(|file| file.name == KEY)
    }

    /// Whether the rows' checksums were compared.
    pub(super) const fn sums(&self) -> bool {
        self.sums_compared
    }

    /// What it holds, in words.
    pub(super) fn summary(&self) -> String {
        let bytes: u64 = self.files.iter().map(|file| file.bytes).sum();
        format!("{}; {:.1} MiB", summary(&self.rows), bytes as f64 / 1_048_576.0)
    }
}

fn newer(dir: &Path, version: &str) -> Stop {
    let dir = dir.display();
    Stop::failure(format!(
        "{dir} was made by a newer posthaste, {version}, and this one, {VERSION}, cannot read it: use {version} or a later one."
    ))
}

fn rows(checked: &Checked) -> BTreeMap<String, u64> {
    checked.rows.iter().map(|(table, rows)| ((*table).to_owned(), *rows)).collect()
}

fn summary(rows: &BTreeMap<String, u64>) -> String {
    let of = |table: &str| rows.get(table).copied().unwrap_or(0);
    format!(
        "{} accounts, {} webhooks, {} keys, {} events; {} deliveries have been tried, {} wait",
        of("accounts"),
        of("webhooks"),
        of("keys"),
        of("events"),
        of("deliveries"),
        of("due")
    )
}
