//! The directory: accounts, webhooks, keys and sessions, read as they are in one state of the database.

use std::collections::HashMap;
use std::sync::Arc;

use domain::id::AccountId;

use super::connection::Link;
use super::fault::Fault;
use super::shared::Shared;
use super::{accounts, cancelling, keys, sessions, webhooks};
pub(super) use crate::rows::entry::Entry;

impl Shared {
    /// The id of an account that is there.
    pub(super) fn account_id(&self, number: u32) -> Option<AccountId> {
        self.directory.read().account_numbered(number).map(|account| account.id.clone())
    }
}

/// Reads everything anew, in the present transaction, and puts it in place of what memory has.
pub(super) async fn load(link: &Link, shared: &Shared) -> Result<(), Fault> {
    let all = accounts::load(link, None).await?;
    let ids: HashMap<u32, AccountId> = all.iter().map(|account| (account.number, account.id.clone())).collect();
    let webhooks = webhooks::load(link, &shared.vault, |number| ids.get(&number).cloned()).await?;
    let keys = keys::load(link, None).await?;
    let sessions = sessions::load(link, None).await?;
    let gone = webhooks::load_gone(link).await?;
    let cancelling = cancelling::load(link).await?;
    let versions = versions(link).await?;
    *shared.gone_mut() = gone.into_iter().map(|(number, account, id)| (number, (account, id))).collect();
    *shared.cancelling_mut() = cancelling.into_iter().map(|(webhook, account, at)| (webhook, (account, at))).collect();
    let mut directory = shared.directory.write();
    *directory = domain::directory::Directory::default();
    all.into_iter().for_each(|account| directory.put_account(Arc::new(account)));
    webhooks.into_iter().for_each(|webhook| directory.put_webhook(webhook));
    keys.into_iter().for_each(|key| directory.put_key(Arc::new(key)));
    sessions.into_iter().for_each(|session| directory.put_session(Arc::new(session)));
    drop(directory);
    shared.set_versions(versions);
    Ok(())
}

async fn versions(link: &Link) -> Result<HashMap<u32, i64>, Fault> {
    let rows = link.rows("SELECT account, version FROM directory_versions", &[]).await?;
    Ok(rows.iter().map(|row| (row.get::<_, i32>(0) as u32, row.get(1))).collect())
}

/// The versions of these accounts' parts; those that are missing are gone.
pub(super) async fn versions_of(link: &Link, accounts: &[i32]) -> Result<HashMap<u32, i64>, Fault> {
    let rows =
        link.rows("SELECT account, version FROM directory_versions WHERE account = ANY ($1)", &[&accounts]).await?;
    Ok(rows.iter().map(|row| (row.get::<_, i32>(0) as u32, row.get(1))).collect())
}

/// The version of an account's part, held until the end of the transaction: nobody else changes it meanwhile.
pub(super) async fn hold_version(link: &Link, account: u32) -> Result<Option<i64>, Fault> {
    let sql = "SELECT version FROM directory_versions WHERE account = $1 FOR UPDATE";
    Ok(link.row(sql, &[&(account as i32)]).await?.map(|row| row.get(0)))
}

/// An account's part has changed: its next version.
pub(super) async fn raise_version(link: &Link, account: u32) -> Result<i64, Fault> {
    let raised = link
        .row(
            "INSERT INTO directory_versions (account, version) VALUES ($1, 1)
             ON CONFLICT (account) DO UPDATE SET version = directory_versions.version + 1 RETURNING version",
            &[&(account as i32)],
        )
        .await?;
    raised.map(|row| row.get(0)).ok_or_else(|| Fault::Damaged("the version of an account's part".to_owned()))
}
