//! Checking a whole file: its structure, and the checksum of every row. For backups, restores and `doctor`.

use std::path::Path;

use domain::attempt::Attempt;
use domain::id::{DeliveryId, EventId};
use rusqlite::{Connection, OpenFlags};

use super::fault::{Fault, OpenError};
use super::figures::{self, Table};
use super::{
    accounts, attempts, audit, cancelling, deliveries, due, erase, event_types, events, idempotency, journal, keys,
    marks, replayed, replays, schema, sessions, webhooks, young,
};

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Its layout.
    pub layout: i64,
    /// The tables, and how many rows each has.
    pub rows: Vec<(&'static str, u64)>,
    /// Whether the rows' checksums were compared. Those of a file of an earlier layout are once it is opened to be served.
    pub sums: bool,
}

/// Reads every row of a table, and compares its checksum.
type Rows = fn(&Connection) -> Result<u64, Fault>;

/// Every table whose rows carry checksums.
pub(super) const TABLES: &[(&str, Rows)] = &[
    ("accounts", |conn| Ok(accounts::load(conn)?.len() as u64)),
    ("webhooks", webhooks::verify),
    ("webhooks_gone", |conn| Ok(webhooks::load_gone(conn)?.len() as u64)),
    ("keys", |conn| Ok(keys::load(conn)?.len() as u64)),
    ("sessions", |conn| Ok(sessions::load(conn)?.len() as u64)),
    ("event_types", |conn| Ok(event_types::load(conn)?.len() as u64)),
    ("events", events_rows),
    ("deliveries", deliveries_rows),
    ("attempts", attempts_rows),
    ("due", due::verify),
    ("idempotency", idempotency::verify),
    ("marks", marks::verify),
    ("cancellings", |conn| Ok(cancelling::load(conn)?.len() as u64)),
    ("erasures", erase::verify),
    // Nothing but zeros: there is nothing to compare.
    ("zeros", |conn| Ok(schema::count(conn, "zeros")?)),
    ("replays", replays::verify),
    ("replay_pages", replays::verify_pages),
    ("replayed", replayed::verify),
    ("audit", audit::verify),
    ("stats_minutes", |conn| figures::verify(conn, Table::Minutes)),
    ("stats_hours", |conn| figures::verify(conn, Table::Hours)),
    ("stats_journal", journal::verify),
    ("events_young", |conn| young::verify(conn, "events_young")),
    ("events_by_type", |conn| young::verify(conn, "events_by_type")),
    ("deliveries_young", |conn| young::verify(conn, "deliveries_young")),
    ("deliveries_by_webhook", |conn| young::verify(conn, "deliveries_by_webhook")),
];

/// Checks the store of a data directory, while it is served or not, as it is at this moment.
///
/// # Errors
/// [`OpenError`]: it cannot be read, was made by a later release, or is damaged; the text names the row.
pub fn check(dir: &Path) -> Result<Checked, OpenError> {
    let file = super::data_dir::database(dir);
    let conn = schema::open_reader(&file).map_err(|error| Fault::from(error).at_open(file.clone()))?;
    check_all(&conn, &file)
}

/// Checks a file that nobody writes to, such as a backup, and touches nothing beside it.
///
/// # Errors
/// As [`check`].
pub fn check_file(file: &Path) -> Result<Checked, OpenError> {
    let conn = open_unchanging(file).map_err(|error| Fault::from(error).at_open(file.to_owned()))?;
    check_all(&conn, file)
}

fn check_all(conn: &Connection, file: &Path) -> Result<Checked, OpenError> {
    let at_open = |fault: Fault| fault.at_open(file.to_owned());
    let snapshot = conn.unchecked_transaction().map_err(|error| at_open(error.into()))?;
    let layout = schema::version(&snapshot).map_err(|error| at_open(error.into()))?;
    if layout > schema::LAYOUT {
        return Err(OpenError::Newer { file: file.to_owned(), found: layout, known: schema::LAYOUT });
    }
    if layout < 1 {
        return Err(OpenError::Damaged { file: file.to_owned(), what: "it holds no store".to_owned() });
    }
    schema::check(&snapshot, file)?;
    let sums = layout == schema::LAYOUT;
    let mut rows = Vec::new();
    for (table, verify) in TABLES {
        if sums {
            rows.push((*table, verify(&snapshot).map_err(at_open)?));
        } else if schema::has_table(&snapshot, table).map_err(|error| at_open(error.into()))? {
            rows.push((*table, schema::count(&snapshot, table).map_err(|error| at_open(error.into()))?));
        }
    }
    if sums {
        young::verify_all(&snapshot).map_err(at_open)?;
    }
    Ok(Checked { layout, rows, sums })
}

/// Opens a file without SQLite's files beside it: nobody may write to it meanwhile.
pub(super) fn open_unchanging(file: &Path) -> Result<Connection, rusqlite::Error> {
    let mut uri = "file:".to_owned();
    for byte in file.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(*byte)),
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(uri, flags)
}

fn events_rows(conn: &Connection) -> Result<u64, Fault> {
    let types = event_types::load(conn)?;
    let mut count = 0;
    events::each_from(conn, &types, 0, |_| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

fn deliveries_rows(conn: &Connection) -> Result<u64, Fault> {
    let sql = concat!("SELECT ", deliveries::columns!(), ", record FROM deliveries");
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let delivery = deliveries::read(row)?;
        if let Some(record) = row.get_ref("record")?.as_blob_or_null().map_err(|e| Fault::damaged(delivery.id, e))? {
            let _first: Attempt = attempts::decode(delivery.id, 1, record)?;
        }
        count += 1;
    }
    Ok(count)
}

fn attempts_rows(conn: &Connection) -> Result<u64, Fault> {
    let mut statement = conn.prepare("SELECT event, place, number, record FROM attempts")?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let id = DeliveryId { event: EventId(row.get::<_, i64>(0)? as u64), place: row.get(1)? };
        let record = row.get_ref(3)?.as_blob().map_err(|error| Fault::damaged(id, error))?;
        let _later: Attempt = attempts::decode(id, row.get(2)?, record)?;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema::tests::{columns, empty};

    #[test]
    fn every_table_is_checked() {
        let conn = empty();
        let tables: std::collections::BTreeSet<_> = columns(&conn).into_iter().map(|column| column.table).collect();
        let checked = TABLES.iter().map(|(table, _)| (*table).to_owned()).collect();
        assert_eq!(tables, checked, "a table's rows carry checksums, and `check` compares them");
    }

    #[test]
    fn every_statement_fits_the_tables() {
        let conn = empty();
        for (table, verify) in TABLES {
            assert!(verify(&conn).is_ok_and(|rows| rows == 0), "{table}");
        }
    }
}
