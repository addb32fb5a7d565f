//! What a replay in bulk covers: every delivery that its filter means, oldest first, in one state of the store.

use std::collections::HashSet;

use domain::delivery::{Delivery, DeliveryStatus};
use domain::filter::DeliveryFilter;
use domain::id::{DeliveryId, EventId};
use domain::redaction::Redaction;
use domain::replay::{Coverage, PassedOver, Scope};
use domain::store::StoreError;
use domain::time::Timestamp;
use rusqlite::{CachedStatement, Connection, Rows, ToSql};

use super::deliveries::{self, DeliveryRow, State, columns};
use super::fault::Fault;
use super::list::finds;
use super::reader::Reader;
use super::view::View;
use crate::rows::search::Search;
use crate::rows::wanted::{self, LEAD_MAX};

/// How many deliveries are listed at once.
const AT_ONCE: usize = 20 * super::replays::PAGE;

impl Reader {
    /// As [`domain::store::Store::coverage`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn coverage(&self, scope: &Scope, first: usize) -> Result<Coverage, StoreError> {
        let mut coverage = Coverage::default();
        coverage.passed_over = go_through(self, scope, |delivery| {
            coverage.total += 1;
            if coverage.first.len() < first {
                coverage.first.push(delivery);
            }
            Ok(())
        })?;
        Ok(coverage)
    }

    /// Lists what a replay of this scope covers, some at a time, oldest first; says how much the filter means besides.
    ///
    /// # Errors
    /// [`StoreError`], and what `take` answers.
    pub fn list_covered(
        &self,
        scope: &Scope,
        mut take: impl FnMut(Vec<DeliveryId>) -> Result<(), StoreError>,
    ) -> Result<PassedOver, StoreError> {
        let mut ids = Vec::new();
        let mut refused = Ok(());
        let passed_over = go_through(self, scope, |delivery| {
            ids.push(delivery.id);
            if ids.len() == AT_ONCE {
                refused = take(std::mem::take(&mut ids));
            }
            refused.clone().map_err(|_| Fault::Full)
        });
        refused?;
        let passed_over = passed_over?;
        if !ids.is_empty() {
            take(ids)?;
        }
        Ok(passed_over)
    }
}

/// Shows each delivery that can be sent again, oldest first; counts the others that the filter means.
fn go_through(
    reader: &Reader,
    scope: &Scope,
    mut covered: impl FnMut(Delivery) -> Result<(), Fault>,
) -> Result<PassedOver, Fault> {
    let mut view = View::new(&reader.shared, scope.account, scope.now, &scope.sending);
    let unstored = unstored(reader, scope, &mut view)?;
    let redaction = reader.shared.redaction(scope.account);
    let mut text = Text::new(reader, scope, &redaction);
    let snapshot = reader.snapshot()?;
    let mut passed_over = PassedOver::default();
    for (id, webhook, status) in unstored {
        // What got its row since memory was read is met among the rows.
        if deliveries::get(&snapshot, id)?.is_none() && text.finds(&snapshot, webhook, id)? {
            let gone = status == DeliveryStatus::Cancelled;
            *(if gone { &mut passed_over.webhook_deleted } else { &mut passed_over.unfinished }) += 1;
        }
    }
    let mut statements = statements(&snapshot, scope, reader.shared.cancels_in(scope.account))?;
    let mut streams = Vec::new();
    for (statement, state) in &mut statements {
        streams.push(Stream::start(statement, scope, text.event(), *state)?);
    }
    loop {
        let first = streams.iter_mut().filter(|stream| stream.head.is_some());
        let Some(stream) = first.min_by_key(|stream| stream.head.as_ref().map(|row| row.id)) else {
            return Ok(passed_over);
        };
        let Some(row) = stream.advance()?.filter(|row| row.account == scope.account) else { continue };
        let Some(delivery) = view.show(&row)?.filter(|delivery| scope.filter.matches(delivery)) else { continue };
        if !text.finds(&snapshot, row.webhook, row.id)? {
            continue;
        }
        if delivery.status == DeliveryStatus::Cancelled && row.state == State::Waiting {
            passed_over.webhook_deleted += 1;
        } else if row.state == State::Waiting {
            passed_over.unfinished += 1;
        } else if row.test {
            passed_over.tests += 1;
        } else {
            match reader.shared.directory.read().webhook_numbered(row.webhook) {
                None => passed_over.webhook_deleted += 1,
                Some(webhook) if webhook.pause.is_some() => passed_over.webhook_paused += 1,
                Some(_) => covered(delivery)?,
            }
        }
    }
}

/// The text that the filter wants in ids or bodies, if it wants one. It is looked for last, in what all else wants: bodies are
/// read for it, however many there are, since a replay covers what its filter means and no less.
struct Text<'a> {
    search: Option<(Search<'a>, HashSet<u32>)>,
}

