//! The key that encrypts at rest: given, or kept beside the embedded store and made at its first start.

use std::io;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use domain::vault::Vault;
use zeroize::Zeroizing;

use crate::embedded::DATABASE;
use crate::settings::resolved::{MASK, Shown};
use crate::settings::source::Origin;
use crate::settings::{BadSetting, Settings};
use crate::{chance, embedded, private_file};

/// The file beside the data.
const FILE: &str = "encryption.key";
/// The new key while everything is sealed anew with it; it takes [`FILE`]'s place after that.
const NEW: &str = "encryption.key.new";
/// The key before the last one, which opens the backups of its time.
const OLD: &str = "encryption.key.old";
/// The setting that a refusal names.
const SETTING: &str = "encryption-key";
/// What to do where many nodes need the same key, and none is given.
pub(crate) const GIVE: &str = "with --database it has to be given, the same to every node: 32 bytes as base64, for example from \
                               `openssl rand -base64 32`";

/// A key, and the file that was made for it if one was.
#[derive(Debug)]
pub(crate) struct Found {
    /// The key.
    pub(crate) key: Zeroizing<[u8; 32]>,
    /// Where it was written just now.
    pub(crate) made: Option<PathBuf>,
}

/// The key of the settings, else the one beside the data, else a new one for a new store.
///
/// # Errors
/// When there is a store and its key is gone, or the file cannot be read or made.
pub(crate) fn find(settings: &Settings, data: &Path) -> Result<Found, BadSetting> {
    if let Some(key) = &settings.encryption_key {
        return Ok(Found { key: key.clone(), made: None });
    }
    finish_rotation(data)?;
    let file = data.join(FILE);
    match std::fs::read_to_string(&file) {
        Ok(text) => read(&Zeroizing::new(text), &file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(data, &file),
        Err(error) => Err(unusable(&file, &error)),
    }
}

/// The key of the settings: where several nodes share a database all need the same one.
///
/// # Errors
/// When none is given.
pub(crate) fn given(settings: &Settings) -> Result<Found, BadSetting> {
    let key = settings.encryption_key.clone().ok_or_else(|| BadSetting::new(SETTING, GIVE))?;
    Ok(Found { key, made: None })
}

/// As [`find`], for a store that is there: no key is made.
///
/// # Errors
/// When there is no directory, or no key in it, or it cannot be read.
pub(crate) fn existing(settings: &Settings, data: &Path) -> Result<Found, BadSetting> {
    if !data.is_dir() {
        return Err(BadSetting::new("data", format!("there is no directory {}", data.display())));
    }
    if settings.encryption_key.is_none() && !data.join(FILE).exists() && !data.join(NEW).exists() {
        let said = format!(
            "there is no {FILE} in {}, and no POSTHASTE_ENCRYPTION_KEY: put the store's key back there, or give it by that variable",
            data.display()
        );
        return Err(BadSetting::new(SETTING, said));
    }
    find(settings, data)
}

/// The settings as they are shown: a key that nobody gave comes from the file beside the data, once that is there.
pub(crate) fn shown(settings: &Settings, data: Option<&Path>) -> Vec<Shown> {
    let file = data.map(|data| data.join(FILE)).filter(|file| settings.encryption_key.is_none() && file.is_file());
    let mut rows = settings.shown.clone();
    if let (Some(file), Some(row)) = (file, rows.iter_mut().find(|row| row.name == SETTING)) {
        *row = Shown { name: SETTING, value: MASK.to_owned(), origin: Origin::File(file) };
    }
    rows
}

/// A new key.
pub(crate) fn new() -> Zeroizing<[u8; 32]> {
    Zeroizing::new(chance::bytes())
}

/// A key as it is written into a file.
pub(crate) fn text(key: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(format!("{}\n", BASE64.encode(key)))
}

/// The key in a file.
///
/// # Errors
/// When it cannot be read, or holds none.
pub(crate) fn of_file(file: &Path) -> Result<Zeroizing<[u8; 32]>, BadSetting> {
    let text = std::fs::read_to_string(file).map_err(|error| unusable(file, &error))?;
    read(&Zeroizing::new(text), file).map(|found| found.key)
}

/// Keeps a new key beside the data, until [`finish_rotation`].
///
/// # Errors
/// When it cannot be written.
pub(crate) fn keep_new(data: &Path, key: &[u8; 32]) -> io::Result<()> {
    private_file::replace(&data.join(NEW), text(key).as_bytes())
}

/// Where a rotation has kept a new key: if that opens the store it takes the old one's place, else the rotation has changed
/// nothing yet, and the old one holds.
///
/// # Errors
/// When the store cannot be asked, or a file not be moved.
pub(crate) fn finish_rotation(data: &Path) -> Result<(), BadSetting> {
    let (file, new, old) = (data.join(FILE), data.join(NEW), data.join(OLD));
    // It was whole and on disk before anything was sealed with it: one that cannot be read has sealed nothing.
    let Ok(key) = of_file(&new) else { return Ok(()) };
    let opens = store::sqlite::opens_with(data, &Vault::new(&key));
    if opens.map_err(|error| BadSetting::new("data", error.to_string()))? != Some(true) {
        return Ok(());
    }
    let moved = || {
        if !same(&file, &old) {
            // One from a rotation before opens backups too: it goes out of the way, never away.
            if old.exists() {
                let free = (1u32..).map(|number| data.join(format!("{OLD}.{number}"))).find(|name| !name.exists());
                std::fs::rename(&old, free.unwrap_or_else(|| old.clone()))?;
            }
            std::fs::hard_link(&file, &old)?;
        }
        std::fs::rename(&new, &file)?;
        private_file::sync_directory(&file)
    };
    match moved() {
        // Another process has finished it at the same time.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !new.exists() => Ok(()),
        moved => moved.map_err(|error| unusable(&new, &error)),
    }
}

/// Whether both are the same file: what a rotation has left that was killed at its end.
fn same(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let inode = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino()));
    matches!((inode(one), inode(other)), (Ok(one), Ok(other)) if one == other)
}

