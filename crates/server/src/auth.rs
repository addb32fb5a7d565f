//! Who calls: the platform's keys, which may do everything, account keys, which see their own account only, and the
//! sessions that come from them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, RawPathParams};
use domain::address::IpRange;
use domain::audit::{Actor, ActorKind, By};
use domain::id::{AccountId, DeliveryId, EventId, WebhookId};
use domain::key::{Account, ApiKey, Scope, hash_key};
use domain::session::{Session, SessionKind};
use domain::time::Timestamp;
use domain::webhook::Webhook;
use http::StatusCode;
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::app::{Api, RequestId};
use crate::operation::Access;
use crate::problem::Problem;
use crate::{same_origin, signed_in};

/// Longer texts are no keys, and are not worth a hash.
pub(crate) const KEY_LENGTH_MAX: usize = 256;

/// The address at the other end of the connection; put into every request by the accept loop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The request that somebody came with, and where from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Came {
    /// The request.
    request: Option<RequestId>,
    /// The address.
    pub(crate) address: IpAddr,
    /// Whether a trusted proxy has spoken TLS with whoever it is.
    pub(crate) over_tls: bool,
}

impl Came {
    pub(crate) fn of(parts: &Parts, api: &Api) -> Self {
        let trusted = &api.trusted_proxies;
        let request = parts.extensions.get().copied();
        Self { request, address: address(parts, trusted), over_tls: over_tls(parts, trusted) }
    }

    /// A change by `actor` with this request.
    pub(crate) fn by(self, actor: Actor) -> By {
        By { actor, request: self.request.map(|id| id.to_string()), address: Some(self.address) }
    }
}

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The hash of the key.
    pub(crate) hash: [u8; 32],
    /// The key; `None` for the one of the settings.
    key: Option<Arc<ApiKey>>,
    /// The session, where the request shows one and not the key itself.
    session: Option<Arc<Session>>,
    /// The request that it came with.
    came: Came,
}

impl Caller {
    /// The number of the account that the caller is limited to; `None` for the platform.
    pub(crate) fn account(&self) -> Option<u32> {
        match &self.session {
            Some(session) => session.account,
            None => self.key.as_ref().and_then(|key| key.account),
        }
    }

    /// The session, where the request shows one and not the key itself.
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        self.session.as_ref()
    }

    /// What the caller was given to do; a platform's caller without scopes may do everything.
    pub(crate) fn scopes(&self) -> &[Scope] {
        match (&self.session, &self.key) {
            (Some(session), _) => &session.scopes,
            (None, Some(key)) => &key.scopes,
            (None, None) => &[],
        }
    }

    /// When the caller's key, or session, ends.
    pub(crate) fn ends_at(&self) -> Option<Timestamp> {
        match &self.session {
            Some(session) => Some(session.expires_at),
            None => self.key.as_ref().and_then(|key| key.expires_at),
        }
    }

    /// Whether the caller is the platform, and sees every account.
    pub(crate) fn is_platform(&self) -> bool {
        self.account().is_none()
    }

    /// Whether the caller may do everything.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.is_platform() && self.scopes().is_empty()
    }

    /// The name of the caller's key or session, as the log and a pause say it.
    pub(crate) fn name(&self) -> &str {
        match &self.session {
            Some(session) => &session.name,
            None => self.key.as_ref().map_or("platform", |key| &key.name),
        }
    }

    /// The caller as the audit log names who makes a change.
    pub(crate) fn by(&self) -> By {
        let (kind, id) = match (&self.session, &self.key) {
            (Some(session), _) => (ActorKind::Session, Some(session.id.to_string())),
            (None, Some(key)) => (ActorKind::Key, Some(key.id.to_string())),
            (None, None) => (ActorKind::Settings, None),
        };
        self.came.by(Actor { kind, id, name: self.name().to_owned() })
    }

    /// The key, that behind a session too; `None` for the one of the settings.
    pub(crate) fn key(&self) -> Option<&Arc<ApiKey>> {
        self.key.as_ref()
    }

    /// Whether the caller may do what this scope allows.
    pub(crate) fn has(&self, scope: Scope) -> bool {
        self.is_unlimited() || self.scopes().iter().any(|own| own.covers(scope))
    }

    /// Whether the caller's key, and session, have been neither revoked nor ended since they were checked.
    pub(crate) fn is_still_valid(&self, api: &Api) -> bool {
        if let Some(session) = &self.session {
            return signed_in::key_behind(api, session).is_some() && api.directory.read().session(&self.hash).is_some();
        }
        let Some(key) = &self.key else { return true };
        key.lasts(api.now()) && api.directory.read().key(&self.hash).is_some()
    }
}

