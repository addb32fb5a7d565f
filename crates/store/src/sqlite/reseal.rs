//! Another encryption key: everything that is sealed is sealed anew, in one transaction.
//!
//! Before its commit the store opens with the old key only, after it with the new one only: a crash leaves one or the other.

use std::path::Path;

use domain::vault::Vault;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::data_dir::DataDir;
use super::engine::{Chance, nonce};
use super::fault::{Fault, OpenError};
use super::recover::{opens, seal_key_check};
use super::{accounts, idempotency, marks, moving, schema, webhooks};

/// The two keys, and where nonces come from.
pub(super) struct Keys<'a> {
    pub(super) old: &'a Vault,
    pub(super) new: &'a Vault,
    pub(super) chance: &'a mut Chance,
}

impl Keys<'_> {
    pub(super) fn nonce(&mut self) -> [u8; 24] {
        nonce(self.chance)
    }

    /// The same text, sealed with the new key.
    pub(super) fn reseal(&mut self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, Fault> {
        let plain = self.old.open(context, sealed)?;
        let nonce = self.nonce();
        Ok(self.new.seal(context, &plain, nonce))
    }
}

/// A table with sealed columns.
struct Sealed {
    table: &'static str,
    /// The columns that hold sealed bytes: what the test over the schema compares.
    #[cfg_attr(not(test), expect(dead_code, reason = "what `reseal` takes care of, for the test over the schema"))]
    columns: &'static [&'static str],
    /// Seals all rows anew; returns how many.
    reseal: fn(&Connection, &mut Keys<'_>) -> Result<usize, Fault>,
}

/// Everything that is sealed. A test over the tables keeps it whole.
const SEALED: &[Sealed] = &[
    Sealed {
        table: "webhooks",
        columns: &["secret", "previous_secret", "headers", "key_pair", "previous_key_pair"],
        reseal: webhooks_rows,
    },
    Sealed { table: "idempotency", columns: &["answer"], reseal: idempotency::reseal },
    Sealed { table: "marks", columns: &["value"], reseal: key_check },
];

/// Seals everything that the store of `dir` holds anew; returns how many rows of each table. Nobody may serve it meanwhile.
/// `keep` is to put the new key where it is found again: it is called before anything is changed, and while nobody else can
/// change the store.
///
/// # Errors
/// [`OpenError`]; then the store was not changed.
pub fn rotate(
    dir: &Path,
    old: &Vault,
    new: &Vault,
    chance: &mut Chance,
    keep: impl FnOnce() -> std::io::Result<()>,
) -> Result<Vec<(&'static str, usize)>, OpenError> {
    let held = DataDir::open(dir)?;
    let file = held.database.clone();
    let mut conn = schema::open(&file, true)?;
    let check = marks::get(&conn, marks::KEY_CHECK).map_err(|fault| fault.at_open(file.clone()))?;
    if !check.is_some_and(|sealed| opens(old, &sealed)) {
        return Err(OpenError::OtherKey(file));
    }
    // The database has what is sealed with the old key: that is the one to give there, and nobody is to take it for another.
    moving::stays_in(&conn, dir)?;
    keep().map_err(|error| OpenError::Unusable {
        file: file.clone(),
        what: format!("the new key could not be kept: {error}"),
    })?;
    reseal_all(&mut conn, &mut Keys { old, new, chance }).map_err(|fault| fault.at_open(file))
}

fn reseal_all(conn: &mut Connection, keys: &mut Keys<'_>) -> Result<Vec<(&'static str, usize)>, Fault> {
    // What was sealed with the old key is overwritten, so that the file no longer holds it.
    conn.execute_batch("PRAGMA secure_delete = ON")?;
    let transaction = Transaction::new(conn, TransactionBehavior::Immediate)?;
    let mut done = Vec::new();
    for Sealed { table, reseal, .. } in SEALED {
        done.push((*table, reseal(&transaction, keys)?));
    }
    transaction.commit()?;
    // The log still has the old pages, until it is emptied.
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(done)
}

fn webhooks_rows(conn: &Connection, keys: &mut Keys<'_>) -> Result<usize, Fault> {
    let accounts: std::collections::HashMap<_, _> =
        accounts::load(conn)?.into_iter().map(|account| (account.number, account.id)).collect();
    let webhooks = webhooks::load(conn, keys.old, |number| accounts.get(&number).cloned())?;
    for webhook in &webhooks {
        let new = keys.new;
        webhooks::put(conn, new, || keys.nonce(), webhook)?;
    }
    Ok(webhooks.len())
}

fn key_check(conn: &Connection, keys: &mut Keys<'_>) -> Result<usize, Fault> {
    let nonce = keys.nonce();
    marks::set(conn, marks::KEY_CHECK, &seal_key_check(keys.new, nonce))?;
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema::tests::{columns, empty};

    /// Columns of bytes that hold no secret, or no more of one than its hash.
    const OPEN: [(&str, &str); 15] = [
        ("zeros", "filler"),
        ("keys", "hash"),
        ("sessions", "hash"),
        ("sessions", "key"),
        ("events", "targets"),
        ("events", "data"),
        ("events", "trace"),
        ("deliveries", "record"),
        ("attempts", "record"),
        ("idempotency", "key"),
        ("idempotency", "request"),
        ("stats_minutes", "figures"),
        ("stats_hours", "figures"),
        ("stats_journal", "counted"),
        ("replay_pages", "ids"),
    ];

    #[test]
    fn no_sealed_column_is_forgotten() {
        for column in columns(&empty()) {
            if column.kind != "BLOB" {
                continue;
            }
            let sealed = SEALED.iter().any(|s| s.table == column.table && s.columns.contains(&&*column.name));
            let open = OPEN.contains(&(&*column.table, &*column.name));
            assert!(
                sealed != open,
                "{}.{}: either it is sealed, and listed in SEALED with what seals it anew, or it is open, and listed here",
                column.table,
                column.name
            );
        }
    }
}
