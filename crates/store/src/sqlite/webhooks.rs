//! Rows of webhooks: see [`crate::rows::webhook`].

use domain::id::{AccountId, WebhookId};
use domain::vault::Vault;
use domain::webhook::Webhook;
use rusqlite::{Connection, params};

use super::fault::Fault;
use crate::rows::webhook::{Columns, read, seal, sum_gone};

/// Compares the checksum of every row; no key is needed for that.
pub(super) fn verify(conn: &Connection) -> Result<u64, Fault> {
    let mut count = 0;
    each(conn, |_, _| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

/// All webhooks, oldest first. `account_id` names an account by its number.
pub(super) fn load(
    conn: &Connection,
    vault: &Vault,
    account_id: impl Fn(u32) -> Option<AccountId>,
) -> Result<Vec<Webhook>, Fault> {
    let mut webhooks = Vec::new();
    each(conn, |id, columns| {
        let account_id = account_id(columns.account)
            .ok_or_else(|| Fault::damaged(format_args!("webhook {id}"), "without account"))?;
        webhooks.push(read(&columns, id, account_id, vault)?);
        Ok(())
    })?;
    Ok(webhooks)
}

/// Calls `take` with the id and the columns of every row, oldest first, after their checksum was compared.
fn each(conn: &Connection, mut take: impl FnMut(&str, Columns) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut statement = conn.prepare(
        "SELECT number, id, account, version, failing_since, profile, secret_version, secret, previous_secret, headers, crc,
                key_pair, previous_key_pair
         FROM webhooks ORDER BY number",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id: String = row.get(1)?;
        let columns = Columns {
            number: row.get(0)?,
            account: row.get(2)?,
            version: row.get(3)?,
            failing_since: row.get(4)?,
            profile: row.get(5)?,
            secret_version: row.get(6)?,
            secret: row.get(7)?,
            previous_secret: row.get(8)?,
            headers: row.get(9)?,
            key_pair: row.get(11)?,
            previous_key_pair: row.get(12)?,
        };
        if columns.sum(&id) != row.get::<_, i64>(10)? {
            return Err(Fault::Damaged(format!("webhook {id}")));
        }
        take(&id, columns)?;
    }
    Ok(())
}

/// Gives a new webhook its number; [`put`] follows.
pub(super) fn insert(conn: &Connection, webhook: &mut Webhook) -> Result<(), Fault> {
    conn.prepare_cached(
        "INSERT INTO webhooks (id, account, version, profile, secret_version, secret, headers, crc)
         VALUES (?1, ?2, 0, '', 0, x'', x'', 0)",
    )?
    .execute(params![webhook.id.as_str(), webhook.account])?;
    webhook.number = conn.last_insert_rowid() as u32;
    Ok(())
}

/// Writes a webhook in place of the one of the same number, everything sealed anew.
pub(super) fn put(
    conn: &Connection,
    vault: &Vault,
    mut nonce: impl FnMut() -> [u8; 24],
    webhook: &Webhook,
) -> Result<(), Fault> {
    let columns = seal(vault, &mut nonce, webhook)?;
    conn.prepare_cached(
        "UPDATE webhooks SET version = ?2, failing_since = ?3, profile = ?4, secret_version = ?5, secret = ?6,
                previous_secret = ?7, headers = ?8, crc = ?9, key_pair = ?10, previous_key_pair = ?11
         WHERE number = ?1",
    )?
    .execute(params![
        columns.number,
        columns.version,
        columns.failing_since,
        columns.profile,
        columns.secret_version,
        columns.secret,
        columns.previous_secret,
        columns.headers,
        columns.sum(webhook.id.as_str()),
        columns.key_pair,
        columns.previous_key_pair,
    ])?;
    Ok(())
}

/// Deletes a webhook; with `keep_id` its id stays, since its log is kept.
pub(super) fn delete(conn: &Connection, webhook: &Webhook, keep_id: bool) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM webhooks WHERE number = ?1")?.execute([webhook.number])?;
    if keep_id {
        let (id, account) = (webhook.id.as_str(), webhook.account);
        conn.prepare_cached("INSERT INTO webhooks_gone (number, id, account, crc) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![webhook.number, id, account, sum_gone(webhook.number, id, account).sum()])?;
    }
    Ok(())
}

/// The ids of deleted webhooks whose log is kept, by number, with their accounts.
pub(super) fn load_gone(conn: &Connection) -> Result<Vec<(u32, u32, WebhookId)>, Fault> {
    let mut statement = conn.prepare("SELECT number, account, id, crc FROM webhooks_gone")?;
    let mut rows = statement.query([])?;
    let mut gone = Vec::new();
    while let Some(row) = rows.next()? {
        let (number, account, id): (u32, u32, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        sum_gone(number, &id, account).verify(row.get(3)?, || format!("deleted webhook {number}"))?;
        let id = id.parse().map_err(|error| Fault::damaged(format_args!("deleted webhook {number}"), error))?;
        gone.push((number, account, id));
    }
    Ok(gone)
}

/// Forgets an account's deleted webhooks.
pub(super) fn delete_gone_of_account(conn: &Connection, account: u32) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM webhooks_gone WHERE account = ?1")?.execute([account])?;
    Ok(())
}
