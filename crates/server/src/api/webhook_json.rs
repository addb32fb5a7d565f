//! A webhook as the API writes it: header values masked, its secret only where it is asked for.

use domain::id::{AccountId, WebhookId};
use domain::policy::Policy;
use domain::stats::Health;
use domain::time::{Timestamp, write_span};
use domain::webhook::{Pause, PauseCause, Webhook};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::closed_sets::{self, PERSON, US};

/// Whether a webhook sends.
pub(super) const STATUSES: [&str; 2] = [ACTIVE, PAUSED];
pub(super) const ACTIVE: &str = "active";
pub(super) const PAUSED: &str = "paused";
/// How a webhook itself says that it fares; its figures tell more.
pub(super) const HEALTH: [Health; 2] = [Health::Healthy, Health::Failing];

/// What stands where a secret value is not shown.
pub(crate) const MASK: &str = "••••";

/// A webhook.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Webhook)]
pub(crate) struct WebhookJson {
    /// Its id; also in the body of every request.
    #[schema(value_type = String, example = "wh_abc123")]
    id: WebhookId,
    /// The account that it belongs to.
    #[schema(value_type = String, example = "default")]
    account: AccountId,
    /// A label.
    #[schema(example = "CRM Sync")]
    name: String,
    /// Where requests go.
    #[schema(example = "https://hooks.crm.example.com/crondb")]
    url: String,
    /// Which events it takes: names, groups such as `alert.*`, or `*`.
    #[schema(example = json!(["alert.*", "enrichment.completed"]))]
    events: Vec<String>,
    /// Its own headers; values are never shown again.
    #[schema(value_type = std::collections::BTreeMap<String, String>, example = json!({"X-Api-Key": "••••"}))]
    headers: MaskedHeaders,
    /// `active` or `paused`.
    #[schema(value_type = closed_sets::WebhookStatus, example = "active")]
    status: &'static str,
    /// By whom, since when and why it is paused; null while it is active.
    #[schema(required)]
    status_reason: Option<StatusReason>,
    /// `failing` once every attempt has failed for a minute, else `healthy`; its figures have more words.
    #[schema(value_type = closed_sets::WebhookHealth, example = "healthy")]
    health: &'static str,
    /// Since when every attempt has failed; null after a success.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    failing_since: Option<Timestamp>,
    /// The deadline of an attempt.
    #[schema(example = "5s")]
    timeout: String,
    /// The delays between attempts, each from the end of the failed one.
    #[schema(example = json!(["30s", "2m", "10m", "1h", "6h"]))]
    retry_schedule: Vec<String>,
    /// Requests per second at most; null for no limit.
    #[schema(required)]
    rate_limit: Option<u32>,
    /// Requests in flight at most.
    #[schema(example = 10)]
    max_in_flight: u16,
    /// Whether HTTP/2 is offered.
    http2: bool,
    /// `hmac`: the secret signs; `ed25519`: a key pair signs too.
    #[schema(value_type = closed_sets::Signing, example = "hmac")]
    signing: &'static str,
    /// The public key that checks the signature `v1a`; null where the secret alone signs.
    #[schema(example = "whpk_6kpsY+KcUgq+9VB7Eye7F+ZVHdq6+vnuSQh7qaRRG0w=", required)]
    public_key: Option<String>,
    /// Until when two secrets sign, after a rotation; null while one does.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    secrets_overlap_until: Option<Timestamp>,
    /// In which order it gets its events; null where that does not matter.
    #[schema(required)]
    order: Option<OrderJson>,
    /// Which of these follow the operator's settings: `timeout`, `retry_schedule`, `max_in_flight`.
    defaults: Vec<&'static str>,
    /// Whether it lives only as long as the command that made it.
    temporary: bool,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last changed by a person.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// First in, first out: the next event of a key is sent once the one before it has ended.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Order)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderJson {
    /// `webhook` for all its events, or a JSON pointer into `data`: events with the same value there keep their order.
    #[schema(example = "/customer/id", max_length = 256)]
    pub(crate) by: String,
}

