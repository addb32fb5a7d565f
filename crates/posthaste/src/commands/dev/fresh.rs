//! `dev --fresh`: start from an empty store.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use crate::settings::BadSetting;

/// What posthaste keeps in a data directory. Nothing else is removed, whatever `--data` names.
const FILES: [&str; 11] = [
    "posthaste.db",
    "posthaste.db-wal",
    "posthaste.db-shm",
    "ballast",
    store::sqlite::UNFINISHED,
    "encryption.key",
    "encryption.key.new",
    "encryption.key.old",
    "client.toml",
    "inbox-ca.pem",
    "inbox-ca.key",
];

/// Empties the data directory.
///
/// # Errors
/// When another process serves it, or a file cannot be removed.
pub(super) fn empty(data: &Path) -> Result<(), BadSetting> {
    let bad = |error: &io::Error| BadSetting::new("data", format!("{} cannot be emptied: {error}", data.display()));
    let _held = match File::open(data.join("lock")) {
        Ok(lock) => match lock.try_lock() {
            Ok(()) => Some(lock),
            Err(TryLockError::WouldBlock) => {
                let said = format!("{} is in use by another process: stop it first", data.display());
                return Err(BadSetting::new("data", said));
            }
            Err(TryLockError::Error(error)) => return Err(bad(&error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(bad(&error)),
    };
    for name in FILES {
        match std::fs::remove_file(data.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(bad(&error)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_its_own_files_only_and_only_when_nobody_uses_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path();
        for name in ["posthaste.db", "ballast", "encryption.key", "lock", "thesis.txt"] {
            std::fs::write(data.join(name), "x").expect("a file");
        }
        let held = File::open(data.join("lock")).expect("the lock");
        held.try_lock().expect("it is free");
        assert_eq!(empty(data).expect_err("it is in use").name, "data");
        assert!(data.join("posthaste.db").exists());
        drop(held);
        empty(data).expect("it is free now");
        assert!(!data.join("posthaste.db").exists() && !data.join("encryption.key").exists());
        assert!(data.join("thesis.txt").exists());
        store::sqlite::whole(data).expect("a store can be made where none seems to be lost");
        empty(&data.join("not there")).expect("nothing to do");
    }
}
