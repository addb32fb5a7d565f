//! Opening: the encryption key is the one that the store was made with, and what every store has from its first start on.

use domain::time::Timestamp;
use domain::vault::Vault;

use super::connection::{Connector, Link, Purpose};
use super::engine::Chance;
use super::fault::{Fault, OpenError};
use super::schema::LOCK;
use super::{accounts, directory, lack, marks, moving};
use crate::rows::first::{first_account, opens, seal_key_check};

/// The mark of the text by which the key is known again.
pub(super) const KEY_CHECK: &str = "encryption_key_check";

/// What was found.
enum Opened {
    Well,
    WithOtherKey,
    BeingMoved,
}

/// Makes what a new store has, or looks whether the key opens what is there. Of nodes that start at once one makes it.
pub(super) async fn first(
    connector: &Connector,
    vault: &Vault,
    chance: &mut Chance,
    now: Timestamp,
) -> Result<(), OpenError> {
    let link = connector.connect(Purpose::Write).await.map_err(Fault::at_open)?;
    if let Some(short) = lack::limits(&link).await.map_err(Fault::at_open)? {
        tracing::warn!("{short}; until then some of its work may wait");
    }
    let made = make(&link, vault, chance, now).await;
    if made.is_err() {
        // The first fault is the one to tell of.
        let _ = link.batch("ROLLBACK").await;
    }
    match made.map_err(Fault::at_open)? {
        Opened::Well => Ok(()),
        Opened::WithOtherKey => Err(OpenError::OtherKey),
        Opened::BeingMoved => Err(OpenError::Unfinished),
    }
}

async fn make(link: &Link, vault: &Vault, chance: &mut Chance, now: Timestamp) -> Result<Opened, Fault> {
    link.batch(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK} + 2)")).await?;
    let opened = match marks::get(link, KEY_CHECK).await? {
        Some(_) if moving::is_under_way(link).await? => Opened::BeingMoved,
        Some(sealed) if !opens(vault, &sealed) => Opened::WithOtherKey,
        Some(_) => Opened::Well,
        None => {
            let mut nonce = [0; 24];
            chance(&mut nonce);
            let sealed = seal_key_check(vault, nonce);
            marks::set(link, KEY_CHECK, &sealed).await?;
            let mut account = first_account(now)?;
            accounts::insert(link, &mut account).await?;
            directory::raise_version(link, 0).await?;
            directory::raise_version(link, account.number).await?;
            Opened::Well
        }
    };
    link.batch("COMMIT").await?;
    Ok(opened)
}
