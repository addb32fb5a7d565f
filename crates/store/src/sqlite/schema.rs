//! The tables, and how a file of an earlier layout becomes one of the present.
//!
//! The layout's number is SQLite's `user_version`; a file with a later one is refused. A released step is never edited.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::fault::{Fault, OpenError};
use super::young;

/// One step from each layout to the next; the first makes the tables in an empty file.
const STEPS: [&str; 2] = [include_str!("schema_1.sql"), include_str!("schema_2.sql")];
/// The present layout.
pub(super) const LAYOUT: i64 = STEPS.len() as i64;
/// Files up to this size are checked page by page at every start; larger ones by their checksums as they are read.
const CHECKED_WHOLE_MAX: u64 = 64 * 1024 * 1024;

/// Opens the file for writing and brings it to the present layout.
pub(super) fn open(file: &Path, durable: bool) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let at_open = |error: rusqlite::Error| Fault::from(error).at_open(file.to_owned());
    let conn = Connection::open_with_flags(file, flags).map_err(at_open)?;
    let found = version(&conn).map_err(at_open)?;
    if found > LAYOUT {
        return Err(OpenError::Newer { file: file.to_owned(), found, known: LAYOUT });
    }
    // The checkpoint is the writer's to time: see `checkpoint`.
    let synchronous = if durable { "FULL" } else { "OFF" };
    conn.execute_batch(&format!(
        "PRAGMA page_size = 4096;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = {synchronous};
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -16384;
         PRAGMA foreign_keys = OFF;
         PRAGMA secure_delete = FAST;
         PRAGMA temp_store = MEMORY;"
    ))
    .map_err(at_open)?;
    conn.set_prepared_statement_cache_capacity(64);
    // Nobody else writes; only a reader can be in the way of emptying the log, and that is not worth a long wait.
    conn.busy_timeout(Duration::from_millis(250)).map_err(at_open)?;
    let size = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    if found > 0 && size <= CHECKED_WHOLE_MAX {
        check(&conn, file)?;
        if found == LAYOUT {
            young::verify_all(&conn).map_err(|fault| fault.at_open(file.to_owned()))?;
        }
    }
    for (step, layout) in STEPS.iter().zip(1..).skip(usize::try_from(found).unwrap_or(0)) {
        conn.execute_batch(&format!("BEGIN IMMEDIATE; {step} PRAGMA user_version = {layout}; COMMIT;"))
            .map_err(at_open)?;
    }
    Ok(conn)
}

/// Opens the file for reading alone.
pub(super) fn open_reader(file: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags)?;
    conn.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY;")?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

/// The layout of a file.
pub(super) fn version(conn: &Connection) -> Result<i64, rusqlite::Error> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Whether there is a table of this name.
pub(super) fn has_table(conn: &Connection, table: &str) -> Result<bool, rusqlite::Error> {
    conn.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")?.exists([table])
}

/// How many rows a table has.
pub(super) fn count(conn: &Connection, table: &'static str) -> Result<u64, rusqlite::Error> {
    let rows: i64 = conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
    Ok(rows.unsigned_abs())
}

/// Refuses a damaged file: a store that serves wrong rows in silence is worse than none.
pub(super) fn check(conn: &Connection, file: &Path) -> Result<(), OpenError> {
    let found: String = conn
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(|error| Fault::from(error).at_open(file.to_owned()))?;
    if found == "ok" { Ok(()) } else { Err(OpenError::Damaged { file: file.to_owned(), what: found }) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A column of a table.
    pub(crate) struct Column {
        pub(crate) table: String,
        pub(crate) name: String,
        pub(crate) kind: String,
    }

    /// An empty store of the present layout, in memory.
    pub(crate) fn empty() -> Connection {
        let conn = Connection::open_in_memory().expect("memory");
        STEPS.iter().for_each(|step| conn.execute_batch(step).expect("a step"));
        conn
    }

    /// Every column of every table of ours.
    pub(crate) fn columns(conn: &Connection) -> Vec<Column> {
        let mut statement = conn
            .prepare(
                "SELECT t.name, c.name, c.type FROM sqlite_schema AS t, pragma_table_info(t.name) AS c
                 WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'",
            )
            .expect("the schema");
        let read = |row: &rusqlite::Row<'_>| Ok(Column { table: row.get(0)?, name: row.get(1)?, kind: row.get(2)? });
        statement.query_map([], read).expect("rows").map(|row| row.expect("a row")).collect()
    }
}
