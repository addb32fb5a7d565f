//! Reading the body of a request: its kind, its size, the time it may take, and how much of all bodies is in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;

use crate::app::Api;
use crate::problem::Problem;

/// The largest body of a request, other than one with events.
pub(crate) const BODY_MAX: usize = 1024 * 1024;
/// The largest body with events.
pub(crate) const EVENTS_BODY_MAX: usize = 16 * 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);
/// Bodies up to this size come from the connection's own buffer and count as nothing.
const FREE: usize = 16 * 1024;
/// How many bytes of larger bodies may be in memory at once.
const BYTES: usize = 256 * 1024 * 1024;
/// How many larger bodies may be read and not answered yet. Whoever sends the next one is told to come back: in a longer
/// queue all would wait until nobody waits for them any more.
const IN_HAND: usize = 64;

/// What there may be of larger bodies at once.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    bytes: Budget,
    in_hand: Budget,
}

impl Default for Bodies {
    fn default() -> Self {
        Self { bytes: Budget::new(BYTES), in_hand: Budget::new(IN_HAND) }
    }
}

/// Something of which there may be so much at once.
#[derive(Debug, Clone)]
struct Budget {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// A part of a budget; it is given back when this is dropped.
#[derive(Debug)]
struct Share {
    budget: Budget,
    size: usize,
}

impl Budget {
    fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    fn take(&self, size: usize) -> Option<Share> {
        let before = self.taken.fetch_add(size, Ordering::Relaxed);
        let share = Share { budget: self.clone(), size };
        // A share beyond the budget is given back by its drop.
        if before + size > self.most { None } else { Some(share) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// What a body says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `application/json`.
    Json,
    /// `application/x-ndjson`: one JSON text per line.
    Ndjson,
    /// Nothing was said; right only for an empty body.
    Unsaid,
}

/// A body that has been read.
#[derive(Debug)]
pub(crate) struct Read {
    /// Its bytes.
    pub(crate) bytes: Bytes,
    /// What it says it is.
    pub(crate) kind: Kind,
    /// Held until the request is answered.
    _shares: [Option<Share>; 2],
}

/// Reads a body of at most `most` bytes.
///
/// # Errors
/// 415, 413 (before reading, where the length is given), 408, 400 for a broken body, 503 when too much is in memory.
pub(crate) async fn read(api: &Api, headers: &HeaderMap, body: Body, most: usize) -> Result<Read, Problem> {
    let kind = kind(headers)?;
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > most as u64) {
        return Err(too_large(most));
    }
    match tokio::time::timeout(BODY_TIME, collect(api, body, most)).await {
        Ok(Ok((bytes, share))) => {
            let in_hand =
                (bytes.len() > FREE).then(|| api.bodies.in_hand.take(1).ok_or_else(overloaded)).transpose()?;
            Ok(Read { bytes, kind, _shares: [share, in_hand] })
        }
        Ok(Err(problem)) => Err(problem),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            "The request's body did not arrive within 30 seconds.",
        )
        .closing()),
    }
}

fn too_large(most: usize) -> Problem {
    let detail = format!("The request's body is over {} KiB. Send less at once.", most / 1024);
    Problem::too_large("body_too_large", detail).closing()
}

fn overloaded() -> Problem {
    Problem::unavailable("overloaded", "Too many large requests are being read. Try again in a moment.")
}

async fn collect(api: &Api, mut body: Body, most: usize) -> Result<(Bytes, Option<Share>), Problem> {
    let Some(first) = next(&mut body).await? else { return Ok((Bytes::new(), None)) };
    let Some(second) = next(&mut body).await? else {
        return if first.len() > most { Err(too_large(most)) } else { Ok((first, None)) };
    };
    let mut whole = BytesMut::with_capacity(first.len() + second.len());
    let mut shares: Option<Share> = None;
    let mut frame = Some(second);
    whole.extend_from_slice(&first);
    while let Some(data) = frame {
        if whole.len() + data.len() > most {
            return Err(too_large(most));
        }
        if whole.len() + data.len() > FREE {
            let share = api.bodies.bytes.take(data.len()).ok_or_else(|| overloaded().closing())?;
            shares = Some(join(shares, share));
        }
        whole.extend_from_slice(&data);
        frame = next(&mut body).await?;
    }
    Ok((whole.freeze(), shares))
}

/// Two shares as one.
fn join(first: Option<Share>, mut second: Share) -> Share {
    if let Some(mut first) = first {
        second.size += std::mem::take(&mut first.size);
    }
    second
}

async fn next(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Problem::bad_request("body_broken", "The request's body ended early, or its chunks are malformed.")
                .closing()
        })?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn kind(headers: &HeaderMap) -> Result<Kind, Problem> {
    if let Some(encoding) = headers.get(CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(unsupported("content_encoding", "Send the body as it is: no Content-Encoding is taken."));
    }
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(Kind::Unsaid) };
    let text = value.to_str().unwrap_or_default();
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let utf8 = parameters.split(';').all(|parameter| match parameter.trim().split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        Some(_) | None => true,
    });
    match essence.trim() {
        essence if utf8 && essence.eq_ignore_ascii_case("application/json") => Ok(Kind::Json),
        essence if utf8 && essence.eq_ignore_ascii_case("application/x-ndjson") => Ok(Kind::Ndjson),
        _ => Err(unsupported(
            "content_type",
            "Send JSON in UTF-8 with \"Content-Type: application/json\" (batches of events also as application/x-ndjson).",
        )),
    }
}

pub(crate) fn unsupported(code: &'static str, detail: &'static str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, detail)
}

/// A JSON body of at most [`BODY_MAX`] bytes, or none; with the headers and the path that it came with.
pub(crate) struct JsonBody {
    /// The request's headers.
    pub(crate) headers: HeaderMap,
    /// The request's path.
    pub(crate) path: String,
    /// The body; empty if there was none.
    pub(crate) bytes: Bytes,
}

impl JsonBody {
    /// The body as text.
    ///
    /// # Errors
    /// 400 unless it is UTF-8.
    pub(crate) fn text(&self) -> Result<&str, Problem> {
        crate::json_input::text(&self.bytes)
    }
}

impl FromRequest<Arc<Api>> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let read = read(api, &parts.headers, body, BODY_MAX).await?;
        let path = parts.uri.path().to_owned();
        match read.kind {
            Kind::Json => {}
            Kind::Unsaid if read.bytes.is_empty() => {}
            Kind::Unsaid | Kind::Ndjson => {
                return Err(unsupported("content_type", "Send JSON with \"Content-Type: application/json\"."));
            }
        }
        Ok(Self { headers: parts.headers, path, bytes: read.bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(content_type: &str) -> Option<Kind> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().expect("a header value"));
        kind(&headers).ok()
    }

    #[test]
    fn content_types_are_judged() {
        assert_eq!(kind_of("application/json"), Some(Kind::Json));
        assert_eq!(kind_of("Application/JSON; Charset=\"UTF-8\""), Some(Kind::Json));
        assert_eq!(kind_of("application/x-ndjson"), Some(Kind::Ndjson));
        assert_eq!(kind_of("application/json; charset=latin1"), None);
        assert_eq!(kind_of("text/plain"), None);
        assert_eq!(kind(&HeaderMap::new()).ok(), Some(Kind::Unsaid));
    }

    #[test]
    fn the_budget_is_given_back() {
        let budget = Budget::new(8);
        let half = budget.take(4).expect("half of it");
        assert!(budget.take(8).is_none());
        let rest = budget.take(4).expect("the other half");
        assert!(budget.take(1).is_none());
        drop((half, rest));
        assert!(budget.take(8).is_some());
    }
}
