//! The audit log: what was changed, when and by whom; an account's part, and all of it for the platform.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::audit::{AuditFilter, AuditQuery, Detail, Entry};
use domain::id::{AccountId, AuditId};
use domain::key::Scope;
use domain::time::Timestamp;
use http::{Method, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use super::closed_sets;
use crate::app::Api;
use crate::auth::{Caller, InAccount};
use crate::operation::{Access, Operation};
use crate::page::{self, List, ListQuery};
use crate::problem::Problem;

/// Something that was done.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
struct EntryJson {
    /// The entry's id.
    #[schema(value_type = String, example = "aud_1pfpmf8r2k400")]
    id: AuditId,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The account that it concerns; null for what is the platform's own, such as its keys, or an account that was erased.
    #[schema(value_type = Option<String>, example = "acme", required)]
    account: Option<AccountId>,
    /// What was done, such as `webhook.paused`.
    #[schema(value_type = closed_sets::AuditAction, example = "webhook.updated")]
    action: &'static str,
    /// Who did it.
    actor: ActorJson,
    /// What it was done to.
    target: TargetJson,
    /// The particulars; for a change `changes`, with each field `from` and `to`. Never a secret, a header's value or a key.
    #[schema(value_type = BTreeMap<String, Value>, additional_properties = true, example = json!({"changes": {"name": {"from": "CRM", "to": "CRM Sync"}}}))]
    detail: Detail,
    /// The id of the request, as its answer had it in `X-Request-Id`; null for what we did ourselves.
    #[schema(example = "req_5f0c2a9e00001a", required)]
    request_id: Option<String>,
    /// The address that the request came from.
    #[schema(value_type = Option<String>, example = "203.0.113.9", required)]
    remote_address: Option<IpAddr>,
}

/// Who did something.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditActor)]
struct ActorJson {
    /// `key`; `session` for a browser that is signed in, or a portal; `settings` for the platform key of the settings;
    /// `posthaste` for what we did ourselves.
    #[schema(value_type = closed_sets::ActorKind, example = "key")]
    kind: &'static str,
    /// The id of the key or session.
    #[schema(example = "key_01k9x5m2q7a3b", required)]
    id: Option<String>,
    /// The name of the key or session.
    #[schema(example = "CRM import")]
    name: String,
}

/// What something was done to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditTarget)]
struct TargetJson {
    /// The part of the action before the dot.
    #[schema(value_type = closed_sets::TargetKind, example = "webhook")]
    kind: &'static str,
    /// Its id.
    #[schema(example = "wh_abc123")]
    id: String,
    /// Its name, where it has one.
    #[schema(example = "CRM Sync", required)]
    name: Option<String>,
}

pub(super) fn operations() -> Vec<Operation> {
    let filtered = |operation: Operation| {
        operation
            .query("action", "An action, such as webhook.paused, or a group, such as webhook.*.")
            .query("actor", "The id of a key or session, or the kind of an actor: key, session, settings or posthaste.")
            .query("target", "The id of what it was done to.")
            .query("since", "A time, or a span back from now such as 24h.")
            .query("until", "A time, or a span back from now.")
            .lists::<EntryJson>()
            .refuses(422, "The filter, the limit or the cursor has faults.")
    };
    vec![
        filtered(Operation::new(
            &Method::GET,
            "/v1/accounts/{account}/audit",
            "list_audit_of_account",
            list_account,
            "List what was changed in an account",
        ))
        .scope(Scope::AuditRead),
        filtered(Operation::new(
            &Method::GET,
            "/v1/audit",
            "list_audit",
            list_platform,
            "List what was changed, in all accounts",
        ))
        .access(Access::Platform),
    ]
}

async fn list_account(State(api): State<Arc<Api>>, at: InAccount, uri: Uri) -> Result<Response, Problem> {
    list(&api, Some(at.account.number), &uri).await
}

async fn list_platform(State(api): State<Arc<Api>>, _platform: Caller, uri: Uri) -> Result<Response, Problem> {
    list(&api, None, &uri).await
}

async fn list(api: &Api, account: Option<u32>, uri: &Uri) -> Result<Response, Problem> {
    let of = List { name: "audit", account: account.unwrap_or(0) };
    let query = ListQuery::parse(uri.query(), of)?;
    let pairs = query.rest.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let filter = AuditFilter::parse(pairs, api.now()).map_err(Problem::invalid)?;
    let query = AuditQuery { account, filter, before: query.before()?, limit: query.limit };
    let found = api.store.audit(query).await?;
    let rows: Vec<_> = found.rows.into_iter().map(|entry| row(api, entry)).collect();
    Ok(page::respond(of, uri, &rows, found.next.map(|id| id.to_string())))
}

fn row(api: &Api, entry: Entry) -> EntryJson {
    let Entry { id, by, act } = entry;
    let account = act.account.and_then(|number| api.directory.read().account_numbered(number).map(|a| a.id.clone()));
    EntryJson {
        id,
        at: id.at(),
        account,
        action: act.action.as_str(),
        actor: ActorJson { kind: by.actor.kind.as_str(), id: by.actor.id, name: by.actor.name },
        target: TargetJson { kind: act.action.kind(), id: act.target, name: act.name },
        detail: act.detail,
        request_id: by.request,
        remote_address: by.address,
    }
}
