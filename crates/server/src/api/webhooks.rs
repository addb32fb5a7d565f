//! Webhooks of an account: list, create, get, change, delete.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::directory::Directory;
use domain::id::WebhookId;
use domain::key::{Account, Scope};
use domain::secret::SigningSecret;
use domain::store::{Change, ChangeError};
use domain::webhook::Webhook;
use http::header::IF_MATCH;
use http::{HeaderMap, Method, StatusCode, Uri};
use utoipa::ToSchema;

use super::answer_headers::{ETAG, LOCATION};
use super::closed_sets;
use super::stats;
use super::stats_json::ShortStats;
use super::webhook_input::{Draft, FIELDS, WebhookInput, not_null};
use super::webhook_json::{ACTIVE, PAUSED, WebhookJson, WebhookWithSecret};
use crate::app::Api;
use crate::auth::InAccount;
use crate::body::JsonBody;
use crate::idempotency::{self, Answer};
use crate::json;
use crate::json_input::Input;
use crate::operation::{Operation, shape};
use crate::page::{self, List, ListQuery};
use crate::problem::Problem;

/// How often a change is tried again when another came in between.
const TRIES: usize = 8;

const LIST: &str = "/v1/accounts/{account}/webhooks";
const ONE: &str = "/v1/accounts/{account}/webhooks/{id}";

/// A new webhook: what a PATCH may hold, and what only the platform may bring along.
#[derive(ToSchema)]
#[schema(as = NewWebhook)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `create` reads")]
struct NewWebhook {
    #[schema(inline)]
    #[serde(flatten)]
    webhook: WebhookInput,
    /// With a platform key: the webhook's id, `wh_` and 1 to 64 letters, digits, `_`, `-`, so that a platform can move in.
    #[schema(nullable = false, pattern = "^wh_[A-Za-z0-9_-]{1,64}$")]
    id: Option<String>,
    /// With a platform key: its secret, `whsec_` and the base64 of 24 to 64 bytes.
    #[schema(nullable = false)]
    secret: Option<String>,
}

/// A row of the list.
#[derive(serde::Serialize, ToSchema)]
#[schema(as = WebhookRow)]
struct WebhookRow {
    #[serde(flatten)]
    webhook: WebhookJson,
    /// Its figures, if `stats` was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<ShortStats>,
}

/// What a new webhook may have beside [`FIELDS`].
const NEW_FIELDS: [&str; 2] = ["id", "secret"];

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(&Method::GET, LIST, "list_webhooks", list, "List webhooks")
            .scope(Scope::WebhooksRead)
            .query("q", "Whose name, URL or id holds this text, in whatever case.")
            .query_of("status", "Those that are active, or those that are paused.", shape::<closed_sets::WebhookStatus>)
            .query("stats", "A window such as 24h: each row gets its figures over it, with a bar for each step.")
            .lists::<WebhookRow>(),
        Operation::new(&Method::POST, LIST, "create_webhook", create, "Create a webhook")
            .scope(Scope::WebhooksWrite)
            .takes(shape::<NewWebhook>().whole(&["url", "events"]))
            .answers(201, "Created. The answer has the signing secret.", Some(shape::<WebhookWithSecret>()))
            .tells(201, ETAG)
            .tells(201, LOCATION)
            .refuses(409, "A webhook with the given id exists, or the account has as many webhooks as it may have.")
            .idempotent(),
        Operation::new(&Method::GET, ONE, "get_webhook", one, "Get a webhook")
            .scope(Scope::WebhooksRead)
            .answers(200, "The webhook; the header ETag has its version.", Some(shape::<WebhookJson>()))
            .tells(200, ETAG),
        Operation::new(&Method::PATCH, ONE, "change_webhook", change, "Change a webhook")
            .scope(Scope::WebhooksWrite)
            .about("Only what is given changes.")
            .takes(shape::<WebhookInput>())
            .answers(200, "The webhook as it is now.", Some(shape::<WebhookJson>()))
            .tells(200, ETAG)
            .refuses(422, "The input has faults.")
            .matches(),
        Operation::new(&Method::DELETE, ONE, "delete_webhook", delete, "Delete a webhook")
            .scope(Scope::WebhooksWrite)
            .about("Its unfinished deliveries are cancelled; its log stays until its retention ends.")
            .matches(),
    ]
}

