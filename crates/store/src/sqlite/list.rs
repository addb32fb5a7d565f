//! Lists of deliveries: by the indexes that fit the filter, newest first, merged with what has no row yet.
//!
//! A page is exact as far as it has looked. Where several plans would find what is wanted, each gets a share of the time,
//! and the page that comes furthest is the answer.

use std::time::Duration;

use domain::delivery::Delivery;
use domain::id::{DeliveryId, EventId};
use domain::redaction::Redaction;
use domain::store::{DeliveryQuery, Page};
use rusqlite::Connection;

use super::deliveries::{self, DeliveryRow};
use super::events;
use super::fault::Fault;
use super::plans;
use super::reader::Reader;
use super::search::{Patience, Search};
use super::streams::{Entry, Source, Stream};
use super::view::{View, timestamp};
use crate::rows::wanted::{Wanted, keys};

/// How many candidates without a row are taken beyond a page's size, since some may get their row meanwhile.
const FRESH_SPARE: usize = 64;
/// How many candidates without a row are taken for a search, which may not want them.
const FRESH_SEARCHED: usize = 5_000;
/// How many of those without a row are looked at between looks at the clock.
const FRESH_AT_ONCE: usize = 256;
/// How many that it does not want a page looks at, whatever the time.
const LEAST: usize = 32;
/// After every delivery.
const END: DeliveryId = DeliveryId { event: EventId(i64::MAX as u64), place: u16::MAX };

type Found = Page<Delivery, DeliveryId>;

/// A page of deliveries.
pub(super) fn deliveries(reader: &Reader, query: &DeliveryQuery) -> Result<Found, Fault> {
    let redaction = reader.shared.redaction(query.account);
    let search = query.filter.q.as_deref().map(|text| Search::new(text, &redaction));
    let mut query = query.clone();
    if let Some(event) = search.as_ref().and_then(Search::event) {
        if query.event.is_some_and(|other| other != event) {
            return Ok(Page::empty());
        }
        query.event = Some(event);
    }
    let patience = Patience::of(query.patience);
    let cancelling = reader.shared.cancels_in(query.account);
    let wanted = Wanted::new(&query, &reader.shared.types(), cancelling);
    let mut view = View::new(&reader.shared, query.account, query.now, &query.sending);
    let bounds = Bounds::of(&query);
    let fresh = Fresh::of(reader, &query, &wanted, &bounds, &mut view, patience.share(2))?;
    let snapshot = reader.snapshot()?;
    let plans = plans::plans(&wanted, &snapshot, &query)?;
    let number = plans.len();
    let mut furthest: Option<Found> = None;
    for (tried, plan) in plans.into_iter().enumerate() {
        let patience = patience.share(number - tried);
        let listing =
            Listing { reader, conn: &snapshot, query: &query, wanted: &wanted, redaction: &redaction, patience };
        let page = listing.page(&plan, &bounds, &fresh, &mut view)?;
        if page.searched_until.is_none() {
            return Ok(page);
        }
        if furthest.as_ref().is_none_or(|found| page.next < found.next) {
            furthest = Some(page);
        }
    }
    Ok(furthest.unwrap_or_else(Page::empty))
}

/// One plan for one page.
struct Listing<'a> {
    reader: &'a Reader,
    conn: &'a Connection,
    query: &'a DeliveryQuery,
    wanted: &'a Wanted,
    redaction: &'a Redaction,
    patience: Patience,
}

