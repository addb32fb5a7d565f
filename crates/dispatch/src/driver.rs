//! The driver: feeds the scheduler with what happens, and carries out what it says.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use domain::audit::By;
use domain::delivery::{Due, Settlement};
use domain::directory::SharedDirectory;
use domain::histogram::Histogram;
use domain::id::DeliveryId;
use domain::in_flight::InFlight;
use domain::order::{Order, OrderKey};
use domain::policy::Policy;
use domain::replay::ReplayChange;
use domain::shard::SHARDS;
use domain::store::{Change, ChangeError, Fact, Store, StoreError};
use domain::time::{Clock, Timestamp};
use domain::trace::Tracer;
use domain::transport::Transport;
use domain::waiting::Waits;
use domain::webhook::{Pause, PauseCause};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::Instant;

mod feed;
mod member;

use crate::leases;
use crate::loader::Loader;
use crate::scheduler::{Input, Output, Scheduler, with_keys};
use crate::sender::{Maker, Sender};
use crate::unread;
pub use feed::{Facts, Feed, feed};
use member::Member;
pub use member::Sharing;

/// How many messages one turn of the loop takes at most, and how many ends of attempts go into one record.
const BATCH: usize = 1_024;
/// A difference between wall clock and monotonic clock that counts as a step of the wall clock.
const STEP: Duration = Duration::from_millis(500);

enum Message {
    Facts(Vec<Fact>),
    Input(Input),
    Lease(leases::Input),
    Ask(Vec<(u32, DeliveryId)>, oneshot::Sender<Vec<Option<Waits>>>),
    Patient(oneshot::Sender<HashSet<u32>>),
    Drain(oneshot::Sender<()>),
    Pulse(oneshot::Sender<Pulse>),
}

/// What the dispatcher is made of.
pub struct Parts {
    /// Settings that decide about deliveries.
    pub policy: Arc<Policy>,
    /// Where outcomes are recorded.
    pub store: Arc<dyn Store>,
    /// What the store keeps in memory.
    pub directory: SharedDirectory,
    /// How requests are sent.
    pub transport: Arc<dyn Transport>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Told which deliveries are in flight.
    pub in_flight: InFlight,
    /// Told of attempts, where somebody collects traces.
    pub tracer: Option<Arc<dyn Tracer>>,
    /// Seed of the jitter.
    pub seed: u64,
    /// How the work is shared with other nodes; `None` where one process does it all.
    pub sharing: Option<Sharing>,
}

/// Figures of the dispatcher, for metrics.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Attempts in flight.
    pub in_flight: AtomicUsize,
    /// Deliveries in memory.
    pub known: AtomicUsize,
    /// Webhooks that hold one slot at most since their attempts keep failing; whoever takes a [`Pulse`] may set it.
    pub failing_lanes: AtomicUsize,
    /// How long after they were due attempts started.
    pub lag: Histogram,
    /// What [`domain::waiting::oldest_due`] says, in microseconds since 1970, 0 for none; whoever asks for it sets it.
    pub oldest_due: AtomicI64,
}

/// Where the dispatcher's loop stands, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    /// Attempts in flight.
    pub in_flight: usize,
    /// Whether everything that has ended is recorded.
    pub recorded: bool,
    /// When it will do something by itself, if it will.
    pub wake_at: Option<Timestamp>,
    /// Lanes that hold no more than one slot because their attempts keep failing.
    pub failing_lanes: usize,
}

/// A running dispatcher.
pub struct Dispatch {
    messages: UnboundedSender<Message>,
    gauges: Arc<Gauges>,
}

impl Dispatch {
    /// Its figures.
    #[must_use]
    pub fn gauges(&self) -> Arc<Gauges> {
        Arc::clone(&self.gauges)
    }

    /// Asks the loop where it stands; `None` if it has ended.
    pub async fn pulse(&self) -> Option<Pulse> {
        let (answer, answered) = oneshot::channel();
        self.messages.send(Message::Pulse(answer)).ok()?;
        answered.await.ok()
    }

    /// Starts no further attempt, and returns once everything in flight has ended and is recorded.
    pub async fn drain(&self) {
        let (done, drained) = oneshot::channel();
        if self.messages.send(Message::Drain(done)).is_ok() {
            // An error means that the loop has ended already.
            let _ = drained.await;
        }
    }
}

