//! Checkpoints: pages go from SQLite's log into the file itself, beside the writer and not in its way.
//!
//! A thread of its own copies most of the log while the writer goes on; the writer copies the short rest, after which the
//! log starts from its beginning again. So the log stays short, and no commit waits for a long copy.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::engine::Engine;

/// From how many pages in the log on it is copied: 16 MiB.
const COPIED_FROM: i64 = 4_096;
/// A rest of so few pages is copied by the writer.
const REST_MAX: i64 = 1_024;
/// From so many pages on, the writer copies whatever the rest is: readers or a slow disk kept the thread from it.
const LOG_MAX: i64 = 131_072;
/// After how many transactions the log's length is looked at.
const LOOKED_AT_EVERY: u32 = 32;

/// The checkpoints of one store.
pub(super) struct Checkpoints {
    wake: Option<SyncSender<()>>,
    copying: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    since_look: u32,
}

/// The log's length in pages, and how many of them are copied.
struct Log {
    pages: i64,
    copied: i64,
    /// Something was in the way.
    busy: bool,
}

impl Checkpoints {
    /// Starts the thread that copies.
    pub(super) fn start(file: &Path) -> std::io::Result<Self> {
        let conn = Connection::open(file).map_err(std::io::Error::other)?;
        let (wake, woken) = sync_channel::<()>(1);
        let copying = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&copying);
        let thread = std::thread::Builder::new().name("checkpoint".to_owned()).spawn(move || {
            while woken.recv().is_ok() {
                report(&checkpoint(&conn, "PASSIVE"));
                done.store(false, Ordering::Release);
            }
        })?;
        Ok(Self { wake: Some(wake), copying, thread: Some(thread), since_look: 0 })
    }

    /// After a transaction: sees to it that the log stays short.
    pub(super) fn keep_up(&mut self, engine: &Engine) {
        self.since_look += 1;
        if self.since_look < LOOKED_AT_EVERY || self.copying.load(Ordering::Acquire) {
            return;
        }
        self.since_look = 0;
        let Ok(log) = checkpoint(&engine.conn, "NOOP") else { return };
        let rest = log.pages - log.copied;
        if log.pages < COPIED_FROM || rest == 0 {
            return;
        }
        if rest <= REST_MAX || log.pages > LOG_MAX {
            report(&checkpoint(&engine.conn, "PASSIVE"));
        } else if let Some(wake) = &self.wake {
            self.copying.store(true, Ordering::Release);
            if let Err(TrySendError::Full(()) | TrySendError::Disconnected(())) = wake.try_send(()) {
                self.copying.store(false, Ordering::Release);
            }
        }
    }

    /// Copies everything, and empties the log; returns whether that could be done, since a reader may be in the way.
    pub(super) fn empty(&self, engine: &Engine) -> bool {
        let copied = checkpoint(&engine.conn, "TRUNCATE");
        report(&copied);
        copied.is_ok_and(|log| !log.busy)
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // It has panicked: nothing depends on it any more.
            let _ = thread.join();
        }
    }
}

fn checkpoint(conn: &Connection, mode: &str) -> Result<Log, rusqlite::Error> {
    conn.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?
        .query_row([], |row| Ok(Log { pages: row.get(1)?, copied: row.get(2)?, busy: row.get(0)? }))
}

/// A failed copy loses nothing: the log still has the pages, and a disk that fails is met by the next commit.
fn report(copied: &Result<Log, rusqlite::Error>) {
    if let Err(error) = copied {
        tracing::warn!(%error, "pages could not be copied from the log into the database");
    }
}
