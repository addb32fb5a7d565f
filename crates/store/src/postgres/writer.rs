//! The writer: one task through which every write of this node goes. What waits while one transaction is being made goes into
//! the next: many requests share one commit.
//!
//! Where the database is away, events are refused, and ends of attempts wait until it is back; the process goes on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use domain::audit::By;
use domain::delivery::Settlement;
use domain::event::NewEvent;
use domain::seldom::Seldom;
use domain::store::{Change, ChangeError, Changed, Fact, Keep, StoreError};
use domain::time::Clock;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::apart::SetAside;
use super::changing::Resuming;
use super::engine::Engine;
use super::fault::{Fault, OpenError};
use super::{feed, lack};
use crate::batch::{Answered, Batch};
use crate::figures::Figures;

/// How often a transaction is made again where others were in its way.
pub(super) const ATTEMPTS: usize = 20;
/// How long after a connection could not be made the next one is tried, at first and at most.
const RECONNECT: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];
/// The stack of the writer's thread: a build without optimisation has each step of its work there several times.
const STACK: usize = 4 << 20;
/// How often what deleted webhooks have left is looked for.
const CANCEL_EVERY: Duration = Duration::from_secs(1);

/// What is to be written, and who waits for it.
pub(super) enum Message {
    Accept(Vec<NewEvent>, oneshot::Sender<Answered>),
    Settle(Vec<Settlement>, oneshot::Sender<Result<(), StoreError>>),
    Change(Box<(Change, By, Option<Keep>)>, oneshot::Sender<Result<Changed, ChangeError>>),
    /// To read what others have changed, at once.
    Learn(oneshot::Sender<()>),
    Stop,
}

/// Who has committed what is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// This node.
    Ours,
    /// Others; what is told of them may be out of date by a moment.
    Others,
}

/// Told what has been committed, what is this node's in the order of its commits.
pub type FactsHook = Box<dyn FnMut(Vec<Fact>, Whose) + Send + Sync>;

