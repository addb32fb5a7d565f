//! Keys: an account's, and the platform's own. A key is shown once and kept as its hash.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use data_encoding::{Encoding, Specification};
use domain::id::KeyId;
use domain::key::{ApiKey, Scope, hash_key};
use domain::store::Change;
use domain::time::Timestamp;
use http::{Method, StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use super::webhook_input::{not_null, read_name};
use crate::app::Api;
use crate::auth::{Caller, InAccount, Platform};
use crate::body::JsonBody;
use crate::idempotency::{self, Answer};
use crate::json;
use crate::json_input::{Given, Input};
use crate::operation::{Access, Operation, shape};
use crate::page::{self, List, ListQuery};
use crate::problem::Problem;

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
    /// What it may do: `account`, `events:write`. A platform key may do everything.
    #[schema(value_type = Vec<String>, example = json!(["account", "events:write"]))]
    scopes: Vec<Scope>,
    /// Its first characters.
    #[schema(example = "pha_7hJ2…")]
    hint: String,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ends; null for never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
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

/// What a new key is to be.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `read` reads")]
struct NewKey {
    /// A label: 1 to 200 characters.
    #[schema(example = "CRM import")]
    name: String,
    /// For an account key: `account` (every one has it), `events:write` to post events too.
    #[schema(example = json!(["events:write"]))]
    scopes: Option<Vec<String>>,
    /// When it ends; null or not given for never.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

pub(super) fn operations() -> Vec<Operation> {
    let create = |path, id, access: Access| {
        let operation = match access {
            Access::Platform => Operation::new(&Method::POST, path, id, create_platform, "Create a platform key"),
            Access::Open | Access::Account | Access::Events | Access::AnyKey => {
                Operation::new(&Method::POST, path, id, create_account, "Create a key of an account")
            }
        };
        operation
            .access(access)
            .takes(shape::<NewKey>())
            .answers(201, "Created. The answer has the key itself, this once.", Some(shape::<KeyOnce>()))
            .idempotent()
    };
    vec![
        Operation::new(&Method::GET, LIST, "list_keys", list_account, "List an account's keys").lists::<KeyJson>(),
        create(LIST, "create_key", Access::Account),
        Operation::new(&Method::DELETE, ONE, "revoke_key", revoke_account, "Revoke a key of an account"),
        Operation::new(&Method::GET, PLATFORM_LIST, "list_platform_keys", list_platform, "List the platform's keys")
            .access(Access::Platform)
            .lists::<KeyJson>(),
        create(PLATFORM_LIST, "create_platform_key", Access::Platform),
        Operation::new(&Method::DELETE, PLATFORM_ONE, "revoke_platform_key", revoke_platform, "Revoke a platform key")
            .access(Access::Platform)
            .refuses(409, "It is the last platform key."),
    ]
}

fn row(key: &ApiKey) -> KeyJson {
    KeyJson {
        id: key.id.clone(),
        name: key.name.clone(),
        scopes: key.scopes.clone(),
        hint: format!("{}…", key.hint),
        created_at: key.created_at,
        expires_at: key.expires_at,
    }
}

async fn list_account(State(api): State<Arc<Api>>, at: InAccount, uri: Uri) -> Result<Response, Problem> {
    list(&api, Some(at.account.number), &uri)
}

async fn list_platform(State(api): State<Arc<Api>>, _platform: Platform, uri: Uri) -> Result<Response, Problem> {
    list(&api, None, &uri)
}

fn list(api: &Api, account: Option<u32>, uri: &Uri) -> Result<Response, Problem> {
    let of = List { name: "keys", account: account.unwrap_or(0) };
    let query = ListQuery::parse(uri.query(), of)?;
    query.nothing_else()?;
    let (rows, next) = page::cut(api.directory.read().keys_of(account), &query, |key| key.id.to_string());
    let rows: Vec<_> = rows.iter().map(|key| row(key)).collect();
    Ok(page::respond(of, uri, &rows, next))
}

async fn create_account(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    let base = format!("/v1/accounts/{}/keys", at.account.id);
    create(&api, &at.caller, Some(at.account.number), &base, &body).await
}

async fn create_platform(
    State(api): State<Arc<Api>>,
    Platform(caller): Platform,
    body: JsonBody,
) -> Result<Response, Problem> {
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
    };
    let id = key.id.clone();
    let shown = KeyOnce { row: row(&key), key: text };
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
    let names: &[&str] = if for_account { &["name", "scopes", "expires_at"] } else { &["name", "expires_at"] };
    let mut input = Input::parse(text, names)?;
    let name = read_name(&mut input, "name");
    if input.raw("name").is_none() {
        input.fault("name", "field_missing", "Name the key, so that it can be told from others.");
    }
    let mut scopes: Vec<Scope> =
        not_null(&mut input, "scopes", "scopes_invalid", "a list of \"account\" and \"events:write\"")
            .unwrap_or_default();
    if for_account && !scopes.contains(&Scope::Account) {
        scopes.insert(0, Scope::Account);
    }
    let mut seen = Vec::new();
    scopes.retain(|scope| {
        !seen.contains(scope) && {
            seen.push(*scope);
            true
        }
    });
    let expires_at =
        match input.get::<Timestamp>("expires_at", "expires_at_invalid", "a time such as 2027-01-01T00:00:00Z") {
            Given::Value(at) if at <= api.now() => {
                input.fault("expires_at", "expires_at_invalid", "expires_at lies in the past.");
                None
            }
            Given::Value(at) => Some(at),
            Given::Null | Given::Absent => None,
        };
    input.check()?;
    let name = name.ok_or_else(|| Problem::fault("/name", "name_invalid", "Name the key."))?;
    Ok(Wanted { name, scopes, expires_at })
}

/// An account key can make no key that may do more, or lives longer, than itself.
fn allowed(caller: &Caller, wanted: &Wanted) -> Result<(), Problem> {
    if let Some(scope) = wanted.scopes.iter().find(|scope| !caller.has(**scope)) {
        let name = match scope {
            Scope::Account => "account",
            Scope::EventsWrite => "events:write",
        };
        return Err(Problem::forbidden(format!("This key lacks the scope {name}, and cannot give it to another.")));
    }
    let ends = caller.key().filter(|_| !caller.is_platform()).and_then(|key| key.expires_at);
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
    Platform(caller): Platform,
    params: axum::extract::RawPathParams,
) -> Result<Response, Problem> {
    let id = params.iter().find(|(name, _)| *name == "id").and_then(|(_, id)| id.parse().ok());
    revoke(&api, &caller, None, id.ok_or_else(Problem::not_found)?).await
}

async fn revoke(api: &Api, caller: &Caller, account: Option<u32>, id: KeyId) -> Result<Response, Problem> {
    let keys = api.directory.read().keys_of(account);
    if !keys.iter().any(|key| key.id == id) {
        return Err(Problem::not_found());
    }
    let now = api.now();
    let lasting = |key: &ApiKey| key.id != id && key.expires_at.is_none_or(|ends| ends > now);
    if account.is_none() && api.platform_key.is_none() && !keys.iter().any(|key| lasting(key)) {
        return Err(Problem::conflict(
            "last_platform_key",
            "This is the last platform key; without one nobody could manage anything. Create another one first.",
        ));
    }
    api.store.change(Change::RevokeKey(id.clone()), caller.by(), None).await?;
    tracing::info!(key = %id, by = caller.name(), "key revoked");
    Ok(json::no_content())
}
