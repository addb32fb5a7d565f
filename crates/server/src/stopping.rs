//! The word that the process is stopping, for what would otherwise never end.

use std::sync::Arc;

use tokio::sync::watch;

/// Said once, heard by every connection and stream.
#[derive(Debug, Clone)]
pub(crate) struct Stopping(Arc<watch::Sender<bool>>);

impl Default for Stopping {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Stopping {
    /// Says it.
    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was said.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.0.borrow()
    }

    /// To hear it.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
}
