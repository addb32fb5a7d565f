//! Events as every store keeps them: the producer's bytes, once, and the webhooks that they go to.

use std::sync::Arc;

use bytes::Bytes;
use domain::event::Event;
use domain::id::EventId;
use domain::trace::TraceParent;

use super::checksum::Checksum;
use super::damaged::Damaged;
use super::event_types::EventTypes;
use super::stamps::{Stamp, micros};

const TEST: i64 = 1;
const FLAGGED: i64 = 2;

/// The columns of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns<'a> {
    pub(crate) key: i64,
    pub(crate) account: u32,
    pub(crate) event_type: u32,
    pub(crate) lead: i64,
    pub(crate) marked: i64,
    pub(crate) targets: &'a [u8],
    pub(crate) data: &'a [u8],
    pub(crate) trace: Option<&'a [u8]>,
}

impl Columns<'_> {
    /// The checksum of the row. Rows without a trace have the sum that layout 1 gave them.
    pub(crate) fn sum(&self) -> i64 {
        let sum = Checksum::of("events")
            .numbers([self.key, self.account.into(), self.event_type.into(), self.lead, self.marked])
            .bytes(self.targets)
            .bytes(self.data);
        self.trace.into_iter().fold(sum, Checksum::bytes).sum()
    }

    /// The event of a row that carries this checksum.
    pub(crate) fn event(&self, stored: i64, types: &EventTypes) -> Result<Arc<Event>, Damaged> {
        let id = EventId(self.key as u64);
        if self.sum() != stored {
            return Err(Damaged(format!("event {id}")));
        }
        Ok(Arc::new(Event {
            id,
            account: self.account,
            event_type: Arc::clone(types.name(self.event_type)?),
            timestamp: Stamp { key: id, lead: self.lead }.timestamp(),
            data: Bytes::copy_from_slice(self.data),
            targets: self.targets.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect(),
            test: self.marked & TEST != 0,
            flagged: self.marked & FLAGGED != 0,
            trace: self.trace.and_then(TraceParent::from_bytes),
        }))
    }
}

/// What an event is marked as.
pub(crate) fn marked(event: &Event) -> i64 {
    let of = |marked: bool, mark: i64| if marked { mark } else { 0 };
    of(event.test, TEST) | of(event.flagged, FLAGGED)
}

/// Writes the webhooks that an event goes to, in place of what `buffer` holds.
pub(crate) fn write_targets(event: &Event, buffer: &mut Vec<u8>) {
    buffer.clear();
    for target in &event.targets {
        buffer.extend_from_slice(&target.to_le_bytes());
    }
}

/// How far an event's timestamp lies after its key's microsecond.
pub(crate) fn lead(event: &Event) -> i64 {
    event.timestamp.0 - micros(event.id).0
}
