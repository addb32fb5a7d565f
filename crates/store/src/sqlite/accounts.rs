//! Rows of accounts.

use domain::key::Account;
use domain::time::Timestamp;
use rusqlite::{Connection, params};

use super::checksum::Checksum;
use super::fault::Fault;

/// All accounts.
pub(super) fn load(conn: &Connection) -> Result<Vec<Account>, Fault> {
    let mut statement =
        conn.prepare("SELECT number, id, name, created_at, updated_at, version, crc FROM accounts ORDER BY number")?;
    let mut rows = statement.query([])?;
    let mut accounts = Vec::new();
    while let Some(row) = rows.next()? {
        let (number, id): (u32, String) = (row.get(0)?, row.get(1)?);
        let account = Account {
            number,
            id: id.parse().map_err(|error| Fault::damaged(format_args!("account {number}"), error))?,
            name: row.get(2)?,
            created_at: Timestamp(row.get(3)?),
            updated_at: Timestamp(row.get(4)?),
            version: row.get::<_, i64>(5)? as u64,
        };
        sum(&account).verify(row.get(6)?, || format!("account {id}"))?;
        accounts.push(account);
    }
    Ok(accounts)
}

/// Writes a new account; returns its number.
pub(super) fn insert(conn: &Connection, account: &mut Account) -> Result<(), Fault> {
    // The checksum covers the number, which SQLite gives: so it is written in a second step.
    conn.prepare_cached(
        "INSERT INTO accounts (id, name, created_at, updated_at, version, crc) VALUES (?1, '', 0, 0, 0, 0)",
    )?
    .execute([account.id.as_str()])?;
    account.number = conn.last_insert_rowid() as u32;
    update(conn, account)
}

/// Writes an account in place of the one of the same number.
pub(super) fn update(conn: &Connection, account: &Account) -> Result<(), Fault> {
    conn.prepare_cached(
        "UPDATE accounts SET name = ?2, created_at = ?3, updated_at = ?4, version = ?5, crc = ?6 WHERE number = ?1",
    )?
    .execute(params![
        account.number,
        account.name,
        account.created_at.0,
        account.updated_at.0,
        account.version as i64,
        sum(account).sum()
    ])?;
    Ok(())
}

/// Deletes an account's own row.
pub(super) fn delete(conn: &Connection, number: u32) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM accounts WHERE number = ?1")?.execute([number])?;
    Ok(())
}

fn sum(account: &Account) -> Checksum {
    Checksum::of("accounts")
        .numbers([account.number.into(), account.created_at.0, account.updated_at.0, account.version as i64])
        .text(account.id.as_str())
        .text(&account.name)
}
