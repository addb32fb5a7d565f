//! Sessions: signing a browser in by a one-time link or a key, who one is, and signing out.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use domain::audit::{Actor, ActorKind, By};
use domain::id::{AccountId, SessionId};
use domain::key::{Scope, hash_key};
use domain::session::{Session, SessionKind};
use domain::store::{Change, ChangeError};
use domain::time::Timestamp;
use http::header::{HeaderValue, SET_COOKIE};
use http::request::Parts;
use http::{Method, StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer_headers::LOCATION;
use super::closed_sets;
use super::webhook_input::not_null;
use crate::app::Api;
use crate::auth::{self, Caller, Came};
use crate::body::JsonBody;
use crate::idempotency::{self, Answer};
use crate::json;
use crate::json_input::Input;
use crate::operation::{Access, Operation, shape};
use crate::page;
use crate::problem::Problem;
use crate::{same_origin, signed_in};

/// For how long a one-time link can be spent.
pub(super) const LINK_LASTS: Duration = Duration::from_secs(15 * 60);
/// How long a browser stays signed in.
const BROWSER_LASTS: Duration = Duration::from_secs(12 * 3_600);
/// Sessions and links of one key at once.
const SESSIONS_MAX: usize = 10_000;

const LIST: &str = "/v1/sessions";
const CURRENT: &str = "/v1/sessions/current";
const LINKS: &str = "/v1/sessions/links";

/// What one is signed in by, if one is.
pub(super) const KINDS: [&str; 3] = ["browser", "portal", "key"];

/// What signs in.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `sign_in` reads")]
struct SignIn {
    /// The token of a one-time link, or a key.
    #[schema(example = "phl_0123456789abcdefghjkmnpqrstvwxyz")]
    token: String,
}

/// Who one is.
#[derive(Serialize, ToSchema)]
#[schema(as = CurrentSession)]
struct SessionJson {
    /// The session; null for a key.
    #[schema(value_type = Option<String>, example = "ses_01k9x5m2q7a3b4c5d6e7", required)]
    id: Option<SessionId>,
    /// `browser` for a session with a cookie, `portal` for one that a platform made for a customer, `key` for a key.
    #[schema(value_type = closed_sets::CallerKind, example = "browser")]
    kind: &'static str,
    /// The name of the key or of the session: what the log and the audit log call you.
    #[schema(example = "dev")]
    name: String,
    /// Whether everything is allowed, for every account.
    platform: bool,
    /// The account that one is limited to; null for the platform.
    #[schema(value_type = Option<String>, example = "acme", required)]
    account: Option<AccountId>,
    /// What one may do; the platform may do everything, and has none, unless its key is limited to some.
    #[schema(value_type = Vec<closed_sets::KeyScope>, example = json!(["account"]))]
    scopes: Vec<Scope>,
    /// Whether events may be posted.
    writes_events: bool,
    /// When the session or key ends; null for never.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    expires_at: Option<Timestamp>,
}

/// A one-time link.
#[derive(Serialize, ToSchema)]
#[schema(as = SignInLink)]
struct LinkJson {
    /// The link: it signs in once.
    #[schema(example = "https://hooks.example.com/#t=phl_0123456789abcdefghjkmnpqrstvwxyz")]
    url: String,
    /// Until when it can be used.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(&Method::POST, LIST, "sign_in", sign_in, "Sign a browser in")
            .about(
                "Spends a one-time link's token, or takes a key, and answers with a session's cookie, which opens the same \
                 routes for 12 hours, or until the key ends. Requests that change something by the cookie need the header \
                 X-Requested-With, and are refused from other origins.",
            )
            .access(Access::Open)
            .takes(shape::<SignIn>())
            .answers(201, "Signed in; the cookie comes with the answer.", Some(shape::<SessionJson>()))
            .tells(201, LOCATION)
            .refuses(401, "The token is no link's and no key.")
            .refuses(403, "A page of another site asked.")
            .refuses(410, "The link was used already, or it or the key has ended.")
            .refuses(422, "The input has faults.")
            .refuses(429, "Too many wrong tokens came from this address, or the key has too many sessions."),
        Operation::new(&Method::GET, CURRENT, "get_current_session", current, "Who am I?")
            .access(Access::AnyKey)
            .answers(200, "The session, or the key that was sent.", Some(shape::<SessionJson>())),
        Operation::new(&Method::DELETE, CURRENT, "sign_out", sign_out, "Sign out")
            .about("Ends the session whose cookie or token is sent.")
            .access(Access::AnyKey)
            .refuses(409, "A key was sent, which is no session."),
        Operation::new(&Method::POST, LINKS, "create_sign_in_link", create_link, "Create a one-time link to the dashboard")
            .about("It signs one browser in, once, within 15 minutes, as somebody who may do what the key may.")
            .access(Access::AnyKey)
            .answers(201, "Created. The link is shown this once.", Some(shape::<LinkJson>()))
            .refuses(403, "A session cannot make links; a key can.")
            .refuses(429, "The key has too many sessions.")
            .idempotent(),
    ]
}

