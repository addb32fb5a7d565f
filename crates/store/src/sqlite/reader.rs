//! Reading what is committed: rows and memory together, so that what is shown is exact.
//!
//! Memory is read first, then the rows: what got its row in between is in both, and the row is taken.

use std::collections::HashSet;
use std::sync::Arc;

use domain::attempt::LoggedAttempt;
use domain::audit::{AuditQuery, Entry};
use domain::delivery::{Delivery, DeliveryStatus, Due};
use domain::event::{Event, Idempotency};
use domain::id::{AuditId, DeliveryId, EventId, ReplayId, WebhookId};
use domain::replay::{Replay, State};
use domain::stats::{Stats, StatsQuery};
use domain::store::{ChangeError, Changed, DeliveryQuery, EventQuery, Page, StoreError};
use domain::time::Timestamp;
use rusqlite::{Connection, Transaction};

use super::fault::Fault;
use super::idempotency::{Found, Kept};
use super::shared::Shared;
use super::view::View;
use super::{
    attempts, audit, deliveries, due, event_list, events, idempotency, list, replayed, replays, schema, stats,
};

/// A connection that reads. Each call sees one state of the store: a commit's, whole.
#[derive(Debug)]
pub struct Reader {
    pub(super) conn: Connection,
    pub(super) shared: Arc<Shared>,
}

impl Reader {
    pub(super) fn open(shared: Arc<Shared>) -> Result<Self, StoreError> {
        let conn = schema::open_reader(&shared.file).map_err(Fault::from)?;
        Ok(Self { conn, shared })
    }

