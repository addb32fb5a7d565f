//! Rows of accounts.

use domain::key::Account;
use domain::time::Timestamp;
use rusqlite::{Connection, params};

use super::fault::Fault;
use crate::rows::account;

/// All accounts.
pub(super) fn load(conn: &Connection) -> Result<Vec<Account>, Fault> {
    let mut statement = conn.prepare(
        "SELECT number, id, name, created_at, updated_at, version, crc, profile FROM accounts ORDER BY number",
    )?;
    let mut rows = statement.query([])?;
    let mut accounts = Vec::new();
    while let Some(row) = rows.next()? {
        let (number, id, profile): (u32, String, String) = (row.get(0)?, row.get(1)?, row.get(7)?);
        let (log, limits) = account::read_profile(&id, &profile)?;
        let read = Account {
            number,
            id: id.parse().map_err(|error| Fault::damaged(format_args!("account {number}"), error))?,
            name: row.get(2)?,
            created_at: Timestamp(row.get(3)?),
            updated_at: Timestamp(row.get(4)?),
            version: row.get::<_, i64>(5)? as u64,
            log,
            limits,
        };
        account::sum(&read, &profile).verify(row.get(6)?, || format!("account {id}"))?;
        accounts.push(read);
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
    let profile = account::write_profile(account)?;
    conn.prepare_cached(
        "UPDATE accounts SET name = ?2, created_at = ?3, updated_at = ?4, version = ?5, crc = ?6, profile = ?7
         WHERE number = ?1",
    )?
    .execute(params![
        account.number,
        account.name,
        account.created_at.0,
        account.updated_at.0,
        account.version as i64,
        account::sum(account, &profile).sum(),
        profile
    ])?;
    Ok(())
}

/// Deletes an account's own row.
pub(super) fn delete(conn: &Connection, number: u32) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM accounts WHERE number = ?1")?.execute([number])?;
    Ok(())
}
