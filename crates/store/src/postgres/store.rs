//! [`PostgresStore`]: the writer's task and the readers' connections, behind the store's seam.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::attempt::LoggedAttempt;
use domain::audit::{AuditQuery, By, Entry};
use domain::chronicle::{Chronicle, Mark, News};
use domain::cluster::{Arrival, Arrivals};
use domain::delivery::{Delivery, Due, Settlement};
use domain::directory::SharedDirectory;
use domain::event::{Event, Idempotency, NewEvent};
use domain::id::{AuditId, DeliveryId, EventId, ReplayId, WebhookId};
use domain::replay::{Coverage, Replay, Scope};
use domain::shard::Holdings;
use domain::stats::{Stats, StatsQuery};
use domain::store::{
    AcceptError, Accepted, Change, ChangeError, Changed, DeliveryQuery, EventQuery, Fact, Keep, Page, Store, StoreError,
};
use domain::time::{Clock, Timestamp};
use domain::vault::Vault;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::address::Address;
use super::connection::Connector;
use super::engine::{Chance, Engine};
use super::fault::{Fault, OpenError};
use super::limits::Limits;
use super::reader::Readers;
use super::shared::Shared;
use super::upkeep::Upkeep;
use super::writer::{self, FactsHook, Message, Writer};
use super::{open, schema};
use crate::batch::bytes;
use crate::figures::Figures;
use crate::rows::event_types::EventTypes;
use crate::rows::names::Names;

/// What a store is opened with.
pub struct Settings {
    /// Where the database is.
    pub address: Address,
    /// The operator's encryption key.
    pub vault: Vault,
    /// Filled with what is stored, and kept so.
    pub directory: SharedDirectory,
    /// The shards that this node serves; `None` where it serves all.
    pub holdings: Option<Holdings>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where nonces come from, and what tells nodes apart.
    pub chance: Chance,
    /// For how long what has ended is kept, where an account does not say otherwise; `None` for ever.
    pub keep: Option<Duration>,
    /// How many bytes the tables may take before the oldest days go; `None` for as many as come.
    pub size: Option<u64>,
    /// Bounds of what is kept in memory.
    pub limits: Limits,
    /// Called after each commit, on the writer's task, before anyone is answered: it must not block.
    pub facts: FactsHook,
}

/// The store on PostgreSQL.
pub struct PostgresStore {
    queue: UnboundedSender<Message>,
    readers: Arc<Readers>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    figures: Arc<Figures>,
    /// Answered once the writer has ended.
    ended: Mutex<Option<oneshot::Receiver<()>>>,
    upkeep: AbortHandle,
}

impl PostgresStore {
    /// Opens the store, or makes one, and starts its writer on the present runtime. The facts are for the dispatcher, before
    /// any that the hook is called with: every webhook, and the replays that go on; what waits comes from [`Store::due`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(settings: Settings) -> Result<(Self, Vec<Fact>), OpenError> {
        let Settings { address, vault, directory, holdings, clock, mut chance, keep, size, limits, facts } = settings;
        let now = clock.now();
        schema::migrate(&address, now).await?;
        let connector = Connector::new(address).map_err(Fault::at_open)?;
        open::first(&connector, &vault, &mut chance, now).await?;
        let names = Names::new(directory, EventTypes::default(), std::collections::HashMap::default());
        let shared = Arc::new(Shared::new(vault, names, holdings));
        let engine = Engine::new(connector.clone(), Arc::clone(&shared), limits, chance);
        let figures = Arc::<Figures>::default();
        let made = Writer::new(engine, Arc::clone(&clock), facts, Arc::clone(&figures));
        let (queue, ended, known) = writer::start(made).await?;
        let readers = Arc::new(Readers::new(connector.clone(), Arc::clone(&shared), limits.readers));
        let upkeep = Upkeep {
            connector,
            shared,
            clock: Arc::clone(&clock),
            figures: Arc::clone(&figures),
            keep,
            size,
            drop_again_after: limits.drop_again_after,
        };
        let upkeep = tokio::spawn(upkeep.run()).abort_handle();
        Ok((Self { queue, readers, clock, limits, figures, ended: Mutex::new(Some(ended)), upkeep }, known))
    }

    /// Figures for metrics.
    #[must_use]
    pub fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures)
    }

    /// Writes what waits, and lets go of the database. Later calls are answered with [`StoreError::Stopped`].
    pub async fn stop(&self) {
        // It has stopped already: then there is nothing to tell.
        let _ = self.queue.send(Message::Stop);
        self.upkeep.abort();
        self.readers.close();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ended) = ended
            && ended.await.is_err()
        {
            tracing::error!("the store's writer has panicked");
        }
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

    /// The writer's answer, if it does not take too long.
    async fn in_time<T>(&self, answered: oneshot::Receiver<T>) -> Result<T, StoreError> {
        match tokio::time::timeout(self.limits.answered_within, answered).await {
            Ok(answer) => answer.map_err(|_| stopped()),
            Err(_) => {
                // It is said for the operator here, and known where it is asked for.
                let _ = self.is_stuck();
                Err(StoreError::Unanswered)
            }
        }
    }

    /// Whether something waits for too long to be committed.
    fn is_stuck(&self) -> bool {
        self.readers.lack().is_stuck(Some(&self.figures.writing), self.limits.answered_within)
    }
}

