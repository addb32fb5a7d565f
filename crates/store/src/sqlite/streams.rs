//! Where a list of deliveries comes from: indexes that each bring some of them newest first, a few entries at a time.
//!
//! Every index ends with the delivery's id, so any number of streams merges into one list, and each can be entered anywhere.
//! What an index holds beside the id is enough to pass over most of what the filter does not mean without reading rows.

use std::collections::VecDeque;

use domain::id::{DeliveryId, EventId};
use rusqlite::{Connection, params};

use super::deliveries::State;
use super::fault::Fault;
use super::search::Patience;
pub(super) use crate::rows::wanted::Entry;
use crate::rows::wanted::Wanted;

/// How many entries a stream reads at first, and at most, at once.
const AT_ONCE: [usize; 2] = [32, 512];

/// A part of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The deliveries of an event.
    Event(EventId),
    /// An account's, in a state that is not `Delivered`.
    State(u32, State),
    /// A webhook's, in a state that is not `Delivered`.
    WebhookState(u32, State),
    /// An account's of a type, in a state that is not `Delivered`.
    TypeState(u32, u32, State),
    /// An account's whose last attempt came to this, which is not 200: see [`plans`](super::plans).
    Outcome(u32, i64),
    /// An account's of a type.
    Type(u32, u32),
    /// A webhook's.
    Webhook(u32),
    /// An account's.
    Account(u32),
}

impl Source {
    /// The statement, over `?1` to `?3` as [`Self::keys`] gives them, ids from `?6` to below `(?4, ?5)`, and `?7` rows.
    pub(super) const fn sql(self) -> &'static str {
        match self {
            Self::Event(_) => {
                "SELECT event, place, webhook, type, state, 1, ifnull(code, -error) FROM deliveries
                 WHERE event = ?1 AND ?2 IS ?2 AND ?3 IS ?3 AND (event, place) < (?4, ?5) AND event >= ?6
                 ORDER BY place DESC LIMIT ?7"
            }
            Self::State(..) => {
                "SELECT event, place, webhook, type, state, 1, ifnull(code, -error)
                 FROM deliveries INDEXED BY deliveries_of_state
                 WHERE account = ?1 AND state = ?2 AND state <> 1 AND ?3 IS ?3 AND (event, place) < (?4, ?5)
                   AND event >= ?6
                 ORDER BY event DESC, place DESC LIMIT ?7"
            }
            Self::WebhookState(..) => {
                "SELECT event, place, webhook, type, state, 1, ifnull(code, -error)
                 FROM deliveries INDEXED BY deliveries_of_webhook_state
                 WHERE webhook = ?1 AND state = ?2 AND state <> 1 AND ?3 IS ?3 AND (event, place) < (?4, ?5)
                   AND event >= ?6
                 ORDER BY event DESC, place DESC LIMIT ?7"
            }
            Self::TypeState(..) => {
                "SELECT event, place, webhook, type, state, 1, ifnull(code, -error)
                 FROM deliveries INDEXED BY deliveries_of_type_state
                 WHERE account = ?1 AND type = ?2 AND state = ?3 AND state <> 1 AND (event, place) < (?4, ?5)
                   AND event >= ?6
                 ORDER BY event DESC, place DESC LIMIT ?7"
            }
            Self::Outcome(..) => {
                "SELECT event, place, webhook, type, state, 1, ?2 FROM deliveries INDEXED BY deliveries_of_outcome
                 WHERE account = ?1 AND ifnull(code, -error) = ?2 AND ifnull(code, -error) <> 200 AND ?3 IS ?3
                   AND (event, place) < (?4, ?5) AND event >= ?6
                 ORDER BY event DESC, place DESC LIMIT ?7"
            }
            Self::Type(..) => {
                "SELECT key AS event, place, webhook, deliveries.type, state, 1, ifnull(code, -error)
                 FROM events_by_type AS listed CROSS JOIN deliveries ON deliveries.event = key
                 WHERE listed.account = ?1 AND listed.type = ?2 AND ?3 IS ?3 AND key <= ?4 AND key >= ?6
                   AND (deliveries.event, place) < (?4, ?5)
                 UNION ALL
                 SELECT key, place, webhook, deliveries.type, state, 1, ifnull(code, -error)
                 FROM events_young AS listed CROSS JOIN deliveries ON deliveries.event = key
                 WHERE listed.account = ?1 AND listed.type = ?2 AND ?3 IS ?3 AND key <= ?4 AND key >= ?6
                   AND (deliveries.event, place) < (?4, ?5)
                 ORDER BY event DESC, place DESC LIMIT ?7"
            }
            Self::Webhook(_) => {
                "SELECT event, place, webhook, type, state, 1, ifnull(code, -error)
                 FROM deliveries_by_webhook AS listed CROSS JOIN deliveries USING (event, place, webhook)
                 WHERE webhook = ?1 AND ?2 IS ?2 AND ?3 IS ?3 AND (event, place) < (?4, ?5) AND event >= ?6
                 UNION ALL
                 SELECT event, place, webhook, type, state, 1, ifnull(code, -error)
                 FROM deliveries_young AS listed CROSS JOIN deliveries USING (event, place, webhook)
                 WHERE webhook = ?1 AND ?2 IS ?2 AND ?3 IS ?3 AND (event, place) < (?4, ?5) AND event >= ?6
                 ORDER BY event DESC, place DESC LIMIT ?7"
            }
            Self::Account(_) => {
                "SELECT event, place, webhook, type, state, 1, ifnull(code, -error)
                 FROM (SELECT key, account AS of FROM events INDEXED BY events_of_account)
                      CROSS JOIN deliveries ON event = key
                 WHERE of = ?1 AND ?2 IS ?2 AND ?3 IS ?3 AND key <= ?4 AND key >= ?6 AND (event, place) < (?4, ?5)
                 ORDER BY key DESC, place DESC LIMIT ?7"
            }
        }
    }

    /// What stands for `?1` to `?3`.
    pub(super) fn keys(self) -> [Option<i64>; 3] {
        match self {
            Self::Event(event) => [Some(event.0 as i64), None, None],
            Self::State(of, state) | Self::WebhookState(of, state) => [Some(of.into()), Some(state as i64), None],
            Self::TypeState(account, event_type, state) => {
                [Some(account.into()), Some(event_type.into()), Some(state as i64)]
            }
            Self::Outcome(account, outcome) => [Some(account.into()), Some(outcome), None],
            Self::Type(account, event_type) => [Some(account.into()), Some(event_type.into()), None],
            Self::Webhook(of) | Self::Account(of) => [Some(of.into()), None, None],
        }
    }
}

