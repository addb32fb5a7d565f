//! What the engine and its readers share: the names behind the rows' numbers, and what has no row yet.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use domain::vault::Vault;

use super::fresh::Fresh;
use crate::rows::names::Names;

/// As committed: the engine changes it after each commit, and before it answers.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) file: PathBuf,
    pub(super) vault: Vault,
    names: Names,
    fresh: RwLock<Fresh>,
}

impl Shared {
    pub(super) fn new(file: PathBuf, vault: Vault, names: Names) -> Self {
        Self { file, vault, names, fresh: RwLock::default() }
    }

    /// The deliveries without a row.
    pub(super) fn fresh(&self) -> RwLockReadGuard<'_, Fresh> {
        self.fresh.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fresh_mut(&self) -> RwLockWriteGuard<'_, Fresh> {
        self.fresh.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Shared {
    type Target = Names;

    fn deref(&self) -> &Names {
        &self.names
    }
}
