//! Where lists of deliveries come from: indexes that each bring some of them in order, some at a time.
//!
//! Every index ends with the delivery's id, so any number of streams merges into one list, and each can be entered anywhere.

use std::collections::VecDeque;

use domain::id::{DeliveryId, EventId};
use domain::time::Timestamp;
use tokio_postgres::Row;

use super::connection::Link;
use super::fault::Fault;
use super::shared::Shared;
use super::{deliveries, events, hot};
use crate::rows::delivery::{DeliveryRow, State};
use crate::rows::view::timestamp;
use crate::rows::wanted::{Entry, Wanted};

/// How many rows a stream reads at first, and at most, at once.
const AT_ONCE: [usize; 2] = [32, 2_048];

/// In which order deliveries come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    NewestFirst,
    OldestFirst,
}

/// A part of an index.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// The deliveries of an account's event.
    Event(u32, EventId),
    /// What waits for these webhooks, each with its shard.
    Waiting(Vec<i16>, Vec<i32>),
    /// An account's that have ended in a state that is not `Delivered`.
    State(u32, State),
    /// A webhook's that have ended in a state that is not `Delivered`.
    WebhookState(u32, State),
    /// A webhook's that have ended.
    Webhook(u32),
    /// An account's that have ended.
    Account(u32),
}

/// The sources that together have everything that is wanted.
pub(super) fn sources(
    shared: &Shared,
    account: u32,
    (event, webhook): (Option<EventId>, Option<u32>),
    wanted: &Wanted,
) -> Vec<Source> {
    // Whatever else is asked for: there is nothing.
    let nothing = wanted.types.as_ref().is_some_and(Vec::is_empty) || wanted.states.as_ref().is_some_and(Vec::is_empty);
    if nothing {
        return Vec::new();
    }
    if let Some(event) = event {
        return vec![Source::Event(account, event)];
    }
    let states = wanted.states.as_deref();
    let mut sources = Vec::new();
    if states.is_none_or(|states| states.contains(&State::Waiting)) {
        let webhooks = webhook.map_or_else(|| webhooks_of(shared, account), |webhook| vec![webhook]);
        let shards = webhooks.iter().map(|webhook| hot::shard(account, *webhook)).collect();
        sources.push(Source::Waiting(shards, webhooks.into_iter().map(|webhook| webhook as i32).collect()));
    }
    match states.filter(|states| !states.contains(&State::Delivered)) {
        Some(states) => {
            let ended = states.iter().copied().filter(|state| *state != State::Waiting);
            sources.extend(ended.map(|state| match webhook {
                Some(webhook) => Source::WebhookState(webhook, state),
                None => Source::State(account, state),
            }));
        }
        None => sources.push(webhook.map_or(Source::Account(account), Source::Webhook)),
    }
    sources
}

/// The webhooks of which something may wait.
fn webhooks_of(shared: &Shared, account: u32) -> Vec<u32> {
    let mut all: Vec<u32> = shared.directory.read().webhooks_of(account).map(|webhook| webhook.number).collect();
    all.extend(shared.cancelling().iter().filter(|(_, (of, _))| *of == account).map(|(webhook, _)| *webhook));
    all
}

/// The rows of a source, in order; those that the filter cannot mean are passed over.
pub(super) struct Stream {
    source: Source,
    order: Order,
    /// Only of events from this key on, and below the other.
    keys: (i64, i64),
    /// The next row comes after this one, in the stream's order.
    after: DeliveryId,
    /// The timestamp of the last row that was read.
    last: Option<Timestamp>,
    at_once: usize,
    read: VecDeque<DeliveryRow>,
    ended: bool,
}

impl Stream {
    /// The rows of `source` of events between these keys, after `after`.
    pub(super) fn new(source: Source, order: Order, keys: (i64, i64), after: DeliveryId, at_once: usize) -> Self {
        let at_once = at_once.clamp(AT_ONCE[0], AT_ONCE[1]);
        Self { source, order, keys, after, last: None, at_once, read: VecDeque::new(), ended: false }
    }

    /// The row at the head.
    pub(super) fn head(&self) -> Option<&DeliveryRow> {
        self.read.front()
    }

    /// Whether the head has to be read first.
    pub(super) fn is_dry(&self) -> bool {
        self.read.is_empty() && !self.ended
    }

    /// Everything up to here has been read, and the timestamp of that row.
    pub(super) const fn after(&self) -> (DeliveryId, Option<Timestamp>) {
        (self.after, self.last)
    }

    /// Takes the head off.
    pub(super) fn advance(&mut self) -> Option<DeliveryRow> {
        self.read.pop_front()
    }

    /// Reads on once, if it is dry.
    pub(super) async fn fill(&mut self, link: &Link, wanted: &Wanted) -> Result<(), Fault> {
        if !self.is_dry() {
            return Ok(());
        }
        let rows = self.rows(link).await?;
        self.ended = rows.len() < self.at_once || matches!(self.source, Source::Event(..));
        self.at_once = (self.at_once * 2).min(AT_ONCE[1]);
        if let Some(last) = rows.last() {
            self.after = last.id;
            self.last = Some(timestamp(last));
        }
        self.read.extend(rows.into_iter().filter(|row| wanted.may_mean(&entry(row))));
        Ok(())
    }

