//! A line for each attempt, as they are recorded.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::attempt::Attempt;
use domain::delivery::{Next, Settlement};
use domain::directory::SharedDirectory;
use domain::event::Event;
use domain::id::{DeliveryId, EventId};
use domain::store::{Fact, Store};
use domain::time::Timestamp;
use serde_json::{Value, json};

use crate::inbox::{Inbox, Verdict};
use crate::output::{Console, Tone, span, visible};

/// How many events are remembered for the lines of their attempts.
const EVENTS_MAX: usize = 10_000;

/// What an attempt's line needs to know of its event.
#[derive(Debug, Clone)]
struct Known {
    event_type: Arc<str>,
    timestamp: Timestamp,
}

impl From<&Event> for Known {
    fn from(event: &Event) -> Self {
        Self { event_type: Arc::clone(&event.event_type), timestamp: event.timestamp }
    }
}

/// Turns facts into lines.
pub(super) struct Lines {
    store: Arc<dyn Store>,
    directory: SharedDirectory,
    inbox: Arc<Inbox>,
    known: HashMap<EventId, Known>,
    order: VecDeque<EventId>,
}

impl Lines {
    pub(super) fn new(store: Arc<dyn Store>, directory: SharedDirectory, inbox: Arc<Inbox>) -> Self {
        Self { store, directory, inbox, known: HashMap::new(), order: VecDeque::new() }
    }

    /// Says what the fact means, if it is the end of an attempt; the delivery that has ended, if one has.
    pub(super) async fn say(&mut self, fact: &Fact, console: &Console) -> Option<DeliveryId> {
        match fact {
            Fact::Accepted { event, .. } => self.remember(event),
            Fact::Settled(settlement) => {
                if let Some(attempt) = &settlement.attempt {
                    self.say_attempt(settlement, attempt, console).await;
                }
                return (!matches!(settlement.next, Next::Retry { .. })).then_some(settlement.delivery);
            }
            Fact::Webhook(_)
            | Fact::Resumed { .. }
            | Fact::WebhookDeleted { .. }
            | Fact::Replayed(_)
            | Fact::BulkReplay(_)
            | Fact::Cancelled { .. } => {}
        }
        None
    }

    fn remember(&mut self, event: &Event) {
        if self.order.len() == EVENTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        if self.known.insert(event.id, event.into()).is_none() {
            self.order.push_back(event.id);
        }
    }

    async fn say_attempt(&mut self, settlement: &Settlement, attempt: &Attempt, console: &Console) {
        let id = settlement.delivery.event;
        let webhook = self.directory.read().webhook_numbered(settlement.webhook).cloned();
        if let Some(webhook) = &webhook
            && !self.known.contains_key(&id)
        {
            // An event of an earlier run.
            for event in self.store.load(vec![(webhook.account, id)]).await.unwrap_or_default() {
                self.remember(&event);
            }
        }
        let Some(known) = self.known.get(&id) else { return };
        let name = webhook.map(|webhook| webhook.name.clone());
        let verdict = self.inbox.verdict(&settlement.delivery.to_string(), attempt.number);
        let line = Line { settlement, attempt, known, webhook: &name.unwrap_or_default(), verdict };
        if console.json() { console.value(&line.json()) } else { console.line(&line.text(console)) }
    }
}

/// One attempt, with what its line says.
struct Line<'a> {
    settlement: &'a Settlement,
    attempt: &'a Attempt,
    known: &'a Known,
    webhook: &'a str,
    verdict: Option<Verdict>,
}

impl Line<'_> {
    fn outcome(&self) -> String {
        match (self.attempt.status_code(), &self.attempt.failure) {
            (Some(code), _) => code.to_string(),
            (None, Some(failure)) => failure.code.as_str().to_owned(),
            (None, None) => "–".to_owned(),
        }
    }

    fn text(&self, console: &Console) -> String {
        let (icon, tone) = if self.attempt.failure.is_none() { ("✓", Tone::Ok) } else { ("✕", Tone::Bad) };
        format!(
            "  {}  {} {} {:>6}  {}  → {:<12}  attempt {}   {}",
            span::time_of_day(self.attempt.started_at),
            console.tone(tone, icon),
            self.outcome(),
            span::spoken(self.attempt.duration),
            self.known.event_type,
            visible(self.webhook),
            self.attempt.number,
            self.note(),
        )
        .trim_end()
        .to_owned()
    }

    /// What comes of it: the inbox's verdict, the next attempt, or the end.
    fn note(&self) -> String {
        match self.settlement.next {
            Next::Retry { .. } if self.attempt.status_code() == Some(410) => "410 Gone pauses the webhook".to_owned(),
            // From the end of the attempt, as the schedule counts.
            Next::Retry { due_at, .. } => format!("next in {}", span::ahead(due_at.since(self.attempt.ended_at()))),
            Next::Failed => format!("failed for good after {}", self.since_accepted()),
            Next::Delivered if self.bad_signature() || self.attempt.number == 1 => {
                self.verdict.map_or(String::new(), |verdict| verdict.said().to_owned())
            }
            Next::Delivered => format!("delivered after {}", self.since_accepted()),
        }
    }

    fn bad_signature(&self) -> bool {
        self.verdict.is_some_and(|verdict| !verdict.fits())
    }

    fn since_accepted(&self) -> String {
        let span = self.attempt.ended_at().since(self.known.timestamp);
        span::spoken(Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    fn json(&self) -> Value {
        let (status, next) = match self.settlement.next {
            Next::Retry { due_at, .. } => ("pending", Some(due_at)),
            Next::Failed => ("failed", None),
            Next::Delivered => ("delivered", None),
        };
        json!({
            "type": "attempt", "started_at": self.attempt.started_at, "event": &*self.known.event_type,
            "event_id": self.settlement.delivery.event, "delivery_id": self.settlement.delivery, "webhook": self.webhook,
            "number": self.attempt.number, "status_code": self.attempt.status_code(),
            "error": self.attempt.failure.as_ref().map(|failure| failure.code.as_str()),
            "duration_ms": u64::try_from(self.attempt.duration.as_millis()).unwrap_or(u64::MAX),
            "signature": self.verdict, "status": status, "next_attempt_at": next,
        })
    }
}
