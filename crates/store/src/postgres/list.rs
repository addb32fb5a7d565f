//! Lists of deliveries: what waits and what has ended, each by the index that fits the filter, merged, newest first.
//!
//! A page is exact as far as it has looked.

use std::time::Duration;

use domain::delivery::Delivery;
use domain::id::{DeliveryId, EventId};
use domain::store::{DeliveryQuery, Page};

use super::connection::Link;
use super::events;
use super::fault::Fault;
use super::reader::{Readers, end};
use super::streams::{Order, Stream, sources};
use crate::rows::search::{Patience, Search};
use crate::rows::view::{View, timestamp};
use crate::rows::wanted::{Wanted, keys};

/// How many that it does not want a page looks at, whatever the time.
const LEAST: usize = 32;
/// After every delivery.
const END: DeliveryId = DeliveryId { event: EventId(i64::MAX as u64), place: i16::MAX as u16 };

type Found = Page<Delivery, DeliveryId>;

impl Readers {
    /// A page of deliveries.
    pub(super) async fn deliveries(&self, query: DeliveryQuery) -> Result<Found, Fault> {
        if !self.shared.is_open(query.account) {
            return Ok(Page::empty());
        }
        let link = self.snapshot().await?;
        self.with_types(&link).await?;
        let page = self.page(&link, query).await?;
        end(link).await?;
        Ok(page)
    }

    async fn page(&self, link: &Link, mut query: DeliveryQuery) -> Result<Found, Fault> {
        let redaction = self.shared.redaction(query.account);
        let mut search = query.filter.q.as_deref().map(|text| Search::new(text, &redaction));
        if let Some(event) = search.as_ref().and_then(Search::event) {
            if query.event.is_some_and(|other| other != event) {
                return Ok(Page::empty());
            }
            query.event = Some(event);
        }
        let patience = Patience::of(query.patience);
        let wanted = Wanted::new(&query, &self.shared.types(), self.shared.cancels_in(query.account));
        let mut view = View::new(&self.shared, query.account, query.now, &query.sending);
        let named = search.as_ref().map(|search| self.shared.webhooks_named(query.account, search));
        let (from, until) = keys(query.filter.since, query.filter.until);
        let bounds = (from, until.map_or(i64::MAX, |until| until.0 as i64));
        let after = query.before.unwrap_or(END);
        let all = sources(&self.shared, query.account, (query.event, query.webhook), &wanted);
        let stream = |source| Stream::new(source, Order::NewestFirst, bounds, after, query.limit + 1);
        let mut streams: Vec<_> = all.into_iter().map(stream).collect();
        let mut page = Page::empty();
        let mut last = None;
        let mut looked = 0;
        loop {
            for stream in &mut streams {
                stream.fill(link, &wanted).await?;
            }
            let dry = streams.iter().filter(|stream| stream.is_dry()).map(Stream::after).max_by_key(|(id, _)| *id);
            let newest = streams.iter().filter_map(Stream::head).map(|row| row.id).max();
            let Some(next) = newest.filter(|next| dry.is_none_or(|(dry, _)| *next > dry)) else {
                let Some((id, at)) = dry else { return Ok(page) };
                // However little time there is, each stream has been looked into.
                if patience.is_over() {
                    return Ok(ends_early(page, id, at));
                }
                continue;
            };
            if page.rows.len() == query.limit {
                page.next = last.map(|(id, _)| id);
                return Ok(page);
            }
            if looked - page.rows.len() >= LEAST
                && patience.is_over()
                && let Some((id, at)) = last
            {
                return Ok(ends_early(page, id, Some(at)));
            }
            looked += 1;
            let mut row = None;
            for stream in streams.iter_mut().filter(|stream| stream.head().is_some_and(|head| head.id == next)) {
                row = stream.advance();
            }
            let Some(row) = row else { continue };
            last = Some((row.id, timestamp(&row)));
            if row.account != query.account {
                continue;
            }
            if let Some(search) = &mut search {
                let is_named = named.as_ref().is_some_and(|named| named.contains(&row.webhook));
                if !is_named && !finds(search, link, query.account, row.id).await? {
                    continue;
                }
            }
            page.rows.extend(view.show(&row)?.filter(|delivery| query.filter.matches(delivery)));
        }
    }
}

/// The page as it ends for want of time: everything down to `at` has been looked at.
fn ends_early(page: Found, id: DeliveryId, at: Option<domain::time::Timestamp>) -> Found {
    let at = at.unwrap_or_else(|| crate::rows::stamps::micros(id.event));
    Page { next: Some(id), searched_until: Some(at.plus(Duration::from_micros(1))), ..page }
}

/// Whether an id of the delivery, or its event's body, holds what is searched for.
pub(super) async fn finds(search: &mut Search<'_>, link: &Link, account: u32, id: DeliveryId) -> Result<bool, Fault> {
    if let Some(found) = search.finds_by_id(id) {
        return Ok(found);
    }
    let found = match search.finds_event_by_id(id.event) {
        Some(found) => found,
        None => events::data(link, account, id.event).await?.is_some_and(|data| search.is_in(&data)),
    };
    search.remember(id.event, found);
    Ok(found)
}
