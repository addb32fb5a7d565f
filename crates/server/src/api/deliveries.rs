//! Deliveries: the log by filter, one with its attempts, replay and cancel.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::delivery::{Delivery, DeliveryStatus};
use domain::filter::DeliveryFilter;
use domain::id::{DeliveryId, EventId};
use domain::key::Scope;
use domain::redaction::Redaction;
use domain::store::{Change, DeliveryQuery, Page};
use http::{Method, StatusCode, Uri};

use super::delivery_json::{Context, DeliveryDetailJson, DeliveryJson, Standing};
use crate::app::Api;
use crate::auth::InAccount;
use crate::body::JsonBody;
use crate::idempotency::{self, Answer};
use crate::json;
use crate::json_input::Input;
use crate::operation::{Operation, searched_text, shape, yes_or_no};
use crate::page::{self, List, ListQuery};
use crate::problem::Problem;

const LIST: &str = "/v1/accounts/{account}/deliveries";
const ONE: &str = "/v1/accounts/{account}/deliveries/{id}";

pub(super) fn operations() -> Vec<Operation> {
    let list = Operation::new(&Method::GET, LIST, "list_deliveries", list, "List deliveries")
        .scope(Scope::DeliveriesRead)
        .about("The log: every delivery of the account that the filter means. Keys stand side by side as \"and\", the values of one key, separated by commas, as \"or\".");
    let list = takes_filter(list).searches::<DeliveryJson>();
    let one = Operation::new(&Method::GET, ONE, "get_delivery", one, "Get a delivery with its attempts")
        .scope(Scope::DeliveriesRead)
        .answers(200, "The delivery, its attempts, and the rest of its schedule.", Some(shape::<DeliveryDetailJson>()));
    let replay = Operation::new(
        &Method::POST,
        "/v1/accounts/{account}/deliveries/{id}/replay",
        "replay_delivery",
        replay,
        "Send a delivery again",
    )
    .scope(Scope::DeliveriesWrite)
    .about(
        "The same bytes and ids, at once; the schedule starts afresh, and attempts are numbered on. One that still waits for its retry goes at \
         once too; where the webhook is paused, it is held.",
    )
    .answers(202, "It is due now.", Some(shape::<DeliveryJson>()))
    .refuses(409, "Its webhook was deleted.")
    .idempotent();
    let cancel = Operation::new(
        &Method::POST,
        "/v1/accounts/{account}/deliveries/{id}/cancel",
        "cancel_delivery",
        cancel,
        "Cancel an unfinished delivery",
    )
    .scope(Scope::DeliveriesWrite)
    .answers(200, "It is cancelled.", Some(shape::<DeliveryJson>()))
    .refuses(409, "It has ended already.")
    .idempotent();
    vec![list, one, replay, cancel]
}

/// The parameters of the common filter.
pub(super) fn takes_filter(operation: Operation) -> Operation {
    operation
        .query("webhook", "Deliveries to this webhook.")
        .query("event", "Of these types: names, groups such as alert.*, or *.")
        .query("status", "In these states: pending, sending, delivered, failed, held, cancelled.")
        .query("code", "Whose last attempt was answered with these: 404, or a class such as 5xx.")
        .query("error", "Whose last attempt failed by these, such as response_timeout.")
        .query_of("test", "true for tests only, false for all but tests.", yes_or_no)
        .query("since", "Of events accepted since: a time, or a span back from now such as 24h.")
        .query("until", "Of events accepted before: a time, or a span back from now.")
        .query_of("q", "Whose ids or bodies hold this text.", searched_text)
}

async fn list(State(api): State<Arc<Api>>, at: InAccount, uri: Uri) -> Result<Response, Problem> {
    let of = List { name: "deliveries", account: at.account.number };
    let query = ListQuery::parse(uri.query(), of)?;
    let Some(wanted) = filtered(&api, at.account.number, &query.rest)? else {
        return Ok(page::respond_searched::<DeliveryJson>(of, &uri, &[], None, None));
    };
    let before = query.before::<DeliveryId>()?;
    let patience = page::patience(before.is_some());
    let wanted = DeliveryQuery { before, limit: query.limit, sending: api.in_flight.all(), patience, ..wanted };
    let found = api.store.deliveries(wanted).await?;
    let rows = rows_json(&api, at.account.number, &found.rows).await;
    let next = found.next.map(|id| id.to_string());
    Ok(page::respond_searched(of, &uri, &rows, next, found.searched_until))
}

/// The query for the pairs of a filter; `None` if it names a webhook that is and was none of the account's, which has no deliveries
/// here.
///
/// # Errors
/// 422 for every fault of the filter.
pub(super) fn filtered(api: &Api, account: u32, pairs: &[(String, String)]) -> Result<Option<DeliveryQuery>, Problem> {
    let now = api.now();
    let pairs = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let filter = DeliveryFilter::parse(pairs, now).map_err(Problem::invalid)?;
    let Some(id) = &filter.webhook else { return Ok(Some(DeliveryQuery::new(account, filter, now))) };
    // The log of one that was deleted stays, and its id may have been given again.
    let mut numbers = api.store.deleted_webhooks(account, id);
    numbers.extend(api.directory.read().webhook(account, id).map(|found| found.number));
    let webhook = if let [one] = numbers[..] { Some(one) } else { None };
    let query = DeliveryQuery { webhook, ..DeliveryQuery::new(account, filter, now) };
    Ok((!numbers.is_empty()).then_some(query))
}

