//! Rows of API keys: their hashes, never the keys.

use domain::id::KeyId;
use domain::key::ApiKey;
use domain::time::Timestamp;

use super::connection::Link;
use super::fault::Fault;
use crate::rows::key::{scopes_text, sum};

/// All keys, or those of these ids.
pub(super) async fn load(link: &Link, ids: Option<&[String]>) -> Result<Vec<ApiKey>, Fault> {
    let rows = link
        .rows(
            "SELECT id, name, account, scopes, hash, hint, created_at, expires_at, crc, last_used_at FROM keys
             WHERE $1::text[] IS NULL OR id = ANY ($1)",
            &[&ids],
        )
        .await?;
    let mut keys = Vec::with_capacity(rows.len());
    for row in rows {
        let (id, scopes): (String, String) = (row.get(0), row.get(3));
        let damaged = |why: &dyn std::fmt::Display| Fault::damaged(format_args!("key {id}"), why);
        let key = ApiKey {
            id: id.parse().map_err(|error| damaged(&error))?,
            name: row.get(1),
            account: row.get::<_, Option<i32>>(2).map(|account| account as u32),
            scopes: serde_json::from_str(&scopes).map_err(|error| damaged(&error))?,
            hash: row.get::<_, &[u8]>(4).try_into().map_err(|error| damaged(&error))?,
            hint: row.get(5),
            created_at: Timestamp(row.get(6)),
            expires_at: row.get::<_, Option<i64>>(7).map(Timestamp),
            last_used_at: row.get::<_, Option<i64>>(9).map(Timestamp),
        };
        sum(&key, &scopes).verify(row.get(8), || format!("key {id}"))?;
        keys.push(key);
    }
    Ok(keys)
}

/// Writes a new key.
pub(super) async fn insert(link: &Link, key: &ApiKey) -> Result<(), Fault> {
    let scopes = scopes_text(&key.scopes)?;
    link.run(
        "INSERT INTO keys (id, name, account, scopes, hash, hint, created_at, expires_at, crc, last_used_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        &[
            &key.id.as_str(),
            &key.name,
            &key.account.map(|account| account as i32),
            &scopes,
            &&key.hash[..],
            &key.hint,
            &key.created_at.0,
            &key.expires_at.map(|at| at.0),
            &sum(key, &scopes).sum(),
            &key.last_used_at.map(|at| at.0),
        ],
    )
    .await?;
    Ok(())
}

/// Writes when a key was last used.
pub(super) async fn used(link: &Link, key: &ApiKey) -> Result<(), Fault> {
    let sum = sum(key, &scopes_text(&key.scopes)?).sum();
    link.run(
        "UPDATE keys SET last_used_at = $2, crc = $3 WHERE id = $1 AND coalesce(last_used_at, 0) < $2",
        &[&key.id.as_str(), &key.last_used_at.map(|at| at.0), &sum],
    )
    .await?;
    Ok(())
}

/// Deletes a key; whether it was there.
pub(super) async fn delete(link: &Link, id: &KeyId) -> Result<bool, Fault> {
    Ok(link.run("DELETE FROM keys WHERE id = $1", &[&id.as_str()]).await? > 0)
}
