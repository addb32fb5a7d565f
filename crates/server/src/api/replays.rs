//! Replays in bulk: counted first, started, followed, paused, resumed, stopped.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::filter::{DeliveryFilter, FILTER_INVALID};
use domain::key::Scope as KeyScope;
use domain::replay::{Cause, Replay, ReplayChange, Scope, State as Goes, UNFINISHED_MAX};
use domain::store::{Change, Page};
use http::{Method, StatusCode, Uri};
use serde::Deserialize;
use utoipa::ToSchema;

use super::answer_headers::LOCATION;
use super::replay_json::{DryRunJson, ReplayJson};
use super::webhook_actions::{RATE_MAX, read_reason};
use super::webhook_input::read_count;
use crate::app::Api;
use crate::auth::InAccount;
use crate::body::JsonBody;
use crate::idempotency::{self, Answer};
use crate::json;
use crate::json_input::{Given, Input};
use crate::operation::{Operation, shape};
use crate::page::{self, List, ListQuery};
use crate::problem::Problem;

const ALL: &str = "/v1/accounts/{account}/replays";
const ONE: &str = "/v1/accounts/{account}/replays/{id}";
/// How many deliveries a dry run shows.
const SHOWN: usize = 20;
/// The keys of the filter.
const FILTER: [&str; 8] = ["webhook", "status", "event", "code", "error", "since", "until", "q"];

/// Which deliveries are to be sent again, in the words of the log's filter: at least one of `webhook`, `status`, `event`, `code`, `error`,
/// `since`, `until` and `q`.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `create` reads")]
struct ReplayInput {
    /// Deliveries to this webhook; all webhooks of the account if not given.
    #[schema(example = "wh_abc123")]
    webhook: Option<String>,
    /// In these states: `delivered`, `failed`, `cancelled`. What is unfinished is still to be sent anyway: with no other state only a dry
    /// run is answered.
    #[schema(example = "failed")]
    status: Option<String>,
    /// Of these types: names, groups such as `alert.*`, or `*`.
    event: Option<String>,
    /// Whose last attempt was answered with these: 404, or a class such as `5xx`.
    code: Option<String>,
    /// Whose last attempt failed by these, such as `response_timeout`.
    error: Option<String>,
    /// Of events accepted since: a time, or a span back from now.
    #[schema(example = "24h")]
    since: Option<String>,
    /// Of events accepted before: a time, or a span back from now.
    until: Option<String>,
    /// With this text in an id or the event's data. Each body that the other keys mean is read for it: give `since` too.
    #[schema(max_length = 200)]
    q: Option<String>,
    /// Deliveries per second; not given or null for no limit of its own.
    #[schema(minimum = 1, maximum = 100000)]
    rate: Option<u32>,
    /// Only count: the answer has the exact count and the first 20, and nothing is changed.
    dry_run: Option<bool>,
}

/// Why a replay is paused.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `pause` reads")]
struct PauseReplayInput {
    /// At most 500 characters.
    #[schema(nullable = false, max_length = 500)]
    reason: Option<String>,
}

/// How a replay goes on.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `resume` reads")]
struct ResumeReplayInput {
    /// Deliveries per second from here on; the rate stays as it was if it is not given.
    #[schema(minimum = 1, maximum = 100000)]
    rate: Option<u32>,
}

