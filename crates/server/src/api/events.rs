//! Events that were accepted: the list, and one with its deliveries.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::event::Event;
use domain::id::{AccountId, EventId};
use domain::store::Page;
use domain::time::Timestamp;
use http::{Method, Uri};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::deliveries;
use super::delivery_json::DeliveryJson;
use crate::app::Api;
use crate::auth::InAccount;
use crate::json;
use crate::operation::{Operation, shape};
use crate::page::{self, List, ListQuery};
use crate::problem::Problem;

/// An event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
struct EventJson {
    /// Its id.
    #[schema(value_type = String, example = "evt_01k9x5m2q7a3b")]
    id: EventId,
    /// The account.
    #[schema(value_type = String, example = "default")]
    account: AccountId,
    /// Its type.
    #[schema(value_type = String, example = "alert.domain_matched")]
    event: Arc<str>,
    /// When it was accepted; unique in its account.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// Whether it is a test for one webhook.
    test: bool,
    /// Whether its data broke its type's schema, and was taken all the same.
    flagged: bool,
    /// How many webhooks it goes to.
    delivery_count: usize,
    /// The size of its data in bytes.
    size: usize,
}

/// An event with its data and its deliveries.
#[derive(Serialize, ToSchema)]
#[schema(as = EventDetail)]
struct EventDetailJson<'a> {
    #[serde(flatten)]
    event: EventJson,
    /// What the producer sent.
    #[schema(value_type = Object)]
    data: Option<&'a RawValue>,
    /// Its deliveries, in the order in which the webhooks were created.
    deliveries: Vec<DeliveryJson>,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(&Method::GET, "/v1/accounts/{account}/events", "list_events", list, "List events")
            .lists::<EventJson>(),
        Operation::new(&Method::GET, "/v1/accounts/{account}/events/{id}", "get_event", one, "Get an event").answers(
            200,
            "The event, its data and its deliveries.",
            Some(shape::<EventDetailJson<'_>>()),
        ),
    ]
}

fn row(account: &AccountId, event: &Event) -> EventJson {
    EventJson {
        id: event.id,
        account: account.clone(),
        event: Arc::clone(&event.event_type),
        timestamp: event.timestamp,
        test: event.test,
        flagged: event.flagged,
        delivery_count: event.targets.len(),
        size: event.data.len(),
    }
}

async fn list(State(api): State<Arc<Api>>, at: InAccount, uri: Uri) -> Result<Response, Problem> {
    let of = List { name: "events", account: at.account.number };
    let query = ListQuery::parse(uri.query(), of)?;
    query.nothing_else()?;
    let Page { rows, next } = api.store.events(at.account.number, query.before()?, query.limit).await?;
    let rows: Vec<_> = rows.iter().map(|event| row(&at.account.id, event)).collect();
    Ok(page::respond(of, &uri, &rows, next.map(|id| id.to_string())))
}

async fn one(State(api): State<Arc<Api>>, at: InAccount) -> Result<Response, Problem> {
    let id = at.event()?;
    let event = api.store.event(at.account.number, id).await?.ok_or_else(Problem::not_found)?;
    let deliveries = deliveries::of_event(&api, at.account.number, id).await?;
    Ok(json::ok(&EventDetailJson {
        event: row(&at.account.id, &event),
        data: serde_json::from_slice(&event.data).ok(),
        deliveries,
    }))
}
