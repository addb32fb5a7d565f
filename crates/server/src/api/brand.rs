//! What a page has to know before anybody has signed in: whose webhooks these are, and what holds where nothing else is said.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::time::write_span;
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::Api;
use crate::json;
use crate::operation::{Access, Operation, shape};

/// Whose webhooks these are, and what holds for a webhook that does not say otherwise.
#[derive(Serialize, ToSchema)]
#[schema(as = Brand)]
struct BrandJson<'a> {
    /// The platform's name.
    #[schema(example = "CronDB")]
    name: &'a str,
    /// What the headers of requests start with.
    #[schema(example = "X-CronDB")]
    header_prefix: &'a str,
    /// This build's version.
    #[schema(example = "0.1.0")]
    version: &'a str,
    /// Whether this is `posthaste dev`: an inbox, a short schedule, loopback and plain http allowed.
    development: bool,
    /// Whether webhooks may have `http://` URLs.
    allow_http: bool,
    /// The deadline of an attempt.
    #[schema(example = "5s")]
    timeout: String,
    /// The delays between attempts.
    #[schema(value_type = Vec<String>, example = json!(["30s", "2m", "10m", "1h", "6h"]))]
    retry_schedule: Vec<String>,
    /// Requests per webhook in flight at most.
    #[schema(example = 10)]
    max_in_flight: u16,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(&Method::GET, "/v1/brand", "get_brand", brand, "Get the platform's name and defaults")
            .about("What a page needs before anybody has signed in.")
            .access(Access::Open)
            .answers(200, "The name and the defaults.", Some(shape::<BrandJson<'_>>())),
    ]
}

async fn brand(State(api): State<Arc<Api>>) -> Response {
    let policy = &api.policy;
    json::ok(&BrandJson {
        name: &policy.brand.name,
        header_prefix: &policy.brand.header_prefix,
        version: &api.version,
        development: api.inbox.is_some(),
        allow_http: api.url_rules.allow_http,
        timeout: write_span(policy.timeout),
        retry_schedule: policy.retry_schedule.clone().into(),
        max_in_flight: policy.max_in_flight,
    })
}
