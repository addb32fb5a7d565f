//! Every refusal, as an RFC 9457 problem document: `type`, `title`, `status`, `detail`, `code`, `request_id`, `errors[]`.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use domain::refusal::Refusal;
use domain::seldom::Seldom;
use domain::store::{AcceptError, ChangeError, NoSpace, StoreError};
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::RequestId;
use crate::limits::{Left, whole_seconds};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Requests that were answered with 503, each problem alike.
static UNAVAILABLE: Seldom = Seldom::new();
/// Requests for which the clock was wrong.
static CLOCK_WRONG: Seldom = Seldom::new();
/// The code of what is kept and cannot be read.
pub(crate) const RECORD_DAMAGED: &str = "record_damaged";

/// A refusal on its way out. It becomes a document in [`render`], where the request's id is given.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    errors: Vec<Refusal>,
    retry_after: Option<Duration>,
    /// The quota that is used up.
    limit: Option<Box<Left>>,
    cookie: Option<String>,
    /// What came has not been read to its end: no other request may follow on the connection.
    close: bool,
}

/// A problem document as it is written.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDocument<'a> {
    /// `urn:posthaste:problem:` and the code.
    #[schema(example = "urn:posthaste:problem:input_invalid")]
    r#type: String,
    /// The status in words.
    #[schema(example = "Unprocessable Entity")]
    title: &'a str,
    /// The HTTP status.
    #[schema(example = 422)]
    status: u16,
    /// What is wrong, and the way out.
    detail: &'a str,
    /// The kind of the problem; it does not change between versions.
    #[schema(example = "input_invalid")]
    code: &'a str,
    /// The id under which the server's log has this request; also in the header `X-Request-Id`. `req_unread`, without that header, where the
    /// request was not read: its head is not valid HTTP or too large (400, 414, 431), or too many connections are open (503).
    request_id: &'a str,
    /// Every fault of the input, each with its place.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<FaultSchema>)]
    errors: &'a [Refusal],
}

