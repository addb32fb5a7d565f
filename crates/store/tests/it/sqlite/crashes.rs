//! What the store has promised holds over crashes at any point: the engine against a model, in random steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::sqlite::support::{ACCOUNT, Dir, NOW, Open, event, limits, list, settlement, stats, try_open};
use domain::attempt::Reason;
use domain::delivery::{Delivery, DeliveryStatus, Next};
use domain::id::DeliveryId;
use domain::stats::{Figures, Stats, Step as Length, Subjects};
use domain::store::Change;
use domain::time::Timestamp;
use domain::webhook::Webhook;
use proptest::prelude::*;
use store::sqlite::Limits;

/// What the store has promised about a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Promise {
    status: DeliveryStatus,
    attempts: u16,
    retry_at: Option<Timestamp>,
    webhook: u32,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Accept(usize),
    Settle(u8),
    Retry(u8),
    Cancel(u8),
    Replay(u8),
    Pause(bool),
    /// The machine dies: between two transactions, or within one.
    Crash {
        within: bool,
    },
    Pass(i64),
    /// Figures are kept: those by the minute go into those by the hour, of minutes that are not over too.
    Keep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1usize..5).prop_map(Step::Accept),
        4 => any::<u8>().prop_map(Step::Settle),
        3 => any::<u8>().prop_map(Step::Retry),
        1 => any::<u8>().prop_map(Step::Cancel),
        1 => any::<u8>().prop_map(Step::Replay),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => any::<bool>().prop_map(|within| Step::Crash { within }),
        2 => (-3_000_000i64..9_000_000).prop_map(Step::Pass),
        1 => Just(Step::Keep),
    ];
    prop::collection::vec(step, 1..60)
}

/// A store, and beside it what it has promised so far.
struct Model {
    dir: Dir,
    open: Option<Open>,
    now: Timestamp,
    webhooks: [u32; 2],
    promised: BTreeMap<DeliveryId, Promise>,
    /// How often deliveries were delivered, and were cancelled.
    ended: (u64, u64),
}

impl Model {
    fn new() -> Self {
        let dir = Dir::new();
        let mut open = try_open(&dir, 7, Self::limits()).expect("it opens");
        let webhooks = [open.new_webhook("wh_one"), open.new_webhook("wh_two")];
        Self { dir, open: Some(open), now: NOW, webhooks, promised: BTreeMap::new(), ended: (0, 0) }
    }

    fn limits() -> Limits {
        Limits { fresh_per_webhook: 5, fresh_behind: 6, ..limits() }
    }

    fn engine(&mut self) -> &mut Open {
        self.open.as_mut().expect("it is open")
    }

    fn pick(&self, number: u8, wanted: impl Fn(&Promise) -> bool) -> Option<(DeliveryId, Promise)> {
        let fitting: Vec<_> = self.promised.iter().filter(|(_, promise)| wanted(promise)).collect();
        let (id, promise) = fitting.get(usize::from(number) % fitting.len().max(1))?;
        Some((**id, **promise))
    }

    fn step(&mut self, step: Step) {
        let (now, webhooks) = (self.now, self.webhooks);
        let waits = |promise: &Promise| promise.status == DeliveryStatus::Pending;
        match step {
            Step::Accept(number) => {
                for event in self.engine().accept(now, number) {
                    for (place, webhook) in (0u16..).zip(webhooks) {
                        let promise = Promise { status: DeliveryStatus::Pending, attempts: 0, retry_at: None, webhook };
                        self.promised.insert(DeliveryId { event, place }, promise);
                    }
                }
            }
            Step::Settle(number) => {
                if self.end(number, Next::Delivered, DeliveryStatus::Delivered, None) {
                    self.ended.0 += 1;
                }
            }
            Step::Retry(number) => {
                let due_at = now.plus(Duration::from_secs(30));
                let next = Next::Retry { due_at, retries_made: 1, reason: Reason::Retry };
                self.end(number, next, DeliveryStatus::Pending, Some(due_at));
            }
            Step::Cancel(number) => {
                if let Some((id, promise)) = self.pick(number, waits) {
                    assert!(self.engine().change(now, Change::Cancel(ACCOUNT, id)));
                    self.ended.1 += 1;
                    self.promised.insert(id, Promise { status: DeliveryStatus::Cancelled, retry_at: None, ..promise });
                }
            }
            Step::Replay(number) => {
                if let Some((id, promise)) = self.pick(number, |promise| !waits(promise)) {
                    assert!(self.engine().change(now, Change::Replay(ACCOUNT, id)));
                    let promise = Promise { status: DeliveryStatus::Pending, retry_at: Some(now), ..promise };
                    self.promised.insert(id, promise);
                }
            }
            Step::Pause(pause) => self.pause(pause),
            Step::Crash { within } => self.crash(within),
            Step::Pass(micros) => self.now = Timestamp(now.0 + micros),
            Step::Keep => {
                let engine = &mut self.engine().engine;
                engine.begin().expect("it begins");
                engine.keep_figures(now.plus(Duration::from_secs(120))).expect("they are kept");
                engine.commit().expect("it commits");
            }
        }
    }

