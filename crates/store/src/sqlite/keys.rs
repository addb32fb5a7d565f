//! Rows of API keys: their hashes, never the keys.

use domain::id::KeyId;
use domain::key::ApiKey;
use domain::time::Timestamp;
use rusqlite::{Connection, params};

use super::fault::Fault;
use crate::rows::key::{scopes_text, sum};

/// All keys.
pub(super) fn load(conn: &Connection) -> Result<Vec<ApiKey>, Fault> {
    let mut statement = conn
        .prepare("SELECT id, name, account, scopes, hash, hint, created_at, expires_at, crc, last_used_at FROM keys")?;
    let mut rows = statement.query([])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, scopes): (String, String) = (row.get(0)?, row.get(3)?);
        let damaged = |why: &dyn std::fmt::Display| Fault::damaged(format_args!("key {id}"), why);
        let key = ApiKey {
            id: id.parse().map_err(|error| damaged(&error))?,
            name: row.get(1)?,
            account: row.get(2)?,
            scopes: serde_json::from_str(&scopes).map_err(|error| damaged(&error))?,
            hash: row.get(4)?,
            hint: row.get(5)?,
            created_at: Timestamp(row.get(6)?),
            expires_at: row.get::<_, Option<i64>>(7)?.map(Timestamp),
            last_used_at: row.get::<_, Option<i64>>(9)?.map(Timestamp),
        };
        sum(&key, &scopes).verify(row.get(8)?, || format!("key {id}"))?;
        keys.push(key);
    }
    Ok(keys)
}

/// Writes a new key.
pub(super) fn insert(conn: &Connection, key: &ApiKey) -> Result<(), Fault> {
    let scopes = scopes_text(&key.scopes)?;
    conn.prepare_cached(
        "INSERT INTO keys (id, name, account, scopes, hash, hint, created_at, expires_at, crc, last_used_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        key.id.as_str(),
        key.name,
        key.account,
        scopes,
        key.hash,
        key.hint,
        key.created_at.0,
        key.expires_at.map(|at| at.0),
        sum(key, &scopes).sum(),
        key.last_used_at.map(|at| at.0)
    ])?;
    Ok(())
}

/// Writes when a key was last used.
pub(super) fn used(conn: &Connection, key: &ApiKey) -> Result<(), Fault> {
    let sum = sum(key, &scopes_text(&key.scopes)?).sum();
    conn.prepare_cached("UPDATE keys SET last_used_at = ?2, crc = ?3 WHERE id = ?1")?.execute(params![
        key.id.as_str(),
        key.last_used_at.map(|at| at.0),
        sum
    ])?;
    Ok(())
}

/// Deletes a key.
pub(super) fn delete(conn: &Connection, id: &KeyId) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM keys WHERE id = ?1")?.execute([id.as_str()])?;
    Ok(())
}

/// Deletes an account's keys.
pub(super) fn delete_of_account(conn: &Connection, account: u32) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM keys WHERE account = ?1")?.execute([account])?;
    Ok(())
}
