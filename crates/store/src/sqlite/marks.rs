//! Marks: single values that the store remembers about itself.

use rusqlite::{Connection, OptionalExtension as _};

use super::checksum::Checksum;
use super::fault::Fault;

/// No timestamp at or after this microsecond has been given.
pub(super) const RESERVED: &str = "timestamps_reserved";
/// Every delivery of every event below this key has a row.
pub(super) const ROWS_BELOW: &str = "deliveries_have_rows_below";
/// How much is kept of each account: see `sizes`.
pub(super) const SIZES: &str = "sizes";
/// A known text, sealed: it opens only with the key that the store was made with.
pub(super) const KEY_CHECK: &str = "encryption_key_check";

/// From which row of the figures by the minute on they are not yet in those by the hour.
pub(super) const STATS_ROLLED: &str = "stats_rolled";

/// How far the store has been moved into a database: see `moving`.
pub(super) const MOVE: &str = "move";

/// The database into which everything was moved, for people.
pub(super) const MOVED_TO: &str = "moved_to";

/// A mark's bytes; `None` if it was never set.
pub(super) fn get(conn: &Connection, name: &str) -> Result<Option<Vec<u8>>, Fault> {
    let found: Option<(Vec<u8>, i64)> = conn
        .prepare_cached("SELECT value, crc FROM marks WHERE name = ?1")?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((value, crc)) = found else { return Ok(None) };
    sum(name, &value).verify(crc, || format!("mark {name}"))?;
    Ok(Some(value))
}

/// A mark that is a number.
pub(super) fn number(conn: &Connection, name: &str) -> Result<Option<i64>, Fault> {
    let Some(value) = get(conn, name)? else { return Ok(None) };
    let bytes = value.try_into().map_err(|_| Fault::damaged(format_args!("mark {name}"), "not a number"))?;
    Ok(Some(i64::from_le_bytes(bytes)))
}

/// Sets a mark.
pub(super) fn set(conn: &Connection, name: &str, value: &[u8]) -> Result<(), Fault> {
    conn.prepare_cached("INSERT OR REPLACE INTO marks (name, value, crc) VALUES (?1, ?2, ?3)")?.execute((
        name,
        value,
        sum(name, value).sum(),
    ))?;
    Ok(())
}

/// Forgets a mark.
pub(super) fn delete(conn: &Connection, name: &str) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM marks WHERE name = ?1")?.execute([name])?;
    Ok(())
}

/// Sets a mark that is a number.
pub(super) fn set_number(conn: &Connection, name: &str, value: i64) -> Result<(), Fault> {
    set(conn, name, &value.to_le_bytes())
}

/// Compares the checksum of every row.
pub(super) fn verify(conn: &Connection) -> Result<u64, Fault> {
    let mut statement = conn.prepare("SELECT name, value, crc FROM marks")?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let (name, value): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        sum(&name, &value).verify(row.get(2)?, || format!("mark {name}"))?;
        count += 1;
    }
    Ok(count)
}

fn sum(name: &str, value: &[u8]) -> Checksum {
    Checksum::of("marks").text(name).bytes(value)
}