async fn list(State(api): State<Arc<Api>>, at: InAccount, uri: Uri) -> Result<Response, Problem> {
    let of = List { name: "webhooks", account: at.account.number };
    let query = ListQuery::parse(uri.query(), of)?;
    let Wanted { window, text, paused } = Wanted::read(&query)?;
    let fits = |webhook: &&Arc<Webhook>| {
        let holds = |part: &str, text: &str| part.to_lowercase().contains(text);
        paused.is_none_or(|paused| webhook.pause.is_some() == paused)
            && text.as_ref().is_none_or(|text| {
                holds(&webhook.name, text) || holds(webhook.url.as_str(), text) || holds(webhook.id.as_str(), text)
            })
    };
    let newest_first =
        |webhooks: &Directory| webhooks.webhooks_of(at.account.number).rev().filter(fits).cloned().collect();
    let newest_first: Vec<_> = newest_first(&api.directory.read());
    let (rows, next) = page::cut(newest_first, &query, |webhook| webhook.id.to_string());
    let mut figures = Vec::new();
    if let Some(window) = window {
        let numbers: Vec<_> = rows.iter().map(|webhook| webhook.number).collect();
        figures = stats::of_rows(&api, at.account.number, &numbers, &window).await?;
    }
    let figures = figures.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
    let row = |(webhook, stats): (&Arc<Webhook>, _)| WebhookRow {
        webhook: WebhookJson::new(webhook, &api.policy, api.now()),
        stats,
    };
    let rows: Vec<_> = rows.iter().zip(figures).map(row).collect();
    Ok(page::respond(of, &uri, &rows, next))
}

/// Which rows of the list, and with which figures.
#[derive(Default)]
struct Wanted {
    window: Option<String>,
    /// In lower case.
    text: Option<String>,
    paused: Option<bool>,
}

impl Wanted {
    fn read(query: &ListQuery) -> Result<Self, Problem> {
        let mut wanted = Self::default();
        for (name, value) in &query.rest {
            let again = match name.as_str() {
                "stats" => wanted.window.replace(value.clone()).is_some(),
                "q" => wanted.text.replace(value.to_lowercase()).is_some(),
                "status" => {
                    let paused = match value.as_str() {
                        ACTIVE => false,
                        PAUSED => true,
                        _ => {
                            return Err(page::bad_parameter(
                                name,
                                "status_invalid",
                                format!("status is active or paused, not {value:?}."),
                            ));
                        }
                    };
                    wanted.paused.replace(paused).is_some()
                }
                _ => {
                    return Err(page::no_parameters(&[(name.clone(), value.clone())])
                        .err()
                        .unwrap_or_else(Problem::not_found));
                }
            };
            if again {
                return Err(page::bad_parameter(
                    name,
                    "duplicate_parameter",
                    format!("{name} is given more than once."),
                ));
            }
        }
        Ok(wanted)
    }
}

async fn one(State(api): State<Arc<Api>>, at: InAccount) -> Result<Response, Problem> {
    let webhook = at.webhook(&api)?;
    Ok(json::with_etag(json::ok(&WebhookJson::new(&webhook, &api.policy, api.now())), webhook.version))
}

async fn create(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    let account = &at.account;
    let idempotency = idempotency::of_body(&at.caller, Some(account.number), &body)?;
    if let Some(response) = idempotency::repeated(&api, idempotency.as_ref()).await? {
        return Ok(response);
    }
    // What only the platform may bring along is not known to others.
    let own = if at.caller.is_platform() { &NEW_FIELDS[..] } else { &[] };
    let mut input = Input::parse(body.text()?, &[&FIELDS[..], own].concat())?;
    let webhook = read_new(&api, account, &mut input).await;
    input.check()?;
    let webhook = webhook.ok_or_else(|| Problem::fault("", "body_invalid", "The webhook is incomplete."))?;
    let _alone = api.creating.lock().await;
    check_room(&api, account)?;
    let location = format!("/v1/accounts/{}/webhooks/{}", account.id, webhook.id);
    let shown = WebhookWithSecret {
        webhook: WebhookJson::new(&webhook, &api.policy, api.now()),
        secret: webhook.secrets.current.reveal().to_owned(),
    };
    let answer = Answer::new(StatusCode::CREATED, &shown).etag(webhook.version).location(location);
    let id = webhook.id.clone();
    let (response, made) =
        idempotency::change(&api, Change::PutWebhook(Box::new(webhook)), at.caller.by(), idempotency, answer).await?;
    if made {
        tracing::info!(account = %account.id, webhook = %id, by = at.caller.name(), "webhook created");
    }
    Ok(response)
}

