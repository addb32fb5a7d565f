//! What the engine and its readers share: the directory, what has no row yet, and the names behind the rows' numbers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use domain::directory::SharedDirectory;
use domain::id::WebhookId;
use domain::time::Timestamp;
use domain::vault::Vault;

use super::event_types::EventTypes;
use super::fresh::Fresh;

/// As committed: the engine changes it after each commit, and before it answers.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) file: PathBuf,
    pub(super) vault: Vault,
    pub(super) directory: SharedDirectory,
    fresh: RwLock<Fresh>,
    types: RwLock<EventTypes>,
    gone: RwLock<HashMap<u32, (u32, WebhookId)>>,
    cancelling: RwLock<HashMap<u32, (u32, Timestamp)>>,
}

impl Shared {
    pub(super) fn new(
        file: PathBuf,
        vault: Vault,
        directory: SharedDirectory,
        types: EventTypes,
        gone: HashMap<u32, (u32, WebhookId)>,
    ) -> Self {
        let (types, gone) = (RwLock::new(types), RwLock::new(gone));
        Self { file, vault, directory, fresh: RwLock::default(), types, gone, cancelling: RwLock::default() }
    }

    /// The deliveries without a row.
    pub(super) fn fresh(&self) -> RwLockReadGuard<'_, Fresh> {
        read(&self.fresh)
    }

    pub(super) fn fresh_mut(&self) -> RwLockWriteGuard<'_, Fresh> {
        write(&self.fresh)
    }

    /// The names of event types.
    pub(super) fn types(&self) -> RwLockReadGuard<'_, EventTypes> {
        read(&self.types)
    }

    pub(super) fn types_mut(&self) -> RwLockWriteGuard<'_, EventTypes> {
        write(&self.types)
    }

    /// The deleted webhooks whose log is kept: by number, the account's number and the id.
    pub(super) fn gone(&self) -> RwLockReadGuard<'_, HashMap<u32, (u32, WebhookId)>> {
        read(&self.gone)
    }

    pub(super) fn gone_mut(&self) -> RwLockWriteGuard<'_, HashMap<u32, (u32, WebhookId)>> {
        write(&self.gone)
    }

    /// The deleted webhooks of which something is left to be cancelled: by number, the account's number and since when.
    pub(super) fn cancelling(&self) -> RwLockReadGuard<'_, HashMap<u32, (u32, Timestamp)>> {
        read(&self.cancelling)
    }

    pub(super) fn cancelling_mut(&self) -> RwLockWriteGuard<'_, HashMap<u32, (u32, Timestamp)>> {
        write(&self.cancelling)
    }

    /// Whether what is left of this webhook is cancelled, or as good as that.
    pub(super) fn is_cancelling(&self, webhook: u32) -> bool {
        self.cancelling().contains_key(&webhook)
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
