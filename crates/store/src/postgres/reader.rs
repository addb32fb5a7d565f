//! Reading what is committed: each call sees one state of the database, a commit's, whole.

use std::collections::HashSet;
use std::sync::Arc;

use domain::attempt::LoggedAttempt;
use domain::audit::{AuditQuery, Entry};
use domain::cluster::Arrival;
use domain::delivery::{Delivery, Due};
use domain::event::{Event, Idempotency};
use domain::id::{AuditId, DeliveryId, EventId, ReplayId};
use domain::replay::{Replay, State};
use domain::store::{ChangeError, Changed, Page};
use domain::time::Timestamp;
use tokio_postgres::Row;

use super::connection::{Connector, Link, Purpose};
use super::deliveries::Ids;
use super::fault::Fault;
use super::idempotency::{Found, Kept};
use super::lack::Lack;
use super::pool::{Lent, Pool};
use super::shared::Shared;
use super::{audit, deliveries, event_types, events, hot, idempotency, replayed, replays};
use crate::rows::attempt;
use crate::rows::delivery::DeliveryRow;
use crate::rows::view::View;

/// How many connections read what is to be sent.
const SENDING: usize = 3;

/// Connections that read.
pub(super) struct Readers {
    pool: Pool,
    /// For what is read in order to be sent: no list that somebody looks at keeps it waiting.
    sending: Pool,
    /// For what is written beside the writer: lists of what replays cover.
    writing: Pool,
    pub(super) shared: Arc<Shared>,
}

impl Readers {
    pub(super) fn new(connector: Connector, shared: Arc<Shared>, size: usize) -> Self {
        let writing = Pool::new(connector.clone(), Purpose::Write, 2);
        let sending = Pool::new(connector.clone(), Purpose::Send, SENDING);
        Self { pool: Pool::new(connector, Purpose::Read, size), sending, writing, shared }
    }

    /// What is lacking at the database.
    pub(super) fn lack(&self) -> &Lack {
        self.pool.lack()
    }

