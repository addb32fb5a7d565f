//! A small world to ask questions in: two accounts, their keys, a clock that stands still, names that lead where a test
//! wants.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use domain::address::AddressRules;
use domain::attempt::{ErrorCode, Failure, Outcome};
use domain::brand::Brand;
use domain::catalogue::Catalogue;
use domain::directory::SharedDirectory;
use domain::endpoint_url::{EndpointUrl, UrlRules};
use domain::in_flight::InFlight;
use domain::key::hash_key;
use domain::policy::Policy;
use domain::store::{EventQuery, Store as _};
use domain::time::{Clock, Timestamp};
use domain::transport::{Look, Names, Outgoing, Seen, Transport, Untried};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use server::{App, Carrier, Live, Outside, router};
use tower::ServiceExt as _;

use crate::store::EngineStore;

/// The platform key of the settings.
pub(crate) const PLATFORM: &str = "phk_test";
/// 2026-03-18T14:30:00Z.
pub(crate) const NOW: i64 = 1_773_844_200_000_000;

/// The page's brand, of a version that does not change.
pub(crate) fn brand() -> Brand {
    Brand { user_agent: "CronDB-Webhooks/0.0.0-test".to_owned(), ..Brand::default() }
}

/// A clock that a test moves.
pub(crate) struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Every name leads to one public address, except those whose first label says otherwise.
struct TestNames;

#[async_trait]
impl Names for TestNames {
    async fn resolve(&self, name: &str, _within: Duration) -> Result<Vec<IpAddr>, ErrorCode> {
        let address = |text: &str| text.parse().map_err(|_| ErrorCode::DnsFailed);
        match name.split('.').next() {
            Some("private") => Ok(vec![address("10.0.0.7")?]),
            Some("mixed") => Ok(vec![address("203.0.114.9")?, address("169.254.169.254")?]),
            Some("nowhere") => Err(ErrorCode::DnsNotFound),
            Some("slow") => Err(ErrorCode::DnsTimeout),
            _ => Ok(vec![address("198.41.0.4")?]),
        }
    }

    fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        AddressRules::default().refusal(address)
    }

    fn opened(&self, _address: IpAddr) -> bool {
        false
    }

    async fn look(&self, url: &EndpointUrl, headers: &[(String, String)], _within: Duration) -> Look {
        assert_eq!(headers, [("User-Agent".to_owned(), brand().user_agent)]);
        let seen = |status, location: &str| {
            Ok(Seen { status, location: Some(location.to_owned()).filter(|to| !to.is_empty()) })
        };
        let host = url.host().to_string();
        let (days, result) = match host.split('.').next() {
            Some("moved") => (90, seen(301, "/other?a=b")),
            Some("gone-elsewhere") => (90, seen(307, "")),
            Some("ends") => (6, seen(405, "")),
            Some("closed") => (90, Err(Failure { code: ErrorCode::ConnectRefused, detail: String::new() })),
            _ => (90, seen(204, "")),
        };
        Look {
            remote_address: Some(([198, 41, 0, 4], url.port()).into()),
            certificate_ends_at: result.is_ok().then(|| Timestamp(NOW).plus(Duration::from_secs(days * 86_400 + 60))),
            result,
        }
    }

    fn certificate_ends_at(&self, url: &EndpointUrl) -> Option<Timestamp> {
        let ends = url.host().to_string().starts_with("ends.");
        ends.then(|| Timestamp(NOW).plus(Duration::from_secs(6 * 86_400)))
    }
}

/// No test sends anything.
struct NoNetwork;

#[async_trait]
impl Transport for NoNetwork {
    async fn send(&self, request: Outgoing) -> Result<Outcome, Untried> {
        unreachable!("nothing is sent to {}", request.url)
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    /// The problem's code, and the codes and pointers of its faults.
    pub(crate) fn faults(&self) -> (u16, Vec<(String, String)>) {
        let json = self.json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let errors = json["errors"].as_array().cloned().unwrap_or_default();
        (self.status.as_u16(), errors.iter().map(|fault| (text(&fault["pointer"]), text(&fault["code"]))).collect())
    }

    /// The same for every request: the body without its request id.
    pub(crate) fn without_id(&self) -> Value {
        let mut json = self.json();
        if let Some(members) = json.as_object_mut() {
            members.remove("request_id");
        }
        json
    }
}

/// A request that is being put together.
pub(crate) struct Ask<'a> {
    world: &'a World,
    request: http::request::Builder,
    body: Body,
}

impl Ask<'_> {
    pub(crate) fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.text("application/json", body.to_string())
    }

    pub(crate) fn text(self, kind: &str, body: impl Into<String>) -> Self {
        let mut asked = self.header("content-type", kind);
        asked.body = Body::from(body.into());
        asked
    }

    /// The status alone: the body may be a stream that does not end.
    pub(crate) async fn status(self) -> StatusCode {
        let request = self.request.body(self.body).expect("a request");
        self.world.router.clone().oneshot(request).await.expect("the router does not fail").status()
    }

    pub(crate) async fn send(self) -> Reply {
        let request = self.request.body(self.body).expect("a request");
        let response = self.world.router.clone().oneshot(request).await.expect("the router does not fail");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("the body of an answer").to_bytes();
        Reply { status: parts.status, headers: parts.headers, body }
    }
}