fn read(text: &str, file: &Path) -> Result<Found, BadSetting> {
    let key = crate::settings::parse::encryption_key(text)
        .map_err(|said| BadSetting::new(SETTING, format!("{} holds no key: {said}", file.display())))?;
    Ok(Found { key, made: None })
}

fn make(data: &Path, file: &Path) -> Result<Found, BadSetting> {
    // An empty file is what a start leaves behind that was refused before it made a store.
    if std::fs::metadata(data.join(DATABASE)).is_ok_and(|store| store.len() > 0) {
        let said = format!(
            "there is a store in {}, and its key is gone: put {FILE} back, or give the key as POSTHASTE_ENCRYPTION_KEY",
            data.display()
        );
        return Err(BadSetting::new(SETTING, said));
    }
    embedded::make(data)?;
    let key = new();
    match private_file::create(file, text(&key).as_bytes()) {
        Ok(()) => Ok(Found { key, made: Some(file.to_owned()) }),
        // Another process was first; one of the two will find the store locked.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let text = std::fs::read_to_string(file).map_err(|error| unusable(file, &error))?;
            read(&Zeroizing::new(text), file)
        }
        Err(error) => Err(unusable(file, &error)),
    }
}

fn unusable(path: &Path, error: &io::Error) -> BadSetting {
    let denied = error.kind() == io::ErrorKind::PermissionDenied;
    let mend = if denied { ": run this as the user that it belongs to, or give it to this one" } else { "" };
    BadSetting::new(SETTING, format!("the key beside the data cannot be used: {}: {error}{mend}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::source::Environment;
    use crate::settings::{Mode, Typed, resolve};

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let environment = match pairs {
            [pair] => Environment::from([*pair]),
            _ => Environment::default(),
        };
        resolve(&Typed::default(), &environment, Mode::Dev).expect("defaults are fine")
    }

    #[test]
    fn made_once_kept_private_and_found_again() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        let made = find(&settings(&[]), &data).expect("a key is made");
        let file = made.made.expect("it was made");
        assert_eq!(std::fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
        let again = find(&settings(&[]), &data).expect("it is found");
        assert_eq!((again.key, again.made), (made.key, None));
        let row = |settings: &Settings, data| {
            let row = shown(settings, data).into_iter().find(|row| row.name == SETTING).expect("in the list");
            (row.value, row.origin.to_string())
        };
        assert_eq!(row(&settings(&[]), Some(&data)), (MASK.to_owned(), file.display().to_string()), "it is in use");
        assert_eq!(row(&settings(&[]), None), (String::new(), "default".to_owned()));
        let given = settings(&[("POSTHASTE_ENCRYPTION_KEY", &BASE64.encode(&[9; 32]))]);
        assert_eq!(row(&given, Some(&data)).1, "POSTHASTE_ENCRYPTION_KEY");
    }

    #[test]
    fn a_store_whose_key_is_gone_is_refused_and_a_given_key_goes_first() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join(DATABASE), b"SQLite format 3").expect("a store");
        let bad = find(&settings(&[]), directory.path()).expect_err("the key is gone");
        assert_eq!(bad.name, SETTING);
        assert!(!directory.path().join(FILE).exists(), "no other key was made");
        let given = BASE64.encode(&[9; 32]);
        let found = find(&settings(&[("POSTHASTE_ENCRYPTION_KEY", &given)]), directory.path()).expect("a key is given");
        assert_eq!(*found.key, [9; 32]);
        std::fs::write(directory.path().join(FILE), "short").expect("a file");
        assert_eq!(find(&settings(&[]), directory.path()).expect_err("it holds no key").name, SETTING);
    }

    #[test]
    fn a_store_that_is_not_there_is_told_from_one_without_its_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let nowhere = directory.path().join("nowhere");
        let given = BASE64.encode(&[9; 32]);
        for settings in [settings(&[]), settings(&[("POSTHASTE_ENCRYPTION_KEY", &given)])] {
            let bad = existing(&settings, &nowhere).expect_err("there is none");
            assert!(bad.name == "data" && bad.said.contains("there is no directory"), "{bad}");
        }
        let bad = existing(&settings(&[]), directory.path()).expect_err("there is no key");
        assert!(bad.name == SETTING && bad.said.contains("there is no encryption.key in"), "{bad}");
    }
}
