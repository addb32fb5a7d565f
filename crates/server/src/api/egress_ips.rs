//! The addresses that requests come from: public, so that receivers can open their firewalls.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::Api;
use crate::json;
use crate::operation::{Access, Operation, shape};

/// The addresses that requests come from.
#[derive(Serialize, ToSchema)]
#[schema(as = EgressIps)]
struct EgressIps<'a> {
    /// The addresses, as receivers see them.
    #[schema(value_type = Vec<String>, example = json!(["203.0.113.10", "2001:db8::10"]))]
    data: &'a [IpAddr],
    /// Whether the list is complete. If not, the operator has listed none, and the addresses are not fixed.
    fixed: bool,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            &Method::GET,
            "/v1/egress-ips",
            "list_egress_ips",
            list,
            "List the addresses that requests come from",
        )
        .access(Access::Open)
        .answers(200, "The addresses.", Some(shape::<EgressIps<'_>>())),
    ]
}

async fn list(State(api): State<Arc<Api>>) -> Response {
    json::ok(&EgressIps { data: &api.egress, fixed: !api.egress.is_empty() })
}
