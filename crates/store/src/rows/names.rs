//! What every row's numbers stand for: accounts and webhooks in memory, event types, and webhooks that are no more.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use domain::directory::SharedDirectory;
use domain::id::WebhookId;
use domain::redaction::Redaction;
use domain::time::Timestamp;

use super::event_types::EventTypes;
use super::search::Search;

/// As committed.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) directory: SharedDirectory,
    types: RwLock<EventTypes>,
    gone: RwLock<HashMap<u32, (u32, WebhookId)>>,
    cancelling: RwLock<HashMap<u32, (u32, Timestamp)>>,
}

impl Names {
    pub(crate) fn new(directory: SharedDirectory, types: EventTypes, gone: HashMap<u32, (u32, WebhookId)>) -> Self {
        Self { directory, types: RwLock::new(types), gone: RwLock::new(gone), cancelling: RwLock::default() }
    }

    /// The names of event types.
    pub(crate) fn types(&self) -> RwLockReadGuard<'_, EventTypes> {
        read(&self.types)
    }

    pub(crate) fn types_mut(&self) -> RwLockWriteGuard<'_, EventTypes> {
        write(&self.types)
    }

    /// The deleted webhooks whose log is kept: by number, the account's number and the id.
    pub(crate) fn gone(&self) -> RwLockReadGuard<'_, HashMap<u32, (u32, WebhookId)>> {
        read(&self.gone)
    }

    pub(crate) fn gone_mut(&self) -> RwLockWriteGuard<'_, HashMap<u32, (u32, WebhookId)>> {
        write(&self.gone)
    }

    /// The numbers of an account's deleted webhooks that had this id and whose log is kept.
    pub(crate) fn deleted_webhooks(&self, account: u32, id: &WebhookId) -> Vec<u32> {
        self.gone().iter().filter(|(_, (of, gone))| *of == account && gone == id).map(|(number, _)| *number).collect()
    }

    /// The deleted webhooks of which something is left to be cancelled: by number, the account's number and since when.
    pub(crate) fn cancelling(&self) -> RwLockReadGuard<'_, HashMap<u32, (u32, Timestamp)>> {
        read(&self.cancelling)
    }

    pub(crate) fn cancelling_mut(&self) -> RwLockWriteGuard<'_, HashMap<u32, (u32, Timestamp)>> {
        write(&self.cancelling)
    }

    /// Whether what is left of this webhook is cancelled, or as good as that.
    pub(crate) fn is_cancelling(&self, webhook: u32) -> bool {
        self.cancelling().contains_key(&webhook)
    }

    /// Whether some of what waits in this account is shown as cancelled.
    pub(crate) fn cancels_in(&self, account: u32) -> bool {
        self.cancelling().values().any(|(of, _)| *of == account)
    }

    /// Whether the account is there: what is left of a closed one until it is erased is shown to nobody.
    pub(crate) fn is_open(&self, account: u32) -> bool {
        self.directory.read().account_numbered(account).is_some()
    }

    /// Whether a webhook is there, and not paused.
    pub(crate) fn is_active(&self, webhook: u32) -> bool {
        self.directory.read().webhook_numbered(webhook).is_some_and(|webhook| webhook.pause.is_none())
    }

    /// What of the account's data is not shown.
    pub(crate) fn redaction(&self, account: u32) -> Redaction {
        let directory = self.directory.read();
        directory.account_numbered(account).map(|account| account.log.redact.clone()).unwrap_or_default()
    }

    /// The numbers of an account's webhooks whose ids hold what is searched for.
    pub(crate) fn webhooks_named(&self, account: u32, search: &Search<'_>) -> std::collections::HashSet<u32> {
        let directory = self.directory.read();
        let live = directory.webhooks_of(account).filter(|webhook| search.is_in_id(webhook.id.as_str()));
        let mut named: std::collections::HashSet<u32> = live.map(|webhook| webhook.number).collect();
        drop(directory);
        let gone = self.gone();
        let gone = gone.iter().filter(|(_, (of, id))| *of == account && search.is_in_id(id.as_str()));
        named.extend(gone.map(|(number, _)| *number));
        named
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