    /// A transaction: one state of the store for all that is read in it.
    pub(super) fn snapshot(&self) -> Result<Transaction<'_>, Fault> {
        Ok(self.conn.unchecked_transaction()?)
    }

    /// As [`domain::store::Store::due`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn due(
        &self,
        after: Option<(Timestamp, DeliveryId)>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        Ok(due::by_time(&self.conn, after, until, limit, |webhook| self.shared.is_active(webhook))?)
    }

    /// As [`domain::store::Store::backlog`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn backlog(
        &self,
        webhook: u32,
        after: Option<DeliveryId>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        Ok(due::of_webhook(&self.conn, webhook, after, until, limit)?)
    }

    /// As [`domain::store::Store::load`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn load(&self, wanted: &[(u32, EventId)]) -> Result<Vec<Arc<Event>>, StoreError> {
        let mut found = Vec::with_capacity(wanted.len());
        for (account, id) in wanted {
            found.extend(self.event_of_anybody(*id)?.filter(|event| event.account == *account));
        }
        Ok(found)
    }

    /// An event, whosever it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn event_of_anybody(&self, id: EventId) -> Result<Option<Arc<Event>>, StoreError> {
        let found = events::get(&self.conn, &self.shared.types(), id)?;
        Ok(found.filter(|event| self.shared.is_open(event.account)))
    }

    /// As [`domain::store::Store::event`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn event(&self, account: u32, id: EventId) -> Result<Option<Arc<Event>>, StoreError> {
        Ok(self.event_of_anybody(id)?.filter(|event| event.account == account))
    }

    /// As [`domain::store::Store::deleted_webhooks`].
    #[must_use]
    pub fn deleted_webhooks(&self, account: u32, id: &WebhookId) -> Vec<u32> {
        self.shared.deleted_webhooks(account, id)
    }

    /// As [`domain::store::Store::events`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn events(&self, query: &EventQuery) -> Result<Page<Arc<Event>, EventId>, StoreError> {
        if !self.shared.is_open(query.account) {
            return Ok(Page::empty());
        }
        Ok(event_list::events(self, query)?)
    }

    /// As [`domain::store::Store::delivery`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn delivery(
        &self,
        account: u32,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<(Delivery, Vec<LoggedAttempt>)>, StoreError> {
        let fresh = self.shared.fresh().get(id).map(|delivery| delivery.row(id));
        let snapshot = self.snapshot()?;
        let stored = deliveries::get(&snapshot, id)?;
        let has_row = stored.is_some();
        let Some(row) = stored.or(fresh).filter(|row| row.account == account) else { return Ok(None) };
        if !self.shared.is_open(account) {
            return Ok(None);
        }
        let mut made = Vec::new();
        if has_row {
            made.extend(deliveries::first_attempt(&snapshot, id)?);
            made.extend(attempts::later(&snapshot, id)?);
        }
        if made.len() != usize::from(row.attempts_made) {
            return Err(Fault::damaged(format_args!("delivery {id}"), "an attempt is missing").into());
        }
        let mut view = View::new(&self.shared, account, now, &[]);
        let Some(delivery) = view.show(&row)? else { return Ok(None) };
        Ok(Some((delivery, replayed::logged(&snapshot, id, made)?)))
    }

    /// As [`domain::store::Store::bulk_replay`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn bulk_replay(&self, account: u32, id: &ReplayId) -> Result<Option<Replay>, StoreError> {
        let found = replays::by_id(&self.conn, id)?.map(|row| row.replay);
        Ok(found.filter(|replay| replay.account == account && replay.state != State::Preparing))
    }

    /// As [`domain::store::Store::bulk_replays`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn bulk_replays(
        &self,
        account: u32,
        before: Option<u32>,
        limit: usize,
        unfinished: bool,
    ) -> Result<Page<Replay, u32>, StoreError> {
        let below = before.unwrap_or(u32::MAX);
        let found = replays::of_account(&self.conn, account, below, limit + 1, unfinished)?;
        let more = found.len() > limit;
        let rows: Vec<_> = found.into_iter().take(limit).map(|row| row.replay).collect();
        let next = rows.last().filter(|_| more).map(|replay| replay.number);
        Ok(Page { rows, next, searched_until: None })
    }

    /// As [`domain::store::Store::deliveries`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn deliveries(&self, query: &DeliveryQuery) -> Result<Page<Delivery, DeliveryId>, StoreError> {
        if !self.shared.is_open(query.account) {
            return Ok(Page::empty());
        }
        Ok(list::deliveries(self, query)?)
    }

    /// As [`domain::store::Store::stats`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn stats(&self, query: &StatsQuery) -> Result<Vec<Stats>, StoreError> {
        Ok(stats::of(self, query)?)
    }

    /// As [`domain::store::Store::kept`].
    ///
    /// # Errors
    /// [`ChangeError::OtherRequest`] if the key came with another request; else only [`ChangeError::Store`].
    pub fn kept(&self, key: &Idempotency, now: Timestamp) -> Result<Option<Changed>, ChangeError> {
        match idempotency::find(&self.conn, &self.shared.vault, key, now)? {
            Found::New => Ok(None),
            Found::OtherRequest => Err(ChangeError::OtherRequest),
            Found::Same(Kept::Answer(answer)) => Ok(Some(Changed::Repeated(answer))),
            Found::Same(Kept::Event(..)) => Ok(Some(Changed::Repeated(Vec::new()))),
        }
    }

    /// As [`domain::store::Store::audit`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn audit(&self, query: &AuditQuery) -> Result<Page<Entry, AuditId>, StoreError> {
        let mut rows = audit::list(&self.conn, query)?;
        let more = rows.len() > query.limit;
        rows.truncate(query.limit);
        let next = rows.last().filter(|_| more).map(|entry| entry.id);
        Ok(Page { rows, next, searched_until: None })
    }

    /// As [`domain::store::Store::oldest_due`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn oldest_due(&self, now: Timestamp, patient: &HashSet<u32>) -> Result<Option<Timestamp>, StoreError> {
        let directory = self.shared.directory.read();
        let fresh = self.shared.fresh();
        let counts = fresh.iter().map(|(_, delivery)| delivery).filter(|delivery| {
            !patient.contains(&delivery.webhook) && directory.webhook_numbered(delivery.webhook).is_some()
        });
        let first = counts.map(|delivery| delivery.due_at).find(|at| *at <= now);
        drop((fresh, directory));
        let wanted = |webhook| !patient.contains(&webhook) && self.shared.is_active(webhook);
        let stored = due::oldest(&self.conn, now, wanted)?;
        Ok(first.into_iter().chain(stored).min())
    }

    /// Whether deliveries of these statuses, or of all if there are none, may have no row.
    pub(super) fn may_be_unstored(&self, account: u32, statuses: &[DeliveryStatus]) -> bool {
        statuses.is_empty()
            || [DeliveryStatus::Pending, DeliveryStatus::Sending].iter().any(|status| statuses.contains(status))
            || (statuses.contains(&DeliveryStatus::Cancelled) && self.shared.cancels_in(account))
    }
}
