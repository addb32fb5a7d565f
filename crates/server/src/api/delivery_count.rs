//! `GET …/deliveries/count`: how many deliveries a filter means, in all and by event type, as far as it is quickly told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use domain::key::Scope;
use domain::store::DeliveryQuery;
use http::{Method, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use super::deliveries;
use crate::app::Api;
use crate::auth::InAccount;
use crate::json;
use crate::operation::{Operation, shape};
use crate::page;
use crate::problem::Problem;

/// How far is counted.
const COUNTED_MAX: usize = 10_000;
/// Deliveries that are read at once: a reader is not kept from others for long.
const PAGE: usize = 1_000;
/// For how long one page is looked for: what is rarer than that is not counted to its end.
const PATIENCE: Duration = Duration::from_millis(50);

/// How many deliveries there are.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryCount)]
struct CountJson {
    /// How many were counted, the newest first.
    #[schema(example = 1204)]
    count: usize,
    /// Whether there may be more: no more than 10,000 are counted, and only for a moment.
    more: bool,
    /// Of these, how many carry events of each type: most frequent first.
    events: Vec<EventCountJson>,
}

/// How many deliveries carry events of a type.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventDeliveryCount)]
struct EventCountJson {
    /// The type.
    #[schema(example = "alert.domain_matched")]
    event: String,
    /// How many.
    #[schema(example = 812)]
    count: usize,
}

pub(super) fn operations() -> Vec<Operation> {
    let count = Operation::new(
        &Method::GET,
        "/v1/accounts/{account}/deliveries/count",
        "count_deliveries",
        count,
        "Count deliveries",
    )
    .scope(Scope::DeliveriesRead)
    .about("How many deliveries the filter means, tests included, up to 10,000 of the newest.");
    vec![deliveries::takes_filter(count).answers(200, "The count.", Some(shape::<CountJson>()))]
}

async fn count(State(api): State<Arc<Api>>, at: InAccount, uri: Uri) -> Result<Response, Problem> {
    let mut query = deliveries::filtered(&api, at.account.number, &page::pairs(uri.query()))?;
    let (mut count, mut more) = (0, false);
    let mut events: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    while let Some(wanted) = query.take() {
        let wanted = DeliveryQuery { limit: PAGE, patience: PATIENCE, sending: api.in_flight.all(), ..wanted };
        let found = api.store.deliveries(wanted.clone()).await?;
        count += found.rows.len();
        for row in &found.rows {
            *events.entry(Arc::clone(&row.event_type)).or_default() += 1;
        }
        more = found.next.is_some();
        if count < COUNTED_MAX && found.searched_until.is_none() {
            query = found.next.map(|next| DeliveryQuery { before: Some(next), ..wanted });
        }
    }
    let mut events: Vec<_> =
        events.into_iter().map(|(event, count)| EventCountJson { event: event.to_string(), count }).collect();
    events.sort_by_key(|event| std::cmp::Reverse(event.count));
    Ok(json::ok(&CountJson { count, more, events }))
}
