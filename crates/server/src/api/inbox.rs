//! The inbox of the development mode: what its boxes have received, and how they answer. Elsewhere there is none: 404.

use std::sync::Arc;

use axum::extract::{RawPathParams, State};
use axum::response::Response;
use http::{Method, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use super::webhook_input::not_null;
use crate::app::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::inbox::{Inbox, InboxBox, InboxRequest};
use crate::json;
use crate::json_input::Input;
use crate::operation::{Access, Operation, shape};
use crate::page;
use crate::problem::Problem;

/// The boxes of the inbox.
#[derive(Serialize, ToSchema)]
struct InboxBoxes {
    /// By name.
    data: Vec<InboxBox>,
}

/// A box with what it has received.
#[derive(Serialize, ToSchema)]
struct InboxContent {
    #[serde(flatten)]
    inbox: InboxBox,
    /// The latest 100 requests, newest first.
    data: Vec<InboxRequest>,
}

/// How a box is to answer.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `switch` reads")]
struct InboxSwitch {
    /// `200`, `500`, `410`, `429` with Retry-After, `slow`, `hang`, or `fail_twice`: 500, 500, then 200 for each delivery.
    #[schema(example = "500")]
    answer: String,
}

const ONE: &str = "/v1/inbox/{name}";

pub(super) fn operations() -> Vec<Operation> {
    let none = "This is not the development mode, or there is no such box.";
    vec![
        Operation::new(&Method::GET, "/v1/inbox", "list_inbox", list, "List the boxes of the built-in inbox")
            .about("Only in `posthaste dev`.")
            .access(Access::Platform)
            .answers(200, "The boxes.", Some(shape::<InboxBoxes>()))
            .refuses(404, none),
        Operation::new(&Method::GET, ONE, "get_inbox", one, "Get what a box of the inbox has received")
            .about("Only in `posthaste dev`.")
            .access(Access::Platform)
            .answers(200, "The box and its latest requests.", Some(shape::<InboxContent>()))
            .refuses(404, none),
        Operation::new(&Method::PATCH, ONE, "switch_inbox", switch, "Switch how a box of the inbox answers")
            .about("Only in `posthaste dev`. Every delivery counts as new from then on.")
            .access(Access::Platform)
            .takes(shape::<InboxSwitch>())
            .answers(200, "The box.", Some(shape::<InboxBox>()))
            .refuses(404, none)
            .refuses(422, "The input has faults."),
    ]
}

fn inbox(api: &Api) -> Result<&dyn Inbox, Problem> {
    api.inbox.as_deref().ok_or_else(Problem::not_found)
}

/// The box that the path names.
fn named(api: &Api, params: &RawPathParams) -> Result<InboxBox, Problem> {
    let name = params.iter().find(|(name, _)| *name == "name").map(|(_, value)| value);
    inbox(api)?.boxes().into_iter().find(|found| Some(found.name.as_str()) == name).ok_or_else(Problem::not_found)
}

async fn list(State(api): State<Arc<Api>>, _caller: Caller, uri: Uri) -> Result<Response, Problem> {
    page::no_parameters(&page::pairs(uri.query()))?;
    Ok(json::ok(&InboxBoxes { data: inbox(&api)?.boxes() }))
}

async fn one(
    State(api): State<Arc<Api>>,
    _caller: Caller,
    params: RawPathParams,
    uri: Uri,
) -> Result<Response, Problem> {
    page::no_parameters(&page::pairs(uri.query()))?;
    let found = named(&api, &params)?;
    let data = inbox(&api)?.requests(&found.name).ok_or_else(Problem::not_found)?;
    Ok(json::ok(&InboxContent { inbox: found, data }))
}

async fn switch(
    State(api): State<Arc<Api>>,
    _caller: Caller,
    params: RawPathParams,
    body: JsonBody,
) -> Result<Response, Problem> {
    let found = named(&api, &params)?;
    let mut input = Input::parse(body.text()?, &["answer"])?;
    let answer: Option<String> = not_null(&mut input, "answer", "answer_unknown", "text");
    let known = |answer: &String| found.answers.contains(&answer.as_str());
    if input.faults.is_empty() && !answer.as_ref().is_some_and(known) {
        input.fault("answer", "answer_unknown", format!("answer is one of {}.", found.answers.join(", ")));
    }
    input.check()?;
    inbox(&api)?.switch(&found.name, &answer.unwrap_or_default()).ok_or_else(Problem::not_found)?;
    Ok(json::ok(&named(&api, &params)?))
}