/// The world.
pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) store: Arc<EngineStore>,
    pub(crate) directory: SharedDirectory,
    pub(crate) in_flight: InFlight,
    pub(crate) clock: Arc<TestClock>,
    _dir: Dir,
}

/// A directory that goes with the world.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let (world, app) = Self::parts();
        Self { router: router(app), ..world }
    }

    /// The world, and the app for those who serve it themselves.
    pub(crate) fn parts() -> (Self, App) {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let dir = std::env::temp_dir().join(format!("posthaste-server-{}-{count}", std::process::id()));
        let clock = Arc::new(TestClock(AtomicI64::new(NOW)));
        let (directory, in_flight, live) = (SharedDirectory::default(), InFlight::default(), Live::new(Timestamp(NOW)));
        let store = Arc::new(EngineStore::open(&dir, directory.clone(), Arc::clone(&clock) as _, live.clone()));
        let chance = AtomicU64::new(1);
        let app = App {
            store: Arc::clone(&store) as _,
            directory: directory.clone(),
            catalogue: Arc::new(Catalogue::builtin()),
            policy: Arc::new(Policy { brand: brand(), ..Policy::default() }),
            clock: Arc::clone(&clock) as _,
            in_flight: in_flight.clone(),
            waiting: Arc::new(domain::waiting::NobodyKnows),
            names: Arc::new(TestNames),
            url_rules: UrlRules::default(),
            egress: vec!["203.0.113.10".parse().expect("an address")],
            outside: Outside::new(&"https://hooks.example.com".parse().expect("a URL")),
            trusted_proxies: Vec::new(),
            platform_key: Some(hash_key(PLATFORM)),
            version: "0.0.0-test".to_owned(),
            settings: Arc::default(),
            live,
            carrier: Carrier::new(Arc::new(NoNetwork), 1),
            inbox: Some(Arc::new(crate::inbox::OneBox::default())),
            dashboard: crate::dashboard::of_the_tests(),
            cluster: None,
            health: server::Health::default(),
            disk: Arc::new(|| server::Disk { free: Some(8), total: Some(100), store: 3 }),
            figures: Arc::default(),
            tracer: None,
            random: Arc::new(move |bytes: &mut [u8]| {
                for chunk in bytes.chunks_mut(8) {
                    let next = chance.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    chunk.copy_from_slice(&next.to_be_bytes()[..chunk.len()]);
                }
            }),
        };
        (Self { router: Router::new(), store, directory, in_flight, clock, _dir: Dir(dir) }, app)
    }

    pub(crate) fn advance(&self, span: Duration) {
        self.clock.0.fetch_add(i64::try_from(span.as_micros()).expect("a short span"), Ordering::SeqCst);
    }

    pub(crate) fn ask(&self, method: Method, path: &str) -> Ask<'_> {
        Ask { world: self, request: Request::builder().method(method).uri(path), body: Body::empty() }
    }

    /// A GET with the platform key.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path).key(PLATFORM).send().await
    }

    /// A POST with the platform key.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.ask(Method::POST, path).key(PLATFORM).json(body).send().await
    }

    /// A PATCH with the platform key.
    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Reply {
        self.ask(Method::PATCH, path).key(PLATFORM).json(body).send().await
    }

    /// A DELETE with the platform key.
    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.ask(Method::DELETE, path).key(PLATFORM).send().await
    }

    /// Creates an account and a key of it that manages it and has these scopes; gives the key.
    pub(crate) async fn account(&self, id: &str, scopes: &[&str]) -> String {
        let made = self.post("/v1/accounts", &json!({"id": id})).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        self.key(id, scopes).await
    }

    /// Creates a key of an account that manages it and has these scopes.
    pub(crate) async fn key(&self, account: &str, scopes: &[&str]) -> String {
        self.narrow_key(account, &[&["account"], scopes].concat()).await
    }

    /// Creates a key of an account with these scopes alone.
    pub(crate) async fn narrow_key(&self, account: &str, scopes: &[&str]) -> String {
        let made = self.post(&format!("/v1/accounts/{account}/keys"), &json!({"name": "test", "scopes": scopes})).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        made.json()["key"].as_str().expect("a key").to_owned()
    }

    /// Creates a webhook that takes everything; gives its id.
    pub(crate) async fn webhook(&self, account: &str) -> String {
        let body =
            json!({"url": "https://hooks.crm.example.com/in", "events": ["*"], "headers": {"X-Api-Key": "s3cr3t"}});
        let made = self.post(&format!("/v1/accounts/{account}/webhooks"), &body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        made.json()["id"].as_str().expect("an id").to_owned()
    }

    /// Posts an event; gives the id.
    pub(crate) async fn event(&self, account: &str) -> String {
        let body = json!({"account": account, "event": "alert.rule_created", "data": {"rule": 1}});
        let made = self.post("/v1/events", &body).await;
        assert_eq!(made.status, StatusCode::ACCEPTED, "{made:?}");
        made.json()["id"].as_str().expect("an id").to_owned()
    }
}

impl World {
    /// How many events the default account has, asked of the store itself.
    pub(crate) async fn store_events(&self) -> usize {
        let account = self.directory.read().account(&"default".parse().expect("an id")).expect("the account").number;
        self.store.events(EventQuery::new(account, 100)).await.expect("the store reads").rows.len()
    }
}
