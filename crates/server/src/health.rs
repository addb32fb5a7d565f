//! Whether sending goes on, as the wiring's watchdog sees it from outside of the dispatcher.

use std::sync::{Arc, PoisonError, RwLock};

/// What is wrong, if anything is. Cloned, it is the same.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<RwLock<Option<&'static str>>>);

impl Health {
    /// Says what is wrong, or that nothing is.
    pub fn say(&self, trouble: Option<&'static str>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// What is wrong.
    #[must_use]
    pub fn trouble(&self) -> Option<&'static str> {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
