//! Names of event types, as numbers in the rows.

use std::collections::HashMap;
use std::sync::Arc;

use domain::event_filter::EventPattern;
use rusqlite::Connection;

use super::checksum::Checksum;
use super::fault::Fault;

/// The names that the store has met; numbers count from 0 and are never used again.
#[derive(Debug, Default)]
pub(super) struct EventTypes {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl EventTypes {
    /// Reads all names.
    pub(super) fn load(conn: &Connection) -> Result<Self, Fault> {
        let mut types = Self::default();
        let mut statement = conn.prepare_cached("SELECT number, name, crc FROM event_types ORDER BY number")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (number, name, crc): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            sum(number, &name).verify(crc, || format!("event type {number}"))?;
            if types.push(&name.into()) as i64 != number {
                return Err(Fault::damaged(format_args!("event type {number}"), "one is missing before it"));
            }
        }
        Ok(types)
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.names.len()
    }

    /// The number of a name, if it has one.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The numbers of the names that one of these patterns means; `None` where they mean everything.
    pub(super) fn matching(&self, patterns: &[EventPattern]) -> Option<Vec<u32>> {
        if patterns.is_empty() || patterns.iter().any(EventPattern::means_all) {
            return None;
        }
        let numbered = (0u32..).zip(&self.names);
        let meant = numbered.filter(|(_, name)| patterns.iter().any(|pattern| pattern.matches(name)));
        Some(meant.map(|(number, _)| number).collect())
    }

    /// The name of a number.
    pub(super) fn name(&self, number: u32) -> Result<&Arc<str>, Fault> {
        self.names.get(number as usize).ok_or_else(|| Fault::damaged(format_args!("event type {number}"), "unknown"))
    }

    /// Gives a name its number, in the present transaction.
    pub(super) fn add(&mut self, conn: &Connection, name: &Arc<str>) -> Result<u32, Fault> {
        let number = self.names.len() as i64;
        conn.prepare_cached("INSERT INTO event_types (number, name, crc) VALUES (?1, ?2, ?3)")?.execute((
            number,
            &**name,
            sum(number, name).sum(),
        ))?;
        Ok(self.push(name))
    }

    fn push(&mut self, name: &Arc<str>) -> u32 {
        let number = self.names.len() as u32;
        self.names.push(Arc::clone(name));
        self.numbers.insert(Arc::clone(name), number);
        number
    }
}

fn sum(number: i64, name: &str) -> Checksum {
    Checksum::of("event_types").numbers([number]).text(name)
}
