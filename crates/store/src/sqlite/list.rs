//! Lists of deliveries: by the index that fits the filter, newest first, merged with what has no row yet.

use domain::delivery::{Delivery, DeliveryStatus};
use domain::filter::{CodePattern, DeliveryFilter};
use domain::id::{DeliveryId, EventId};
use domain::store::{DeliveryQuery, Page};
use domain::time::Timestamp;
use rusqlite::{CachedStatement, Connection, Rows, ToSql};

use super::deliveries::{self, DeliveryRow, State, columns};
use super::fault::Fault;
use super::reader::Reader;
use super::search::Search;
use super::view::View;

/// How many rows one page looks at. Past that it ends where it has come to, and the next one goes on there.
const SCANNED_MAX: usize = 100_000;
/// How many candidates without a row are taken beyond a page's size, since some may get their row meanwhile.
const FRESH_SPARE: usize = 64;
/// How far a timestamp may lie after its key's microsecond, generously: see `stamps`.
const LEAD_MAX: std::time::Duration = std::time::Duration::from_secs(1);
/// After every delivery.
const END: DeliveryId = DeliveryId { event: EventId(i64::MAX as u64), place: u16::MAX };

/// A page of deliveries.
pub(super) fn deliveries(reader: &Reader, query: &DeliveryQuery) -> Result<Page<Delivery, DeliveryId>, Fault> {
    let mut search = query.filter.q.as_deref().map(Search::new);
    let mut query = query.clone();
    if let Some(event) = search.as_ref().and_then(Search::event) {
        if query.event.is_some_and(|other| other != event) {
            return Ok(Page { rows: Vec::new(), next: None });
        }
        query.event = Some(event);
    }
    let mut view = View::new(&reader.shared, query.account, query.now, &query.sending);
    let bounds = Bounds::of(&query);
    let (fresh, complete) = fresh(reader, &query, &bounds, &mut view)?;
    let mut fresh = fresh.into_iter().peekable();
    let snapshot = reader.snapshot()?;
    let mut statements = statements(&snapshot, &query)?;
    let mut streams = Vec::new();
    for (statement, state) in &mut statements {
        streams.push(Stream::start(statement, &query, &bounds, *state)?);
    }
    let mut page = Page { rows: Vec::new(), next: None };
    let mut last = None;
    for scanned in 0.. {
        let stored = streams.iter().filter_map(|stream| stream.head.as_ref().map(|row| row.id)).max();
        let unstored = fresh.peek().map(|row| row.id);
        let out_of_memory = unstored.is_none() && !complete;
        let Some(next) = stored.max(unstored).filter(|_| !out_of_memory) else {
            page.next = last.filter(|_| out_of_memory);
            break;
        };
        if page.rows.len() == query.limit || scanned == SCANNED_MAX || search.as_ref().is_some_and(Search::is_spent) {
            page.next = last;
            break;
        }
        last = Some(next);
        let mut row = None;
        for stream in streams.iter_mut().filter(|stream| stream.head.as_ref().is_some_and(|head| head.id == next)) {
            row = stream.advance()?;
        }
        if unstored == Some(next) {
            let candidate = fresh.next();
            // It may have got a row since memory was read, even one that no stream brings: then it is no longer what
            // memory says.
            if row.is_none() && deliveries::get(&snapshot, next)?.is_none() {
                row = candidate;
            }
        }
        let Some(row) = row.filter(|row| row.account == query.account) else { continue };
        let Some(delivery) = view.show(&row)?.filter(|delivery| query.filter.matches(delivery)) else { continue };
        if match &mut search {
            Some(search) => search.finds(&snapshot, &delivery)?,
            None => true,
        } {
            page.rows.push(delivery);
        }
    }
    Ok(page)
}

/// The candidates without a row, newest first, as many as a page may need; and whether these are all.
fn fresh(
    reader: &Reader,
    query: &DeliveryQuery,
    bounds: &Bounds,
    view: &mut View<'_>,
) -> Result<(Vec<DeliveryRow>, bool), Fault> {
    let mut found = Vec::new();
    let waits = [DeliveryStatus::Pending, DeliveryStatus::Sending];
    let statuses = &query.filter.status;
    if !statuses.is_empty() && !waits.iter().any(|status| statuses.contains(status)) {
        return Ok((found, true));
    }
    // With a search, a candidate may turn out not to be wanted.
    let enough = if query.filter.q.is_some() { usize::MAX } else { query.limit + FRESH_SPARE };
    let fresh = reader.shared.fresh();
    for (id, delivery) in fresh.before(bounds.below) {
        if (id.event.0 as i64) < bounds.from || query.event.is_some_and(|event| id.event < event) {
            break;
        }
        let wanted = delivery.account == query.account
            && query.webhook.is_none_or(|webhook| webhook == delivery.webhook)
            && query.event.is_none_or(|event| event == id.event);
        if wanted {
            let row = delivery.row(id);
            if view.show(&row)?.is_some_and(|delivery| query.filter.matches(&delivery)) {
                if found.len() == enough {
                    return Ok((found, false));
                }
                found.push(row);
            }
        }
    }
    Ok((found, true))
}