/// One fault of an input.
#[derive(ToSchema)]
#[schema(as = Fault)]
#[expect(dead_code, reason = "describes `domain::refusal::Refusal`, which knows nothing of OpenAPI")]
pub(crate) struct FaultSchema {
    /// A JSON pointer into the request's body, empty for all of it; for a parameter's fault, the name of the parameter.
    #[schema(example = "/url")]
    pointer: String,
    /// The fault's code.
    #[schema(example = "url_scheme")]
    code: String,
    /// One sentence that names the value, the rule, and the way out.
    detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            limit: None,
            cookie: None,
            close: false,
        }
    }

    /// 400: what came cannot be read.
    pub(crate) fn bad_request(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 401, the same for every kind of wrong or missing key.
    pub(crate) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "Send a valid key as \"Authorization: Bearer phk_…\" or \"Bearer pha_…\".",
        )
    }

    /// 403: the key is valid and may not do this.
    pub(crate) fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404, the same for what never was, is gone, or belongs to another account.
    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is nothing here: it never existed, or it was deleted. Check the address and the id.",
        )
    }

    /// 404 for an account that the platform named.
    pub(crate) fn account_not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "account_not_found",
            "There is no such account. POST /v1/accounts creates one.",
        )
    }

    /// 409: the state of the thing does not allow it.
    pub(crate) fn conflict(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 412: it was changed since it was read.
    pub(crate) fn stale() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "changed_meanwhile",
            "It was changed since you read it. Read it again, and repeat your change with its new ETag.",
        )
    }

    /// 413: more than is taken.
    pub(crate) fn too_large(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code, detail)
    }

    /// 422 with every fault of the input.
    pub(crate) fn invalid(errors: Vec<Refusal>) -> Self {
        let detail = match errors.as_slice() {
            [only] => only.detail.clone(),
            all => format!("{} things in the request cannot be taken; errors[] names each.", all.len()),
        };
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "input_invalid", detail) }
    }

    /// 422 with one fault.
    pub(crate) fn fault(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self::invalid(vec![Refusal::new(pointer, code, detail)])
    }

    /// 429: too often.
    pub(crate) fn too_many(code: &'static str, wait: Duration, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { retry_after: Some(wait), ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail) }
    }

    /// 429: a quota is used up.
    pub(crate) fn over(code: &'static str, left: Left, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { limit: Some(Box::new(left)), ..Self::too_many(code, left.wait, detail) }
    }

    /// Whether it was about something that is kept and cannot be read.
    pub(crate) fn is_damage(&self) -> bool {
        self.code == RECORD_DAMAGED
    }

    /// Whether the answer is to become the document of such a problem.
    pub(crate) fn tells_damage(response: &Response) -> bool {
        response.extensions().get::<Self>().is_some_and(Self::is_damage)
    }

    /// 503: cannot be done now.
    pub(crate) fn unavailable(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        let wait = Duration::from_secs(1);
        Self { retry_after: Some(wait), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail) }
    }

    /// What an answer of the framework that has no document yet says.
    fn from_status(status: StatusCode) -> Self {
        match status {
            StatusCode::METHOD_NOT_ALLOWED => Self::new(
                status,
                "method_not_allowed",
                "This address does not take this method; the header Allow lists those that it takes.",
            ),
            StatusCode::NOT_FOUND => Self::not_found(),
            other => Self::new(other, "refused", other.canonical_reason().unwrap_or("The request was refused.")),
        }
    }

    /// The same problem, with a cookie for the browser.
    pub(crate) fn with_cookie(self, cookie: String) -> Self {
        Self { cookie: Some(cookie), ..self }
    }

    /// The same problem, over in so long.
    pub(crate) fn again_in(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// The same problem, after which the connection is closed.
    pub(crate) fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) const fn code(&self) -> &'static str {
        self.code
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    pub(crate) fn errors(&self) -> &[Refusal] {
        &self.errors
    }

    /// After how many seconds it is worth asking again.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.retry_after.map(whole_seconds)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::unavailable("overloaded", "Too much waits to be written. Try again in a moment."),
            StoreError::Away(_) => Self::unavailable(
                "database_away",
                "The database cannot be reached: nothing is accepted or changed until it is back. The node's log says why.",
            ),
            StoreError::Unanswered => Self::unavailable(
                "unanswered",
                "The database takes its time, perhaps for a standby: this may be done yet, or not. Ask again with the same Idempotency-Key, \
                 or look first.",
            ),
            StoreError::Stuck => Self::unavailable(
                "database_unanswered",
                "Commits do not return: the database waits for a standby (synchronous_standby_names) or for a lock. Nothing is accepted, recorded or sent until they do.",
            ),
            StoreError::Crowded(_) => Self::unavailable(
                "database_connections",
                "The database has too few connections for this node, and what needs a further one waits: nothing may be sent, or nothing accepted. The node's log says which limit to raise.",
            ),
            StoreError::Refused(_) => Self::unavailable(
                "database_refuses",
                "The database refuses what has to be written: a right or a table is missing. What was accepted is kept, and goes on once that is mended. The node's log says what.",
            ),
            StoreError::NoSpace(why) => Self::no_space(why),
            StoreError::Stopped(why) => {
                tracing::error!(%why, "the store has stopped");
                Self::unavailable("store_stopped", "The store has stopped; nothing was accepted or changed.")
            }
            StoreError::Damaged(what) => {
                tracing::error!(%what, "a record is damaged");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    RECORD_DAMAGED,
                    "What is kept here is damaged: its checksum does not fit. The operator's log has the details.",
                )
            }
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotFound => Self::not_found(),
            ChangeError::Exists => Self::conflict("exists", "Something with this id exists already."),
            ChangeError::Stale => Self::stale(),
            ChangeError::State(why) => Self::conflict("state", format!("This cannot be done now: {why}.")),
            ChangeError::OtherRequest => Self::other_request(),
            ChangeError::Store(error) => error.into(),
        }
    }
}

