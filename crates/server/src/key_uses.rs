//! When keys were last used: kept in memory, and written in one go about once a minute and at the end, so that a use costs
//! no write.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::audit::By;
use domain::id::KeyId;
use domain::key::ApiKey;
use domain::store::{Change, Store};
use domain::time::Timestamp;

/// How often what was used is written.
pub(crate) const WRITTEN_EVERY: Duration = Duration::from_secs(60);

/// A key's last use, and the one that is written.
#[derive(Debug, Clone, Copy)]
struct Use {
    last: Timestamp,
    written: Option<Timestamp>,
}

/// The last uses of keys since the start.
#[derive(Debug, Default)]
pub(crate) struct KeyUses(Mutex<HashMap<KeyId, Use>>);

impl KeyUses {
    fn uses(&self) -> MutexGuard<'_, HashMap<KeyId, Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key is used now.
    pub(crate) fn used(&self, key: &ApiKey, now: Timestamp) {
        let mut uses = self.uses();
        match uses.get_mut(&key.id) {
            Some(known) => known.last = known.last.max(now),
            None => {
                uses.insert(key.id.clone(), Use { last: now, written: None });
            }
        }
    }

    /// When the key was last used.
    pub(crate) fn last(&self, key: &ApiKey) -> Option<Timestamp> {
        self.uses().get(&key.id).map(|known| known.last).max(key.last_used_at)
    }

    /// Writes what is not written yet.
    pub(crate) async fn write(&self, store: &dyn Store) {
        let fresh: Vec<_> = {
            let uses = self.uses();
            uses.iter()
                .filter(|(_, known)| Some(known.last) > known.written)
                .map(|(id, known)| (id.clone(), known.last))
                .collect()
        };
        if fresh.is_empty() {
            return;
        }
        match store.change(Change::KeysUsed(fresh.clone()), By::us(), None).await {
            Ok(_) => {
                let mut uses = self.uses();
                for (id, at) in fresh {
                    if let Some(known) = uses.get_mut(&id) {
                        known.written = Some(at);
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "when keys were last used could not be written; it is tried again"),
        }
    }

    /// Forgets a key that is revoked.
    pub(crate) fn forget(&self, id: &KeyId) {
        self.uses().remove(id);
    }
}
