//! What can go wrong below the store's seam, and what it means above it.

use std::path::PathBuf;

use domain::store::{AcceptError, ChangeError, NoSpace, StoreError};
use domain::vault::Unopened;
use rusqlite::ErrorCode;

use crate::rows::damaged::Damaged;

/// The store could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the data directory.
    #[error("{0} is in use by another process: only one may serve it at a time")]
    Locked(PathBuf),
    /// The file was written by a later release.
    #[error("{file} has layout {found}, but this release knows layouts up to {known}: start the newer release again")]
    Newer {
        /// The database.
        file: PathBuf,
        /// Its layout.
        found: i64,
        /// The latest layout that this release knows.
        known: i64,
    },
    /// The encryption key is not the one that the store was made with.
    #[error("{0} was made with another encryption key: give the one it was made with")]
    OtherKey(PathBuf),
    /// Everything in the directory was moved into a database.
    #[error("everything in {dir} was moved into {to}: it is served from there (--database), and goes on there", dir = dir.display())]
    Moved {
        /// The directory.
        dir: PathBuf,
        /// The database, for people.
        to: String,
    },
    /// The file is damaged.
    #[error("{file} is damaged: {what}")]
    Damaged {
        /// The database.
        file: PathBuf,
        /// What was found.
        what: String,
    },
    /// The file system or SQLite refused.
    #[error("{file}: {what}")]
    Unusable {
        /// What could not be used.
        file: PathBuf,
        /// What was said.
        what: String,
    },
}

/// A fault while reading or writing.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite's own.
    Sqlite(rusqlite::Error),
    /// A row whose checksum does not fit, or that cannot be read; the text says which.
    Damaged(String),
    /// The file's own structure is damaged.
    Corrupt(String),
    /// The disk is full; nothing of the transaction was kept, and it can be tried again.
    Full,
}

impl Fault {
    /// A row that cannot be read, with what the reading code said.
    pub(super) fn damaged(row: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Self::Damaged(format!("{row}: {why}"))
    }

    /// The same as [`OpenError`], for `file`.
    pub(super) fn at_open(self, file: PathBuf) -> OpenError {
        match StoreError::from(self) {
            StoreError::Damaged(what) => OpenError::Damaged { file, what },
            StoreError::Stopped(what) => OpenError::Unusable { file, what },
            error @ (StoreError::Busy
            | StoreError::Away(_)
            | StoreError::Unanswered
            | StoreError::Stuck
            | StoreError::Crowded(_)
            | StoreError::Refused(_)
            | StoreError::NoSpace(_)) => OpenError::Unusable { file, what: error.to_string() },
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(error.to_string()),
            _ => Self::Sqlite(error),
        }
    }
}

impl From<Damaged> for Fault {
    fn from(Damaged(row): Damaged) -> Self {
        Self::Damaged(row)
    }
}

impl From<Unopened> for Fault {
    fn from(error: Unopened) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Sqlite(error) => Self::Stopped(error.to_string()),
            Fault::Damaged(what) | Fault::Corrupt(what) => Self::Damaged(what),
            Fault::Full => Self::NoSpace(NoSpace::Disk),
        }
    }
}

impl From<Fault> for AcceptError {
    fn from(fault: Fault) -> Self {
        Self::Store(fault.into())
    }
}

impl From<Fault> for ChangeError {
    fn from(fault: Fault) -> Self {
        Self::Store(fault.into())
    }
}
