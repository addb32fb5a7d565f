//! For the operator: whether it lives, whether it is ready, which version it is, its figures.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use domain::directory::Directory;
use domain::id::{AccountId, WebhookId};
use domain::store::StoreError;
use domain::time::Timestamp;
use domain::waiting::oldest_due;
use domain::webhook::Webhook;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::{Api, Disk, ShownSetting};
use crate::auth::Caller;
use crate::json;
use crate::metrics::Now;
use crate::operation::{Access, Operation, shape, text};
use crate::problem::Problem;

/// For how long figures wait for the store.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// The text format of OpenMetrics.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A sign of life.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
struct Health {
    /// `ok`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Which version this is.
#[derive(Serialize, ToSchema)]
#[schema(as = Version)]
struct Version<'a> {
    /// The version.
    #[schema(example = "0.1.0")]
    version: &'a str,
}

/// The state of the system.
#[derive(Serialize, ToSchema)]
#[schema(as = System)]
struct System<'a> {
    /// The version.
    #[schema(example = "0.1.0")]
    version: &'a str,
    /// Deliveries in flight.
    in_flight: usize,
    /// How late the oldest delivery is that is due and waits for nothing but to be sent, in seconds. Left out is what waits for
    /// its own webhook: paused, asked for patience, at its rate or cap, in its order, or failing all the time.
    oldest_due_seconds: f64,
    /// Accounts.
    accounts: usize,
    /// Webhooks.
    webhooks: usize,
    /// Webhooks that are paused.
    webhooks_paused: usize,
    /// Webhooks of which every attempt fails now.
    webhooks_failing: usize,
    /// Those that have failed for longest: each holds one slot at most. 50 of them.
    failing: Vec<FailingWebhook>,
    /// What is wrong with sending, or with what is kept, if anything is.
    #[schema(required)]
    trouble: Option<&'static str>,
    /// Bytes that may still be written where the data is; null if the system does not tell.
    #[schema(required)]
    disk_free_bytes: Option<u64>,
    /// The size of the file system where the data is.
    #[schema(required)]
    disk_bytes: Option<u64>,
    /// The size of the store's files.
    store_bytes: u64,
    /// The settings of this process, and where each was given.
    settings: Vec<Setting<'a>>,
}

/// A webhook of which every attempt fails.
#[derive(Serialize, ToSchema)]
#[schema(as = FailingWebhook)]
struct FailingWebhook {
    /// Its account.
    #[schema(value_type = String, example = "acme")]
    account: AccountId,
    /// Its id.
    #[schema(value_type = String, example = "wh_abc123")]
    id: WebhookId,
    /// Its name.
    #[schema(example = "CRM Sync")]
    name: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
}

/// How many failing webhooks are named.
const FAILING_SHOWN: usize = 50;

/// The webhooks that have failed for longest.
fn failing(directory: &Directory) -> Vec<FailingWebhook> {
    let named = |webhook: &Arc<Webhook>| {
        let account = directory.account_numbered(webhook.account)?.id.clone();
        let (id, name) = (webhook.id.clone(), webhook.name.to_string());
        Some(FailingWebhook { account, id, name, since: webhook.failing_since? })
    };
    let mut all: Vec<_> = directory.webhooks().filter_map(named).collect();
    all.sort_by_key(|webhook| webhook.since);
    all.truncate(FAILING_SHOWN);
    all
}

/// A setting.
#[derive(Serialize, ToSchema)]
#[schema(as = Setting)]
struct Setting<'a> {
    /// Its name.
    #[schema(example = "retry-schedule")]
    name: &'a str,
    /// Its value, masked if it is a secret; null if it has none.
    #[schema(example = "30s,2m,10m,1h,6h", required)]
    value: Option<&'a str>,
    /// Where it was given: a flag, the environment, a file, or `default`.
    #[schema(example = "default")]
    origin: &'a str,
}