pub(super) fn operations() -> Vec<Operation> {
    let create = Operation::new(&Method::POST, ALL, "create_replay", create, "Send many deliveries again")
        .scope(KeyScope::DeliveriesWrite)
        .about("What it covers is decided now, exactly as a dry run counts it, and survives restarts. Deliveries go out oldest first, beside what is new. It pauses itself after 20 failures in a row (a setting). For each webhook one replay goes at a time, others are queued.")
        .takes(shape::<ReplayInput>())
        .answers(202, "It is started.", Some(shape::<ReplayJson>()))
        .tells(202, LOCATION)
        .or_answers(200, "With `dry_run`: what it would cover.", shape::<DryRunJson>())
        .refuses(404, "There is no such webhook.")
        .refuses(409, "Its webhook is paused, or too many replays are not over.")
        .idempotent();
    let act = |path, id, summary| (path, id, summary);
    let (pause_path, pause_id, pause_says) =
        act("/v1/accounts/{account}/replays/{id}/pause", "pause_replay", "Pause a replay");
    let (resume_path, resume_id, resume_says) =
        act("/v1/accounts/{account}/replays/{id}/resume", "resume_replay", "Resume a replay");
    let (stop_path, stop_id, stop_says) =
        act("/v1/accounts/{account}/replays/{id}/stop", "stop_replay", "Stop a replay for good");
    vec![
        create,
        Operation::new(&Method::GET, ALL, "list_replays", list, "List replays")
            .scope(KeyScope::DeliveriesRead)
            .lists::<ReplayJson>(),
        Operation::new(&Method::GET, ONE, "get_replay", one, "Get a replay: how far it has come")
            .scope(KeyScope::DeliveriesRead)
            .answers(200, "The replay.", Some(shape::<ReplayJson>())),
        Operation::new(&Method::POST, pause_path, pause_id, pause, pause_says)
            .scope(KeyScope::DeliveriesWrite)
            .about("What is due already, at most 200 deliveries, still goes out.")
            .may_take(shape::<PauseReplayInput>())
            .answers(200, "It is paused.", Some(shape::<ReplayJson>()))
            .refuses(409, "It is over.")
            .idempotent(),
        Operation::new(&Method::POST, resume_path, resume_id, resume, resume_says)
            .scope(KeyScope::DeliveriesWrite)
            .may_take(shape::<ResumeReplayInput>())
            .answers(200, "It goes on where it was.", Some(shape::<ReplayJson>()))
            .refuses(409, "It is over, or its webhook is paused.")
            .idempotent(),
        Operation::new(&Method::POST, stop_path, stop_id, stop, stop_says)
            .scope(KeyScope::DeliveriesWrite)
            .about("What is due already, at most 200 deliveries, still goes out.")
            .answers(200, "It is over.", Some(shape::<ReplayJson>()))
            .refuses(409, "It is done.")
            .idempotent(),
    ]
}

/// What a request asks for.
struct Asked {
    scope: Scope,
    rate: Option<u32>,
    dry_run: bool,
}

fn read(api: &Api, at: &InAccount, text: &str) -> Result<Asked, Problem> {
    /// A value of the filter, as its grammar has it, or as a list.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Texts {
        One(String),
        Several(Vec<String>),
    }
    let mut input = Input::parse(text, &[&FILTER[..], &["rate", "dry_run"]].concat())?;
    let mut pairs = Vec::new();
    for name in FILTER {
        match input.get::<Texts>(name, "filter_invalid", "text, or a list of texts") {
            Given::Value(Texts::One(text)) => pairs.push((name, text)),
            // A text that is searched for may have commas of its own.
            Given::Value(Texts::Several(_)) if name == "q" => input.fault("q", "filter_invalid", "q is one text."),
            Given::Value(Texts::Several(texts)) => pairs.push((name, texts.join(","))),
            Given::Absent | Given::Null => {}
        }
    }
    let now = api.now();
    let filter = match DeliveryFilter::parse(pairs.iter().map(|(name, text)| (*name, text.as_str())), now) {
        Ok(filter) => filter,
        Err(refusals) => {
            for refusal in refusals {
                input.fault(&refusal.pointer, refusal.code, refusal.detail);
            }
            DeliveryFilter::default()
        }
    };
    let rate = read_count(&mut input, "rate", "rate_invalid", RATE_MAX).flatten();
    let dry_run = input.get("dry_run", "dry_run_invalid", "true or false") == Given::Value(true);
    // A dry run says how many there are of them.
    if !dry_run && !filter.status.is_empty() && filter.status.iter().all(|status| status.is_unfinished()) {
        let detail = "What is pending, sending or held cannot be sent again, since it is still to be sent anyway: give delivered, \
                      failed or cancelled.";
        input.fault("status", FILTER_INVALID, detail);
    }
    input.check()?;
    if pairs.is_empty() {
        let detail = "Say which deliveries: give one of webhook, status, event, code, error, since, until, q. All of the \
                      account's are {\"since\": \"1970-01-01T00:00:00Z\"}.";
        return Err(Problem::fault("", "filter_missing", detail));
    }
    let account = at.account.number;
    let webhook = match &filter.webhook {
        None => None,
        Some(id) => {
            let found = api.directory.read().webhook(account, id).map(|webhook| webhook.number);
            Some(found.ok_or_else(Problem::not_found)?)
        }
    };
    Ok(Asked { scope: Scope { account, webhook, filter, now, sending: api.in_flight.all() }, rate, dry_run })
}

