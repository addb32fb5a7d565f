//! The figures at `/metrics`: counted from what is committed, and from the answers that go out.

use std::sync::atomic::AtomicU64;

use domain::attempt::{Attempt, ErrorCode};
use domain::delivery::Next;
use domain::store::Fact;
use http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds of the histogram of attempts, in seconds; the page's deadline is one of them.
const DURATIONS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    /// `success`, or the error's code.
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct End {
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    /// A problem's code: one of those in the code, never a text that came.
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    class: &'static str,
}

/// The figures.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    events: Counter,
    deliveries: Counter,
    attempts: Family<Outcome, Counter>,
    durations: Histogram,
    ends: Family<End, Counter>,
    replays: Counter,
    answers: [Counter; 5],
    in_flight: Gauge,
    behind: Gauge<f64, AtomicU64>,
    webhooks: Gauge,
    paused: Gauge,
    failing: Gauge,
    accounts: Gauge,
    stopped: Gauge,
    refused: Family<Refusal, Counter>,
}

/// What is measured when somebody asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// Deliveries in flight.
    pub(crate) in_flight: usize,
    /// How late the oldest delivery that is due is, in seconds.
    pub(crate) behind: f64,
    /// Webhooks.
    pub(crate) webhooks: usize,
    /// Webhooks that are paused.
    pub(crate) paused: usize,
    /// Webhooks of which every attempt fails.
    pub(crate) failing: usize,
    /// Accounts.
    pub(crate) accounts: usize,
    /// Whether sending has stopped.
    pub(crate) stopped: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("posthaste");
        let events = Counter::default();
        registry.register("events_accepted", "Events accepted", events.clone());
        let deliveries = Counter::default();
        registry.register("deliveries_created", "Deliveries of accepted events", deliveries.clone());
        let attempts = Family::<Outcome, Counter>::default();
        registry.register("attempts", "Attempts by outcome: success, or the error's code", attempts.clone());
        let durations = Histogram::new(DURATIONS);
        registry.register("attempt_duration_seconds", "How long attempts took", durations.clone());
        let ends = Family::<End, Counter>::default();
        registry.register("deliveries_ended", "Deliveries that ended, by status", ends.clone());
        let replays = Counter::default();
        registry.register("deliveries_replayed", "Deliveries sent again by hand", replays.clone());
        let by_class = Family::<Class, Counter>::default();
        registry.register("http_answers", "Answers of the API by class of status", by_class.clone());
        // Looked up once, so that counting an answer needs no look-up.
        let answers = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|class| by_class.get_or_create_owned(&Class { class }));
        let in_flight = Gauge::default();
        registry.register("in_flight", "Deliveries being sent", in_flight.clone());
        let behind = Gauge::<f64, AtomicU64>::default();
        registry.register("oldest_due_seconds", "How late the oldest due delivery is", behind.clone());
        let webhooks = Gauge::default();
        registry.register("webhooks", "Webhooks", webhooks.clone());
        let paused = Gauge::default();
        registry.register("webhooks_paused", "Webhooks that are paused", paused.clone());
        let failing = Gauge::default();
        registry.register("webhooks_failing", "Webhooks of which every attempt fails", failing.clone());
        let accounts = Gauge::default();
        registry.register("accounts", "Accounts", accounts.clone());
        let stopped = Gauge::default();
        registry.register("sending_stopped", "1 while the watchdog sees that sending has stopped", stopped.clone());
        let refused = Family::<Refusal, Counter>::default();
        registry.register("events_refused", "Events refused, by the problem's code", refused.clone());
        Self {
            registry,
            events,
            deliveries,
            attempts,
            durations,
            ends,
            replays,
            answers,
            in_flight,
            behind,
            webhooks,
            paused,
            failing,
            accounts,
            stopped,
            refused,
        }
    }
}

impl Metrics {
    /// Counts a committed fact.
    pub(crate) fn observe(&self, fact: &Fact) {
        match fact {
            Fact::Accepted { event, .. } => {
                self.events.inc();
                self.deliveries.inc_by(event.targets.len() as u64);
            }
            Fact::Replayed(_) => {
                self.replays.inc();
            }
            Fact::Cancelled { .. } => self.ended("cancelled"),
            Fact::Settled(settlement) => {
                if let Some(attempt) = &settlement.attempt {
                    self.attempt(attempt);
                }
                match settlement.next {
                    Next::Delivered => self.ended("delivered"),
                    Next::Failed => self.ended("failed"),
                    Next::Retry { .. } => {}
                }
            }
            Fact::BulkReplay(_) | Fact::Webhook(_) | Fact::Resumed { .. } | Fact::WebhookDeleted { .. } => {}
        }
    }

    /// Counts an event that was refused.
    pub(crate) fn refused(&self, code: &'static str) {
        self.refused.get_or_create(&Refusal { code }).inc();
    }

    /// Counts an answer of the API.
    pub(crate) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self.answers.get(class) {
            counter.inc();
        }
    }

    fn attempt(&self, attempt: &Attempt) {
        let outcome = attempt.failure.as_ref().map_or("success", |failure| ErrorCode::as_str(failure.code));
        self.attempts.get_or_create(&Outcome { outcome }).inc();
        self.durations.observe(attempt.duration.as_secs_f64());
    }

    fn ended(&self, status: &'static str) {
        self.ends.get_or_create(&End { status }).inc();
    }

    /// All figures in the text format of OpenMetrics.
    #[expect(clippy::cast_possible_wrap, reason = "counts of things in memory are far below 2^63")]
    pub(crate) fn write(&self, now: Now, others: &Registry) -> String {
        self.in_flight.set(now.in_flight as i64);
        self.behind.set(now.behind);
        self.webhooks.set(now.webhooks as i64);
        self.paused.set(now.paused as i64);
        self.failing.set(now.failing as i64);
        self.accounts.set(now.accounts as i64);
        self.stopped.set(now.stopped.into());
        let mut out = String::new();
        text::encode_registry(&mut out, &self.registry)
            .and_then(|()| text::encode_registry(&mut out, others))
            .and_then(|()| text::encode_eof(&mut out))
            .expect("writing to memory does not fail");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_written() {
        let metrics = Metrics::default();
        metrics.observe(&Fact::WebhookDeleted { webhook: 1 });
        metrics.answered(StatusCode::ACCEPTED);
        metrics.answered(StatusCode::NOT_FOUND);
        metrics.answered(StatusCode::NOT_FOUND);
        metrics.ended("delivered");
        let now = Now { in_flight: 3, behind: 1.5, webhooks: 2, paused: 1, failing: 0, accounts: 1, stopped: false };
        metrics.refused("data_too_large");
        let text = metrics.write(now, &Registry::default());
        for line in [
            "posthaste_http_answers_total{class=\"2xx\"} 1",
            "posthaste_http_answers_total{class=\"4xx\"} 2",
            "posthaste_deliveries_ended_total{status=\"delivered\"} 1",
            "posthaste_events_accepted_total 0",
            "posthaste_in_flight 3",
            "posthaste_oldest_due_seconds 1.5",
            "posthaste_webhooks_paused 1",
            "posthaste_sending_stopped 0",
            "posthaste_events_refused_total{code=\"data_too_large\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
