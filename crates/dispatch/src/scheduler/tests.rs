//! The scheduler by itself: facts and outcomes in, starts and settlements out, time as an argument.

use std::sync::Arc;
use std::time::Duration;

use domain::attempt::{Answer, ErrorCode, Failure, Outcome, Reason, Timing};
use domain::delivery::{Due, Next, Settlement};
use domain::endpoint_url::EndpointUrl;
use domain::event::Event;
use domain::event_filter::EventFilter;
use domain::id::{DeliveryId, EventId};
use domain::key::Account;
use domain::policy::Policy;
use domain::secret::SigningSecret;
use domain::shard::{Epoch, Shard};
use domain::store::Fact;
use domain::time::Timestamp;
use domain::webhook::{Pause, PauseCause, Webhook};

use super::{Bounds, Ended, Input, Output, Scheduler, Start, with_keys};
use crate::sender::build_request;

mod clock;
mod held;
mod order_over_nodes;
mod ordering;
mod poison;
mod politeness;
mod shards;

const START: Timestamp = Timestamp(1_795_464_000_000_000);

/// A scheduler, its clock, and what it has asked for.
struct Bench {
    scheduler: Scheduler,
    policy: Arc<Policy>,
    now: Timestamp,
    starts: Vec<Start>,
    settlements: Vec<Settlement>,
    pauses: Vec<(u32, PauseCause)>,
    /// Webhooks of which everything held has been started.
    held_sent: Vec<u32>,
    /// Shards that have come to rest.
    quiet: Vec<Shard>,
    /// Attempts that ended after their shard was lost.
    dropped: Vec<DeliveryId>,
    /// Webhooks whose receivers are to be left alone, and until when.
    left_alone: Vec<(u32, Timestamp)>,
    loads: usize,
    events: i64,
    /// What the store would hold for later.
    on_disk: Vec<Due>,
    /// The events that the store would have, oldest first.
    kept: Vec<Arc<Event>>,
}

impl Bench {
    fn new(policy: Policy) -> Self {
        Self::with_bounds(policy, Bounds::default())
    }

    fn with_bounds(policy: Policy, bounds: Bounds) -> Self {
        let policy = Arc::new(policy);
        let mut bench = Self {
            scheduler: Scheduler::new(Arc::clone(&policy), 7, START).with_bounds(bounds),
            policy,
            now: START,
            starts: Vec::new(),
            settlements: Vec::new(),
            pauses: Vec::new(),
            held_sent: Vec::new(),
            quiet: Vec::new(),
            dropped: Vec::new(),
            left_alone: Vec::new(),
            loads: 0,
            events: 0,
            on_disk: Vec::new(),
            kept: Vec::new(),
        };
        bench.take(Input::Tick);
        bench
    }

    fn take(&mut self, input: Input) {
        for output in self.scheduler.step(self.now, input) {
            match output {
                Output::Start(start) => self.starts.push(start),
                Output::Settle(settlement) => self.settlements.push(*settlement),
                Output::LoadDue(load) => {
                    self.loads += 1;
                    let mut rows = self.on_disk.clone();
                    rows.retain(|due| Some((due.due_at, due.delivery)) > load.after && due.due_at < load.until);
                    rows.sort_by_key(|due| (due.due_at, due.delivery));
                    rows.truncate(load.limit);
                    self.take(Input::Due(rows));
                }
                Output::LoadArrivals(load) => {
                    let mut rows = self.on_disk.clone();
                    rows.retain(|due| Some((due.due_at, due.delivery)) > load.after && due.due_at < load.until);
                    rows.sort_by_key(|due| (due.due_at, due.delivery));
                    rows.truncate(load.limit);
                    self.take(Input::Arrivals(Some(rows)));
                }
                Output::LoadNamed(arrivals) => {
                    let named = |due: &&Due| arrivals.iter().any(|arrival| arrival.delivery == due.delivery);
                    let rows = self.on_disk.iter().filter(named).copied().collect();
                    self.take(Input::Named(Some(rows)));
                }
                Output::LoadBacklog { webhook, load, after, until, limit, order } => {
                    let mut rows = self.on_disk.clone();
                    rows.retain(|due| due.webhook == webhook && due.due_at < until && Some(due.delivery) > after);
                    rows.sort_by_key(|due| due.delivery);
                    rows.truncate(limit);
                    let rows = with_keys(rows, &self.kept, order.as_ref());
                    self.take(Input::Backlog { webhook, load, rows: Some(rows) });
                }
                Output::Failing { .. } | Output::HandOver { .. } | Output::PauseReplay { .. } => {}
                Output::LeaveAlone { webhook, until } => self.left_alone.push((webhook, until)),
                Output::Quiet(shards) => self.quiet.extend(shards),
                Output::Dropped(delivery) => self.dropped.push(delivery),
                Output::HeldSent { webhook, .. } => self.held_sent.push(webhook),
                Output::Pause { webhook, cause } => self.pauses.push((webhook, cause)),
            }
        }
    }