    /// A connection that reads.
    pub(super) async fn take(&self) -> Result<Lent<'_>, Fault> {
        self.pool.take().await
    }

    /// A connection that reads what is to be sent.
    async fn take_sending(&self) -> Result<Lent<'_>, Fault> {
        self.sending.take().await
    }

    /// A connection that writes, beside the writer's.
    pub(super) async fn take_writing(&self) -> Result<Lent<'_>, Fault> {
        self.writing.take().await
    }

    /// A connection in a transaction: one state of the database for all that is read in it. [`end`] follows.
    pub(super) async fn snapshot(&self) -> Result<Lent<'_>, Fault> {
        let lent = self.pool.take().await?;
        lent.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        Ok(lent)
    }

    /// Reads nothing any more.
    pub(super) fn close(&self) {
        self.pool.close();
        self.sending.close();
        self.writing.close();
    }

    pub(super) async fn due(
        &self,
        after: Option<(Timestamp, DeliveryId)>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, Fault> {
        let link = self.take_sending().await?;
        let (mut after, mut found) = (after, Vec::new());
        while found.len() < limit {
            let of = (self.shared.paused(), self.shared.shards());
            let rows = hot::by_time(&link, after, until, limit - found.len(), of).await?;
            let Some(last) = rows.last() else { break };
            after = Some((last.row.due_at.unwrap_or_default(), last.row.id));
            // What is left of a webhook that is no more waits for nobody.
            let directory = self.shared.directory.read();
            let there = rows.iter().filter(|it| directory.webhook_numbered(it.row.webhook).is_some());
            found.extend(there.map(hot::Waiting::due));
        }
        link.done();
        Ok(found)
    }

    pub(super) async fn backlog(
        &self,
        webhook: u32,
        after: Option<DeliveryId>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, Fault> {
        let Some(account) = self.shared.account_of(webhook) else { return Ok(Vec::new()) };
        let link = self.take_sending().await?;
        let found = hot::of_webhook(&link, (account, webhook), after, until, limit).await?;
        link.done();
        Ok(found.iter().map(hot::Waiting::due).collect())
    }

    pub(super) async fn load(&self, wanted: &[(u32, EventId)]) -> Result<Vec<Arc<Event>>, Fault> {
        let wanted: Vec<_> = wanted.iter().copied().filter(|(account, _)| self.shared.is_open(*account)).collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let link = self.take_sending().await?;
        let rows = self.event_rows(&link, &wanted).await?;
        link.done();
        events::read_all(&rows, &self.shared.types())
    }

    /// The rows of these events, each of an account; the names of their types are known.
    async fn event_rows(&self, link: &Link, wanted: &[(u32, EventId)]) -> Result<Vec<Row>, Fault> {
        let rows = events::rows_of(link, wanted).await?;
        let known = events::knows_types(&rows, &self.shared.types());
        if !known {
            self.with_types(link).await?;
        }
        Ok(rows)
    }

    /// Those of these deliveries that wait, with their events.
    pub(super) async fn arrived(&self, arrivals: &[Arrival]) -> Result<(Vec<Due>, Vec<Arc<Event>>), Fault> {
        let (mut keys, mut wanted) = (hot::Keys::default(), Vec::with_capacity(arrivals.len()));
        for Arrival { account, webhook, delivery } in arrivals {
            keys.push(*account, *webhook, *delivery);
            wanted.push((*account, delivery.event));
        }
        wanted.sort_unstable();
        wanted.dedup();
        let link = self.take_sending().await?;
        let (waiting, rows) = tokio::try_join!(hot::get_all(&link, &keys), self.event_rows(&link, &wanted))?;
        link.done();
        let events = events::read_all(&rows, &self.shared.types())?;
        Ok((waiting.iter().map(hot::Waiting::due).collect(), events))
    }

    /// Reads the names of types again, if another node has met new ones.
    pub(super) async fn with_types(&self, link: &Link) -> Result<(), Fault> {
        let known = link.row("SELECT count(*) FROM event_types", &[]).await?.map_or(0, |row| row.get::<_, i64>(0));
        if known as usize > self.shared.types().len() {
            let types = event_types::load(link).await?;
            *self.shared.types_mut() = types;
        }
        Ok(())
    }

    pub(super) async fn delivery(
        &self,
        account: u32,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<(Delivery, Vec<LoggedAttempt>)>, Fault> {
        if !self.shared.is_open(account) {
            return Ok(None);
        }
        let link = self.snapshot().await?;
        self.with_types(&link).await?;
        let row = row_of(&link, account, id).await?;
        let Some(row) = row else {
            end(link).await?;
            return Ok(None);
        };
        let made = made(&link, account, id).await?;
        if made.len() != usize::from(row.attempts_made) {
            return Err(Fault::damaged(format_args!("delivery {id}"), "an attempt is missing"));
        }
        let logged = replayed::logged(&link, account, id, made).await?;
        end(link).await?;
        let mut view = View::new(&self.shared, account, now, &[]);
        Ok(view.show(&row)?.map(|delivery| (delivery, logged)))
    }

    pub(super) async fn bulk_replay(&self, account: u32, id: &ReplayId) -> Result<Option<Replay>, Fault> {
        let link = self.take().await?;
        let found = replays::by_id(&link, account, id).await?.map(|row| row.replay);
        link.done();
        Ok(found.filter(|replay| replay.state != State::Preparing))
    }

    pub(super) async fn bulk_replays(
        &self,
        account: u32,
        before: Option<u32>,
        limit: usize,
        unfinished: bool,
    ) -> Result<Page<Replay, u32>, Fault> {
        let link = self.take().await?;
        let found = replays::of_account(&link, account, before.unwrap_or(u32::MAX), limit + 1, unfinished).await?;
        link.done();
        let more = found.len() > limit;
        let rows: Vec<_> = found.into_iter().take(limit).map(|row| row.replay).collect();
        let next = rows.last().filter(|_| more).map(|replay| replay.number);
        Ok(Page { rows, next, searched_until: None })
    }

    pub(super) async fn kept(&self, key: &Idempotency, now: Timestamp) -> Result<Option<Changed>, ChangeError> {
        let link = self.take().await?;
        let found = idempotency::find(&link, &self.shared, &[key], now).await?;
        link.done();
        match found.into_iter().next().unwrap_or(Ok(Found::New)).map_err(Fault::from)? {
            Found::New => Ok(None),
            Found::OtherRequest => Err(ChangeError::OtherRequest),
            Found::Same(Kept::Answer(answer)) => Ok(Some(Changed::Repeated(answer))),
            Found::Same(Kept::Event(..)) => Ok(Some(Changed::Repeated(Vec::new()))),
        }
    }

    pub(super) async fn audit(&self, query: &AuditQuery) -> Result<Page<Entry, AuditId>, Fault> {
        let link = self.take().await?;
        let mut rows = audit::list(&link, query).await?;
        link.done();
        let more = rows.len() > query.limit;
        rows.truncate(query.limit);
        let next = rows.last().filter(|_| more).map(|entry| entry.id);
        Ok(Page { rows, next, searched_until: None })
    }

    pub(super) async fn oldest_due(&self, now: Timestamp, patient: &HashSet<u32>) -> Result<Option<Timestamp>, Fault> {
        let patient: Vec<i32> = patient.iter().map(|webhook| *webhook as i32).collect();
        let link = self.take_sending().await?;
        let oldest = hot::oldest(&link, now, (self.shared.paused(), patient), self.shared.shards()).await?;
        link.done();
        let directory = self.shared.directory.read();
        Ok(oldest.into_iter().find(|(_, webhook)| directory.webhook_numbered(*webhook).is_some()).map(|(at, _)| at))
    }
}

/// Ends the transaction of [`Readers::snapshot`].
pub(super) async fn end(link: Lent<'_>) -> Result<(), Fault> {
    link.batch("COMMIT").await?;
    link.done();
    Ok(())
}

/// A delivery's row, wherever it stands.
async fn row_of(link: &Link, account: u32, id: DeliveryId) -> Result<Option<DeliveryRow>, Fault> {
    let mut ids = Ids::default();
    ids.push(account, id);
    if let Some(row) = deliveries::get_all(link, &ids).await?.pop() {
        return Ok(Some(row));
    }
    let targets = events::targets(link, account, id.event).await?.unwrap_or_default();
    let Some(&webhook) = targets.get(usize::from(id.place)) else { return Ok(None) };
    let mut keys = hot::Keys::default();
    keys.push(account, webhook, id);
    Ok(hot::get_all(link, &keys).await?.pop().map(|waiting| waiting.row))
}

/// The attempts of a delivery, oldest first.
async fn made(link: &Link, account: u32, id: DeliveryId) -> Result<Vec<domain::attempt::Attempt>, Fault> {
    let rows = link
        .rows(
            "SELECT 1, record FROM deliveries WHERE account = $1 AND event = $2 AND place = $3 AND record IS NOT NULL
             UNION ALL SELECT number, record FROM attempts WHERE account = $1 AND event = $2 AND place = $3
             ORDER BY 1",
            &[&(account as i32), &(id.event.0 as i64), &(id.place as i16)],
        )
        .await?;
    rows.iter().map(|row| Ok(attempt::decode(id, row.get::<_, i32>(0) as u16, row.get(1))?)).collect()
}