/// Rows of the log, as they stand now.
pub(super) async fn rows_json(api: &Api, account: u32, rows: &[Delivery]) -> Vec<DeliveryJson> {
    let now = api.now();
    let standing: Vec<Standing> =
        rows.iter().map(|row| Standing::of(row, api.in_flight.has(row.id, row.attempts_made))).collect();
    let late = |row: &Delivery, standing: &Standing| {
        standing.status == DeliveryStatus::Pending && row.next_attempt_at.is_some_and(|due| due < now)
    };
    let asked: Vec<(usize, (u32, DeliveryId))> = {
        let directory = api.directory.read();
        let late = rows.iter().zip(&standing).enumerate().filter(|(_, (row, standing))| late(row, standing));
        late.filter_map(|(at, (row, _))| Some((at, (directory.webhook(account, &row.webhook)?.number, row.id))))
            .collect()
    };
    let mut standing = standing;
    if !asked.is_empty() {
        let waits = api.waiting.waits(asked.iter().map(|(_, delivery)| *delivery).collect()).await;
        for ((at, _), waits) in asked.into_iter().zip(waits) {
            standing[at].waits = waits;
        }
    }
    rows.iter().zip(standing).map(|(row, standing)| DeliveryJson::new(row, standing)).collect()
}

/// Every delivery of an event.
///
/// # Errors
/// What the store refuses.
pub(super) async fn of_event(api: &Api, account: u32, event: EventId) -> Result<Vec<DeliveryJson>, Problem> {
    let mut all = Vec::new();
    let mut before = None;
    loop {
        let query = DeliveryQuery {
            event: Some(event),
            before,
            sending: api.in_flight.all(),
            ..DeliveryQuery::new(account, DeliveryFilter::default(), api.now())
        };
        let Page { rows, next, .. } = api.store.deliveries(query).await?;
        all.extend(rows_json(api, account, &rows).await);
        before = next;
        if before.is_none() {
            // Newest first is for pages; an event's deliveries read in the order of its webhooks.
            all.reverse();
            return Ok(all);
        }
    }
}

async fn one(State(api): State<Arc<Api>>, at: InAccount) -> Result<Response, Problem> {
    Ok(json::ok(&detail(&api, at.account.number, at.delivery()?).await?))
}

/// A delivery of the account with its attempts.
///
/// # Errors
/// 404, and what the store refuses.
pub(super) async fn detail(api: &Api, account: u32, id: DeliveryId) -> Result<DeliveryDetailJson, Problem> {
    let now = api.now();
    let (delivery, attempts) = api.store.delivery(account, id, now).await?.ok_or_else(Problem::not_found)?;
    let event = api.store.event(account, id.event).await?;
    let webhook = api.directory.read().webhook(account, &delivery.webhook).cloned();
    let row = rows_json(api, account, std::slice::from_ref(&delivery)).await.pop().ok_or_else(Problem::not_found)?;
    let redact = redaction(api, account);
    let context = Context {
        delivery: &delivery,
        event: event.as_deref(),
        webhook: webhook.as_deref(),
        policy: &api.policy,
        redact: &redact,
    };
    Ok(DeliveryDetailJson::new(row, context, &attempts))
}

/// What of the account's data is not shown.
pub(super) fn redaction(api: &Api, account: u32) -> Redaction {
    let directory = api.directory.read();
    directory.account_numbered(account).map(|account| account.log.redact.clone()).unwrap_or_default()
}

/// The delivery as it is to be after a change: what the answer says, which is made before the change.
async fn before_change(api: &Api, at: &InAccount, id: DeliveryId) -> Result<Delivery, Problem> {
    let found = api.store.delivery(at.account.number, id, api.now()).await?;
    found.map(|(delivery, _)| delivery).ok_or_else(Problem::not_found)
}

async fn replay(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    let id = at.delivery()?;
    let idempotency = idempotency::of_body(&at.caller, Some(at.account.number), &body)?;
    if let Some(response) = idempotency::repeated(&api, idempotency.as_ref()).await? {
        return Ok(response);
    }
    Input::parse_optional(body.text()?, &[])?.check()?;
    let mut delivery = before_change(&api, &at, id).await?;
    let now = api.now();
    let paused = api.directory.read().webhook(at.account.number, &delivery.webhook).is_some_and(|w| w.pause.is_some());
    delivery.status = if paused { DeliveryStatus::Held } else { DeliveryStatus::Pending };
    (delivery.retries_made, delivery.next_attempt_at, delivery.ended_at) = (0, Some(now), None);
    let answer = Answer::new(StatusCode::ACCEPTED, &DeliveryJson::new(&delivery, Standing::of(&delivery, false)));
    let change = Change::Replay(at.account.number, id);
    let (response, made) = idempotency::change(&api, change, at.caller.by(), idempotency, answer).await?;
    if made {
        tracing::info!(account = %at.account.id, delivery = %id, by = at.caller.name(), "delivery replayed");
    }
    Ok(response)
}

async fn cancel(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    let id = at.delivery()?;
    let idempotency = idempotency::of_body(&at.caller, Some(at.account.number), &body)?;
    if let Some(response) = idempotency::repeated(&api, idempotency.as_ref()).await? {
        return Ok(response);
    }
    Input::parse_optional(body.text()?, &[])?.check()?;
    let mut delivery = before_change(&api, &at, id).await?;
    let now = api.now();
    delivery.status = DeliveryStatus::Cancelled;
    (delivery.next_attempt_at, delivery.ended_at) = (None, Some(now));
    let answer = Answer::new(StatusCode::OK, &DeliveryJson::new(&delivery, Standing::of(&delivery, false)));
    let change = Change::Cancel(at.account.number, id);
    let (response, made) = idempotency::change(&api, change, at.caller.by(), idempotency, answer).await?;
    if made {
        tracing::info!(account = %at.account.id, delivery = %id, by = at.caller.name(), "delivery cancelled");
    }
    Ok(response)
}