    fn webhook(&mut self, number: u32, account: u32, change: impl FnOnce(&mut Webhook)) -> Arc<Webhook> {
        let mut webhook = webhook(number, account);
        change(&mut webhook);
        let webhook = Arc::new(webhook);
        self.take(Input::Fact(Fact::Webhook(Arc::clone(&webhook))));
        webhook
    }

    fn event(&mut self, targets: Vec<u32>, test: bool) -> EventId {
        let on_disk = vec![false; targets.len()];
        self.accept(targets, test, "{}", on_disk)
    }

    fn accept(&mut self, targets: Vec<u32>, test: bool, data: &str, on_disk: Vec<bool>) -> EventId {
        self.events += 1;
        let id = EventId::first_at(self.now.0 - 1_000_000 + self.events);
        let event = event(id, targets);
        let event = Arc::new(Event { timestamp: self.now, data: data.to_owned().into(), test, ..event });
        self.kept.push(Arc::clone(&event));
        for ((place, webhook), _) in (0u16..).zip(&event.targets).zip(&on_disk).filter(|(_, on_disk)| **on_disk) {
            self.on_disk.push(Due {
                delivery: DeliveryId { event: id, place },
                webhook: *webhook,
                due_at: self.now,
                attempts_made: 0,
                retries_made: 0,
                reason: Reason::First,
            });
        }
        self.take(Input::Fact(Fact::Accepted { event, on_disk }));
        id
    }

    /// Ends the attempt that was started last but `back`, after `took`.
    fn end(&mut self, start: &Start, outcome: Outcome) {
        let ended = ended(&self.policy, start, self.now, outcome);
        self.now = self.now.plus(ended.outcome.duration);
        self.take(Input::Ended(Box::new(ended)));
    }

    /// Records everything that has ended.
    fn record(&mut self) -> Vec<Settlement> {
        let settled = std::mem::take(&mut self.settlements);
        for settlement in &settled {
            let Settlement { delivery, webhook, attempt, next, .. } = settlement.clone();
            let before = self.on_disk.extract_if(.., |due| due.delivery == delivery).next();
            if let Next::Retry { due_at, retries_made, reason } = next {
                let attempts_made = attempt.map_or(before.map_or(0, |due| due.attempts_made), |attempt| attempt.number);
                self.on_disk.push(Due { delivery, webhook, due_at, attempts_made, retries_made, reason });
            }
            self.take(Input::Fact(Fact::Settled(Arc::new(settlement.clone()))));
        }
        settled
    }

