//! What a soak has done, what became of its events, and what went wrong.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::StatusCode;
use tokio::sync::Notify;

use crate::bench::load::Answer;

/// How many faults are told word for word.
const TOLD_MAX: usize = 20;

/// Shared by all who make the load.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Events that got a 2xx.
    pub(super) accepted: AtomicU64,
    /// Requests and events that were told to come back: 429 or 503.
    pub(super) refused: AtomicU64,
    /// Requests that came to the receivers.
    pub(super) received: AtomicU64,
    numbers: Mutex<Numbers>,
    did: Mutex<BTreeMap<&'static str, u64>>,
    faults: Mutex<Faults>,
    over: AtomicBool,
    wakes: Notify,
}

#[derive(Debug, Default)]
struct Faults {
    told: Vec<String>,
    number: u64,
}

/// Numbers of events: which were accepted, and which came to where all events of their account go.
#[derive(Debug, Default)]
struct Numbers {
    accepted: Vec<u64>,
    arrived: Vec<u64>,
}

fn set(bits: &mut Vec<u64>, n: u64) {
    let word = usize::try_from(n / 64).unwrap_or(usize::MAX);
    if bits.len() <= word {
        bits.resize(word + 1, 0);
    }
    bits[word] |= 1 << (n % 64);
}

impl Tally {
    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The n-th event was accepted.
    pub(super) fn accepted(&self, n: u64) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        set(&mut self.numbers().accepted, n);
    }

    /// The n-th event has arrived where all of its account arrive.
    pub(super) fn arrived(&self, n: u64) {
        set(&mut self.numbers().arrived, n);
    }

    /// How many events were accepted and have not arrived.
    pub(super) fn missing(&self) -> u64 {
        let numbers = self.numbers();
        let arrived = numbers.arrived.iter().copied().chain(std::iter::repeat(0));
        numbers
            .accepted
            .iter()
            .zip(arrived)
            .map(|(accepted, arrived)| u64::from((accepted & !arrived).count_ones()))
            .sum()
    }

    /// One more of these things was done.
    pub(super) fn did(&self, what: &'static str) {
        *self.did.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }

    /// What was done, and how often.
    pub(super) fn all_done(&self) -> BTreeMap<&'static str, u64> {
        self.did.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something went wrong.
    pub(super) fn fault(&self, what: String) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.number += 1;
        if faults.told.len() < TOLD_MAX {
            faults.told.push(what);
        }
    }

    /// The first things that went wrong; the last says how many more there are.
    pub(super) fn faults(&self) -> Vec<String> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = faults.told.clone();
        let more = faults.number - told.len() as u64;
        if more > 0 {
            told.push(format!("{more} more faults of such kinds"));
        }
        told
    }

    /// Whether an answer has one of the statuses that it may have. What is refused for now is counted, anything else is a
    /// fault.
    pub(super) fn fits(&self, what: &'static str, answer: &Answer, statuses: &[u16]) -> bool {
        if statuses.contains(&answer.status.as_u16()) {
            self.did(what);
            return true;
        }
        let for_now = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status);
        if for_now && answer.retry_after() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        } else {
            let body: String = String::from_utf8_lossy(&answer.body).chars().take(300).collect();
            self.fault(format!("{what}: answered {} {body}", answer.status));
        }
        false
    }

    /// No more is asked for.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.wakes.notify_waiters();
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Waits for so long, or until no more is asked for.
    pub(super) async fn pause(&self, wait: std::time::Duration) {
        let woken = self.wakes.notified();
        if !self.is_over() {
            tokio::select! {
                () = woken => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_and_has_not_arrived_is_missing() {
        let tally = Tally::default();
        for n in [0, 63, 64, 1_000] {
            tally.accepted(n);
        }
        tally.arrived(64);
        tally.arrived(5_000);
        assert_eq!(tally.missing(), 3);
        for n in [0, 63, 1_000, 1_000] {
            tally.arrived(n);
        }
        assert_eq!(tally.missing(), 0);
    }

    #[test]
    fn faults_are_told_up_to_a_number() {
        let tally = Tally::default();
        for n in 0..25 {
            tally.fault(n.to_string());
        }
        assert_eq!(tally.faults().len(), TOLD_MAX + 1);
        assert_eq!(tally.faults().last().map(String::as_str), Some("5 more faults of such kinds"));
    }
}
