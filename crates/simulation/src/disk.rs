//! The disk: the real store on a folder of its own, which a crash leaves as it was at the last commit.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::attempt::LoggedAttempt;
use domain::audit::By;
use domain::delivery::{Delivery, Due, Settlement};
use domain::directory::SharedDirectory;
use domain::endpoint_url::EndpointUrl;
use domain::event::{Event, NewEvent, fan_out};
use domain::event_filter::EventFilter;
use domain::id::{DeliveryId, EventId};
use domain::key::Account;
use domain::order::{Order, OrderKey};
use domain::replay::{Replay, Scope};
use domain::secret::SigningSecret;
use domain::store::{AcceptError, Accepted, Change, ChangeError, Fact};
use domain::time::Timestamp;
use domain::vault::Vault;
use domain::webhook::Webhook;
use store::sqlite::{Engine, Limits, Parts, Prepare, Reader};

/// What a fault of the store means here: the simulation does not go on.
const SOUND: &str = "the simulated disk has no faults";

/// The store of a run.
pub(crate) struct Disk {
    folder: PathBuf,
    open: Option<(Engine, Reader)>,
    directory: SharedDirectory,
    limits: Limits,
    seed: u64,
    made: u32,
    /// Deliveries whose end was handed to the present transaction.
    uncommitted: Vec<DeliveryId>,
}

