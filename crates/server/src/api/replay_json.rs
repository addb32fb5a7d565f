//! Replays in bulk as the API writes them: what they cover, how far they have come, and what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::attempt::ErrorCode;
use domain::id::{AccountId, ReplayId, WebhookId};
use domain::replay::{Cause, Coverage, PassedOver, Replay, State};
use domain::time::{Timestamp, write_span};
use serde::Serialize;
use utoipa::ToSchema;

use super::attempt_json::milliseconds;
use super::closed_sets::{self, PERSON, US};
use super::delivery_json::{DeliveryJson, Standing};

/// How many must have been sent for their pace to tell how long the rest will take.
const PACE_MIN: u64 = 20;

/// Where a replay stands.
pub(super) const STATUSES: [&str; 5] = ["queued", RUNNING, "paused", "stopped", "done"];
const RUNNING: &str = "running";

/// A replay in bulk.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Replay)]
pub(crate) struct ReplayJson {
    /// Its id.
    #[schema(value_type = String, example = "rpl_01k9x5m2q7a3b01k9x5m")]
    id: ReplayId,
    /// The account.
    #[schema(value_type = String, example = "default")]
    account: AccountId,
    /// Its webhook; null for all of the account's.
    #[schema(value_type = Option<String>, example = "wh_abc123", required)]
    webhook_id: Option<WebhookId>,
    /// Which deliveries were meant when it was created, instants instead of spans.
    #[schema(value_type = std::collections::BTreeMap<String, String>, example = json!({"status": "failed", "since": "2026-03-18T14:30:00.000000Z"}))]
    filter: BTreeMap<&'static str, String>,
    /// Deliveries per second; null for no limit of its own.
    #[schema(required)]
    rate: Option<u32>,
    /// `queued` behind another one, `running`, `paused`, `stopped` by a person, or `done`.
    #[schema(value_type = closed_sets::ReplayStatus, example = "running")]
    status: &'static str,
    /// The replay that goes first, while it is `queued`.
    #[schema(value_type = Option<String>, required)]
    waits_for: Option<ReplayId>,
    /// By whom, since when and why it is paused or was stopped.
    #[schema(required)]
    status_reason: Option<ReplayReason>,
    /// How many deliveries it covers. That was decided when it was created.
    #[schema(example = 1240)]
    total: u64,
    /// How many of them had their turn and were made due.
    handed_over: u64,
    /// How many have not had their turn.
    remaining: u64,
    /// How many were made due and are not sent yet.
    waiting: u64,
    /// How many had their turn and could not be sent again.
    passed_over: PassedOverJson,
    /// What the filter meant at its creation besides, and could not be sent again; not part of the total.
    left_out: PassedOverJson,
    /// What came of those that were sent; retries are followed to their end.
    results: ResultsJson,
    /// The last errors of those that are not delivered, each with how many have it.
    #[schema(value_type = std::collections::BTreeMap<String, u64>, example = json!({"http_5xx": 3}))]
    errors: BTreeMap<&'static str, u64>,
    /// The name of the key that started it.
    started_by: String,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ended; null until then.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    ended_at: Option<Timestamp>,
    /// For how long it has run, pauses left out, in milliseconds.
    ran_ms: f64,
    /// When it will be done, if it goes on like this; null where nothing tells.
    #[schema(required)]
    eta: Option<Eta>,
}

/// When a replay will be done.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplayEta)]
pub(crate) struct Eta {
    /// The instant.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Seconds from now.
    seconds: u64,
    /// What it is reckoned from.
    #[schema(example = "1240 sent in 12s")]
    basis: String,
}

/// By whom, since when and why a replay stands still.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReplayReason {
    /// `person` or `us`.
    #[schema(value_type = closed_sets::PausedBy, example = "us")]
    by: &'static str,
    /// `key`, `failures` or `webhook_paused`.
    #[schema(value_type = closed_sets::ReplayCause, example = "failures")]
    cause: &'static str,
    /// The name of the key that paused or stopped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// What was given as reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// The same as a sentence.
    sentence: String,
}

/// How many deliveries could not be sent again, by why.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PassedOver)]
pub(crate) struct PassedOverJson {
    /// They are pending, sending or held: they are still to be sent anyway.
    unfinished: u64,
    /// They are tests.
    tests: u64,
    /// Their webhook is paused.
    webhook_paused: u64,
    /// Their webhook was deleted.
    webhook_deleted: u64,
    /// They are past retention.
    gone: u64,
}

impl From<PassedOver> for PassedOverJson {
    fn from(counts: PassedOver) -> Self {
        let PassedOver { unfinished, tests, webhook_paused, webhook_deleted, gone } = counts;
        Self { unfinished, tests, webhook_paused, webhook_deleted, gone }
    }
}

/// What came of the deliveries that a replay has sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplayResults)]
pub(crate) struct ResultsJson {
    /// Got a 2xx.
    delivered: u64,
    /// Failed, and are tried again by the schedule.
    retrying: u64,
    /// Failed for good.
    failed: u64,
    /// Were cancelled before they could be sent, or tried again.
    cancelled: u64,
}

