//! Portal sessions: what a platform makes for a customer, so that they look after their own webhooks, in the dashboard or in
//! a frame of the platform's page.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use domain::id::{AccountId, SessionId};
use domain::key::{Scope, hash_key};
use domain::session::{Session, SessionKind};
use domain::store::{Change, ChangeError};
use domain::time::{Timestamp, parse_span};
use http::{Method, StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use super::closed_sets;
use super::sessions::{LINK_LASTS, end, new_id, room};
use super::webhook_input::{not_null, read_name};
use crate::app::Api;
use crate::auth::InAccount;
use crate::body::JsonBody;
use crate::idempotency::{self, Answer};
use crate::json;
use crate::json_input::Input;
use crate::operation::{Operation, shape};
use crate::page::{self, List, ListQuery};
use crate::problem::Problem;
use crate::signed_in;

const ALL: &str = "/v1/accounts/{account}/portal-sessions";
const ONE: &str = "/v1/accounts/{account}/portal-sessions/{id}";

/// For how long a portal session lasts unless told otherwise, and at least and at most.
const LASTS: Duration = Duration::from_secs(3_600);
const LASTS_LEAST: Duration = Duration::from_secs(60);
const LASTS_MOST: Duration = Duration::from_secs(86_400);

/// The words for what a customer may do.
pub(super) const ACCESS: [&str; 2] = [MANAGES, READS];
const MANAGES: &str = "manage";
const READS: &str = "read";

/// What a customer who only looks may do.
const READ: [Scope; 3] = [Scope::WebhooksRead, Scope::EventsRead, Scope::DeliveriesRead];
/// What one who manages may do besides. Never keys, sessions, the audit log, or posting events.
const MANAGE: [Scope; 4] = [Scope::WebhooksWrite, Scope::SecretsRead, Scope::SecretsWrite, Scope::DeliveriesWrite];

/// A portal session that has not ended: a token, a link that was not spent, or the browser that has spent one.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenPortalSession)]
struct OpenJson {
    /// Its id.
    #[schema(value_type = String, example = "ses_01k9x5m2q7a3b4c5d6e7")]
    id: SessionId,
    /// `embed` for a token in a frame, `link` for a link that nobody has opened, `browser` for one that somebody has.
    #[schema(value_type = closed_sets::SessionKind, example = "embed")]
    kind: &'static str,
    /// Who uses it.
    #[schema(example = "jane@acme.example")]
    name: String,
    /// `manage` or `read`.
    #[schema(value_type = closed_sets::PortalAccess, example = "manage")]
    access: &'static str,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ends by itself.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// What a portal session is to be.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `create` reads")]
struct NewPortalSession {
    /// `manage` for everything about webhooks and deliveries, `read` to look only; `manage` if not given.
    #[schema(value_type = Option<closed_sets::PortalAccess>, example = "manage", nullable = false)]
    access: Option<String>,
    /// For how long: 1m to 24h; 1h if not given.
    #[schema(example = "1h", nullable = false)]
    ttl: Option<String>,
    /// Who uses it, as the audit log will say: 1 to 200 characters; `portal` if not given.
    #[schema(example = "jane@acme.example", nullable = false, min_length = 1, max_length = 200)]
    name: Option<String>,
}

/// A portal session: a link for a browser, and a token for a frame. Both are limited to the account.
#[derive(Serialize, ToSchema)]
#[schema(as = PortalSession)]
struct PortalSessionJson {
    /// The token's session.
    #[schema(value_type = String, example = "ses_01k9x5m2q7a3b4c5d6e7")]
    id: SessionId,
    /// The account.
    #[schema(value_type = String, example = "acme")]
    account: AccountId,
    /// `manage` or `read`.
    #[schema(value_type = closed_sets::PortalAccess, example = "manage")]
    access: &'static str,
    /// A link to the dashboard, for this account alone: it signs in once.
    #[schema(example = "https://hooks.example.com/#t=phl_0123456789abcdefghjkmnpqrstvwxyz")]
    url: String,
    /// Until when the link can be used.
    #[schema(value_type = String, format = DateTime)]
    url_expires_at: Timestamp,
    /// The token for a portal in a frame, sent as `Authorization: Bearer …`.
    #[schema(example = "phe_0123456789abcdefghjkmnpqrstvwxyz")]
    token: String,
    /// When the token ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// What the frame shows; null where no page may frame it, as the setting `portal-origin` lists none.
    #[schema(example = "https://hooks.example.com/portal", required)]
    frame_url: Option<String>,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            &Method::POST,
            ALL,
            "create_portal_session",
            create,
            "Let a customer look after their webhooks",
        )
        .about("A one-time link to the dashboard and a token for a frame, limited to the account. They end with the key that made them.")
        .may_take(shape::<NewPortalSession>())
        .answers(201, "Created. Link and token are shown this once.", Some(shape::<PortalSessionJson>()))
        .refuses(422, "The input has faults.")
        .refuses(429, "The key has too many sessions.")
        .idempotent(),
        Operation::new(&Method::GET, ALL, "list_portal_sessions", list, "List the portal sessions that have not ended")
            .lists::<OpenJson>(),
        Operation::new(&Method::DELETE, ONE, "end_portal_session", finish, "End a portal session")
            .about("Whoever uses it is signed out at once, open streams included."),
    ]
}

