//! Whether there is an embedded store where one is looked for; and if not, what is wrong there, in words.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::private_file;
use crate::settings::BadSetting;

/// The store's file in its directory.
pub(crate) const DATABASE: &str = store::sqlite::DATABASE;

/// Why there is no store to work on.
#[derive(Debug)]
pub(crate) enum Missing {
    /// There is nothing at the path.
    Directory,
    /// There is something else at the path, or above it.
    NotDirectory,
    /// There is a directory, without a store.
    Store,
    /// This may not be read.
    Closed(PathBuf),
    /// This cannot be read, whatever the system says of it.
    Unreadable(PathBuf, io::Error),
}

impl Missing {
    fn of(path: &Path, error: io::Error, absent: Self) -> Self {
        let kind = error.kind();
        if kind == io::ErrorKind::NotFound {
            absent
        } else if kind == io::ErrorKind::NotADirectory {
            Self::NotDirectory
        } else if kind == io::ErrorKind::PermissionDenied {
            Self::Closed(path.to_owned())
        } else {
            Self::Unreadable(path.to_owned(), error)
        }
    }

    /// What is wrong with `data`, and the way out.
    pub(crate) fn said(&self, data: &Path) -> String {
        let data = data.display();
        match self {
            Self::Directory => {
                format!("there is no directory {data}: name the one in which `posthaste serve` keeps everything")
            }
            Self::NotDirectory => format!("{data} is no directory: name the one in which everything is kept"),
            Self::Store => {
                format!("there is no store in {data}: name the directory in which `posthaste serve` keeps everything")
            }
            Self::Closed(path) => {
                format!("{} may not be read by this user: run this as the one it belongs to", path.display())
            }
            Self::Unreadable(path, error) => format!("{} cannot be read: {error}", path.display()),
        }
    }
}

/// Looks whether there is a store in the directory `data`, and whether it may be read.
///
/// # Errors
/// What there is in its place.
pub(crate) fn look(data: &Path) -> Result<(), Missing> {
    let found = std::fs::metadata(data).map_err(|error| Missing::of(data, error, Missing::Directory))?;
    if !found.is_dir() {
        return Err(Missing::NotDirectory);
    }
    let file = data.join(DATABASE);
    match std::fs::metadata(&file) {
        // An empty file is what a start leaves behind that was refused before it made a store.
        Ok(store) if store.len() == 0 => return Err(Missing::Store),
        Ok(_) => {}
        // The directory's permissions are what keeps anybody from looking into it.
        Err(error) => return Err(Missing::of(data, error, Missing::Store)),
    }
    File::open(&file).map_err(|error| Missing::of(&file, error, Missing::Store))?;
    Ok(())
}

/// There has to be a store in `data`.
///
/// # Errors
/// What is wrong there.
pub(crate) fn must_be_there(data: &Path) -> Result<(), BadSetting> {
    look(data).map_err(|missing| BadSetting::new("data", missing.said(data)))
}

/// There is a store in `data`, or one may be made there.
///
/// # Errors
/// What is wrong there.
pub(crate) fn may_be_there(data: &Path) -> Result<(), BadSetting> {
    match look(data) {
        Ok(()) | Err(Missing::Store) => written(data),
        Err(Missing::Directory) => Ok(()),
        Err(missing) => Err(BadSetting::new("data", missing.said(data))),
    }
}

/// There has to be a store in `data`, and this user has to be able to change it.
///
/// # Errors
/// What is wrong there.
pub(crate) fn must_be_ours(data: &Path) -> Result<(), BadSetting> {
    must_be_there(data)?;
    written(data)
}

/// Before anything is begun: SQLite finds out with its first commit.
fn written(data: &Path) -> Result<(), BadSetting> {
    may_be_written(data).map_err(|said| BadSetting::new("data", said))
}

/// Makes the directory `data`, for its owner alone, unless it is there.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn make(data: &Path) -> Result<(), BadSetting> {
    private_file::make_directory(data).map_err(|error| BadSetting::new("data", unmade(data, &error)))
}

