//! A delivery: one event on its way to one webhook, and the states that it goes through.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, ErrorCode, Reason};
use crate::id::{AccountId, DeliveryId, WebhookId};
use crate::shard::Epoch;
use crate::time::Timestamp;

/// Where a delivery stands, in the words of `delivery.md`.
///
/// ```text
///  accepted ─▶ pending ─▶ sending ─▶ delivered
///                ▲  ▲        │
///                │  └─retry──┼─────▶ failed ──replay──▶ pending
///        resume  │           │
///              held ◀─pause  └ cancelled (by a person, or its webhook was deleted)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Due now, or its next attempt is planned.
    Pending,
    /// A request is in flight.
    Sending,
    /// The last attempt got a 2xx.
    Delivered,
    /// Every attempt of the schedule failed; it can be replayed by hand.
    Failed,
    /// Due, but its webhook is paused; kept.
    Held,
    /// By a person, or because its webhook was deleted.
    Cancelled,
}

impl DeliveryStatus {
    /// Every status, in the order of `delivery.md`.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Sending, Self::Delivered, Self::Failed, Self::Held, Self::Cancelled];

    /// The status as API, dashboard and CLI write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sending => "sending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Held => "held",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it is still to be sent, or being sent: so there is nothing to send again.
    #[must_use]
    pub const fn is_unfinished(self) -> bool {
        match self {
            Self::Pending | Self::Sending | Self::Held => true,
            Self::Delivered | Self::Failed | Self::Cancelled => false,
        }
    }

    /// The status that [`Self::as_str`] writes as `text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// A delivery as the log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// Whose it is.
    pub account: AccountId,
    /// The webhook that it goes to.
    pub webhook: WebhookId,
    /// The event's type.
    pub event_type: std::sync::Arc<str>,
    /// The event's timestamp: when it was accepted.
    pub timestamp: Timestamp,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// Whether it is a test.
    pub test: bool,
    /// How many attempts were made, replays included.
    pub attempts_made: u16,
    /// How many retries of the present schedule were made.
    pub retries_made: u16,
    /// When the next attempt is due; `None` once it has ended.
    pub next_attempt_at: Option<Timestamp>,
    /// When it ended; `None` until then.
    pub ended_at: Option<Timestamp>,
    /// The status code of the last attempt.
    pub last_status_code: Option<u16>,
    /// The error of the last attempt.
    pub last_error: Option<ErrorCode>,
    /// How long the last attempt took.
    pub last_duration: Option<Duration>,
}

/// Work for the scheduler: a delivery that is to be tried, and how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The number of its webhook.
    pub webhook: u32,
    /// The earliest instant of the next attempt.
    pub due_at: Timestamp,
    /// Attempts already made, replays included; the next one's number is one more.
    pub attempts_made: u16,
    /// Retries of the present schedule, the next attempt included if it is one.
    pub retries_made: u16,
    /// Why the next attempt is made.
    pub reason: Reason,
}

/// What becomes of a delivery after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It got a 2xx.
    Delivered,
    /// It failed for good.
    Failed,
    /// It is tried again.
    Retry {
        /// Not before this instant.
        due_at: Timestamp,
        /// Retries of the present schedule, the planned attempt included if it is one.
        retries_made: u16,
        /// Why the planned attempt is made.
        reason: Reason,
    },
}

/// The end of an attempt, to be recorded: the attempt and the state of its delivery go into one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The number of its webhook.
    pub webhook: u32,
    /// What happened; `None` where a delivery ends without an attempt (too old to be tried), or is planned anew (by a clock
    /// that was ahead, for later than any schedule has it).
    pub attempt: Option<Attempt>,
    /// What becomes of it.
    pub next: Next,
    /// The epoch of its webhook's shard under which it was started. Where another node has taken the shard since, the
    /// record changes nothing.
    pub epoch: Epoch,
}

impl Settlement {
    /// Whether it may come of a replay. Where it does not, a replay that waits was asked for since, and stands.
    #[must_use]
    pub fn may_come_of_replay(&self) -> bool {
        let planned = matches!(self.next, Next::Retry { reason: Reason::Replay, .. });
        match &self.attempt {
            Some(attempt) => planned || attempt.reason == Reason::Replay,
            None => planned || !matches!(self.next, Next::Retry { .. }),
        }
    }
}