impl<'a> Text<'a> {
    fn new(reader: &Reader, scope: &Scope, redaction: &'a Redaction) -> Self {
        let search = scope.filter.q.as_deref().map(|text| Search::new(text, redaction));
        let with_webhooks = |search: Search<'a>| {
            let named = reader.shared.webhooks_named(scope.account, &search);
            (search, named)
        };
        Self { search: search.map(with_webhooks) }
    }

    /// The one event whose deliveries are meant, if the text is an id.
    fn event(&self) -> Option<EventId> {
        self.search.as_ref().and_then(|(search, _)| search.event())
    }

    fn finds(&mut self, conn: &Connection, webhook: u32, delivery: DeliveryId) -> Result<bool, Fault> {
        match &mut self.search {
            None => Ok(true),
            Some((_, named)) if named.contains(&webhook) => Ok(true),
            Some((search, _)) => finds(search, conn, delivery),
        }
    }
}

/// The deliveries that the filter means, its text apart, and that have no row: they are unfinished, or their webhook was deleted.
fn unstored(
    reader: &Reader,
    scope: &Scope,
    view: &mut View<'_>,
) -> Result<Vec<(DeliveryId, u32, DeliveryStatus)>, Fault> {
    let mut found = Vec::new();
    if !reader.may_be_unstored(scope.account, &scope.filter.status) {
        return Ok(found);
    }
    let fresh = reader.shared.fresh();
    for (id, delivery) in fresh.iter() {
        if delivery.account == scope.account
            && scope.webhook.is_none_or(|webhook| webhook == delivery.webhook)
            && let Some(shown) = view.show(&delivery.row(id))?.filter(|delivery| scope.filter.matches(delivery))
        {
            found.push((id, delivery.webhook, shown.status));
        }
    }
    Ok(found)
}

/// The statements that together find every row that the filter may mean, each with the state that it is limited to.
fn statements<'c>(
    conn: &'c Connection,
    scope: &Scope,
    cancelling: bool,
) -> Result<Vec<(CachedStatement<'c>, Option<State>)>, Fault> {
    let mut states = undelivered(&scope.filter);
    if let Some(states) = &mut states
        && cancelling
        && states.contains(&State::Cancelled)
        && !states.contains(&State::Waiting)
    {
        states.push(State::Waiting);
    }
    if let Some(states) = states {
        let sql = match scope.webhook {
            None => concat!(
                "SELECT ",
                columns!(),
                " FROM deliveries INDEXED BY deliveries_of_state
                 WHERE account = ?1 AND ?2 IS ?2 AND state = ?5 AND state <> 1 AND event >= ?3 AND event < ?4
                 ORDER BY event, place"
            ),
            Some(_) => concat!(
                "SELECT ",
                columns!(),
                " FROM deliveries INDEXED BY deliveries_of_webhook_state
                 WHERE ?1 = ?1 AND webhook = ?2 AND state = ?5 AND state <> 1 AND event >= ?3 AND event < ?4
                 ORDER BY event, place"
            ),
        };
        return states.into_iter().map(|state| Ok((conn.prepare_cached(sql)?, Some(state)))).collect();
    }
    if scope.webhook.is_some() {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM deliveries_by_webhook CROSS JOIN deliveries USING (event, place, webhook)
             WHERE ?1 = ?1 AND webhook = ?2 AND event >= ?3 AND event < ?4 AND ?5 IS ?5
             UNION ALL SELECT ",
            columns!(),
            " FROM deliveries_young CROSS JOIN deliveries USING (event, place, webhook)
             WHERE ?1 = ?1 AND webhook = ?2 AND event >= ?3 AND event < ?4 AND ?5 IS ?5
             ORDER BY event, place"
        );
        return Ok(vec![(conn.prepare_cached(sql)?, None)]);
    }
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM (SELECT key, account AS of FROM events) CROSS JOIN deliveries ON event = key
         WHERE of = ?1 AND ?2 IS ?2 AND key >= ?3 AND key < ?4 AND ?5 IS ?5 ORDER BY key, place"
    );
    Ok(vec![(conn.prepare_cached(sql)?, None)])
}

/// The states to look for, if the filter cannot mean anything delivered.
fn undelivered(filter: &DeliveryFilter) -> Option<Vec<State>> {
    wanted::states(filter).filter(|states| !states.contains(&State::Delivered))
}

/// Rows that one statement finds, the next one read ahead.
struct Stream<'s> {
    rows: Rows<'s>,
    head: Option<DeliveryRow>,
}

impl<'s> Stream<'s> {
    /// Only of `event`, if that is given.
    fn start(
        statement: &'s mut CachedStatement<'_>,
        scope: &Scope,
        event: Option<EventId>,
        state: Option<State>,
    ) -> Result<Self, Fault> {
        let key = |at: Timestamp| EventId::first_at(at.0.max(0)).0 as i64;
        let from = scope.filter.since.map_or(0, |since| key(since.minus(LEAD_MAX)));
        let below = scope.filter.until.map_or(i64::MAX, key);
        let (from, below) = match event.map(|event| event.0 as i64) {
            Some(event) => (from.max(event), below.min(event.saturating_add(1))),
            None => (from, below),
        };
        let state = state.map(|state| state as i64);
        let parameters: [&dyn ToSql; 5] = [&scope.account, &scope.webhook, &from, &below, &state];
        let mut stream = Self { rows: statement.query(parameters)?, head: None };
        stream.advance()?;
        Ok(stream)
    }

    /// The row at the head; the next one takes its place.
    fn advance(&mut self) -> Result<Option<DeliveryRow>, Fault> {
        let next = self.rows.next()?.map(deliveries::read).transpose()?;
        Ok(std::mem::replace(&mut self.head, next))
    }
}
