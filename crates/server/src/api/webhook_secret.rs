//! A webhook's signing secret: shown on purpose, rotated with an overlap, confirmed.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use domain::audit::{Action, of_webhook};
use domain::key::Scope;
use domain::key_pair::{KeyPair, Signing};
use domain::secret::SigningSecret;
use domain::store::Change;
use domain::time::{Timestamp, parse_span};
use domain::webhook::Webhook;
use http::header::{CACHE_CONTROL, HeaderValue};
use http::{Method, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer_headers::ETAG;
use super::webhook_change::Act;
use super::webhook_input::not_null;
use crate::app::Api;
use crate::auth::InAccount;
use crate::body::JsonBody;
use crate::idempotency::{self, Answer};
use crate::json_input::Input;
use crate::operation::{Operation, shape};
use crate::problem::Problem;

/// The overlap when none is given.
const OVERLAP: Duration = Duration::from_secs(86_400);
/// The longest overlap.
const OVERLAP_MAX: Duration = Duration::from_secs(30 * 86_400);
/// The header of Standard Webhooks.
const STANDARD: &str = "webhook-signature";

/// How a secret is rotated.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `rotate` reads")]
struct RotateInput {
    /// For how long the old secret signs too: 0s to 30d; 24h if not given.
    #[schema(example = "24h", nullable = false)]
    overlap: Option<String>,
}

/// The secrets of a webhook, and which of them signs what now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Secrets)]
struct SecretsJson {
    /// The signing secret.
    #[schema(example = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDxF2Nn0VpwqM=")]
    secret: String,
    /// The public key of the key pair that signs too; null where the secret alone signs.
    #[schema(example = "whpk_6kpsY+KcUgq+9VB7Eye7F+ZVHdq6+vnuSQh7qaRRG0w=", required)]
    public_key: Option<String>,
    /// The old secret while its overlap lasts; null otherwise.
    #[schema(required)]
    previous: Option<PreviousJson>,
    /// Which secret signs which header now.
    signs: Vec<SignsJson>,
}

/// A secret that is being replaced.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PreviousSecret)]
struct PreviousJson {
    /// The old secret.
    secret: String,
    /// The old public key, if there was one.
    #[schema(required)]
    public_key: Option<String>,
    /// When it stops signing.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
}

/// Which secrets, or key pairs, sign a header.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Signs)]
struct SignsJson {
    /// The header.
    #[schema(example = "X-CronDB-Signature")]
    header: String,
    /// `hmac`: by secrets; `ed25519`: by key pairs.
    #[schema(example = "hmac")]
    scheme: &'static str,
    /// `current`, `previous`, or both, in the order in which they stand in the header.
    by: Vec<&'static str>,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            &Method::GET,
            "/v1/accounts/{account}/webhooks/{id}/secret",
            "get_webhook_secret",
            show,
            "Show a webhook's signing secret",
        ).scope(Scope::SecretsRead)
        .answers(200, "The secret, and which one signs which header now.", Some(shape::<SecretsJson>()))
        .tells(200, ETAG),
        Operation::new(
            &Method::POST,
            "/v1/accounts/{account}/webhooks/{id}/secret/rotate",
            "rotate_webhook_secret",
            rotate,
            "Rotate a webhook's signing secret",
        ).scope(Scope::SecretsWrite)
        .about(
            "A webhook that signs with ed25519 gets a new key pair too. During the overlap the brand's signature header is signed with the old secret, and webhook-signature carries \
             signatures by both; so no check breaks. Put the new secret in, then confirm.",
        )
        .may_take(shape::<RotateInput>())
        .answers(200, "The new secret and the old one.", Some(shape::<SecretsJson>()))
        .tells(200, ETAG)
        .refuses(409, "An overlap lasts already: confirm ends it.")
        .idempotent(),
        Operation::new(
            &Method::POST,
            "/v1/accounts/{account}/webhooks/{id}/secret/confirm",
            "confirm_webhook_secret",
            confirm,
            "End a rotation's overlap at once",
        ).scope(Scope::SecretsWrite)
        .answers(200, "Only the new secret signs now.", Some(shape::<SecretsJson>()))
        .tells(200, ETAG)
        .idempotent(),
    ]
}

