//! Keys and timestamps of events: both only grow, whatever the clock does.
//!
//! A key is the microsecond of acceptance and a residue; an event's timestamp is that microsecond, or as far after it as
//! it takes to be unique in its account: whole milliseconds while they lead by less than [`LEAD_MAX`] (many receivers keep
//! no more), then microseconds. A mark reserved ahead in the accepting transaction is the floor after a restart, so
//! neither a crash nor a clock that was set back meanwhile can bring one out twice: receivers tell
//! events of a webhook apart by it.
//!
//! Of nodes that give keys at the same time each has residues of its own. A timestamp lies in the day of its key, so that a
//! table of one day's keys has all of one day's timestamps.

use std::collections::{HashMap, HashSet};

use domain::id::{EVENT_RESIDUE_BITS, EventId};
use domain::time::Timestamp;

const MS: i64 = 1_000;
/// How far a timestamp may lead its key, in microseconds, for the sake of a millisecond of its own.
const LEAD_MAX: i64 = 250 * MS;
/// How far ahead timestamps are reserved, in microseconds.
pub(crate) const RESERVED_AHEAD: i64 = 1_000 * MS;
/// From how far ahead of the clock timestamps are worth a warning, in microseconds.
const LEAD_WARNED: i64 = 5_000 * MS;

/// How many nodes can give keys at the same time.
pub(crate) const SLOTS: u16 = 256;
/// A day, in microseconds.
const DAY: i64 = 86_400 * 1_000 * MS;

/// Gives keys and timestamps.
#[derive(Debug)]
pub(crate) struct Stamps {
    last_key: u64,
    /// The residues that are given: from the first on, and below the second.
    residues: (u64, u64),
    /// The last timestamp of each account that has posted since the start.
    last: HashMap<u32, i64>,
    /// The slot whose residues these are.
    slot: u16,
    /// Accounts for which another slot has given the same timestamp.
    contended: HashSet<u32>,
    /// No timestamp from this one on has been given, and the store says so.
    reserved: i64,
    warned: bool,
}

/// A key, and how far the timestamp lies after its microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) key: EventId,
    pub(crate) lead: i64,
}

impl Stamp {
    /// The event's timestamp.
    pub(crate) fn timestamp(self) -> Timestamp {
        Timestamp(micros(self.key).0.saturating_add(self.lead))
    }
}

/// The microsecond that a key carries.
pub(crate) fn micros(key: EventId) -> Timestamp {
    Timestamp((key.0 >> EVENT_RESIDUE_BITS) as i64)
}

impl Stamps {
    /// Goes on after a store whose mark is `reserved`.
    pub(crate) fn after(reserved: i64) -> Self {
        let floor = EventId::first_at(reserved.max(0)).0;
        let residues = (0, 1 << EVENT_RESIDUE_BITS);
        Self {
            last_key: floor.saturating_sub(1),
            residues,
            last: HashMap::new(),
            slot: 0,
            contended: HashSet::new(),
            reserved,
            warned: false,
        }
    }

    /// Goes on after a store whose mark is `reserved`, with the residues of one of [`SLOTS`].
    pub(crate) fn of_slot(reserved: i64, slot: u16) -> Self {
        let width = (1 << EVENT_RESIDUE_BITS) / u64::from(SLOTS);
        let first = u64::from(slot % SLOTS) * width;
        Self { residues: (first, first + width), slot: slot % SLOTS, ..Self::after(reserved) }
    }

    /// Another slot has given a timestamp that this one was about to give for the account: from here on both keep to
    /// microseconds of their own.
    pub(crate) fn contend(&mut self, account: u32) {
        self.contended.insert(account);
    }

    /// The first key from `key` on that has one of the residues.
    pub(crate) const fn fitting(&self, key: u64) -> u64 {
        let (first, end) = self.residues;
        let residue = key & ((1 << EVENT_RESIDUE_BITS) - 1);
        let start = key - residue;
        if residue < first {
            start + first
        } else if residue < end {
            key
        } else {
            start + (1 << EVENT_RESIDUE_BITS) + first
        }
    }

    /// The mark as the store has it, 0 where nobody has looked: nothing beyond it counts as reserved.
    pub(crate) const fn reload(&mut self, reserved: i64) {
        self.reserved = reserved;
    }

    /// The key that comes next at the earliest.
    pub(crate) const fn next_key(&self) -> u64 {
        self.last_key + 1
    }

