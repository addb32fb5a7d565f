//! Connections that are used by one after the other.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::connection::{Connector, Link, Purpose};
use super::fault::Fault;
use super::lack::Lack;

/// Connections that are used by one after the other.
pub(super) struct Pool {
    connector: Connector,
    purpose: Purpose,
    idle: Mutex<Vec<Link>>,
    permits: Semaphore,
}

impl Pool {
    pub(super) fn new(connector: Connector, purpose: Purpose, size: usize) -> Self {
        Self { connector, purpose, idle: Mutex::default(), permits: Semaphore::new(size) }
    }

    /// What connections are lacking.
    pub(super) fn lack(&self) -> &Lack {
        self.connector.lack()
    }

    /// A connection, for as long as it is held.
    pub(super) async fn take(&self) -> Result<Lent<'_>, Fault> {
        let closed = |_| Fault::Refused("it was closed".to_owned());
        let permit = self.permits.acquire().await.map_err(closed)?;
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut found = idle();
        while found.as_ref().is_some_and(Link::is_closed) {
            found = idle();
        }
        let link = match found {
            Some(link) => link,
            None => self.connector.connect(self.purpose).await?,
        };
        Ok(Lent { pool: self, link: Some(link), _permit: permit, is_clean: false })
    }

    /// Gives no further connection.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A connection of a pool. Dropped before [`Self::done`] it is not used again: something may be under way in it.
pub(super) struct Lent<'p> {
    pool: &'p Pool,
    link: Option<Link>,
    _permit: SemaphorePermit<'p>,
    is_clean: bool,
}

impl Lent<'_> {
    /// Nothing is under way any more.
    pub(super) fn done(mut self) {
        self.is_clean = true;
    }
}

impl std::ops::Deref for Lent<'_> {
    type Target = Link;

    fn deref(&self) -> &Link {
        self.link.as_ref().expect("it is there until the end")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(link) = self.link.take()
            && self.is_clean
            && !link.is_closed()
            && !self.pool.permits.is_closed()
        {
            self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(link);
        }
    }
}
