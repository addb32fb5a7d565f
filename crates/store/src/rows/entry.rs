//! Changes of what memory knows by number: they are staged with a transaction, and entered once it is committed.

use std::sync::Arc;

use domain::id::{KeyId, SessionId, WebhookId};
use domain::key::{Account, ApiKey};
use domain::session::Session;
use domain::time::Timestamp;
use domain::webhook::Webhook;

use super::names::Names;

/// A change of the directory.
#[derive(Debug)]
pub(crate) enum Entry {
    Account(Account),
    AccountGone(u32),
    Webhook(Arc<Webhook>),
    /// With `cancelling`, when it was deleted: something of it may be left to be cancelled.
    WebhookGone {
        number: u32,
        account: u32,
        id: WebhookId,
        cancelling: Option<Timestamp>,
    },
    /// Nothing of a deleted webhook is left to be cancelled.
    AllCancelled(u32),
    Key(ApiKey),
    KeyGone(KeyId),
    Session(Session),
    SessionGone(SessionId),
}

impl Names {
    /// Puts what was committed into the directory.
    pub(crate) fn enter(&self, entries: Vec<Entry>) {
        // First what names deleted webhooks, then the directory without them: a reader finds each in one of the two.
        let (mut gone, mut cancelling) = (self.gone_mut(), self.cancelling_mut());
        for entry in &entries {
            match entry {
                Entry::WebhookGone { number, account, id, cancelling: at } => {
                    gone.insert(*number, (*account, id.clone()));
                    cancelling.extend(at.map(|at| (*number, (*account, at))));
                }
                Entry::AllCancelled(webhook) => {
                    cancelling.remove(webhook);
                }
                Entry::AccountGone(account) => {
                    gone.retain(|_, (of, _)| of != account);
                    cancelling.retain(|_, (of, _)| of != account);
                }
                Entry::Account(_)
                | Entry::Webhook(_)
                | Entry::Key(_)
                | Entry::KeyGone(_)
                | Entry::Session(_)
                | Entry::SessionGone(_) => {}
            }
        }
        drop((gone, cancelling));
        let mut directory = self.directory.write();
        for entry in entries {
            match entry {
                Entry::Account(account) => directory.put_account(Arc::new(account)),
                Entry::AccountGone(number) => directory.remove_account(number),
                Entry::Webhook(webhook) => directory.put_webhook(webhook),
                Entry::WebhookGone { number, .. } => directory.remove_webhook(number),
                Entry::AllCancelled(_) => {}
                Entry::Key(key) => directory.put_key(Arc::new(key)),
                Entry::KeyGone(id) => directory.remove_key(&id),
                Entry::Session(session) => directory.put_session(Arc::new(session)),
                Entry::SessionGone(id) => directory.remove_session(&id),
            }
        }
    }
}