async fn list(State(api): State<Arc<Api>>, at: InAccount, uri: Uri) -> Result<Response, Problem> {
    let of = List { name: "portal-sessions", account: at.account.number };
    let query = ListQuery::parse(uri.query(), of)?;
    query.nothing_else()?;
    let mut open = open(&api, at.account.number);
    open.sort_by(|a, b| b.id.as_str().cmp(a.id.as_str()));
    let (rows, next) = page::cut(open, &query, |session| session.id.to_string());
    let rows: Vec<_> = rows.iter().map(|session| row(session)).collect();
    Ok(page::respond(of, &uri, &rows, next))
}

/// The account's portal sessions that open anything, or can be spent.
fn open(api: &Api, account: u32) -> Vec<Arc<Session>> {
    let sessions: Vec<_> = {
        let directory = api.directory.read();
        let portals = directory.sessions_of(account).filter(|session| session.portal && !session.spent);
        portals.cloned().collect()
    };
    sessions.into_iter().filter(|session| signed_in::key_behind(api, session).is_some()).collect()
}

fn row(session: &Session) -> OpenJson {
    OpenJson {
        id: session.id.clone(),
        kind: session.kind.as_str(),
        name: session.name.clone(),
        access: access(MANAGE.iter().all(|scope| session.scopes.contains(scope))),
        created_at: session.created_at,
        expires_at: session.expires_at,
    }
}

const fn access(manages: bool) -> &'static str {
    if manages { MANAGES } else { READS }
}

async fn finish(State(api): State<Arc<Api>>, at: InAccount) -> Result<Response, Problem> {
    let id: SessionId = at.id()?;
    let found = open(&api, at.account.number).into_iter().find(|session| session.id == id);
    let session = found.ok_or_else(Problem::not_found)?;
    match api.store.change(Change::EndSession(session.id.clone()), at.caller.by(), None).await {
        // Whoever signed out at the same time has done it.
        Ok(_) | Err(ChangeError::NotFound) => {}
        Err(error) => return Err(error.into()),
    }
    tracing::info!(account = %at.account.id, session = %session.id, by = at.caller.name(), "portal session ended");
    Ok(json::no_content())
}

async fn create(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    let idempotency = idempotency::of_body(&at.caller, Some(at.account.number), &body)?;
    if let Some(response) = idempotency::repeated(&api, idempotency.as_ref()).await? {
        return Ok(response);
    }
    let wanted = read(body.text()?)?;
    let caller = &at.caller;
    let key = caller.session().map_or(caller.hash, |session| session.key);
    room(&api, &key)?;
    let now = api.now();
    let (link, token) = (signed_in::new_token(&api, signed_in::LINK), signed_in::new_token(&api, signed_in::EMBED));
    let embed = Session {
        id: new_id(&api)?,
        kind: SessionKind::Embed,
        hash: hash_key(&token),
        key,
        account: Some(at.account.number),
        portal: true,
        scopes: if wanted.manages { [&READ[..], &MANAGE].concat() } else { READ.to_vec() },
        name: wanted.name,
        created_at: now,
        expires_at: end(&api, wanted.lasts, caller.ends_at()),
        opens_for: Duration::ZERO,
        spent: false,
    };
    let one_time = Session {
        id: new_id(&api)?,
        kind: SessionKind::Link,
        hash: hash_key(&link),
        expires_at: end(&api, LINK_LASTS, caller.ends_at()),
        opens_for: wanted.lasts,
        ..embed.clone()
    };
    let shown = PortalSessionJson {
        id: embed.id.clone(),
        account: at.account.id.clone(),
        access: access(wanted.manages),
        url: api.outside.link(&link),
        url_expires_at: one_time.expires_at,
        token,
        expires_at: embed.expires_at,
        frame_url: (!api.dashboard.portal_origins.is_empty()).then(|| api.outside.address("/portal")),
    };
    let answer = Answer::new(StatusCode::CREATED, &shown);
    let change = Change::OpenSessions { sessions: vec![embed, one_time], link: None };
    let (response, made) = idempotency::change(&api, change, caller.by(), idempotency, answer).await?;
    if made {
        tracing::info!(account = %at.account.id, session = %shown.id, by = caller.name(), "portal session created");
    }
    Ok(response)
}

struct Wanted {
    manages: bool,
    lasts: Duration,
    name: String,
}

fn read(text: &str) -> Result<Wanted, Problem> {
    let mut input = Input::parse_optional(text, &["access", "ttl", "name"])?;
    let access: Option<String> = not_null(&mut input, "access", "access_invalid", "manage or read");
    if access.as_deref().is_some_and(|access| !ACCESS.contains(&access)) {
        input.fault("access", "access_invalid", "access is \"manage\" or \"read\".");
    }
    let ttl: Option<String> = not_null(&mut input, "ttl", "ttl_invalid", "a span such as \"1h\"");
    let lasts =
        ttl.as_deref().map_or(Ok(LASTS), parse_span).ok().filter(|lasts| (LASTS_LEAST..=LASTS_MOST).contains(lasts));
    if lasts.is_none() {
        input.fault("ttl", "ttl_invalid", "ttl is a span from 1m to 24h, such as \"1h\".");
    }
    let name = read_name(&mut input, "name").unwrap_or_else(|| "portal".to_owned());
    input.check()?;
    Ok(Wanted { manages: access.as_deref() != Some(READS), lasts: lasts.unwrap_or(LASTS), name })
}