/// The new webhook that is described; what is wrong or missing is left as faults in `input`.
async fn read_new(api: &Api, account: &Account, input: &mut Input<'_>) -> Option<Webhook> {
    let id = read_id(api, input);
    let secret = read_secret(api, input);
    for (name, code) in [("url", "url_invalid"), ("events", "events_invalid")] {
        if input.raw(name).is_none() {
            input.fault(name, code, format!("The field {name} is missing."));
        }
    }
    let draft = Draft::read(api, input, None).await;
    let (url, events) = (draft.url.clone()?, draft.events.clone()?);
    let mut webhook = Webhook {
        name: url.host().to_string().chars().take(super::webhook_input::NAME_MAX).collect(),
        ..Webhook::new(account, id?, url, events, secret?, api.now())
    };
    draft.apply(&mut webhook);
    Some(webhook)
}

fn read_id(api: &Api, input: &mut Input<'_>) -> Option<WebhookId> {
    let given: Option<String> = not_null(input, "id", "id_invalid", "text");
    let text = match given {
        Some(text) => text,
        None if input.raw("id").is_some() => return None,
        None => api.new_id("wh"),
    };
    let id = text.parse();
    if id.is_err() {
        input.fault("id", "id_invalid", "A webhook's id is wh_ and 1 to 64 letters, digits, _ and -.");
    }
    id.ok()
}

fn read_secret(api: &Api, input: &mut Input<'_>) -> Option<SigningSecret> {
    let given: Option<String> = not_null(input, "secret", "secret_invalid", "text");
    match given {
        Some(text) => {
            let secret = SigningSecret::parse(&text);
            if let Err(fault) = secret {
                input.fault("secret", "secret_invalid", format!("secret: {fault}."));
            }
            secret.ok()
        }
        None if input.raw("secret").is_some() => None,
        None => Some(SigningSecret::from_bytes(&api.chance())),
    }
}

async fn change(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    for _ in 0..TRIES {
        let before = at.webhook(&api)?;
        check_match(&body.headers, before.version)?;
        let mut input = Input::parse(body.text()?, &FIELDS)?;
        let draft = Draft::read(&api, &mut input, Some(&before)).await;
        input.check()?;
        let mut webhook = next_version(&api, &before);
        draft.apply(&mut webhook);
        let answer = json::with_etag(json::ok(&WebhookJson::new(&webhook, &api.policy, api.now())), webhook.version);
        match api.store.change(Change::PutWebhook(Box::new(webhook)), at.caller.by(), None).await {
            Ok(_) => {
                tracing::info!(account = %at.account.id, webhook = %before.id, by = at.caller.name(), "webhook changed");
                return Ok(answer);
            }
            // Without If-Match, what came in between is kept, and this goes on top of it.
            Err(ChangeError::Stale) if !body.headers.contains_key(IF_MATCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::stale())
}

/// A copy of the webhook, to be changed by a person.
/// To be asked while [`Api::creating`] is held.
///
/// # Errors
/// 409 if the account has as many webhooks as it may.
pub(super) fn check_room(api: &Api, account: &Account) -> Result<(), Problem> {
    let most = account.limits.max_webhooks.unwrap_or(api.policy.webhooks_per_account);
    if api.directory.read().webhooks_of(account.number).count() >= most as usize {
        let detail = format!("The account may have {most} webhooks. Delete one first.");
        return Err(Problem::conflict("too_many_webhooks", detail));
    }
    Ok(())
}

pub(super) fn next_version(api: &Api, before: &Webhook) -> Webhook {
    let mut webhook = before.clone();
    webhook.version += 1;
    webhook.updated_at = api.now();
    webhook
}

/// # Errors
/// 412 if there is an `If-Match` that does not name this version.
pub(super) fn check_match(headers: &HeaderMap, version: u64) -> Result<(), Problem> {
    let mut tags = headers.get_all(IF_MATCH).iter().peekable();
    if tags.peek().is_none() {
        return Ok(());
    }
    let wanted = format!("\"{version}\"");
    let fits = tags
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag == wanted);
    if fits { Ok(()) } else { Err(Problem::stale()) }
}

async fn delete(State(api): State<Arc<Api>>, at: InAccount, headers: HeaderMap) -> Result<Response, Problem> {
    let webhook = at.webhook(&api)?;
    check_match(&headers, webhook.version)?;
    api.store.change(Change::DeleteWebhook(webhook.number), at.caller.by(), None).await?;
    tracing::info!(account = %at.account.id, webhook = %webhook.id, by = at.caller.name(), "webhook deleted");
    Ok(json::no_content())
}
