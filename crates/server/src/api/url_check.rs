//! A check of a URL before it is saved: the rules and a look-up, and no request: nobody uses us to reach
//! a stranger's server by typing.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::endpoint_url::EndpointUrl;
use domain::id::WebhookId;
use domain::key::Scope;
use domain::refusal::Refusal;
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;

use super::webhook_input::{look_up, not_null};
use crate::app::Api;
use crate::auth::InAccount;
use crate::body::JsonBody;
use crate::json;
use crate::json_input::Input;
use crate::operation::{Operation, shape};
use crate::problem::{FaultSchema, Problem};

/// The URL to check.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `check` reads")]
struct UrlCheckInput {
    /// The URL.
    #[schema(example = "https://hooks.crm.example.com/crondb")]
    url: String,
}

/// What a URL is worth.
#[derive(Serialize, ToSchema)]
#[schema(as = UrlCheck)]
struct UrlCheckJson {
    /// Whether a webhook may have it.
    ok: bool,
    /// The URL as it would be kept; null if it may not be used.
    url: Option<String>,
    /// The addresses that its name leads to now.
    #[schema(value_type = Vec<String>)]
    addresses: Vec<IpAddr>,
    /// Why it may not be used.
    #[schema(value_type = Vec<FaultSchema>)]
    errors: Vec<Refusal>,
    /// What should be looked at, and is no reason to refuse it.
    warnings: Vec<UrlWarning>,
}

/// Something that should be looked at.
#[derive(Serialize, ToSchema)]
struct UrlWarning {
    /// `dns_not_found`, `dns_timeout`, `dns_failed`, `not_https` or `url_in_use`.
    #[schema(example = "dns_not_found")]
    code: &'static str,
    /// One sentence.
    detail: String,
    /// The webhook that sends there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    webhook_id: Option<WebhookId>,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(&Method::POST, "/v1/accounts/{account}/url-check", "check_url", check, "Check a URL")
            .scope(Scope::WebhooksWrite)
            .about("By the rules and a look-up of its name; nothing is sent to it.")
            .takes(shape::<UrlCheckInput>())
            .answers(200, "What it is worth.", Some(shape::<UrlCheckJson>()))
            .refuses(422, "The input has faults."),
    ]
}

async fn check(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    api.url_checks.take(at.account.number, api.now()).map_err(|wait| {
        Problem::over("too_many_checks", wait, "An account checks at most 30 URLs in 10 seconds. Wait a moment.")
    })?;
    let mut input = Input::parse(body.text()?, &["url"])?;
    let text: Option<String> = not_null(&mut input, "url", "url_invalid", "text");
    if input.raw("url").is_none() {
        input.fault("url", "field_missing", "The field url is missing.");
    }
    input.check()?;
    let text = text.unwrap_or_default();
    let url = match EndpointUrl::parse(&text, &api.url_rules) {
        Ok(url) => url,
        Err(fault) => return Ok(refused(vec![fault], Vec::new())),
    };
    let mut warnings = Vec::new();
    let addresses = look_up(&api, &url).await.unwrap_or_else(|error| {
        let detail = format!("The name {} cannot be looked up now; it can be saved all the same.", url.host());
        warnings.push(UrlWarning { code: error.as_str(), detail, webhook_id: None });
        Vec::new()
    });
    if let Err(fault) = url.judge_addresses(&addresses, api.names.as_ref()) {
        return Ok(refused(vec![fault], addresses));
    }
    if !url.https() {
        let detail = "http:// is open to whoever is on the way; the operator allowed it.".to_owned();
        warnings.push(UrlWarning { code: "not_https", detail, webhook_id: None });
    }
    warnings.extend(in_use(&api, at.account.number, &url));
    let url = Some(url.as_str().to_owned());
    Ok(json::ok(&UrlCheckJson { ok: true, url, addresses, errors: Vec::new(), warnings }))
}

fn refused(errors: Vec<Refusal>, addresses: Vec<IpAddr>) -> Response {
    json::ok(&UrlCheckJson { ok: false, url: None, addresses, errors, warnings: Vec::new() })
}

/// The account's webhooks that send there already.
fn in_use(api: &Api, account: u32, url: &EndpointUrl) -> Vec<UrlWarning> {
    let directory = api.directory.read();
    let same = directory.webhooks_of(account).filter(|webhook| *webhook.url == *url);
    same.map(|webhook| UrlWarning {
        code: "url_in_use",
        detail: format!("{} already sends here.", webhook.name),
        webhook_id: Some(webhook.id.clone()),
    })
    .collect()
}
