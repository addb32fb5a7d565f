//! The seam to what is kept: one store takes every write, in an order, and tells what it has committed.
//!
//! The store is the queue: an event is accepted by the transaction that holds it with the webhooks that it goes to, and
//! everything in memory can be rebuilt from there.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::attempt::LoggedAttempt;
use crate::audit::{Act, AuditQuery, By, Entry};
use crate::delivery::{Delivery, Due, Settlement};
use crate::event::{Event, Idempotency, NewEvent};
use crate::event_filter::EventPattern;
use crate::filter::DeliveryFilter;
use crate::id::{AuditId, DeliveryId, EventId, KeyId, ReplayId, SessionId, WebhookId};
use crate::in_flight::Flight;
use crate::key::{Account, ApiKey};
use crate::replay::{Coverage, Replay, ReplayChange, Scope};
use crate::session::Session;
use crate::stats::{Stats, StatsQuery};
use crate::time::Timestamp;
use crate::webhook::{Held, Webhook};

/// An event was accepted: it is on disk with its deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The event's id.
    pub id: EventId,
    /// The event's timestamp.
    pub timestamp: Timestamp,
    /// How many webhooks it goes to.
    pub deliveries: usize,
    /// Whether an earlier request with the same idempotency key had it accepted.
    pub repeated: bool,
}

/// An event was not accepted; nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// The account, or the webhook of a test, was deleted meanwhile.
    #[error("the account or webhook no longer exists")]
    Gone,
    /// The idempotency key came before, with another request.
    #[error("the idempotency key was used with another request")]
    OtherRequest,
    /// It was to be accepted only if its key was answered before, and it was not.
    #[error("nothing was answered under the idempotency key")]
    NotRepeated,
    /// The clock is beyond what an id can hold: nothing is accepted until it is right again.
    #[error("this machine's clock says {0}, for which there are no ids")]
    Clock(Timestamp),
    /// The store cannot take more now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The store could not do its part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Too much waits to be written; try again in a moment.
    #[error("too much waits to be written")]
    Busy,
    /// The database cannot be reached, or refuses connections: nothing is accepted or changed until it is back. The text says why, for the
    /// operator.
    #[error("the database cannot be reached: {0}")]
    Away(String),
    /// The database has been asked, and says nothing: what was asked for may be committed yet, or not.
    #[error("the database has not answered in time: this may be done yet, or not")]
    Unanswered,
    /// What is written is not committed for a long time, though the database answers: it waits for a standby, or for a lock. Everything that is to
    /// be written waits for that.
    #[error("commits do not return: the database waits for a standby (synchronous_standby_names) or for a lock")]
    Stuck,
    /// The disk is full, or what is kept has reached its size and nothing of it may go: nothing is accepted until there is
    /// space again.
    #[error("{0}")]
    NoSpace(NoSpace),
    /// The database has no further connection for this node, and something that it cannot do without one waits. The text says why, for the
    /// operator.
    #[error("the database has no connection left: {0}")]
    Crowded(String),
    /// The database refuses whatever is to be written: a right or a table is missing. Nothing is accepted or recorded until somebody has mended
    /// that. The text says what, for the operator.
    #[error("the database refuses what is written: {0}")]
    Refused(String),
    /// The store is stopping, or has stopped after a fault of the disk.
    #[error("the store has stopped: {0}")]
    Stopped(String),
    /// What was read is damaged: its checksum does not fit.
    #[error("damaged record: {0}")]
    Damaged(String),
}

/// Why there is no space for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSpace {
    /// The disk is full.
    #[error("the disk is full")]
    Disk,
    /// Everything that is kept has reached the size that the operator gave, and what is left is unfinished.
    #[error("what is kept has reached its size, and only unfinished deliveries are left")]
    Store,
    /// What is kept of this account has reached its size, and what is left is unfinished.
    #[error("what is kept of the account has reached its size, and only unfinished deliveries are left")]
    Account,
}

