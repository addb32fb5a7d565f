//! Nodes to test, and what goes into them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use domain::attempt::{Answer, Attempt, ErrorCode, Failure, Reason, Timing};
use domain::audit::By;
use domain::delivery::{Due, Next, Settlement};
use domain::directory::SharedDirectory;
use domain::endpoint_url::EndpointUrl;
use domain::event::{Event, NewEvent};
use domain::event_filter::EventFilter;
use domain::id::EventId;
use domain::secret::SigningSecret;
use domain::shard::Epoch;
use domain::signature::SentRequest;
use domain::store::{Accepted, Change, ChangeError, Changed, Store as _, StoreError};
use domain::time::{Clock as _, Timestamp};
use domain::vault::Vault;
use domain::webhook::Webhook;
use store::conformance::cluster::Cluster;
use store::conformance::{ManualClock, Told};
use store::postgres::{Address, Limits, PostgresStore, Settings};

/// A database of its own, by its address, and what psql says of it.
pub(crate) struct Base(pub(crate) String);

impl Base {
    pub(crate) fn new() -> Self {
        Self(Cluster::shared().database())
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        Cluster::shared().run_sql(self.0.rsplit('/').next().expect("a name"), sql)
    }
}

/// For what comes by itself.
const WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// A node on a database that it may share.
pub(crate) struct Node {
    pub(crate) store: PostgresStore,
    pub(crate) directory: SharedDirectory,
    pub(crate) told: Told,
    pub(crate) clock: ManualClock,
    pub(crate) account: u32,
    pub(crate) address: Address,
}

impl Node {
    pub(crate) async fn start(database: &str, clock: &ManualClock) -> Self {
        Self::keeping(database, clock, None, None).await
    }

    /// A node that keeps what has ended for so long, and so many bytes.
    pub(crate) async fn keeping(
        database: &str,
        clock: &ManualClock,
        keep: Option<Duration>,
        size: Option<u64>,
    ) -> Self {
        Self::with(database, clock, |settings| (settings.keep, settings.size) = (keep, size)).await
    }

    /// A node with other settings.
    pub(crate) async fn with(database: &str, clock: &ManualClock, other: impl FnOnce(&mut Settings)) -> Self {
        static FILL: AtomicU8 = AtomicU8::new(1);
        let (directory, told) = (SharedDirectory::default(), Told::default());
        let hook = told.clone();
        let address = Address::parse(database).expect("an address");
        let mut settings = Settings {
            address: address.clone(),
            vault: Vault::new(&[7; 32]),
            directory: directory.clone(),
            holdings: None,
            clock: Arc::new(clock.clone()),
            chance: Box::new(|bytes| bytes.fill(FILL.fetch_add(1, Ordering::Relaxed))),
            keep: None,
            size: None,
            // A busy machine may keep the tables from being had for that moment: then soon again.
            limits: Limits { drop_again_after: Duration::from_millis(200), ..Limits::default() },
            facts: Box::new(move |facts, _| hook.tell(facts)),
        };
        other(&mut settings);
        let (store, _) = PostgresStore::open(settings).await.expect("it opens");
        let account = directory.read().account(&"default".parse().expect("an id")).expect("it is there").number;
        Self { store, directory, told, clock: clock.clone(), account, address }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) async fn change(&self, change: Change) -> Result<Changed, ChangeError> {
        self.store.change(change, By::us(), None).await
    }

    pub(crate) async fn new_webhook(&self, id: &str) -> u32 {
        let account = self.directory.read().account_numbered(self.account).expect("it is there").clone();
        let url = Arc::new(EndpointUrl::stored("https://example.com/in").expect("a URL"));
        let events = EventFilter::stored(vec!["*".to_owned()]);
        let secret = SigningSecret::from_bytes(&[9; 32]);
        let webhook = Webhook::new(&account, id.parse().expect("an id"), url, events, secret, self.now());
        self.change(Change::PutWebhook(Box::new(webhook))).await.expect("a new webhook");
        self.number(id).expect("it is there")
    }

    pub(crate) fn webhook(&self, number: u32) -> Arc<Webhook> {
        Arc::clone(self.directory.read().webhook_numbered(number).expect("it is there"))
    }

    pub(crate) fn number(&self, id: &str) -> Option<u32> {
        self.directory.read().webhook_of_id(&id.parse().expect("an id")).map(|webhook| webhook.number)
    }

    pub(crate) fn event(&self) -> NewEvent {
        NewEvent {
            account: self.account,
            event_type: "alert.rule_created".into(),
            data: Bytes::from_static(br#"{"n":1}"#),
            test_for: None,
            flagged: false,
            trace: None,
            idempotency: None,
            only_repeated: false,
        }
    }

    /// The account's events of these ids.
    pub(crate) async fn load(&self, ids: &[EventId]) -> Result<Vec<Arc<Event>>, StoreError> {
        self.store.load(ids.iter().map(|id| (self.account, *id)).collect()).await
    }

    pub(crate) async fn accept(&self) -> Accepted {
        self.store.accept(vec![self.event()]).await.remove(0).expect("it is accepted")
    }
}

/// Waits until `look` finds something.
pub(crate) async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let look = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(WITHIN, look).await.expect("it comes in time")
}

/// The end of an attempt.
pub(crate) fn settlement(due: Due, now: Timestamp, next: Next) -> Settlement {
    let delivered = next == Next::Delivered;
    let attempt = Attempt {
        number: due.attempts_made + 1,
        reason: due.reason,
        started_at: now,
        duration: Duration::from_millis(3),
        timing: Timing::default(),
        request: SentRequest {
            url: "https://example.com/in".to_owned(),
            prefix: "X-CronDB".to_owned(),
            user_agent: "CronDB-Webhooks/1".to_owned(),
            signed_at: now.seconds(),
            signature: [1; 32],
            standard: Vec::new(),
            ed25519: Vec::new(),
            custom: Vec::new(),
        },
        answer: delivered.then(|| Answer { status: 200, headers: Vec::new(), body: Vec::new(), truncated: false }),
        failure: (!delivered).then(|| Failure { code: ErrorCode::ConnectRefused, detail: String::new() }),
        remote_address: None,
    };
    Settlement { delivery: due.delivery, webhook: due.webhook, attempt: Some(attempt), next, epoch: Epoch::SOLE }
}

/// A retry after this one.
pub(crate) fn retry(due: Due, due_at: Timestamp) -> Next {
    Next::Retry { due_at, retries_made: due.retries_made + 1, reason: Reason::Retry }
}
