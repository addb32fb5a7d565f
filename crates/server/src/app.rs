//! What the API works with: the store, the directory and the seams, as the binary hands them in.

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use domain::address::IpRange;
use domain::catalogue::Catalogue;
use domain::cluster::Cluster;
use domain::directory::SharedDirectory;
use domain::endpoint_url::UrlRules;
use domain::id;
use domain::in_flight::InFlight;
use domain::policy::Policy;
use domain::store::Store;
use domain::time::{Clock, Timestamp};
use domain::trace::Tracer;
use domain::transport::Names;
use domain::waiting::Waiting;
use prometheus_client::registry::Registry;

use crate::api::Streams;
use crate::body::Bodies;
use crate::carrier::Carrier;
use crate::dashboard::Dashboard;
use crate::health::Health;
use crate::inbox::Inbox;
use crate::key_uses::KeyUses;
use crate::limits::{EventRates, Limits};
use crate::live::Live;
use crate::outside::Outside;
use crate::stopping::Stopping;

/// Fills a slice with chance bytes: the machine's in production, a seeded generator's in tests.
pub type Random = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// A setting as it is shown: to operators, on the system's page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownSetting {
    /// Its name, such as `retry-schedule`.
    pub name: String,
    /// Its value, masked if it is a secret; empty if it has none.
    pub value: String,
    /// Where it was given: `flag`, `environment`, the file, or `default`.
    pub origin: String,
}

/// How much room there is where the data is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that may still be written, if the system tells.
    pub free: Option<u64>,
    /// The size of the file system, if the system tells.
    pub total: Option<u64>,
    /// The size of the store's files.
    pub store: u64,
}

/// Everything that the API needs from outside.
#[derive(Clone)]
pub struct App {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// Accounts, webhooks, keys and sessions in memory; the store keeps it.
    pub directory: SharedDirectory,
    /// The event types.
    pub catalogue: Arc<Catalogue>,
    /// What holds for every webhook that does not say otherwise.
    pub policy: Arc<Policy>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Which deliveries are being sent; the dispatcher keeps it.
    pub in_flight: InFlight,
    /// Knows what deliveries wait for that are due: the dispatcher.
    pub waiting: Arc<dyn Waiting>,
    /// Looks names up when a URL is saved or checked.
    pub names: Arc<dyn Names>,
    /// Which URLs a webhook may have.
    pub url_rules: UrlRules,
    /// The addresses that requests come from, as published.
    pub egress: Vec<IpAddr>,
    /// How this server is reached from outside.
    pub outside: Outside,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpRange>,
    /// SHA-256 of the platform key that the settings give, if they do.
    pub platform_key: Option<[u8; 32]>,
    /// This build's version.
    pub version: String,
    /// The settings that this process runs with.
    pub settings: Arc<[ShownSetting]>,
    /// What has been committed, for streams and tests; the wiring's hook feeds it.
    pub live: Live,
    /// The transport of temporary webhooks, which stands in front of the network.
    pub carrier: Carrier,
    /// The test receiver of the development mode; `None` elsewhere.
    pub inbox: Option<Arc<dyn Inbox>>,
    /// The dashboard, which is served beside the API.
    pub dashboard: Dashboard,
    /// What the work is shared through with other nodes; `None` where one process does it all.
    pub cluster: Option<Arc<dyn Cluster>>,
    /// Whether sending goes on; the wiring's watchdog says so.
    pub health: Health,
    /// Looks how much room there is.
    pub disk: Arc<dyn Fn() -> Disk + Send + Sync>,
    /// Figures of the other parts of the process.
    pub figures: Arc<Registry>,
    /// Told of requests with events, where somebody collects traces.
    pub tracer: Option<Arc<dyn Tracer>>,
    /// Chance, for ids and secrets.
    pub random: Random,
}

/// [`App`] with what the API itself keeps in memory: limits, budgets, the built documents.
pub(crate) struct Api {
    app: App,
    /// Failed sign-ins per peer address.
    pub(crate) sign_ins: Limits<IpAddr>,
    /// Requests per account key.
    pub(crate) calls: Limits<[u8; 32]>,
    /// When keys were last used.
    pub(crate) key_uses: KeyUses,
    /// Held while a platform key is revoked, so that of two at once one sees that the other is the last.
    pub(crate) revoking: tokio::sync::Mutex<()>,
    /// Tests per account.
    pub(crate) tests: Limits<u32>,
    /// URL checks per account.
    pub(crate) url_checks: Limits<u32>,
    /// Events per second per account.
    pub(crate) event_rates: EventRates,
    /// Held while a webhook is created, so that no account gets more of them than it may have.
    pub(crate) creating: tokio::sync::Mutex<()>,
    /// How much of request bodies there may be at once.
    pub(crate) bodies: Bodies,
    /// The OpenAPI document, built when first asked for.
    pub(crate) openapi: OnceLock<Bytes>,
    /// The page at `/docs`, built when first asked for.
    pub(crate) docs: OnceLock<Bytes>,
    /// Open streams per account.
    pub(crate) streams: Streams,
    /// Says when streams have to end.
    pub(crate) stopping: Stopping,
    request_prefix: u64,
    requests: AtomicU64,
}

impl Api {
    pub(crate) fn new(app: App, stopping: Stopping) -> Self {
        let mut prefix = [0; 8];
        (app.random)(&mut prefix);
        Self {
            app,
            sign_ins: Limits::new("sign_ins", 10, Duration::from_secs(60)),
            calls: Limits::new("requests", 200, Duration::from_secs(1)),
            key_uses: KeyUses::default(),
            revoking: tokio::sync::Mutex::default(),
            tests: Limits::new("tests", 30, Duration::from_secs(10)),
            url_checks: Limits::new("url_checks", 30, Duration::from_secs(10)),
            event_rates: EventRates::default(),
            creating: tokio::sync::Mutex::default(),
            bodies: Bodies::default(),
            openapi: OnceLock::new(),
            docs: OnceLock::new(),
            streams: Streams::default(),
            stopping,
            request_prefix: u64::from_be_bytes(prefix) >> 32,
            requests: AtomicU64::new(0),
        }
    }

    /// The wall clock's time.
    pub(crate) fn now(&self) -> Timestamp {
        self.app.clock.now()
    }

    /// A new id with this prefix.
    pub(crate) fn new_id(&self, prefix: &str) -> String {
        let mut chance = [0; 8];
        (self.app.random)(&mut chance);
        id::make(prefix, self.now().0, u64::from_be_bytes(chance))
    }

    /// `N` chance bytes.
    pub(crate) fn chance<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.app.random)(&mut bytes);
        bytes
    }

    /// The id of a new request: for its answer, the log line about it, and the audit log.
    pub(crate) fn new_request_id(&self) -> RequestId {
        RequestId { prefix: self.request_prefix, count: self.requests.fetch_add(1, Ordering::Relaxed) }
    }
}

/// The id of a request; put into every request before anything else sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestId {
    prefix: u64,
    count: u64,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "req_{:08x}{:06x}", self.prefix, self.count)
    }
}

impl Deref for Api {
    type Target = App;

    fn deref(&self) -> &App {
        &self.app
    }
}
