//! A webhook: where events of an account go, which ones, and how.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::custom_headers::CustomHeaders;
use crate::endpoint_url::EndpointUrl;
use crate::event_filter::EventFilter;
use crate::id::{AccountId, WebhookId};
use crate::key::Account;
use crate::order::Order;
use crate::policy::Policy;
use crate::retry::RetrySchedule;
use crate::secret::SigningSecret;
use crate::signature::SigningSecrets;
use crate::time::Timestamp;

/// Who paused a webhook, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum PauseCause {
    /// A person or a program, by the name of its key.
    Key {
        /// The key's name.
        name: String,
        /// What it gave as reason, if anything.
        reason: Option<String>,
    },
    /// We, because it answered 410 Gone.
    Gone,
    /// We, because every attempt failed for as long as the setting allows.
    AllFailed {
        /// The first of those failures.
        since: Timestamp,
    },
    /// We, because the command that listens to it is away (`posthaste listen`).
    NobodyListens,
}

impl PauseCause {
    /// The names of all of them, as the API's `status_reason.cause` has them.
    pub const NAMES: [&'static str; 4] = ["key", "gone", "all_failed", "nobody_listens"];

    /// Its name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        let [key, gone, all_failed, nobody_listens] = Self::NAMES;
        match self {
            Self::Key { .. } => key,
            Self::Gone => gone,
            Self::AllFailed { .. } => all_failed,
            Self::NobodyListens => nobody_listens,
        }
    }

    /// `a person` or `us`, as the API's `status_reason.by` has it.
    #[must_use]
    pub const fn by_us(&self) -> bool {
        matches!(self, Self::Gone | Self::AllFailed { .. } | Self::NobodyListens)
    }
}

/// Since when a webhook is paused, and why. Its events are kept as `held`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub since: Timestamp,
    /// By whom and why.
    pub cause: PauseCause,
}

/// A webhook with its secrets and header values in the clear; [`std::fmt::Debug`] masks them.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// The store's number for it: short, never used again, the key of its lane. 0 before it is stored.
    pub number: u32,
    /// Its id.
    pub id: WebhookId,
    /// The number of its account.
    pub account: u32,
    /// The id of its account.
    pub account_id: AccountId,
    /// A label: 1–200 characters.
    pub name: String,
    /// Where requests go.
    pub url: Arc<EndpointUrl>,
    /// Which events it takes.
    pub events: EventFilter,
    /// Headers that requests carry besides ours.
    pub headers: CustomHeaders,
    /// The secrets that sign.
    pub secrets: SigningSecrets,
    /// `None` while active.
    pub pause: Option<Pause>,
    /// The deadline of an attempt; `None` for the policy's.
    pub timeout: Option<Duration>,
    /// The retry schedule; `None` for the policy's.
    pub retry_schedule: Option<RetrySchedule>,
    /// Requests per second at most; `None` for no limit.
    pub rate_limit: Option<u32>,
    /// Requests in flight at most; `None` for the policy's.
    pub max_in_flight: Option<u16>,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// In which order it gets its events; `None` where that does not matter.
    pub order: Option<Order>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed by a person.
    pub updated_at: Timestamp,
    /// Grows with every change; the ETag.
    pub version: u64,
    /// Since when every attempt has failed; `None` after a success.
    pub failing_since: Option<Timestamp>,
    /// Deliveries per second for what a pause has held, while some of that is left; the store's to set.
    pub held_rate: Option<u32>,
    /// Until when its receiver has asked to be left alone (`Retry-After`), where that is long; the store's to set.
    pub leave_alone_until: Option<Timestamp>,
    /// Whether it is deleted when the command that made it does not come again (`posthaste listen`).
    pub temporary: bool,
}

impl Webhook {
    /// A new, active webhook of `account` in its first version, with nothing but what it cannot be without. It gets its
    /// number from the store.
    #[must_use]
    pub fn new(
        account: &Account,
        id: WebhookId,
        url: Arc<EndpointUrl>,
        events: EventFilter,
        secret: SigningSecret,
        now: Timestamp,
    ) -> Self {
        Self {
            number: 0,
            id,
            account: account.number,
            account_id: account.id.clone(),
            name: url.host().to_string(),
            url,
            events,
            headers: CustomHeaders::default(),
            secrets: SigningSecrets::new(secret),
            pause: None,
            timeout: None,
            retry_schedule: None,
            rate_limit: None,
            max_in_flight: None,
            http2: false,
            order: None,
            created_at: now,
            updated_at: now,
            version: 1,
            failing_since: None,
            held_rate: None,
            leave_alone_until: None,
            temporary: false,
        }
    }

    /// The deadline of its attempts.
    #[must_use]
    pub fn timeout(&self, policy: &Policy) -> Duration {
        self.timeout.unwrap_or(policy.timeout)
    }

    /// The schedule of its retries.
    #[must_use]
    pub fn schedule<'a>(&'a self, policy: &'a Policy) -> &'a RetrySchedule {
        self.retry_schedule.as_ref().unwrap_or(&policy.retry_schedule)
    }

    /// How many of its requests may be in flight.
    #[must_use]
    pub fn cap(&self, policy: &Policy) -> u16 {
        self.max_in_flight.unwrap_or(policy.max_in_flight).max(1)
    }

    /// Whether it takes events of this type.
    #[must_use]
    pub fn takes(&self, event_type: &str) -> bool {
        self.events.matches(event_type)
    }
}

/// What to do with what a paused webhook holds when it is resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// Send it, oldest first.
    Deliver,
    /// Cancel it.
    Cancel,
}

impl Held {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Deliver, Self::Cancel];

    /// The word for it in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deliver => "deliver",
            Self::Cancel => "cancel",
        }
    }
}