/// A change to accounts, webhooks, keys or one delivery.
#[derive(Debug, Clone)]
pub enum Change {
    /// Create the account (`version` 1), or change the one whose version is one less.
    PutAccount(Account),
    /// Delete the account, and for good all that it owns: webhooks, keys, events, deliveries, attempts.
    DeleteAccount(u32),
    /// Create the webhook (`number` 0, `version` 1), or change the one whose version is one less. When this pauses the
    /// webhook, whatever of its deliveries waits in memory only gets its row in the same transaction: a paused webhook
    /// has everything on disk.
    PutWebhook(Box<Webhook>),
    /// [`Change::PutWebhook`] with `pause` gone, and what happens to the deliveries that are held.
    Resume {
        /// The webhook as it is to be.
        webhook: Box<Webhook>,
        /// What happens to what is held.
        held: Held,
        /// Deliveries per second for what was held, until it has been sent; `None` for no limit of its own.
        rate: Option<u32>,
    },
    /// Delete the webhook; its unfinished deliveries are cancelled, its log stays.
    DeleteWebhook(u32),
    /// Remember since when every attempt of a webhook fails (or that one succeeded). Changes no version.
    Failing {
        /// The webhook's number.
        webhook: u32,
        /// The first failure after the last success.
        since: Option<Timestamp>,
    },
    /// What a pause has held has been started: the rate of [`Change::Resume`] is over. Nothing happens if the webhook has
    /// another version by now. Changes no version.
    HeldSent {
        /// The webhook's number.
        webhook: u32,
        /// Its version.
        version: u64,
    },
    /// A webhook's receiver has asked to be left alone until then; another URL, or a resume, ends that. Changes no version.
    LeaveAlone {
        /// The webhook's number.
        webhook: u32,
        /// Until when.
        until: Timestamp,
    },
    /// Create a key.
    PutKey(ApiKey),
    /// Revoke a key; the sessions that come from it end with it.
    RevokeKey(KeyId),
    /// Open sessions, all or none, and forget those that ended long ago.
    OpenSessions {
        /// The new sessions.
        sessions: Vec<Session>,
        /// The link that is spent for them: it must be there, and not be spent yet.
        link: Option<SessionId>,
    },
    /// End a session.
    EndSession(SessionId),
    /// Send a delivery of this account again: the same bytes and ids, at once, the schedule afresh.
    Replay(u32, DeliveryId),
    /// Cancel an unfinished delivery of this account.
    Cancel(u32, DeliveryId),
    /// Remember when keys were last used; what is gone, or was used later, is passed over.
    KeysUsed(Vec<(KeyId, Timestamp)>),
    /// Change nothing, and say in the audit log that something was done: a secret was shown.
    Note(Act),
    /// Change a replay in bulk.
    BulkReplay(ReplayChange),
}

impl Change {
    /// Whether it makes something new, or sends again: what a full disk has no room for. Any other takes a few bytes, and may be what makes room.
    #[must_use]
    pub fn makes_more(&self) -> bool {
        match self {
            Self::PutAccount(account) => account.version == 1,
            Self::PutWebhook(webhook) => webhook.number == 0,
            Self::BulkReplay(change) => matches!(change, ReplayChange::Start(_)),
            Self::PutKey(_) | Self::Replay(..) => true,
            Self::DeleteAccount(_)
            | Self::Resume { .. }
            | Self::DeleteWebhook(_)
            | Self::Failing { .. }
            | Self::HeldSent { .. }
            | Self::LeaveAlone { .. }
            | Self::RevokeKey(_)
            | Self::OpenSessions { .. }
            | Self::EndSession(_)
            | Self::Cancel(..)
            | Self::KeysUsed(_)
            | Self::Note(_) => false,
        }
    }
}

/// The answer that an idempotency key is to be remembered with, in the same transaction as the change.
#[derive(Debug, Clone)]
pub struct Keep {
    /// The key and the request.
    pub idempotency: Idempotency,
    /// The answer's bytes; sealed at rest, since it may hold a secret.
    pub answer: Vec<u8>,
}

/// A change was made, or had been made before under the same idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// It was made now.
    Made,
    /// It had been made; this was answered.
    Repeated(Vec<u8>),
}

