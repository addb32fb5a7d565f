//! Rows of webhooks: see [`crate::rows::webhook`].

use std::sync::Arc;

use domain::id::{AccountId, WebhookId};
use domain::shard::Shard;
use domain::vault::Vault;
use domain::webhook::Webhook;
use tokio_postgres::Row;

use super::connection::Link;
use super::engine::Engine;
use super::fault::Fault;
use crate::rows::webhook::{Columns, read, seal, sum_gone};

/// How many rows are read in one go: in memory a row takes several times what a webhook does.
const ROWS_AT_ONCE: i64 = 1_000;

/// All webhooks, or those of these numbers, oldest first. `account_id` names an account by its number. All of them are read in parts:
/// in a transaction that sees one state of the database.
pub(super) async fn load(
    link: &Link,
    vault: &Vault,
    numbers: Option<&[i32]>,
    account_id: impl Fn(u32) -> Option<AccountId>,
) -> Result<Vec<Arc<Webhook>>, Fault> {
    let mut webhooks = Vec::new();
    let mut after = Some(-1);
    while let Some(last) = after {
        let rows = link
            .rows(
                "SELECT number, id, account, version, failing_since, profile, secret_version, secret, previous_secret,
                        headers, crc, key_pair, previous_key_pair
                 FROM webhooks WHERE number > $2 AND ($1::integer[] IS NULL OR number = ANY ($1))
                 ORDER BY number LIMIT $3",
                &[&numbers, &last, &ROWS_AT_ONCE],
            )
            .await?;
        after = rows.last().filter(|_| rows.len() as i64 == ROWS_AT_ONCE).map(|row| row.get(0));
        take_in(rows, vault, &account_id, &mut webhooks)?;
    }
    Ok(webhooks)
}

/// Takes in webhooks of rows.
fn take_in(
    rows: Vec<Row>,
    vault: &Vault,
    account_id: impl Fn(u32) -> Option<AccountId>,
    webhooks: &mut Vec<Arc<Webhook>>,
) -> Result<(), Fault> {
    for row in rows {
        let id: String = row.get(1);
        let columns = Columns {
            number: row.get::<_, i32>(0) as u32,
            account: row.get::<_, i32>(2) as u32,
            version: row.get(3),
            failing_since: row.get(4),
            profile: row.get(5),
            secret_version: row.get(6),
            secret: row.get(7),
            previous_secret: row.get(8),
            headers: row.get(9),
            key_pair: row.get(11),
            previous_key_pair: row.get(12),
        };
        if columns.sum(&id) != row.get::<_, i64>(10) {
            return Err(Fault::Damaged(format!("webhook {id}")));
        }
        // An account that was closed since it was read takes its webhooks with it.
        let Some(account_id) = account_id(columns.account) else { continue };
        webhooks.push(Arc::new(read(&columns, &id, account_id, vault)?));
    }
    Ok(())
}

/// Gives a new webhook its number; [`put`] follows.
async fn number(link: &Link, webhook: &mut Webhook) -> Result<(), Fault> {
    let given = link.row("SELECT nextval(pg_get_serial_sequence('webhooks', 'number'))", &[]).await?;
    webhook.number = given.map_or(0, |row| row.get::<_, i64>(0) as u32);
    Ok(())
}

/// How often a temporary webhook is given another number, so that the node at which it is listened to sends its requests.
const PLACED_WITHIN: usize = 2_000;

impl Engine {
    /// Gives a new webhook its number. A temporary one, which is listened to here, comes into a shard of this node, if it has any.
    pub(super) async fn number(&self, webhook: &mut Webhook) -> Result<(), Fault> {
        let link = self.link()?;
        for _ in 0..PLACED_WITHIN {
            number(&link, webhook).await?;
            if !webhook.temporary || self.shared.serves(Shard::of(webhook.account, webhook.number)) {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Writes a webhook in place of the one of the same number, everything sealed anew.
pub(super) async fn put(
    link: &Link,
    vault: &Vault,
    nonce: impl FnMut() -> [u8; 24],
    webhook: &Webhook,
) -> Result<(), Fault> {
    let columns = seal(vault, nonce, webhook)?;
    link.run(
        "INSERT INTO webhooks (number, id, account, version, failing_since, profile, secret_version, secret, previous_secret,
                               headers, crc, key_pair, previous_key_pair)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         ON CONFLICT (number) DO UPDATE
         SET version = excluded.version, failing_since = excluded.failing_since, profile = excluded.profile,
             secret_version = excluded.secret_version, secret = excluded.secret,
             previous_secret = excluded.previous_secret, headers = excluded.headers, crc = excluded.crc,
             key_pair = excluded.key_pair, previous_key_pair = excluded.previous_key_pair",
        &[
            &(columns.number as i32),
            &webhook.id.as_str(),
            &(columns.account as i32),
            &columns.version,
            &columns.failing_since,
            &columns.profile,
            &columns.secret_version,
            &columns.secret,
            &columns.previous_secret,
            &columns.headers,
            &columns.sum(webhook.id.as_str()),
            &columns.key_pair,
            &columns.previous_key_pair,
        ],
    )
    .await?;
    Ok(())
}

/// Deletes a webhook; with `keep_id` its id stays, since its log is kept.
pub(super) async fn delete(link: &Link, webhook: &Webhook, keep_id: bool) -> Result<(), Fault> {
    link.run("DELETE FROM webhooks WHERE number = $1", &[&(webhook.number as i32)]).await?;
    if keep_id {
        let (id, account) = (webhook.id.as_str(), webhook.account);
        link.run(
            "INSERT INTO webhooks_gone (number, id, account, crc) VALUES ($1, $2, $3, $4)",
            &[&(webhook.number as i32), &id, &(account as i32), &sum_gone(webhook.number, id, account).sum()],
        )
        .await?;
    }
    Ok(())
}

/// The ids of deleted webhooks whose log is kept, by number, with their accounts: of all, or of these numbers.
pub(super) async fn load_gone(link: &Link, numbers: Option<&[i32]>) -> Result<Vec<(u32, u32, WebhookId)>, Fault> {
    let rows = link
        .rows(
            "SELECT number, account, id, crc FROM webhooks_gone WHERE $1::integer[] IS NULL OR number = ANY ($1)",
            &[&numbers],
        )
        .await?;
    let mut gone = Vec::with_capacity(rows.len());
    for row in rows {
        let (number, account, id) = (row.get::<_, i32>(0) as u32, row.get::<_, i32>(1) as u32, row.get::<_, String>(2));
        sum_gone(number, &id, account).verify(row.get(3), || format!("deleted webhook {number}"))?;
        let id = id.parse().map_err(|error| Fault::damaged(format_args!("deleted webhook {number}"), error))?;
        gone.push((number, account, id));
    }
    Ok(gone)
}