/// Who wants to sign in, from where: not a page of another site.
struct Newcomer(Came);

impl FromRequestParts<Arc<Api>> for Newcomer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        same_origin::require_same_origin(parts, api)?;
        Ok(Self(Came::of(parts, api)))
    }
}

async fn sign_in(State(api): State<Arc<Api>>, newcomer: Newcomer, body: JsonBody) -> Result<Response, Problem> {
    let mut input = Input::parse(body.text()?, &["token"])?;
    let token: Option<String> = not_null(&mut input, "token", "token_invalid", "text");
    if input.raw("token").is_none() {
        input.fault("token", "field_missing", "Give the link's token, or a key.");
    }
    input.check()?;
    let token = token.unwrap_or_default();
    let wrong = || {
        let detail = "This link or key opens nothing here: check that it is whole, or ask for a new one.";
        auth::wrong(newcomer.0.address, &api, Problem::new(StatusCode::UNAUTHORIZED, "token_wrong", detail))
    };
    let text = signed_in::new_token(&api, signed_in::BROWSER);
    let Opened { session, link, by } = opened(&api, &token, hash_key(&text), newcomer.0)?.ok_or_else(wrong)?;
    room(&api, &session.key)?;
    let row = row(&api, &Who::of_session(&session));
    let lasts = session.expires_at.since(api.now());
    let (id, name) = (session.id.clone(), session.name.clone());
    match api.store.change(Change::OpenSessions { sessions: vec![session], link }, by, None).await {
        Ok(_) => {}
        // Somebody else was quicker with the same link.
        Err(ChangeError::State(_)) => return Err(used()),
        Err(ChangeError::NotFound) => return Err(wrong()),
        Err(error) => return Err(error.into()),
    }
    tracing::info!(session = %id, by = %name, "signed in");
    let response = json::answer(StatusCode::CREATED, json::write(&row));
    Ok(json::with_location(with_cookie(response, &api.outside.cookie(&text, lasts, newcomer.0.over_tls)), CURRENT))
}

/// What a token opens.
struct Opened {
    session: Session,
    /// The link that is spent for it.
    link: Option<SessionId>,
    /// Who signs in, as the audit log says it.
    by: By,
}

/// What this token opens; `None` for a token that is not known.
///
/// # Errors
/// 410 for a link that was used, and for what has ended.
fn opened(api: &Api, token: &str, hash: [u8; 32], came: Came) -> Result<Option<Opened>, Problem> {
    if token.len() > auth::KEY_LENGTH_MAX {
        return Ok(None);
    }
    if token.starts_with(signed_in::LINK) {
        let Some(link) = signed_in::session(api, token, SessionKind::Link) else { return Ok(None) };
        if link.spent {
            return Err(used());
        }
        let key = signed_in::key_behind(api, &link).ok_or_else(|| {
            ended("This link has ended: it can be used for 15 minutes, and as long as its key. Ask for a new one.")
        })?;
        let session = Session {
            id: new_id(api)?,
            kind: SessionKind::Browser,
            hash,
            created_at: api.now(),
            expires_at: end(api, link.opens_for, key.and_then(|key| key.expires_at)),
            opens_for: Duration::ZERO,
            ..Session::clone(&link)
        };
        let actor = Actor { kind: ActorKind::Session, id: Some(link.id.to_string()), name: link.name.clone() };
        return Ok(Some(Opened { session, link: Some(link.id.clone()), by: came.by(actor) }));
    }
    if let Some(caller) = auth::by_key(token, api, came) {
        let session = of_key(api, &caller, SessionKind::Browser, hash, BROWSER_LASTS)?;
        return Ok(Some(Opened { session, link: None, by: caller.by() }));
    }
    let known = api.directory.read().key(&hash_key(token)).is_some();
    if known { Err(ended("This key has ended. Use another one.")) } else { Ok(None) }
}

/// A session that may do what the caller's key may, for as long.
fn of_key(api: &Api, caller: &Caller, kind: SessionKind, hash: [u8; 32], lasts: Duration) -> Result<Session, Problem> {
    Ok(Session {
        id: new_id(api)?,
        kind,
        hash,
        key: caller.hash,
        account: caller.account(),
        portal: false,
        scopes: caller.scopes().to_vec(),
        name: caller.name().to_owned(),
        created_at: api.now(),
        expires_at: end(api, lasts, caller.ends_at()),
        opens_for: Duration::ZERO,
        spent: false,
    })
}

pub(super) fn new_id(api: &Api) -> Result<SessionId, Problem> {
    api.new_id("ses").parse().map_err(|_| Problem::not_found())
}