/// A change was not made; nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// What is to be changed does not exist.
    #[error("not found")]
    NotFound,
    /// What is to be created exists.
    #[error("exists already")]
    Exists,
    /// It was changed since it was read: its version is another.
    #[error("changed meanwhile")]
    Stale,
    /// A delivery's status does not allow it; the text says why.
    #[error("{0}")]
    State(&'static str),
    /// The idempotency key came before, with another request.
    #[error("the idempotency key was used with another request")]
    OtherRequest,
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Something that has been committed. Facts come in the order of their commits.
#[derive(Debug, Clone)]
pub enum Fact {
    /// An event was accepted.
    Accepted {
        /// The event.
        event: Arc<Event>,
        /// For each place of the event's list, whether the delivery waits on disk ([`Store::backlog`]) and not for this
        /// fact: its webhook is paused, or has more waiting than memory should hold.
        on_disk: Vec<bool>,
    },
    /// A webhook was created or changed.
    Webhook(Arc<Webhook>),
    /// A webhook was resumed, and what was held is to be sent.
    Resumed {
        /// The webhook's number.
        webhook: u32,
        /// Deliveries per second for what was held.
        rate: Option<u32>,
    },
    /// A webhook was deleted; its deliveries are cancelled.
    WebhookDeleted {
        /// The webhook's number.
        webhook: u32,
    },
    /// A delivery is to be sent again.
    Replayed(Due),
    /// A replay in bulk was started, has moved on or has ended. At most one for each commit and replay.
    BulkReplay(Arc<Replay>),
    /// A delivery was cancelled.
    Cancelled {
        /// The delivery.
        delivery: DeliveryId,
        /// The number of its webhook.
        webhook: u32,
    },
    /// An attempt was recorded.
    Settled(Arc<Settlement>),
}

/// One page of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, C> {
    /// The rows.
    pub rows: Vec<T>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<C>,
    /// Set when the page ends since the store has looked for long enough: everything accepted at this instant or after it
    /// has been looked through, and `next` goes on before it.
    pub searched_until: Option<Timestamp>,
}

impl<T, C> Page<T, C> {
    /// A page with nothing on it, and nothing after it.
    #[must_use]
    pub const fn empty() -> Self {
        Self { rows: Vec::new(), next: None, searched_until: None }
    }
}

/// For how long a list looks for what is rare before it answers with what it has found: the store's monotonic clock
/// counts. However short it is, every page comes further than the one before.
pub const PATIENCE: Duration = Duration::from_secs(3_600);

/// Which deliveries a list shows.
#[derive(Debug, Clone)]
pub struct DeliveryQuery {
    /// The number of the account.
    pub account: u32,
    /// Only deliveries of this event.
    pub event: Option<EventId>,
    /// The filter. Its webhook is one of the account's, as a number in `webhook`.
    pub filter: DeliveryFilter,
    /// The number of the filter's webhook, where no other has had its id.
    pub webhook: Option<u32>,
    /// Only deliveries before this one.
    pub before: Option<DeliveryId>,
    /// How many rows at most.
    pub limit: usize,
    /// The time by which `held` and `pending` are told apart.
    pub now: Timestamp,
    /// The deliveries in flight: they are `sending`.
    pub sending: Vec<Flight>,
    /// For how long the store looks at most; [`PATIENCE`] where nobody waits.
    pub patience: Duration,
}

impl DeliveryQuery {
    /// The newest deliveries of an account that the filter means, as they stand at `now`. The filter's webhook, if it has
    /// one, has to be given as `webhook` too.
    #[must_use]
    pub const fn new(account: u32, filter: DeliveryFilter, now: Timestamp) -> Self {
        Self {
            account,
            event: None,
            filter,
            webhook: None,
            before: None,
            limit: 100,
            now,
            sending: Vec::new(),
            patience: PATIENCE,
        }
    }
}

/// Which events a list shows.
#[derive(Debug, Clone)]
pub struct EventQuery {
    /// The number of the account.
    pub account: u32,
    /// Only of types that one of these means; empty for all.
    pub events: Vec<EventPattern>,
    /// Only accepted at this instant or after it.
    pub since: Option<Timestamp>,
    /// Only accepted before this instant.
    pub until: Option<Timestamp>,
    /// Only those whose id or data hold this text.
    pub q: Option<String>,
    /// Only events before this one.
    pub before: Option<EventId>,
    /// How many rows at most.
    pub limit: usize,
    /// As in [`DeliveryQuery`].
    pub patience: Duration,
}

impl EventQuery {
    /// The newest `limit` events of an account.
    #[must_use]
    pub const fn new(account: u32, limit: usize) -> Self {
        Self { account, events: Vec::new(), since: None, until: None, q: None, before: None, limit, patience: PATIENCE }
    }
}

