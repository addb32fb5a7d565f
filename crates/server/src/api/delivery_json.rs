//! Deliveries as the API writes them.

use domain::attempt::{Attempt, ErrorCode, LoggedAttempt};
use domain::delivery::{Delivery, DeliveryStatus};
use domain::event::Event;
use domain::id::{AccountId, DeliveryId, EventId, WebhookId};
use domain::policy::Policy;
use domain::redaction::Redaction;
use domain::retry_after::{retry_after, whole_seconds};
use domain::time::{Timestamp, write_span};
use domain::waiting::Waits;
use domain::webhook::Webhook;
use serde::Serialize;
use utoipa::ToSchema;

use super::attempt_json::{AttemptJson, milliseconds};
use super::closed_sets;

/// A delivery: one event on its way to one webhook.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryJson {
    /// Its id; also `webhook-id` of its requests.
    #[schema(value_type = String, example = "dlv_01k9x5m2q7a3b00")]
    id: DeliveryId,
    /// The account.
    #[schema(value_type = String, example = "default")]
    account: AccountId,
    /// The webhook that it goes to.
    #[schema(value_type = String, example = "wh_abc123")]
    webhook_id: WebhookId,
    /// The event that is delivered.
    #[schema(value_type = String, example = "evt_01k9x5m2q7a3b")]
    event_id: EventId,
    /// The event's type.
    #[schema(example = "alert.domain_matched")]
    event: String,
    /// The event's timestamp: when it was accepted.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// `pending`, `sending`, `delivered`, `failed`, `held` or `cancelled`.
    #[schema(value_type = closed_sets::DeliveryStatus, example = "delivered")]
    status: &'static str,
    /// Why it waits, where the status alone does not say. That the receiver's `Retry-After` has postponed the next attempt is said
    /// where the attempts are given too.
    #[schema(example = "waiting for a free slot", required)]
    note: Option<String>,
    /// What it waits for though it is due: `slot`, `rate`, `retry_after`, `order`, `probe` or `spread`; null otherwise.
    #[schema(value_type = Option<closed_sets::WaitingFor>, example = "slot", required)]
    waiting_for: Option<&'static str>,
    /// Whether it is a test; tests are left out of the figures.
    test: bool,
    /// Attempts made, replays included.
    attempts_made: u16,
    /// Retries of the present schedule that were made.
    retries_made: u16,
    /// When the next attempt is due; null once the delivery has ended.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    next_attempt_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    ended_at: Option<Timestamp>,
    /// The status code of the last attempt's answer.
    #[schema(required)]
    last_status_code: Option<u16>,
    /// The error code of the last attempt.
    #[schema(value_type = Option<closed_sets::ErrorCode>, example = "http_5xx", required)]
    last_error: Option<&'static str>,
    /// How long the last attempt took, in milliseconds.
    #[schema(required)]
    last_duration_ms: Option<f64>,
}

/// A delivery with its attempts, and the rest of its schedule.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryDetail)]
pub(crate) struct DeliveryDetailJson {
    #[serde(flatten)]
    delivery: DeliveryJson,
    /// Its attempts, oldest first.
    attempts: Vec<AttemptJson>,
    /// The attempts that are planned while each one fails: the next, and the earliest instants of those after it.
    schedule: Vec<PlannedJson>,
}

/// An attempt that is planned.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlannedAttempt)]
pub(crate) struct PlannedJson {
    /// Its number.
    pub(super) number: u16,
    /// Its earliest start: each is counted from the end of the one before it.
    #[schema(value_type = String, format = DateTime)]
    pub(super) at: Timestamp,
}

/// What the dispatcher says of a delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// Its status: `sending` while a request is in flight.
    pub(crate) status: DeliveryStatus,
    /// What it waits for though it is due.
    pub(crate) waits: Option<Waits>,
}

impl Standing {
    /// A delivery of which nobody has to be asked what it waits for.
    pub(crate) const fn of(delivery: &Delivery, sending: bool) -> Self {
        Self { status: if sending { DeliveryStatus::Sending } else { delivery.status }, waits: None }
    }

    fn note(self) -> Option<String> {
        match self.status {
            DeliveryStatus::Held => Some("the webhook is paused".to_owned()),
            DeliveryStatus::Pending => self.waits.map(sentence),
            DeliveryStatus::Sending
            | DeliveryStatus::Delivered
            | DeliveryStatus::Failed
            | DeliveryStatus::Cancelled => None,
        }
    }
}

