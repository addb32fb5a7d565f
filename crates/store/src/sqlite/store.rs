//! [`SqliteStore`]: the engine on a thread of its own, behind the store's seam.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use domain::attempt::LoggedAttempt;
use domain::audit::{AuditQuery, By, Entry};
use domain::delivery::{Delivery, Due, Settlement};
use domain::directory::SharedDirectory;
use domain::event::{Event, Idempotency, NewEvent};
use domain::id::{AuditId, DeliveryId, EventId, ReplayId, WebhookId};
use domain::replay::{Coverage, Replay, Scope};
use domain::stats::{Stats, StatsQuery};
use domain::store::{
    AcceptError, Accepted, Change, ChangeError, Changed, DeliveryQuery, EventQuery, Fact, Keep, Page, Store, StoreError,
};
use domain::time::{Clock, Timestamp};
use domain::vault::Vault;
use tokio::sync::oneshot;

use super::checkpoint::Checkpoints;
use super::engine::{Chance, Engine, Parts};
use super::fault::OpenError;
use super::limits::Limits;
use super::readers::Readers;
use super::replaying::Prepare;
use super::writer::{self, FactsHook, FatalHook, Figures, Message, Retention, Writer};
use crate::batch::bytes;

/// What a store is opened with.
pub struct Settings<'a> {
    /// The data directory; made if it is missing.
    pub dir: &'a Path,
    /// The operator's encryption key.
    pub vault: Vault,
    /// Filled with what is stored, and kept so.
    pub directory: SharedDirectory,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where nonces come from.
    pub chance: Chance,
    /// What is kept, where an account does not say otherwise.
    pub retention: Retention,
    /// Bounds of what is kept in memory.
    pub limits: Limits,
    /// Called after each commit, on the writer's thread, before anyone is answered: it must not block.
    pub facts: FactsHook,
    /// Called once, on the writer's thread, if the disk fails: the process is to end.
    pub fatal: FatalHook,
}

