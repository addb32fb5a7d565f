//! The catalogue: the event types, each with its schema and an example.

use std::sync::Arc;

use axum::extract::{RawPathParams, State};
use axum::response::Response;
use domain::catalogue::{Enforcement, EventType};
use domain::key::Scope;
use domain::time::Timestamp;
use http::{Method, Uri};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::closed_sets;
use crate::app::Api;
use crate::auth::{Caller, InAccount};
use crate::event_counts::Count;
use crate::json;
use crate::operation::{Access, LINK, Operation, limit, page as page_of, shape};
use crate::page::{self, List, ListQuery};
use crate::problem::Problem;

/// An event type.
#[derive(Serialize, ToSchema)]
#[schema(as = EventType)]
struct EventTypeJson<'a> {
    /// Its name.
    #[schema(example = "alert.domain_matched")]
    name: &'a str,
    /// Its group, as in `alert.*`.
    #[schema(example = "alert")]
    group: &'a str,
    /// What it means.
    description: &'a str,
    /// The JSON Schema of its `data`.
    #[schema(value_type = BTreeMap<String, Value>, additional_properties = true)]
    schema: &'a Value,
    /// An example of its `data`.
    #[schema(value_type = BTreeMap<String, Value>, additional_properties = true)]
    example: &'a RawValue,
    /// What becomes of an event that breaks the schema: `reject`, `flag` or `off`.
    #[schema(value_type = closed_sets::Enforcement, example = "reject")]
    enforcement: Enforcement,
}

/// How many events of each type were posted for an account.
#[derive(Serialize, ToSchema)]
#[schema(as = EventTypeCounts)]
struct CountsJson<'a> {
    /// From when on is counted: 24 h back, or the start of the process.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Every type of the catalogue, in its order.
    data: Vec<CountJson<'a>>,
}

/// How many events of a type were posted.
#[derive(Serialize, ToSchema)]
#[schema(as = EventTypeCount)]
struct CountJson<'a> {
    /// The type.
    #[schema(example = "alert.domain_matched")]
    name: &'a str,
    /// Events that were accepted; tests are left out.
    accepted: u64,
    /// Events that were refused (422), since their data broke the type's schema.
    refused: u64,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            &Method::GET,
            "/v1/accounts/{account}/event-types",
            "count_event_types",
            counts,
            "Count an account's events by type",
        )
        .about("Over the last 24 h, counted in memory since the process started.")
        .scope(Scope::EventsRead)
        .answers(200, "The counts.", Some(shape::<CountsJson<'_>>())),
        Operation::new(&Method::GET, "/v1/event-types", "list_event_types", list, "List event types")
            .about("In the order of the catalogue.")
            .access(Access::AnyKey)
            .query_of("limit", "Rows wanted: 1 to 100; 100 if not given.", limit)
            .query("cursor", "The next_cursor of the page before.")
            .answers(200, "A page of the catalogue.", Some(page_of::<EventTypeJson<'_>>()))
            .tells(200, LINK),
        Operation::new(&Method::GET, "/v1/event-types/{name}", "get_event_type", one, "Get an event type")
            .access(Access::AnyKey)
            .answers(200, "The event type.", Some(shape::<EventTypeJson<'_>>())),
    ]
}

fn row(event_type: &EventType) -> EventTypeJson<'_> {
    EventTypeJson {
        name: &event_type.name,
        group: event_type.group(),
        description: &event_type.description,
        schema: &event_type.schema,
        example: &event_type.example,
        enforcement: event_type.enforcement,
    }
}

async fn counts(State(api): State<Arc<Api>>, at: InAccount, uri: Uri) -> Result<Response, Problem> {
    page::no_parameters(&page::pairs(uri.query()))?;
    let (now, counts) = (api.now(), api.live.counts());
    let count = |event_type: &Arc<EventType>| counts.of(at.account.number, &event_type.name, now);
    let row = |event_type| {
        let Count { accepted, refused } = count(event_type);
        CountJson { name: &event_type.name, accepted, refused }
    };
    let data = api.catalogue.types().iter().map(row).collect();
    Ok(json::ok(&CountsJson { since: counts.since(now), data }))
}

async fn list(State(api): State<Arc<Api>>, _caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let of = List { name: "event-types", account: 0 };
    let mut query = ListQuery::parse(uri.query(), of)?;
    query.nothing_else()?;
    if !page::pairs(uri.query()).iter().any(|(name, _)| name == "limit") {
        // A catalogue is short, and whoever asks for it wants it whole.
        query.limit = 100;
    }
    let types: Vec<_> = api.catalogue.types().iter().collect();
    let (rows, next) = page::cut(types, &query, |event_type| event_type.name.to_string());
    let rows: Vec<_> = rows.into_iter().map(|event_type| row(event_type)).collect();
    Ok(page::respond(of, &uri, &rows, next))
}

async fn one(State(api): State<Arc<Api>>, _caller: Caller, params: RawPathParams) -> Result<Response, Problem> {
    let name = params.iter().find(|(name, _)| *name == "name").map(|(_, value)| value);
    let found = name.and_then(|name| api.catalogue.get(name)).ok_or_else(Problem::not_found)?;
    Ok(json::ok(&row(found)))
}
