//! The platform's name on what goes out: a setting, so that any platform can run this.

use serde::{Deserialize, Serialize};

/// Whose webhooks these are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brand {
    /// The name that people read, such as `CronDB`.
    pub name: String,
    /// What the headers start with, such as `X-CronDB`.
    pub header_prefix: String,
    /// The whole `User-Agent`, such as `CronDB-Webhooks/0.1.0`.
    pub user_agent: String,
}

impl Brand {
    /// The brand `name` with header prefix `prefix`; the version in `User-Agent` is this build's.
    #[must_use]
    pub fn new(name: &str, prefix: &str) -> Self {
        Self {
            name: name.to_owned(),
            header_prefix: prefix.to_owned(),
            user_agent: format!("{name}-Webhooks/{}", env!("CARGO_PKG_VERSION")),
        }
    }
}

impl Default for Brand {
    /// The page's: `CronDB`, `X-CronDB`.
    fn default() -> Self {
        Self::new("CronDB", "X-CronDB")
    }
}
