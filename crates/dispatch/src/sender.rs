//! One attempt: the request is built and signed, sent, and its outcome reported.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use domain::attempt::{ErrorCode, Failure, Outcome, Timing};
use domain::event::Event;
use domain::in_flight::InFlight;
use domain::policy::Policy;
use domain::retry::failure;
use domain::signature::{SentRequest, ToSign, body};
use domain::time::{Clock, Timestamp};
use domain::trace::{Span, SpanName, Tracer};
use domain::transport::{Outgoing, Transport};
use futures_util::FutureExt as _;

use crate::loader::{Loader, Unread};
use crate::scheduler::{Ended, Input, Start};

/// For how long an attempt that this machine had nothing left for keeps its slot.
const UNMADE_HELD_FOR: Duration = Duration::from_millis(250);

/// Makes attempts of deliveries whose events may have to be loaded first.
pub(crate) struct Sender {
    pub(crate) loader: Loader,
    pub(crate) maker: Maker,
}

/// What every attempt needs.
pub(crate) struct Maker {
    pub(crate) policy: Arc<Policy>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) in_flight: InFlight,
    pub(crate) tracer: Option<Arc<dyn Tracer>>,
}

impl Sender {
    /// Makes the attempt and says what came of it.
    pub(crate) async fn attempt(&self, start: Start) -> Input {
        let delivery = start.due.delivery;
        let event = match start.event.clone() {
            Some(event) => Ok(Some(event)),
            None => self.loader.load(start.webhook.account, delivery.event).await,
        };
        match event {
            Ok(Some(event)) => match self.maker.make(&start, &event).await {
                Some(ended) => Input::Ended(Box::new(ended)),
                None => {
                    // The slot is held meanwhile, so that what else is due is not tried all at once, to no avail.
                    tokio::time::sleep(UNMADE_HELD_FOR).await;
                    Input::Unmade { delivery, epoch: start.epoch }
                }
            },
            Ok(None) => Input::Gone { delivery, epoch: start.epoch },
            Err(Unread) => Input::Unmade { delivery, epoch: start.epoch },
        }
    }
}

impl Maker {
    /// Makes the attempt, whatever happens meanwhile: its end is an outcome. `None` if this machine had nothing left to make it with.
    pub(crate) async fn make(&self, start: &Start, event: &Event) -> Option<Ended> {
        let delivery = start.due.delivery;
        let started_at = self.clock.now();
        self.in_flight.started(delivery, start.due.attempts_made.saturating_add(1));
        // A panic while handling a delivery is a failed attempt of that delivery, never a lost slot.
        let built =
            std::panic::catch_unwind(AssertUnwindSafe(|| build_request(&self.policy, start, event, started_at)));
        let (request, outcome) = match built {
            Ok((outgoing, request)) => {
                let sent = AssertUnwindSafe(self.transport.send(outgoing)).catch_unwind().await;
                let Ok(outcome) = sent.unwrap_or_else(|_| Ok(panicked())) else {
                    self.in_flight.ended(delivery);
                    return None;
                };
                (request, outcome)
            }
            Err(_) => (unsent(&self.policy, start, started_at), panicked()),
        };
        if let Some(tracer) = &self.tracer {
            tracer.ended(span(start, event, started_at, &outcome));
        }
        Some(Ended { delivery, request, started_at, outcome, epoch: start.epoch })
    }
}

fn span(start: &Start, event: &Event, started_at: Timestamp, outcome: &Outcome) -> Span {
    let mut attributes = vec![
        ("posthaste.delivery", start.due.delivery.to_string()),
        ("posthaste.webhook", start.webhook.id.to_string()),
        ("posthaste.event_type", event.event_type.to_string()),
        ("posthaste.attempt", start.number().to_string()),
    ];
    if let Ok(answer) = &outcome.result {
        attributes.push(("http.response.status_code", answer.status.to_string()));
    }
    Span {
        name: SpanName::Attempt,
        trace: event.trace,
        started_at,
        ended_at: started_at.plus(outcome.duration),
        attributes,
        error: failure(outcome).map(|failure| failure.code.as_str()),
    }
}

/// What is kept of a request that could not be built.
fn unsent(policy: &Policy, start: &Start, now: Timestamp) -> SentRequest {
    SentRequest {
        url: start.webhook.url.as_str().to_owned(),
        prefix: policy.brand.header_prefix.clone(),
        user_agent: policy.brand.user_agent.clone(),
        signed_at: now.seconds(),
        signature: [0; 32],
        standard: Vec::new(),
        ed25519: Vec::new(),
        custom: Vec::new(),
    }
}

fn panicked() -> Outcome {
    tracing::error!("a panic while sending: the attempt counts as failed");
    Outcome {
        result: Err(Failure { code: ErrorCode::BadHttp, detail: "our own fault while reading the answer".to_owned() }),
        remote_address: None,
        timing: Timing::default(),
        duration: Duration::ZERO,
    }
}

/// The request of an attempt as it goes out, and what is kept of it.
#[must_use]
pub fn build_request(policy: &Policy, start: &Start, event: &Event, now: Timestamp) -> (Outgoing, SentRequest) {
    let webhook = &start.webhook;
    let delivery = start.due.delivery;
    let body = body(&event.event_type, &webhook.id, event.timestamp, &event.data);
    let custom: Vec<String> = webhook.headers.names().map(str::to_owned).collect();
    let request = SentRequest::sign(&ToSign {
        delivery,
        body: &body,
        now,
        secrets: &webhook.secrets,
        url: webhook.url.as_str(),
        brand: &policy.brand,
        custom: &custom,
    });
    let mut headers = request.headers(&event.event_type, delivery, start.number());
    headers.extend_from_slice(webhook.headers.pairs());
    let outgoing = Outgoing {
        url: Arc::clone(&webhook.url),
        headers,
        body,
        timeout: webhook.timeout(policy),
        http2: webhook.http2,
    };
    (outgoing, request)
}
