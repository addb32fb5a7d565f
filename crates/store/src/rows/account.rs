//! Accounts as every store keeps them.

use domain::key::{Account, AccountLimits, LogRules};
use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::damaged::Damaged;

/// The profile of an account that says nothing.
const NO_PROFILE: &str = "{}";

/// What an account has beyond its name, as JSON; `{}` where it says nothing.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Profile {
    #[serde(flatten)]
    log: LogRules,
    #[serde(flatten)]
    limits: AccountLimits,
}

/// What an account has beyond its name, as it is stored.
pub(crate) fn write_profile(account: &Account) -> Result<String, Damaged> {
    let profile = Profile { log: account.log.clone(), limits: account.limits };
    serde_json::to_string(&profile).map_err(|error| Damaged::of(format_args!("account {}", account.id), error))
}

/// What an account of this id has beyond its name.
pub(crate) fn read_profile(id: &str, profile: &str) -> Result<(LogRules, AccountLimits), Damaged> {
    let read = serde_json::from_str(profile).map_err(|error| Damaged::of(format_args!("account {id}"), error));
    read.map(|Profile { log, limits }| (log, limits))
}

/// The checksum of a row.
pub(crate) fn sum(account: &Account, profile: &str) -> Checksum {
    let sum = Checksum::of("accounts")
        .numbers([account.number.into(), account.created_at.0, account.updated_at.0, account.version as i64])
        .text(account.id.as_str())
        .text(&account.name);
    // Rows of layout 1 had no profile.
    if profile == NO_PROFILE { sum } else { sum.text(profile) }
}
