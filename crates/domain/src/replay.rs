//! A replay in bulk: many deliveries sent again, oldest first, a bounded number at a time.
//!
//! What it covers is decided when it is created, and kept as a list. From there on the dispatcher hands deliveries over a
//! few at a time: each is made due, and counted as handed over, in one transaction, so none is handed over twice.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attempt::ErrorCode;
use crate::delivery::Delivery;
use crate::filter::DeliveryFilter;
use crate::id::ReplayId;
use crate::in_flight::Flight;
use crate::time::Timestamp;

/// How many replays of an account may be unfinished at once.
pub const UNFINISHED_MAX: usize = 50;
/// How many deliveries are handed over in one transaction at most.
pub const HANDED_OVER_MAX: u32 = 200;
/// How far ahead a replay with a rate plans at most, generously.
const PACED_AHEAD_MAX: Duration = Duration::from_secs(3);

/// Which deliveries a replay is to cover, and as seen when.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The number of the account.
    pub account: u32,
    /// The number of the filter's webhook.
    pub webhook: Option<u32>,
    /// Which deliveries are meant.
    pub filter: DeliveryFilter,
    /// The time by which `held` and `pending` are told apart.
    pub now: Timestamp,
    /// The deliveries in flight: they are `sending`.
    pub sending: Vec<Flight>,
}

/// What a replay would cover.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// How many deliveries would be sent again.
    pub total: u64,
    /// What the filter means, and cannot be sent again.
    pub passed_over: PassedOver,
    /// The first of those that would be sent, oldest first.
    pub first: Vec<Delivery>,
}

/// How many deliveries were not handed over, by why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PassedOver {
    /// They are still to be sent, or being sent: pending, sending or held.
    pub unfinished: u64,
    /// They are tests.
    pub tests: u64,
    /// Their webhook is paused.
    pub webhook_paused: u64,
    /// Their webhook was deleted.
    pub webhook_deleted: u64,
    /// They are past retention.
    pub gone: u64,
}

impl PassedOver {
    /// All of them.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.unfinished + self.tests + self.webhook_paused + self.webhook_deleted + self.gone
    }
}

/// Where a delivery stands in a replay, once it was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It waits to be sent.
    Waiting,
    /// It got a 2xx.
    Delivered,
    /// It failed, and is tried again by its schedule.
    Retrying,
    /// It failed for good.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// How many deliveries came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Results {
    /// Got a 2xx.
    pub delivered: u64,
    /// Failed, and are tried again.
    pub retrying: u64,
    /// Failed for good.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
}

impl Results {
    const fn of(&mut self, standing: Standing) -> Option<&mut u64> {
        match standing {
            Standing::Waiting => None,
            Standing::Delivered => Some(&mut self.delivered),
            Standing::Retrying => Some(&mut self.retrying),
            Standing::Failed => Some(&mut self.failed),
            Standing::Cancelled => Some(&mut self.cancelled),
        }
    }

    /// All of them.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.delivered + self.retrying + self.failed + self.cancelled
    }
}

/// Whether a replay goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum State {
    /// What it covers is being listed; nobody has been told of it.
    Preparing,
    /// It goes on, or waits for its turn.
    Running,
    /// It stands still, and can go on.
    Paused {
        /// Since when.
        since: Timestamp,
        /// Why.
        cause: Cause,
    },
    /// A person has ended it.
    Stopped {
        /// When.
        at: Timestamp,
        /// The name of the key.
        by: String,
    },
    /// Everything that it covers was sent, or passed over.
    Done {
        /// Since when.
        at: Timestamp,
    },
}

/// Why a replay stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum Cause {
    /// A person has paused it.
    Key {
        /// The name of the key.
        name: String,
        /// What was given as reason.
        reason: Option<String>,
    },
    /// It paused itself: so many attempts failed in a row.
    Failures {
        /// How many.
        in_a_row: u64,
        /// How the last one failed.
        last: Option<ErrorCode>,
    },
    /// It paused itself, since its webhook is paused.
    WebhookPaused,
}

impl Cause {
    /// The names of all of them.
    pub const NAMES: [&'static str; 3] = ["key", "failures", "webhook_paused"];

    /// Its name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        let [key, failures, webhook_paused] = Self::NAMES;
        match self {
            Self::Key { .. } => key,
            Self::Failures { .. } => failures,
            Self::WebhookPaused => webhook_paused,
        }
    }
}