    async fn rows(&self, link: &Link) -> Result<Vec<DeliveryRow>, Fault> {
        let (event, place) = (self.after.event.0 as i64, self.after.place as i16);
        let ((from, below), limit) = (self.keys, self.at_once as i64);
        let newest = self.order == Order::NewestFirst;
        let rows = match &self.source {
            Source::Event(account, of) => {
                let mut rows = of_event(link, *account, *of).await?;
                rows.retain(|row| {
                    let key = row.id.event.0 as i64;
                    let comes = if newest { row.id < self.after } else { row.id > self.after };
                    comes && key >= from && key < below
                });
                rows.sort_by(|a, b| if newest { b.id.cmp(&a.id) } else { a.id.cmp(&b.id) });
                return Ok(rows);
            }
            Source::Waiting(shards, webhooks) => {
                let sql = if newest { WAITING_NEWEST } else { WAITING_OLDEST };
                let rows = link.rows(sql, &[shards, webhooks, &event, &place, &from, &below, &limit]).await?;
                return rows.iter().map(|row| Ok(hot::read(row)?.row)).collect();
            }
            Source::State(account, state) => {
                let sql = if newest { STATE_NEWEST } else { STATE_OLDEST };
                let of = (*account as i32, *state as i16);
                link.rows(sql, &[&of.0, &event, &place, &from, &below, &limit, &of.1]).await?
            }
            Source::WebhookState(webhook, state) => {
                let sql = if newest { WEBHOOK_STATE_NEWEST } else { WEBHOOK_STATE_OLDEST };
                let of = (*webhook as i32, *state as i16);
                link.rows(sql, &[&of.0, &event, &place, &from, &below, &limit, &of.1]).await?
            }
            Source::Webhook(webhook) => {
                let sql = if newest { WEBHOOK_NEWEST } else { WEBHOOK_OLDEST };
                link.rows(sql, &[&(*webhook as i32), &event, &place, &from, &below, &limit]).await?
            }
            Source::Account(account) => {
                let sql = if newest { ACCOUNT_NEWEST } else { ACCOUNT_OLDEST };
                link.rows(sql, &[&(*account as i32), &event, &place, &from, &below, &limit]).await?
            }
        };
        rows.iter().map(deliveries::read).collect()
    }
}

/// The deliveries of an account's event, wherever they stand.
async fn of_event(link: &Link, account: u32, event: EventId) -> Result<Vec<DeliveryRow>, Fault> {
    let targets = events::targets(link, account, event).await?.unwrap_or_default();
    let mut keys = hot::Keys::default();
    for (place, webhook) in (0u16..).zip(&targets) {
        keys.push(account, *webhook, DeliveryId { event, place });
    }
    let sql = concat!("SELECT ", deliveries::columns!(), " FROM deliveries AS d WHERE account = $1 AND event = $2");
    let ended: Vec<Row> = link.rows(sql, &[&(account as i32), &(event.0 as i64)]).await?;
    let waiting = hot::get_all(link, &keys).await?.into_iter().map(|waiting| Ok(waiting.row));
    ended.iter().map(deliveries::read).chain(waiting).collect()
}

fn entry(row: &DeliveryRow) -> Entry {
    let outcome = row.code.map(i64::from).or(row.error.map(|error| -crate::rows::delivery::error_number(error)));
    Entry {
        id: row.id,
        webhook: Some(row.webhook),
        event_type: Some(row.event_type),
        state: Some(row.state),
        outcome: Some(outcome),
    }
}

macro_rules! waiting {
    ($than:literal, $order:literal) => {
        concat!(
            "SELECT hot.* FROM unnest($1::smallint[], $2::integer[]) AS w (shard, webhook) CROSS JOIN LATERAL (SELECT ",
            hot::columns!(),
            " FROM hot WHERE hot.shard = w.shard AND hot.webhook = w.webhook AND (hot.event, hot.place) ",
            $than,
            " ($3::bigint, $4::smallint) AND hot.event >= $5 AND hot.event < $6 ORDER BY ",
            $order,
            " LIMIT $7) AS hot ORDER BY ",
            $order,
            " LIMIT $7"
        )
    };
}
const WAITING_NEWEST: &str = waiting!("<", "hot.event DESC, hot.place DESC");
const WAITING_OLDEST: &str = waiting!(">", "hot.event, hot.place");

/// The deliveries of `$of` that have ended, after a row of theirs ($2, $3), between two keys ($4, $5), so many of them ($6).
macro_rules! ended {
    (newest, $of:literal) => {
        ended!($of, "<", "d.event <= $2", "d.event DESC, d.place DESC")
    };
    (oldest, $of:literal) => {
        ended!($of, ">", "d.event >= $2", "d.event, d.place")
    };
    ($of:literal, $than:literal, $from:literal, $order:literal) => {
        concat!(
            "SELECT ",
            deliveries::columns!(),
            " FROM deliveries AS d WHERE ",
            $of,
            " AND (d.event, d.place) ",
            $than,
            " ($2::bigint, $3::smallint) AND ",
            $from,
            " AND d.event >= $4 AND d.event < $5 ORDER BY ",
            $order,
            " LIMIT $6"
        )
    };
}
const STATE_NEWEST: &str = ended!(newest, "d.account = $1 AND d.state = $7 AND d.state <> 1");
const STATE_OLDEST: &str = ended!(oldest, "d.account = $1 AND d.state = $7 AND d.state <> 1");
const WEBHOOK_STATE_NEWEST: &str = ended!(newest, "d.webhook = $1 AND d.state = $7 AND d.state <> 1");
const WEBHOOK_STATE_OLDEST: &str = ended!(oldest, "d.webhook = $1 AND d.state = $7 AND d.state <> 1");
const WEBHOOK_NEWEST: &str = ended!(newest, "d.webhook = $1");
const WEBHOOK_OLDEST: &str = ended!(oldest, "d.webhook = $1");
const ACCOUNT_NEWEST: &str = ended!(newest, "d.account = $1");
const ACCOUNT_OLDEST: &str = ended!(oldest, "d.account = $1");
