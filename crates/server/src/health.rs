//! Whether sending goes on, as the wiring's watchdog sees it from outside of the dispatcher; and whether what is kept was met damaged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// What is said once something that is kept could not be read.
const DAMAGED: &str = "What is kept was met damaged: the log names it, and `posthaste doctor` looks at every row. Restore the last backup.";

/// What is wrong, if anything is. Cloned, it is the same.
#[derive(Debug, Clone, Default)]
pub struct Health {
    trouble: Arc<RwLock<Option<&'static str>>>,
    damaged: Arc<AtomicBool>,
}

impl Health {
    /// Says what is wrong with sending, or that nothing is.
    pub fn say(&self, trouble: Option<&'static str>) {
        *self.trouble.write().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// What is wrong with sending.
    #[must_use]
    pub fn trouble(&self) -> Option<&'static str> {
        *self.trouble.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something that is kept could not be read. That stays so until the process ends.
    pub(crate) fn met_damage(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    /// What is wrong with what is kept, as far as it was met.
    pub(crate) fn damage(&self) -> Option<&'static str> {
        self.damaged.load(Ordering::Relaxed).then_some(DAMAGED)
    }
}
