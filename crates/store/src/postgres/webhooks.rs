//! Rows of webhooks: see [`crate::rows::webhook`].

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::id::{AccountId, WebhookId};
use domain::shard::Shard;
use domain::vault::Vault;
use domain::webhook::Webhook;
use tokio_postgres::Row;

use super::connection::Link;
use super::engine::{Engine, SLOT_LOCK};
use super::fault::Fault;
use crate::rows::webhook::{Columns, read, seal, sum_gone};

/// How many rows are read in one go: in memory a row takes several times what a webhook does.
const ROWS_AT_ONCE: i64 = 1_000;

/// What [`take_in`] reads, in its order.
macro_rules! columns {
    () => {
        "w.number, w.id, w.account, w.version, w.failing_since, w.profile, w.secret_version, w.secret, w.previous_secret,
         w.headers, w.crc, w.key_pair, w.previous_key_pair"
    };
}

/// All webhooks, each account's oldest first. `account_id` names an account by its number. They are read in parts: in a transaction
/// that sees one state of the database.
pub(super) async fn load(
    link: &Link,
    vault: &Vault,
    account_id: impl Fn(u32) -> Option<AccountId>,
) -> Result<Vec<Arc<Webhook>>, Fault> {
    let mut webhooks = Vec::new();
    let mut after = Some((-1, -1));
    while let Some((account, number)) = after {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM webhooks AS w WHERE (w.account, w.number) > ($1, $2) ORDER BY w.account, w.number LIMIT $3"
        );
        let rows = link.rows(sql, &[&account, &number, &ROWS_AT_ONCE]).await?;
        let last = rows.last().filter(|_| rows.len() as i64 == ROWS_AT_ONCE);
        after = last.map(|row| (row.get::<_, i32>(2), row.get::<_, i32>(0)));
        take_in(rows, vault, &account_id, &mut webhooks)?;
    }
    Ok(webhooks)
}

/// Those of these webhooks, each an account's, that are there; oldest first.
pub(super) async fn load_some(
    link: &Link,
    vault: &Vault,
    wanted: &BTreeSet<(u32, u32)>,
    account_id: impl Fn(u32) -> Option<AccountId>,
) -> Result<Vec<Arc<Webhook>>, Fault> {
    let (mut webhooks, mut rest) = (Vec::new(), wanted.iter().peekable());
    while rest.peek().is_some() {
        let some = rest.by_ref().take(ROWS_AT_ONCE as usize).map(|(account, number)| (*account as i32, *number as i32));
        let (accounts, numbers): (Vec<i32>, Vec<i32>) = some.unzip();
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM unnest($1::integer[], $2::integer[]) AS k (account, number)
             JOIN webhooks AS w ON w.account = k.account AND w.number = k.number"
        );
        take_in(link.rows(sql, &[&accounts, &numbers]).await?, vault, &account_id, &mut webhooks)?;
    }
    webhooks.sort_unstable_by_key(|webhook| webhook.number);
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

/// The advisory locks by which ids of new webhooks are held: the upper half of their numbers.
const ID_LOCK: i32 = SLOT_LOCK + 1;

/// Whether a webhook of this id is there, whosever; until the end of the transaction nobody else makes one. No key of the table says
/// so, since each begins with an account.
pub(super) async fn is_taken(link: &Link, id: &WebhookId) -> Result<bool, Fault> {
    link.row("SELECT pg_advisory_xact_lock($1, hashtext($2))", &[&ID_LOCK, &id.as_str()]).await?;
    let found = link.row("SELECT EXISTS (SELECT FROM webhooks WHERE id = $1)", &[&id.as_str()]).await?;
    Ok(found.is_some_and(|row| row.get(0)))
}

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
         ON CONFLICT (account, number) DO UPDATE
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
    let of = (webhook.account as i32, webhook.number as i32);
    link.run("DELETE FROM webhooks WHERE account = $1 AND number = $2", &[&of.0, &of.1]).await?;
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

/// The ids of all deleted webhooks whose log is kept, by number, with their accounts.
pub(super) async fn load_gone(link: &Link) -> Result<Vec<(u32, u32, WebhookId)>, Fault> {
    let rows = link.rows("SELECT number, account, id, crc FROM webhooks_gone", &[]).await?;
    let mut gone = Vec::with_capacity(rows.len());
    for row in rows {
        let (number, account, id) = (row.get::<_, i32>(0) as u32, row.get::<_, i32>(1) as u32, row.get::<_, String>(2));
        sum_gone(number, &id, account).verify(row.get(3), || format!("deleted webhook {number}"))?;
        let id = id.parse().map_err(|error| Fault::damaged(format_args!("deleted webhook {number}"), error))?;
        gone.push((number, account, id));
    }
    Ok(gone)
}