/// What a replay would do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplayDryRun)]
pub(crate) struct DryRunJson {
    /// Always true: nothing was changed.
    dry_run: bool,
    /// Which deliveries are meant, instants instead of spans.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    filter: BTreeMap<&'static str, String>,
    /// How many deliveries would be sent again: the exact count.
    total: u64,
    /// What the filter means besides, and cannot be sent again.
    left_out: PassedOverJson,
    /// The first 20 of those that would be sent, oldest first.
    deliveries: Vec<DeliveryJson>,
}

impl ReplayJson {
    /// A replay as it stands at `now`; `others` are those of its account that are not over.
    pub(crate) fn new(replay: &Replay, account: &AccountId, others: &[Replay], now: Timestamp) -> Self {
        let waits_for = if replay.running() && replay.remaining() > 0 { replay.waits_for(others) } else { None };
        let [queued, running, paused, stopped, done] = STATUSES;
        let (status, ended_at) = match &replay.state {
            State::Preparing | State::Running if waits_for.is_some() => (queued, None),
            State::Preparing | State::Running => (running, None),
            State::Paused { .. } => (paused, None),
            State::Stopped { at, .. } => (stopped, Some(*at)),
            State::Done { at } => (done, Some(*at)),
        };
        let results = replay.results;
        Self {
            id: replay.id.clone(),
            account: account.clone(),
            webhook_id: replay.filter.webhook.clone(),
            filter: replay.filter.pairs().into_iter().collect(),
            rate: replay.rate,
            status,
            waits_for: waits_for.map(|other| other.id.clone()),
            status_reason: ReplayReason::of(&replay.state),
            total: replay.total,
            handed_over: replay.handed_over,
            remaining: replay.remaining(),
            waiting: replay.waiting(),
            passed_over: replay.passed_over.into(),
            left_out: replay.left_out.into(),
            results: ResultsJson {
                delivered: results.delivered,
                retrying: results.retrying,
                failed: results.failed,
                cancelled: results.cancelled,
            },
            errors: replay.errors.iter().map(|(code, count)| (ErrorCode::as_str(*code), *count)).collect(),
            started_by: replay.by.clone(),
            created_at: replay.created_at,
            ended_at,
            ran_ms: milliseconds(replay.ran_until(now)),
            eta: if status == RUNNING { Eta::of(replay, now) } else { None },
        }
    }
}

impl Eta {
    fn of(replay: &Replay, now: Timestamp) -> Option<Self> {
        let (sent, ran) = (replay.results.sum(), replay.ran_until(now));
        let left = replay.remaining() + replay.waiting();
        let (micros, basis) = if sent >= PACE_MIN {
            let each = u64::try_from(ran.as_micros()).unwrap_or(u64::MAX) / sent;
            let seconds = write_span(Duration::from_secs(ran.as_secs().max(1)));
            (each, format!("{sent} sent in {seconds}"))
        } else {
            let rate = replay.rate?;
            (1_000_000 / u64::from(rate.max(1)), format!("{rate} per second"))
        };
        let span = Duration::from_micros(micros.saturating_mul(left));
        Some(Self { at: now.plus(span), seconds: span.as_secs(), basis })
    }
}

impl ReplayReason {
    fn of(state: &State) -> Option<Self> {
        let (since, cause) = match state {
            State::Preparing | State::Running | State::Done { .. } => return None,
            State::Stopped { at, by } => {
                let sentence = format!("Stopped by key {by}.");
                let key = Some(by.clone());
                let [cause, ..] = Cause::NAMES;
                return Some(Self { by: PERSON, cause, key, reason: None, since: *at, sentence });
            }
            State::Paused { since, cause } => (*since, cause),
        };
        let ours = |sentence| Self { by: US, cause: cause.as_str(), key: None, reason: None, since, sentence };
        Some(match cause {
            Cause::Key { name, reason } => {
                let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                let sentence = format!("Paused by key {name}{why}");
                let (cause, key) = (cause.as_str(), Some(name.clone()));
                Self { by: PERSON, cause, key, reason: reason.clone(), since, sentence }
            }
            Cause::Failures { in_a_row, last } => {
                let last = last.map(|code| format!(", mostly {}", code.as_str())).unwrap_or_default();
                ours(format!("Paused by itself: {in_a_row} attempts in a row have failed{last}."))
            }
            Cause::WebhookPaused => ours("Paused by itself: its webhook is paused. Resume that first.".to_owned()),
        })
    }
}

impl DryRunJson {
    pub(crate) fn new(filter: &domain::filter::DeliveryFilter, coverage: &Coverage) -> Self {
        Self {
            dry_run: true,
            filter: filter.pairs().into_iter().collect(),
            total: coverage.total,
            left_out: coverage.passed_over.into(),
            deliveries: coverage.first.iter().map(|row| DeliveryJson::new(row, Standing::of(row, false))).collect(),
        }
    }
}