/// How often an open stream asks whether its key still opens anything.
const ASKED_AGAIN: Duration = Duration::from_millis(500);

/// Ends when the caller's key is revoked or ends: what is sent on and on to the caller ends then too.
pub(crate) async fn ends(caller: &Caller, api: &Api) {
    while caller.is_still_valid(api) {
        tokio::time::sleep(ASKED_AGAIN).await;
    }
}

/// What the operation of this request needs; what says nothing is not to be called.
fn access(parts: &Parts) -> Access {
    parts.extensions.get().copied().unwrap_or(Access::Platform)
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        caller(parts, api).await
    }
}

/// The caller of a request, who may call its operation as far as no account decides.
///
/// # Errors
/// Those of [`authenticate`], and 403.
pub(crate) async fn caller(parts: &Parts, api: &Api) -> Result<Caller, Problem> {
    let caller = authenticate(parts, api).await?;
    access(parts).check(&caller)?;
    Ok(caller)
}

/// The caller of a request.
///
/// # Errors
/// 401, the same for every kind; 429 for wrong keys from one address, and for an account key that comes too often.
async fn authenticate(parts: &Parts, api: &Api) -> Result<Caller, Problem> {
    let came = Came::of(parts, api);
    let known = match who(parts, api, came)? {
        // Perhaps another node made the key, or opened the session, a moment ago.
        None if api.live.has_learnt().await => who(parts, api, came)?,
        known => known,
    };
    let Some(caller) = known else {
        let problem = wrong(came.address, api, Problem::unauthorized());
        // A cookie that opens nothing is forgotten, or the browser would come with it again and again.
        return Err(if bearer(parts)?.is_none() { problem.with_cookie(api.outside.no_cookie()) } else { problem });
    };
    let now = api.now();
    if let Some(key) = &caller.key {
        api.key_uses.used(key, now);
    }
    if !caller.is_platform() {
        api.calls.take(caller.hash, now).map_err(|wait| {
            Problem::over("too_many_requests", wait, "This key comes too often. Slow down, or post events in batches.")
        })?;
    }
    Ok(caller)
}

/// Whose the request's key, token or cookie is; none if nobody's.
///
/// # Errors
/// 401 where there is none of them, and for a session that has ended; 403 for a cookie from another site.
fn who(parts: &Parts, api: &Api, came: Came) -> Result<Option<Caller>, Problem> {
    if let Some(token) = bearer(parts)? {
        return find(token, api, came);
    }
    let token = signed_in::cookie(parts, api).ok_or_else(Problem::unauthorized)?;
    let caller = by_session(token, SessionKind::Browser, api, came)
        .map_err(|problem| problem.with_cookie(api.outside.no_cookie()))?;
    if caller.is_some() {
        same_origin::require(parts, api)?;
    }
    Ok(caller)
}

/// Counts a wrong key or token against the address that it came from; `problem`, or 429.
///
/// A valid one passes whatever its address did before: behind one address there may be many callers.
pub(crate) fn wrong(address: IpAddr, api: &Api, problem: Problem) -> Problem {
    match api.sign_ins.take(address, api.now()) {
        Ok(()) => problem,
        Err(wait) => Problem::over(
            "too_many_sign_ins",
            wait,
            "Too many wrong keys came from your address. Wait a minute, or send a valid key: one is always taken.",
        ),
    }
}

fn peer(parts: &Parts) -> IpAddr {
    parts.extensions.get().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(address)| *address)
}

