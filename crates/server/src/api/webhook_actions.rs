//! What is done with a webhook: pause, resume, and its figures.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use domain::store::{Change, Counts};
use domain::time::{Timestamp, parse_span, write_span};
use domain::webhook::{Held, Pause, PauseCause, Webhook};
use http::{Method, StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use super::webhook_change::Act;
use super::webhook_input::{not_null, read_count};
use super::webhook_json::WebhookJson;
use crate::app::Api;
use crate::auth::InAccount;
use crate::body::JsonBody;
use crate::idempotency::{self, Answer};
use crate::json;
use crate::json_input::Input;
use crate::operation::{Operation, shape};
use crate::page;
use crate::problem::Problem;

/// The longest reason, in characters.
const REASON_MAX: usize = 500;
/// The highest rate at which held deliveries are sent, per second.
const RATE_MAX: u32 = 100_000;
/// The window of the figures when none is asked for.
const WINDOW: Duration = Duration::from_secs(86_400);
/// The longest window.
const WINDOW_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Why a webhook is paused.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `pause` reads")]
struct PauseInput {
    /// At most 500 characters, for those who read the webhook's status.
    #[schema(example = "maintenance until noon")]
    reason: Option<String>,
}

/// What happens to what a paused webhook holds.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `resume` reads")]
struct ResumeInput {
    /// `deliver` sends it, oldest first; `cancel` cancels it.
    #[schema(example = "deliver")]
    held: String,
    /// Deliveries per second for what was held; not given or null for no limit of its own.
    rate: Option<u32>,
}

/// What became of deliveries in a window of time. Tests are left out.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stats {
    /// The window.
    #[schema(example = "24h")]
    window: String,
    /// Its start: events accepted since are counted.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Got a 2xx.
    delivered: u64,
    /// Of those, after at least one retry.
    delivered_after_retry: u64,
    /// Failed for good.
    failed: u64,
    /// Cancelled.
    cancelled: u64,
    /// Pending, sending or held.
    unfinished: u64,
    /// Delivered of delivered and failed, 0 to 1; null if there are none.
    success: Option<f64>,
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
        .about("Its events are kept as held, and retries that come due are held too. Nothing is lost.")
        .may_take(shape::<PauseInput>())
        .answers(200, "It is paused.", Some(shape::<WebhookJson>()))
        .idempotent(),
        Operation::new(
            &Method::POST,
            "/v1/accounts/{account}/webhooks/{id}/resume",
            "resume_webhook",
            resume,
            "Resume a webhook",
        )
        .takes(shape::<ResumeInput>())
        .answers(200, "It is active.", Some(shape::<WebhookJson>()))
        .idempotent(),
        Operation::new(
            &Method::GET,
            "/v1/accounts/{account}/webhooks/{id}/stats",
            "get_webhook_stats",
            stats,
            "Get a webhook's figures",
        )
        .query("window", "How far back: a span such as 1h, 24h or 7d; 24h if not given.")
        .answers(200, "The figures.", Some(shape::<Stats>())),
        Operation::new(
            &Method::GET,
            "/v1/accounts/{account}/stats",
            "get_account_stats",
            account_stats,
            "Get an account's figures",
        )
        .query("window", "How far back: a span such as 1h, 24h or 7d; 24h if not given.")
        .answers(200, "The figures of all its webhooks together.", Some(shape::<Stats>())),
    ]
}

async fn pause(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    at.webhook(&api)?;
    let idempotency = idempotency::of_body(&at.caller, Some(at.account.number), &body)?;
    let mut input = Input::parse_optional(body.text()?, &["reason"])?;
    let reason: Option<String> =
        not_null(&mut input, "reason", "reason_invalid", "text").filter(|r: &String| !r.is_empty());
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON_MAX || reason.chars().any(char::is_control))
    {
        let detail = format!("reason has at most {REASON_MAX} characters, and no control characters.");
        input.fault("reason", "reason_invalid", detail);
    }
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
    Answer::new(StatusCode::OK, &WebhookJson::new(webhook, &api.policy)).etag(webhook.version)
}

/// The window of a request for figures.
fn window(uri: &Uri) -> Result<Duration, Problem> {
    let mut window = WINDOW;
    for (name, value) in page::pairs(uri.query()) {
        if name != "window" {
            return Err(page::bad_parameter(
                &name,
                "unknown_parameter",
                format!("There is no parameter {name:?} here."),
            ));
        }
        let span = parse_span(&value).ok().filter(|span| !span.is_zero() && *span <= WINDOW_MAX);
        window = span.ok_or_else(|| {
            let detail = format!("window is a span over 0 s and at most 366 d, such as 24h, not {value:?}.");
            page::bad_parameter("window", "window_invalid", detail)
        })?;
    }
    Ok(window)
}

async fn stats(State(api): State<Arc<Api>>, at: InAccount, uri: Uri) -> Result<Response, Problem> {
    let webhook = at.webhook(&api)?;
    counted(&api, &[webhook.number], window(&uri)?).await
}

async fn account_stats(State(api): State<Arc<Api>>, at: InAccount, uri: Uri) -> Result<Response, Problem> {
    let window = window(&uri)?;
    let numbers: Vec<_> = api.directory.read().webhooks_of(at.account.number).map(|webhook| webhook.number).collect();
    counted(&api, &numbers, window).await
}

async fn counted(api: &Api, webhooks: &[u32], window: Duration) -> Result<Response, Problem> {
    let since = api.now().minus(window);
    let mut sum = Counts::default();
    for webhook in webhooks {
        let counts = api.store.counts(*webhook, since).await?;
        sum.delivered += counts.delivered;
        sum.delivered_after_retry += counts.delivered_after_retry;
        sum.failed += counts.failed;
        sum.cancelled += counts.cancelled;
        sum.unfinished += counts.unfinished;
    }
    let Counts { delivered, delivered_after_retry, failed, cancelled, unfinished } = sum;
    let window = write_span(window);
    let success = share(delivered, failed);
    Ok(json::ok(&Stats { window, since, delivered, delivered_after_retry, failed, cancelled, unfinished, success }))
}

/// Delivered of delivered and failed.
#[expect(clippy::cast_precision_loss, reason = "counts of deliveries are below 2^53")]
fn share(delivered: u64, failed: u64) -> Option<f64> {
    (delivered + failed > 0).then(|| delivered as f64 / (delivered + failed) as f64)
}
