//! How much an account may ask for: its own words in place of the operator's settings.

use domain::key::{Account, AccountLimits};

use super::webhook_input::read_count;
use crate::json_input::Input;

/// The names of the fields.
pub(super) const NAMES: [&str; 2] = ["events_per_second", "max_webhooks"];

/// The fields that were given: `None` for one that was not.
#[derive(Debug, Default)]
pub(super) struct LimitsInput {
    events_per_second: Option<Option<u32>>,
    max_webhooks: Option<Option<u32>>,
}

impl LimitsInput {
    /// Reads the fields; faults are noted.
    pub(super) fn read(input: &mut Input<'_>) -> Self {
        let [events, webhooks] = NAMES;
        Self {
            events_per_second: read_count(input, events, "limit_invalid", AccountLimits::EVENTS_PER_SECOND_MAX),
            max_webhooks: read_count(input, webhooks, "limit_invalid", AccountLimits::WEBHOOKS_MAX),
        }
    }

    /// Changes what was given.
    pub(super) fn apply(&self, account: &mut Account) {
        let AccountLimits { events_per_second, max_webhooks } = &mut account.limits;
        *events_per_second = self.events_per_second.unwrap_or(*events_per_second);
        *max_webhooks = self.max_webhooks.unwrap_or(*max_webhooks);
    }
}
