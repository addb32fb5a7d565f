//! Who calls: what a page may offer to whoever is signed in.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::id::AccountId;
use domain::key::Scope;
use http::{Method, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::Api;
use crate::auth::Caller;
use crate::json;
use crate::operation::{Access, Operation, shape};
use crate::page;
use crate::problem::Problem;

/// Who calls.
#[derive(Serialize, ToSchema)]
#[schema(as = CurrentSession)]
struct CurrentSession<'a> {
    /// Whether everything is allowed, for every account.
    platform: bool,
    /// The one account that is seen; null for the platform.
    #[schema(value_type = Option<String>, example = "acme")]
    account: Option<AccountId>,
    /// The key's name.
    #[schema(example = "ops")]
    name: &'a str,
    /// Whether events may be posted.
    writes_events: bool,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(&Method::GET, "/v1/sessions/current", "get_current_session", current, "Get who calls")
            .access(Access::AnyKey)
            .answers(200, "Who calls, and what they may do.", Some(shape::<CurrentSession<'_>>())),
    ]
}

async fn current(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    page::no_parameters(&page::pairs(uri.query()))?;
    let account = match caller.account() {
        None => None,
        Some(number) => {
            let found = api.directory.read().accounts().find(|account| account.number == number).map(|a| a.id.clone());
            Some(found.ok_or_else(Problem::unauthorized)?)
        }
    };
    Ok(json::ok(&CurrentSession {
        platform: caller.is_platform(),
        account,
        name: caller.name(),
        writes_events: caller.has(Scope::EventsWrite),
    }))
}