impl From<AcceptError> for Problem {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::Gone => Self::not_found(),
            AcceptError::OtherRequest => Self::other_request(),
            // Whoever asks for this has a refusal of its own.
            AcceptError::NotRepeated => StoreError::Busy.into(),
            AcceptError::Clock(says) => {
                if let Some(times) = CLOCK_WRONG.happened(Instant::now()) {
                    tracing::error!(%says, times, "no event can be accepted: this machine's clock is wrong, and there are no ids for that time");
                }
                let date = says.to_string();
                let year = date.split('-').next().unwrap_or_default();
                let detail = format!(
                    "The server's clock is wrong, it says year {year}: nothing is accepted until the operator sets it right."
                );
                Self::unavailable("clock_wrong", detail)
            }
            AcceptError::Store(error) => error.into(),
        }
    }
}

impl Problem {
    fn no_space(why: NoSpace) -> Self {
        match why {
            NoSpace::Disk => Self::unavailable(
                "disk_full",
                "The server's disk is full: until there is space no event is accepted, nothing is sent again, and no webhook, account or key is made. Reading and changing work; nothing that was accepted is lost.",
            ),
            NoSpace::Store => Self::unavailable(
                "retention_size_reached",
                "What is kept has reached the operator's retention-size, and all that is left is unfinished. Deliver it, cancel it, or raise retention-size.",
            ),
            NoSpace::Account => Self::unavailable(
                "account_size_reached",
                "What is kept of this account has reached its retention_size, and all that is left is unfinished. Deliver it, cancel it, or raise retention_size.",
            ),
        }
    }

    fn other_request() -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "This Idempotency-Key came before with another request. Use a new key for a new request.",
        )
    }
}

/// Gives the answer its request's id, and writes the document of one that is a problem.
pub(crate) fn render(id: RequestId, mut response: Response) -> Response {
    let request_id = id.to_string();
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let problem = response.extensions_mut().remove::<Problem>().unwrap_or_else(|| Problem::from_status(status));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        // Everybody who comes is told the same: of that the log is full at once, maybe on the very disk that is.
        if let Some(times) = UNAVAILABLE.happened(Instant::now()) {
            tracing::warn!(%request_id, status = status.as_u16(), code = problem.code, times, "request failed");
        }
    } else if status.is_server_error() {
        tracing::warn!(%request_id, status = status.as_u16(), code = problem.code, "request failed");
    } else {
        tracing::debug!(%request_id, status = status.as_u16(), code = problem.code, "request refused");
    }
    let document = ProblemDocument {
        r#type: format!("urn:posthaste:problem:{}", problem.code),
        title: status.canonical_reason().unwrap_or("Refused"),
        status: status.as_u16(),
        detail: &problem.detail,
        code: problem.code,
        request_id: &request_id,
        errors: &problem.errors,
    };
    *response.body_mut() = Body::from(crate::json::write(&document));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.remove(http::header::CONTENT_LENGTH);
    if let Some(wait) = problem.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
    }
    if let Some(limit) = problem.limit {
        limit.write(headers);
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(cookie) = problem.cookie.as_deref().and_then(|cookie| HeaderValue::from_str(cookie).ok()) {
        headers.insert(SET_COOKIE, cookie);
    }
    if problem.close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::time::Timestamp;

    #[test]
    fn a_clock_that_is_wrong_is_named() {
        let problem = Problem::from(AcceptError::Clock(Timestamp(4_949_064_000_123_456)));
        assert_eq!((problem.status, problem.code), (StatusCode::SERVICE_UNAVAILABLE, "clock_wrong"));
        assert!(problem.detail.contains("it says year 2126"), "{}", problem.detail);
    }
}
