//! Keys: an account's, and the platform's own. A key is shown once and kept as its hash.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::response::Response;
use data_encoding::{Encoding, Specification};
use domain::id::KeyId;
use domain::key::{ApiKey, Scope, hash_key};
use domain::store::Change;
use domain::time::{Timestamp, parse_span};
use http::{Method, StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer_headers::LOCATION;
use super::closed_sets;
use super::webhook_input::{not_null, read_name};
use crate::app::Api;
use crate::auth::{Caller, InAccount};
use crate::body::JsonBody;
use crate::idempotency::{self, Answer};
use crate::json;
use crate::json_input::{Given, Input};
use crate::operation::{Access, Operation, shape};
use crate::page::{self, List, ListQuery};
use crate::problem::Problem;

/// The longest life that `expires_in` can give a key.
const LIFE_MAX: Duration = Duration::from_secs(3_650 * 86_400);
/// Characters of a key that are shown later, so that people can tell keys apart.
const HINT: usize = 8;

const LIST: &str = "/v1/accounts/{account}/keys";
const ONE: &str = "/v1/accounts/{account}/keys/{id}";
const PLATFORM_LIST: &str = "/v1/keys";
const PLATFORM_ONE: &str = "/v1/keys/{id}";

/// A key, without the key itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
struct KeyJson {
    /// Its id.
    #[schema(value_type = String, example = "key_01k9x5m2q7a3b")]
    id: KeyId,
    /// A label.
    #[schema(example = "CRM import")]
    name: String,
    /// What it may do: `account` for all that belongs to the account but posting events, or single scopes such as
    /// `webhooks:read`. A platform key without scopes may do everything, one with scopes does this for every account.
    #[schema(value_type = Vec<closed_sets::KeyScope>, example = json!(["events:write"]))]
    scopes: Vec<Scope>,
    /// Its first characters.
    #[schema(example = "pha_7hJ2…")]
    hint: String,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ends; null for never.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    expires_at: Option<Timestamp>,
    /// When it was last used; null for never.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_used_at: Option<Timestamp>,
}

/// A new key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewKeyAnswer)]
struct KeyOnce {
    #[serde(flatten)]
    row: KeyJson,
    /// The key itself: shown here and never again.
    #[schema(example = "pha_7hJ2mVx…")]
    key: String,
}

/// What a new key is to be. Its end is `expires_at` or `expires_in`, not both; without either it has none.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read` reads")]
struct NewKey {
    /// A label: 1 to 200 characters.
    #[schema(example = "CRM import", min_length = 1, max_length = 200)]
    name: String,
    /// What it may do, and nothing else. If none is given, an account key has `account`, and a platform key may do everything.
    #[schema(value_type = Option<Vec<closed_sets::KeyScope>>, example = json!(["events:write"]), nullable = false)]
    scopes: Option<Vec<String>>,
    /// When it ends; null or not given for never.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Or in how long it ends: a span such as `30d`.
    #[schema(example = "90d")]
    expires_in: Option<String>,
}

pub(super) fn operations() -> Vec<Operation> {
    let create = |path, id, access: Access| {
        let operation = match access {
            Access::Platform => Operation::new(&Method::POST, path, id, create_platform, "Create a platform key"),
            Access::Open | Access::Scope(_) | Access::Member | Access::AnyKey => {
                Operation::new(&Method::POST, path, id, create_account, "Create a key of an account")
            }
        };
        operation
            .access(access)
            .takes(shape::<NewKey>())
            .answers(201, "Created. The answer has the key itself, this once.", Some(shape::<KeyOnce>()))
            .tells(201, LOCATION)
            .idempotent()
    };
    vec![
        Operation::new(&Method::GET, LIST, "list_keys", list_account, "List an account's keys")
            .scope(Scope::KeysRead)
            .lists::<KeyJson>(),
        create(LIST, "create_key", Access::Scope(Scope::KeysWrite)),
        Operation::new(&Method::DELETE, ONE, "revoke_key", revoke_account, "Revoke a key of an account")
            .scope(Scope::KeysWrite),
        Operation::new(&Method::GET, PLATFORM_LIST, "list_platform_keys", list_platform, "List the platform's keys")
            .access(Access::Platform)
            .lists::<KeyJson>(),
        create(PLATFORM_LIST, "create_platform_key", Access::Platform),
        Operation::new(&Method::DELETE, PLATFORM_ONE, "revoke_platform_key", revoke_platform, "Revoke a platform key")
            .access(Access::Platform)
            .refuses(409, "It is the last platform key."),
    ]
}

fn row(api: &Api, key: &ApiKey) -> KeyJson {
    KeyJson {
        id: key.id.clone(),
        name: key.name.clone(),
        scopes: key.scopes.clone(),
        hint: format!("{}…", key.hint),
        created_at: key.created_at,
        expires_at: key.expires_at,
        last_used_at: api.key_uses.last(key),
    }
}

async fn list_account(State(api): State<Arc<Api>>, at: InAccount, uri: Uri) -> Result<Response, Problem> {
    list(&api, Some(at.account.number), &uri)
}

async fn list_platform(State(api): State<Arc<Api>>, _platform: Caller, uri: Uri) -> Result<Response, Problem> {
    list(&api, None, &uri)
}

fn list(api: &Api, account: Option<u32>, uri: &Uri) -> Result<Response, Problem> {
    let of = List { name: "keys", account: account.unwrap_or(0) };
    let query = ListQuery::parse(uri.query(), of)?;
    query.nothing_else()?;
    let (rows, next) = page::cut(api.directory.read().keys_of(account), &query, |key| key.id.to_string());
    let rows: Vec<_> = rows.iter().map(|key| row(api, key)).collect();
    Ok(page::respond(of, uri, &rows, next))
}

async fn create_account(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    let base = format!("/v1/accounts/{}/keys", at.account.id);
    create(&api, &at.caller, Some(at.account.number), &base, &body).await
}

async fn create_platform(State(api): State<Arc<Api>>, caller: Caller, body: JsonBody) -> Result<Response, Problem> {
    create(&api, &caller, None, PLATFORM_LIST, &body).await
}

async fn create(
    api: &Api,
    caller: &Caller,
    account: Option<u32>,
    base: &str,
    body: &JsonBody,
) -> Result<Response, Problem> {
    let idempotency = idempotency::of_body(caller, account, body)?;
    if let Some(response) = idempotency::repeated(api, idempotency.as_ref()).await? {
        return Ok(response);
    }
    let wanted = read(api, body.text()?, account.is_some())?;
    allowed(caller, &wanted)?;
    let text = new_key(api, if account.is_some() { "pha_" } else { "phk_" });
    let key = ApiKey {
        id: api.new_id("key").parse().map_err(|_| Problem::not_found())?,
        name: wanted.name,
        account,
        scopes: wanted.scopes,
        hash: hash_key(&text),
        hint: text.chars().take(HINT).collect(),
        created_at: api.now(),
        expires_at: wanted.expires_at,
        last_used_at: None,
    };
    let id = key.id.clone();
    let shown = KeyOnce { row: row(api, &key), key: text };
    let answer = Answer::new(StatusCode::CREATED, &shown).location(format!("{base}/{id}"));
    let (response, made) = idempotency::change(api, Change::PutKey(key), caller.by(), idempotency, answer).await?;
    if made {
        tracing::info!(key = %id, by = caller.name(), "key created");
    }
    Ok(response)
}

/// What is asked for.
struct Wanted {
    name: String,
    scopes: Vec<Scope>,
    expires_at: Option<Timestamp>,
}

fn read(api: &Api, text: &str, for_account: bool) -> Result<Wanted, Problem> {
    let mut input = Input::parse(text, &["name", "scopes", "expires_at", "expires_in"])?;
    let name = read_name(&mut input, "name");
    if input.raw("name").is_none() {
        input.fault("name", "field_missing", "Name the key, so that it can be told from others.");
    }
    let names: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    let all = format!("a list of {}", names.join(", "));
    let given: Option<Vec<Scope>> = not_null(&mut input, "scopes", "scopes_invalid", &all);
    // None at all is the same as nothing said: a key that may do nothing helps nobody.
    let given = given.filter(|scopes| !scopes.is_empty());
    let mut scopes = Vec::new();
    for scope in given.unwrap_or_else(|| if for_account { vec![Scope::Account] } else { Vec::new() }) {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    let expires_at = read_end(api, &mut input);
    input.check()?;
    let name = name.ok_or_else(|| Problem::fault("/name", "name_invalid", "Name the key."))?;
    Ok(Wanted { name, scopes, expires_at })
}

/// When the key is to end: at an instant, or in so long.
fn read_end(api: &Api, input: &mut Input<'_>) -> Option<Timestamp> {
    let at = match input.get::<Timestamp>("expires_at", "expires_at_invalid", "a time such as 2027-01-01T00:00:00Z") {
        Given::Value(at) if at <= api.now() => {
            input.fault("expires_at", "expires_at_invalid", "expires_at lies in the past.");
            None
        }
        Given::Value(at) => Some(at),
        Given::Null | Given::Absent => None,
    };
    let text: Option<String> = match input.get("expires_in", "expires_in_invalid", "a span such as \"90d\"") {
        Given::Value(text) => Some(text),
        Given::Null | Given::Absent => None,
    };
    let span = text.as_deref().map(|text| parse_span(text).ok().filter(|span| !span.is_zero() && *span <= LIFE_MAX));
    match (at, span) {
        (at, None) => at,
        (None, Some(Some(span))) => Some(api.now().plus(span)),
        (Some(_), Some(_)) => {
            input.fault("expires_in", "expires_in_invalid", "Give expires_at or expires_in, not both.");
            None
        }
        (None, Some(None)) => {
            let detail = "expires_in is a span over 0 s and at most 3650d, such as \"90d\".";
            input.fault("expires_in", "expires_in_invalid", detail);
            None
        }
    }
}

/// An account key can make no key that may do more, or lives longer, than itself.
fn allowed(caller: &Caller, wanted: &Wanted) -> Result<(), Problem> {
    if let Some(scope) = wanted.scopes.iter().find(|scope| !caller.has(**scope)) {
        let detail = format!("This key lacks the scope {}, and cannot give it to another.", scope.as_str());
        return Err(Problem::forbidden(detail));
    }
    let ends = caller.key().filter(|_| !caller.is_unlimited()).and_then(|key| key.expires_at);
    match ends {
        Some(ends) if wanted.expires_at.is_none_or(|wanted| wanted > ends) => {
            Err(Problem::forbidden(format!("This key ends at {ends}; one that it makes cannot live longer.")))
        }
        Some(_) | None => Ok(()),
    }
}

/// A new key: 32 digits of 5 chance bits.
fn new_key(api: &Api, prefix: &str) -> String {
    let mut digits = Specification::new();
    digits.symbols.push_str("0123456789abcdefghjkmnpqrstvwxyz");
    let encoding: Encoding = digits.encoding().expect("32 different symbols");
    format!("{prefix}{}", encoding.encode(&api.chance::<20>()))
}

async fn revoke_account(State(api): State<Arc<Api>>, at: InAccount) -> Result<Response, Problem> {
    let id: KeyId = at.id()?;
    revoke(&api, &at.caller, Some(at.account.number), id).await
}

async fn revoke_platform(
    State(api): State<Arc<Api>>,
    caller: Caller,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, Problem> {
    let params = params.map_err(|_| Problem::not_found())?;
    let id = params.iter().find(|(name, _)| *name == "id").and_then(|(_, id)| id.parse().ok());
    revoke(&api, &caller, None, id.ok_or_else(Problem::not_found)?).await
}

async fn revoke(api: &Api, caller: &Caller, account: Option<u32>, id: KeyId) -> Result<Response, Problem> {
    let _alone = api.revoking.lock().await;
    let keys = api.directory.read().keys_of(account);
    if !keys.iter().any(|key| key.id == id) {
        return Err(Problem::not_found());
    }
    let now = api.now();
    // A key that may not do everything could not make the next one.
    let lasting = |key: &ApiKey| key.id != id && key.is_unlimited() && key.lasts(now);
    if account.is_none() && api.platform_key.is_none() && !keys.iter().any(|key| lasting(key)) {
        return Err(Problem::conflict(
            "last_platform_key",
            "This is the last platform key that may do everything and has not ended; without one nobody could manage anything. \
             Create another one first.",
        ));
    }
    api.store.change(Change::RevokeKey(id.clone()), caller.by(), None).await?;
    api.key_uses.forget(&id);
    tracing::info!(key = %id, by = caller.name(), "key revoked");
    Ok(json::no_content())
}
