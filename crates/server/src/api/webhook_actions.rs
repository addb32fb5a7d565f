//! What is done with a webhook: pause and resume.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::key::Scope;
use domain::store::Change;
use domain::webhook::{Held, Pause, PauseCause, Webhook};
use http::{Method, StatusCode};
use utoipa::ToSchema;

use super::answer_headers::ETAG;
use super::closed_sets;
use super::webhook_change::Act;
use super::webhook_input::{not_null, read_count};
use super::webhook_json::WebhookJson;
use crate::app::Api;
use crate::auth::InAccount;
use crate::body::JsonBody;
use crate::idempotency::{self, Answer};
use crate::json_input::Input;
use crate::operation::{Operation, shape};
use crate::problem::Problem;

/// The longest reason, in characters.
const REASON_MAX: usize = 500;
/// The highest rate at which held deliveries are sent, per second.
pub(super) const RATE_MAX: u32 = 100_000;

/// Why a webhook is paused.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `pause` reads")]
struct PauseInput {
    /// At most 500 characters, for those who read the webhook's status.
    #[schema(example = "maintenance until noon", nullable = false, max_length = 500)]
    reason: Option<String>,
}

/// What happens to what a paused webhook holds.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `resume` reads")]
struct ResumeInput {
    /// `deliver` sends it, oldest first; `cancel` cancels it.
    #[schema(value_type = closed_sets::HeldChoice, example = "deliver")]
    held: String,
    /// Deliveries per second for what was held; not given or null for no limit of its own.
    #[schema(minimum = 1, maximum = 100000)]
    rate: Option<u32>,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            &Method::POST,
            "/v1/accounts/{account}/webhooks/{id}/pause",
            "pause_webhook",
            pause,
            "Pause a webhook",
        )
        .scope(Scope::WebhooksWrite)
        .about("Its events are kept as held, and retries that come due are held too. Nothing is lost.")
        .may_take(shape::<PauseInput>())
        .answers(200, "It is paused.", Some(shape::<WebhookJson>()))
        .tells(200, ETAG)
        .idempotent(),
        Operation::new(
            &Method::POST,
            "/v1/accounts/{account}/webhooks/{id}/resume",
            "resume_webhook",
            resume,
            "Resume a webhook",
        )
        .scope(Scope::WebhooksWrite)
        .takes(shape::<ResumeInput>())
        .answers(200, "It is active.", Some(shape::<WebhookJson>()))
        .tells(200, ETAG)
        .idempotent(),
    ]
}

async fn pause(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    at.webhook(&api)?;
    let idempotency = idempotency::of_body(&at.caller, Some(at.account.number), &body)?;
    let mut input = Input::parse_optional(body.text()?, &["reason"])?;
    let reason = read_reason(&mut input);
    input.check()?;
    let cause = PauseCause::Key { name: at.caller.name().to_owned(), reason };
    let make = |mut webhook: Webhook| {
        if webhook.pause.is_some() {
            return Ok(None);
        }
        webhook.pause = Some(Pause { since: api.now(), cause: cause.clone() });
        Ok(Some(Change::PutWebhook(Box::new(webhook))))
    };
    Act { idempotency, said: "webhook paused", make, show: |webhook: &Webhook| shown(&api, webhook) }
        .run(&api, &at)
        .await
}

/// The member `reason`, for those who read why something is paused.
pub(super) fn read_reason(input: &mut Input<'_>) -> Option<String> {
    let reason: Option<String> = not_null(input, "reason", "reason_invalid", "text").filter(|r: &String| !r.is_empty());
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON_MAX || reason.chars().any(char::is_control))
    {
        let detail = format!("reason has at most {REASON_MAX} characters, and no control characters.");
        input.fault("reason", "reason_invalid", detail);
    }
    reason
}

async fn resume(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    at.webhook(&api)?;
    let idempotency = idempotency::of_body(&at.caller, Some(at.account.number), &body)?;
    let mut input = Input::parse_optional(body.text()?, &["held", "rate"])?;
    let held: Option<Held> = not_null(&mut input, "held", "held_invalid", "\"deliver\" or \"cancel\"");
    if held.is_none() && input.raw("held").is_none() {
        let detail = "Say what happens to what is held: \"deliver\" sends it, oldest first; \"cancel\" cancels it.";
        input.fault("held", "field_missing", detail);
    }
    let rate = read_count(&mut input, "rate", "rate_invalid", RATE_MAX).flatten();
    input.check()?;
    let Some(held) = held else { return Err(Problem::fault("/held", "held_invalid", "held is missing.")) };
    let make = |mut webhook: Webhook| {
        if webhook.pause.take().is_none() {
            return Ok(None);
        }
        // What failed before the pause is no reason to pause again.
        webhook.failing_since = None;
        Ok(Some(Change::Resume { webhook: Box::new(webhook), held, rate }))
    };
    Act { idempotency, said: "webhook resumed", make, show: |webhook: &Webhook| shown(&api, webhook) }
        .run(&api, &at)
        .await
}

fn shown(api: &Api, webhook: &Webhook) -> Answer {
    Answer::new(StatusCode::OK, &WebhookJson::new(webhook, &api.policy, api.now())).etag(webhook.version)
}
