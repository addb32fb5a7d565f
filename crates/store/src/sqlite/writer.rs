//! The writer: one thread through which every write goes. What waits while one transaction is being made goes into the
//! next: many requests share one fsync.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use domain::audit::By;
use domain::delivery::Settlement;
use domain::event::NewEvent;
use domain::seldom::Seldom;
use domain::store::{AcceptError, Change, ChangeError, Changed, Fact, Keep, NoSpace, StoreError};
use domain::time::Clock;
use domain::webhook::Held;
use tokio::sync::oneshot;

use super::ballast::Ballast;
use super::cancelling::HeldUntil;
use super::checkpoint::Checkpoints;
use super::engine::Engine;
use super::erase::Erased;
use super::replaying::Prepare;
use crate::batch::{Answered, Batch};
pub use crate::figures::Figures;

/// How long the thread sleeps at most, when there is nothing to write.
const IDLE: Duration = Duration::from_secs(1);
/// How long after a full disk was met it is tried again.
const FULL_RETRY: Duration = Duration::from_millis(250);
/// How many events one batch of retention looks at, and how much later the next one comes while there is more to do.
const RETAINED_AT_ONCE: usize = 500;
const RETAIN_AGAIN: Duration = Duration::from_millis(50);
/// The same where more is kept than may be.
const SHRINK_AGAIN: Duration = Duration::from_millis(10);
/// How much later the next deliveries of a deleted webhook are cancelled: others write in between.
const CANCEL_AGAIN: Duration = Duration::from_millis(20);
/// How many events of a closed account go in one transaction.
const ERASED_AT_ONCE: usize = 200;

/// What is to be written, and who waits for it.
pub(super) enum Message {
    Accept(Vec<NewEvent>, oneshot::Sender<Answered>),
    Settle(Vec<Settlement>, oneshot::Sender<Result<(), StoreError>>),
    Change(Box<(Change, By, Option<Keep>)>, oneshot::Sender<Result<Changed, ChangeError>>),
    Prepare(Prepare, oneshot::Sender<Result<u32, StoreError>>),
    Stop,
}

/// Told what has been committed, in the order of the commits.
pub type FactsHook = Box<dyn FnMut(Vec<Fact>) + Send>;
/// Told why the store has stopped for good: the process is to end, and the next start recovers.
pub type FatalHook = Box<dyn FnOnce(&str) + Send>;

/// A pause that ends by cancelling: it does with the last of what it holds.
struct Resuming {
    until: HeldUntil,
    asked: (Change, By, Option<Keep>),
    answer: oneshot::Sender<Result<Changed, ChangeError>>,
}

/// What the writer thread works with.
pub(super) struct Writer {
    pub(super) engine: Engine,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) facts: FactsHook,
    pub(super) figures: Arc<Figures>,
    pub(super) checkpoints: Checkpoints,
    pub(super) retention: Retention,
    ballast: Ballast,
    /// Transactions for which the disk was full.
    full: Seldom,
    /// Pauses that end by cancelling, and have not come to it.
    resuming: VecDeque<Resuming>,
    /// When age is looked at next.
    pub(super) aged_at: Instant,
}

/// What is kept, where an account does not say otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// For how long what has ended; `None` for ever.
    pub age: Option<Duration>,
    /// How many bytes in all: the oldest that has ended goes first. `None` for as much as comes.
    pub size: Option<u64>,
}

/// A queue to a writer.
pub(super) fn queue() -> (Sender<Message>, Receiver<Message>) {
    channel()
}

impl Writer {
    pub(super) fn new(
        engine: Engine,
        clock: Arc<dyn Clock>,
        facts: FactsHook,
        figures: Arc<Figures>,
        checkpoints: Checkpoints,
        retention: Retention,
    ) -> Self {
        let ballast = Ballast::take(engine.dir(), engine.limits.ballast);
        let (full, resuming, aged_at) = (Seldom::new(), VecDeque::new(), Instant::now());
        Self { engine, clock, facts, figures, checkpoints, retention, ballast, full, resuming, aged_at }
    }

