//! What every store must do, as tests that run against any of them: each function is one behaviour, and panics if the
//! store does otherwise.
//!
//! A test of a store gives a [`Subject`], and calls every function with a new one.

pub mod accepting;
pub mod auditing;
pub mod changing;
pub mod cluster;
pub mod figures;
pub mod listing;
pub mod pausing;
pub mod replaying;
pub mod sending;
pub mod sessions;
mod world;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use domain::directory::SharedDirectory;
use domain::store::{Fact, Store};
use domain::time::{Clock, Timestamp};

/// 2026-11-23T20:00:00.123456Z: when the suite's clock starts.
const START: i64 = 1_795_464_000_123_456;

/// A clock that the suite sets.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl Default for ManualClock {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(START)))
    }
}

impl ManualClock {
    /// Moves the clock by so many microseconds, backwards too.
    pub fn step(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// Facts as they were told, in order.
#[derive(Debug, Clone, Default)]
pub struct Told(Arc<Mutex<Vec<Fact>>>);

impl Told {
    /// For the store's hook.
    pub fn tell(&self, facts: Vec<Fact>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(facts);
    }

    /// What was told since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Fact> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An open store.
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Its directory.
    pub directory: SharedDirectory,
    /// What its hook was told.
    pub told: Told,
    /// What it said when it was opened.
    pub known: Vec<Fact>,
}

/// A store under test.
#[async_trait]
pub trait Subject: Send {
    /// Opens the store over the subject's data, with this clock. At most `fresh_per_webhook` deliveries of a webhook may
    /// wait in memory. What was opened before has been closed.
    async fn open(&mut self, clock: ManualClock, fresh_per_webhook: usize) -> Opened;

    /// Closes what was opened.
    async fn close(&mut self);
}
