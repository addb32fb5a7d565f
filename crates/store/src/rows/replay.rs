//! Replays in bulk as every store keeps them, and the pages that list what they are still to hand over.

use domain::id::{DeliveryId, EventId};
use domain::replay::{Replay, State};

use super::checksum::Checksum;
use super::damaged::Damaged;

/// How many deliveries a page lists.
pub(crate) const PAGE: usize = 1_000;
/// How many bytes a delivery takes in a page.
const ID: usize = 10;

/// A replay, and how far it has come in its list.
#[derive(Debug, Clone)]
pub(crate) struct ReplayRow {
    pub(crate) replay: Replay,
    /// The page that is handed over next.
    pub(crate) page: u32,
    /// How many of it have had their turn.
    pub(crate) skip: u32,
}

impl ReplayRow {
    /// The state's number, the record, and the checksum of the row.
    pub(crate) fn write(&self) -> Result<(i64, String, i64), Damaged> {
        let Self { replay, page, skip } = self;
        let record =
            serde_json::to_string(replay).map_err(|error| Damaged::of(format_args!("replay {}", replay.id), error))?;
        let state = state_number(&replay.state);
        let numbers = [state, (*page).into(), (*skip).into()];
        let sum = sum(replay.number, replay.id.as_str(), replay.account, numbers, &record).sum();
        Ok((state, record, sum))
    }

    /// The replay of a row that carries this checksum, by its number, id and account, then state, page and skip.
    pub(crate) fn read(
        (number, id, account): (u32, &str, u32),
        numbers: [i64; 3],
        record: &str,
        stored: i64,
    ) -> Result<Self, Damaged> {
        sum(number, id, account, numbers, record).verify(stored, || format!("replay {id}"))?;
        let replay = serde_json::from_str(record).map_err(|error| Damaged::of(format_args!("replay {id}"), error))?;
        Ok(Self { replay, page: numbers[1] as u32, skip: numbers[2] as u32 })
    }
}

fn sum(number: u32, id: &str, account: u32, [state, page, skip]: [i64; 3], record: &str) -> Checksum {
    Checksum::of("replays").numbers([number.into(), account.into(), state, page, skip]).text(id).text(record)
}

/// The checksum of a page.
pub(crate) fn sum_page(replay: u32, page: u32, ids: &[u8]) -> i64 {
    Checksum::of("replay_pages").numbers([replay.into(), page.into()]).bytes(ids).sum()
}

/// The deliveries of a page as they are stored.
pub(crate) fn write_page(ids: &[DeliveryId]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ids.len() * ID);
    for id in ids {
        bytes.extend_from_slice(&id.event.0.to_be_bytes());
        bytes.extend_from_slice(&id.place.to_be_bytes());
    }
    bytes
}

/// The deliveries of a page that carries this checksum.
pub(crate) fn read_page(replay: u32, page: u32, bytes: &[u8], stored: i64) -> Result<Vec<DeliveryId>, Damaged> {
    let damaged = || Damaged(format!("page {page} of the list of replay {replay}"));
    if sum_page(replay, page, bytes) != stored {
        return Err(damaged());
    }
    let read = |id: &[u8]| {
        let (event, place) = id.split_first_chunk::<8>()?;
        Some(DeliveryId {
            event: EventId(u64::from_be_bytes(*event)),
            place: u16::from_be_bytes(place.try_into().ok()?),
        })
    };
    bytes.chunks(ID).map(read).collect::<Option<_>>().ok_or_else(damaged)
}

/// The numbers by which states are stored: they never change.
const fn state_number(state: &State) -> i64 {
    match state {
        State::Preparing => 0,
        State::Running => 1,
        State::Paused { .. } => 2,
        State::Stopped { .. } => 3,
        State::Done { .. } => 4,
    }
}
