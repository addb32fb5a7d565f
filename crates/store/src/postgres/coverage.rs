//! What a replay in bulk covers: every delivery that its filter means, oldest first, in one state of the database.

use std::collections::HashSet;
use std::time::Duration;

use domain::delivery::{Delivery, DeliveryStatus};
use domain::id::{DeliveryId, EventId};
use domain::redaction::Redaction;
use domain::replay::{Coverage, PassedOver, Replay, Scope, State as Goes};
use domain::store::DeliveryQuery;

use super::connection::Link;
use super::fault::Fault;
use super::list::finds;
use super::reader::{Readers, end};
use super::replays::{self, PAGE};
use super::streams::{Order, Stream, sources};
use crate::rows::delivery::State;
use crate::rows::search::Search;
use crate::rows::view::View;
use crate::rows::wanted::{Wanted, keys};

/// How long a list that is being made may be nobody's.
const PREPARED_WITHIN: Duration = Duration::from_secs(3_600);
/// Before every delivery.
const START: DeliveryId = DeliveryId { event: EventId(0), place: 0 };

impl Readers {
    /// What a replay of this scope would cover, with the first `first` deliveries of it.
    pub(super) async fn coverage(&self, scope: &Scope, first: usize) -> Result<Coverage, Fault> {
        let link = self.snapshot().await?;
        self.with_types(&link).await?;
        let mut coverage = Coverage::default();
        let redaction = self.shared.redaction(scope.account);
        let mut walk = Walk::new(self, scope, &redaction);
        while let Some(delivery) = walk.next(&link).await? {
            coverage.total += 1;
            if coverage.first.len() < first {
                coverage.first.push(delivery);
            }
        }
        coverage.passed_over = walk.passed_over;
        end(link).await?;
        Ok(coverage)
    }

    /// Lists what a replay of this scope covers, under a number that it gets.
    pub(super) async fn prepare_replay(&self, scope: &Scope, mut replay: Replay) -> Result<Replay, Fault> {
        // The list is written while it is read: in another connection, a page at a time.
        let writing = self.take_writing().await?;
        replays::delete_unstarted(&writing, scope.now.minus(PREPARED_WITHIN)).await?;
        replay.state = Goes::Preparing;
        replays::insert(&writing, &mut replay).await?;
        let of = (scope.account, replay.number);
        let link = self.snapshot().await?;
        self.with_types(&link).await?;
        let redaction = self.shared.redaction(scope.account);
        let mut walk = Walk::new(self, scope, &redaction);
        let (mut page, mut ids) = (0, Vec::new());
        while let Some(delivery) = walk.next(&link).await? {
            ids.push(delivery.id);
            replay.total += 1;
            if ids.len() == PAGE {
                replays::put_page(&writing, of, page, &std::mem::take(&mut ids)).await?;
                page += 1;
            }
        }
        if !ids.is_empty() {
            replays::put_page(&writing, of, page, &ids).await?;
        }
        replay.left_out = walk.passed_over;
        end(link).await?;
        replays::put(&writing, &replays::ReplayRow { replay: replay.clone(), page: 0, skip: 0 }).await?;
        writing.done();
        Ok(replay)
    }
}

/// A way through everything that a filter means.
struct Walk<'a> {
    readers: &'a Readers,
    scope: &'a Scope,
    wanted: Wanted,
    view: View<'a>,
    streams: Vec<Stream>,
    /// The text that the filter wants in ids or bodies, if it wants one, and the webhooks whose ids hold it. It is looked for
    /// last, in what all else wants: a replay covers what its filter means and no less.
    text: Option<(Search<'a>, HashSet<u32>)>,
    /// What the filter means besides.
    passed_over: PassedOver,
}

impl<'a> Walk<'a> {
    fn new(readers: &'a Readers, scope: &'a Scope, redaction: &'a Redaction) -> Self {
        let shared = &readers.shared;
        let query = DeliveryQuery {
            webhook: scope.webhook,
            ..DeliveryQuery::new(scope.account, scope.filter.clone(), scope.now)
        };
        let wanted = Wanted::new(&query, &shared.types(), shared.cancels_in(scope.account));
        let (from, until) = keys(scope.filter.since, scope.filter.until);
        let bounds = (from, until.map_or(i64::MAX, |until| until.0 as i64));
        let stream = |source| Stream::new(source, Order::OldestFirst, bounds, START, usize::MAX);
        let search = scope.filter.q.as_deref().map(|text| Search::new(text, redaction));
        let event = search.as_ref().and_then(Search::event);
        let text = search.map(|search| {
            let named = shared.webhooks_named(scope.account, &search);
            (search, named)
        });
        let streams = sources(shared, scope.account, (event, scope.webhook), &wanted).into_iter().map(stream).collect();
        let view = View::new(shared, scope.account, scope.now, &scope.sending);
        Self { readers, scope, wanted, view, streams, text, passed_over: PassedOver::default() }
    }

    /// The next delivery that can be sent again; the others that the filter means are counted.
    async fn next(&mut self, link: &Link) -> Result<Option<Delivery>, Fault> {
        loop {
            for stream in &mut self.streams {
                while stream.is_dry() {
                    stream.fill(link, &self.wanted).await?;
                }
            }
            let first = self.streams.iter_mut().filter(|stream| stream.head().is_some());
            let Some(stream) = first.min_by_key(|stream| stream.head().map(|row| row.id)) else { return Ok(None) };
            let Some(row) = stream.advance().filter(|row| row.account == self.scope.account) else { continue };
            let shown = self.view.show(&row)?.filter(|delivery| self.scope.filter.matches(delivery));
            let Some(delivery) = shown else { continue };
            if let Some((search, named)) = &mut self.text
                && !named.contains(&row.webhook)
                && !finds(search, link, row.account, row.id).await?
            {
                continue;
            }
            if delivery.status == DeliveryStatus::Cancelled && row.state == State::Waiting {
                self.passed_over.webhook_deleted += 1;
            } else if row.state == State::Waiting {
                self.passed_over.unfinished += 1;
            } else if row.test {
                self.passed_over.tests += 1;
            } else {
                match self.readers.shared.directory.read().webhook_numbered(row.webhook) {
                    None => self.passed_over.webhook_deleted += 1,
                    Some(webhook) if webhook.pause.is_some() => self.passed_over.webhook_paused += 1,
                    Some(_) => return Ok(Some(delivery)),
                }
            }
        }
    }
}
