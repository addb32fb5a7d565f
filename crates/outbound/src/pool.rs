//! Connections that wait for their next request, by origin.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::http1::{Connection, LIFETIME_MAX};

/// How many wait in all: twice as many as requests are in flight at once. An origin has no bound of its own, since no more of its connections
/// wait than it had requests in flight; with a bound, a busy one would be dialled anew for every request beyond it.
pub(crate) const WAITING_MAX: usize = 2_048;
/// For how long nothing is kept of an origin that closes what is kept: a request that meets the close is lost, since it may have
/// been handled and is not repeated.
const NOT_KEPT_FOR: Duration = LIFETIME_MAX;
/// Of how many origins that is remembered.
const CLOSING_MAX: usize = 4_096;

/// The waiting connections. The lock is held for a push or a pop only.
#[derive(Debug)]
pub(crate) struct Pool {
    waiting: Mutex<Waiting>,
    most: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The last one put is the first one taken, so that the surplus grows old and goes.
    by_origin: HashMap<Box<str>, Vec<Connection>>,
    total: usize,
    /// Origins that close what is kept, and until when nothing of them is.
    closing: HashMap<Box<str>, Instant>,
}

impl Pool {
    /// A pool in which so many wait at most.
    pub(crate) fn new(most: usize) -> Self {
        Self { waiting: Mutex::default(), most }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to `origin` that can carry a request, if its peer is among the `addresses` that the host leads to now.
    pub(crate) fn take(&self, origin: &str, addresses: &[IpAddr], now: Instant) -> Option<Connection> {
        loop {
            // What is not usable is dropped outside the lock.
            let mut connection = self.waiting().pop(origin)?;
            if !addresses.contains(&connection.peer.ip()) {
                continue;
            }
            if connection.is_usable(now) {
                return Some(connection);
            }
            if connection.was_closed_at_once(now) {
                self.closes(origin, now);
            }
        }
    }

    /// Keeps a connection for the next request to `origin`. Where there are too many, the origin that has the most gives its oldest.
    pub(crate) fn put(&self, origin: &str, connection: Connection) {
        let mut waiting = self.waiting();
        let surplus = waiting.push(origin, connection).or_else(|| waiting.oldest_of_the_most(self.most));
        drop(waiting);
        drop(surplus);
    }

    /// The peer has closed a kept connection to `origin` as soon as it was kept, or under a request: for a while, none is.
    pub(crate) fn closes(&self, origin: &str, now: Instant) {
        let useless = self.waiting().close(origin, now);
        drop(useless);
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

    /// Gives it back if nothing of its origin is kept.
    fn push(&mut self, origin: &str, connection: Connection) -> Option<Connection> {
        if self.closing.get(origin).is_some_and(|until| Instant::now() < *until) {
            return Some(connection);
        }
        match self.by_origin.get_mut(origin) {
            Some(waiting) => waiting.push(connection),
            None => {
                self.by_origin.insert(origin.into(), vec![connection]);
            }
        }
        self.total += 1;
        None
    }

    /// Takes one out if there are more than `most`.
    fn oldest_of_the_most(&mut self, most: usize) -> Option<Connection> {
        if self.total <= most {
            return None;
        }
        let fullest = self.by_origin.values_mut().max_by_key(|waiting| waiting.len())?;
        self.total -= 1;
        Some(fullest.remove(0))
    }

    fn close(&mut self, origin: &str, now: Instant) -> Vec<Connection> {
        if self.closing.len() < CLOSING_MAX || self.closing.contains_key(origin) {
            self.closing.insert(origin.into(), now + NOT_KEPT_FOR);
        }
        let useless = self.by_origin.remove(origin).unwrap_or_default();
        self.total -= useless.len();
        useless
    }

    fn remove_useless(&mut self, now: Instant) -> Vec<Connection> {
        self.closing.retain(|_, until| now < *until);
        let mut useless = Vec::new();
        self.by_origin.retain(|_, waiting| {
            useless.extend(waiting.extract_if(.., |connection| !connection.is_usable(now)));
            !waiting.is_empty()
        });
        self.total -= useless.len();
        useless
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::http1::LIFETIME_MAX;
    use crate::stream::Stream;

    const ORIGIN: &str = "http://hooks.example.com";

    /// A connection, and its other end.
    async fn connected() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback can be bound");
        let address = listener.local_addr().expect("an address");
        let near = TcpStream::connect(address).await.expect("it listens");
        let (far, _) = listener.accept().await.expect("a connection");
        (Connection::new(Stream::Plain(near), address), far)
    }

    fn loopback() -> [IpAddr; 1] {
        ["127.0.0.1".parse().expect("an address")]
    }

    /// Row N019: no connection is older than a minute when it is used.
    #[tokio::test]
    async fn connections_grow_old() {
        let pool = Pool::new(WAITING_MAX);
        for (age, is_taken) in [(Duration::ZERO, true), (LIFETIME_MAX, false)] {
            let (connection, _far) = connected().await;
            pool.put(ORIGIN, connection);
            let taken = pool.take(ORIGIN, &loopback(), Instant::now() + age);
            assert_eq!((taken.is_some(), pool.len()), (is_taken, 0), "{age:?}");
        }
    }

    #[tokio::test]
    async fn only_a_peer_in_the_present_answer_is_taken() {
        let pool = Pool::new(WAITING_MAX);
        let (connection, _far) = connected().await;
        pool.put(ORIGIN, connection);
        assert!(pool.take("https://hooks.example.com", &loopback(), Instant::now()).is_none());
        assert_eq!(pool.len(), 1);
        assert!(pool.take(ORIGIN, &["127.0.0.2".parse().expect("an address")], Instant::now()).is_none());
        assert_eq!(pool.len(), 0);
    }

    /// Nothing was awaited since the peer closed it, so the reactor has not heard of that.
    #[tokio::test]
    async fn one_that_the_peer_has_closed_just_now_is_not_taken() {
        let pool = Pool::new(WAITING_MAX);
        let (connection, far) = connected().await;
        pool.put(ORIGIN, connection);
        drop(far);
        assert!(pool.take(ORIGIN, &loopback(), Instant::now()).is_none());
    }

    #[tokio::test]
    async fn nothing_is_kept_for_a_while_where_kept_ones_are_closed() {
        let pool = Pool::new(WAITING_MAX);
        let (first, _far) = connected().await;
        let (second, _other) = connected().await;
        let now = Instant::now();
        pool.put(ORIGIN, first);
        pool.closes(ORIGIN, now);
        assert_eq!(pool.len(), 0, "what is kept goes too");
        pool.put(ORIGIN, second);
        assert_eq!(pool.len(), 0);
        let (third, _far) = connected().await;
        pool.put("http://other.example.com", third);
        assert_eq!(pool.len(), 1, "others are kept");
        pool.sweep(now + NOT_KEPT_FOR);
        let (fourth, _far) = connected().await;
        pool.put(ORIGIN, fourth);
        assert!(pool.take(ORIGIN, &loopback(), Instant::now()).is_some(), "it is tried again");
    }

    #[tokio::test]
    async fn the_useless_are_swept_out() {
        let pool = Pool::new(WAITING_MAX);
        let (connection, far) = connected().await;
        pool.put(ORIGIN, connection);
        pool.sweep(Instant::now());
        assert_eq!(pool.len(), 1);
        drop(far);
        while pool.len() > 0 {
            tokio::task::yield_now().await;
            pool.sweep(Instant::now());
        }
        assert!(pool.waiting().by_origin.is_empty());
    }

    #[tokio::test]
    async fn where_too_many_wait_the_fullest_origin_gives_its_oldest() {
        const OTHER: &str = "http://other.example.com";
        let pool = Pool::new(3);
        let (mut far, mut peers) = (Vec::new(), Vec::new());
        for origin in [ORIGIN, ORIGIN, ORIGIN, OTHER, ORIGIN] {
            let (connection, other) = connected().await;
            far.push(other);
            peers.push(connection.peer);
            pool.put(origin, connection);
        }
        assert_eq!(pool.len(), 3);
        let mut taken = Vec::new();
        for origin in [ORIGIN, OTHER] {
            while let Some(connection) = pool.take(origin, &loopback(), Instant::now()) {
                taken.push(connection.peer);
            }
        }
        assert_eq!(taken, [peers[4], peers[2], peers[3]], "the first two have gone");
        pool.clear();
        assert_eq!(pool.len(), 0);
    }
}