    /// The process dies, and starts again with what is on disk, and with these events in memory only.
    fn restart(&mut self, webhooks: &[Arc<Webhook>], fresh: Vec<Arc<Event>>, bounds: Bounds) {
        self.scheduler = Scheduler::new(Arc::clone(&self.policy), 8, self.now).with_bounds(bounds);
        self.starts.clear();
        self.settlements.clear();
        // The store tells all that it knows before it is asked for anything.
        for webhook in webhooks {
            self.scheduler.take(self.now, Input::Fact(Fact::Webhook(Arc::clone(webhook))));
        }
        for event in fresh {
            let on_disk = vec![false; event.targets.len()];
            self.scheduler.take(self.now, Input::Fact(Fact::Accepted { event, on_disk }));
        }
        self.take(Input::Tick);
    }

    /// Jumps to the next wake-up until something starts; the start, or `None` if nothing will within 30 days.
    fn next_start(&mut self) -> Option<Start> {
        let end = self.now.plus(Duration::from_secs(30 * 86_400));
        while self.starts.is_empty() && self.now < end {
            self.now = self.scheduler.wake_at()?.max(self.now);
            self.take(Input::Tick);
        }
        (!self.starts.is_empty()).then(|| self.starts.remove(0))
    }
}

fn webhook(number: u32, account: u32) -> Webhook {
    let id = format!("a{account}").parse().expect("an id");
    let account = Account { number: account, ..Account::new(id, "An account", START) };
    let id = format!("wh_{number}").parse().expect("an id");
    let url = Arc::new(EndpointUrl::stored("https://example.com/hook").expect("a URL"));
    let (events, secret) = (EventFilter::stored(vec!["*".to_owned()]), SigningSecret::from_bytes(&[1; 32]));
    Webhook { number, ..Webhook::new(&account, id, url, events, secret, START) }
}

/// An event that goes to these webhooks.
fn event(id: EventId, targets: Vec<u32>) -> Event {
    Event {
        id,
        account: 1,
        event_type: "alert.rule_created".into(),
        timestamp: START,
        data: "{}".into(),
        targets,
        test: false,
        flagged: false,
        trace: None,
    }
}

/// The end of an attempt that was started at `started_at`.
fn ended(policy: &Policy, start: &Start, started_at: Timestamp, outcome: Outcome) -> Ended {
    let delivery = start.due.delivery;
    let event = event(delivery.event, vec![start.due.webhook]);
    let (_, request) = build_request(policy, start, &event, started_at);
    Ended { delivery, request, started_at, outcome, epoch: start.epoch }
}

fn answered(status: u16, ms: u64) -> Outcome {
    Outcome {
        result: Ok(Answer { status, headers: Vec::new(), body: Vec::new(), truncated: false }),
        remote_address: None,
        timing: Timing::default(),
        duration: Duration::from_millis(ms),
    }
}

fn timed_out() -> Outcome {
    Outcome {
        result: Err(Failure { code: ErrorCode::ResponseTimeout, detail: String::new() }),
        remote_address: None,
        timing: Timing::default(),
        duration: Duration::from_secs(5),
    }
}

#[test]
fn the_whole_schedule_is_six_attempts_with_the_page_s_delays() {
    let mut bench = Bench::new(Policy::default());
    bench.webhook(1, 1, |_| {});
    bench.event(vec![1], false);
    let mut ended_at = None::<Timestamp>;
    for (number, delay) in (1u16..).zip([0u64, 30, 120, 600, 3_600, 21_600]) {
        let start = bench.next_start().expect("an attempt");
        assert_eq!(start.number(), number);
        assert_eq!(start.due.reason, if number == 1 { Reason::First } else { Reason::Retry });
        if let Some(ended_at) = ended_at {
            let (waited, delay) = (bench.now.since(ended_at), Duration::from_secs(delay));
            assert!(waited >= delay, "attempt {number} came early: {waited:?}");
            assert!(
                waited <= delay + (delay / 10).min(Duration::from_secs(30)),
                "attempt {number} came late: {waited:?}"
            );
        }
        bench.end(&start, timed_out());
        ended_at = Some(bench.now);
        let settled = bench.record();
        assert_eq!(settled.len(), 1);
        assert_eq!(settled[0].next == Next::Failed, number == 6, "{:?}", settled[0].next);
    }
    assert!(bench.next_start().is_none(), "a seventh attempt");
    assert!(bench.loads > 5, "the horizon was moved on");
}