/// Starts a dispatcher on the present runtime.
#[must_use]
pub fn start(parts: Parts, feed: &Feed, facts: Facts) -> Dispatch {
    let gauges = Arc::new(Gauges::default());
    let (settlements, to_record) = unbounded_channel();
    tokio::spawn(record(Arc::clone(&parts.store), parts.in_flight.clone(), to_record));
    let now = parts.clock.now();
    let scheduler = Scheduler::new(Arc::clone(&parts.policy), parts.seed, now);
    let driver = Driver {
        scheduler: if parts.sharing.is_some() { scheduler.sharing(SHARDS) } else { scheduler },
        member: parts.sharing.map(Member::new),
        sender: Arc::new(Sender {
            loader: Loader::start(Arc::clone(&parts.store)),
            maker: Maker {
                policy: parts.policy,
                transport: parts.transport,
                clock: Arc::clone(&parts.clock),
                in_flight: parts.in_flight,
                tracer: parts.tracer,
            },
        }),
        store: parts.store,
        directory: parts.directory,
        messages: feed.0.clone(),
        settlements,
        gauges: Arc::clone(&gauges),
        clock: parts.clock,
        anchor: (Instant::now(), now),
        draining: None,
    };
    tokio::spawn(driver.run(facts.0));
    Dispatch { messages: feed.0.clone(), gauges }
}

/// Records ends of attempts, as many together as came while the last record was made.
async fn record(store: Arc<dyn Store>, in_flight: InFlight, mut settlements: UnboundedReceiver<Settlement>) {
    let mut batch = Vec::with_capacity(BATCH);
    while settlements.recv_many(&mut batch, BATCH).await > 0 {
        let made = |settlement: &Settlement| settlement.attempt.as_ref().map(|attempt| attempt.number);
        let deliveries: Vec<_> = batch.iter().map(|settlement| (settlement.delivery, made(settlement))).collect();
        if let Err(error) = store.settle(std::mem::take(&mut batch)).await {
            // The store has told the process to stop: what was not recorded is sent again after the next start.
            tracing::error!(%error, "ends of attempts could not be recorded");
            return;
        }
        for (delivery, made) in deliveries {
            match made {
                Some(number) => in_flight.recorded(delivery, number),
                None => in_flight.ended(delivery),
            }
        }
    }
}

struct Driver {
    scheduler: Scheduler,
    /// This node among others, if there are any.
    member: Option<Member>,
    sender: Arc<Sender>,
    store: Arc<dyn Store>,
    directory: SharedDirectory,
    messages: UnboundedSender<Message>,
    settlements: UnboundedSender<Settlement>,
    gauges: Arc<Gauges>,
    clock: Arc<dyn Clock>,
    /// An instant of both clocks, by which steps of the wall clock are noticed.
    anchor: (Instant, Timestamp),
    draining: Option<oneshot::Sender<()>>,
}

impl Driver {
    async fn run(mut self, mut messages: UnboundedReceiver<Message>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut patience = Vec::new();
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        let beat = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(beat);
        let mut wake_at = None;
        loop {
            tokio::select! {
                biased;
                _ = messages.recv_many(&mut batch, BATCH) => {}
                () = &mut sleep, if wake_at.is_some() => wake_at = None,
                () = &mut beat, if self.member.is_some() => {}
            }
            let now = self.now();
            for message in batch.drain(..) {
                match message {
                    Message::Facts(facts) => {
                        for fact in facts {
                            self.scheduler.take(now, Input::Fact(fact));
                        }
                    }
                    Message::Input(input) => self.scheduler.take(now, input),
                    Message::Lease(input) => self.lease(now, input),
                    Message::Ask(deliveries, answer) => {
                        let waits = |(webhook, delivery)| self.scheduler.waits(now, webhook, delivery);
                        // Whoever asked may have gone.
                        let _ = answer.send(deliveries.into_iter().map(waits).collect());
                    }
                    Message::Patient(answer) => patience.push(answer),
                    Message::Drain(done) => {
                        self.scheduler.drain();
                        self.lease(now, leases::Input::Drain);
                        self.draining = Some(done);
                    }
                    Message::Pulse(answer) => {
                        // Whoever asked may have gone.
                        let _ = answer.send(Pulse {
                            in_flight: self.scheduler.in_flight(),
                            recorded: self.scheduler.recorded(),
                            wake_at: self.scheduler.wake_at(),
                            failing_lanes: self.scheduler.failing_lanes(),
                        });
                    }
                }
            }
            self.share(now);
            for output in self.scheduler.outputs(now) {
                self.carry_out(now, output);
            }
            // Only now do the slots that were free hold what may be sent.
            for answer in patience.drain(..) {
                // Whoever asked may have gone.
                let _ = answer.send(self.scheduler.patient(now));
            }
            self.gauges.in_flight.store(self.scheduler.in_flight(), Ordering::Relaxed);
            self.gauges.known.store(self.scheduler.known(), Ordering::Relaxed);
            if let Some(member) = &self.member {
                beat.as_mut().reset(member.wake_at());
            }
            let left = self.member.as_ref().is_none_or(Member::left);
            if self.draining.is_some() && self.scheduler.idle() && left {
                if let Some(done) = self.draining.take() {
                    // Whoever asked may have gone.
                    let _ = done.send(());
                }
                return;
            }
            let next = self.scheduler.wake_at();
            if next != wake_at {
                wake_at = next;
                if let Some(at) = next {
                    // A wake-up a second at least, so that a step of the wall clock is noticed.
                    sleep.as_mut().reset(Instant::now() + at.since(now).min(Duration::from_secs(1)));
                }
            }
        }
    }

