//! The real engine, driven without its thread, so that a test knows when everything has happened.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    AcceptError, Accepted, Change, ChangeError, Changed, DeliveryQuery, EventQuery, Keep, Page, Store, StoreError,
};
use domain::time::{Clock, Timestamp};
use domain::vault::Vault;
use server::Live;
use store::sqlite::{Engine, Limits, Parts, Prepare, Reader};

/// The engine and one reader.
pub(crate) struct EngineStore {
    engine: Mutex<Engine>,
    reader: Mutex<Reader>,
    clock: Arc<dyn Clock>,
    live: Live,
    /// Whether it says that it is busy.
    pub(crate) busy: std::sync::atomic::AtomicBool,
    /// Whether it says that nothing is committed.
    pub(crate) stuck: std::sync::atomic::AtomicBool,
}

impl EngineStore {
    pub(crate) fn open(dir: &Path, directory: SharedDirectory, clock: Arc<dyn Clock>, live: Live) -> Self {
        let mut state = 0u8;
        let chance = Box::new(move |bytes: &mut [u8]| {
            for byte in bytes {
                state = state.wrapping_mul(31).wrapping_add(7);
                *byte = state;
            }
        });
        let now = clock.now();
        let vault = Vault::new(&[7; 32]);
        let limits = Limits { durable: false, ..Limits::default() };
        let (engine, _facts) =
            Engine::open(Parts { dir, vault, directory, limits, chance, now }).expect("a new store opens");
        let reader = engine.reader().expect("a new store can be read");
        Self {
            engine: Mutex::new(engine),
            reader: Mutex::new(reader),
            clock,
            live,
            busy: false.into(),
            stuck: false.into(),
        }
    }

    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, engine: &mut Engine) -> Result<(), StoreError> {
        for fact in engine.commit()? {
            self.live.publish(std::slice::from_ref(&fact));
        }
        Ok(())
    }

    fn ready(&self) -> Result<(), StoreError> {
        if self.stuck.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(StoreError::Stuck);
        }
        if self.busy.load(std::sync::atomic::Ordering::SeqCst) { Err(StoreError::Busy) } else { Ok(()) }
    }
}

#[async_trait]
impl Store for EngineStore {
    async fn accept(&self, events: Vec<NewEvent>) -> Vec<Result<Accepted, AcceptError>> {
        if let Err(error) = self.ready() {
            return events.iter().map(|_| Err(error.clone().into())).collect();
        }
        let mut engine = self.engine();
        engine.begin().expect("a transaction begins");
        let accepted = engine.accept(self.clock.now(), &events).expect("the engine accepts");
        self.commit(&mut engine).expect("a transaction commits");
        accepted
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), StoreError> {
        let mut engine = self.engine();
        engine.begin()?;
        let settlements: Vec<_> = settlements.into_iter().map(Arc::new).collect();
        engine.settle(self.clock.now(), &settlements)?;
        self.commit(&mut engine)
    }

    async fn change(&self, change: Change, by: By, keep: Option<Keep>) -> Result<Changed, ChangeError> {
        self.ready()?;
        let mut engine = self.engine();
        engine.begin()?;
        match engine.change(self.clock.now(), change, &by, keep) {
            Ok(changed) => {
                self.commit(&mut engine)?;
                Ok(changed)
            }
            Err(error) => {
                engine.rollback()?;
                Err(error)
            }
        }
    }

    async fn audit(&self, query: AuditQuery) -> Result<Page<Entry, AuditId>, StoreError> {
        self.reader().audit(&query)
    }

    async fn due(
        &self,
        after: Option<(Timestamp, DeliveryId)>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        self.reader().due(after, until, limit)
    }

    async fn backlog(
        &self,
        webhook: u32,
        after: Option<DeliveryId>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        self.reader().backlog(webhook, after, until, limit)
    }

    async fn load(&self, wanted: Vec<(u32, EventId)>) -> Result<Vec<Arc<Event>>, StoreError> {
        self.reader().load(&wanted)
    }

    async fn event(&self, account: u32, id: EventId) -> Result<Option<Arc<Event>>, StoreError> {
        self.reader().event(account, id)
    }

    async fn events(&self, query: EventQuery) -> Result<Page<Arc<Event>, EventId>, StoreError> {
        self.reader().events(&query)
    }

    async fn delivery(
        &self,
        account: u32,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<(Delivery, Vec<LoggedAttempt>)>, StoreError> {
        self.reader().delivery(account, id, now)
    }

    async fn deliveries(&self, query: DeliveryQuery) -> Result<Page<Delivery, DeliveryId>, StoreError> {
        self.reader().deliveries(&query)
    }

    async fn stats(&self, query: StatsQuery) -> Result<Vec<Stats>, StoreError> {
        self.reader().stats(&query)
    }

    async fn coverage(&self, scope: Scope, first: usize) -> Result<Coverage, StoreError> {
        self.reader().coverage(&scope, first)
    }

    async fn prepare_replay(&self, scope: Scope, mut replay: Replay) -> Result<Replay, StoreError> {
        let step = |step| {
            let mut engine = self.engine();
            engine.begin()?;
            let number = engine.prepare(self.clock.now(), step)?;
            self.commit(&mut engine).map(|()| number)
        };
        replay.number = step(Prepare::Begin(Box::new(replay.clone())))?;
        let number = replay.number;
        replay.left_out = self.reader().list_covered(&scope, |ids| {
            let listed = replay.total;
            replay.total += ids.len() as u64;
            step(Prepare::List { replay: number, listed, ids }).map(|_| ())
        })?;
        step(Prepare::End { replay: number, total: replay.total, left_out: replay.left_out })?;
        Ok(replay)
    }

    async fn bulk_replay(&self, account: u32, id: ReplayId) -> Result<Option<Replay>, StoreError> {
        self.reader().bulk_replay(account, &id)
    }

    async fn bulk_replays(
        &self,
        account: u32,
        before: Option<u32>,
        limit: usize,
        unfinished: bool,
    ) -> Result<Page<Replay, u32>, StoreError> {
        self.reader().bulk_replays(account, before, limit, unfinished)
    }

    fn deleted_webhooks(&self, account: u32, id: &WebhookId) -> Vec<u32> {
        self.reader().deleted_webhooks(account, id)
    }

    async fn kept(&self, idempotency: Idempotency) -> Result<Option<Changed>, ChangeError> {
        self.reader().kept(&idempotency, self.clock.now())
    }

    async fn oldest_due(&self, now: Timestamp, patient: HashSet<u32>) -> Result<Option<Timestamp>, StoreError> {
        self.ready()?;
        self.reader().oldest_due(now, &patient)
    }
}