impl Listing<'_> {
    fn page(&self, plan: &[Source], bounds: &Bounds, fresh: &Fresh, view: &mut View<'_>) -> Result<Found, Fault> {
        let mut search = self.query.filter.q.as_deref().map(|text| Search::new(text, self.redaction));
        let named = search.as_ref().map(|search| self.reader.shared.webhooks_named(self.query.account, search));
        let mut streams: Vec<_> = plan.iter().map(|&source| Stream::new(source, bounds.from, bounds.below)).collect();
        let mut unstored = fresh.rows.iter().peekable();
        let mut page = Page::empty();
        let mut last = None;
        for looked in 0usize.. {
            let dry = self.fill(&mut streams, looked, page.rows.len())?;
            let newest = streams.iter().filter_map(Stream::head).map(|entry| entry.id).max();
            let candidate = unstored.peek().map(|row| row.id);
            let unknown = fresh.below.filter(|_| candidate.is_none());
            let next = newest.max(candidate);
            let known =
                |next: DeliveryId| dry.is_none_or(|dry| next > dry) && unknown.is_none_or(|unknown| next >= unknown);
            let Some(next) = next.filter(|next| known(*next)) else {
                // Where everything has been read, this is the end.
                return self.ends_early(page, dry.max(unknown));
            };
            if page.rows.len() == self.query.limit {
                page.next = last;
                return Ok(page);
            }
            let in_vain = looked - page.rows.len();
            if in_vain >= LEAST && self.patience.is_over() {
                return self.ends_early(page, last);
            }
            last = Some(next);
            let mut entry = None;
            for stream in streams.iter_mut().filter(|stream| stream.head().is_some_and(|head| head.id == next)) {
                entry = stream.advance();
            }
            let mut row = None;
            if candidate == Some(next) {
                row = unstored.next();
            }
            if let Some(search) = &mut search {
                let webhook = entry.and_then(|entry| entry.webhook).or(row.map(|row| row.webhook));
                let is_named =
                    webhook.is_some_and(|number| named.as_ref().is_some_and(|named| named.contains(&number)));
                if !is_named && !finds(search, self.conn, next)? {
                    continue;
                }
            }
            // What is without a row in memory may have got one since memory was read, even one that no stream brings: then
            // it is no longer what memory says.
            let stored = deliveries::get(self.conn, next)?;
            let Some(row) =
                (if entry.is_some() || stored.is_some() { stored.filter(|_| entry.is_some()) } else { row.cloned() })
            else {
                continue;
            };
            if row.account != self.query.account {
                continue;
            }
            page.rows.extend(view.show(&row)?.filter(|delivery| self.query.filter.matches(delivery)));
        }
        Ok(page)
    }

    /// Reads on in every stream that has run dry, as far as there is time; down to where one is dry still, if one is.
    fn fill(&self, streams: &mut [Stream], looked: usize, found: usize) -> Result<Option<DeliveryId>, Fault> {
        let share = ((found + LEAST) / streams.len().max(1)).max(1);
        let left = self.query.limit.saturating_sub(looked);
        for stream in streams.iter_mut() {
            // However little time there is, each has been looked into, and one that brings what is wanted fills a page: it
            // takes a moment, and who is interrupted in it should not show for that.
            let least = if stream.pays() { share.max(stream.seen() + left) } else { share };
            stream.fill(self.conn, self.wanted, least, self.patience)?;
        }
        Ok(streams.iter().filter(|stream| stream.is_dry()).map(Stream::below).max())
    }

    /// The page as it ends for want of time: everything down to `at` has been looked at.
    fn ends_early(&self, page: Found, at: Option<DeliveryId>) -> Result<Found, Fault> {
        let Some(at) = at else { return Ok(page) };
        let unstored = self.reader.shared.fresh().get(at).map(|delivery| delivery.row(at));
        let row = deliveries::get(self.conn, at)?.or(unstored);
        let micros = row.as_ref().map_or_else(|| super::stamps::micros(at.event), timestamp);
        Ok(Page { next: Some(at), searched_until: Some(micros.plus(Duration::from_micros(1))), ..page })
    }
}

/// The candidates without a row, newest first, as many as a page may need.
struct Fresh {
    rows: Vec<DeliveryRow>,
    /// Where there may be more of them: below this one.
    below: Option<DeliveryId>,
}

impl Fresh {
    fn of(
        reader: &Reader,
        query: &DeliveryQuery,
        wanted: &Wanted,
        bounds: &Bounds,
        view: &mut View<'_>,
        patience: Patience,
    ) -> Result<Self, Fault> {
        let mut found = Self { rows: Vec::new(), below: None };
        let statuses = &query.filter.status;
        if !reader.may_be_unstored(query.account, statuses) {
            return Ok(found);
        }
        let enough = if query.filter.q.is_some() { FRESH_SEARCHED } else { query.limit + FRESH_SPARE };
        let fresh = reader.shared.fresh();
        for (looked, (id, delivery)) in fresh.before(bounds.below).enumerate() {
            if (id.event.0 as i64) < bounds.from || query.event.is_some_and(|event| id.event < event) {
                break;
            }
            let entry = Entry {
                id,
                webhook: Some(delivery.webhook),
                event_type: Some(delivery.event_type),
                state: Some(deliveries::State::Waiting),
                outcome: Some(None),
            };
            let maybe = delivery.account == query.account
                && query.event.is_none_or(|event| event == id.event)
                && wanted.may_mean(&entry);
            if maybe {
                let row = delivery.row(id);
                if view.show(&row)?.is_some_and(|delivery| query.filter.matches(&delivery)) {
                    found.rows.push(row);
                }
            }
            // These are in memory: the clock costs as much as they do.
            let is_late = looked % FRESH_AT_ONCE == FRESH_AT_ONCE - 1 && patience.is_over();
            if found.rows.len() == enough || is_late {
                found.below = Some(id);
                break;
            }
        }
        Ok(found)
    }
}

/// Between which keys a page looks.
struct Bounds {
    from: i64,
    below: DeliveryId,
}

impl Bounds {
    fn of(query: &DeliveryQuery) -> Self {
        let (from, until) = keys(query.filter.since, query.filter.until);
        let before = query.before.unwrap_or(END);
        let until = until.map_or(END, |event| DeliveryId { event, place: 0 });
        Self { from, below: before.min(until) }
    }
}

/// Whether an id of the delivery, or its event's body, holds what is searched for.
pub(super) fn finds(search: &mut Search<'_>, conn: &Connection, delivery: DeliveryId) -> Result<bool, Fault> {
    if let Some(found) = search.finds_by_id(delivery) {
        return Ok(found);
    }
    let found = finds_event(search, conn, delivery.event)?;
    search.remember(delivery.event, found);
    Ok(found)
}

/// Whether the event's id or body holds what is searched for.
pub(super) fn finds_event(search: &Search<'_>, conn: &Connection, event: EventId) -> Result<bool, Fault> {
    if let Some(found) = search.finds_event_by_id(event) {
        return Ok(found);
    }
    Ok(events::with_data(conn, event, |data| search.is_in(data))?.unwrap_or(false))
}
