//! Lists of events: an account's, newest first.

use std::sync::Arc;
use std::time::Duration;

use domain::event::Event;
use domain::id::EventId;
use domain::store::{EventQuery, Page};

use super::connection::Link;
use super::events;
use super::fault::Fault;
use super::reader::{Readers, end};
use crate::rows::search::{Patience, Search};
use crate::rows::wanted::keys;

/// How many events are read at first, and at most, at once.
const AT_ONCE: [usize; 2] = [32, 256];

type Found = Page<Arc<Event>, EventId>;

impl Readers {
    /// A page of events.
    pub(super) async fn events(&self, query: &EventQuery) -> Result<Found, Fault> {
        if !self.shared.is_open(query.account) {
            return Ok(Page::empty());
        }
        let link = self.snapshot().await?;
        self.with_types(&link).await?;
        let page = self.page_of_events(&link, query).await?;
        end(link).await?;
        Ok(page)
    }

    async fn page_of_events(&self, link: &Link, query: &EventQuery) -> Result<Found, Fault> {
        let redaction = self.shared.redaction(query.account);
        let search = query.q.as_deref().map(|text| Search::new(text, &redaction));
        let patience = Patience::of(query.patience);
        let types = self.shared.types().matching(&query.events);
        let types: Option<Vec<i32>> = types.map(|types| types.into_iter().map(|number| number as i32).collect());
        let (mut from, until) = keys(query.since, query.until);
        let below = query.before.into_iter().chain(until).min().map_or(i64::MAX, |id| id.0.min(i64::MAX as u64) as i64);
        let mut below = below;
        if let Some(id) = search.as_ref().and_then(Search::event) {
            from = from.max(id.0 as i64);
            below = below.min(id.0 as i64 + 1);
        }
        let mut page: Found = Page::empty();
        let mut last: Option<Arc<Event>> = None;
        let mut at_once = (query.limit + 1).clamp(AT_ONCE[0], AT_ONCE[1]);
        loop {
            let rows = events::rows_below(link, query.account, types.as_deref(), (from, below), at_once).await?;
            let ended = rows.len() < at_once;
            at_once = (at_once * 2).min(AT_ONCE[1]);
            let found = events::read_all(&rows, &self.shared.types())?;
            for event in found {
                below = event.id.0 as i64;
                if page.rows.len() == query.limit {
                    page.next = last.map(|event| event.id);
                    return Ok(page);
                }
                if let Some(last) = last.as_ref().filter(|_| search.is_some() && patience.is_over()) {
                    page.next = Some(last.id);
                    page.searched_until = Some(last.timestamp.plus(Duration::from_micros(1)));
                    return Ok(page);
                }
                let wanted = (query.events.is_empty()
                    || query.events.iter().any(|pattern| pattern.matches(&event.event_type)))
                    && query.since.is_none_or(|since| event.timestamp >= since)
                    && query.until.is_none_or(|until| event.timestamp < until)
                    && search.as_ref().is_none_or(|search| {
                        search.finds_event_by_id(event.id).unwrap_or_else(|| search.is_in(&event.data))
                    });
                if wanted {
                    page.rows.push(Arc::clone(&event));
                }
                last = Some(event);
            }
            if ended {
                return Ok(page);
            }
        }
    }
}
