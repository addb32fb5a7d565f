//! Shards: the parts in which many equal nodes share the work, and the leases by which a part has one owner at a time.
//!
//! A webhook is in one shard for good. Whoever holds the shard's lease schedules its deliveries from memory, so rates, bounds,
//! order and pauses are exact. Each time that a shard is taken its epoch grows, and every write of its owner carries the epoch: a
//! node that was away, and does not know that another has taken over, can change nothing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many shards there are. A store's rows carry their shard: this never changes.
pub const SHARDS: u16 = 1_024;

/// One part of the work, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(pub u16);

impl Shard {
    /// The shard of a webhook, by the numbers of its account and its own.
    #[must_use]
    pub const fn of(account: u32, webhook: u32) -> Self {
        Self::among(SHARDS, account, webhook)
    }

    /// The same where there are `shards` of them: what a simulation of more nodes than one store serves needs.
    #[must_use]
    pub const fn among(shards: u16, account: u32, webhook: u32) -> Self {
        // Sebastiano Vigna's `splitmix64`: numbers that follow each other are spread evenly.
        let mut mixed = ((account as u64) << 32 | webhook as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The upper half, scaled: below `shards`, so it fits.
        Self((((mixed >> 32) * shards as u64) >> 32) as u16)
    }

    /// All shards.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How often a shard has been taken: given by the database, from 1, and it only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Where one process owns everything, and nobody takes anything.
    pub const SOLE: Self = Self(0);
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A shard, and the epoch under which a node holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease {
    /// The shard.
    pub shard: Shard,
    /// Its epoch.
    pub epoch: Epoch,
}

/// For how long leases hold, by the deadline of an attempt: rule 4 of what keeps two nodes from sending the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// From a renewal to the end of the lease, in the database's time.
    pub length: Duration,
    /// How often leases are renewed.
    pub renewed_every: Duration,
    /// How long before the end of its lease a node starts nothing more: what it has started has ended by then.
    pub margin: Duration,
}

impl Terms {
    /// The shortest margin: what a network and a busy machine need besides the attempt itself.
    const MARGIN_MIN: Duration = Duration::from_secs(5);

    /// The terms under which attempts with this deadline are safe: a lease is three times as long as an attempt, so that
    /// between two renewals there is time for one that fails, and for an attempt to end.
    #[must_use]
    pub fn for_deadline(deadline: Duration) -> Self {
        let margin = deadline.max(Self::MARGIN_MIN);
        Self { length: margin * 3, renewed_every: Self::MARGIN_MIN, margin }
    }
}

/// The shards that this node holds: written by whoever keeps its leases, read by the store, whose writes carry the epochs,
/// and whose reads for the dispatcher are of these shards alone.
#[derive(Debug, Clone)]
pub struct Holdings {
    epochs: Arc<[AtomicU64]>,
    refused: Arc<AtomicU64>,
}

impl Default for Holdings {
    fn default() -> Self {
        Self { epochs: Shard::all().map(|_| AtomicU64::new(0)).collect(), refused: Arc::default() }
    }
}

impl Holdings {
    /// The epoch under which the shard is held; `None` if it is not.
    #[must_use]
    pub fn epoch(&self, shard: Shard) -> Option<Epoch> {
        let epoch = self.epochs.get(usize::from(shard.0))?.load(Ordering::Acquire);
        (epoch > 0).then_some(Epoch(epoch))
    }

    /// Everything that is held, by shard.
    #[must_use]
    pub fn all(&self) -> Vec<Lease> {
        Shard::all().filter_map(|shard| Some(Lease { shard, epoch: self.epoch(shard)? })).collect()
    }

    /// Takes a lease in, in place of an older one of the same shard.
    pub fn hold(&self, lease: Lease) {
        self.set(lease.shard, lease.epoch.0);
    }

    /// The shard is no longer held.
    pub fn let_go(&self, shard: Shard) {
        self.set(shard, 0);
    }

    /// Writes were refused, since another node has taken the shard.
    pub fn refuse(&self, writes: usize) {
        self.refused.fetch_add(writes as u64, Ordering::Relaxed);
    }

    /// How many writes were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn set(&self, shard: Shard, epoch: u64) {
        if let Some(place) = self.epochs.get(usize::from(shard.0)) {
            place.store(epoch, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_stays_in_its_shard_for_good() {
        // Rows on disk carry these: a change here is a change of the layout.
        let vectors = [
            ((1, 1), 129),
            ((1, 2), 717),
            ((2, 1), 786),
            ((0, 0), 904),
            ((7, 123_456), 160),
            ((u32::MAX, u32::MAX), 915),
        ];
        let found: Vec<_> = vectors.map(|((account, webhook), _)| Shard::of(account, webhook).0).into();
        assert_eq!(found, vectors.map(|(_, shard)| shard));
    }

    #[test]
    fn webhooks_are_spread_evenly() {
        for (accounts, each) in [(1, 102_400), (1_024, 100), (102_400, 1)] {
            let mut counts = vec![0u32; usize::from(SHARDS)];
            for account in 1..=accounts {
                for webhook in 0..each {
                    counts[usize::from(Shard::of(account, account * each + webhook).0)] += 1;
                }
            }
            // 100 each, by chance between 60 and 140 with more than four times the standard deviation.
            let (least, most) = (counts.iter().min().expect("shards"), counts.iter().max().expect("shards"));
            assert!(*least > 55 && *most < 150, "{accounts} accounts: {least} to {most}");
        }
    }

    #[test]
    fn a_lease_outlasts_two_attempts_and_the_defaults_are_those_that_are_promised() {
        let five = Terms::for_deadline(Duration::from_secs(5));
        let seconds = [five.length, five.renewed_every, five.margin].map(|span| span.as_secs());
        assert_eq!(seconds, [15, 5, 5]);
        for deadline in [1, 5, 6, 30, 60].map(Duration::from_secs) {
            let terms = Terms::for_deadline(deadline);
            assert!(terms.length > deadline * 2 && terms.margin >= deadline);
            assert!(terms.renewed_every * 2 <= terms.length - terms.margin, "one renewal may fail");
        }
    }

    #[test]
    fn holdings_know_what_is_held_and_under_which_epoch() {
        let holdings = Holdings::default();
        let (shard, last) = (Shard(7), Shard(SHARDS - 1));
        assert_eq!((holdings.epoch(shard), holdings.all()), (None, vec![]));
        holdings.hold(Lease { shard: last, epoch: Epoch(1) });
        holdings.hold(Lease { shard, epoch: Epoch(2) });
        holdings.clone().hold(Lease { shard, epoch: Epoch(3) });
        let held = [Lease { shard, epoch: Epoch(3) }, Lease { shard: last, epoch: Epoch(1) }];
        assert_eq!(holdings.all(), held);
        holdings.let_go(shard);
        assert_eq!((holdings.epoch(shard), holdings.epoch(Shard(SHARDS))), (None, None));
    }
}