impl SecretsJson {
    fn new(webhook: &Webhook, prefix: &str, now: Timestamp) -> Self {
        let secrets = &webhook.secrets;
        let overlapping = secrets.overlapping(now).is_some();
        let previous = secrets.previous.as_ref().filter(|_| overlapping);
        let (page, standard) = if overlapping {
            (vec!["previous"], vec!["current", "previous"])
        } else {
            (vec!["current"], vec!["current"])
        };
        let mut pairs = secrets.pairs_at(now).map(|pair| pair.public().to_string());
        let (public_key, old_public_key) = (pairs.next(), pairs.next());
        let hmac = Signing::Hmac.as_str();
        let mut signs = vec![
            SignsJson { header: format!("{prefix}-Signature"), scheme: hmac, by: page },
            SignsJson { header: STANDARD.to_owned(), scheme: hmac, by: standard },
        ];
        if public_key.is_some() {
            let by = if old_public_key.is_some() { vec!["current", "previous"] } else { vec!["current"] };
            signs.push(SignsJson { header: STANDARD.to_owned(), scheme: Signing::Ed25519.as_str(), by });
        }
        Self {
            secret: secrets.current.reveal().to_owned(),
            public_key,
            previous: previous.map(|(secret, until)| PreviousJson {
                secret: secret.reveal().to_owned(),
                public_key: old_public_key,
                until: *until,
            }),
            signs,
        }
    }
}

/// The answer with a webhook's secrets; no cache may keep it.
fn answer(api: &Api, webhook: &Webhook) -> Answer {
    let shown = SecretsJson::new(webhook, &api.policy.brand.header_prefix, api.now());
    Answer::new(StatusCode::OK, &shown).etag(webhook.version)
}

fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn show(State(api): State<Arc<Api>>, at: InAccount) -> Result<Response, Problem> {
    let webhook = at.webhook(&api)?;
    // First it is in the log that the secret was shown, then it is shown.
    let note = of_webhook::act(Action::SecretRevealed, &webhook);
    api.store.change(Change::Note(note), at.caller.by(), None).await?;
    tracing::info!(account = %at.account.id, webhook = %webhook.id, by = at.caller.name(), "signing secret shown");
    Ok(uncached(answer(&api, &webhook).into_response()))
}

async fn rotate(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    at.webhook(&api)?;
    let idempotency = idempotency::of_body(&at.caller, Some(at.account.number), &body)?;
    let mut input = Input::parse_optional(body.text()?, &["overlap"])?;
    let text: Option<String> = not_null(&mut input, "overlap", "overlap_invalid", "a span such as \"24h\"");
    let overlap = text.as_deref().map_or(Ok(OVERLAP), parse_span).ok().filter(|overlap| *overlap <= OVERLAP_MAX);
    if overlap.is_none() {
        input.fault("overlap", "overlap_invalid", "overlap is a span from 0s to 30d, such as \"24h\".");
    }
    input.check()?;
    let fresh = SigningSecret::from_bytes(&api.chance());
    let pair = KeyPair::from_seed(&api.chance());
    let make = |mut webhook: Webhook| {
        let now = api.now();
        if webhook.secrets.overlapping(now).is_some() {
            return Err(Problem::conflict(
                "rotation_overlaps",
                "The last rotation's overlap still lasts; a third secret would break receivers. Confirm it first.",
            ));
        }
        let until = overlap.filter(|o| !o.is_zero()).map(|overlap| now.plus(overlap));
        webhook.secrets.rotate(fresh.clone(), pair.clone(), until);
        Ok(Some(Change::PutWebhook(Box::new(webhook))))
    };
    let show = |webhook: &Webhook| answer(&api, webhook);
    Act { idempotency, said: "signing secret rotated", make, show }.run(&api, &at).await.map(uncached)
}

async fn confirm(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    at.webhook(&api)?;
    let idempotency = idempotency::of_body(&at.caller, Some(at.account.number), &body)?;
    Input::parse_optional(body.text()?, &[])?.check()?;
    let make = |mut webhook: Webhook| {
        Ok(Some(if webhook.secrets.confirm() {
            Change::PutWebhook(Box::new(webhook))
        } else {
            // There is nothing to end, but the answer shows the secret.
            Change::Note(of_webhook::act(Action::SecretRevealed, &webhook))
        }))
    };
    let show = |webhook: &Webhook| answer(&api, webhook);
    Act { idempotency, said: "signing secret confirmed", make, show }.run(&api, &at).await.map(uncached)
}
