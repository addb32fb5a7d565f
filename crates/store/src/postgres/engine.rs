//! The engine: every write of this node, one transaction after the other.
//!
//! What a transaction means for memory, and what others are to be told of it, is staged, and comes true with its commit. Where a
//! connection is lost in the very act of committing nobody knows whether it was: then what this node holds of its own rows is
//! forgotten, and what is committed is learnt from the database like another node's.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use domain::delivery::Settlement;
use domain::event::NewEvent;
use domain::id::EventId;
use domain::stats::Figures;
use domain::store::Fact;
use domain::time::Timestamp;

use super::accept::{self, New, Rows};
use super::cancelling::HeldUntil;
use super::chronicle::{self, Heads};
use super::connection::{Connector, HOT, Link, Purpose};
use super::deliveries::Moves;
use super::directory::{self, Entry};
use super::fault::Fault;
use super::feed::{self, Feed, Told};
use super::figures::{Counted, Key, Totals};
use super::in_memory::InMemory;
use super::lack::Lack;
use super::limits::Limits;
use super::partitions::{Day, Partitions};
use super::replays::ReplayRow;
use super::settle;
use super::shared::Shared;
use crate::batch::Answered;
use crate::rows::stamps::{RESERVED_AHEAD, SLOTS, Stamps, micros};

/// Fills a slice with chance bytes: the nonces under which secrets are sealed, and what tells nodes apart.
pub type Chance = Box<dyn FnMut(&mut [u8]) + Send + Sync>;

/// Begins a transaction that has its number at once: who begins to follow an account waits for those that may have looked before whether
/// somebody does.
const BEGIN_TO_WRITE: &str = "BEGIN; SELECT pg_current_xact_id()";
/// The advisory locks by which slots are held: the upper half of their numbers.
pub(super) const SLOT_LOCK: i32 = 0x706f_7374;

/// The engine.
pub(super) struct Engine {
    connector: Connector,
    link: Option<Arc<Link>>,
    pub(super) shared: Arc<Shared>,
    pub(super) limits: Limits,
    pub(super) stamps: Stamps,
    slot: u16,
    pub(super) partitions: Partitions,
    pub(super) chance: Chance,
    /// Tells what this node has written from what others have. Another one after each loss of the connection.
    pub(super) node: i64,
    /// The key of the last entry of the audit log that this node has written.
    pub(super) last_entry: u64,
    pub(super) feed: Feed,
    pub(super) totals: Totals,
    pub(super) memory: InMemory,
    pub(super) staged: Staged,
    /// What is cancelled by the resuming that is being made.
    pub(super) resuming: Option<HeldUntil>,
}

/// Rows that are being written.
pub(super) type Inserting = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>>;

/// What the present transaction will mean for memory, and what of it is not written yet.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) facts: Vec<Fact>,
    /// What other nodes are to be told beside what follows from `directory`.
    pub(super) told: Vec<Told>,
    pub(super) directory: Vec<Entry>,
    /// Versions of accounts' parts of the directory; `None` for those that are gone.
    pub(super) versions: Vec<(u32, Option<i64>)>,
    pub(super) counted: Counted,
    pub(super) new: New,
    /// The rows of what is accepted.
    pub(super) rows: Arc<Rows>,
    /// Their writing, where it has begun. (Nobody waits for the lock: it says that one at a time looks at it.)
    pub(super) inserting: Mutex<Option<Inserting>>,
    pub(super) moves: Moves,
    /// Of attempts that were recorded, what their events are: for those who follow the account.
    pub(super) heads: Heads,
    /// Replays in bulk that are changed, and not written yet.
    pub(super) replays: BTreeMap<u32, ReplayRow>,
    /// Those of the accounts that somebody follows; `None` where that has not been asked.
    pub(super) followed: Option<BTreeSet<u32>>,
}

impl Staged {
    /// Whether it is written without waiting for what the database says to a part of it.
    fn goes_in_one(&self) -> bool {
        self.followed.is_some() && self.new.keys.is_empty()
    }
}

