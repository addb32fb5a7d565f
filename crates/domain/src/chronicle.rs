//! The seam to what happens on all nodes, for those who follow it live: each node writes down what it commits in accounts
//! that somebody follows, in the same transaction, and every node reads it from there. So a stream shows the same on each, in
//! the order of its causes, and goes on at another one where it was cut off.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::store::{Fact, StoreError};
use crate::time::Timestamp;

/// A moment in what has been committed: everything was before it or after it. Its text is the store's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mark(Arc<str>);

impl Mark {
    /// The mark that a text stands for, if it stands for one: who reads with it is told.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Its text: digits, `.`, `:` and `,`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is told of an event beside an attempt of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its type.
    pub event_type: Arc<str>,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Whether it is a test.
    pub test: bool,
}

/// Something that has happened.
#[derive(Debug, Clone)]
pub struct Happened {
    /// The number of the account.
    pub account: u32,
    /// Its place in what happened in the account between the two marks, from 1.
    pub place: u32,
    /// What happened. Events come without their data, and successes without the answer's headers and body.
    pub fact: Fact,
    /// Of an attempt, its event.
    pub head: Option<Head>,
}

/// What has happened between two marks.
#[derive(Debug, Clone)]
pub struct News {
    /// It, in order.
    pub happened: Vec<Happened>,
    /// The mark at its end.
    pub until: Mark,
    /// Whether it is everything: not where too much has happened, or where it was too long ago.
    pub whole: bool,
}

/// What happens on all nodes.
#[async_trait]
pub trait Chronicle: Send + Sync {
    /// What happens in these accounts is written down from now on, for some minutes; those of them of which it was already,
    /// without a gap. Everything that is committed after this returns is, and memory has what was committed before.
    async fn follow(&self, accounts: Vec<u32>) -> Result<Vec<u32>, StoreError>;

    /// Learns what others have changed in the directory: afterwards memory has whatever was committed before this was called,
    /// unless the database is away.
    async fn learn(&self) -> Result<(), StoreError>;

    /// What has happened in these accounts after a mark, until another one or until now; without `after`, nothing.
    async fn read(&self, accounts: Vec<u32>, after: Option<Mark>, until: Option<Mark>) -> Result<News, StoreError>;
}