#[test]
fn nothing_is_sent_after_a_success_and_everything_is_forgotten() {
    let mut bench = Bench::new(Policy::default());
    bench.webhook(1, 1, |_| {});
    bench.event(vec![1], false);
    let start = bench.next_start().expect("an attempt");
    bench.end(&start, answered(204, 3));
    assert_eq!(bench.record()[0].next, Next::Delivered);
    assert!(bench.next_start().is_none());
    assert_eq!((bench.scheduler.known(), bench.scheduler.in_flight()), (0, 0));
}

#[test]
fn in_flight_stays_below_the_cap_and_a_hanging_webhook_is_held_to_one_slot() {
    let mut bench = Bench::new(Policy { max_in_flight: 4, ..Policy::default() });
    bench.webhook(1, 1, |_| {});
    for _ in 0..100 {
        bench.event(vec![1], false);
    }
    assert!(bench.starts.len() <= 4);
    for _ in 0..6 {
        let start = bench.starts.remove(0);
        bench.end(&start, timed_out());
        bench.record();
        let (in_flight, cap) = bench.scheduler.lane(1).expect("a lane");
        assert!(in_flight <= cap);
        if bench.starts.is_empty() {
            break;
        }
    }
    assert_eq!(bench.scheduler.lane(1).map(|(in_flight, _)| in_flight), Some(1));
}

#[test]
fn dead_webhooks_together_hold_at_most_a_quarter_of_the_slots() {
    let mut bench = Bench::new(Policy { slots: 16, ..Policy::default() });
    for number in 1..=40 {
        bench.webhook(number, number, |webhook| webhook.failing_since = Some(START));
    }
    for _ in 0..60 {
        for number in 1..=40 {
            bench.event(vec![number], false);
        }
        while !bench.starts.is_empty() {
            let start = bench.starts.remove(0);
            bench.end(&start, answered(500, 1));
            bench.record();
        }
    }
    for number in 1..=40 {
        bench.event(vec![number], false);
    }
    assert_eq!(bench.scheduler.failing_lanes(), 40);
    assert!(bench.scheduler.in_flight() <= 4, "{}", bench.scheduler.in_flight());
    bench.webhook(99, 99, |_| {});
    bench.starts.clear();
    bench.event(vec![99], false);
    assert_eq!(
        bench.starts.iter().map(|start| start.due.webhook).collect::<Vec<_>>(),
        [99],
        "a live one starts at once"
    );
}

#[test]
fn a_paused_webhook_gets_nothing_but_tests() {
    let mut bench = Bench::new(Policy::default());
    let webhook = bench.webhook(1, 1, |_| {});
    bench.event(vec![1], false);
    let start = bench.next_start().expect("an attempt");
    let mut paused = (*webhook).clone();
    paused.pause = Some(Pause { since: bench.now, cause: PauseCause::Gone });
    bench.take(Input::Fact(Fact::Webhook(Arc::new(paused))));
    bench.event(vec![1], false);
    bench.end(&start, answered(500, 1));
    bench.record();
    assert!(bench.next_start().is_none());
    bench.event(vec![1], true);
    let test = bench.next_start().expect("a test");
    assert_eq!(test.due.reason, Reason::Test);
    bench.end(&test, answered(500, 1));
    assert_eq!(bench.record()[0].next, Next::Failed, "a test is one attempt");
}

#[test]
fn gone_pauses_the_webhook() {
    let mut bench = Bench::new(Policy::default());
    bench.webhook(1, 1, |_| {});
    bench.event(vec![1], false);
    bench.event(vec![1], false);
    let start = bench.next_start().expect("an attempt");
    bench.end(&start, answered(410, 1));
    assert_eq!(bench.pauses, [(1, PauseCause::Gone)]);
    assert!(matches!(bench.record()[0].next, Next::Retry { .. }), "pausing loses nothing");
}