impl Engine {
    pub(super) fn new(connector: Connector, shared: Arc<Shared>, limits: Limits, mut chance: Chance) -> Self {
        let node = number(&mut chance);
        Self {
            connector,
            link: None,
            shared,
            limits,
            stamps: Stamps::after(0),
            slot: 0,
            partitions: Partitions::default(),
            chance,
            node,
            last_entry: 0,
            feed: Feed::default(),
            totals: Totals::of_writer(node),
            memory: InMemory::default(),
            staged: Staged::default(),
            resuming: None,
        }
    }

    /// The connection.
    pub(super) fn link(&self) -> Result<Arc<Link>, Fault> {
        self.link.clone().ok_or_else(|| Fault::Lost("there is no connection".to_owned()))
    }

    /// What connections are lacking.
    pub(super) fn lack(&self) -> &Lack {
        self.connector.lack()
    }

    /// Connects, unless there is a connection: then everything that depends on it is made anew.
    pub(super) async fn connect(&mut self, now: Timestamp) -> Result<(), Fault> {
        if self.link.as_ref().is_some_and(|link| !link.is_closed()) {
            return Ok(());
        }
        // Apart, since it is rare, and large.
        Box::pin(self.connect_anew(now)).await
    }

    async fn connect_anew(&mut self, now: Timestamp) -> Result<(), Fault> {
        self.disconnect();
        let link = Arc::new(self.connector.connect(Purpose::Write).await?);
        link.batch(HOT).await?;
        let (slot, reserved) = self.take_slot(&link).await?;
        self.slot = slot;
        // A node that died a moment ago may have given keys up to there. To give later ones at once would be to place what is
        // accepted here behind what others accept after it.
        let lead = reserved.saturating_sub(now.0);
        if (1..=RESERVED_AHEAD).contains(&lead) {
            tokio::time::sleep(Duration::from_micros(lead.unsigned_abs())).await;
        }
        self.stamps = Stamps::of_slot(reserved, slot);
        self.partitions.make(&link, Day::at(now)).await?;
        self.link = Some(link);
        Ok(())
    }

    /// Lets go of the connection, and of what nobody knows whether it was committed in it.
    pub(super) fn disconnect(&mut self) {
        if self.link.take().is_some() {
            self.node = number(&mut self.chance);
            self.totals = Totals::of_writer(self.node);
        }
    }

