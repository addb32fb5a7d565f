//! `GET …/stream`: what happens in an account, as server-sent events, resumed by `Last-Event-ID` after a gap.

use domain::key::Scope;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Uri};

use super::stream_messages::{Kind, Messages};
use crate::app::Api;
use crate::auth::{self, Caller, InAccount};
use crate::following::{Follows, Start};
use crate::live::{Placed, Reading};
use crate::operation::{Operation, text};
use crate::page;
use crate::problem::Problem;

/// How long a stream stays silent at most.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Streams of one account at once.
const STREAMS_MAX: usize = 100;
/// Streams of all accounts at once: half of the connections there may be.
const ALL_STREAMS_MAX: usize = 4_096;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(&Method::GET, "/v1/accounts/{account}/stream", "stream", stream, "Follow what happens").scope(Scope::DeliveriesRead)
            .about(
                "Server-sent events: `delivery` when one is accepted, changes or ends, `attempt` when one was made, \
                 `webhook` when one is created, changed or deleted, `replay` when a replay in bulk is started, moves on (a few \
                 times a second at most) or ends; `reset` when something was missed and lists have to be \
                 read again. The data of each is described by the schema `StreamMessages`, under the event's name. A comment comes every 15 s.",
            )
            .query("types", "Which of attempt, delivery, webhook and replay, separated by commas; all if not given.")
            .query("webhook", "Only this webhook's.")
            .header("Last-Event-ID", "The id of the last event seen: the stream goes on after it.")
            .answers(200, "The stream; it does not end by itself.", Some(text("text/event-stream"))),
    ]
}

/// How many streams each account has open.
#[derive(Debug, Default, Clone)]
pub(crate) struct Streams(Arc<std::sync::Mutex<HashMap<u32, usize>>>);

/// One open stream; dropping it closes it.
pub(super) struct Open {
    streams: Streams,
    account: u32,
}

impl Streams {
    fn counts(&self) -> std::sync::MutexGuard<'_, HashMap<u32, usize>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Opens one.
    ///
    /// # Errors
    /// 429 if the account has as many as it may.
    pub(super) fn open(&self, account: u32) -> Result<Open, Problem> {
        let mut counts = self.counts();
        let all: usize = counts.values().sum();
        let count = counts.entry(account).or_default();
        let detail = if *count >= STREAMS_MAX {
            format!("The account has {STREAMS_MAX} streams and exports open: close one first.")
        } else if all >= ALL_STREAMS_MAX {
            format!("All accounts together have {ALL_STREAMS_MAX} streams and exports open: come again in a moment.")
        } else {
            *count += 1;
            return Ok(Open { streams: self.clone(), account });
        };
        Err(Problem::too_many("too_many_streams", Duration::from_secs(10), detail))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut counts = self.streams.counts();
        if let Some(count) = counts.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.account);
            }
        }
    }
}