#[test]
fn five_days_of_failures_pause_the_webhook() {
    let mut bench = Bench::new(Policy::default());
    bench.webhook(1, 1, |_| {});
    while bench.pauses.is_empty() {
        bench.event(vec![1], false);
        let start = bench.next_start().expect("an attempt");
        bench.end(&start, answered(500, 1));
        bench.record();
        bench.now = bench.now.plus(Duration::from_secs(3_600));
        assert!(bench.now.since(START) < Duration::from_secs(6 * 86_400));
    }
    assert!(bench.now.since(START) >= Duration::from_secs(5 * 86_400));
    assert!(
        matches!(bench.pauses[0], (1, PauseCause::AllFailed { since }) if since.since(START) < Duration::from_secs(60))
    );
}

#[test]
fn a_rate_is_kept() {
    let mut bench = Bench::new(Policy::default());
    bench.webhook(1, 1, |webhook| webhook.rate_limit = Some(2));
    for _ in 0..4 {
        bench.event(vec![1], false);
    }
    let begin = bench.now;
    for _ in 0..4 {
        let start = bench.next_start().expect("an attempt");
        bench.end(&start, answered(200, 1));
        bench.record();
    }
    assert!(bench.now.since(begin) >= Duration::from_millis(1_500), "{:?}", bench.now.since(begin));
}

#[test]
fn a_replay_during_an_attempt_is_not_lost_and_a_cancelled_retry_is_not_made() {
    let mut bench = Bench::new(Policy::default());
    bench.webhook(1, 1, |_| {});
    let event = bench.event(vec![1], false);
    let start = bench.next_start().expect("an attempt");
    let delivery = DeliveryId { event, place: 0 };
    let replay = Due { due_at: bench.now, attempts_made: 0, retries_made: 0, reason: Reason::Replay, ..start.due };
    bench.take(Input::Fact(Fact::Replayed(replay)));
    bench.end(&start, answered(500, 1));
    bench.record();
    let again = bench.next_start().expect("the replay");
    assert_eq!((again.due.reason, again.number()), (Reason::Replay, 2));
    bench.end(&again, answered(500, 1));
    bench.record();
    bench.take(Input::Fact(Fact::Cancelled { delivery, webhook: 1 }));
    assert!(bench.next_start().is_none());
}

#[test]
fn what_a_load_brings_of_a_delivery_settled_meanwhile_is_not_sent_again() {
    let policy = Arc::new(Policy::default());
    let mut scheduler = Scheduler::new(Arc::clone(&policy), 7, START);
    let mut bench = Bench::new(Policy::default());
    let outputs = scheduler.step(START, Input::Fact(Fact::Webhook(Arc::new(webhook(1, 1)))));
    assert!(outputs.iter().any(|output| matches!(output, Output::LoadDue(_))), "a load is under way");
    let id = EventId::first_at(START.0);
    let due = Due {
        delivery: DeliveryId { event: id, place: 0 },
        webhook: 1,
        due_at: START,
        attempts_made: 1,
        retries_made: 1,
        reason: Reason::Retry,
    };
    let outputs = scheduler.step(START, Input::Fact(Fact::Replayed(due)));
    let Some(Output::Start(start)) = outputs.into_iter().next() else { panic!("it starts at once") };
    bench.now = START;
    let ended = ended(&policy, &start, START, answered(200, 1));
    let outputs = scheduler.step(START, Input::Ended(Box::new(ended)));
    let Some(Output::Settle(settlement)) = outputs.into_iter().next() else { panic!("it is recorded") };
    assert!(scheduler.step(START, Input::Fact(Fact::Settled(Arc::from(settlement)))).is_empty());
    let outputs = scheduler.step(START, Input::Due(vec![due]));
    assert!(outputs.iter().all(|output| !matches!(output, Output::Start(_))), "{outputs:?}");
}
