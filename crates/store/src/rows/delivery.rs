//! Where a delivery stands, as every store keeps it.

use std::time::Duration;

use domain::attempt::{Attempt, ErrorCode, Reason};
use domain::delivery::{Due, Next, Settlement};
use domain::id::DeliveryId;
use domain::time::Timestamp;

use super::checksum::Checksum;

/// What of a delivery's status is stored. `held` and `sending` are ways to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Waiting = 0,
    Delivered = 1,
    Failed = 2,
    Cancelled = 3,
}

impl State {
    pub(crate) fn read(number: i64) -> Option<Self> {
        [Self::Waiting, Self::Delivered, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|state| *state as i64 == number)
    }
}

/// A row, less its first attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeliveryRow {
    pub(crate) id: DeliveryId,
    pub(crate) account: u32,
    pub(crate) webhook: u32,
    pub(crate) event_type: u32,
    pub(crate) lead: i64,
    pub(crate) state: State,
    pub(crate) test: bool,
    pub(crate) attempts_made: u16,
    /// As in [`Due`]: a planned retry counts.
    pub(crate) retries_made: u16,
    pub(crate) code: Option<u16>,
    pub(crate) error: Option<ErrorCode>,
    pub(crate) duration: Option<Duration>,
    pub(crate) due_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
    /// The state of the row as it was read; `None` if it was not.
    pub(crate) was: Option<State>,
}

impl DeliveryRow {
    /// Takes what an attempt's end says about the delivery.
    pub(crate) fn apply(&mut self, settlement: &Settlement, now: Timestamp) {
        let ended_at = settlement.attempt.as_ref().map_or(now, Attempt::ended_at);
        match settlement.next {
            Next::Delivered => self.end(State::Delivered, ended_at),
            Next::Failed => self.end(State::Failed, ended_at),
            Next::Retry { due_at, retries_made, .. } => self.wait(due_at, retries_made),
        }
    }

    /// Takes what an attempt was, under the number that it is kept by.
    pub(crate) fn count(&mut self, attempt: &Attempt, number: u16) {
        self.attempts_made = number;
        self.code = attempt.status_code();
        self.error = attempt.failure.as_ref().map(|failure| failure.code);
        self.duration = Some(attempt.duration);
    }

    /// It has ended.
    pub(crate) const fn end(&mut self, state: State, at: Timestamp) {
        self.state = state;
        self.due_at = None;
        self.ended_at = Some(at);
    }

    /// It is to be tried.
    pub(crate) const fn wait(&mut self, due_at: Timestamp, retries_made: u16) {
        self.state = State::Waiting;
        self.due_at = Some(due_at);
        self.ended_at = None;
        self.retries_made = retries_made;
    }

    /// The work that a waiting row means.
    pub(crate) fn due(&self, reason: Reason) -> Due {
        Due {
            delivery: self.id,
            webhook: self.webhook,
            due_at: self.due_at.unwrap_or_default(),
            attempts_made: self.attempts_made,
            retries_made: self.retries_made,
            reason,
        }
    }

    pub(crate) fn duration_micros(&self) -> Option<i64> {
        self.duration.map(|duration| duration.as_micros() as i64)
    }

    pub(crate) fn sum(&self) -> i64 {
        let or = |number: Option<i64>| number.unwrap_or(i64::MIN);
        Checksum::of("deliveries")
            .numbers([
                self.id.event.0 as i64,
                self.id.place.into(),
                self.account.into(),
                self.webhook.into(),
                self.event_type.into(),
                self.lead,
                self.state as i64,
                self.test.into(),
                self.attempts_made.into(),
                self.retries_made.into(),
                or(self.code.map(i64::from)),
                or(self.error.map(error_number)),
                or(self.duration_micros()),
                or(self.due_at.map(|at| at.0)),
                or(self.ended_at.map(|at| at.0)),
            ])
            .sum()
    }
}

/// The numbers by which errors are stored: they never change.
pub(crate) const fn error_number(code: ErrorCode) -> i64 {
    match code {
        ErrorCode::DnsNotFound => 1,
        ErrorCode::DnsTimeout => 2,
        ErrorCode::DnsFailed => 3,
        ErrorCode::ConnectRefused => 4,
        ErrorCode::ConnectTimeout => 5,
        ErrorCode::AddressBlocked => 6,
        ErrorCode::TlsExpired => 7,
        ErrorCode::TlsNameMismatch => 8,
        ErrorCode::TlsUnknownIssuer => 9,
        ErrorCode::TlsOther => 10,
        ErrorCode::ResponseTimeout => 11,
        ErrorCode::ConnectionReset => 12,
        ErrorCode::BadHttp => 13,
        ErrorCode::Http3xx => 14,
        ErrorCode::Http4xx => 15,
        ErrorCode::Http5xx => 16,
    }
}

pub(crate) fn error_code(number: i64) -> Option<ErrorCode> {
    ErrorCode::ALL.into_iter().find(|code| error_number(*code) == number)
}

/// The numbers by which reasons are stored: they never change.
pub(crate) const fn reason_number(reason: Reason) -> i64 {
    match reason {
        Reason::First => 0,
        Reason::Retry => 1,
        Reason::Replay => 2,
        Reason::Test => 3,
    }
}

/// The reason that is stored as this number.
pub(crate) fn reason(number: i64) -> Option<Reason> {
    [Reason::First, Reason::Retry, Reason::Replay, Reason::Test]
        .into_iter()
        .find(|reason| reason_number(*reason) == number)
}
