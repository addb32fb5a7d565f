//! The public keys of a webhook that signs with ed25519: open to all, so that a receiver can fetch what it checks with.

use std::sync::Arc;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::response::Response;
use domain::id::WebhookId;
use domain::key_pair::PublicKey;
use domain::time::Timestamp;
use domain::webhook::Webhook;
use http::Method;
use http::header::{CACHE_CONTROL, HeaderValue};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::Api;
use crate::json;
use crate::operation::{Access, Operation, shape};
use crate::problem::Problem;

/// How long an answer may be kept: a rotation's overlap should be longer.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// The public keys that sign now: a JSON Web Key Set (RFC 7517, RFC 8037).
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookKeys)]
struct KeySet {
    /// The keys, the current one first; a signature by any of them is good.
    keys: Vec<KeyJson>,
}

/// One public key.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookKey)]
struct KeyJson {
    /// `OKP`.
    #[schema(example = "OKP")]
    kty: &'static str,
    /// `Ed25519`.
    #[schema(example = "Ed25519")]
    crv: &'static str,
    /// The key's bytes, as base64url.
    #[schema(example = "6kpsY-KcUgq-9VB7Eye7F-ZVHdq6-vnuSQh7qaRRG0w")]
    x: String,
    /// `sig`: it checks signatures.
    #[serde(rename = "use")]
    #[schema(example = "sig")]
    purpose: &'static str,
    /// The same key as Standard Webhooks writes it.
    #[schema(example = "whpk_6kpsY+KcUgq+9VB7Eye7F+ZVHdq6+vnuSQh7qaRRG0w=")]
    public_key: String,
    /// When it stops signing; null for the current key.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    until: Option<Timestamp>,
}

impl KeyJson {
    fn new(key: PublicKey, until: Option<Timestamp>) -> Self {
        let public_key = key.to_string();
        Self { kty: "OKP", crv: "Ed25519", x: key.base64url(), purpose: "sig", public_key, until }
    }
}

impl KeySet {
    /// `None` for a webhook that signs with its secret alone.
    fn new(webhook: &Webhook, now: Timestamp) -> Option<Self> {
        let secrets = &webhook.secrets;
        let until = secrets.previous.as_ref().map(|(_, until)| *until);
        let keys: Vec<_> =
            secrets.pairs_at(now).zip([None, until]).map(|(pair, until)| KeyJson::new(pair.public(), until)).collect();
        (!keys.is_empty()).then_some(Self { keys })
    }
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            &Method::GET,
            "/.well-known/webhooks/{id}/keys",
            "get_webhook_keys",
            keys,
            "Get the public keys of a webhook",
        )
        .access(Access::Open)
        .about(
            "For webhooks whose `signing` is `ed25519`: a JSON Web Key Set that checks the signatures `v1a` in webhook-signature. \
             While a rotation overlaps it holds both keys, and requests carry a signature by each.",
        )
        .answers(200, "The keys. May be cached for five minutes.", Some(shape::<KeySet>()))
        .refuses(404, "There is no such webhook, or it signs with its secret alone."),
    ]
}

async fn keys(
    State(api): State<Arc<Api>>,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, Problem> {
    let params = params.map_err(|_| Problem::not_found())?;
    let id = params.iter().find(|(name, _)| *name == "id").and_then(|(_, id)| id.parse::<WebhookId>().ok());
    let webhook = id.and_then(|id| api.directory.read().webhook_of_id(&id).cloned()).ok_or_else(Problem::not_found)?;
    let set = KeySet::new(&webhook, api.now()).ok_or_else(Problem::not_found)?;
    let mut response = json::ok(&set);
    response.headers_mut().insert(CACHE_CONTROL, CACHED);
    Ok(response)
}