/// The end of what starts now: after `lasts`, or with its key.
pub(super) fn end(api: &Api, lasts: Duration, key_ends: Option<Timestamp>) -> Timestamp {
    let end = api.now().plus(lasts);
    key_ends.map_or(end, |key| key.min(end))
}

/// # Errors
/// 429 if the key has as many sessions as one can have.
pub(super) fn room(api: &Api, key: &[u8; 32]) -> Result<(), Problem> {
    let now = api.now();
    let directory = api.directory.read();
    let live = directory.sessions_from(key).filter(|session| now < session.expires_at && !session.spent);
    if live.count() < SESSIONS_MAX {
        return Ok(());
    }
    let detail = "This key has 10,000 sessions and links that have not ended. Wait until some have.";
    Err(Problem::too_many("too_many_sessions", Duration::from_secs(60), detail))
}

fn used() -> Problem {
    Problem::new(StatusCode::GONE, "token_used", "This link was used already: it signs in once. Ask for a new one.")
}

fn ended(detail: &'static str) -> Problem {
    Problem::new(StatusCode::GONE, "token_ended", detail)
}

/// What `row` tells of whoever calls, or has just signed in.
struct Who<'a> {
    session: Option<&'a Session>,
    account: Option<u32>,
    name: &'a str,
    scopes: &'a [Scope],
    expires_at: Option<Timestamp>,
}

impl<'a> Who<'a> {
    fn of_session(session: &'a Session) -> Self {
        let Session { account, name, scopes, expires_at, .. } = session;
        Self { session: Some(session), account: *account, name, scopes, expires_at: Some(*expires_at) }
    }
}

fn row(api: &Api, who: &Who<'_>) -> SessionJson {
    let platform = who.account.is_none() && who.scopes.is_empty();
    let named = |number| api.directory.read().account_numbered(number).map(|account| account.id.clone());
    let [browser, portal, key] = KINDS;
    let kind = match who.session {
        None => key,
        Some(session) if session.portal => portal,
        Some(_) => browser,
    };
    SessionJson {
        id: who.session.map(|session| session.id.clone()),
        kind,
        name: who.name.to_owned(),
        platform,
        account: who.account.and_then(named),
        scopes: who.scopes.to_vec(),
        writes_events: platform || who.scopes.iter().any(|scope| scope.covers(Scope::EventsWrite)),
        expires_at: who.expires_at,
    }
}

async fn current(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    page::no_parameters(&page::pairs(uri.query()))?;
    let who = Who {
        session: caller.session().map(|session| &**session),
        account: caller.account(),
        name: caller.name(),
        scopes: caller.scopes(),
        expires_at: caller.ends_at(),
    };
    Ok(json::ok(&row(&api, &who)))
}

async fn sign_out(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, Problem> {
    let Some(session) = caller.session() else {
        let detail = "A key is no session. DELETE it under …/keys/{id} to revoke it.";
        return Err(Problem::conflict("no_session", detail));
    };
    match api.store.change(Change::EndSession(session.id.clone()), caller.by(), None).await {
        // Whoever signed out at the same time has done it.
        Ok(_) | Err(ChangeError::NotFound) => {}
        Err(error) => return Err(error.into()),
    }
    tracing::info!(session = %session.id, by = caller.name(), "signed out");
    Ok(match session.kind {
        SessionKind::Browser => with_cookie(json::no_content(), &api.outside.no_cookie()),
        SessionKind::Link | SessionKind::Embed => json::no_content(),
    })
}

async fn create_link(State(api): State<Arc<Api>>, caller: Caller, body: JsonBody) -> Result<Response, Problem> {
    if caller.session().is_some() {
        return Err(Problem::forbidden("A session cannot make links. Make one with a key."));
    }
    let idempotency = idempotency::of_body(&caller, caller.account(), &body)?;
    if let Some(response) = idempotency::repeated(&api, idempotency.as_ref()).await? {
        return Ok(response);
    }
    Input::parse_optional(body.text()?, &[])?.check()?;
    room(&api, &caller.hash)?;
    let text = signed_in::new_token(&api, signed_in::LINK);
    let link = of_key(&api, &caller, SessionKind::Link, hash_key(&text), LINK_LASTS)?;
    let link = Session { opens_for: BROWSER_LASTS, ..link };
    let shown = LinkJson { url: api.outside.link(&text), expires_at: link.expires_at };
    let answer = Answer::new(StatusCode::CREATED, &shown);
    let id = link.id.clone();
    let change = Change::OpenSessions { sessions: vec![link], link: None };
    let (response, made) = idempotency::change(&api, change, caller.by(), idempotency, answer).await?;
    if made {
        tracing::info!(link = %id, by = caller.name(), "one-time link created");
    }
    Ok(response)
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    response
}
