//! What an account says about its log: how long and how much of it is kept, and what is not shown.

use std::time::Duration;

use domain::key::{Account, LogRules};
use domain::redaction::{REDACT_INVALID, Redaction};
use domain::size::{parse_size, write_size};
use domain::time::{parse_span, write_span};

use crate::json_input::{Given, Input};

/// The names of the fields.
pub(super) const NAMES: [&str; 3] = ["retention", "retention_size", "redact"];
/// The shortest and the longest retention.
const RETENTION: [Duration; 2] = [Duration::from_secs(3_600), Duration::from_secs(3_650 * 86_400)];
/// The smallest and the largest size that may be kept.
const RETENTION_SIZE: [u64; 2] = [1 << 20, 1 << 50];

/// The fields that were given: `None` for one that was not.
#[derive(Debug, Default)]
pub(super) struct LogInput {
    retention: Option<Option<Duration>>,
    retention_size: Option<Option<u64>>,
    redact: Option<Redaction>,
}

impl LogInput {
    /// Reads the fields; faults are noted.
    pub(super) fn read(input: &mut Input<'_>) -> Self {
        let span = |text: &str| parse_span(text).ok().filter(|span| (RETENTION[0]..=RETENTION[1]).contains(span));
        let size =
            |text: &str| parse_size(text).ok().filter(|size| (RETENTION_SIZE[0]..=RETENTION_SIZE[1]).contains(size));
        Self {
            retention: read(input, "retention", "retention_invalid", span, "a span from 1h to 3650d, such as 30d"),
            retention_size: read(
                input,
                "retention_size",
                "retention_size_invalid",
                size,
                "a size from 1MiB to 1024TiB, such as 5GiB",
            ),
            redact: read_redaction(input),
        }
    }

    /// Changes what was given.
    pub(super) fn apply(&self, account: &mut Account) {
        let LogRules { retention, retention_size, redact } = &mut account.log;
        *retention = self.retention.unwrap_or(*retention);
        *retention_size = self.retention_size.unwrap_or(*retention_size);
        if let Some(given) = &self.redact {
            redact.clone_from(given);
        }
    }
}

fn read<T>(
    input: &mut Input<'_>,
    name: &'static str,
    code: &'static str,
    parse: impl Fn(&str) -> Option<T>,
    expected: &str,
) -> Option<Option<T>> {
    let given = match input.text(name, code) {
        Given::Absent => return None,
        Given::Null => return Some(None),
        Given::Value(text) => parse(&text),
    };
    if given.is_none() {
        input.fault(name, code, format!("{name} is {expected}; null stands for the operator's."));
    }
    given.map(Some)
}

fn read_redaction(input: &mut Input<'_>) -> Option<Redaction> {
    let texts: Vec<String> = match input.get("redact", REDACT_INVALID, "a list of JSON pointers such as /contact/email")
    {
        Given::Absent => return None,
        Given::Null => Vec::new(),
        Given::Value(texts) => texts,
    };
    match Redaction::parse(&texts) {
        Ok(redaction) => Some(redaction),
        Err(faults) => {
            input.faults.extend(faults);
            None
        }
    }
}

/// The retention as it is shown.
pub(super) fn retention(account: &Account) -> Option<String> {
    account.log.retention.map(write_span)
}

/// The size as it is shown.
pub(super) fn retention_size(account: &Account) -> Option<String> {
    account.log.retention_size.map(write_size)
}
