//! Whose a data directory is, and all in it. Root may write everything, so where root looks, that says who else may.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::embedded::DATABASE;

/// What has to be written by the user who serves.
const FILES: [&str; 5] = [DATABASE, "posthaste.db-wal", "posthaste.db-shm", "lock", "encryption.key"];
/// What the owner has to be allowed: to make files in the directory, and to write them.
const OF_DIRECTORY: u32 = 0o700;
const OF_FILE: u32 = 0o600;
const ROOT: u32 = 0;

/// Whether root is who looks.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Who, if not root, can write the directory `data`, which is there, and what a store has in it.
///
/// # Errors
/// Why that is nobody, and the way out.
pub(super) fn writer(data: &Path) -> Result<String, String> {
    let owned = |path: PathBuf, wanted| {
        let found = std::fs::metadata(&path).ok()?;
        Some(Owned { path, owner: found.uid(), mode: found.mode(), wanted })
    };
    let directory = owned(data.to_owned(), OF_DIRECTORY).ok_or_else(|| format!("{} is gone", data.display()))?;
    judge(&directory, FILES.into_iter().filter_map(|file| owned(data.join(file), OF_FILE)), &name)
}

/// A file or directory, and what its owner is to be allowed.
struct Owned {
    path: PathBuf,
    owner: u32,
    mode: u32,
    wanted: u32,
}

fn judge(
    directory: &Owned,
    files: impl Iterator<Item = Owned>,
    name: &impl Fn(u32) -> String,
) -> Result<String, String> {
    let (data, owner) = (directory.path.display(), directory.owner);
    for Owned { path, owner: its, mode, wanted } in std::iter::once(directory).chain(&files.collect::<Vec<_>>()) {
        let shown = path.display();
        if *its != owner {
            return Err(format!(
                "{shown} belongs to {}, and {data} to {}: give all of it to the user who serves it: chown -R USER {data}",
                name(*its),
                name(owner)
            ));
        }
        if mode & wanted != *wanted {
            return Err(format!(
                "{shown} may not be written by {}, to whom it belongs: chmod {wanted:o} {shown}",
                name(owner)
            ));
        }
    }
    if owner == ROOT {
        let whose = "it belongs to root, as whom this was run";
        return Ok(format!("{whose}: where another user serves it, run this as that one"));
    }
    Ok(format!("it belongs to {}, who can write it: serve it as that user", name(owner)))
}

/// The name of a user, where this machine knows it by a line of its own.
fn name(user: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let is = |line: &&str| line.split(':').nth(2) == Some(&user.to_string());
    let name = users.lines().find(is).and_then(|line| line.split(':').next());
    name.map_or_else(|| format!("user {user}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_owns_all_of_it_can_write_it() {
        let name = |user: u32| if user == 0 { "root".to_owned() } else { format!("user {user}") };
        let says = |directory: (u32, u32), file: (u32, u32)| {
            let directory = Owned { path: "data".into(), owner: directory.0, mode: directory.1, wanted: OF_DIRECTORY };
            let file = Owned { path: "data/posthaste.db".into(), owner: file.0, mode: file.1, wanted: OF_FILE };
            judge(&directory, std::iter::once(file), &name)
        };
        let (ours, mine) = ((998, 0o100_600), (0, 0o100_600));
        assert_eq!(
            says((998, 0o40_700), ours).as_deref(),
            Ok("it belongs to user 998, who can write it: serve it as that user")
        );
        assert!(says((0, 0o40_700), mine).is_ok_and(|said| said.ends_with("run this as that one")));
        for (directory, file, words) in [
            ((998, 0o40_700), mine, "data/posthaste.db belongs to root, and data to user 998: give all of it to"),
            ((0, 0o40_700), ours, "data/posthaste.db belongs to user 998, and data to root"),
            ((998, 0o40_500), ours, "data may not be written by user 998, to whom it belongs: chmod 700 data"),
            ((998, 0o40_700), (998, 0o100_400), "chmod 600 data/posthaste.db"),
        ] {
            let said = says(directory, file).expect_err(words);
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn users_are_told_by_name() {
        assert_eq!((name(ROOT), name(u32::MAX - 7)), ("root".to_owned(), format!("user {}", u32::MAX - 7)));
    }
}
