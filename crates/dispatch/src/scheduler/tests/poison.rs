//! A delivery whose handling panics: a failed attempt that is recorded and tried again, and a slot that is free. And one for which
//! this machine had nothing left: no attempt at all.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use domain::attempt::{ErrorCode, Outcome};
use domain::delivery::Next;
use domain::in_flight::InFlight;
use domain::policy::Policy;
use domain::time::{Clock, Timestamp};
use domain::trace::{Span, SpanName, TraceParent, Tracer};
use domain::transport::{Outgoing, Transport, Untried};
use futures_util::FutureExt as _;

use super::{Bench, Input};
use crate::sender::Maker;

struct Panics;

#[async_trait]
impl Transport for Panics {
    async fn send(&self, request: Outgoing) -> Result<Outcome, Untried> {
        panic!("nobody can send to {}", request.url)
    }
}

struct Short;

#[async_trait]
impl Transport for Short {
    async fn send(&self, _: Outgoing) -> Result<Outcome, Untried> {
        Err(Untried("Too many open files (os error 24)".to_owned()))
    }
}

struct Still(Timestamp);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }
}

#[derive(Default)]
struct Spans(Mutex<Vec<Span>>);

impl Tracer for Spans {
    fn ended(&self, span: Span) {
        self.0.lock().expect("no panic before").push(span);
    }
}

#[test]
fn a_panic_is_a_recorded_failed_attempt_and_never_a_lost_slot() {
    let mut bench = Bench::new(Policy::default());
    bench.webhook(1, 1, |_| {});
    bench.event(vec![1], false);
    let start = bench.starts.last().cloned().expect("it starts at once");
    let mut event = start.event.as_deref().cloned().expect("it is in memory");
    event.trace = TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let spans = Arc::<Spans>::default();
    let maker = Maker {
        policy: Arc::<Policy>::default(),
        transport: Arc::new(Panics),
        clock: Arc::new(Still(bench.now)),
        in_flight: InFlight::default(),
        tracer: Some(spans.clone()),
    };
    let ended = maker.make(&start, &event).now_or_never().expect("a panic takes no time").expect("an attempt");
    assert_eq!(bench.scheduler.in_flight(), 1);
    bench.take(Input::Ended(Box::new(ended)));
    let settlement = bench.settlements.last().cloned().expect("it is recorded");
    let attempt = settlement.attempt.as_ref().expect("an attempt");
    assert_eq!(attempt.failure.as_ref().map(|failure| failure.code), Some(ErrorCode::BadHttp));
    assert!(matches!(settlement.next, Next::Retry { retries_made: 1, .. }), "{:?}", settlement.next);
    bench.take(Input::Fact(domain::store::Fact::Settled(Arc::new(settlement))));
    assert_eq!(bench.scheduler.in_flight(), 0);
    let spans = spans.0.lock().expect("no panic before");
    assert_eq!((spans[0].name, spans[0].trace, spans[0].error), (SpanName::Attempt, event.trace, Some("bad_http")));
}

#[test]
fn what_could_not_be_tried_is_no_attempt_and_is_tried_again() {
    let mut bench = Bench::new(Policy { jitter: 0.0, ..Policy::default() });
    bench.webhook(1, 1, |_| {});
    bench.event(vec![1], false);
    let start = bench.next_start().expect("it starts at once");
    let event = start.event.clone().expect("it is in memory");
    let (spans, in_flight) = (Arc::<Spans>::default(), InFlight::default());
    let maker = Maker {
        policy: Arc::<Policy>::default(),
        transport: Arc::new(Short),
        clock: Arc::new(Still(bench.now)),
        in_flight: in_flight.clone(),
        tracer: Some(spans.clone()),
    };
    let made = maker.make(&start, &event).now_or_never().expect("it takes no time");
    assert!(made.is_none(), "{made:?}");
    assert_eq!((in_flight.count(), spans.0.lock().expect("no panic before").len()), (0, 0));
    bench.take(Input::Unmade { delivery: start.due.delivery, epoch: start.epoch });
    assert_eq!(
        (bench.scheduler.in_flight(), bench.settlements.len()),
        (0, 0),
        "nothing is recorded, and the slot is free"
    );
    assert_eq!(bench.next_start().expect("it is tried again").due, start.due);
}