impl Disk {
    /// An empty store. Some runs keep little in memory, so that deliveries wait on disk.
    pub(crate) fn make(seed: u64) -> (Self, Vec<Fact>) {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("posthaste-simulation-{}-{run}", std::process::id()));
        let mut limits = Limits { durable: false, ..Limits::default() };
        if seed.is_multiple_of(2) {
            limits.cancelled_at_once = 2;
        }
        if seed.is_multiple_of(3) {
            limits.fresh_per_webhook = 3;
            limits.fresh_behind = 8;
        }
        let directory = SharedDirectory::default();
        let mut disk = Self { folder, open: None, directory, limits, seed, made: 0, uncommitted: Vec::new() };
        let facts = disk.reopen(Timestamp(0));
        (disk, facts)
    }

    /// Dies, and opens again what the last commit left.
    pub(crate) fn reopen(&mut self, now: Timestamp) -> Vec<Fact> {
        self.open = None;
        self.uncommitted.clear();
        self.directory = SharedDirectory::default();
        self.seed = self.seed.wrapping_add(1);
        let mut nonces = fastrand::Rng::with_seed(self.seed);
        let parts = Parts {
            dir: &self.folder,
            vault: Vault::new(&[7; 32]),
            directory: self.directory.clone(),
            limits: self.limits,
            chance: Box::new(move |bytes| nonces.fill(bytes)),
            now,
        };
        let (engine, facts) = Engine::open(parts).expect(SOUND);
        let reader = engine.reader().expect(SOUND);
        self.open = Some((engine, reader));
        facts
    }

    fn engine(&mut self) -> &mut Engine {
        &mut self.open.as_mut().expect("it is open between crashes").0
    }

    fn reader(&mut self) -> &mut Reader {
        &mut self.open.as_mut().expect("it is open between crashes").1
    }

    pub(crate) fn begin(&mut self) {
        self.engine().begin().expect(SOUND);
    }

    pub(crate) fn accept(&mut self, now: Timestamp, events: &[NewEvent]) -> Vec<Result<Accepted, AcceptError>> {
        self.engine().accept(now, events).expect(SOUND)
    }

    pub(crate) fn settle(&mut self, now: Timestamp, settlement: Settlement) {
        self.uncommitted.push(settlement.delivery);
        self.engine().settle(now, &[Arc::new(settlement)]).expect(SOUND);
    }

    pub(crate) fn commit(&mut self) -> Vec<Fact> {
        self.uncommitted.clear();
        self.engine().commit().expect(SOUND)
    }

    /// Deliveries whose end would be lost by a crash now.
    pub(crate) fn uncommitted(&self) -> Vec<DeliveryId> {
        self.uncommitted.clone()
    }

    /// Makes a change in a transaction of its own.
    pub(crate) fn change(&mut self, now: Timestamp, change: Change) -> Result<Vec<Fact>, ChangeError> {
        self.begin();
        match self.engine().change(now, change, &By::us(), None) {
            Ok(_) => Ok(self.commit()),
            Err(error) => {
                self.engine().rollback().expect(SOUND);
                Err(error)
            }
        }
    }

    /// Whether something of deleted webhooks is left to be cancelled.
    pub(crate) fn cancels(&mut self) -> bool {
        self.engine().cancels()
    }

    /// Cancels some of it.
    pub(crate) fn cancel_some(&mut self, now: Timestamp) -> Vec<Fact> {
        self.begin();
        self.engine().cancel_some(now).expect(SOUND);
        self.commit()
    }

    /// Lists what a replay covers, a step in each transaction.
    pub(crate) fn prepare(&mut self, scope: &Scope, mut replay: Replay) -> (Replay, Vec<DeliveryId>) {
        let mut covers = Vec::new();
        let left_out = self.reader().list_covered(scope, |ids| {
            covers.extend(ids);
            Ok(())
        });
        replay.left_out = left_out.expect(SOUND);
        replay.total = covers.len() as u64;
        replay.number = self.step(scope.now, Prepare::Begin(Box::new(replay.clone())));
        let (number, total) = (replay.number, replay.total);
        self.step(scope.now, Prepare::List { replay: number, listed: 0, ids: covers.clone() });
        self.step(scope.now, Prepare::End { replay: number, total, left_out: replay.left_out });
        (replay, covers)
    }

    fn step(&mut self, now: Timestamp, step: Prepare) -> u32 {
        self.begin();
        let number = self.engine().prepare(now, step).expect(SOUND);
        self.engine().commit().expect(SOUND);
        number
    }

    /// All replays in bulk.
    pub(crate) fn replays(&mut self) -> Vec<Replay> {
        let accounts: Vec<u32> = self.directory.read().accounts().map(|account| account.number).collect();
        let of = |account| self.reader().bulk_replays(account, None, 1_000, false).expect(SOUND).rows;
        accounts.into_iter().flat_map(of).collect()
    }

    pub(crate) fn due(&mut self, after: Option<(Timestamp, DeliveryId)>, until: Timestamp, limit: usize) -> Vec<Due> {
        self.reader().due(after, until, limit).expect(SOUND)
    }

    pub(crate) fn backlog(
        &mut self,
        webhook: u32,
        after: Option<DeliveryId>,
        until: Timestamp,
        limit: usize,
    ) -> Vec<Due> {
        self.reader().backlog(webhook, after, until, limit).expect(SOUND)
    }

    pub(crate) fn with_keys(&mut self, rows: Vec<Due>, order: Option<&Order>) -> Vec<(Due, OrderKey)> {
        let events: Vec<_> = rows.iter().filter_map(|row| self.load(row.delivery.event)).collect();
        dispatch::scheduler::with_keys(rows, &events, order)
    }

    pub(crate) fn load(&mut self, event: EventId) -> Option<Arc<Event>> {
        self.reader().event_of_anybody(event).expect(SOUND)
    }

    /// The number of the account that an event is of; 0, which is nobody's, if it is gone.
    pub(crate) fn account_of(&mut self, event: EventId) -> u32 {
        self.load(event).map_or(0, |event| event.account)
    }

    /// A delivery with its attempts, whosever it is.
    pub(crate) fn delivery(&mut self, id: DeliveryId, now: Timestamp) -> Option<(Delivery, Vec<LoggedAttempt>)> {
        let account = self.load(id.event)?.account;
        self.reader().delivery(account, id, now).expect(SOUND)
    }

    /// The number of the n-th account.
    pub(crate) fn account(&self, n: u32) -> Option<u32> {
        let id = format!("account-{n}").parse().ok()?;
        self.directory.read().account(&id).map(|account| account.number)
    }

    pub(crate) fn webhook(&self, number: u32) -> Option<Webhook> {
        self.directory.read().webhook_numbered(number).map(|webhook| (**webhook).clone())
    }

    /// All webhooks, by number.
    pub(crate) fn webhook_numbers(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.directory.read().webhooks().map(|webhook| webhook.number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// The webhooks of an account that take this type.
    pub(crate) fn takers(&self, account: u32, event_type: &str) -> Vec<u32> {
        fan_out(event_type, self.directory.read().webhooks_of(account))
    }

    pub(crate) fn make_account(&mut self, n: u32) {
        let id = format!("account-{n}").parse().expect("an id");
        let account = Account::new(id, format!("Account {n}"), Timestamp(0));
        self.change(Timestamp(0), Change::PutAccount(account)).expect(SOUND);
    }

    pub(crate) fn make_webhook(
        &mut self,
        now: Timestamp,
        account: u32,
        filter: &str,
        rate: Option<u32>,
        order: Option<Order>,
    ) -> Vec<Fact> {
        self.made += 1;
        let id = format!("account-{account}").parse().expect("an id");
        let Some(account) = self.directory.read().account(&id).cloned() else { return Vec::new() };
        let id = format!("wh_{}", self.made).parse().expect("an id");
        let url = Arc::new(EndpointUrl::stored("https://example.com/hook").expect("a URL"));
        let (events, secret) = (EventFilter::stored(vec![filter.to_owned()]), SigningSecret::from_bytes(&[3; 32]));
        let webhook = Webhook { rate_limit: rate, order, ..Webhook::new(&account, id, url, events, secret, now) };
        self.change(now, Change::PutWebhook(Box::new(webhook))).expect(SOUND)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.open = None;
        // A folder that stays behind is in the temporary folder.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
