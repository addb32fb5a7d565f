//! The data directory: made for its owner alone, and held by one process at a time.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::ballast;
use super::fault::OpenError;
use super::log;

/// The database's name in the data directory.
pub const DATABASE: &str = "posthaste.db";
/// The name of a database that is being put there, until it is whole: with it in a directory nothing is served from that.
pub const UNFINISHED: &str = "posthaste.new";
/// The name of the file that is locked while a process serves the directory.
const LOCK: &str = "lock";

/// The database of a data directory.
pub(super) fn database(dir: &Path) -> PathBuf {
    dir.join(DATABASE)
}

/// A data directory, locked until this is dropped.
#[derive(Debug)]
pub(super) struct DataDir {
    /// The database file.
    pub(super) database: PathBuf,
    /// Files that keep their names as long as the directory is held.
    named: [Named; 3],
    lock: File,
}

/// A file, and what it is: its device and inode, once it has been seen.
#[derive(Debug)]
struct Named {
    path: PathBuf,
    identity: OnceLock<(u64, u64)>,
}

impl Named {
    /// One that is open.
    fn open(path: &Path, file: &File) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: OnceLock::from(identity(&file.metadata()?)) })
    }

    /// Whether its name still leads to it.
    fn is_there(&self) -> bool {
        match fs::metadata(&self.path) {
            Ok(found) => *self.identity.get_or_init(|| identity(&found)) == identity(&found),
            Err(_) => self.identity.get().is_none(),
        }
    }
}

fn identity(of: &Metadata) -> (u64, u64) {
    (of.dev(), of.ino())
}

impl DataDir {
    /// Makes the directory (mode 0700) and the database's file (0600) if they are missing, and takes the lock.
    pub(super) fn open(dir: &Path) -> Result<Self, OpenError> {
        let unusable =
            |file: &Path, error: &io::Error| OpenError::Unusable { file: file.to_owned(), what: error.to_string() };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| unusable(dir, &error))?;
        let lock_file = dir.join(LOCK);
        let lock = private(&lock_file).map_err(|error| unusable(&lock_file, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(unusable(&lock_file, &error)),
        }
        look(dir)?;
        let database = database(dir);
        let opened = private(&database).map_err(|error| unusable(&database, &error))?;
        // The new names must outlive a power cut, as the rows in them do.
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| unusable(dir, &error))?;
        let named = |path: &Path, file: &File| Named::open(path, file).map_err(|error| unusable(path, &error));
        // The log is made with the first write, and stays until the database is closed.
        let log = Named { path: log_of(&database), identity: OnceLock::new() };
        let named = [named(&database, &opened)?, log, named(&lock_file, &lock)?];
        Ok(Self { database, named, lock })
    }

    /// What has lost its name while it was in use, if anything has: what is written to the database or to its log is found by nobody then,
    /// and a lock that nobody finds keeps nobody away.
    pub(super) fn lost(&self) -> Option<&Path> {
        self.named.iter().find(|file| !file.is_there()).map(|file| file.path.as_path())
    }
}

/// SQLite's log of a database.
fn log_of(database: &Path) -> PathBuf {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // To close the file is not enough: a child that was forked and has not come to its program yet holds it too.
        let _closed_now = self.lock.unlock();
    }
}

/// Whether a directory has what a store needs, or nothing of one. SQLite would begin anew in place of what is missing, and go on without what
/// is damaged. Of a directory that is served nothing is said: whoever serves it has looked before.
///
/// # Errors
/// [`OpenError::Damaged`], [`OpenError::Unusable`], with the way out.
pub fn whole(dir: &Path) -> Result<(), OpenError> {
    look(dir).or_else(|fault| {
        let lock = File::open(dir.join(LOCK));
        let served = lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
        if served { Ok(()) } else { Err(fault) }
    })
}

/// As [`whole`], of a directory that nobody serves.
fn look(dir: &Path) -> Result<(), OpenError> {
    let database = database(dir);
    if let Some((file, what)) = gone(dir, &database) {
        return Err(OpenError::Unusable { file, what: what.to_owned() });
    }
    let file = log_of(&database);
    match log::damage(&file) {
        Ok(None) => Ok(()),
        Ok(Some(at)) => {
            let what = format!(
                "what was committed at byte {at} of it does not fit its checksum, unlike what came later. Restore a backup, or go on \
                 without it and all that came later: `truncate -s {at} {}`",
                file.display()
            );
            Err(OpenError::Damaged { file, what })
        }
        Err(error) => Err(OpenError::Unusable { file, what: error.to_string() }),
    }
}

/// What of a store lies here though its database is missing or empty: an empty store in its place would look like nothing was ever kept.
fn gone(dir: &Path, database: &Path) -> Option<(PathBuf, &'static str)> {
    let size = |file: &Path| fs::metadata(file).map_or(0, |found| found.len());
    if size(database) > 0 {
        return None;
    }
    let (unfinished, ballast) = (dir.join(UNFINISHED), dir.join(ballast::FILE));
    if unfinished.exists() {
        return Some((
            unfinished,
            "a restore into this directory was not finished: run `posthaste restore` again, or remove this file",
        ));
    }
    let was_here = "it is gone or empty, though a store was here, of which other files are left: restore a backup, or name another directory";
    (ballast.exists() || size(&log_of(database)) > 0).then(|| (database.to_owned(), was_here))
}

/// Opens a file for its owner alone. SQLite gives its own files beside the database the database's mode.
fn private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o600);
        file.set_permissions(permissions)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_store_is_no_empty_one() {
        let dir = std::env::temp_dir().join(format!("posthaste-gone-{}", std::process::id()));
        let log = "posthaste.db-wal";
        for (name, said) in
            [(ballast::FILE, "a store was here"), (log, "a store was here"), (UNFINISHED, "was not finished")]
        {
            fs::create_dir_all(&dir).expect("a directory");
            fs::write(dir.join(name), "x").expect("it is written");
            let opened = DataDir::open(&dir).map(drop).expect_err("nothing is served from it");
            assert!(opened.to_string().contains(said), "{opened}");
            fs::remove_file(dir.join(name)).expect("it is ours");
            drop(DataDir::open(&dir).expect("without it, it is a new one"));
            fs::remove_dir_all(&dir).expect("it is ours");
        }
    }

    #[test]
    fn it_is_free_once_it_is_dropped_whoever_else_holds_the_file() {
        let dir = std::env::temp_dir().join(format!("posthaste-lock-{}", std::process::id()));
        let held = DataDir::open(&dir).expect("it is free");
        assert!(matches!(DataDir::open(&dir), Err(OpenError::Locked(_))));
        // What a fork does.
        let _child_s = held.lock.try_clone().expect("another descriptor");
        drop(held);
        drop(DataDir::open(&dir).expect("it is free again"));
        fs::remove_dir_all(&dir).expect("it is ours");
    }
}