    /// The wall clock's time; a step of it is told to the scheduler, whose plans keep their distance from now.
    fn now(&mut self) -> Timestamp {
        let (wall, instant) = (self.clock.now(), Instant::now());
        let expected = self.anchor.1.plus(instant - self.anchor.0);
        let step = wall.0 - expected.0;
        if Duration::from_micros(step.unsigned_abs()) > STEP {
            tracing::warn!(seconds = step / 1_000_000, "the wall clock has stepped");
            self.scheduler.take(wall, Input::ClockStepped(step));
            if let Some(member) = self.member.as_mut().filter(|_| step > 0) {
                member.stood_still();
                self.lease(wall, leases::Input::Nudged);
            }
        }
        self.anchor = (instant, wall);
        wall
    }

    fn carry_out(&mut self, now: Timestamp, output: Output) {
        match output {
            Output::Start(start) => {
                self.gauges.lag.observe(now.since(start.due.due_at));
                let (sender, messages) = (Arc::clone(&self.sender), self.messages.clone());
                tokio::spawn(async move {
                    let input = sender.attempt(start).await;
                    // The loop has ended: the process is about to.
                    let _ = messages.send(Message::Input(input));
                });
            }
            Output::Settle(settlement) => {
                // The recorder ends only with the store; then nothing can be recorded any more.
                let _ = self.settlements.send(*settlement);
            }
            Output::LoadDue(load) => {
                let store = Arc::clone(&self.store);
                self.answer(async move {
                    match store.due(load.after, load.until, load.limit).await {
                        Ok(rows) => Input::Due(rows),
                        Err(error) => {
                            unread::say(&error, "planned attempts could not be read");
                            Input::DueFailed
                        }
                    }
                });
            }
            Output::LoadBacklog { webhook, load, after, until, limit, order } => {
                let store = Arc::clone(&self.store);
                let account = self.directory.read().webhook_numbered(webhook).map(|webhook| webhook.account);
                self.answer(async move {
                    let order = order.as_ref().zip(account);
                    let rows = backlog(&*store, webhook, after, until, limit, order).await;
                    if let Err(error) = &rows {
                        unread::say(error, &format!("what waits on disk of webhook {webhook} could not be read"));
                    }
                    Input::Backlog { webhook, load, rows: rows.ok() }
                });
            }
            Output::Pause { webhook, cause } => {
                let (store, directory) = (Arc::clone(&self.store), self.directory.clone());
                tokio::spawn(pause(store, directory, webhook, Pause { since: now, cause }));
            }
            Output::HandOver { account, replay, count } => {
                self.step(replay, ReplayChange::HandOver { account, replay, count });
            }
            Output::PauseReplay { account, replay, cause } => {
                self.step(replay, ReplayChange::Pause { account, replay, cause });
            }
            Output::Dropped(delivery) => self.sender.maker.in_flight.ended(delivery),
            Output::Quiet(shards) => self.lease(now, leases::Input::Quiet(shards)),
            Output::LoadArrivals(load) => {
                let store = Arc::clone(&self.store);
                self.answer(async move {
                    let rows = store.due(load.after, load.until, load.limit).await;
                    if let Err(error) = &rows {
                        unread::say(error, "what other nodes have accepted could not be read");
                    }
                    Input::Arrivals(rows.ok())
                });
            }
            Output::LoadNamed(named) => {
                let (sender, member) = (Arc::clone(&self.sender), self.member.as_ref());
                let Some(arrivals) = member.map(|member| Arc::clone(&member.arrivals)) else { return };
                self.answer(async move {
                    let found = arrivals.arrived(named).await.map(|(rows, events)| {
                        sender.loader.keep(&rows, events);
                        rows
                    });
                    if let Err(error) = &found {
                        unread::say(error, "what other nodes have named could not be read");
                    }
                    Input::Named(found.ok())
                });
            }
            Output::HeldSent { webhook, version } => {
                let store = Arc::clone(&self.store);
                tokio::spawn(async move {
                    // Lost, it is told again after a restart, which finds nothing held.
                    let _ = store.change(Change::HeldSent { webhook, version }, By::us(), None).await;
                });
            }
            Output::LeaveAlone { webhook, until } => {
                let store = Arc::clone(&self.store);
                tokio::spawn(async move {
                    // Lost, the receiver says it again to the first request after a restart.
                    let _ = store.change(Change::LeaveAlone { webhook, until }, By::us(), None).await;
                });
            }
            Output::Failing { webhook, since } => {
                let store = Arc::clone(&self.store);
                tokio::spawn(async move {
                    // Lost, it is told again by the next failure after a restart.
                    let _ = store.change(Change::Failing { webhook, since }, By::us(), None).await;
                });
            }
        }
    }