    /// Whether there was something to end.
    fn end(&mut self, number: u8, next: Next, status: DeliveryStatus, retry_at: Option<Timestamp>) -> bool {
        let now = self.now;
        let picked = self.pick(number, |promise| promise.status == DeliveryStatus::Pending);
        if let Some((id, promise)) = picked {
            let mut settlement = settlement(id, promise.webhook, promise.attempts + 1, now, next);
            if let Some(attempt) = &mut settlement.attempt {
                // The scheduler knows of a replay that was committed before.
                attempt.reason = Reason::Replay;
            }
            self.engine().settle(now, settlement);
            self.promised.insert(id, Promise { status, attempts: promise.attempts + 1, retry_at, ..promise });
        }
        picked.is_some()
    }

    fn pause(&mut self, pause: bool) {
        let (now, number) = (self.now, self.webhooks[1]);
        let stored = self.engine().directory.read().webhook_numbered(number).cloned().expect("it exists");
        let mut webhook = Webhook::clone(&stored);
        webhook.version += 1;
        let cause = domain::webhook::PauseCause::Gone;
        webhook.pause = pause.then_some(domain::webhook::Pause { since: now, cause });
        assert!(self.engine().change(now, Change::PutWebhook(Box::new(webhook))));
    }

    fn crash(&mut self, within: bool) {
        let now = self.now;
        let waiting = self.pick(0, |promise| promise.status == DeliveryStatus::Pending);
        let engine = &mut self.engine().engine;
        if within {
            engine.begin().expect("it begins");
            engine.accept(now, &[event(), event()]).expect("it is written");
            if let Some((id, promise)) = waiting {
                let lost = settlement(id, promise.webhook, promise.attempts + 1, now, Next::Delivered);
                engine.settle(now, &[Arc::new(lost)]).expect("it is written");
            }
            engine.keep_figures(now.plus(Duration::from_secs(120))).expect("they are kept");
        }
        let dir = self.dir.crashed();
        self.open = None;
        self.dir = dir;
        self.open = Some(try_open(&self.dir, 7, Self::limits()).expect("it opens"));
    }

    /// The figures count every attempt and end once, and what waits.
    fn check_figures(&mut self, shown: &[Delivery]) {
        let (now, ended, webhooks) = (self.now, self.ended, self.webhooks);
        let reader = self.engine().reader();
        let mut attempts = Figures::default();
        for delivery in shown {
            let (_, logged) = reader.delivery(ACCOUNT, delivery.id, now).expect("it is read").expect("it exists");
            for logged in logged {
                attempts.attempted(&logged.attempt);
            }
        }
        let waits = |delivery: &&Delivery| delivery.ended_at.is_none();
        for step in [Length::MINUTE, Length::HOUR] {
            let each = stats(&reader, Subjects::Webhooks(webhooks.to_vec()), step).expect("it is read");
            let whole = stats(&reader, Subjects::Account, step).expect("it is read");
            for all in [&each, &whole] {
                let sum = Figures::sum(&all.iter().map(Stats::total).collect::<Vec<_>>());
                assert_eq!((sum.delivered, sum.cancelled, sum.failed), (ended.0, ended.1, 0));
                assert_eq!(
                    (sum.succeeded, &sum.misses, &sum.latency),
                    (attempts.succeeded, &attempts.misses, &attempts.latency)
                );
                let waiting: u64 = all.iter().map(|stats| stats.held + stats.pending).sum();
                assert_eq!(waiting, shown.iter().filter(waits).count() as u64);
            }
        }
    }

    /// The store shows what it has promised, no more and no less, and a scheduler would hear of all that waits, once.
    fn check(&mut self) {
        let (now, promised) = (self.now, self.promised.clone());
        let reader = self.engine().reader();
        let shown = list(&reader, now).expect("it is read");
        assert_eq!(shown.len(), promised.len());
        for delivery in &shown {
            let promise = promised[&delivery.id];
            let waits = [DeliveryStatus::Pending, DeliveryStatus::Held].contains(&delivery.status);
            assert_eq!(waits, promise.status == DeliveryStatus::Pending, "{delivery:?} {promise:?}");
            assert!(waits || delivery.status == promise.status, "{delivery:?} {promise:?}");
            assert_eq!(delivery.attempts_made, promise.attempts);
            if let Some(at) = promise.retry_at {
                assert_eq!(delivery.next_attempt_at, Some(at));
            }
        }
        self.check_figures(&shown);
        drop(reader);
        self.crash(false);
        self.check_figures(&shown);
        let mut heard = self.engine().told_fresh();
        let number = heard.len();
        let reader = self.engine().reader();
        for webhook in self.webhooks {
            for due in reader.backlog(webhook, None, Timestamp(i64::MAX), 100_000).expect("it is read") {
                assert_eq!(due.attempts_made, promised[&due.delivery].attempts);
                assert!(heard.insert(due.delivery), "{} waits twice", due.delivery);
            }
        }
        let waiting: BTreeSet<_> =
            promised.iter().filter(|(_, p)| p.status == DeliveryStatus::Pending).map(|(id, _)| *id).collect();
        assert_eq!(heard, waiting);
        assert_eq!(self.engine().engine.fresh(), number);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn promises_hold_over_crashes(steps in steps()) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
        }
        model.check();
    }
}