async fn create(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    let idempotency = idempotency::of_body(&at.caller, Some(at.account.number), &body)?;
    if let Some(response) = idempotency::repeated(&api, idempotency.as_ref()).await? {
        return Ok(response);
    }
    let Asked { scope, rate, dry_run } = read(&api, &at, body.text()?)?;
    if dry_run {
        let filter = scope.filter.clone();
        return Ok(json::ok(&DryRunJson::new(&filter, &api.store.coverage(scope, SHOWN).await?)));
    }
    let paused = |number| api.directory.read().webhook_numbered(number).is_some_and(|webhook| webhook.pause.is_some());
    if scope.webhook.is_some_and(paused) {
        let detail = "The webhook is paused: resume it first. A dry run tells what would be sent then.";
        return Err(Problem::conflict("webhook_paused", detail));
    }
    let id = api.new_id("rpl").parse().map_err(|_| Problem::not_found())?;
    let new = Replay::new(id, &scope, rate, at.caller.name());
    let prepared = api.store.prepare_replay(scope, new).await?;
    let mut started = prepared.clone();
    started.go_on(api.now());
    let shown = show(&api, &at, &started).await?;
    let answer = Answer::new(StatusCode::ACCEPTED, &shown)
        .location(format!("/v1/accounts/{}/replays/{}", at.account.id, started.id));
    let change = Change::BulkReplay(ReplayChange::Start(Box::new(prepared)));
    let (response, made) = idempotency::change(&api, change, at.caller.by(), idempotency, answer).await?;
    if made {
        tracing::info!(
            account = %at.account.id, replay = %started.id, covers = started.total, filter = %started.filter,
            by = at.caller.name(), "replay started"
        );
    }
    Ok(response)
}

async fn list(State(api): State<Arc<Api>>, at: InAccount, uri: Uri) -> Result<Response, Problem> {
    let of = List { name: "replays", account: at.account.number };
    let query = ListQuery::parse(uri.query(), of)?;
    query.nothing_else()?;
    let before = query.before::<u32>()?;
    let Page { rows, next, .. } = api.store.bulk_replays(at.account.number, before, query.limit, false).await?;
    let others = unfinished(&api, at.account.number).await?;
    let now = api.now();
    let rows: Vec<_> = rows.iter().map(|replay| ReplayJson::new(replay, &at.account.id, &others, now)).collect();
    Ok(page::respond(of, &uri, &rows, next.map(|number| number.to_string())))
}

async fn one(State(api): State<Arc<Api>>, at: InAccount) -> Result<Response, Problem> {
    let replay = found(&api, &at).await?;
    Ok(json::ok(&show(&api, &at, &replay).await?))
}

async fn pause(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    let act = Act::begin(&api, &at, &body).await?;
    let mut input = Input::parse_optional(body.text()?, &["reason"])?;
    let reason = read_reason(&mut input);
    input.check()?;
    let cause = Cause::Key { name: at.caller.name().to_owned(), reason };
    act.run("replay paused", |replay| {
        if matches!(replay.state, Goes::Paused { .. }) {
            return None;
        }
        let now = api.now();
        let change = ReplayChange::Pause { account: replay.account, replay: replay.number, cause: cause.clone() };
        replay.stand(now, Goes::Paused { since: now, cause: cause.clone() });
        Some(change)
    })
    .await
}

