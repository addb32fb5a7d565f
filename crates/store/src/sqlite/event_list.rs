//! Lists of events: by account, or by account and type, newest first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use domain::event::Event;
use domain::id::EventId;
use domain::store::{EventQuery, Page};
use rusqlite::Connection;

use super::events;
use super::fault::Fault;
use super::list;
use super::reader::Reader;
use super::search::{Patience, Search};
use crate::rows::wanted::keys;

/// How many keys are read at first, and at most, at once.
const AT_ONCE: [usize; 2] = [32, 512];

type Found = Page<Arc<Event>, EventId>;

/// A page of events.
pub(super) fn events(reader: &Reader, query: &EventQuery) -> Result<Found, Fault> {
    let redaction = reader.shared.redaction(query.account);
    let search = query.q.as_deref().map(|text| Search::new(text, &redaction));
    let patience = Patience::of(query.patience);
    let types = reader.shared.types();
    let (from, until) = keys(query.since, query.until);
    let below = query.before.into_iter().chain(until).min().map_or(u64::MAX, |id| id.0);
    let snapshot = reader.snapshot()?;
    let mut keys: Vec<Keys> = if let Some(id) = search.as_ref().and_then(Search::event) {
        vec![Keys { read: [id].into_iter().filter(|id| id.0 < below).collect(), ended: true, ..Keys::new(None, below) }]
    } else {
        match types.matching(&query.events) {
            None => vec![Keys::new(None, below)],
            Some(numbers) => numbers.into_iter().map(|number| Keys::new(Some(number), below)).collect(),
        }
    };
    let mut page: Found = Page::empty();
    let mut last: Option<Arc<Event>> = None;
    loop {
        for keys in keys.iter_mut().filter(|keys| keys.read.is_empty() && !keys.ended) {
            keys.fill(&snapshot, query.account, from)?;
        }
        let Some(next) = keys.iter().filter_map(|keys| keys.read.front()).max().copied() else { return Ok(page) };
        if page.rows.len() == query.limit {
            page.next = last.map(|event| event.id);
            return Ok(page);
        }
        if let Some(last) = last.as_ref().filter(|_| search.is_some() && patience.is_over()) {
            page.next = Some(last.id);
            page.searched_until = Some(last.timestamp.plus(Duration::from_micros(1)));
            return Ok(page);
        }
        for keys in keys.iter_mut().filter(|keys| keys.read.front() == Some(&next)) {
            keys.read.pop_front();
        }
        let Some(event) = events::get(&snapshot, &types, next)?.filter(|event| event.account == query.account) else {
            continue;
        };
        let wanted = (query.events.is_empty() || query.events.iter().any(|pattern| pattern.matches(&event.event_type)))
            && query.since.is_none_or(|since| event.timestamp >= since)
            && query.until.is_none_or(|until| event.timestamp < until)
            && match &search {
                Some(search) => list::finds_event(search, &snapshot, next)?,
                None => true,
            };
        if wanted {
            page.rows.push(Arc::clone(&event));
        }
        last = Some(event);
    }
}

/// The keys of an account's events, or of those of one type, read a few at a time.
struct Keys {
    event_type: Option<u32>,
    below: u64,
    at_once: usize,
    read: VecDeque<EventId>,
    ended: bool,
}

impl Keys {
    const fn new(event_type: Option<u32>, below: u64) -> Self {
        Self { event_type, below, at_once: AT_ONCE[0], read: VecDeque::new(), ended: false }
    }

    fn fill(&mut self, conn: &Connection, account: u32, from: i64) -> Result<(), Fault> {
        let found = events::keys_below(conn, account, self.event_type, from, self.below, self.at_once)?;
        self.ended = found.len() < self.at_once;
        self.below = found.last().map_or(self.below, |id| id.0);
        self.at_once = (self.at_once * 2).min(AT_ONCE[1]);
        self.read = found.into();
        Ok(())
    }
}
