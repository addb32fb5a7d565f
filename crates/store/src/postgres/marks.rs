//! Marks: single values that the store remembers about itself.

use super::connection::Link;
use super::fault::Fault;
use crate::rows::checksum::Checksum;

/// A mark's bytes; `None` if it was never set.
pub(super) async fn get(link: &Link, name: &str) -> Result<Option<Vec<u8>>, Fault> {
    let Some(row) = link.row("SELECT value, crc FROM marks WHERE name = $1", &[&name]).await? else { return Ok(None) };
    let value: Vec<u8> = row.get(0);
    sum(name, &value).verify(row.get(1), || format!("mark {name}"))?;
    Ok(Some(value))
}

/// A mark that is a number.
pub(super) async fn number(link: &Link, name: &str) -> Result<Option<i64>, Fault> {
    let Some(value) = get(link, name).await? else { return Ok(None) };
    let bytes = value.try_into().map_err(|_| Fault::damaged(format_args!("mark {name}"), "not a number"))?;
    Ok(Some(i64::from_le_bytes(bytes)))
}

/// Sets a mark.
pub(super) async fn set(link: &Link, name: &str, value: &[u8]) -> Result<(), Fault> {
    link.run(
        "INSERT INTO marks (name, value, crc) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value, crc = excluded.crc",
        &[&name, &value, &sum(name, value).sum()],
    )
    .await?;
    Ok(())
}

fn sum(name: &str, value: &[u8]) -> Checksum {
    Checksum::of("marks").text(name).bytes(value)
}