fn stopped() -> StoreError {
    StoreError::Stopped("it was closed".to_owned())
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.upkeep.abort();
        // The writer ends by itself: nobody is left to ask it for anything.
        let _ = self.queue.send(Message::Stop);
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn accept(&self, events: Vec<NewEvent>) -> Vec<Result<Accepted, AcceptError>> {
        let number = events.len();
        if !self.has_room(number, bytes(&events)) {
            self.figures.refused_events.fetch_add(number as u64, Ordering::Relaxed);
            return vec![Err(AcceptError::Store(StoreError::Busy)); number];
        }
        let (answer, answered) = oneshot::channel();
        // If the task has ended, so has the answer's other end.
        let _ = self.queue.send(Message::Accept(events, answer));
        let answers = self.in_time(answered).await;
        answers.unwrap_or_else(|error| vec![Err(AcceptError::Store(error)); number])
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        // If the task has ended, so has the answer's other end.
        let _ = self.queue.send(Message::Settle(settlements, answer));
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    async fn change(&self, change: Change, by: By, keep: Option<Keep>) -> Result<Changed, ChangeError> {
        let (answer, answered) = oneshot::channel();
        // If the task has ended, so has the answer's other end.
        let _ = self.queue.send(Message::Change(Box::new((change, by, keep)), answer));
        self.in_time(answered).await?
    }

    async fn audit(&self, query: AuditQuery) -> Result<Page<Entry, AuditId>, StoreError> {
        Ok(self.readers.audit(&query).await?)
    }

    async fn due(
        &self,
        after: Option<(Timestamp, DeliveryId)>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        Ok(self.readers.due(after, until, limit).await?)
    }

    async fn backlog(
        &self,
        webhook: u32,
        after: Option<DeliveryId>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        Ok(self.readers.backlog(webhook, after, until, limit).await?)
    }

    async fn load(&self, wanted: Vec<(u32, EventId)>) -> Result<Vec<Arc<Event>>, StoreError> {
        Ok(self.readers.load(&wanted).await?)
    }

    async fn event(&self, account: u32, id: EventId) -> Result<Option<Arc<Event>>, StoreError> {
        Ok(self.readers.load(&[(account, id)]).await?.pop())
    }

    async fn events(&self, query: EventQuery) -> Result<Page<Arc<Event>, EventId>, StoreError> {
        Ok(self.readers.events(&query).await?)
    }

    async fn delivery(
        &self,
        account: u32,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<(Delivery, Vec<LoggedAttempt>)>, StoreError> {
        Ok(self.readers.delivery(account, id, now).await?)
    }

    async fn deliveries(&self, query: DeliveryQuery) -> Result<Page<Delivery, DeliveryId>, StoreError> {
        Ok(self.readers.deliveries(query).await?)
    }

    async fn stats(&self, query: StatsQuery) -> Result<Vec<Stats>, StoreError> {
        Ok(self.readers.stats(&query).await?)
    }

    async fn coverage(&self, scope: Scope, first: usize) -> Result<Coverage, StoreError> {
        Ok(self.readers.coverage(&scope, first).await?)
    }

    async fn prepare_replay(&self, scope: Scope, replay: Replay) -> Result<Replay, StoreError> {
        Ok(self.readers.prepare_replay(&scope, replay).await?)
    }

    async fn bulk_replay(&self, account: u32, id: ReplayId) -> Result<Option<Replay>, StoreError> {
        Ok(self.readers.bulk_replay(account, &id).await?)
    }

    async fn bulk_replays(
        &self,
        account: u32,
        before: Option<u32>,
        limit: usize,
        unfinished: bool,
    ) -> Result<Page<Replay, u32>, StoreError> {
        Ok(self.readers.bulk_replays(account, before, limit, unfinished).await?)
    }

    fn deleted_webhooks(&self, account: u32, id: &WebhookId) -> Vec<u32> {
        self.readers.shared.deleted_webhooks(account, id)
    }

    async fn kept(&self, idempotency: Idempotency) -> Result<Option<Changed>, ChangeError> {
        self.readers.kept(&idempotency, self.clock.now()).await
    }

    async fn oldest_due(&self, now: Timestamp, patient: HashSet<u32>) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.readers.oldest_due(now, &patient).await?)
    }

    async fn ready(&self) -> Result<(), StoreError> {
        if let Some(said) = self.readers.lack().any() {
            return Err(StoreError::Crowded(said));
        }
        // It may be read from though nothing can be written to it.
        if self.figures.away.load(Ordering::Relaxed) {
            return Err(StoreError::Away("nothing can be written to the database".to_owned()));
        }
        if let Some(refusal) = self.figures.refusal() {
            return Err(StoreError::Refused(refusal));
        }
        if self.is_stuck() {
            return Err(StoreError::Stuck);
        }
        self.oldest_due(Timestamp(0), HashSet::new()).await.map(drop)
    }
}

#[async_trait]
impl Arrivals for PostgresStore {
    async fn arrived(&self, arrivals: Vec<Arrival>) -> Result<(Vec<Due>, Vec<Arc<Event>>), StoreError> {
        Ok(self.readers.arrived(&arrivals).await?)
    }
}

#[async_trait]
impl Chronicle for PostgresStore {
    async fn follow(&self, accounts: Vec<u32>) -> Result<Vec<u32>, StoreError> {
        let before = self.readers.follow(accounts).await?;
        // What others had changed before it was written down is known here too from now on.
        self.learn().await?;
        Ok(before)
    }

    async fn learn(&self) -> Result<(), StoreError> {
        let (answer, learnt) = oneshot::channel();
        let _ = self.queue.send(Message::Learn(answer));
        learnt.await.map_err(|_| stopped())
    }

    async fn read(&self, accounts: Vec<u32>, after: Option<Mark>, until: Option<Mark>) -> Result<News, StoreError> {
        Ok(self.readers.chronicle(&accounts, after, until).await?)
    }
}
