//! The description of the API, made from the list of operations: `/openapi.json`, and a page to read it at `/docs`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};

use super::openapi_document::document;
use crate::app::Api;
use crate::operation::{Access, Operation, object, text};
use crate::{docs_page, json};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(&Method::GET, "/openapi.json", "get_openapi", openapi, "Get this description")
            .access(Access::Open)
            .answers(200, "OpenAPI 3.1.", Some(object("An OpenAPI document."))),
        Operation::new(&Method::GET, "/docs", "get_docs", docs, "Read this description").access(Access::Open).answers(
            200,
            "A page.",
            Some(text("text/html")),
        ),
        Operation::new(&Method::GET, "/docs/style.css", "get_docs_style", style, "The page's style sheet")
            .access(Access::Open)
            .answers(200, "A style sheet.", Some(text("text/css"))),
    ]
}

fn built(api: &Api) -> Bytes {
    let build = || json::write(&document(&super::operations(), &api.catalogue, &api.policy.brand, &api.version)).into();
    api.openapi.get_or_init(build).clone()
}

async fn openapi(State(api): State<Arc<Api>>) -> Response {
    json::answer(StatusCode::OK, built(&api))
}

async fn docs(State(api): State<Arc<Api>>) -> Response {
    let build = || {
        let document = document(&super::operations(), &api.catalogue, &api.policy.brand, &api.version);
        docs_page::page(&document).into()
    };
    page(api.docs.get_or_init(build).clone(), "text/html; charset=utf-8")
}

async fn style() -> Response {
    page(Bytes::from_static(docs_page::STYLE.as_bytes()), "text/css; charset=utf-8")
}

fn page(body: Bytes, kind: &'static str) -> Response {
    let mut response = json::answer(StatusCode::OK, body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let policy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}
