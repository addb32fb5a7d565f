//! What the benches share: a clock, a store with a dispatcher that has every delivery ended at once, and attempts as they
//! usually are.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::attempt::{Answer, Attempt, ErrorCode, Failure, Reason, Timing};
use domain::audit::By;
use domain::delivery::{Next, Settlement};
use domain::directory::SharedDirectory;
use domain::endpoint_url::EndpointUrl;
use domain::event::{Event, NewEvent};
use domain::event_filter::EventFilter;
use domain::id::{DeliveryId, WebhookId};
use domain::secret::SigningSecret;
use domain::shard::Epoch;
use domain::signature::SentRequest;
use domain::store::{Change, Fact, Store};
use domain::time::{Clock, Timestamp};
use domain::vault::Vault;
use domain::webhook::Webhook;
use store::sqlite::{Limits, Retention, Settings, SqliteStore};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const URL: &str = "https://hooks.example.com/in";
/// The key that the stores are opened with.
pub(crate) const KEY: [u8; 32] = [7; 32];

/// The machine's clock.
pub(crate) struct Machine;

impl Clock for Machine {
    #[expect(clippy::disallowed_methods, reason = "a bench measures the machine")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// How the one attempt of a delivery ends.
pub(crate) struct End {
    /// `None` where nothing was answered.
    pub(crate) status: Option<u16>,
    pub(crate) code: Option<ErrorCode>,
    pub(crate) next: Next,
}

/// A store in use.
pub(crate) struct Served {
    pub(crate) store: Arc<SqliteStore>,
    settled: Arc<AtomicUsize>,
}

impl Served {
    /// Opens the store of `dir`, with these webhooks, each an id and what it takes. Every delivery ends at once, as `end`
    /// says of its event.
    pub(crate) async fn open(
        dir: &Path,
        durable: bool,
        webhooks: impl IntoIterator<Item = (WebhookId, Vec<String>)>,
        end: fn(&Event) -> End,
    ) -> Self {
        let directory = SharedDirectory::default();
        let (facts, told) = unbounded_channel();
        let settings = Settings {
            dir,
            vault: Vault::new(&KEY),
            directory: directory.clone(),
            clock: Arc::new(Machine),
            chance: Box::new(|bytes| bytes.fill(3)),
            retention: Retention::default(),
            limits: Limits { durable, ..Limits::default() },
            facts: Box::new(move |more| {
                // The bench has ended: nobody has to be told.
                let _ = facts.send(more);
            }),
            fatal: Box::new(|why| panic!("{why}")),
        };
        let (store, _) = SqliteStore::open(settings).expect("it opens");
        let store = Arc::new(store);
        let account = directory.read().accounts().next().expect("there is one").clone();
        for (id, takes) in webhooks {
            if !directory.read().has_webhook(&id) {
                let url = Arc::new(EndpointUrl::stored(URL).expect("a URL"));
                let (events, secret) = (EventFilter::stored(takes), SigningSecret::from_bytes(&[1; 32]));
                let webhook = Webhook::new(&account, id, url, events, secret, Timestamp(0));
                store.change(Change::PutWebhook(Box::new(webhook)), By::us(), None).await.expect("a new webhook");
            }
        }
        let settled = Arc::<AtomicUsize>::default();
        tokio::spawn(dispatch(Arc::clone(&store), told, Arc::clone(&settled), end));
        Self { store, settled }
    }

    /// Until no more than `left` of `number` ends are not recorded yet.
    pub(crate) async fn settled(&self, number: usize, left: usize) {
        while self.settled.load(Ordering::Relaxed) + left < number {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// So many producers, one event at a time each, and `each` of them: `event` makes one from its number.
    pub(crate) async fn produce(
        &self,
        producers: usize,
        each: usize,
        event: impl Fn(usize) -> NewEvent + Send + Sync + 'static,
    ) {
        let event = Arc::new(event);
        let produce = |producer: usize| {
            let (store, event) = (Arc::clone(&self.store), Arc::clone(&event));
            tokio::spawn(async move {
                for n in 0..each {
                    let accepted = store.accept(vec![event(producer * each + n)]).await;
                    assert!(accepted[0].is_ok(), "{accepted:?}");
                }
            })
        };
        for task in (0..producers).map(produce).collect::<Vec<_>>() {
            task.await.expect("a producer does not panic");
        }
        self.settled(producers * each, 0).await;
    }
}

async fn dispatch(
    store: Arc<SqliteStore>,
    mut told: UnboundedReceiver<Vec<Fact>>,
    settled: Arc<AtomicUsize>,
    end: fn(&Event) -> End,
) {
    let mut facts = Vec::new();
    while told.recv_many(&mut facts, 1_024).await > 0 {
        let settlement =
            |fact| if let Fact::Accepted { event, .. } = fact { Some(settlement(&event, end(&event))) } else { None };
        let settlements: Vec<_> = facts.drain(..).flatten().filter_map(settlement).collect();
        let number = settlements.len();
        if number > 0 && store.settle(settlements).await.is_err() {
            return;
        }
        settled.fetch_add(number, Ordering::Relaxed);
    }
}

fn settlement(event: &Event, End { status, code, next }: End) -> Settlement {
    let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    let attempt = Attempt {
        number: 1,
        reason: Reason::First,
        started_at: event.timestamp,
        duration: Duration::from_micros(1_234),
        timing: Timing { first_byte: Some(Duration::from_micros(900)), ..Timing::default() },
        request: SentRequest {
            url: URL.to_owned(),
            prefix: "X-CronDB".to_owned(),
            user_agent: "CronDB-Webhooks/0.1.0".to_owned(),
            signed_at: event.timestamp.seconds(),
            signature: [5; 32],
            standard: vec![[6; 32]],
            ed25519: Vec::new(),
            custom: Vec::new(),
        },
        answer: status.map(|status| Answer {
            status,
            headers: vec![
                header("date", "Wed, 18 Mar 2026 14:30:00 GMT"),
                header("content-type", "application/json"),
                header("content-length", "16"),
                header("server", "nginx"),
            ],
            body: br#"{"status": "ok"}"#.to_vec(),
            truncated: false,
        }),
        failure: code.map(|code| Failure { code, detail: String::new() }),
        remote_address: Some(([127, 0, 0, 1], 443).into()),
    };
    let delivery = DeliveryId { event: event.id, place: 0 };
    Settlement { delivery, webhook: event.targets[0], attempt: Some(attempt), next, epoch: Epoch::SOLE }
}

/// An event of the first account.
pub(crate) fn event(event_type: &str, data: bytes::Bytes) -> NewEvent {
    NewEvent {
        account: 1,
        event_type: event_type.into(),
        data,
        test_for: None,
        flagged: false,
        trace: None,
        idempotency: None,
        only_repeated: false,
    }
}

/// So many changes, as the page's examples have them: six make 540 bytes of data.
pub(crate) fn changes(members: usize) -> String {
    let member = r#"{"field":"tech_stack","action":"added","value":"Stripe","previous_value":null}"#;
    vec![member; members].join(",")
}

/// The id of a webhook.
pub(crate) fn webhook(id: &str) -> WebhookId {
    id.parse().expect("an id")
}