/// Whether this user could write the directory `data`, which is there, and what a store has in it. Nothing is changed.
///
/// # Errors
/// What cannot be written, and the way out.
pub(crate) fn may_be_written(data: &Path) -> Result<(), String> {
    access(data).map_err(|error| unwritten(data, &error))?;
    let beside = ["-wal", "-shm"].map(|end| data.join(format!("{DATABASE}{end}")));
    for file in [data.join(DATABASE), data.join("lock")].into_iter().chain(beside) {
        match OpenOptions::new().write(true).open(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unwritten(&file, &error)),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// Whether this user could make the directory `data`, which is not there.
///
/// # Errors
/// What is in the way, and the way out.
pub(crate) fn may_be_made(data: &Path) -> Result<(), String> {
    let above = data.ancestors().skip(1).map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    above
        .into_iter()
        .find(|above| above.exists())
        .map_or(Ok(()), |above| access(above).map_err(|error| unmade(data, &error)))
}

/// Whether this user could make files in a directory, and find them.
fn access(directory: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(directory, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?)
}

/// That the directory `data` cannot be made, and the way out.
fn unmade(data: &Path, error: &io::Error) -> String {
    let said = if error.kind() == io::ErrorKind::PermissionDenied {
        "by this user: make it, give it to this user, or name another".to_owned()
    } else {
        format!("({error}): name another")
    };
    format!("the directory {} cannot be made {said}", data.display())
}

/// That `path` cannot be written, and the way out.
pub(crate) fn unwritten(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    let kind = error.kind();
    if kind == io::ErrorKind::PermissionDenied {
        let mode = if path.is_dir() { 700 } else { 600 };
        format!(
            "{shown} may not be written by this user: run this as the one that it belongs to, or give it to this one (chown), and \
             chmod {mode} {shown}"
        )
    } else if kind == io::ErrorKind::ReadOnlyFilesystem {
        format!(
            "{shown} lies on a file system that is mounted for reading only: mount it for writing, or name another place"
        )
    } else if kind == io::ErrorKind::IsADirectory {
        format!("{shown} is a directory where a file has to be: move it away")
    } else {
        format!("{shown} cannot be written: {error}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_in_the_place_of_a_store_has_its_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let says = |words: &str, may_be_made: bool| {
            let bad = must_be_there(&data).expect_err(words);
            assert!(bad.name == "data" && bad.said.contains(words), "{bad}");
            assert_eq!(may_be_there(&data).is_ok(), may_be_made, "{words}");
        };
        says("there is no directory", true);
        std::fs::create_dir(&data).expect("a directory");
        says("there is no store in", true);
        let file = data.join(DATABASE);
        std::fs::write(&file, "").expect("a file");
        says("there is no store in", true);
        std::fs::write(&file, "SQLite format 3").expect("a file");
        assert!(must_be_there(&data).is_ok() && may_be_there(&data).is_ok());
        std::fs::remove_dir_all(&data).expect("it goes");
        std::fs::write(&data, "").expect("a file");
        says("is no directory", false);
        let below = data.join("below");
        assert!(matches!(look(&below), Err(Missing::NotDirectory)), "a file lies above it");
    }

    #[test]
    fn what_cannot_be_written_is_named_with_the_way_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        assert_eq!(may_be_made(&data.join("below")), Ok(()));
        std::fs::create_dir_all(data.join("lock")).expect("a directory");
        let said = may_be_written(&data).expect_err("a directory is no lock");
        assert!(said.contains("lock is a directory where a file has to be"), "{said}");
        assert_eq!(may_be_there(&data).expect_err("nothing is served from it").said, said);
        std::fs::remove_dir(data.join("lock")).expect("it is empty");
        std::fs::write(data.join(DATABASE), "SQLite format 3").expect("a file");
        assert_eq!(may_be_written(&data), Ok(()));
        // Whoever runs the tests may perhaps write everything.
        let file = data.join(DATABASE);
        for (kind, mend) in [
            (io::ErrorKind::PermissionDenied, "may not be written by this user: run this as the one"),
            (io::ErrorKind::ReadOnlyFilesystem, "mount it for writing"),
        ] {
            let said = unwritten(&file, &kind.into());
            assert!(said.contains("posthaste.db") && said.contains(mend), "{said}");
        }
        assert!(unwritten(&data, &io::ErrorKind::PermissionDenied.into()).contains("chmod 700"));
    }

    #[test]
    fn what_may_not_be_read_is_told_from_what_is_not_there() {
        // Whoever runs the tests may perhaps read everything.
        let (data, denied) = (Path::new("/data"), io::Error::from(io::ErrorKind::PermissionDenied));
        let missing = Missing::of(data, denied, Missing::Directory);
        assert!(matches!(missing, Missing::Closed(_)), "{missing:?}");
        assert_eq!(missing.said(data), "/data may not be read by this user: run this as the one it belongs to");
        let odd = Missing::of(data, io::Error::other("odd"), Missing::Directory);
        assert_eq!(odd.said(data), "/data cannot be read: odd");
    }
}