/// The store. One implementation keeps everything in one SQLite file, another on PostgreSQL.
#[async_trait]
pub trait Store: Send + Sync {
    /// Accepts events, all in one transaction; answers after its fsync, in order.
    async fn accept(&self, events: Vec<NewEvent>) -> Vec<Result<Accepted, AcceptError>>;

    /// Records the ends of attempts; answers after the fsync.
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), StoreError>;

    /// Makes a change; answers after its fsync. With `keep`, the change is made once per idempotency key. What it was and
    /// `by` whom is in the audit log with the same transaction; only our own
    /// bookkeeping ([`Change::Failing`], [`Change::HeldSent`], [`Change::LeaveAlone`], [`Change::KeysUsed`]) is not.
    async fn change(&self, change: Change, by: By, keep: Option<Keep>) -> Result<Changed, ChangeError>;

    /// Entries of the audit log, newest first.
    async fn audit(&self, query: AuditQuery) -> Result<Page<Entry, AuditId>, StoreError>;

    /// The deliveries that are due before `until`, by due time, from after `after` on; paused webhooks' left out.
    async fn due(
        &self,
        after: Option<(Timestamp, DeliveryId)>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError>;

    /// What waits on disk for a webhook and is due before `until`, oldest event first, from after `after` on.
    async fn backlog(
        &self,
        webhook: u32,
        after: Option<DeliveryId>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError>;

    /// The events of these ids, each of an account, in their order; what is missing is left out.
    async fn load(&self, wanted: Vec<(u32, EventId)>) -> Result<Vec<Arc<Event>>, StoreError>;

    /// An event of the account.
    async fn event(&self, account: u32, id: EventId) -> Result<Option<Arc<Event>>, StoreError>;

    /// Events of an account, newest first.
    async fn events(&self, query: EventQuery) -> Result<Page<Arc<Event>, EventId>, StoreError>;

    /// A delivery of the account, with its attempts, oldest first. `sending` is the caller's to add.
    async fn delivery(
        &self,
        account: u32,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<(Delivery, Vec<LoggedAttempt>)>, StoreError>;

    /// The numbers of the account's deleted webhooks that had this id and whose log is kept, as memory has them.
    fn deleted_webhooks(&self, account: u32, id: &WebhookId) -> Vec<u32>;

    /// Deliveries of an account, newest first.
    async fn deliveries(&self, query: DeliveryQuery) -> Result<Page<Delivery, DeliveryId>, StoreError>;

    /// Figures, in the order of the query's subjects: from what is summed up, never by reading deliveries.
    async fn stats(&self, query: StatsQuery) -> Result<Vec<Stats>, StoreError>;

    /// What a replay of this scope would cover, with the first `first` deliveries of it. Changes nothing.
    async fn coverage(&self, scope: Scope, first: usize) -> Result<Coverage, StoreError>;

    /// Lists what a replay of this scope covers, as it is at one instant, under the replay's id. It is nobody's until
    /// [`ReplayChange::Start`]; the answer has its number, and how much it covers.
    async fn prepare_replay(&self, scope: Scope, replay: Replay) -> Result<Replay, StoreError>;

    /// A replay of the account.
    async fn bulk_replay(&self, account: u32, id: ReplayId) -> Result<Option<Replay>, StoreError>;

    /// Replays of the account, newest first, those with numbers below `before`; only those that are not over, if
    /// `unfinished`.
    async fn bulk_replays(
        &self,
        account: u32,
        before: Option<u32>,
        limit: usize,
        unfinished: bool,
    ) -> Result<Page<Replay, u32>, StoreError>;

    /// The answer kept under an idempotency key: `Ok(None)` if it never came.
    async fn kept(&self, idempotency: Idempotency) -> Result<Option<Changed>, ChangeError>;

    /// When the oldest delivery that is due, and not held, was due, those of the webhooks `patient` left out.
    async fn oldest_due(&self, now: Timestamp, patient: HashSet<u32>) -> Result<Option<Timestamp>, StoreError>;

    /// Whether it answers, and takes what is written as far as it knows.
    async fn ready(&self) -> Result<(), StoreError> {
        self.oldest_due(Timestamp(0), HashSet::new()).await.map(drop)
    }
}