/// The store in one SQLite file.
pub struct SqliteStore {
    queue: Sender<Message>,
    readers: Arc<Readers>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    figures: Arc<Figures>,
    /// Why it takes nothing any more.
    stopped: Arc<OnceLock<String>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteStore {
    /// Opens the store, or makes one, and starts its writer. The facts are for the dispatcher, before any that the hook
    /// is called with: every webhook, then the events that have deliveries without a row, oldest first; what else waits
    /// comes from [`Store::due`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(settings: Settings<'_>) -> Result<(Self, Vec<Fact>), OpenError> {
        let Settings { dir, vault, directory, clock, chance, retention, limits, facts, fatal } = settings;
        let parts = Parts { dir, vault, directory, limits, chance, now: clock.now() };
        let (mut engine, known) = Engine::open(parts)?;
        engine.stays()?;
        let figures = Arc::<Figures>::default();
        figures.fresh.store(engine.fresh(), Ordering::Relaxed);
        let shared = Arc::clone(&engine.shared);
        let file = shared.file.clone();
        let unusable = |error: std::io::Error| OpenError::Unusable { file: file.clone(), what: error.to_string() };
        let checkpoints = Checkpoints::start(&file).map_err(unusable)?;
        let (queue, messages) = writer::queue();
        let stopped = Arc::<OnceLock<String>>::default();
        let made = Writer::new(engine, Arc::clone(&clock), facts, Arc::clone(&figures), checkpoints, retention);
        let why = Arc::clone(&stopped);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| made.run(&messages)))
                    .unwrap_or_else(|_| Err("its thread has panicked".to_owned()));
                let text = ended.as_ref().err().map_or("it was closed", String::as_str);
                // It is set once: this thread is the only one that does.
                let _ = why.set(text.to_owned());
                // Whoever waits in the queue is answered by its end.
                drop(messages);
                if let Err(error) = ended {
                    tracing::error!(%error, "the store has stopped");
                    fatal(&error);
                }
            })
            .map_err(unusable)?;
        let readers = Readers::new(shared, limits.readers);
        let thread = Mutex::new(Some(thread));
        Ok((Self { queue, readers, clock, limits, figures, stopped, thread }, known))
    }

    /// Figures for metrics.
    #[must_use]
    pub fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures)
    }

    /// Writes what waits, closes the file and lets go of the data directory. Later calls are answered with
    /// [`StoreError::Stopped`]. Blocks until that is done.
    pub fn stop(&self) {
        // It has stopped already: then there is nothing to tell.
        let _ = self.queue.send(Message::Stop);
        self.readers.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The hook for a fault may have panicked; the store has stopped before that.
            let _ = thread.join();
        }
    }

    fn why_stopped(&self) -> StoreError {
        StoreError::Stopped(self.stopped.get().cloned().unwrap_or_else(|| "its thread has ended".to_owned()))
    }

    /// Whether so many more events may wait.
    fn has_room(&self, events: usize, bytes: usize) -> bool {
        let waiting = self.figures.waiting_events.fetch_add(events, Ordering::Relaxed);
        let waiting_bytes = self.figures.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let room = waiting + events <= self.limits.waiting_events && waiting_bytes + bytes <= self.limits.waiting_bytes;
        if !room {
            self.figures.waiting_events.fetch_sub(events, Ordering::Relaxed);
            self.figures.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        room
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.stop();
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn accept(&self, events: Vec<NewEvent>) -> Vec<Result<Accepted, AcceptError>> {
        let number = events.len();
        if !self.has_room(number, bytes(&events)) {
            self.figures.refused_events.fetch_add(number as u64, Ordering::Relaxed);
            return vec![Err(AcceptError::Store(StoreError::Busy)); number];
        }
        let (answer, answered) = oneshot::channel();
        let sent = self.queue.send(Message::Accept(events, answer)).is_ok();
        match answered.await {
            Ok(answers) if sent => answers,
            Ok(_) | Err(_) => vec![Err(AcceptError::Store(self.why_stopped())); number],
        }
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        // If the thread has ended, so has the answer's other end.
        let _ = self.queue.send(Message::Settle(settlements, answer));
        answered.await.unwrap_or_else(|_| Err(self.why_stopped()))
    }

    async fn change(&self, change: Change, by: By, keep: Option<Keep>) -> Result<Changed, ChangeError> {
        let (answer, answered) = oneshot::channel();
        // If the thread has ended, so has the answer's other end.
        let _ = self.queue.send(Message::Change(Box::new((change, by, keep)), answer));
        answered.await.unwrap_or_else(|_| Err(self.why_stopped().into()))
    }

    async fn audit(&self, query: AuditQuery) -> Result<Page<Entry, AuditId>, StoreError> {
        self.readers.read(move |reader| reader.audit(&query)).await
    }

    async fn due(
        &self,
        after: Option<(Timestamp, DeliveryId)>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        self.readers.read(move |reader| reader.due(after, until, limit)).await
    }

    async fn backlog(
        &self,
        webhook: u32,
        after: Option<DeliveryId>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        self.readers.read(move |reader| reader.backlog(webhook, after, until, limit)).await
    }

    async fn load(&self, wanted: Vec<(u32, EventId)>) -> Result<Vec<Arc<Event>>, StoreError> {
        self.readers.read(move |reader| reader.load(&wanted)).await
    }

    async fn event(&self, account: u32, id: EventId) -> Result<Option<Arc<Event>>, StoreError> {
        self.readers.read(move |reader| reader.event(account, id)).await
    }

    async fn events(&self, query: EventQuery) -> Result<Page<Arc<Event>, EventId>, StoreError> {
        self.readers.read(move |reader| reader.events(&query)).await
    }

    async fn delivery(
        &self,
        account: u32,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<(Delivery, Vec<LoggedAttempt>)>, StoreError> {
        self.readers.read(move |reader| reader.delivery(account, id, now)).await
    }

    async fn deliveries(&self, query: DeliveryQuery) -> Result<Page<Delivery, DeliveryId>, StoreError> {
        self.readers.read(move |reader| reader.deliveries(&query)).await
    }

    async fn stats(&self, query: StatsQuery) -> Result<Vec<Stats>, StoreError> {
        self.readers.read(move |reader| reader.stats(&query)).await
    }

    async fn coverage(&self, scope: Scope, first: usize) -> Result<Coverage, StoreError> {
        self.readers.read(move |reader| reader.coverage(&scope, first)).await
    }

    async fn prepare_replay(&self, scope: Scope, mut replay: Replay) -> Result<Replay, StoreError> {
        let (queue, stopped) = (self.queue.clone(), self.why_stopped());
        // On a thread that may block: each part is written before the next one is read.
        let step = move |step: Prepare| {
            let (answer, answered) = oneshot::channel();
            // If the thread has ended, so has the answer's other end.
            let _ = queue.send(Message::Prepare(step, answer));
            answered.blocking_recv().unwrap_or_else(|_| Err(stopped.clone()))
        };
        self.readers
            .read(move |reader| {
                replay.number = step(Prepare::Begin(Box::new(replay.clone())))?;
                let number = replay.number;
                replay.left_out = reader.list_covered(&scope, |ids| {
                    let listed = replay.total;
                    replay.total += ids.len() as u64;
                    step(Prepare::List { replay: number, listed, ids }).map(|_| ())
                })?;
                step(Prepare::End { replay: number, total: replay.total, left_out: replay.left_out })?;
                Ok(replay)
            })
            .await
    }

    async fn bulk_replay(&self, account: u32, id: ReplayId) -> Result<Option<Replay>, StoreError> {
        self.readers.read(move |reader| reader.bulk_replay(account, &id)).await
    }

    async fn bulk_replays(
        &self,
        account: u32,
        before: Option<u32>,
        limit: usize,
        unfinished: bool,
    ) -> Result<Page<Replay, u32>, StoreError> {
        self.readers.read(move |reader| reader.bulk_replays(account, before, limit, unfinished)).await
    }

    fn deleted_webhooks(&self, account: u32, id: &WebhookId) -> Vec<u32> {
        self.readers.shared.deleted_webhooks(account, id)
    }

    async fn kept(&self, idempotency: Idempotency) -> Result<Option<Changed>, ChangeError> {
        let now = self.clock.now();
        self.readers.read(move |reader| reader.kept(&idempotency, now)).await
    }

    async fn oldest_due(&self, now: Timestamp, patient: HashSet<u32>) -> Result<Option<Timestamp>, StoreError> {
        self.readers.read(move |reader| reader.oldest_due(now, &patient)).await
    }
}