/// Whether the peer is a trusted proxy, and the first one before it was spoken to over TLS.
fn over_tls(parts: &Parts, trusted: &[IpRange]) -> bool {
    let peer = peer(parts);
    let first = parts.headers.get("x-forwarded-proto").and_then(|line| line.to_str().ok()?.split(',').next());
    trusted.iter().any(|range| range.contains(peer)) && first.is_some_and(|proto| proto.trim() == "https")
}

/// Who is at the other end: the peer, or whom the trusted proxies in between name. What others say is not believed.
fn address(parts: &Parts, trusted: &[IpRange]) -> IpAddr {
    let peer = peer(parts);
    let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
    let lines: Vec<_> = parts.headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok()).collect();
    // Each proxy adds whom it saw at the end, so the list is read from there.
    let mut named = lines.iter().rev().flat_map(|line| line.rsplit(',')).map(|text| text.trim().parse::<IpAddr>());
    let mut address = peer;
    while is_trusted(address)
        && let Some(Ok(next)) = named.next()
    {
        address = next;
    }
    address
}

/// The one bearer token of the request; none if it has no `Authorization`.
///
/// # Errors
/// 401 if what stands there is no one bearer token.
fn bearer(parts: &Parts) -> Result<Option<&str>, Problem> {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().ok(),
        (Some(_), Some(_)) => None,
    };
    let token =
        value.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let token = token.map(|(_, token)| token.trim()).filter(|token| !token.is_empty());
    token.map(Some).ok_or_else(Problem::unauthorized)
}

/// Who has this bearer token: a key, or a portal's token.
///
/// # Errors
/// 401 for a session that has ended, which is told apart from what never was.
fn find(token: &str, api: &Api, came: Came) -> Result<Option<Caller>, Problem> {
    if token.len() > KEY_LENGTH_MAX {
        return Ok(None);
    }
    match by_key(token, api, came) {
        Some(caller) => Ok(Some(caller)),
        None => by_session(token, SessionKind::Embed, api, came),
    }
}

/// Who has this key, if it is one that has not ended.
pub(crate) fn by_key(token: &str, api: &Api, came: Came) -> Option<Caller> {
    // Only hashes are compared: how long a look-up takes tells nothing about a key.
    let hash = hash_key(token);
    if api.platform_key.is_some_and(|known| equal(&known, &hash)) {
        return Some(Caller { hash, key: None, session: None, came });
    }
    let key = api.directory.read().key(&hash).cloned()?;
    (key.lasts(api.now()) && equal(&key.hash, &hash)).then_some(Caller { hash, key: Some(key), session: None, came })
}

fn by_session(token: &str, kind: SessionKind, api: &Api, came: Came) -> Result<Option<Caller>, Problem> {
    if token.len() > KEY_LENGTH_MAX {
        return Ok(None);
    }
    let Some(session) = signed_in::session(api, token, kind) else { return Ok(None) };
    match signed_in::key_behind(api, &session) {
        Some(key) => Ok(Some(Caller { hash: session.hash, key, session: Some(session), came })),
        None => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "session_ended",
            "The session has ended. Sign in again with a new link or a key.",
        )),
    }
}

/// Compares without stopping at the first difference.
fn equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b))) == 0
}

/// The caller of a route under `/v1/accounts/{account}`, the account, and the other parts of the path.
pub(crate) struct InAccount {
    /// Who calls; if it is an account key, one of this account.
    pub(crate) caller: Caller,
    /// The account.
    pub(crate) account: Arc<Account>,
    params: Vec<(String, String)>,
}

impl FromRequestParts<Arc<Api>> for InAccount {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let caller = authenticate(parts, api).await?;
        let params = path_params(parts, api).await?;
        let id: Option<AccountId> =
            params.iter().find(|(name, _)| name == "account").and_then(|(_, id)| id.parse().ok());
        // Another account's is not found, whatever the key may do in its own.
        let account = match account(api, &caller, id.as_ref()) {
            Err(_) if api.live.has_learnt().await => account(api, &caller, id.as_ref())?,
            found => found?,
        };
        access(parts).check(&caller)?;
        let at = Self { caller, account, params };
        // Perhaps another node made the webhook a moment ago.
        if at.id::<WebhookId>().is_ok() && at.webhook(api).is_err() {
            api.live.has_learnt().await;
        }
        Ok(at)
    }
}