/// Starts a writer, on a thread of its own: with much under way, each answer of the database would else wait until a thread has time for
/// it that serves requests. Returns the queue to it, where its end is told, and what a dispatcher has to know first.
///
/// # Errors
/// [`OpenError`].
pub(super) async fn start(
    mut writer: Writer,
) -> Result<(UnboundedSender<Message>, oneshot::Receiver<()>, Vec<Fact>), OpenError> {
    let no_thread = |error| OpenError::Unusable(format!("no thread could be made: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
    let (queue, messages) = unbounded_channel();
    let ((opened, opens), (ends, ended)) = (oneshot::channel(), oneshot::channel());
    let work = async move {
        let known = writer.open().await.map_err(Fault::at_open);
        let is_open = known.is_ok();
        // Whoever opens it may have gone.
        if opened.send(known).is_ok() && is_open {
            writer.run(messages).await;
        }
        let _ = ends.send(());
    };
    std::thread::Builder::new()
        .name("store-writer".to_owned())
        .stack_size(STACK)
        .spawn(move || runtime.block_on(work))
        .map_err(no_thread)?;
    let known = opens.await.map_err(|_| OpenError::Unusable("the writer has panicked".to_owned()))??;
    Ok((queue, ended, known))
}

/// What the writer works with.
pub(super) struct Writer {
    pub(super) engine: Engine,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) facts: FactsHook,
    pub(super) figures: Arc<Figures>,
    pub(super) resuming: VecDeque<Resuming>,
    /// When others' changes are looked for next, and what deleted webhooks have left.
    poll_at: Instant,
    cancel_at: Instant,
    /// No connection is tried before this instant, and how long after it the next one.
    reconnect_at: Instant,
    patience: Duration,
    /// When ends of attempts that could not be recorded are tried again.
    pub(super) retry_at: Instant,
    /// Ends of attempts that the database refuses to record, each for itself.
    pub(super) set_aside: Vec<SetAside>,
    /// Transactions that could not be made.
    pub(super) untold: Seldom,
}

impl Writer {
    pub(super) fn new(engine: Engine, clock: Arc<dyn Clock>, facts: FactsHook, figures: Arc<Figures>) -> Self {
        let now = Instant::now();
        Self {
            engine,
            clock,
            facts,
            figures,
            resuming: VecDeque::new(),
            poll_at: now,
            cancel_at: now,
            reconnect_at: now,
            patience: RECONNECT[0],
            retry_at: now,
            set_aside: Vec::new(),
            untold: Seldom::new(),
        }
    }

    /// Connects, and reads what there is.
    async fn open(&mut self) -> Result<Vec<Fact>, Fault> {
        self.engine.connect(self.clock.now()).await?;
        self.engine.load_directory().await
    }

    /// Writes until it is told to stop.
    async fn run(mut self, mut queue: UnboundedReceiver<Message>) {
        let mut left = Batch::default();
        loop {
            // What could not be recorded goes first, once it is time.
            let due = Instant::now() >= self.retry_at;
            let mut batch = if due { std::mem::take(&mut left) } else { Batch::default() };
            let retry_at = (!left.is_empty()).then_some(self.retry_at);
            let apart = self.gather(&mut batch, retry_at, &mut queue).await;
            let stops = matches!(apart, Some(Message::Stop));
            if stops {
                batch.join(std::mem::take(&mut left));
            }
            if !batch.is_empty() {
                left.join(self.write(batch).await);
            }
            match apart {
                // What is rare is apart: the future of all of this is moved and held as a whole.
                Some(Message::Change(asked, answer)) => Box::pin(self.take_change(*asked, answer)).await,
                Some(Message::Learn(answer)) => {
                    if self.connect().await.is_ok() {
                        self.poll().await;
                    }
                    // Whoever asked may have gone.
                    let _ = answer.send(());
                }
                Some(Message::Accept(..) | Message::Settle(..) | Message::Stop) | None => {}
            }
            if stops {
                // Whoever waits is answered by the end of this.
                return;
            }
            if !self.resuming.is_empty() {
                Box::pin(self.resume()).await;
            }
            if self.is_aside_due() {
                Box::pin(self.try_aside()).await;
            }
            if Instant::now() >= self.poll_at || self.is_away() {
                Box::pin(self.upkeep()).await;
            }
        }
    }

    /// Waits for something to do, as long as there is nothing, and takes what there is.
    async fn gather(
        &self,
        batch: &mut Batch,
        retry_at: Option<Instant>,
        queue: &mut UnboundedReceiver<Message>,
    ) -> Option<Message> {
        let until = if !self.resuming.is_empty() {
            Instant::now()
        } else if self.is_away() {
            self.reconnect_at
        } else if batch.is_empty() {
            retry_at.map_or(self.poll_at, |at| at.min(self.poll_at))
        } else {
            Instant::now()
        };
        let first = tokio::time::timeout_at(until.into(), queue.recv()).await;
        let mut next = match first {
            Ok(None) => return Some(Message::Stop),
            Ok(message) => message,
            Err(_) => None,
        };
        while let Some(message) = next {
            match message {
                Message::Accept(events, answer) => batch.accept(events, answer),
                Message::Settle(settlements, answer) => batch.settle(settlements, answer),
                Message::Change(..) | Message::Learn(_) | Message::Stop => return Some(message),
            }
            if batch.is_full() {
                return None;
            }
            next = queue.try_recv().ok();
        }
        None
    }

    /// Makes one transaction of a batch, and answers. Gives back what has to be tried again.
    async fn write(&mut self, mut batch: Batch) -> Batch {
        let started = Instant::now();
        let written = self.transact(&mut batch).await;
        self.figures.waiting_events.fetch_sub(batch.events.len(), Ordering::Relaxed);
        self.figures.waiting_bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
        match written {
            Ok((answers, facts)) => {
                self.committed(started, facts);
                batch.answer(answers);
                Batch::default()
            }
            Err(fault) if fault.is_lost() || fault.is_for_all() => self.give_up(batch, fault),
            // One that cannot be written keeps no other from being written, nor is it tried for ever.
            Err(_) if batch.accepts.len() > 1 || !batch.settlements.is_empty() => {
                Box::pin(self.write_apart(batch)).await
            }
            Err(fault) => self.give_up(batch, fault),
        }
    }

    pub(super) async fn transact(&mut self, batch: &mut Batch) -> Result<(Answered, Vec<Fact>), Fault> {
        let mut last = Fault::Conflict("others were in the way".to_owned());
        for _ in 0..ATTEMPTS {
            self.connect().await?;
            self.figures.writing.begin();
            let now = self.clock.now();
            let made = match self.engine.prepare_for(now, &batch.events).await {
                Ok(()) => self.attempt(batch).await,
                Err(fault) => Err(fault),
            };
            last = match made {
                Ok(done) => return Ok(done),
                Err(fault) => fault,
            };
            self.undo(&last).await;
            if !matches!(last, Fault::Stale | Fault::Conflict(_)) {
                batch.again |= last.is_lost();
                return Err(last);
            }
            if matches!(last, Fault::Stale) {
                self.poll().await;
            }
        }
        if batch.settlements.is_empty() {
            self.figures.writing.end();
        }
        Err(last)
    }

    async fn attempt(&mut self, batch: &Batch) -> Result<(Answered, Vec<Fact>), Fault> {
        let now = self.clock.now();
        let answers = self.engine.record(now, &batch.events, &batch.settlements, batch.again).await?;
        Ok((answers, self.engine.commit().await?))
    }

    /// A transaction was not committed, or nobody knows whether it was.
    pub(super) async fn undo(&mut self, fault: &Fault) {
        if fault.is_lost() {
            self.lose(fault);
        } else {
            if matches!(fault, Fault::Unfit(_)) {
                // It may be a day's tables that are missing: they are looked for again.
                self.engine.partitions.forget();
            }
            // Where others are in the way it is tried again, and waits still.
            if !matches!(fault, Fault::Stale | Fault::Conflict(_)) {
                self.figures.writing.end();
            }
            self.engine.rollback().await;
        }
    }

    fn lose(&mut self, fault: &Fault) {
        self.engine.disconnect();
        self.figures.writing.end();
        if !self.is_away() {
            tracing::error!(%fault, "the database is away: nothing is accepted until it is back");
            self.figures.connections_lost.fetch_add(1, Ordering::Relaxed);
        }
        self.figures.away.store(true, Ordering::Relaxed);
        self.reconnect_at = Instant::now() + self.patience;
        self.patience = (self.patience * 2).min(RECONNECT[1]);
    }

    fn is_away(&self) -> bool {
        self.figures.away.load(Ordering::Relaxed)
    }

    /// What it means that there is no connection.
    fn away(&self, why: String) -> Fault {
        self.engine.lack().of(lack::Whose::Writer).map_or(Fault::Lost(why), Fault::Crowded)
    }

    pub(super) async fn connect(&mut self) -> Result<(), Fault> {
        if self.is_away() && Instant::now() < self.reconnect_at {
            return Err(self.away("it was away a moment ago".to_owned()));
        }
        let connected = self.engine.connect(self.clock.now()).await;
        self.engine.lack().note(lack::Whose::Writer, &connected);
        match connected {
            Ok(()) => {
                if self.is_away() {
                    self.figures.away.store(false, Ordering::Relaxed);
                    tracing::info!("the database is back");
                    // What is committed of the last transaction is learnt like another node's.
                    self.poll().await;
                }
                self.patience = RECONNECT[0];
                Ok(())
            }
            Err(fault) => {
                self.lose(&fault);
                Err(self.away(fault.to_string()))
            }
        }
    }

    /// What is done now and then: others' changes are read, and what deleted webhooks have left is cancelled.
    async fn upkeep(&mut self) {
        let now = Instant::now();
        self.poll_at = now + feed::EVERY;
        if self.connect().await.is_err() {
            return;
        }
        self.poll().await;
        let shared = Arc::clone(&self.engine.shared);
        self.engine.memory.let_go_of(|webhook| {
            let account = shared.account_of(webhook).unwrap_or_default();
            !shared.serves(domain::shard::Shard::of(account, webhook))
        });
        if now >= self.cancel_at && !shared.cancelling().is_empty() {
            let at = self.clock.now();
            let more = self.apart(async |engine| engine.cancel_some(at).await).await;
            self.cancel_at = if more == Some(true) { now } else { now + CANCEL_EVERY };
        }
    }

    /// Reads what others have changed, and tells of it.
    pub(super) async fn poll(&mut self) {
        match self.engine.poll().await {
            Ok(facts) => {
                if !facts.is_empty() {
                    (self.facts)(facts, Whose::Others);
                }
            }
            Err(fault) => self.undo(&fault).await,
        }
    }

    /// A transaction of its own; `None` if it could not be made now, and is to be tried again.
    pub(super) async fn apart<T>(&mut self, work: impl AsyncFnOnce(&mut Engine) -> Result<T, Fault>) -> Option<T> {
        let started = Instant::now();
        self.figures.writing.begin();
        let made = async {
            self.engine.begin().await?;
            let done = work(&mut self.engine).await?;
            let facts = self.engine.commit().await?;
            Ok::<_, Fault>((done, facts))
        }
        .await;
        match made {
            Ok((done, facts)) => {
                self.committed(started, facts);
                Some(done)
            }
            Err(fault) => {
                tracing::warn!(%fault, "upkeep is tried again");
                self.undo(&fault).await;
                self.figures.writing.end();
                None
            }
        }
    }

    pub(super) fn committed(&mut self, started: Instant, facts: Vec<Fact>) {
        self.figures.writing.end();
        if Instant::now() >= self.retry_at {
            self.figures.unblock();
        }
        self.figures.commits.fetch_add(1, Ordering::Relaxed);
        self.figures.commit_durations.observe(started.elapsed());
        self.figures.fresh.store(self.engine.memory.len(), Ordering::Relaxed);
        let lead = self.engine.timestamp_lead(self.clock.now()).as_millis();
        self.figures.timestamp_lead_ms.store(u64::try_from(lead).unwrap_or(u64::MAX), Ordering::Relaxed);
        if !facts.is_empty() {
            (self.facts)(facts, Whose::Ours);
        }
    }
}