/// Between which keys a page looks.
struct Bounds {
    from: i64,
    below: DeliveryId,
}

impl Bounds {
    fn of(query: &DeliveryQuery) -> Self {
        let key = |at: Timestamp| EventId::first_at(at.0.max(0));
        let from = query.filter.since.map_or(0, |since| key(since.minus(LEAD_MAX)).0 as i64);
        let before = query.before.unwrap_or(END);
        let until = query.filter.until.map_or(END, |until| DeliveryId { event: key(until), place: 0 });
        Self { from, below: before.min(until) }
    }
}

/// The statements that together find every row that the filter may want, each with the state that it is limited to.
pub(super) fn statements<'c>(
    conn: &'c Connection,
    query: &DeliveryQuery,
) -> Result<Vec<(CachedStatement<'c>, Option<State>)>, Fault> {
    let sql = if query.event.is_some() {
        concat!(
            "SELECT ",
            columns!(),
            " FROM deliveries WHERE ?1 = ?1 AND event = ?2 AND (event, place) < (?3, ?4) AND event >= ?5
             AND ?6 IS ?6 ORDER BY place DESC"
        )
    } else if let Some(states) = undelivered(&query.filter) {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM deliveries INDEXED BY deliveries_undelivered
             WHERE account = ?1 AND state = ?6 AND state <> 1 AND (event, place) < (?3, ?4) AND event >= ?5
               AND webhook = coalesce(?2, webhook)
             ORDER BY event DESC, place DESC"
        );
        let prepared = states.into_iter().map(|state| Ok((conn.prepare_cached(sql)?, Some(state))));
        return prepared.collect();
    } else if query.webhook.is_some() {
        concat!(
            "SELECT ",
            columns!(),
            " FROM deliveries INDEXED BY deliveries_of_webhook
             WHERE ?1 = ?1 AND webhook = ?2 AND (event, place) < (?3, ?4) AND event >= ?5 AND ?6 IS ?6
             ORDER BY event DESC, place DESC"
        )
    } else {
        concat!(
            "SELECT ",
            columns!(),
            " FROM (SELECT key, account AS of FROM events) CROSS JOIN deliveries ON event = key
             WHERE of = ?1 AND ?2 IS ?2 AND key <= ?3 AND key >= ?5 AND (event, place) < (?3, ?4) AND ?6 IS ?6
             ORDER BY key DESC, place DESC"
        )
    };
    Ok(vec![(conn.prepare_cached(sql)?, None)])
}

/// The states to look for, if the filter cannot want anything delivered.
fn undelivered(filter: &DeliveryFilter) -> Option<Vec<State>> {
    let mut states = Vec::new();
    for status in &filter.status {
        let state = match status {
            DeliveryStatus::Pending | DeliveryStatus::Sending | DeliveryStatus::Held => State::Waiting,
            DeliveryStatus::Delivered => State::Delivered,
            DeliveryStatus::Failed => State::Failed,
            DeliveryStatus::Cancelled => State::Cancelled,
        };
        if !states.contains(&state) {
            states.push(state);
        }
    }
    let success = |code: &CodePattern| (200..300).any(|status| code.matches(status));
    let no_success = !filter.error.is_empty() || (!filter.code.is_empty() && !filter.code.iter().any(success));
    if no_success {
        if states.is_empty() {
            states = vec![State::Waiting, State::Failed, State::Cancelled];
        }
        states.retain(|state| *state != State::Delivered);
        return Some(states);
    }
    (!states.is_empty() && !states.contains(&State::Delivered)).then_some(states)
}

/// Rows that one statement finds, the next one read ahead.
struct Stream<'s> {
    rows: Rows<'s>,
    head: Option<DeliveryRow>,
}

impl<'s> Stream<'s> {
    fn start(
        statement: &'s mut CachedStatement<'_>,
        query: &DeliveryQuery,
        bounds: &Bounds,
        state: Option<State>,
    ) -> Result<Self, Fault> {
        let second = query.event.map(|event| event.0 as i64).or(query.webhook.map(i64::from));
        let (event, place) = (bounds.below.event.0 as i64, bounds.below.place);
        let state = state.map(|state| state as i64);
        let parameters: [&dyn ToSql; 6] = [&query.account, &second, &event, &place, &bounds.from, &state];
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
