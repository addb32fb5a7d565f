//! A check of a URL before it is saved: the rules and a look-up, and no request: nobody uses us to reach a stranger's server
//! by typing. If asked for, also one connection with one TLS handshake and one request without a body.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use domain::endpoint_url::EndpointUrl;
use domain::explain::{Explanation, explain_look};
use domain::id::WebhookId;
use domain::key::Scope;
use domain::refusal::Refusal;
use domain::time::Timestamp;
use domain::transport::Look;
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

/// A certificate that ends within this is worth a word.
const ENDS_SOON: Duration = Duration::from_secs(14 * 86_400);

/// The URL to check.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `check` reads")]
struct UrlCheckInput {
    /// The URL.
    #[schema(example = "https://hooks.crm.example.com/crondb")]
    url: String,
    /// Whether to connect too, and to ask for the head of an answer (`HEAD`); false if not given.
    #[schema(nullable = false)]
    connect: Option<bool>,
}

/// What a URL is worth.
#[derive(Serialize, ToSchema)]
#[schema(as = UrlCheck)]
struct UrlCheckJson {
    /// Whether a webhook may have it.
    ok: bool,
    /// The URL as it would be kept; null if it may not be used.
    #[schema(required)]
    url: Option<String>,
    /// The addresses that its name leads to now.
    #[schema(value_type = Vec<String>)]
    addresses: Vec<IpAddr>,
    /// Why it may not be used.
    #[schema(value_type = Vec<FaultSchema>)]
    errors: Vec<Refusal>,
    /// What should be looked at, and is no reason to refuse it.
    warnings: Vec<UrlWarning>,
    /// What a connection found; null if none was asked for, or the URL may not be used.
    #[schema(required)]
    connection: Option<UrlConnection>,
}

/// What a connection to a URL found.
#[derive(Serialize, ToSchema)]
struct UrlConnection {
    /// The address that was dialled.
    #[schema(value_type = Option<String>, example = "198.41.0.4:443", required)]
    remote_address: Option<SocketAddr>,
    /// When the certificate ends; null if there is none that holds.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    certificate_ends_at: Option<Timestamp>,
    /// The status of the answer to `HEAD`; null if nothing answered. A receiver may well refuse what is no POST.
    #[schema(example = 405, required)]
    status_code: Option<u16>,
    /// Where a redirect leads; it is not followed.
    #[schema(example = "https://www.crm.example.com/crondb", required)]
    redirects_to: Option<String>,
}

/// Something that should be looked at.
#[derive(Serialize, ToSchema)]
struct UrlWarning {
    /// `dns_not_found`, `dns_timeout`, `dns_failed`, `not_https` or `url_in_use`; and of a connection an attempt's
    /// `error.code`, `redirects` or `certificate_ends_soon`.
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
            .about(
                "By the rules and a look-up of its name; nothing is sent to it, unless `connect` asks for a connection: one TLS \
                 handshake, and one HEAD without a body, which is not followed anywhere.",
            )
            .takes(shape::<UrlCheckInput>())
            .answers(200, "What it is worth.", Some(shape::<UrlCheckJson>()))
            .refuses(422, "The input has faults."),
    ]
}

async fn check(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    api.url_checks.take(at.account.number, api.now()).map_err(|wait| {
        Problem::over("too_many_checks", wait, "An account checks at most 30 URLs in 10 seconds. Wait a moment.")
    })?;
    let mut input = Input::parse(body.text()?, &["url", "connect"])?;
    let text: Option<String> = not_null(&mut input, "url", "url_invalid", "text");
    let connect = not_null(&mut input, "connect", "connect_invalid", "true or false").unwrap_or(false);
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
    let connection = if connect && !addresses.is_empty() { Some(look(&api, &url, &mut warnings).await) } else { None };
    warnings.extend(in_use(&api, at.account.number, &url));
    let url = Some(url.as_str().to_owned());
    Ok(json::ok(&UrlCheckJson { ok: true, url, addresses, errors: Vec::new(), warnings, connection }))
}

/// Connects, and says what should be looked at.
async fn look(api: &Api, url: &EndpointUrl, warnings: &mut Vec<UrlWarning>) -> UrlConnection {
    let headers = [("User-Agent".to_owned(), api.policy.brand.user_agent.clone())];
    let (now, timeout) = (api.now(), api.policy.timeout);
    let Look { remote_address, certificate_ends_at, result } = api.names.look(url, &headers, timeout).await;
    let mut warn = |code, detail| warnings.push(UrlWarning { code, detail, webhook_id: None });
    if let Some(end) = certificate_ends_at.filter(|end| end.since(now) < ENDS_SOON) {
        let days = end.since(now).as_secs() / 86_400;
        let day: String = end.to_string().chars().take(10).collect();
        warn("certificate_ends_soon", format!("The certificate ends on {day}, in {days} days. Renew it before."));
    }
    let mut redirects_to = None;
    match &result {
        Err(failure) => {
            let Explanation { message, hint } = explain_look(url, failure, remote_address, now, timeout);
            warn(failure.code.as_str(), format!("{message} {hint}"));
        }
        Ok(seen) if (300..400).contains(&seen.status) => {
            redirects_to = seen.location.as_deref().and_then(|location| target(url, location));
            warn(
                "redirects",
                match &redirects_to {
                    Some(to) => format!("It redirects to {to}; we do not follow. Use that URL."),
                    None => format!("It answers {}, a redirect; we do not follow.", seen.status),
                },
            );
        }
        Ok(_) => {}
    }
    let status_code = result.ok().map(|seen| seen.status);
    UrlConnection { remote_address, certificate_ends_at, status_code, redirects_to }
}

/// Where a `Location` leads from here, as a whole URL.
fn target(url: &EndpointUrl, location: &str) -> Option<String> {
    let to = url::Url::parse(url.as_str()).ok()?.join(location).ok()?;
    matches!(to.scheme(), "http" | "https").then(|| to.to_string())
}

fn refused(errors: Vec<Refusal>, addresses: Vec<IpAddr>) -> Response {
    json::ok(&UrlCheckJson { ok: false, url: None, addresses, errors, warnings: Vec::new(), connection: None })
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