/// A replay as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// The store's number for it: later ones are larger. 0 before it is stored.
    pub number: u32,
    /// Its id.
    pub id: ReplayId,
    /// The number of its account.
    pub account: u32,
    /// The number of its webhook; `None` for all of the account's.
    pub webhook: Option<u32>,
    /// Which deliveries were meant, when it was created.
    pub filter: DeliveryFilter,
    /// Deliveries per second; `None` for no limit of its own.
    pub rate: Option<u32>,
    /// The name of the key that started it.
    pub by: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Whether it goes on.
    pub state: State,
    /// How many deliveries it covers.
    pub total: u64,
    /// What its filter meant at its creation, and could not be sent again; not part of `total`.
    pub left_out: PassedOver,
    /// How many were made due.
    pub handed_over: u64,
    /// How many of `total` could not be handed over when their turn came.
    pub passed_over: PassedOver,
    /// What became of those handed over: each has been sent once at least, or was cancelled.
    pub results: Results,
    /// The last errors of those that are not delivered.
    pub errors: BTreeMap<ErrorCode, u64>,
    /// Attempts in a row, since it last started, that succeeded (above 0) or failed (below).
    pub streak: i64,
    /// For how long it has run, pauses left out.
    pub ran: Duration,
    /// Since when it runs, unless it stands still.
    pub running_since: Option<Timestamp>,
    /// The earliest instant of the next delivery, where it has a rate.
    pub paced_until: Timestamp,
}

impl Replay {
    /// A replay of this scope, as it is before what it covers is listed.
    #[must_use]
    pub fn new(id: ReplayId, scope: &Scope, rate: Option<u32>, by: &str) -> Self {
        Self {
            number: 0,
            id,
            account: scope.account,
            webhook: scope.webhook,
            filter: scope.filter.clone(),
            rate,
            by: by.to_owned(),
            created_at: scope.now,
            state: State::Preparing,
            total: 0,
            left_out: PassedOver::default(),
            handed_over: 0,
            passed_over: PassedOver::default(),
            results: Results::default(),
            errors: BTreeMap::new(),
            streak: 0,
            ran: Duration::ZERO,
            running_since: None,
            paced_until: scope.now,
        }
    }

    /// How many are still to be handed over.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.total.saturating_sub(self.handed_over + self.passed_over.sum())
    }

    /// How many were handed over, and not sent yet.
    #[must_use]
    pub const fn waiting(&self) -> u64 {
        self.handed_over.saturating_sub(self.results.sum())
    }

    /// Whether it is over.
    #[must_use]
    pub const fn ended(&self) -> bool {
        matches!(self.state, State::Stopped { .. } | State::Done { .. })
    }

    /// Whether it may go on as far as it alone says; it may still have to wait for its turn.
    #[must_use]
    pub const fn running(&self) -> bool {
        matches!(self.state, State::Running)
    }

    /// Whether it and `other` want the same webhook's lane.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.account == other.account
            && (self.webhook.is_none() || other.webhook.is_none() || self.webhook == other.webhook)
    }

    /// The first of `others` that has to be over with handing over before this one starts: of those that want the same
    /// webhook one goes at a time, in the order of their creation.
    #[must_use]
    pub fn waits_for<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> Option<&'a Self> {
        let before = |other: &&Self| {
            other.number < self.number && !other.ended() && other.remaining() > 0 && self.overlaps(other)
        };
        others.into_iter().filter(before).min_by_key(|other| other.number)
    }

    /// For how long it has run until `now`.
    #[must_use]
    pub fn ran_until(&self, now: Timestamp) -> Duration {
        self.ran + self.running_since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// The earliest instant of the next delivery. A pace that lies further ahead than one is ever planned is of a clock
    /// that has been set back since.
    #[must_use]
    pub fn next_at(&self, now: Timestamp) -> Timestamp {
        if self.paced_until > now.plus(PACED_AHEAD_MAX) { now } else { self.paced_until.max(now) }
    }

    /// It starts, or goes on after a pause.
    pub fn go_on(&mut self, now: Timestamp) {
        self.state = State::Running;
        self.running_since = Some(now);
        self.streak = 0;
        self.paced_until = now;
        self.end_if_done(now);
    }

    /// It stands still, or has ended.
    pub fn stand(&mut self, now: Timestamp, state: State) {
        self.ran = self.ran_until(now);
        self.running_since = None;
        self.state = state;
    }

    /// A delivery that was handed over stands otherwise than before, each with its last error.
    pub fn moved(&mut self, before: (Standing, Option<ErrorCode>), after: (Standing, Option<ErrorCode>)) {
        if let Some(count) = self.results.of(before.0) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = self.results.of(after.0) {
            *count += 1;
        }
        if let Some(error) = before.1
            && let Some(count) = self.errors.get_mut(&error)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.errors.remove(&error);
            }
        }
        if let Some(error) = after.1 {
            *self.errors.entry(error).or_default() += 1;
        }
        if before.0 == Standing::Waiting {
            self.streak = match after.0 {
                Standing::Delivered => self.streak.max(0) + 1,
                Standing::Retrying | Standing::Failed => self.streak.min(0) - 1,
                Standing::Waiting | Standing::Cancelled => self.streak,
            };
        }
    }

    /// Ends it, if nothing of it is left to hand over or to send.
    pub fn end_if_done(&mut self, now: Timestamp) {
        if !self.ended() && self.state != State::Preparing && self.remaining() == 0 && self.waiting() == 0 {
            self.stand(now, State::Done { at: now });
        }
    }
}