    /// Makes a step of a replay.
    fn step(&self, replay: u32, change: ReplayChange) {
        let store = Arc::clone(&self.store);
        self.answer(async move {
            let made = match store.change(Change::BulkReplay(change), By::us(), None).await {
                Ok(_) => true,
                // A person was quicker: that is told as a fact.
                Err(ChangeError::State(_) | ChangeError::NotFound) => false,
                Err(error) => {
                    tracing::error!(replay, %error, "a replay could not go on");
                    false
                }
            };
            Input::ReplayStepped { replay, made }
        });
    }

    fn answer(&self, work: impl Future<Output = Input> + Send + 'static) {
        let messages = self.messages.clone();
        tokio::spawn(async move {
            // The loop has ended: the process is about to.
            let _ = messages.send(Message::Input(work.await));
        });
    }
}

/// What waits on disk for a webhook, with the keys of its order, which comes with the webhook's account.
async fn backlog(
    store: &dyn Store,
    webhook: u32,
    after: Option<DeliveryId>,
    until: Timestamp,
    limit: usize,
    order: Option<(&Order, u32)>,
) -> Result<Vec<(Due, OrderKey)>, StoreError> {
    let rows = store.backlog(webhook, after, until, limit).await?;
    let events = match order {
        Some((order, account)) if order.reads_data() => {
            store.load(rows.iter().map(|row| (account, row.delivery.event)).collect()).await?
        }
        Some(_) | None => Vec::new(),
    };
    Ok(with_keys(rows, &events, order.map(|(order, _)| order)))
}

/// Pauses a webhook, unless it is paused or deleted already.
async fn pause(store: Arc<dyn Store>, directory: SharedDirectory, number: u32, pause: Pause) {
    loop {
        let Some(webhook) = directory.read().webhook_numbered(number).cloned() else { return };
        if webhook.pause.is_some() {
            return;
        }
        let mut paused = (*webhook).clone();
        paused.version += 1;
        paused.pause = Some(pause.clone());
        match store.change(Change::PutWebhook(Box::new(paused)), By::us(), None).await {
            // Somebody changed it meanwhile: read it again.
            Err(ChangeError::Stale) => {}
            Err(error) => {
                tracing::error!(webhook = %webhook.id, %error, "a webhook could not be paused");
                return;
            }
            Ok(_) => {
                let why = match pause.cause {
                    PauseCause::Gone => "it answered 410 Gone",
                    PauseCause::AllFailed { .. } => "every attempt failed",
                    PauseCause::Key { .. } => "asked for",
                    PauseCause::NobodyListens => "nobody listens",
                };
                tracing::info!(webhook = %webhook.id, why, "paused a webhook");
                return;
            }
        }
    }
}
