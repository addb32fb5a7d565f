//! What every store has from its first start on: a text by which its key is known again, and an account.

use domain::key::Account;
use domain::time::Timestamp;
use domain::vault::Vault;

use super::damaged::Damaged;

/// The text that is sealed to know the encryption key again.
const KEY_CHECK: &[u8] = b"posthaste";
/// What it belongs to.
const KEY_CHECK_CONTEXT: &str = "store/encryption_key_check";
/// The account that exists from the first start on.
const DEFAULT_ACCOUNT: &str = "default";

/// The text by which a key is known again.
pub(crate) fn seal_key_check(vault: &Vault, nonce: [u8; 24]) -> Vec<u8> {
    vault.seal(KEY_CHECK_CONTEXT, KEY_CHECK, nonce)
}

/// Whether this key sealed that text.
pub(crate) fn opens(vault: &Vault, sealed: &[u8]) -> bool {
    vault.open(KEY_CHECK_CONTEXT, sealed).is_ok()
}

/// The account that is there from the first start on.
pub(crate) fn first_account(now: Timestamp) -> Result<Account, Damaged> {
    let id = DEFAULT_ACCOUNT.parse().map_err(|error| Damaged::of(DEFAULT_ACCOUNT, error))?;
    Ok(Account::new(id, "Default", now))
}