    /// The stamp of an event of `account` that is accepted at `now`.
    pub(crate) fn next(&mut self, now: Timestamp, account: u32) -> Stamp {
        let mut key = self.fitting(EventId::first_at(now.0.max(0)).0.max(self.last_key + 1));
        let mut at = micros(EventId(key)).0;
        let last = self.last.entry(account).or_insert(i64::MIN);
        let timestamp = if last.div_euclid(MS) < at.div_euclid(MS) {
            at
        } else if *last + MS - at < LEAD_MAX {
            *last + MS
        } else {
            *last + 1
        };
        let timestamp = if self.contended.contains(&account) {
            timestamp + (i64::from(self.slot) - timestamp).rem_euclid(SLOTS.into())
        } else {
            timestamp
        };
        *last = timestamp;
        if timestamp.div_euclid(DAY) != at.div_euclid(DAY) {
            key = self.fitting(EventId::first_at(timestamp).0);
            at = timestamp;
        }
        self.last_key = key;
        self.watch(timestamp - now.0);
        Stamp { key: EventId(key), lead: timestamp - at }
    }

    /// The mark to write, if what was given since the last one goes beyond it.
    pub(crate) fn reserve(&mut self, given: Timestamp) -> Option<i64> {
        if given.0 < self.reserved {
            return None;
        }
        self.reserved = given.0 + RESERVED_AHEAD;
        Some(self.reserved)
    }

    fn watch(&mut self, lead: i64) {
        let far = lead > LEAD_WARNED;
        if far && !self.warned {
            tracing::warn!(
                seconds = lead / 1_000_000,
                "event timestamps lead the clock: it was set back, or is far behind"
            );
        }
        self.warned = far;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_795_464_000_123_456;

    fn give(stamps: &mut Stamps, now: i64, account: u32) -> i64 {
        stamps.next(Timestamp(now), account).timestamp().0
    }

    #[test]
    fn the_clock_s_own_microsecond_when_it_is_free() {
        let mut stamps = Stamps::after(0);
        assert_eq!(give(&mut stamps, NOW, 1), NOW);
        assert_eq!(give(&mut stamps, NOW, 2), NOW);
        assert_eq!(give(&mut stamps, NOW + 1_000, 1), NOW + 1_000);
    }

    #[test]
    fn a_burst_gets_milliseconds_of_its_own_then_microseconds() {
        let mut stamps = Stamps::after(0);
        let given: Vec<_> = (0..400).map(|_| give(&mut stamps, NOW, 1)).collect();
        let ms: HashSet<_> = given[..250].iter().map(|t| t / 1_000).collect();
        assert_eq!(ms.len(), 250);
        assert!(given.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(given[399] < NOW + LEAD_MAX + 400);
    }

    #[test]
    fn nodes_give_different_keys_and_a_day_s_timestamps_are_of_its_keys() {
        let mut nodes: Vec<_> = [0, 1, 255].map(|slot| Stamps::of_slot(0, slot)).into();
        let midnight = (NOW / DAY + 1) * DAY;
        let mut keys = HashSet::new();
        for round in 0..2_000 {
            for node in &mut nodes {
                let stamp = node.next(Timestamp(midnight - 150_000 + round), 1);
                assert!(keys.insert(stamp.key));
                assert_eq!(micros(stamp.key).0 / DAY, stamp.timestamp().0 / DAY, "{stamp:?}");
            }
        }
    }

    #[test]
    fn slots_that_have_met_do_not_meet_again() {
        let mut nodes: Vec<_> = [3, 4, 200].map(|slot| Stamps::of_slot(0, slot)).into();
        nodes.iter_mut().for_each(|node| node.contend(1));
        let mut given = HashSet::new();
        for _ in 0..1_000 {
            for node in &mut nodes {
                let stamp = node.next(Timestamp(NOW), 1);
                assert!(given.insert(stamp.timestamp()));
                assert!((0..1_000_000).contains(&stamp.lead), "{stamp:?}");
            }
        }
    }

    #[test]
    fn the_mark_is_written_once_a_second() {
        let mut stamps = Stamps::after(0);
        let mut written = 0;
        for ms in 0..10_000 {
            let stamp = stamps.next(Timestamp(NOW + ms * 1_000), 1);
            written += i32::from(stamps.reserve(stamp.timestamp()).is_some());
        }
        assert!((9..=11).contains(&written), "{written}");
    }

    proptest! {
        /// Bursts, steps of the clock in both directions, and crashes that lose everything after the last mark.
        #[test]
        fn unique_per_account_over_bursts_steps_and_restarts(
            steps in prop::collection::vec((0u8..12, -5_000_000i64..5_000_000, 1u32..4), 1..300)
        ) {
            let (mut stamps, mut stored, mut now) = (Stamps::after(0), 0, NOW);
            let (mut given, mut keys) = (HashSet::new(), Vec::new());
            for (what, micros, account) in steps {
                match what {
                    0 => now += micros,
                    1 => stamps = Stamps::after(stored),
                    2 => now += micros.abs() / 1_000,
                    _ => {
                        let stamp = stamps.next(Timestamp(now), account);
                        stored = stamps.reserve(stamp.timestamp()).unwrap_or(stored);
                        prop_assert!(given.insert((account, stamp.timestamp())));
                        prop_assert!((0..LEAD_MAX + 300).contains(&stamp.lead));
                        keys.push(stamp.key);
                    }
                }
            }
            prop_assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
