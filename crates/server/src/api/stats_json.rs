//! Figures as the API writes them: of one webhook or account in full, of a list's rows in short.

use std::collections::BTreeMap;

use domain::stats::{Figures, Health, Histogram, Miss, Stats, Window};
use domain::time::{Timestamp, write_span};
use serde::Serialize;
use utoipa::ToSchema;

use super::attempt_json::milliseconds;
use super::closed_sets;

/// What became of deliveries and attempts in a window of time. An end or an attempt counts in the minute in which it
/// ended, once; a delivery that is replayed ends once more. Tests are left out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Stats)]
pub(super) struct StatsJson {
    /// The window that was asked for.
    #[schema(example = "24h")]
    window: String,
    /// The length of a step.
    #[schema(example = "1h")]
    step: String,
    /// When the window starts: it is widened to whole steps.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Deliveries that got a 2xx.
    delivered: u64,
    /// Of those, after at least one retry.
    delivered_after_retry: u64,
    /// Deliveries that failed for good.
    failed: u64,
    /// Deliveries that were cancelled.
    cancelled: u64,
    /// Delivered of delivered and failed, 0 to 1; null if there are none.
    #[schema(required)]
    success: Option<f64>,
    /// Deliveries that are unfinished now, whatever the window: held and pending.
    unfinished: u64,
    /// Unfinished deliveries of webhooks that are paused; retries planned for later are among them.
    held: u64,
    /// Unfinished deliveries of the other webhooks; those being sent are among them.
    pending: u64,
    /// When the oldest unfinished delivery is, or was, due.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    oldest_due_at: Option<Timestamp>,
    /// Attempts that were made.
    attempts: u64,
    /// Of those, the ones that got a 2xx.
    attempts_succeeded: u64,
    /// Why the others did not: most frequent first.
    errors: Vec<ErrorFigures>,
    /// How long receivers took to answer, over the attempts that got an answer.
    latency: LatencyJson,
    /// When the last attempt in the window ended.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_attempt_at: Option<Timestamp>,
    /// When the last attempt in the window that got a 2xx ended.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_delivered_at: Option<Timestamp>,
    /// How a webhook fares: `healthy`, `degraded` (less than 95 % of what ended in the last hour was delivered), `failing`
    /// (no 2xx in the last ten attempts or more) or `no_traffic` (no attempt in 24 h). Not of an account.
    #[schema(value_type = Option<closed_sets::StatsHealth>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<&'static str>,
    /// When the receiver's certificate ends, as it was shown to this process at the last handshake; null if none was. Not of
    /// an account.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_ends_at: Option<Option<Timestamp>>,
    /// Every step, oldest first; the last one is still going on.
    buckets: Vec<BucketJson>,
}

/// Attempts that missed, by why.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorFigures {
    /// The error, in the words of an attempt's.
    #[schema(value_type = closed_sets::ErrorCode, example = "http_5xx")]
    code: &'static str,
    /// The status code of `http_3xx`, `http_4xx` and `http_5xx`.
    #[schema(example = 503, required)]
    status_code: Option<u16>,
    /// How many attempts.
    attempts: u64,
    /// The start of the first step that has one.
    #[schema(value_type = String, format = DateTime)]
    first_in: Timestamp,
    /// The start of the last step that has one.
    #[schema(value_type = String, format = DateTime)]
    last_in: Timestamp,
}

/// Percentiles of how long receivers took, in milliseconds, to within 1/32 of themselves; null if nothing was answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Latency)]
pub(super) struct LatencyJson {
    /// Half of the answers came within this.
    #[schema(required)]
    p50: Option<f64>,
    /// 95 % of them.
    #[schema(required)]
    p95: Option<f64>,
    /// 99 % of them.
    #[schema(required)]
    p99: Option<f64>,
}

/// One step of a window.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatsBucket)]
pub(super) struct BucketJson {
    /// When it starts.
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    /// Deliveries that got a 2xx.
    delivered: u64,
    /// Of those, after at least one retry.
    delivered_after_retry: u64,
    /// Deliveries that failed for good.
    failed: u64,
    /// Deliveries that were cancelled.
    cancelled: u64,
    /// Attempts that were made.
    attempts: u64,
    /// Half of the answers came within so many milliseconds.
    #[schema(required)]
    p50: Option<f64>,
    /// 95 % of them.
    #[schema(required)]
    p95: Option<f64>,
}

