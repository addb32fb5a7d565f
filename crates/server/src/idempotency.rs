//! `Idempotency-Key`: the same POST sent again gets the same answer, and acts once.
//!
//! The answer of a change is built before the change, and kept with it in one transaction; so of n equal requests at
//! once one acts, and all get its answer.

use axum::response::Response;
use domain::audit::By;
use domain::event::Idempotency;
use domain::store::{Change, Changed, Keep};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::app::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::json;
use crate::problem::Problem;

/// The longest key.
pub(crate) const KEY_LENGTH_MAX: usize = 255;

/// An answer in the form in which it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    status: u16,
    etag: Option<u64>,
    location: Option<String>,
    body: String,
}

impl Answer {
    /// An answer whose body is `value`.
    pub(crate) fn new(status: StatusCode, value: &impl Serialize) -> Self {
        Self { status: status.as_u16(), etag: None, location: None, body: json::write_text(value) }
    }

    /// With the ETag of a version.
    pub(crate) fn etag(self, version: u64) -> Self {
        Self { etag: Some(version), ..self }
    }

    /// With the address of what was created.
    pub(crate) fn location(self, location: String) -> Self {
        Self { location: Some(location), ..self }
    }

    pub(crate) fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let mut response = json::answer(status, self.body);
        if let Some(version) = self.etag {
            response = json::with_etag(response, version);
        }
        if let Some(location) = self.location {
            response = json::with_location(response, &location);
        }
        response
    }
}

/// The request's idempotency: the scope of a key is the calling key and the account. The same key for another route is the key of
/// another request.
///
/// # Errors
/// 400 unless the key is 1–255 visible ASCII characters, and there is one.
pub(crate) fn of(
    headers: &HeaderMap,
    caller: &Caller,
    account: Option<u32>,
    route: &str,
    body: &[u8],
) -> Result<Option<Idempotency>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.as_bytes();
    if values.next().is_some() || !(1..=KEY_LENGTH_MAX).contains(&key.len()) || !key.iter().all(u8::is_ascii_graphic) {
        return Err(Problem::bad_request(
            "idempotency_key_invalid",
            "An Idempotency-Key is 1 to 255 visible ASCII characters, given once.",
        ));
    }
    let mut hash = Sha256::new();
    hash.update(caller.hash);
    hash.update(account.map_or(-1, i64::from).to_be_bytes());
    hash.update(key);
    let mut request = Sha256::new();
    // No path holds a line feed, so no two requests run together.
    request.update(route.as_bytes());
    request.update(b"\n");
    request.update(body);
    let (key, request) = (hash.finalize().into(), request.finalize().into());
    Ok(Some(Idempotency { account: account.unwrap_or(0), key, request }))
}

/// [`of`] for a JSON body.
///
/// # Errors
/// Those of [`of`].
pub(crate) fn of_body(caller: &Caller, account: Option<u32>, body: &JsonBody) -> Result<Option<Idempotency>, Problem> {
    of(&body.headers, caller, account, &body.path, &body.bytes)
}

/// The answer to the same request, if it came before.
///
/// # Errors
/// 422 if another request came under the key.
pub(crate) async fn repeated(api: &Api, idempotency: Option<&Idempotency>) -> Result<Option<Response>, Problem> {
    let Some(idempotency) = idempotency else { return Ok(None) };
    match api.store.kept(idempotency.clone()).await? {
        Some(Changed::Repeated(answer)) => Ok(Some(read(&answer)?)),
        Some(Changed::Made) | None => Ok(None),
    }
}

fn read(kept: &[u8]) -> Result<Response, Problem> {
    let answer: Answer = serde_json::from_slice(kept).map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "record_damaged", "The kept answer cannot be read.")
    })?;
    Ok(answer.into_response())
}

/// Makes a change, and answers; the same request again gets the first one's answer. Says whether it was made now.
///
/// # Errors
/// What the store refuses.
pub(crate) async fn change(
    api: &Api,
    change: Change,
    by: By,
    idempotency: Option<Idempotency>,
    answer: Answer,
) -> Result<(Response, bool), domain::store::ChangeError> {
    let keep = idempotency.map(|idempotency| Keep { idempotency, answer: json::write(&answer) });
    match api.store.change(change, by, keep).await? {
        Changed::Made => Ok((answer.into_response(), true)),
        Changed::Repeated(kept) => {
            let response = read(&kept).map_err(|_| {
                domain::store::StoreError::Damaged("the answer kept under an idempotency key".to_owned())
            })?;
            Ok((response, false))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_back_as_it_was_kept() {
        let answer = Answer::new(StatusCode::CREATED, &serde_json::json!({"secret": "whsec_ä"}))
            .etag(3)
            .location("/v1/x".to_owned());
        assert_eq!(serde_json::from_slice::<Answer>(&json::write(&answer)).expect("an answer"), answer);
        let response = answer.into_response();
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.headers()["etag"], "\"3\"");
        assert_eq!(response.headers()["location"], "/v1/x");
    }
}
