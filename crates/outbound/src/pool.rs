//! Connections that wait for their next request, by origin.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::http1::Connection;

/// How many wait per origin.
const PER_ORIGIN_MAX: usize = 256;
/// How many wait in all.
const TOTAL_MAX: usize = 2_048;

/// The waiting connections. The lock is held for a push or a pop only.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// The last one put is the first one taken, so that the surplus grows old and goes.
    by_origin: HashMap<Box<str>, Vec<Connection>>,
    total: usize,
}

impl Pool {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to `origin` that can carry a request, if its peer is among the `addresses` that the host leads to now.
    pub(crate) fn take(&self, origin: &str, addresses: &[IpAddr], now: Instant) -> Option<Connection> {
        loop {
            // What is not usable is dropped outside the lock.
            let mut connection = self.waiting().pop(origin)?;
            if addresses.contains(&connection.peer.ip()) && connection.is_usable(now) {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next request to `origin`, unless there are too many.
    pub(crate) fn put(&self, origin: &str, connection: Connection) {
        let surplus = self.waiting().push(origin, connection);
        drop(surplus);
    }

    /// Closes all of them.
    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.waiting());
        drop(all);
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting().total
    }

    /// Lets go of those that the peer has closed, or that are too old.
    pub(crate) fn sweep(&self, now: Instant) {
        let useless = self.waiting().remove_useless(now);
        drop(useless);
    }
}

impl Waiting {
    fn pop(&mut self, origin: &str) -> Option<Connection> {
        let connection = self.by_origin.get_mut(origin)?.pop()?;
        self.total -= 1;
        Some(connection)
    }

    /// Gives back what there is no room for.
    fn push(&mut self, origin: &str, connection: Connection) -> Option<Connection> {
        if self.total >= TOTAL_MAX {
            return Some(connection);
        }
        match self.by_origin.get_mut(origin) {
            Some(waiting) if waiting.len() >= PER_ORIGIN_MAX => return Some(connection),
            Some(waiting) => waiting.push(connection),
            None => {
                self.by_origin.insert(origin.into(), vec![connection]);
            }
        }
        self.total += 1;
        None
    }

    fn remove_useless(&mut self, now: Instant) -> Vec<Connection> {
        let mut useless = Vec::new();
        self.by_origin.retain(|_, waiting| {
            useless.extend(waiting.extract_if(.., |connection| !connection.is_usable(now)));
            !waiting.is_empty()
        });
        self.total -= useless.len();
        useless
    }
}
