//! The readers: a few connections, used on threads that may block.

use std::sync::{Arc, Mutex, PoisonError};

use domain::store::StoreError;
use tokio::sync::Semaphore;

use super::reader::Reader;
use super::shared::Shared;

/// A pool of readers.
#[derive(Debug)]
pub(super) struct Readers {
    pub(super) shared: Arc<Shared>,
    idle: Mutex<Vec<Reader>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    /// A pool of at most `size` readers; each is opened when it is first needed.
    pub(super) fn new(shared: Arc<Shared>, size: usize) -> Arc<Self> {
        Arc::new(Self { shared, idle: Mutex::default(), permits: Arc::new(Semaphore::new(size.max(1))) })
    }

    /// Reads on a thread that may block.
    pub(super) async fn read<T, E>(
        self: &Arc<Self>,
        work: impl FnOnce(&Reader) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let stopped = |why: &str| E::from(StoreError::Stopped(why.to_owned()));
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| stopped("it is closed"))?;
        let pool = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let reader = match idle {
                Some(reader) => reader,
                None => Reader::open(Arc::clone(&pool.shared))?,
            };
            let result = work(&reader);
            pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            drop(permit);
            result
        });
        // A panic while reading costs its reader, and this answer.
        read.await.unwrap_or_else(|error| Err(stopped(&error.to_string())))
    }

    /// Closes the idle readers, so that the last connection to close can tidy up.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
