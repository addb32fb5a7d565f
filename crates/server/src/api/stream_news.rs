//! What a stream carries about deliveries and attempts.

use std::sync::Arc;

use domain::id::{DeliveryId, EventId, WebhookId};
use domain::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::attempt_json::AttemptHeadJson;
use super::closed_sets;
use super::replay_json::ReplayJson;
use super::webhook_json::WebhookJson;

/// What a stream tells: under the name of an event the schema of its `data`. No message holds all of these; each event has one.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what a stream's events carry")]
pub(super) struct StreamMessages {
    /// A delivery was accepted, has changed or has ended.
    delivery: DeliveryNews,
    /// An attempt was made.
    attempt: AttemptNews,
    /// A webhook was created, changed or deleted.
    webhook: WebhookNews,
    /// A replay in bulk was started, has moved on or has ended.
    replay: ReplayJson,
    /// Something was missed: lists have to be read again.
    reset: Reset,
}

/// A webhook as it is now, or that it was deleted.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what a stream says of a webhook")]
enum WebhookNews {
    /// It was created or changed.
    Now(Box<WebhookJson>),
    /// It was deleted.
    Deleted(WebhookDeleted),
}

/// That a webhook was deleted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookDeleted {
    /// Its id.
    #[schema(value_type = String, example = "wh_abc123")]
    pub(super) id: WebhookId,
    /// Always true.
    pub(super) deleted: bool,
}

/// An object without members.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StreamReset)]
struct Reset {}

/// Where a delivery stands after something happened to it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryNews {
    /// The delivery.
    #[schema(value_type = String)]
    pub(super) id: DeliveryId,
    /// Its webhook.
    #[schema(value_type = String)]
    pub(super) webhook_id: WebhookId,
    /// Its event.
    #[schema(value_type = String)]
    pub(super) event_id: EventId,
    /// The event's type.
    #[schema(value_type = String)]
    pub(super) event: Arc<str>,
    /// When the event was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub(super) timestamp: Timestamp,
    /// Where it stands.
    #[schema(value_type = closed_sets::DeliveryStatus)]
    pub(super) status: &'static str,
    /// Whether it is a test.
    pub(super) test: bool,
    /// Attempts made.
    pub(super) attempts_made: u16,
    /// When the next attempt is due.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub(super) next_attempt_at: Option<Timestamp>,
    /// The status code of the last attempt's answer.
    #[schema(required)]
    pub(super) last_status_code: Option<u16>,
    /// The error code of the last attempt.
    #[schema(value_type = Option<closed_sets::ErrorCode>, required)]
    pub(super) last_error: Option<&'static str>,
    /// How long the last attempt took, in milliseconds.
    #[schema(required)]
    pub(super) last_duration_ms: Option<f64>,
}

/// An attempt that was made; its bodies are on the delivery's own route.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttemptNews {
    /// The delivery.
    #[schema(value_type = String)]
    pub(super) delivery_id: DeliveryId,
    /// Its webhook.
    #[schema(value_type = String)]
    pub(super) webhook_id: WebhookId,
    /// The webhook's name.
    pub(super) webhook_name: String,
    /// Its event.
    #[schema(value_type = String)]
    pub(super) event_id: EventId,
    /// The event's type.
    #[schema(value_type = String)]
    pub(super) event: Arc<str>,
    /// Whether it is a test.
    pub(super) test: bool,
    #[serde(flatten)]
    pub(super) attempt: AttemptHeadJson,
    /// Where the delivery stands now.
    #[schema(value_type = closed_sets::DeliveryStatus)]
    pub(super) status: &'static str,
    /// When the next attempt is due.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub(super) next_attempt_at: Option<Timestamp>,
}