/// The entries of a source, newest first; those that the filter cannot mean are passed over.
pub(super) struct Stream {
    source: Source,
    from: i64,
    below: DeliveryId,
    at_once: usize,
    read: VecDeque<Entry>,
    seen: usize,
    ended: bool,
    /// Whether at least half of what was last read could be meant.
    pays: bool,
}

impl Stream {
    /// The entries of `source` of events from `from` on, below `below`.
    pub(super) const fn new(source: Source, from: i64, below: DeliveryId) -> Self {
        Self { source, from, below, at_once: AT_ONCE[0], read: VecDeque::new(), seen: 0, ended: false, pays: false }
    }

    /// The entry at the head.
    pub(super) fn head(&self) -> Option<&Entry> {
        self.read.front()
    }

    /// Whether the head has to be read first.
    pub(super) fn is_dry(&self) -> bool {
        self.read.is_empty() && !self.ended
    }

    /// Everything from here on has been read.
    pub(super) const fn below(&self) -> DeliveryId {
        self.below
    }

    /// Whether reading on is likely to bring more.
    pub(super) const fn pays(&self) -> bool {
        self.pays
    }

    /// How many entries have been read.
    pub(super) const fn seen(&self) -> usize {
        self.seen
    }

    /// Takes the head off.
    pub(super) fn advance(&mut self) -> Option<Entry> {
        self.read.pop_front()
    }

    /// Reads until it is dry no more, `least` entries in all whatever the time, and then for as long as there is time: any
    /// entry may lie on a page that has to come from the disk.
    pub(super) fn fill(
        &mut self,
        conn: &Connection,
        wanted: &Wanted,
        least: usize,
        patience: Patience,
    ) -> Result<(), Fault> {
        while self.is_dry() && (self.seen < least || !patience.is_over()) {
            self.read_on(conn, wanted, least, patience)?;
        }
        Ok(())
    }

    fn read_on(&mut self, conn: &Connection, wanted: &Wanted, least: usize, patience: Patience) -> Result<(), Fault> {
        let [first, second, third] = self.source.keys();
        let mut statement = conn.prepare_cached(self.source.sql())?;
        let mut rows = statement.query(params![
            first,
            second,
            third,
            self.below.event.0 as i64,
            self.below.place,
            self.from,
            self.at_once as i64
        ])?;
        let (mut seen, before) = (0, self.read.len());
        while let Some(row) = rows.next()? {
            let id = DeliveryId { event: EventId(row.get::<_, i64>(0)? as u64), place: row.get(1)? };
            let known: bool = row.get(5)?;
            let entry = Entry {
                id,
                webhook: Some(row.get(2)?),
                event_type: row.get(3)?,
                state: State::read(row.get(4)?),
                outcome: if known { Some(row.get(6)?) } else { None },
            };
            self.below = id;
            seen += 1;
            if wanted.may_mean(&entry) {
                self.read.push_back(entry);
            }
            if self.seen + seen >= least && patience.is_over() {
                self.pays = (self.read.len() - before) * 2 >= seen;
                self.seen += seen;
                return Ok(());
            }
        }
        self.pays = (self.read.len() - before) * 2 >= seen;
        self.seen += seen;
        self.ended = seen < self.at_once;
        self.at_once = (self.at_once * 2).min(AT_ONCE[1]);
        Ok(())
    }
}