async fn resume(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    let act = Act::begin(&api, &at, &body).await?;
    let mut input = Input::parse_optional(body.text()?, &["rate"])?;
    let rate = read_count(&mut input, "rate", "rate_invalid", RATE_MAX).flatten();
    input.check()?;
    act.run("replay resumed", |replay| {
        if replay.running() && rate.is_none() {
            return None;
        }
        let change = ReplayChange::Resume { account: replay.account, replay: replay.number, rate };
        replay.rate = rate.or(replay.rate);
        replay.go_on(api.now());
        Some(change)
    })
    .await
}

async fn stop(State(api): State<Arc<Api>>, at: InAccount, body: JsonBody) -> Result<Response, Problem> {
    let act = Act::begin(&api, &at, &body).await?;
    Input::parse_optional(body.text()?, &[])?.check()?;
    let by = at.caller.name().to_owned();
    act.run("replay stopped", |replay| {
        if matches!(replay.state, Goes::Stopped { .. }) {
            return None;
        }
        let now = api.now();
        let change = ReplayChange::Stop { account: replay.account, replay: replay.number, by: by.clone() };
        replay.stand(now, Goes::Stopped { at: now, by: by.clone() });
        Some(change)
    })
    .await
}

/// A change of the replay that the path names.
struct Act<'a> {
    api: &'a Api,
    at: &'a InAccount,
    idempotency: Option<domain::event::Idempotency>,
    repeated: Option<Response>,
    replay: Replay,
}

impl<'a> Act<'a> {
    async fn begin(api: &'a Api, at: &'a InAccount, body: &JsonBody) -> Result<Self, Problem> {
        let idempotency = idempotency::of_body(&at.caller, Some(at.account.number), body)?;
        let repeated = idempotency::repeated(api, idempotency.as_ref()).await?;
        Ok(Self { api, at, idempotency, repeated, replay: found(api, at).await? })
    }

    /// `make` brings the replay to where the change will, and gives the change; nothing if it is there already.
    async fn run(
        self,
        said: &'static str,
        make: impl FnOnce(&mut Replay) -> Option<ReplayChange>,
    ) -> Result<Response, Problem> {
        let Self { api, at, idempotency, repeated, mut replay } = self;
        if let Some(response) = repeated {
            return Ok(response);
        }
        let was_over = replay.ended();
        let Some(change) = make(&mut replay) else { return Ok(json::ok(&show(api, at, &replay).await?)) };
        if was_over {
            return Err(Problem::conflict("state", "This cannot be done now: the replay is over."));
        }
        let answer = Answer::new(StatusCode::OK, &show(api, at, &replay).await?);
        let (response, made) =
            idempotency::change(api, Change::BulkReplay(change), at.caller.by(), idempotency, answer).await?;
        if made {
            tracing::info!(account = %at.account.id, replay = %replay.id, by = at.caller.name(), "{said}");
        }
        Ok(response)
    }
}

async fn found(api: &Api, at: &InAccount) -> Result<Replay, Problem> {
    api.store.bulk_replay(at.account.number, at.id()?).await?.ok_or_else(Problem::not_found)
}

async fn show(api: &Api, at: &InAccount, replay: &Replay) -> Result<ReplayJson, Problem> {
    let others = unfinished(api, at.account.number).await?;
    Ok(ReplayJson::new(replay, &at.account.id, &others, api.now()))
}

/// The replays of an account that are not over.
///
/// # Errors
/// What the store refuses.
pub(super) async fn unfinished(api: &Api, account: u32) -> Result<Vec<Replay>, domain::store::StoreError> {
    Ok(api.store.bulk_replays(account, None, UNFINISHED_MAX, true).await?.rows)
}
