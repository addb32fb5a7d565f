//! The engine: every write, one transaction after the other, without threads, clocks or chance of its own.
//!
//! The writer thread drives it in production, the simulation under virtual time. What a transaction means for memory is
//! staged, and comes true with its commit: so a crash is to drop the engine, and to open the file again.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use domain::audit::By;
use domain::delivery::Settlement;
use domain::directory::SharedDirectory;
use domain::event::{Event, NewEvent};
use domain::id::{DeliveryId, EventId};
use domain::store::{AcceptError, Accepted, Change, ChangeError, Changed, Fact, Keep, StoreError};
use domain::time::Timestamp;
use domain::vault::Vault;
use rusqlite::Connection;

use super::cancelling::HeldUntil;
use super::counted::{self, Counted};
use super::data_dir::DataDir;
use super::fault::{Fault, OpenError};
use super::figures::Key;
use super::fresh::FreshDelivery;
use super::limits::Limits;
use super::reader::Reader;
use super::recover::RecoverFault;
use super::replaying::Changed as ChangedReplays;
use super::retain::Shrinking;
use super::shared::Shared;
use super::sizes::Sizes;
use super::stamps::Stamps;
use super::young::Young;
use super::{event_types, events, journal, marks, schema};
pub(super) use crate::rows::entry::Entry;

/// Fills a slice with chance bytes: the nonces under which secrets are sealed.
pub type Chance = Box<dyn FnMut(&mut [u8]) + Send>;

/// The engine: one connection that writes.
///
/// [`Self::begin`], then [`Self::accept`] and [`Self::settle`] in any number, or one [`Self::change`], then
/// [`Self::commit`]. An error of the kind [`StoreError::NoSpace`] says that the disk is full: [`Self::rollback`], and nothing
/// has happened. After any other [`StoreError`] the engine is to be dropped.
pub struct Engine {
    pub(super) conn: Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) stamps: Stamps,
    pub(super) limits: Limits,
    pub(super) staged: Staged,
    /// Counts the events taken, to tell how far the oldest delivery without a row is behind.
    pub(super) turn: u64,
    /// [`Self::turn`] when the marks were written last.
    pub(super) marked_turn: u64,
    pub(super) retained_after: u64,
    /// From where on figures by the minute are not yet in those by the hour.
    pub(super) rolled: Key,
    /// How many rows of figures are in the journal.
    pub(super) journaled: usize,
    pub(super) young: Young,
    pub(super) sizes: Sizes,
    pub(super) shrinking: Shrinking,
    /// The webhook whose pause is ending by cancelling, and what of it that concerns: as asked, however long it takes.
    pub(super) resuming: Option<(u32, HeldUntil)>,
    pub(super) buffer: Vec<u8>,
    pub(super) chance: Chance,
    /// Holds the lock.
    pub(super) data_dir: DataDir,
}

/// What the present transaction will mean for memory.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) facts: Vec<Fact>,
    pub(super) fresh: Vec<(DeliveryId, FreshDelivery)>,
    /// How many of [`Self::fresh`] each webhook has.
    pub(super) fresh_of: HashMap<u32, usize>,
    pub(super) fresh_bytes: u64,
    /// Deliveries that have got their rows.
    pub(super) rows: HashSet<DeliveryId>,
    /// Those of them that are sent from memory all the same.
    pub(super) kept: Vec<(DeliveryId, FreshDelivery)>,
    pub(super) directory: Vec<Entry>,
    /// What it changes of the figures.
    pub(super) counted: Counted,
    /// Replays in bulk that are changed, and not written yet.
    pub(super) replays: ChangedReplays,
    /// How many events it has accepted.
    pub(super) events: usize,
    /// The last event accepted.
    pub(super) last_given: Option<Timestamp>,
    /// By how much what is kept of an account grows.
    pub(super) sizes: HashMap<u32, i64>,
}

/// What an engine is opened with.
pub struct Parts<'a> {
    /// The data directory; made if it is missing.
    pub dir: &'a Path,
    /// The operator's encryption key.
    pub vault: Vault,
    /// Filled with what is stored, and kept so.
    pub directory: SharedDirectory,
    /// Bounds of what is kept in memory.
    pub limits: Limits,
    /// Where nonces come from.
    pub chance: Chance,
    /// The time, for the account that exists from the first start on.
    pub now: Timestamp,
}

impl Engine {
    /// Opens the store, or makes one. The facts are what a scheduler has to know first: every webhook, then the events that
    /// have deliveries without a row, oldest first; everything else that waits comes from [`Reader::due`].
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed, except that a file of an earlier layout may have got the present one.
    pub fn open(parts: Parts<'_>) -> Result<(Self, Vec<Fact>), OpenError> {
        let dir = DataDir::open(parts.dir)?;
        let conn = schema::open(&dir.database, parts.limits.durable)?;
        let file = dir.database.clone();
        Self::recover(conn, dir, parts).map_err(|fault| match fault {
            RecoverFault::OtherKey => OpenError::OtherKey(file),
            RecoverFault::Fault(fault) => fault.at_open(file),
        })
    }