fn sentence(waits: Waits) -> String {
    match waits {
        Waits::Slot => "waiting for a free slot".to_owned(),
        Waits::Rate => "waiting for the webhook's rate".to_owned(),
        Waits::RetryAfter(until) => format!("the receiver asked to wait until {until}"),
        Waits::Order => "waiting for an earlier event in its order".to_owned(),
        Waits::Probe => "waiting for a free slot: the receiver keeps failing and gets one attempt at a time".to_owned(),
        Waits::Spread(until) => format!("due while this server was down, sent by {until}"),
    }
}

impl DeliveryJson {
    /// A delivery as it stands.
    pub(crate) fn new(delivery: &Delivery, standing: Standing) -> Self {
        Self {
            id: delivery.id,
            account: delivery.account.clone(),
            webhook_id: delivery.webhook.clone(),
            event_id: delivery.id.event,
            event: delivery.event_type.to_string(),
            timestamp: delivery.timestamp,
            status: standing.status.as_str(),
            note: standing.note(),
            waiting_for: standing.waits.map(Waits::as_str),
            test: delivery.test,
            attempts_made: delivery.attempts_made,
            retries_made: delivery.retries_made,
            next_attempt_at: delivery.next_attempt_at,
            ended_at: delivery.ended_at,
            last_status_code: delivery.last_status_code,
            last_error: delivery.last_error.map(ErrorCode::as_str),
            last_duration_ms: delivery.last_duration.map(milliseconds),
        }
    }
}

/// What an attempt's row needs beside the attempt.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) delivery: &'a Delivery,
    /// `None` once it is past retention.
    pub(crate) event: Option<&'a Event>,
    /// `None` once it is deleted.
    pub(crate) webhook: Option<&'a Webhook>,
    pub(crate) policy: &'a Policy,
    /// What of the event's data is not shown.
    pub(crate) redact: &'a Redaction,
}

impl DeliveryDetailJson {
    /// A delivery with its attempts.
    pub(crate) fn new(delivery: DeliveryJson, context: Context<'_>, attempts: &[LoggedAttempt]) -> Self {
        let rows = attempts.iter().map(|attempt| AttemptJson::new(attempt, context)).collect();
        let last = attempts.last().map(|logged| &logged.attempt);
        let mut delivery = delivery;
        if delivery.status == DeliveryStatus::Pending.as_str() && delivery.note.is_none() {
            delivery.note = last.and_then(|last| asked_for(context, last));
        }
        Self { delivery, attempts: rows, schedule: planned(context, last) }
    }
}

/// That the next attempt is planned for when it is because the answer to the last one asked for it.
fn asked_for(context: Context<'_>, last: &Attempt) -> Option<String> {
    let Context { delivery, webhook, policy, .. } = context;
    let schedule = webhook.map_or(&policy.retry_schedule, |webhook| webhook.schedule(policy));
    let asked = retry_after(last.answer.as_ref()?, last.ended_at())?;
    let heeded = asked.min(schedule.longest());
    // A replay is due at once, whatever was asked for before.
    let is_planned_so = delivery.next_attempt_at? >= last.ended_at().plus(heeded);
    let delay = schedule.delays().get(usize::from(delivery.retries_made))?;
    (is_planned_so && heeded > *delay).then(|| match heeded == asked {
        true => format!("the server asked for {} s", whole_seconds(heeded).as_secs()),
        false => format!("the server asked for longer than {}, the longest delay", write_span(heeded)),
    })
}

impl DeliveryDetailJson {
    /// The last attempt as it is written; null if there is none.
    pub(crate) fn last_attempt(&self) -> serde_json::Value {
        self.attempts.last().and_then(|attempt| serde_json::to_value(attempt).ok()).unwrap_or_default()
    }
}

/// The attempts that are still planned.
pub(super) fn planned(context: Context<'_>, last: Option<&Attempt>) -> Vec<PlannedJson> {
    let Context { delivery, webhook, policy, .. } = context;
    let Some(next) = delivery.next_attempt_at else { return Vec::new() };
    let schedule = webhook.map_or(&policy.retry_schedule, |webhook| webhook.schedule(policy));
    // The next attempt is the schedule's own start when none of it was made: fresh, or replayed. A replay is due at once,
    // a first retry not before the first delay after the last attempt.
    let fresh = delivery.retries_made == 0
        && last.is_none_or(|last| {
            last.failure.is_none() || schedule.delays().first().is_some_and(|delay| next < last.ended_at().plus(*delay))
        });
    let used = usize::from(delivery.retries_made) + usize::from(!fresh);
    let mut at = next;
    let mut number = delivery.attempts_made.saturating_add(1);
    let mut planned = vec![PlannedJson { number, at }];
    // A test is made once.
    let retries = if delivery.test { &[] } else { schedule.delays() };
    for delay in retries.iter().skip(used) {
        at = at.plus(*delay);
        number = number.saturating_add(1);
        planned.push(PlannedJson { number, at });
    }
    planned
}
