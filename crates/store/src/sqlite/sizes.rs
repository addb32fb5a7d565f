//! How much is kept of each account: counted along with every commit, and saved now and then.
//!
//! The count is of what rows hold and of about what they take beside that. A crash loses the part that was not saved yet,
//! which is at most [`SAVED_EVERY`].

use std::collections::HashMap;

use rusqlite::Connection;

use super::fault::Fault;
use super::marks;

/// About what an event takes beside its data, in its table and the indexes.
const EVENT: i64 = 110;
/// About what a delivery takes beside the records of its attempts.
const DELIVERY: i64 = 150;
/// After how many bytes the count is saved.
const SAVED_EVERY: u64 = 1 << 20;

/// What an event counts with its deliveries, before their attempts.
pub(super) const fn of_event(data: usize, targets: usize) -> i64 {
    EVENT + data as i64 + targets as i64 * DELIVERY
}

/// Bytes by the number of the account.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    of: HashMap<u32, i64>,
    unsaved: u64,
}

impl Sizes {
    /// As saved; counted anew where that never happened, as in a store of an earlier layout.
    pub(super) fn load(conn: &Connection) -> Result<Self, Fault> {
        let of = match marks::get(conn, marks::SIZES)? {
            Some(saved) => postcard::from_bytes(&saved).map_err(|error| Fault::damaged("mark of sizes", error))?,
            None => count(conn)?,
        };
        Ok(Self { of, unsaved: 0 })
    }

    /// How much is kept of an account.
    pub(super) fn of(&self, account: u32) -> u64 {
        self.of.get(&account).map_or(0, |bytes| u64::try_from(*bytes).unwrap_or(0))
    }

    /// Takes what a commit has added and taken away.
    pub(super) fn apply(&mut self, changes: impl IntoIterator<Item = (u32, i64)>) {
        for (account, bytes) in changes {
            *self.of.entry(account).or_default() += bytes;
            self.unsaved += bytes.unsigned_abs();
        }
    }

    /// Nothing of an account is left.
    pub(super) fn forget(&mut self, account: u32) {
        self.of.remove(&account);
    }

    /// Saves the count, if enough has changed since.
    pub(super) fn save(&mut self, conn: &Connection) -> Result<(), Fault> {
        if self.unsaved < SAVED_EVERY {
            return Ok(());
        }
        let saved = postcard::to_stdvec(&self.of).map_err(|error| Fault::damaged("mark of sizes", error))?;
        marks::set(conn, marks::SIZES, &saved)?;
        self.unsaved = 0;
        Ok(())
    }
}

/// Reads through everything.
fn count(conn: &Connection) -> Result<HashMap<u32, i64>, Fault> {
    let mut of: HashMap<u32, i64> = HashMap::new();
    let mut add = |sql: &str| -> Result<(), Fault> {
        let mut statement = conn.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            *of.entry(row.get(0)?).or_default() += row.get::<_, i64>(1)?;
        }
        Ok(())
    };
    add(&format!(
        "SELECT account, sum({EVENT} + length(data) + length(targets) / 4 * {DELIVERY}) FROM events GROUP BY 1"
    ))?;
    add("SELECT account, sum(ifnull(length(record), 0)) FROM deliveries GROUP BY 1")?;
    add("SELECT account, sum(length(attempts.record)) FROM attempts JOIN deliveries USING (event, place) GROUP BY 1")?;
    Ok(of)
}
