//! Events that were accepted: the list, and one with its deliveries.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::event::Event;
use domain::filter::DeliveryFilter;
use domain::id::{AccountId, EventId};
use domain::key::Scope;
use domain::store::EventQuery;
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
use crate::operation::{Operation, searched_text, shape};
use crate::page::{self, List, ListQuery};
use crate::problem::Problem;

/// What of the common filter means events.
const FILTER_KEYS: [&str; 4] = ["event", "since", "until", "q"];

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
    /// What the producer sent, less what the account redacts.
    #[schema(value_type = BTreeMap<String, Value>, additional_properties = true)]
    data: Option<&'a RawValue>,
    /// Its deliveries, in the order in which the webhooks were created.
    deliveries: Vec<DeliveryJson>,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(&Method::GET, "/v1/accounts/{account}/events", "list_events", list, "List events")
            .scope(Scope::EventsRead)
            .query("event", "Of these types: names, groups such as alert.*, or *.")
            .query("since", "Accepted since: a time, or a span back from now such as 24h.")
            .query("until", "Accepted before: a time, or a span back from now.")
            .query_of("q", "Whose id or data hold this text.", searched_text)
            .searches::<EventJson>(),
        Operation::new(&Method::GET, "/v1/accounts/{account}/events/{id}", "get_event", one, "Get an event")
            .scope(Scope::EventsRead)
            .answers(200, "The event, its data and its deliveries.", Some(shape::<EventDetailJson<'_>>())),
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
    let others: Vec<_> = query.rest.iter().filter(|(key, _)| !FILTER_KEYS.contains(&key.as_str())).cloned().collect();
    page::no_parameters(&others)?;
    let pairs = query.rest.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let DeliveryFilter { events, since, until, q, .. } =
        DeliveryFilter::parse(pairs, api.now()).map_err(Problem::invalid)?;
    let before = query.before::<EventId>()?;
    let patience = page::patience(before.is_some());
    let wanted =
        EventQuery { events, since, until, q, before, patience, ..EventQuery::new(at.account.number, query.limit) };
    let found = api.store.events(wanted).await?;
    let rows: Vec<_> = found.rows.iter().map(|event| row(&at.account.id, event)).collect();
    let next = found.next.map(|id| id.to_string());
    Ok(page::respond_searched(of, &uri, &rows, next, found.searched_until))
}

async fn one(State(api): State<Arc<Api>>, at: InAccount) -> Result<Response, Problem> {
    let id = at.event()?;
    let event = api.store.event(at.account.number, id).await?.ok_or_else(Problem::not_found)?;
    let deliveries = deliveries::of_event(&api, at.account.number, id).await?;
    let shown = at.account.log.redact.apply(&event.data);
    Ok(json::ok(&EventDetailJson {
        event: row(&at.account.id, &event),
        data: serde_json::from_slice(&shown).ok(),
        deliveries,
    }))
}