/// The named parts of the request's path, percent-decoded.
///
/// # Errors
/// 404 if a part is not UTF-8.
pub(crate) async fn path_params(parts: &mut Parts, api: &Arc<Api>) -> Result<Vec<(String, String)>, Problem> {
    let params = RawPathParams::from_request_parts(parts, api).await.map_err(|_| Problem::not_found())?;
    Ok(params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// The account of this id, as far as the caller may know of it.
///
/// # Errors
/// 404; for an account key the same for every account that is not its own.
pub(crate) fn account(api: &Api, caller: &Caller, id: Option<&AccountId>) -> Result<Arc<Account>, Problem> {
    let found = id.and_then(|id| api.directory.read().account(id).cloned());
    match (found, caller.account()) {
        (Some(account), None) => Ok(account),
        (Some(account), Some(own)) if account.number == own => Ok(account),
        (_, Some(_)) => Err(Problem::not_found()),
        (None, None) => Err(Problem::account_not_found()),
    }
}

impl InAccount {
    fn param(&self, name: &str) -> Result<&str, Problem> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str()).ok_or_else(Problem::not_found)
    }

    /// The part `id` of the path.
    ///
    /// # Errors
    /// 404 unless it is an id of the kind.
    pub(crate) fn id<T: std::str::FromStr>(&self) -> Result<T, Problem> {
        self.param("id")?.parse().map_err(|_| Problem::not_found())
    }

    /// The account's webhook that the path names.
    ///
    /// # Errors
    /// 404.
    pub(crate) fn webhook(&self, api: &Api) -> Result<Arc<Webhook>, Problem> {
        let id: WebhookId = self.id()?;
        api.directory.read().webhook(self.account.number, &id).cloned().ok_or_else(Problem::not_found)
    }

    /// The delivery's id that the path names.
    ///
    /// # Errors
    /// 404 unless it reads like one.
    pub(crate) fn delivery(&self) -> Result<DeliveryId, Problem> {
        self.id()
    }

    /// The event's id that the path names.
    ///
    /// # Errors
    /// 404 unless it reads like one.
    pub(crate) fn event(&self) -> Result<EventId, Problem> {
        self.id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(peer: &str, header: &str, lines: &[&str]) -> (Parts, [IpRange; 2]) {
        let mut request = http::Request::builder();
        for line in lines {
            request = request.header(header, *line);
        }
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        parts.extensions.insert(Peer(peer.parse().expect("an address")));
        (parts, ["10.0.0.0/8", "::1"].map(|range| range.parse().expect("a range")))
    }

    fn seen(peer: &str, forwarded: &[&str]) -> String {
        let (parts, trusted) = request(peer, "x-forwarded-for", forwarded);
        address(&parts, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_say_that_they_were_spoken_to_over_tls() {
        for (peer, proto, expected) in [
            ("10.0.0.1", &["https"][..], true),
            ("10.0.0.1", &["https, http"], true),
            ("10.0.0.1", &["http"], false),
            ("10.0.0.1", &["http, https"], false),
            ("10.0.0.1", &[], false),
            ("198.51.100.7", &["https"], false),
        ] {
            let (parts, trusted) = request(peer, "x-forwarded-proto", proto);
            assert_eq!(over_tls(&parts, &trusted), expected, "{peer} {proto:?}");
        }
    }

    #[test]
    fn only_trusted_proxies_say_whom_they_saw() {
        assert_eq!(seen("198.51.100.7", &["127.0.0.1"]), "198.51.100.7");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &["203.0.113.9, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(seen("10.0.0.1", &["198.51.100.7", "10.0.0.2, 10.0.0.3"]), "198.51.100.7");
        assert_eq!(seen("::1", &["2001:db8::7"]), "2001:db8::7");
        assert_eq!(seen("10.0.0.1", &["198.51.100.7, nonsense"]), "10.0.0.1");
    }

    #[test]
    fn hashes_are_equal_only_in_every_byte() {
        let mut other = [7; 32];
        assert!(equal(&[7; 32], &other));
        other[31] ^= 1;
        assert!(!equal(&[7; 32], &other));
    }
}
