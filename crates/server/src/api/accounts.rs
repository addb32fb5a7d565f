//! Accounts: the platform's customers.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::id::AccountId;
use domain::key::Account;
use domain::store::{Change, ChangeError};
use domain::time::Timestamp;
use http::header::IF_MATCH;
use http::{HeaderMap, Method, StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use super::account_limits::{self, LimitsInput};
use super::account_log::{self, LogInput};
use super::answer_headers::{ETAG, LOCATION};
use super::webhook_input::{not_null, read_name};
use super::webhooks::check_match;
use crate::app::Api;
use crate::auth::{Caller, InAccount};
use crate::body::JsonBody;
use crate::idempotency::{self, Answer};
use crate::json;
use crate::json_input::Input;
use crate::operation::{Access, Operation, shape};
use crate::page::{self, List, ListQuery};
use crate::problem::Problem;

const LIST: &str = "/v1/accounts";
const ONE: &str = "/v1/accounts/{account}";
/// How often a change is tried again when another came in between.
const TRIES: usize = 8;

/// A customer of the platform.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
struct AccountJson {
    /// Its id.
    #[schema(value_type = String, example = "default")]
    id: AccountId,
    /// A label.
    #[schema(example = "Acme Inc.")]
    name: String,
    /// How many webhooks it has.
    webhooks: usize,
    /// For how long its ended deliveries are kept; null for the operator's `retention`.
    #[schema(example = "30d", required)]
    retention: Option<String>,
    /// How much of its log is kept; null for as much as the operator's `retention-size` leaves.
    #[schema(example = "5GiB", required)]
    retention_size: Option<String>,
    /// What the log does not show of its events' data, as JSON pointers in which `*` means every member or element.
    #[schema(example = json!(["/contact/email"]))]
    redact: Vec<String>,
    /// Events per second at most; null for the operator's `events-per-second`.
    #[schema(required)]
    events_per_second: Option<u32>,
    /// Webhooks at most, up to 1,024; null for the operator's `webhooks-per-account`.
    #[schema(required)]
    max_webhooks: Option<u32>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A new account.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `create` reads")]
struct NewAccount {
    /// Its id: 1 to 64 letters, digits, `_`, `-`; one is made if none is given.
    #[schema(example = "acme", nullable = false, pattern = "^[A-Za-z0-9_-]{1,64}$")]
    id: Option<String>,
    /// A label: 1 to 200 characters; the id if none is given.
    #[schema(example = "Acme Inc.", nullable = false, min_length = 1, max_length = 200)]
    name: Option<String>,
    /// For how long its ended deliveries are kept: 1h to 3650d; null for the operator's `retention`.
    #[schema(example = "30d")]
    retention: Option<String>,
    /// How much of its log is kept, such as 5GiB: the oldest that has ended goes first. Null for as much as the operator's
    /// `retention-size` leaves.
    #[schema(example = "5GiB")]
    retention_size: Option<String>,
    /// What the log does not show of its events' data: JSON pointers in which `*` means every member or element. What is
    /// sent stays whole.
    #[schema(example = json!(["/contact/email"]), max_items = 64)]
    redact: Option<Vec<String>>,
    /// Events per second at most; null for the operator's `events-per-second`.
    #[schema(minimum = 1, maximum = 1000000)]
    events_per_second: Option<u32>,
    /// Webhooks at most, up to 1,024; null for the operator's `webhooks-per-account`.
    #[schema(minimum = 1, maximum = 1024)]
    max_webhooks: Option<u32>,
}

/// What can be changed of an account.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `change` reads")]
struct AccountInput {
    /// A label: 1 to 200 characters.
    #[schema(example = "Acme Inc.", nullable = false, min_length = 1, max_length = 200)]
    name: Option<String>,
    /// For how long its ended deliveries are kept: 1h to 3650d; null for the operator's `retention`.
    #[schema(example = "30d")]
    retention: Option<String>,
    /// How much of its log is kept, such as 5GiB: the oldest that has ended goes first. Null for as much as the operator's
    /// `retention-size` leaves.
    #[schema(example = "5GiB")]
    retention_size: Option<String>,
    /// What the log does not show of its events' data: JSON pointers in which `*` means every member or element. What is
    /// sent stays whole.
    #[schema(example = json!(["/contact/email"]), max_items = 64)]
    redact: Option<Vec<String>>,
    /// Events per second at most; null for the operator's `events-per-second`.
    #[schema(minimum = 1, maximum = 1000000)]
    events_per_second: Option<u32>,
    /// Webhooks at most, up to 1,024; null for the operator's `webhooks-per-account`.
    #[schema(minimum = 1, maximum = 1024)]
    max_webhooks: Option<u32>,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(&Method::GET, LIST, "list_accounts", list, "List accounts")
            .access(Access::Platform)
            .lists::<AccountJson>(),
        Operation::new(&Method::POST, LIST, "create_account", create, "Create an account")
            .access(Access::Platform)
            .takes(shape::<NewAccount>())
            .answers(201, "Created.", Some(shape::<AccountJson>()))
            .tells(201, ETAG)
            .tells(201, LOCATION)
            .refuses(409, "An account with this id exists.")
            .idempotent(),
        Operation::new(&Method::GET, ONE, "get_account", one, "Get an account")
            .access(Access::Member)
            .answers(200, "The account; the header ETag has its version.", Some(shape::<AccountJson>()))
            .tells(200, ETAG),
        Operation::new(&Method::PATCH, ONE, "change_account", change, "Change an account")
            .access(Access::Platform)
            .takes(shape::<AccountInput>())
            .answers(200, "The account as it is now.", Some(shape::<AccountJson>()))
            .tells(200, ETAG)
            .refuses(422, "The input has faults.")
            .matches(),
        Operation::new(&Method::DELETE, ONE, "delete_account", delete, "Delete an account for good")
            .about("Erases its webhooks, keys, events, deliveries and attempts.")
            .access(Access::Platform)
            .matches(),
    ]
}

fn row(api: &Api, account: &Account) -> AccountJson {
    AccountJson {
        id: account.id.clone(),
        name: account.name.clone(),
        webhooks: api.directory.read().webhooks_of(account.number).count(),
        retention: account_log::retention(account),
        retention_size: account_log::retention_size(account),
        redact: account.log.redact.texts().collect(),
        events_per_second: account.limits.events_per_second,
        max_webhooks: account.limits.max_webhooks,
        created_at: account.created_at,
        updated_at: account.updated_at,
    }
}

async fn list(State(api): State<Arc<Api>>, _platform: Caller, uri: Uri) -> Result<Response, Problem> {
    let of = List { name: "accounts", account: 0 };
    let query = ListQuery::parse(uri.query(), of)?;
    query.nothing_else()?;
    let mut newest_first: Vec<_> = api.directory.read().accounts().cloned().collect();
    newest_first.sort_by_key(|account| std::cmp::Reverse((account.created_at, account.number)));
    let (rows, next) = page::cut(newest_first, &query, |account| account.id.to_string());
    let rows: Vec<_> = rows.iter().map(|account| row(&api, account)).collect();
    Ok(page::respond(of, &uri, &rows, next))
}

async fn create(State(api): State<Arc<Api>>, caller: Caller, body: JsonBody) -> Result<Response, Problem> {
    let idempotency = idempotency::of_body(&caller, None, &body)?;
    if let Some(response) = idempotency::repeated(&api, idempotency.as_ref()).await? {
        return Ok(response);
    }
    let mut input =
        Input::parse(body.text()?, &[&["id", "name"][..], &account_log::NAMES, &account_limits::NAMES].concat())?;
    let given: Option<String> = not_null(&mut input, "id", "id_invalid", "text");
    let id: Option<AccountId> = given.unwrap_or_else(|| api.new_id("acct")).parse().ok();
    if id.is_none() {
        input.fault("id", "id_invalid", "An account's id has 1 to 64 letters, digits, _ and -.");
    }
    let name = read_name(&mut input, "name");
    let log = LogInput::read(&mut input);
    let limits = LimitsInput::read(&mut input);
    input.check()?;
    let Some(id) = id else { return Err(Problem::fault("/id", "id_invalid", "The id is missing.")) };
    let now = api.now();
    let name = name.unwrap_or_else(|| id.to_string());
    let mut account = Account::new(id, name, now);
    log.apply(&mut account);
    limits.apply(&mut account);
    let id = account.id.clone();
    let answer = Answer::new(StatusCode::CREATED, &row(&api, &account)).etag(1).location(format!("/v1/accounts/{id}"));
    let (response, made) =
        idempotency::change(&api, Change::PutAccount(account), caller.by(), idempotency, answer).await?;
    if made {
        tracing::info!(account = %id, by = caller.name(), "account created");
    }
    Ok(response)
}

async fn one(State(api): State<Arc<Api>>, at: InAccount) -> Result<Response, Problem> {
    Ok(json::with_etag(json::ok(&row(&api, &at.account)), at.account.version))
}

async fn change(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    let mut input = Input::parse(body.text()?, &[&["name"][..], &account_log::NAMES, &account_limits::NAMES].concat())?;
    let name = read_name(&mut input, "name");
    let log = LogInput::read(&mut input);
    let limits = LimitsInput::read(&mut input);
    input.check()?;
    for _ in 0..TRIES {
        let before = crate::auth::account(&api, &at.caller, Some(&at.account.id))?;
        check_match(&body.headers, before.version)?;
        let mut account = Account::clone(&before);
        account.version += 1;
        account.updated_at = api.now();
        account.name = name.clone().unwrap_or(account.name);
        log.apply(&mut account);
        limits.apply(&mut account);
        let answer = json::with_etag(json::ok(&row(&api, &account)), account.version);
        match api.store.change(Change::PutAccount(account), at.caller.by(), None).await {
            Ok(_) => {
                tracing::info!(account = %before.id, by = at.caller.name(), "account changed");
                return Ok(answer);
            }
            Err(ChangeError::Stale) if !body.headers.contains_key(IF_MATCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::stale())
}

async fn delete(State(api): State<Arc<Api>>, at: InAccount, headers: HeaderMap) -> Result<Response, Problem> {
    check_match(&headers, at.account.version)?;
    api.store.change(Change::DeleteAccount(at.account.number), at.caller.by(), None).await?;
    tracing::info!(account = %at.account.id, by = at.caller.name(), "account deleted");
    Ok(json::no_content())
}