/// What a row of the list of webhooks shows of its figures.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatsInShort)]
pub(super) struct ShortStats {
    /// The window that was asked for.
    #[schema(example = "24h")]
    window: String,
    /// The length of a step.
    #[schema(example = "1h")]
    step: String,
    /// Deliveries that got a 2xx.
    delivered: u64,
    /// Deliveries that failed for good.
    failed: u64,
    /// Delivered of delivered and failed, 0 to 1; null if there are none.
    #[schema(required)]
    success: Option<f64>,
    /// Unfinished deliveries, if the webhook is paused.
    held: u64,
    /// Unfinished deliveries, if it is not.
    pending: u64,
    /// `healthy`, `degraded`, `failing` or `no_traffic`, as in a webhook's figures.
    #[schema(value_type = closed_sets::StatsHealth, example = "healthy")]
    health: &'static str,
    /// When the last attempt in the window ended.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_attempt_at: Option<Timestamp>,
    /// When the last attempt in the window that got a 2xx ended.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_delivered_at: Option<Timestamp>,
    /// Every step, oldest first.
    buckets: Vec<ShortBucket>,
}

/// One step of a row's figures.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatsBucketInShort)]
pub(super) struct ShortBucket {
    /// When it starts.
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    /// Deliveries that got a 2xx.
    delivered: u64,
    /// Deliveries that failed for good.
    failed: u64,
}

/// Every step of a window, with its figures.
fn steps<'a>(window: &Window, stats: &'a Stats) -> impl Iterator<Item = (Timestamp, Option<&'a Figures>)> {
    let mut buckets = stats.buckets.iter().peekable();
    window
        .starts()
        .map(move |start| (start, buckets.next_if(|bucket| bucket.start == start).map(|found| &found.figures)))
}

fn percentile(histogram: &Histogram, percent: u8) -> Option<f64> {
    histogram.percentile(percent).map(milliseconds)
}

fn errors(stats: &Stats) -> Vec<ErrorFigures> {
    let mut found: BTreeMap<Miss, ErrorFigures> = BTreeMap::new();
    for bucket in &stats.buckets {
        for (miss, number) in &bucket.figures.misses {
            let error = found.entry(*miss).or_insert(ErrorFigures {
                code: miss.code.as_str(),
                status_code: miss.status,
                attempts: 0,
                first_in: bucket.start,
                last_in: bucket.start,
            });
            error.attempts += number;
            error.last_in = bucket.start;
        }
    }
    let mut errors: Vec<_> = found.into_values().collect();
    errors.sort_by_key(|error| std::cmp::Reverse(error.attempts));
    errors
}

/// What is said of a webhook beside its figures.
pub(super) struct Standing {
    pub(super) health: Health,
    pub(super) certificate_ends_at: Option<Timestamp>,
}

impl StatsJson {
    /// Figures of a webhook, with how it stands; of an account without.
    pub(super) fn new(asked: std::time::Duration, window: &Window, stats: &Stats, standing: Option<&Standing>) -> Self {
        let total = stats.total();
        let empty = Figures::default();
        let bucket = |(start, figures): (Timestamp, Option<&Figures>)| {
            let figures = figures.unwrap_or(&empty);
            BucketJson {
                start,
                delivered: figures.delivered,
                delivered_after_retry: figures.delivered_after_retry,
                failed: figures.failed,
                cancelled: figures.cancelled,
                attempts: figures.attempts(),
                p50: percentile(&figures.latency, 50),
                p95: percentile(&figures.latency, 95),
            }
        };
        Self {
            window: write_span(asked),
            step: write_span(window.step.span()),
            since: window.since(),
            delivered: total.delivered,
            delivered_after_retry: total.delivered_after_retry,
            failed: total.failed,
            cancelled: total.cancelled,
            success: total.success(),
            unfinished: stats.held + stats.pending,
            held: stats.held,
            pending: stats.pending,
            oldest_due_at: stats.oldest_due,
            attempts: total.attempts(),
            attempts_succeeded: total.succeeded,
            errors: errors(stats),
            latency: LatencyJson {
                p50: percentile(&total.latency, 50),
                p95: percentile(&total.latency, 95),
                p99: percentile(&total.latency, 99),
            },
            last_attempt_at: total.last_attempt_at,
            last_delivered_at: total.last_success_at,
            health: standing.map(|standing| standing.health.as_str()),
            certificate_ends_at: standing.map(|standing| standing.certificate_ends_at),
            buckets: steps(window, stats).map(bucket).collect(),
        }
    }
}

impl ShortStats {
    pub(super) fn new(asked: std::time::Duration, window: &Window, stats: &Stats, health: Health) -> Self {
        let total = stats.total();
        let bucket = |(start, figures): (Timestamp, Option<&Figures>)| ShortBucket {
            start,
            delivered: figures.map_or(0, |figures| figures.delivered),
            failed: figures.map_or(0, |figures| figures.failed),
        };
        Self {
            window: write_span(asked),
            step: write_span(window.step.span()),
            delivered: total.delivered,
            failed: total.failed,
            success: total.success(),
            held: stats.held,
            pending: stats.pending,
            health: health.as_str(),
            last_attempt_at: total.last_attempt_at,
            last_delivered_at: total.last_success_at,
            buckets: steps(window, stats).map(bucket).collect(),
        }
    }
}