/// A change of a replay.
#[derive(Debug, Clone)]
pub enum ReplayChange {
    /// Start one that [`crate::store::Store::prepare_replay`] has listed.
    Start(Box<Replay>),
    /// Make up to `count` deliveries due. The dispatcher's.
    HandOver {
        /// The account that it is of.
        account: u32,
        /// The replay's number.
        replay: u32,
        /// At most [`HANDED_OVER_MAX`].
        count: u32,
    },
    /// Let it stand still.
    Pause {
        /// The account that it is of.
        account: u32,
        /// The replay's number.
        replay: u32,
        /// Why.
        cause: Cause,
    },
    /// Let it go on.
    Resume {
        /// The account that it is of.
        account: u32,
        /// The replay's number.
        replay: u32,
        /// Deliveries per second from here on; `None` leaves the rate as it is.
        rate: Option<u32>,
    },
    /// End it; what was handed over is still sent.
    Stop {
        /// The account that it is of.
        account: u32,
        /// The replay's number.
        replay: u32,
        /// The name of the key.
        by: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(number: u32, webhook: Option<u32>) -> Replay {
        Replay {
            number,
            id: format!("rpl_{number}").parse().expect("an id"),
            account: 1,
            webhook,
            filter: DeliveryFilter::default(),
            rate: None,
            by: "ops".to_owned(),
            created_at: Timestamp(0),
            state: State::Running,
            total: 3,
            left_out: PassedOver::default(),
            handed_over: 0,
            passed_over: PassedOver::default(),
            results: Results::default(),
            errors: BTreeMap::new(),
            streak: 0,
            ran: Duration::ZERO,
            running_since: Some(Timestamp(0)),
            paced_until: Timestamp(0),
        }
    }

    #[test]
    fn one_goes_at_a_time_for_each_webhook() {
        let all = [replay(1, Some(7)), replay(2, Some(8)), replay(3, None), replay(4, Some(8))];
        let waits = |at: usize| all[at].waits_for(&all).map(|other| other.number);
        assert_eq!([waits(0), waits(1), waits(2), waits(3)], [None, None, Some(1), Some(2)]);
        let mut paused = replay(1, Some(7));
        paused.stand(Timestamp(5), State::Paused { since: Timestamp(5), cause: Cause::WebhookPaused });
        assert_eq!(replay(2, Some(7)).waits_for([&paused]).map(|other| other.number), Some(1));
        paused.handed_over = 3;
        assert_eq!(replay(2, Some(7)).waits_for([&paused]), None, "it has handed everything over");
        assert!(!replay(2, Some(7)).overlaps(&Replay { account: 2, ..replay(1, Some(7)) }));
    }

    #[test]
    fn results_move_and_the_end_is_seen() {
        let mut one = replay(1, None);
        one.handed_over = 2;
        one.passed_over.gone = 1;
        let error = Some(ErrorCode::Http5xx);
        one.moved((Standing::Waiting, None), (Standing::Retrying, error));
        one.end_if_done(Timestamp(1));
        assert!(one.running() && one.streak == -1 && one.errors[&ErrorCode::Http5xx] == 1);
        one.moved((Standing::Waiting, None), (Standing::Delivered, None));
        one.end_if_done(Timestamp(2_000_000));
        assert_eq!((one.state.clone(), one.streak), (State::Done { at: Timestamp(2_000_000) }, 1));
        assert_eq!(one.ran_until(Timestamp(9_000_000)), Duration::from_secs(2));
        // A retry that ends later is still counted.
        one.moved((Standing::Retrying, error), (Standing::Delivered, None));
        assert_eq!((one.results.delivered, one.results.retrying, one.errors.len(), one.streak), (2, 0, 0, 1));
    }

    #[test]
    fn a_replay_reads_back_as_it_was_written() {
        let mut one = replay(4, Some(2));
        one.filter = DeliveryFilter::parse_line("status=failed q=\"a b\"", Timestamp(0)).expect("a filter");
        one.errors.insert(ErrorCode::Http4xx, 3);
        one.stand(
            Timestamp(9),
            State::Paused { since: Timestamp(9), cause: Cause::Failures { in_a_row: 20, last: None } },
        );
        let text = serde_json::to_string(&one).expect("it is written");
        assert_eq!(serde_json::from_str::<Replay>(&text).expect("it is read"), one);
    }
}