/// By whom, since when and why a webhook is paused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatusReason {
    /// `person` or `us`.
    #[schema(value_type = closed_sets::PausedBy, example = "us")]
    by: &'static str,
    /// `key`, `gone`, `all_failed` or `nobody_listens`.
    #[schema(value_type = closed_sets::PauseCause, example = "gone")]
    cause: &'static str,
    /// The name of the key that paused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// What was given as reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// The same as a sentence.
    sentence: String,
}

/// A new webhook, with its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewWebhookAnswer)]
pub(crate) struct WebhookWithSecret {
    #[serde(flatten)]
    pub(crate) webhook: WebhookJson,
    /// The signing secret; later on the route `/secret` only.
    #[schema(example = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDxF2Nn0VpwqM=")]
    pub(crate) secret: String,
}

/// Header names, each with the mask.
#[derive(Debug)]
pub(crate) struct MaskedHeaders(Vec<String>);

impl Serialize for MaskedHeaders {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for name in &self.0 {
            map.serialize_entry(name, MASK)?;
        }
        map.end()
    }
}

impl WebhookJson {
    /// A webhook under the operator's policy, as it is now.
    pub(crate) fn new(webhook: &Webhook, policy: &Policy, now: Timestamp) -> Self {
        let [healthy, failing] = HEALTH;
        let secrets = &webhook.secrets;
        let until = secrets.overlapping(now).and(secrets.previous.as_ref()).map(|(_, until)| *until);
        let defaults = [
            ("timeout", webhook.timeout.is_none()),
            ("retry_schedule", webhook.retry_schedule.is_none()),
            ("max_in_flight", webhook.max_in_flight.is_none()),
        ];
        Self {
            id: webhook.id.clone(),
            account: webhook.account_id.clone(),
            name: webhook.name.clone(),
            url: webhook.url.as_str().to_owned(),
            events: webhook.events.texts().map(str::to_owned).collect(),
            headers: MaskedHeaders(webhook.headers.names().map(str::to_owned).collect()),
            status: if webhook.pause.is_some() { PAUSED } else { ACTIVE },
            status_reason: webhook.pause.as_ref().map(StatusReason::new),
            health: if webhook.failing_since.is_some() { failing } else { healthy }.as_str(),
            failing_since: webhook.failing_since,
            timeout: write_span(webhook.timeout(policy)),
            retry_schedule: webhook.schedule(policy).clone().into(),
            rate_limit: webhook.rate_limit,
            max_in_flight: webhook.cap(policy),
            http2: webhook.http2,
            signing: webhook.secrets.signing().as_str(),
            public_key: webhook.secrets.pairs.as_ref().map(|pairs| pairs.current.public().to_string()),
            secrets_overlap_until: until,
            order: webhook.order.as_ref().map(|order| OrderJson { by: order.by() }),
            defaults: defaults.into_iter().filter(|(_, follows)| *follows).map(|(name, _)| name).collect(),
            temporary: webhook.temporary,
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
        }
    }
}

impl StatusReason {
    fn new(pause: &Pause) -> Self {
        let since = pause.since;
        let (key, reason, sentence) = match &pause.cause {
            PauseCause::Key { name, reason } => {
                let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                (Some(name.clone()), reason.clone(), format!("Paused by key {name}{why}"))
            }
            PauseCause::Gone => {
                (None, None, "Paused by us: the receiver answered 410 Gone, which asks us to stop.".to_owned())
            }
            PauseCause::AllFailed { since } => {
                (None, None, format!("Paused by us: every attempt since {since} has failed."))
            }
            PauseCause::NobodyListens => {
                (None, None, "Paused by us: nobody listens. `posthaste listen --webhook` goes on with it.".to_owned())
            }
        };
        let by = if pause.cause.by_us() { US } else { PERSON };
        Self { by, cause: pause.cause.as_str(), key, reason, since, sentence }
    }
}
