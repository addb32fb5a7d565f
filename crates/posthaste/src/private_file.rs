//! Files that hold secrets: readable by their owner alone, and never half written.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::path::Path;

/// Creates `path` with `bytes`, mode 0600, on disk when this returns.
///
/// # Errors
/// When it exists already, or cannot be written.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(OpenOptions::new().create_new(true), path, bytes)?;
    sync_directory(path)
}

/// Writes `bytes` to `path`, mode 0600, in place of what is there; readers see the old file or the new one.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    write(OpenOptions::new().create(true).truncate(true), &new, bytes)?;
    std::fs::rename(&new, path)?;
    sync_directory(path)
}

/// Copies the file `from` to `to`, which does not exist yet, mode 0600. It is `new`, beside it, until it is whole and on disk.
///
/// # Errors
/// When it cannot be read or written.
pub(crate) fn copy(from: &Path, new: &Path, to: &Path) -> io::Result<()> {
    let copied = || {
        let mut file = private(OpenOptions::new().write(true).create(true).truncate(true)).open(new)?;
        restrict(&file)?;
        io::copy(&mut File::open(from)?, &mut file)?;
        file.sync_all()
    };
    if let Err(error) = copied() {
        // A part of it is of no use to anybody, and takes room.
        let _gone_or_not = std::fs::remove_file(new);
        return Err(error);
    }
    std::fs::rename(new, to)?;
    sync_directory(to)
}

/// Makes a directory and those above it, for its owner alone. One that is there stays as it is.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn write(options: &mut OpenOptions, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private(options.write(true)).open(path)?;
    restrict(&file)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.mode(0o600)
}

/// A file that was there before keeps its mode when it is opened: set it again.
fn restrict(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(Permissions::from_mode(0o600))
}

/// What is named in the directory of `path` is on disk when this returns.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    }
}
