//! Space that is kept back, to be given up when the disk is full: attempts' ends can be recorded then, and old rows deleted,
//! while nothing new is accepted until the space could be taken again.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// The file's name in the data directory.
pub(super) const FILE: &str = "ballast";
/// How much later it is tried again to take the space.
const AGAIN: Duration = Duration::from_millis(250);

/// The space, or its want.
#[derive(Debug)]
pub(super) struct Ballast {
    file: Option<File>,
    bytes: u64,
    /// Set while it is given up: when to try again to take it.
    again_at: Option<Instant>,
}

impl Ballast {
    /// Takes `bytes` of the disk. Where that cannot be done, there is none: the store works, and has nothing to give up.
    pub(super) fn take(dir: &Path, bytes: u64) -> Self {
        let file = if bytes == 0 { None } else { Self::open(dir, bytes) };
        Self { file, bytes, again_at: None }
    }

    fn open(dir: &Path, bytes: u64) -> Option<File> {
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(dir.join(FILE));
        let taken = opened.and_then(|file| allocate(&file, bytes).map(|()| file));
        if let Err(error) = &taken {
            tracing::warn!(%error, bytes, "no space could be kept back for when the disk is full");
        }
        taken.ok()
    }

    /// Whether it has been given up: nothing new is to be accepted.
    pub(super) const fn is_given_up(&self) -> bool {
        self.again_at.is_some()
    }

    /// Gives it up, if it is there.
    pub(super) fn give_up(&mut self) {
        let Some(file) = self.file.as_ref().filter(|_| self.again_at.is_none()) else { return };
        match file.set_len(0) {
            Ok(()) => self.again_at = Some(Instant::now() + AGAIN),
            Err(error) => tracing::error!(%error, "the space that was kept back could not be given up"),
        }
    }

    /// Takes it again, once there is space.
    pub(super) fn retake(&mut self) {
        let now = Instant::now();
        let Some(file) = self.file.as_ref().filter(|_| self.again_at.is_some_and(|at| at <= now)) else { return };
        if allocate(file, self.bytes).is_ok() {
            self.again_at = None;
            tracing::info!("there is space on the disk again: events are accepted");
        } else {
            // What was taken of it, if anything was, is needed by others.
            let _ = file.set_len(0);
            self.again_at = Some(now + AGAIN);
        }
    }
}

/// Takes the space for good, without writing it.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes)?)
}
