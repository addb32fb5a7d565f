//! What the writer and the readers share.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use domain::shard::{Holdings, SHARDS, Shard};
use domain::vault::Vault;

use crate::rows::names::Names;

/// As committed: the writer changes it after each of its commits, and as it learns of other nodes'.
pub(super) struct Shared {
    pub(super) vault: Vault,
    names: Names,
    /// The version of each account's part of the directory, 0 for the platform's.
    versions: RwLock<HashMap<u32, i64>>,
    /// The shards that this node serves; `None` for all.
    holdings: Option<Holdings>,
    /// There may be idempotency keys of which only their hash knows whose they are.
    nameless_keys: AtomicBool,
}

impl Shared {
    pub(super) fn new(vault: Vault, names: Names, holdings: Option<Holdings>) -> Self {
        Self { vault, names, versions: RwLock::default(), holdings, nameless_keys: AtomicBool::new(true) }
    }

    /// The version of an account's part of the directory that memory has.
    pub(super) fn version(&self, account: u32) -> Option<i64> {
        self.versions.read().unwrap_or_else(PoisonError::into_inner).get(&account).copied()
    }

    /// Memory has an account's part of the directory in this version, or knows that it is gone.
    pub(super) fn set_version(&self, account: u32, version: Option<i64>) {
        let mut versions = self.versions.write().unwrap_or_else(PoisonError::into_inner);
        match version {
            Some(version) => versions.insert(account, version),
            None => versions.remove(&account),
        };
    }

    /// Memory has these versions, and no others.
    pub(super) fn set_versions(&self, all: HashMap<u32, i64>) {
        *self.versions.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// Whether there may be idempotency keys of which only their hash knows whose they are.
    pub(super) fn has_nameless_keys(&self) -> bool {
        self.nameless_keys.load(Ordering::Relaxed)
    }

    /// Whether there are any: once there are none, there will be none.
    pub(super) fn set_nameless_keys(&self, any: bool) {
        self.nameless_keys.store(any, Ordering::Relaxed);
    }

    /// The shards that this node serves, a bit for each as `get_bit` counts them; `None` for all. A list would be gone through for
    /// each row.
    pub(super) fn shards(&self) -> Option<Vec<u8>> {
        let mut bits = vec![0; usize::from(SHARDS).div_ceil(8)];
        for lease in self.holdings.as_ref()?.all() {
            let shard = usize::from(lease.shard.0);
            if let Some(byte) = bits.get_mut(shard / 8) {
                *byte |= 1 << (shard % 8);
            }
        }
        Some(bits)
    }

    /// Whether this node is one of many.
    pub(super) const fn shares(&self) -> bool {
        self.holdings.is_some()
    }

    /// Ends of attempts were refused, since another node has taken the shard.
    pub(super) fn refuse(&self, ends: usize) {
        self.holdings.iter().for_each(|held| held.refuse(ends));
    }

    /// Whether this node serves a shard.
    pub(super) fn serves(&self, shard: Shard) -> bool {
        self.holdings.as_ref().is_none_or(|held| held.epoch(shard).is_some())
    }

    /// The account of a webhook that is there, or whose log is.
    pub(super) fn account_of(&self, webhook: u32) -> Option<u32> {
        let live = self.directory.read().webhook_numbered(webhook).map(|webhook| webhook.account);
        live.or_else(|| self.gone().get(&webhook).map(|(account, _)| *account))
    }

    /// The webhooks of which only tests are sent.
    pub(super) fn paused(&self) -> Vec<i32> {
        let directory = self.directory.read();
        directory.webhooks().filter(|webhook| webhook.pause.is_some()).map(|webhook| webhook.number as i32).collect()
    }
}

impl Deref for Shared {
    type Target = Names;

    fn deref(&self) -> &Names {
        &self.names
    }
}
