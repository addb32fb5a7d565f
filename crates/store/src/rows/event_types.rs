//! Names of event types, as numbers in the rows.

use std::collections::HashMap;
use std::sync::Arc;

use domain::event_filter::EventPattern;

use super::checksum::Checksum;
use super::damaged::Damaged;

/// The names that the store has met; numbers count from 0 and are never used again.
#[derive(Debug, Default)]
pub(crate) struct EventTypes {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl EventTypes {
    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.names.len()
    }

    /// The number of a name, if it has one.
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The numbers of the names that one of these patterns means; `None` where they mean everything.
    pub(crate) fn matching(&self, patterns: &[EventPattern]) -> Option<Vec<u32>> {
        if patterns.is_empty() || patterns.iter().any(EventPattern::means_all) {
            return None;
        }
        let numbered = (0u32..).zip(&self.names);
        let meant = numbered.filter(|(_, name)| patterns.iter().any(|pattern| pattern.matches(name)));
        Some(meant.map(|(number, _)| number).collect())
    }

    /// The name of a number.
    pub(crate) fn name(&self, number: u32) -> Result<&Arc<str>, Damaged> {
        self.names.get(number as usize).ok_or_else(|| Damaged::of(format_args!("event type {number}"), "unknown"))
    }

    /// Takes the next name in; its number.
    pub(crate) fn push(&mut self, name: &Arc<str>) -> u32 {
        let number = self.names.len() as u32;
        self.names.push(Arc::clone(name));
        self.numbers.insert(Arc::clone(name), number);
        number
    }
}

/// The checksum of a row.
pub(crate) fn sum(number: i64, name: &str) -> Checksum {
    Checksum::of("event_types").numbers([number]).text(name)
}