async fn stream(State(api): State<Arc<Api>>, at: InAccount, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let (kinds, webhook) = read(&api, &at, &uri)?;
    let open = api.streams.open(at.account.number)?;
    let last = headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default());
    let (last, told) = last.map_or((None, 0), |last| {
        let (place, told) = within(last);
        (Some(place), told)
    });
    let Start { place, mark, missed, lost, follows } = api.live.come(at.account.number, last).await?;
    // By now memory has every webhook of which something may be told.
    let messages = Messages::new(Arc::clone(&api), &at.account, kinds, webhook);
    let id = match mark {
        // What was missed comes first: until then it is where the client says that it is.
        Some(_) if !missed.is_empty() => last.unwrap_or_default().to_owned(),
        Some(mark) => mark.to_string(),
        None => id_of(&api, place),
    };
    let missed = missed.into();
    let caller = at.caller;
    let told = if lost { 0 } else { told };
    let follower = Follower {
        api,
        caller,
        messages,
        place,
        id,
        told,
        missed,
        lost,
        greeted: false,
        _follows: follows,
        _open: open,
    };
    let mut response = Response::new(Body::from_stream(stream::unfold(follower, Follower::step)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that buffer answers would hold the stream back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// What is to be followed.
fn read(api: &Api, at: &InAccount, uri: &Uri) -> Result<(Vec<Kind>, Option<u32>), Problem> {
    let (mut kinds, mut webhook) = (Kind::ALL.to_vec(), None);
    for (name, value) in page::pairs(uri.query()) {
        match name.as_str() {
            "types" => {
                kinds = value.split(',').map(|text| Kind::parse(text).ok_or(text)).collect::<Result<_, _>>().map_err(
                    |text| {
                        let detail = format!("types are attempt, delivery, webhook and replay, not {text:?}.");
                        page::bad_parameter("types", "types_invalid", detail)
                    },
                )?;
            }
            "webhook" => {
                let found = value
                    .parse()
                    .ok()
                    .and_then(|id| api.directory.read().webhook(at.account.number, &id).map(|webhook| webhook.number));
                webhook = Some(found.ok_or_else(Problem::not_found)?);
            }
            _ => {
                let detail = format!("There is no parameter {name:?} here.");
                return Err(page::bad_parameter(&name, "unknown_parameter", detail));
            }
        }
    }
    Ok((kinds, webhook))
}

/// A stream at its place in the feed.
struct Follower {
    api: Arc<Api>,
    caller: Caller,
    messages: Messages,
    place: u64,
    /// Where the client is once it has everything that was sent.
    id: String,
    /// How many messages it had been told of what comes next, when it was cut off in the middle of them.
    told: usize,
    /// What comes before the place.
    missed: VecDeque<Placed>,
    lost: bool,
    greeted: bool,
    _follows: Option<Follows>,
    _open: Open,
}

impl Follower {
    /// The next piece of the stream.
    async fn step(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let piece = self.piece().await?;
        // A key that was revoked meanwhile sees nothing more.
        if !self.caller.is_still_valid(&self.api) {
            return None;
        }
        Some((Ok(piece.into()), self))
    }

    async fn piece(&mut self) -> Option<String> {
        if !self.greeted {
            self.greeted = true;
            // The first bytes tell the client that it is connected, and how soon to come again if it loses us.
            // The id is where the stream starts, so that it resumes there before anything has happened.
            let id = if self.lost { String::new() } else { format!("id: {}\n", in_the_middle(&self.id, self.told)) };
            return Some(format!("retry: 2000\n{id}: connected\n\n"));
        }
        let mut stopping = self.api.stopping.watch();
        let api = Arc::clone(&self.api);
        loop {
            if std::mem::take(&mut self.lost) {
                return Some(event("reset", &self.id, "{}"));
            }
            if !self.missed.is_empty() {
                let missed = std::mem::take(&mut self.missed);
                let out = self.tell(missed).await;
                if !out.is_empty() {
                    return Some(out);
                }
            }
            match api.live.read(self.place) {
                Reading::Lost => {
                    let (place, mark) = api.live.end();
                    self.id = mark.map_or_else(|| id_of(&api, place), |mark| mark.to_string());
                    (self.place, self.lost) = (place, true);
                }
                Reading::Records(records, mark) => {
                    let read = records.len() as u64;
                    let out = self.tell(records).await;
                    self.place += read;
                    if read == 0
                        && let Some(mark) = mark
                    {
                        // Nothing of this account was before it.
                        self.id = mark.to_string();
                    }
                    if !out.is_empty() {
                        return Some(out);
                    }
                    if read > 0 {
                        continue;
                    }
                    tokio::select! {
                        () = api.live.wait(self.place) => {}
                        () = auth::ends(&self.caller, &api) => return None,
                        () = tokio::time::sleep(HEARTBEAT) => return Some(self.alive()),
                        _said = stopping.wait_for(|stopping| *stopping) => return None,
                    }
                }
            }
        }
    }

    /// What these records say to the client. A record may say several things: only with the last of them is the client past it.
    async fn tell(&mut self, records: impl IntoIterator<Item = Placed>) -> String {
        let mut out = String::new();
        for (Placed { record, cursor }, next) in records.into_iter().zip(self.place + 1..) {
            let messages = self.messages.of(&record).await;
            if messages.is_empty() {
                continue;
            }
            let after = cursor.map_or_else(|| id_of(&self.api, next), |cursor| cursor.to_string());
            let before = std::mem::replace(&mut self.id, after);
            let (all, told) = (messages.len(), std::mem::take(&mut self.told));
            for ((kind, data), number) in messages.into_iter().zip(1..).skip(told) {
                if number == all {
                    out.push_str(&event(kind.as_str(), &self.id, &data));
                } else {
                    out.push_str(&event(kind.as_str(), &in_the_middle(&before, number), &data));
                }
            }
        }
        out
    }

    /// A sign of life. Where ids hold for a while only, it brings one of now.
    fn alive(&self) -> String {
        match self.api.live.read(self.place) {
            Reading::Records(records, Some(mark)) if records.is_empty() => format!("id: {mark}\n: alive\n\n"),
            Reading::Records(..) | Reading::Lost => ": alive\n\n".to_owned(),
        }
    }
}

/// The id of a place in this process.
fn id_of(api: &Api, place: u64) -> String {
    format!("{}-{place}", api.live.epoch())
}

/// The id of whoever has been told so many messages of what comes after `place`.
fn in_the_middle(place: &str, told: usize) -> String {
    if told == 0 { place.to_owned() } else { format!("{place}+{told}") }
}

/// The place that such an id begins at, and how many messages were told of what comes after it.
fn within(id: &str) -> (&str, usize) {
    let parts = id.split_once('+').and_then(|(place, told)| Some((place, told.parse().ok()?)));
    // What nobody has given is no place either.
    parts.unwrap_or((id, 0))
}

/// One event; its data is one line, as compact JSON is.
fn event(kind: &str, id: &str, data: &str) -> String {
    format!("id: {id}\nevent: {kind}\ndata: {data}\n\n")
}