    /// A connection that reads what is committed. Readers may be used on other threads.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] if the file cannot be opened.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(Arc::clone(&self.shared))
    }

    /// Starts a transaction.
    ///
    /// # Errors
    /// [`StoreError`]; the engine is of no further use.
    pub fn begin(&mut self) -> Result<(), StoreError> {
        Ok(self.execute("BEGIN IMMEDIATE")?)
    }

    /// Accepts events: the answers in order. Facts come with the commit.
    ///
    /// # Errors
    /// [`StoreError`], after which the transaction cannot be committed.
    pub fn accept(
        &mut self,
        now: Timestamp,
        events: &[NewEvent],
    ) -> Result<Vec<Result<Accepted, AcceptError>>, StoreError> {
        let accepted = self.accept_all(now, events)?;
        self.write_marks()?;
        Ok(accepted)
    }

    /// Records the ends of attempts. Facts come with the commit.
    ///
    /// # Errors
    /// [`StoreError`], after which the transaction cannot be committed.
    pub fn settle(&mut self, now: Timestamp, settlements: &[Arc<Settlement>]) -> Result<(), StoreError> {
        Ok(self.settle_all(now, settlements)?)
    }

    /// Makes a change, in a transaction of its own, and writes what it was and by whom into the audit log.
    ///
    /// # Errors
    /// [`ChangeError`]: the transaction is to be rolled back.
    pub fn change(
        &mut self,
        now: Timestamp,
        change: Change,
        by: &By,
        keep: Option<Keep>,
    ) -> Result<Changed, ChangeError> {
        self.make(now, change, by, keep)
    }

    /// Ends the transaction: once this returns, it is on disk, and memory agrees with it.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was committed, unless the disk failed in the very act; the next start will tell.
    pub fn commit(&mut self) -> Result<Vec<Fact>, StoreError> {
        self.write_counted()?;
        let events = self.staged.events;
        let deliveries = self.staged.counted.take_inserted();
        self.young.grow(&self.conn, events, deliveries)?;
        self.execute("COMMIT")?;
        if let Some(lost) = self.data_dir.lost() {
            return Err(StoreError::Stopped(format!(
                "{} was removed or replaced while it was served: what is written now might be found by nobody; put it back or restore a backup, and start again",
                lost.display()
            )));
        }
        let mut staged = std::mem::take(&mut self.staged);
        if !staged.directory.is_empty() {
            self.shared.enter(std::mem::take(&mut staged.directory));
        }
        self.sizes.apply(staged.sizes);
        let mut fresh = self.shared.fresh_mut();
        for (webhook, change) in staged.counted.take_waiting() {
            fresh.add_on_disk(webhook, change);
        }
        for id in staged.rows {
            fresh.remove(id);
        }
        for (id, delivery) in staged.kept {
            fresh.keep(id, delivery);
        }
        for (id, delivery) in staged.fresh {
            fresh.insert(id, delivery);
        }
        for fact in &staged.facts {
            if let Fact::WebhookDeleted { webhook } = fact {
                fresh.forget_on_disk(*webhook);
            }
            fresh.follow(fact);
        }
        Ok(staged.facts)
    }

    /// Undoes the transaction.
    ///
    /// # Errors
    /// [`StoreError`]; the engine is of no further use.
    pub fn rollback(&mut self) -> Result<(), StoreError> {
        self.staged = Staged::default();
        // SQLite may have rolled back by itself, as it does when the disk is full.
        if !self.conn.is_autocommit() {
            self.execute("ROLLBACK")?;
        }
        let reserved = marks::number(&self.conn, marks::RESERVED)?.unwrap_or(0);
        self.stamps.reload(reserved);
        self.rolled = counted::rolled(&self.conn)?.unwrap_or_default();
        self.journaled = journal::rows(&self.conn)?;
        self.young = Young::load(&self.conn)?;
        self.marked_turn = 0;
        *self.shared.types_mut() = event_types::load(&self.conn)?;
        Ok(())
    }

    /// The data directory.
    pub(super) fn dir(&self) -> &Path {
        self.shared.file.parent().unwrap_or(Path::new("."))
    }

    /// How many deliveries wait in memory without a row.
    #[must_use]
    pub fn fresh(&self) -> usize {
        self.shared.fresh().len()
    }

    /// How far the latest timestamp leads the clock.
    #[must_use]
    pub fn timestamp_lead(&self, now: Timestamp) -> std::time::Duration {
        super::stamps::micros(EventId(self.stamps.next_key() - 1)).since(now)
    }

    pub(super) fn nonce(&mut self) -> [u8; 24] {
        nonce(&mut self.chance)
    }

    fn execute(&self, sql: &'static str) -> Result<(), Fault> {
        self.conn.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}

/// What a delivery without a row is, from its event.
pub(super) fn fresh_delivery(
    event: &Event,
    place: u16,
    event_type: u32,
    due_at: Timestamp,
    turn: u64,
) -> FreshDelivery {
    FreshDelivery {
        account: event.account,
        webhook: event.targets.get(usize::from(place)).copied().unwrap_or_default(),
        event_type,
        lead: events::lead(event),
        due_at,
        test: event.test,
        turn,
        bytes: (event.data.len() / event.targets.len().max(1)) as u32,
    }
}

pub(super) fn nonce(chance: &mut Chance) -> [u8; 24] {
    let mut nonce = [0; 24];
    chance(&mut nonce);
    nonce
}