impl<'a> Setting<'a> {
    fn new(setting: &'a ShownSetting) -> Self {
        let ShownSetting { name, value, origin } = setting;
        Self { name, value: Some(value.as_str()).filter(|value| !value.is_empty()), origin }
    }
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(&Method::GET, "/livez", "livez", livez, "Does the process live?").access(Access::Open).answers(
            200,
            "It does.",
            Some(shape::<Health>()),
        ),
        Operation::new(&Method::GET, "/readyz", "readyz", readyz, "Can it work?")
            .access(Access::Open)
            .answers(200, "The store answers.", Some(shape::<Health>()))
            .refuses(503, "The store does not answer, sending has stopped, or the process is stopping."),
        Operation::new(&Method::GET, "/version", "version", version, "Which version is it?")
            .access(Access::Open)
            .answers(200, "The version.", Some(shape::<Version<'_>>())),
        Operation::new(&Method::GET, "/metrics", "metrics", metrics, "Get the figures")
            .access(Access::Platform)
            .answers(200, "In the text format of OpenMetrics.", Some(text(OPENMETRICS))),
        Operation::new(&Method::GET, "/v1/system", "get_system", system, "Get the state of the system")
            .access(Access::Platform)
            .answers(200, "The state.", Some(shape::<System<'_>>())),
    ]
}

async fn livez() -> Response {
    json::ok(&Health { status: "ok" })
}

async fn readyz(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    if api.stopping.is_stopping() {
        return Err(Problem::unavailable("stopping", "The process is stopping."));
    }
    if let Some(trouble) = api.health.trouble() {
        return Err(Problem::unavailable("sending_stopped", trouble));
    }
    let ready = tokio::time::timeout(ANSWERS_WITHIN, api.store.ready()).await;
    ready.unwrap_or_else(|_| Err(StoreError::Away("it does not answer".to_owned())))?;
    Ok(json::ok(&Health { status: "ok" }))
}

async fn version(State(api): State<Arc<Api>>) -> Response {
    json::ok(&Version { version: &api.version })
}

async fn metrics(api: State<Arc<Api>>, _platform: Caller) -> Response {
    open_metrics(api).await
}

/// The figures without a key: for `--metrics-listen`.
pub(crate) async fn open_metrics(State(api): State<Arc<Api>>) -> Response {
    // How late sending is cannot be told while the store does not answer; everything else can, and is wanted just then.
    let behind = match tokio::time::timeout(ANSWERS_WITHIN, behind(&api)).await {
        Ok(Ok(behind)) => behind,
        Ok(Err(_)) | Err(_) => f64::NAN,
    };
    let now = {
        let directory = api.directory.read();
        Now {
            in_flight: api.in_flight.count(),
            behind,
            webhooks: directory.webhooks().count(),
            paused: directory.webhooks().filter(|webhook| webhook.pause.is_some()).count(),
            failing: directory.webhooks().filter(|webhook| webhook.failing_since.is_some()).count(),
            accounts: directory.accounts().count(),
            stopped: api.health.trouble().is_some(),
        }
    };
    let mut response = json::answer(StatusCode::OK, api.live.metrics().write(now, &api.figures));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS));
    response
}

/// How far behind sending is, in seconds.
async fn behind(api: &Api) -> Result<f64, Problem> {
    let now = api.now();
    let oldest = oldest_due(&*api.store, &*api.waiting, now).await?;
    Ok(oldest.map_or(0.0, |due| now.since(due).as_secs_f64()))
}

async fn system(State(api): State<Arc<Api>>, _platform: Caller) -> Result<Response, Problem> {
    let oldest_due_seconds = behind(&api).await?;
    let Disk { free, total, store } = (api.disk)();
    let directory = api.directory.read();
    Ok(json::ok(&System {
        version: &api.version,
        failing: failing(&directory),
        trouble: api.health.trouble().or_else(|| api.health.damage()),
        disk_free_bytes: free,
        disk_bytes: total,
        store_bytes: store,
        in_flight: api.in_flight.count(),
        oldest_due_seconds,
        accounts: directory.accounts().count(),
        webhooks: directory.webhooks().count(),
        webhooks_paused: directory.webhooks().filter(|webhook| webhook.pause.is_some()).count(),
        webhooks_failing: directory.webhooks().filter(|webhook| webhook.failing_since.is_some()).count(),
        settings: api.settings.iter().map(Setting::new).collect(),
    }))
}