    /// Writes until it is told to stop, or the disk fails: then the reason is returned.
    pub(super) fn run(mut self, queue: &Receiver<Message>) -> Result<(), String> {
        let mut retain_at = Instant::now();
        let mut full = Batch::default();
        loop {
            // What could not be written to a full disk goes first.
            let mut batch = std::mem::take(&mut full);
            let patience = if !self.resuming.is_empty() {
                Duration::ZERO
            } else if batch.is_empty() {
                retain_at.saturating_duration_since(Instant::now()).min(IDLE)
            } else {
                FULL_RETRY
            };
            let apart = match queue.recv_timeout(patience) {
                Ok(first) => gather(first, &mut batch, queue),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Message::Stop),
            };
            if !batch.is_empty() {
                full = self.write(batch).map_err(|error| error.to_string())?;
            }
            match apart {
                Some(Message::Change(asked, answer)) if ends_by_cancelling(&asked.0) => {
                    let until = self.engine.held_until(self.clock.now());
                    self.resuming.push_back(Resuming { until, asked: *asked, answer });
                }
                Some(Message::Change(change, answer)) => self.change(*change, answer)?,
                Some(Message::Prepare(step, answer)) => self.prepare(step, answer)?,
                Some(Message::Stop) => {
                    self.checkpoints.empty(&self.engine);
                    return Ok(());
                }
                Some(Message::Accept(..) | Message::Settle(..)) | None => {}
            }
            self.resume()?;
            self.ballast.retake();
            if Instant::now() >= retain_at && full.is_empty() {
                retain_at = Instant::now() + self.erase()?.min(self.retain()?).min(self.cancel()?);
            }
            self.checkpoints.keep_up(&self.engine);
        }
    }

    /// Makes one transaction of a batch, and answers. Gives back what has to be tried again since the disk is full.
    pub(super) fn write(&mut self, batch: Batch) -> Result<Batch, StoreError> {
        let started = Instant::now();
        let written = self.transact(&batch);
        self.figures.waiting_events.fetch_sub(batch.events.len(), Ordering::Relaxed);
        self.figures.waiting_bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
        match written {
            Ok((answers, facts)) => {
                self.committed(started, facts);
                self.figures.blocked.store(false, Ordering::Relaxed);
                batch.answer(answers);
                Ok(Batch::default())
            }
            Err(
                error @ (StoreError::Busy
                | StoreError::Away(_)
                | StoreError::Unanswered
                | StoreError::Stuck
                | StoreError::NoSpace(_)),
            ) => {
                self.tell_full();
                self.engine.rollback()?;
                self.ballast.give_up();
                self.figures.blocked.store(!batch.settlements.is_empty(), Ordering::Relaxed);
                self.figures.refused_events.fetch_add(batch.events.len() as u64, Ordering::Relaxed);
                Ok(batch.refuse_events(&error))
            }
            Err(error) => {
                let stopped = StoreError::Stopped(error.to_string());
                for answer in batch.refuse_events(&stopped).settles {
                    let _ = answer.send(Err(stopped.clone()));
                }
                Err(error)
            }
        }
    }

    /// Says that the disk is full, now and then: the log may be on it.
    fn tell_full(&self) {
        if let Some(times) = self.full.happened(Instant::now()) {
            tracing::error!(times, "the disk is full: nothing is accepted until there is space");
        }
    }

    fn transact(&mut self, batch: &Batch) -> Result<(Answered, Vec<Fact>), StoreError> {
        let now = self.clock.now();
        self.engine.begin()?;
        let answers = if batch.events.is_empty() {
            Vec::new()
        } else if self.ballast.is_given_up() {
            vec![Err(AcceptError::Store(StoreError::NoSpace(NoSpace::Disk))); batch.events.len()]
        } else {
            self.engine.accept(now, &batch.events)?
        };
        if !batch.settlements.is_empty() {
            self.engine.settle(now, &batch.settlements)?;
        }
        Ok((answers, self.engine.commit()?))
    }

    fn change(
        &mut self,
        (change, by, keep): (Change, By, Option<Keep>),
        answer: oneshot::Sender<Result<Changed, ChangeError>>,
    ) -> Result<(), String> {
        let started = Instant::now();
        let no_room = self.ballast.is_given_up() && change.makes_more();
        let room = if no_room { Err(StoreError::NoSpace(NoSpace::Disk)) } else { Ok(()) };
        let made = room.and_then(|()| self.engine.begin()).map_err(ChangeError::from).and_then(|()| {
            let changed = self.engine.change(self.clock.now(), change, &by, keep)?;
            Ok((changed, self.engine.commit()?))
        });
        let (told, fatal) = match made {
            Ok((changed, facts)) => {
                self.committed(started, facts);
                (Ok(changed), Ok(()))
            }
            Err(error) => {
                if matches!(error, ChangeError::Store(StoreError::NoSpace(_))) {
                    self.ballast.give_up();
                }
                let fatal = match (&error, self.engine.rollback()) {
                    (ChangeError::Store(StoreError::Stopped(why)), _) => Err(why.clone()),
                    (_, Err(fault)) => Err(fault.to_string()),
                    (_, Ok(())) => Ok(()),
                };
                (Err(error), fatal)
            }
        };
        // Whoever asked may have gone.
        let _ = answer.send(told);
        fatal
    }

    /// Cancels a bounded part of what a pause holds that is to end so; with the last of it, it ends.
    fn resume(&mut self) -> Result<(), String> {
        let Some(Resuming { until, asked, answer }) = self.resuming.pop_front() else { return Ok(()) };
        let now = self.clock.now();
        let mut more = None;
        if let Change::Resume { webhook, .. } = &asked.0 {
            more = self.apart(|engine| engine.cancel_held(now, webhook, until))?;
        }
        if more == Some(true) {
            self.resuming.push_front(Resuming { until, asked, answer });
            return Ok(());
        }
        self.change(asked, answer)
    }

    /// Cancels a bounded part of what deleted webhooks have left; says how much later to go on.
    fn cancel(&mut self) -> Result<Duration, String> {
        let now = self.clock.now();
        if !self.engine.cancels() {
            return Ok(IDLE);
        }
        let more = self.apart(|engine| engine.cancel_some(now))?;
        Ok(if more == Some(true) { CANCEL_AGAIN } else { IDLE })
    }

    /// Erases a bounded part of an account that was closed; says how much later to go on.
    fn erase(&mut self) -> Result<Duration, String> {
        let erased = self.apart(|engine| engine.erase(ERASED_AT_ONCE))?;
        match erased {
            None | Some(Erased::Nothing) => Ok(IDLE),
            Some(Erased::Some) => Ok(RETAIN_AGAIN),
            // A reader may have the log's old pages in use.
            Some(Erased::All(_)) if !self.checkpoints.empty(&self.engine) => Ok(RETAIN_AGAIN),
            Some(Erased::All(account)) => {
                self.apart(|engine| engine.erasure_ends(account))?;
                tracing::info!(account_number = account, "an account was erased");
                Ok(RETAIN_AGAIN)
            }
        }
    }

    /// Makes a step of listing what a replay covers.
    fn prepare(&mut self, step: Prepare, answer: oneshot::Sender<Result<u32, StoreError>>) -> Result<(), String> {
        let now = self.clock.now();
        let made = if self.ballast.is_given_up() && matches!(step, Prepare::Begin(_) | Prepare::List { .. }) {
            Err(StoreError::NoSpace(NoSpace::Disk))
        } else {
            self.apart(|engine| engine.prepare(now, step))?.ok_or(StoreError::Busy)
        };
        // Whoever asked may have gone.
        let _ = answer.send(made);
        Ok(())
    }

    /// A transaction of its own; `None` if it could not be made now, and is to be tried again.
    fn apart<T>(&mut self, work: impl FnOnce(&mut Engine) -> Result<T, StoreError>) -> Result<Option<T>, String> {
        let done = self.engine.begin().and_then(|()| {
            let done = work(&mut self.engine)?;
            Ok((done, self.engine.commit()?))
        });
        match done {
            Ok((done, facts)) => {
                if !facts.is_empty() {
                    (self.facts)(facts);
                }
                Ok(Some(done))
            }
            Err(StoreError::Stopped(why)) => Err(why),
            Err(
                error @ (StoreError::Busy
                | StoreError::Away(_)
                | StoreError::Unanswered
                | StoreError::Stuck
                | StoreError::Crowded(_)
                | StoreError::Refused(_)
                | StoreError::NoSpace(_)
                | StoreError::Damaged(_)),
            ) => {
                if matches!(error, StoreError::NoSpace(_)) {
                    self.tell_full();
                } else {
                    tracing::warn!(%error, "a step apart could not be made; it is tried again");
                }
                self.engine.rollback().map_err(|error| error.to_string())?;
                if matches!(error, StoreError::NoSpace(_)) {
                    self.ballast.give_up();
                }
                Ok(None)
            }
        }
    }

    /// Deletes a bounded part of what has been kept long enough, or is too much; says how much later to go on.
    fn retain(&mut self) -> Result<Duration, String> {
        let now = self.clock.trusted();
        let Retention { age, size } = self.retention;
        let mut wait = IDLE;
        if Instant::now() >= self.aged_at {
            let keep = age.unwrap_or(Duration::MAX);
            let retained = self.apart(|engine| engine.retain(now, keep, RETAINED_AT_ONCE))?.unwrap_or_default();
            self.figures.retained_events.fetch_add(retained.events as u64, Ordering::Relaxed);
            self.aged_at = Instant::now() + if retained.more { RETAIN_AGAIN } else { IDLE };
        }
        let more_figures = self.apart(|engine| engine.keep_figures(now))?;
        wait = wait.min(self.aged_at.saturating_duration_since(Instant::now()));
        if more_figures == Some(true) {
            wait = wait.min(RETAIN_AGAIN);
        }
        let shrunk = self.apart(|engine| engine.shrink(size, RETAINED_AT_ONCE))?.unwrap_or_default();
        self.figures.retained_events.fetch_add(shrunk.events as u64, Ordering::Relaxed);
        Ok(if shrunk.more { wait.min(SHRINK_AGAIN) } else { wait })
    }

    fn committed(&mut self, started: Instant, facts: Vec<Fact>) {
        let figures = &self.figures;
        figures.commits.fetch_add(1, Ordering::Relaxed);
        figures.commit_durations.observe(started.elapsed());
        figures.fresh.store(self.engine.fresh(), Ordering::Relaxed);
        let lead = self.engine.timestamp_lead(self.clock.now());
        figures.timestamp_lead_ms.store(lead.as_millis() as u64, Ordering::Relaxed);
        if !facts.is_empty() {
            (self.facts)(facts);
        }
    }
}

/// Whether a change ends a pause by cancelling what it holds.
const fn ends_by_cancelling(change: &Change) -> bool {
    matches!(change, Change::Resume { held: Held::Cancel, .. })
}

/// Takes what waits, up to a transaction's bounds; returns the message that ended it by needing one of its own.
pub(super) fn gather(first: Message, batch: &mut Batch, queue: &Receiver<Message>) -> Option<Message> {
    let mut next = Ok(first);
    loop {
        match next {
            Ok(Message::Accept(events, answer)) => batch.accept(events, answer),
            Ok(Message::Settle(settlements, answer)) => batch.settle(settlements, answer),
            Ok(message) => return Some(message),
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => return Some(Message::Stop),
        }
        if batch.is_full() {
            return None;
        }
        next = queue.try_recv();
    }
}
