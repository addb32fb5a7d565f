//! What holds for every webhook that does not say otherwise. The page's values are the default.

use std::time::Duration;

use crate::brand::Brand;
use crate::retry::RetrySchedule;

/// The operator's settings that decide about deliveries.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Whose webhooks these are.
    pub brand: Brand,
    /// The deadline of an attempt.
    pub timeout: Duration,
    /// The retry schedule.
    pub retry_schedule: RetrySchedule,
    /// The largest share of a delay that jitter adds, 0 to 1.
    pub jitter: f64,
    /// Requests in flight per webhook at most.
    pub max_in_flight: u16,
    /// Requests in flight over all webhooks at most.
    pub slots: usize,
    /// For how long every attempt must have failed for a webhook to be paused by us.
    pub pause_after: Duration,
    /// Events per second of one account at most, unless it says otherwise; `None` for no limit.
    pub events_per_second: Option<u32>,
    /// Webhooks of one account at most, unless it says otherwise.
    pub webhooks_per_account: u32,
    /// After how many failures in a row a replay in bulk pauses itself.
    pub replay_failures: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            brand: Brand::default(),
            timeout: Duration::from_secs(5),
            retry_schedule: RetrySchedule::page(),
            jitter: 0.1,
            max_in_flight: 10,
            slots: 1_024,
            pause_after: Duration::from_secs(5 * 86_400),
            events_per_second: None,
            webhooks_per_account: 1_000,
            replay_failures: 20,
        }
    }
}