    /// Takes a number that no other connection holds; keys are given from beyond what was ever reserved by those who are gone.
    /// Who is there gives keys of the present moment, as this one will.
    async fn take_slot(&mut self, link: &Link) -> Result<(u16, i64), Fault> {
        let first = (number(&mut self.chance) as u64 % u64::from(SLOTS)) as u16;
        for slot in (0..SLOTS).map(|step| (first + step) % SLOTS) {
            let sql = "SELECT pg_try_advisory_lock($1, $2)";
            let taken = link.row(sql, &[&SLOT_LOCK, &i32::from(slot)]).await?;
            if taken.is_some_and(|row| row.get(0)) {
                let sql = "SELECT coalesce(max(reserved), 0) FROM slots
                           WHERE slot = $2 OR slot NOT IN
                               (SELECT objid::bigint FROM pg_locks
                                WHERE locktype = 'advisory' AND classid::bigint = $1::integer AND granted
                                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
                let reserved = link.row(sql, &[&SLOT_LOCK, &(slot as i16)]).await?;
                return Ok((slot, reserved.map_or(0, |row| row.get(0))));
            }
        }
        Err(Fault::Refused(format!("{SLOTS} nodes write already")))
    }

    /// Starts a transaction.
    pub(super) async fn begin(&mut self) -> Result<(), Fault> {
        self.staged = Staged::default();
        self.link()?.batch("BEGIN").await
    }

    /// Accepts events and records ends of attempts, in a transaction that this begins. What has to be known first is asked for in one
    /// go; while the database looks, it is decided what becomes of the events, and while it writes those, what becomes of the
    /// deliveries. That goes out in one with the commit.
    pub(super) async fn record(
        &mut self,
        now: Timestamp,
        events: &[NewEvent],
        ends: &[Arc<Settlement>],
        again: bool,
    ) -> Result<Answered, Fault> {
        self.staged = Staged::default();
        let (link, shared) = (self.link()?, Arc::clone(&self.shared));
        let mut asking = std::pin::pin!(async {
            tokio::try_join!(
                biased;
                link.batch(BEGIN_TO_WRITE),
                chronicle::followed_of(&link, &shared, events, ends),
                settle::Before::ask(&link, &shared, ends, again),
                accept::Before::ask(&link, &shared, now, events),
            )
        });
        let mut answers = None;
        let asked = match sent(asking.as_mut()).await {
            Poll::Ready(asked) => asked,
            Poll::Pending => {
                // What an idempotency key says decides about its event; the rest is as memory has it, or the transaction is made again.
                if link.has_sent_all() && !events.is_empty() && events.iter().all(|event| event.idempotency.is_none()) {
                    tokio::task::yield_now().await;
                    answers = Some(self.accept(now, events, Vec::new())?);
                    let inserting = begin(Arc::clone(&link), Arc::clone(&self.staged.rows)).await;
                    self.staged.inserting = Mutex::new(Some(inserting));
                }
                asking.await
            }
        };
        let ((), followed, settling, accepting) = asked?;
        accepting.fits(&shared)?;
        self.staged.followed = Some(followed);
        let answers = match answers {
            Some(answers) => answers,
            None => self.accept(now, events, accepting.found)?,
        };
        match self.settle(now, ends, again, settling).await {
            Ok(()) => Ok(answers),
            Err(fault) => Err(self.first_fault(fault).await),
        }
    }

    /// The fault that a transaction is told by: where its events could not be inserted, the database refuses every statement behind that.
    async fn first_fault(&mut self, fault: Fault) -> Fault {
        let inserting = std::mem::take(&mut self.staged.inserting).into_inner().unwrap_or_else(PoisonError::into_inner);
        match inserting {
            Some(inserting) if matches!(fault, Fault::Refused(_)) => match inserting.await {
                Err(first) => {
                    if matches!(first, Fault::Taken(_)) {
                        self.contend(&Arc::clone(&self.staged.rows));
                    }
                    not_inserted(first)
                }
                Ok(()) => fault,
            },
            Some(_) | None => fault,
        }
    }

    /// Another node gives timestamps of these events' accounts too.
    fn contend(&mut self, rows: &Rows) {
        rows.events.iter().for_each(|(event, _)| self.stamps.contend(event.account));
    }

    /// Writes what is staged of moved deliveries.
    pub(super) async fn write_moves(&mut self) -> Result<(), Fault> {
        let moves = std::mem::take(&mut self.staged.moves);
        moves.write(&*self.link()?).await
    }

    /// Ends the transaction: once this returns, it is on disk, and memory agrees with it.
    pub(super) async fn commit(&mut self) -> Result<Vec<Fact>, Fault> {
        let link = self.link()?;
        let sums = self.write_and_commit(&link).await?;
        self.totals.committed(sums);
        let staged = std::mem::take(&mut self.staged);
        if !staged.directory.is_empty() {
            self.shared.enter(staged.directory);
        }
        for (account, version) in staged.versions {
            self.shared.set_version(account, version);
        }
        for fact in &staged.facts {
            self.memory.follow(fact);
        }
        Ok(staged.facts)
    }

    /// Writes everything that is staged, and the transaction's end behind it in the same go, where that need not wait for what the
    /// database says.
    async fn write_and_commit(&mut self, link: &Link) -> Result<Vec<(Key, Figures)>, Fault> {
        let in_one = self.staged.goes_in_one();
        let mut writing = std::pin::pin!(self.write(link));
        let sent = sent(writing.as_mut()).await;
        if sent.is_pending() && in_one && link.has_sent_all() {
            // Where a statement fails, the database commits nothing.
            let (sums, ()) = tokio::try_join!(biased; writing, link.batch("COMMIT"))?;
            return Ok(sums);
        }
        let sums = match sent {
            Poll::Ready(written) => written?,
            Poll::Pending => writing.await?,
        };
        link.batch("COMMIT").await?;
        Ok(sums)
    }

    /// Writes everything that is staged, in one go; gives what figures there are once it is committed.
    ///
    /// # Errors
    /// [`Fault::Conflict`] where another node has accepted under the same key, or given the same timestamp.
    async fn write(&mut self, link: &Link) -> Result<Vec<(Key, Figures)>, Fault> {
        if self.totals.is_large() {
            self.totals = Totals::of_writer(number(&mut self.chance));
        }
        let (new, moves) = (std::mem::take(&mut self.staged.new), std::mem::take(&mut self.staged.moves));
        let (rows, inserting) = (Arc::clone(&self.staged.rows), std::mem::take(&mut self.staged.inserting));
        let inserting = inserting.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (counted, told) = (std::mem::take(&mut self.staged.counted), self.take_told());
        let reserved = new.last.and_then(|last| self.stamps.reserve(last));
        let mut contended = false;
        let accepted = async {
            let inserted = match inserting {
                Some(inserting) => inserting.await,
                None => rows.insert(link).await,
            };
            inserted.map_err(|fault| {
                contended = matches!(fault, Fault::Taken(_));
                not_inserted(fault)
            })
        };
        // After the first that fails all others do.
        let written = tokio::try_join!(
            biased;
            accepted,
            new.keys.write(link),
            self.reserve(link, reserved),
            moves.write(link),
            self.totals.write(link, counted),
            feed::write(link, self.node, &told),
            self.write_down(link),
        );
        if contended {
            self.contend(&rows);
        }
        let ((), (), (), (), sums, (), ()) = written?;
        Ok(sums)
    }

    /// Undoes the transaction. A connection that cannot even do that is let go.
    pub(super) async fn rollback(&mut self) {
        self.staged = Staged::default();
        // A mark that it was to write is not there.
        self.stamps.reload(0);
        let Some(link) = self.link.clone() else { return };
        if link.batch("ROLLBACK").await.is_err() {
            self.disconnect();
        }
    }

    /// Remembers how far keys were given, if it is time, in the present transaction.
    async fn reserve(&self, link: &Link, reserved: Option<i64>) -> Result<(), Fault> {
        let Some(reserved) = reserved else { return Ok(()) };
        link.run(
            "INSERT INTO slots (slot, reserved) VALUES ($1, $2)
             ON CONFLICT (slot) DO UPDATE SET reserved = greatest(slots.reserved, excluded.reserved)",
            &[&(self.slot as i16), &reserved],
        )
        .await?;
        Ok(())
    }

    /// How far the latest key leads the clock.
    pub(super) fn timestamp_lead(&self, now: Timestamp) -> std::time::Duration {
        micros(EventId(self.stamps.next_key() - 1)).since(now)
    }

    pub(super) fn nonce(&mut self) -> [u8; 24] {
        let mut nonce = [0; 24];
        (self.chance)(&mut nonce);
        nonce
    }

    /// An account's part of the directory has changed: its version grows with this transaction.
    pub(super) async fn raise_version(&mut self, account: u32) -> Result<(), Fault> {
        let version = directory::raise_version(&*self.link()?, account).await?;
        self.staged.versions.push((account, Some(version)));
        Ok(())
    }
}

/// What it means for a transaction that its events could not be inserted.
fn not_inserted(fault: Fault) -> Fault {
    match fault {
        Fault::Taken(_) => Fault::Conflict("two nodes gave the same timestamp".to_owned()),
        Fault::Conflict(_)
        | Fault::Stale
        | Fault::Lost(_)
        | Fault::Crowded(_)
        | Fault::Damaged(_)
        | Fault::Full
        | Fault::NotPermitted(_)
        | Fault::NoDatabase(_)
        | Fault::NotLetIn(_)
        | Fault::NoTls(_)
        | Fault::Unfit(_)
        | Fault::Refused(_) => fault,
    }
}

/// Polls something for the first time, which sends what it says to the database. It is over where a part of it could not be said.
async fn sent<F: Future + ?Sized>(mut saying: Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(saying.as_mut().poll(cx))).await
}

/// Begins to write rows, and gives the rest of that.
async fn begin(link: Arc<Link>, rows: Arc<Rows>) -> Inserting {
    let mut inserting: Inserting = Box::pin(async move { rows.insert(&link).await });
    match sent(inserting.as_mut()).await {
        Poll::Ready(inserted) => Box::pin(std::future::ready(inserted)),
        Poll::Pending => inserting,
    }
}

/// A chance number, not negative.
fn number(chance: &mut Chance) -> i64 {
    let mut bytes = [0; 8];
    chance(&mut bytes);
    i64::from_le_bytes(bytes) & i64::MAX
}
