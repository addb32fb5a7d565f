//! Copying the store while it is served: one state of it, a commit's, page by page.
//!
//! The copy is read in one transaction, so what is committed meanwhile is not in it, and nobody waits for it. SQLite's log
//! cannot start from its beginning again before the copy has ended, so it grows by what is written meanwhile.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use domain::vault::Vault;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::check::open_unchanging;
use super::fault::{Fault, OpenError};
use super::recover::opens;
use super::{data_dir, marks, schema};

/// How many pages are copied at once: 8 MiB.
const PAGES_AT_ONCE: i32 = 2_048;

/// Copies the store of `dir`, which may be served meanwhile, into the new file `to`; on disk when this returns. Tells how
/// many pages are copied, of how many. Everything that was committed before this was called is in the copy.
///
/// # Errors
/// [`OpenError`]; an unfinished copy may be left.
pub fn copy(dir: &Path, to: &Path, mut told: impl FnMut(u64, u64)) -> Result<(), OpenError> {
    let from = data_dir::database(dir);
    let of = |file: &Path, error: rusqlite::Error| Fault::from(error).at_open(file.to_owned());
    let unusable = |error: std::io::Error| OpenError::Unusable { file: to.to_owned(), what: error.to_string() };
    let source = schema::open_reader(&from).map_err(|error| of(&from, error))?;
    // The transaction that is open here is the one in which every page is read.
    let snapshot = source.unchecked_transaction().map_err(|error| of(&from, error))?;
    let layout = schema::version(&snapshot).map_err(|error| of(&from, error))?;
    if layout < 1 {
        return Err(OpenError::Unusable { file: from, what: "it holds no store".to_owned() });
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(unusable)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(to, flags).map_err(|error| of(to, error))?;
    target.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF").map_err(|error| of(to, error))?;
    let copying = Backup::new(&snapshot, &mut target).map_err(|error| of(to, error))?;
    loop {
        let step = copying.step(PAGES_AT_ONCE).map_err(|error| of(to, error))?;
        let progress = copying.progress();
        let pages = |number: i32| u64::from(number.unsigned_abs());
        told(pages(progress.pagecount - progress.remaining), pages(progress.pagecount));
        match step {
            StepResult::Done => break,
            StepResult::More => {}
            // Nobody else knows of the new file, and readers of the store are in nobody's way.
            StepResult::Busy | StepResult::Locked | _ => {
                return Err(OpenError::Unusable { file: to.to_owned(), what: "it is locked".to_owned() });
            }
        }
    }
    drop(copying);
    target.close().map_err(|(_, error)| of(to, error))?;
    made.sync_all().map_err(unusable)?;
    sync_directory(to).map_err(unusable)
}

/// Whether the store of `dir` was made with this key; `None` if there is no store yet.
///
/// # Errors
/// [`OpenError`]: it cannot be read.
pub fn opens_with(dir: &Path, vault: &Vault) -> Result<Option<bool>, OpenError> {
    let file = data_dir::database(dir);
    // An empty file is what a start leaves behind that was refused before it made a store.
    if std::fs::metadata(&file).map_or(true, |found| found.len() == 0) {
        return Ok(None);
    }
    made_with(&file, schema::open_reader(&file), vault)
}

/// The same of a copy that nobody writes to, such as a backup's: nothing is left beside it.
///
/// # Errors
/// As [`opens_with`].
pub fn copy_opens_with(copy: &Path, vault: &Vault) -> Result<Option<bool>, OpenError> {
    made_with(copy, open_unchanging(copy), vault)
}

fn made_with(file: &Path, conn: rusqlite::Result<Connection>, vault: &Vault) -> Result<Option<bool>, OpenError> {
    let at_open = |fault: Fault| fault.at_open(file.to_owned());
    let conn = conn.map_err(|error| at_open(error.into()))?;
    if schema::version(&conn).map_err(|error| at_open(error.into()))? < 1 {
        return Ok(None);
    }
    let sealed = marks::get(&conn, marks::KEY_CHECK).map_err(at_open)?;
    Ok(sealed.map(|sealed| opens(vault, &sealed)))
}

fn sync_directory(file: &Path) -> std::io::Result<()> {
    match file.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    }
}
