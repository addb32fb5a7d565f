//! A test of a webhook: an event of its own through the real pipeline, and the attempt as the answer.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use domain::event::NewEvent;
use domain::id::DeliveryId;
use domain::key::Scope;
use domain::store::AcceptError;
use http::{Method, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::accept_events::DATA_MAX;
use super::deliveries;
use super::delivery_json::DeliveryDetailJson;
use super::webhook_input::not_null;
use crate::app::Api;
use crate::auth::InAccount;
use crate::body::JsonBody;
use crate::idempotency;
use crate::json;
use crate::json_input::Input;
use crate::live::{Placed, Reading, Record};
use crate::operation::{Operation, shape};
use crate::problem::Problem;

/// How much longer than an attempt's deadline its recorded end is waited for.
const GRACE: Duration = Duration::from_secs(2);

/// What is sent.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `test` reads")]
struct TestInput {
    /// The type, subscribed or not.
    #[schema(example = "alert.domain_matched")]
    event: String,
    /// The data; the type's example if not given.
    #[schema(value_type = Option<BTreeMap<String, Value>>, additional_properties = true, nullable = false)]
    data: Option<String>,
}

/// What a test came to.
#[derive(Serialize, ToSchema)]
#[schema(as = TestAnswer)]
struct TestJson {
    /// Set when the webhook is paused: the test was sent all the same.
    #[schema(required)]
    note: Option<&'static str>,
    /// The attempt; null if it had not ended when this was answered.
    #[schema(value_type = Option<super::attempt_json::AttemptJson>, required)]
    attempt: serde_json::Value,
    /// The delivery, with the attempt.
    delivery: DeliveryDetailJson,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            &Method::POST,
            "/v1/accounts/{account}/webhooks/{id}/test",
            "test_webhook",
            test,
            "Send a test to a webhook",
        ).scope(Scope::WebhooksWrite)
        .about(
            "A real event of its own goes through the real pipeline, also while the webhook is paused, and is left out of \
             the figures. The answer waits for the attempt; 202 if it had not ended 2 s after its deadline.",
        )
        .takes(shape::<TestInput>())
        .answers(200, "The attempt.", Some(shape::<TestJson>()))
        .or_answers(202, "The attempt had not ended in time: its delivery goes on, and `attempt` is null.", shape::<TestJson>())
        .idempotent(),
    ]
}

async fn test(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    let webhook = at.webhook(&api)?;
    let over = api.tests.take(at.account.number, api.now()).err().map(|wait| {
        Problem::over("too_many_tests", wait, "An account sends at most 30 tests in 10 seconds. Wait a moment.")
    });
    let idempotency = idempotency::of_body(&at.caller, Some(at.account.number), &body)?;
    // The same request again is answered as it was.
    let only_repeated = over.is_some();
    if let (None, Some(over)) = (&idempotency, &over) {
        return Err(over.clone());
    }
    let test_for = Some(webhook.number);
    let event = NewEvent { test_for, idempotency, only_repeated, ..read(&api, &at, body.text()?)? };
    let start = api.live.come(at.account.number, None).await?;
    let accepted = api.store.accept(vec![event]).await.pop();
    let accepted = accepted.ok_or_else(|| Problem::unavailable("store_stopped", "The store did not answer."))?;
    let accepted = match (accepted, over) {
        (Err(AcceptError::NotRepeated), Some(over)) => return Err(over),
        (accepted, _) => accepted?,
    };
    if accepted.repeated && !only_repeated {
        api.tests.give_back(&at.account.number);
    }
    if !accepted.repeated {
        tracing::info!(account = %at.account.id, webhook = %webhook.id, event = %accepted.id, by = at.caller.name(), "test sent");
    }
    // A test goes to its webhook alone: the first place of its list.
    let delivery = DeliveryId { event: accepted.id, place: 0 };
    if !accepted.repeated {
        let ended = settled(&api, start.place, delivery);
        let _in_time = tokio::time::timeout(webhook.timeout(&api.policy) + GRACE, ended).await;
    }
    let detail = deliveries::detail(&api, at.account.number, delivery).await?;
    let attempt = detail.last_attempt();
    let status = if attempt.is_null() { StatusCode::ACCEPTED } else { StatusCode::OK };
    let note = webhook.pause.as_ref().map(|_| "The webhook is paused; the test was sent all the same.");
    Ok(json::answer(status, json::write(&TestJson { note, attempt, delivery: detail })))
}

/// The event that is described.
fn read(api: &Api, at: &InAccount, text: &str) -> Result<NewEvent, Problem> {
    let mut input = Input::parse(text, &["event", "data"])?;
    let name: Option<String> = not_null(&mut input, "event", "event_type_unknown", "text");
    let event_type = name.as_deref().and_then(|name| api.catalogue.get(name).cloned());
    if event_type.is_none() && !input.faults.iter().any(|fault| fault.pointer == "/event") {
        input.fault(
            "event",
            "event_type_unknown",
            "Name an event type; GET /v1/event-types lists those that there are.",
        );
    }
    let data = input.raw("data").or(event_type.as_ref().map(|event_type| event_type.example.as_ref()));
    let mut flagged = false;
    if let (Some(event_type), Some(data)) = (&event_type, data) {
        if data.get().len() > DATA_MAX {
            return Err(Problem::too_large("data_too_large", "data has over 256 KiB."));
        }
        match event_type.check(data) {
            Ok(breaks) => flagged = breaks,
            Err(faults) => input.faults.extend(faults),
        }
    }
    let data = data.map(|data| Bytes::copy_from_slice(data.get().as_bytes()));
    input.check()?;
    let (Some(event_type), Some(data)) = (event_type, data) else {
        return Err(Problem::fault("", "body_invalid", "The test is incomplete."));
    };
    Ok(NewEvent {
        account: at.account.number,
        event_type: Arc::clone(&event_type.name),
        data,
        test_for: None,
        flagged,
        trace: None,
        idempotency: None,
        only_repeated: false,
    })
}

/// Waits until an attempt of the delivery is recorded, as seen from `place` of the feed on.
async fn settled(api: &Api, mut place: u64, wanted: DeliveryId) {
    loop {
        match api.live.read(place) {
            Reading::Records(records, _) => {
                let here = |placed: &Placed| matches!(&placed.record, Record::Settled(settlement, _) if settlement.delivery == wanted);
                if records.iter().any(here) {
                    return;
                }
                place += records.len() as u64;
            }
            // Too much happened meanwhile: the attempt may be among it. The store tells.
            Reading::Lost => return,
        }
        api.live.wait(place).await;
    }
}
