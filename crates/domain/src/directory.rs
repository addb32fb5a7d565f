//! Accounts, webhooks, keys and sessions in memory, as committed: what every request looks things up in.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::id::{AccountId, KeyId, SessionId, WebhookId};
use crate::key::{Account, ApiKey};
use crate::session::Session;
use crate::webhook::Webhook;

/// All accounts, webhooks, keys and sessions. Only committed changes get in, and only the store puts them there.
#[derive(Debug, Default)]
pub struct Directory {
    accounts: BTreeMap<AccountId, Arc<Account>>,
    account_ids: HashMap<u32, AccountId>,
    webhooks: HashMap<u32, Arc<Webhook>>,
    webhook_numbers: HashMap<WebhookId, u32>,
    /// The numbers of each account's webhooks, oldest first.
    of_account: HashMap<u32, Vec<u32>>,
    keys: HashMap<[u8; 32], Arc<ApiKey>>,
    sessions: HashMap<[u8; 32], Arc<Session>>,
}

impl Directory {
    /// The account of this id.
    #[must_use]
    pub fn account(&self, id: &AccountId) -> Option<&Arc<Account>> {
        self.accounts.get(id)
    }

    /// The account of this number.
    #[must_use]
    pub fn account_numbered(&self, number: u32) -> Option<&Arc<Account>> {
        self.accounts.get(self.account_ids.get(&number)?)
    }

    /// All accounts, by id.
    pub fn accounts(&self) -> impl DoubleEndedIterator<Item = &Arc<Account>> {
        self.accounts.values()
    }

    /// The account's webhook of this id; another account's is not found.
    #[must_use]
    pub fn webhook(&self, account: u32, id: &WebhookId) -> Option<&Arc<Webhook>> {
        self.webhook_of_id(id).filter(|webhook| webhook.account == account)
    }

    /// The webhook of this number, whosever it is.
    #[must_use]
    pub fn webhook_numbered(&self, number: u32) -> Option<&Arc<Webhook>> {
        self.webhooks.get(&number)
    }

    /// The webhook of this id, whosever it is.
    #[must_use]
    pub fn webhook_of_id(&self, id: &WebhookId) -> Option<&Arc<Webhook>> {
        self.webhooks.get(self.webhook_numbers.get(id)?)
    }

    /// Whether any account has a webhook of this id.
    #[must_use]
    pub fn has_webhook(&self, id: &WebhookId) -> bool {
        self.webhook_numbers.contains_key(id)
    }

    /// The webhooks of an account, oldest first.
    pub fn webhooks_of(&self, account: u32) -> impl DoubleEndedIterator<Item = &Arc<Webhook>> {
        self.of_account.get(&account).into_iter().flatten().filter_map(|number| self.webhooks.get(number))
    }

    /// All webhooks, in no order.
    pub fn webhooks(&self) -> impl Iterator<Item = &Arc<Webhook>> {
        self.webhooks.values()
    }

    /// The key of this hash.
    #[must_use]
    pub fn key(&self, hash: &[u8; 32]) -> Option<&Arc<ApiKey>> {
        self.keys.get(hash)
    }

    /// The key of this id, whosever it is.
    #[must_use]
    pub fn key_of_id(&self, id: &KeyId) -> Option<&Arc<ApiKey>> {
        self.keys.values().find(|key| key.id == *id)
    }

    /// The keys limited to `account`, or the platform's own for `None`; newest first.
    #[must_use]
    pub fn keys_of(&self, account: Option<u32>) -> Vec<Arc<ApiKey>> {
        let mut keys: Vec<_> = self.keys.values().filter(|key| key.account == account).cloned().collect();
        keys.sort_by(|a, b| b.id.cmp(&a.id));
        keys
    }

    /// The session whose token has this hash.
    #[must_use]
    pub fn session(&self, hash: &[u8; 32]) -> Option<&Arc<Session>> {
        self.sessions.get(hash)
    }

    /// The sessions that are limited to the account.
    pub fn sessions_of(&self, account: u32) -> impl Iterator<Item = &Arc<Session>> {
        self.sessions.values().filter(move |session| session.account == Some(account))
    }

    /// The sessions that come from the key of this hash.
    pub fn sessions_from(&self, key: &[u8; 32]) -> impl Iterator<Item = &Arc<Session>> {
        self.sessions.values().filter(move |session| session.key == *key)
    }

    /// Puts an account in, in place of the one of the same id.
    pub fn put_account(&mut self, account: Arc<Account>) {
        self.account_ids.insert(account.number, account.id.clone());
        self.accounts.insert(account.id.clone(), account);
    }

    /// Takes an account out, with its webhooks, keys and sessions.
    pub fn remove_account(&mut self, number: u32) {
        if let Some(id) = self.account_ids.remove(&number) {
            self.accounts.remove(&id);
        }
        for webhook in self.of_account.remove(&number).unwrap_or_default() {
            self.remove_webhook(webhook);
        }
        self.keys.retain(|_, key| key.account != Some(number));
        self.sessions.retain(|_, session| session.account != Some(number));
    }

    /// Puts a webhook in, in place of the one of the same number.
    pub fn put_webhook(&mut self, webhook: Arc<Webhook>) {
        self.webhook_numbers.insert(webhook.id.clone(), webhook.number);
        let (number, account) = (webhook.number, webhook.account);
        if self.webhooks.insert(number, webhook).is_none() {
            self.of_account.entry(account).or_default().push(number);
        }
    }

    /// Takes a webhook out.
    pub fn remove_webhook(&mut self, number: u32) {
        if let Some(webhook) = self.webhooks.remove(&number) {
            self.webhook_numbers.remove(&webhook.id);
            if let Some(numbers) = self.of_account.get_mut(&webhook.account) {
                numbers.retain(|&n| n != number);
            }
        }
    }

    /// Puts a key in.
    pub fn put_key(&mut self, key: Arc<ApiKey>) {
        self.keys.insert(key.hash, key);
    }

    /// Takes a key out, with the sessions that come from it.
    pub fn remove_key(&mut self, id: &KeyId) {
        let Some(hash) = self.keys.values().find(|key| key.id == *id).map(|key| key.hash) else { return };
        self.keys.remove(&hash);
        self.sessions.retain(|_, session| session.key != hash);
    }

    /// Puts a session in, in place of the one with the same token.
    pub fn put_session(&mut self, session: Arc<Session>) {
        self.sessions.insert(session.hash, session);
    }

    /// Takes a session out.
    pub fn remove_session(&mut self, id: &SessionId) {
        self.sessions.retain(|_, session| session.id != *id);
    }
}

/// The directory, shared between the store that keeps it and everyone who reads it.
#[derive(Debug, Clone, Default)]
pub struct SharedDirectory(Arc<RwLock<Directory>>);

impl SharedDirectory {
    /// Reads it. The guard must not be held across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, Directory> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes it: for the store alone, after its commit.
    pub fn write(&self) -> RwLockWriteGuard<'_, Directory> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
