//! Erasing an account: nothing of it is left, in the tables or between them.

use std::sync::Arc;

use domain::store::{ChangeError, Fact};
use domain::webhook::Webhook;

use super::engine::{Engine, Entry};
use super::fault::Fault;
use super::{accounts, deliveries, due, events, keys, webhooks};

/// How many events are read at once.
const AT_ONCE: usize = 1_000;

impl Engine {
    /// Deletes an account for good, with all that it owns.
    pub(super) fn delete_account(&mut self, number: u32) -> Result<(), ChangeError> {
        let directory = self.shared.directory.read();
        if directory.account_numbered(number).is_none() {
            return Err(ChangeError::NotFound);
        }
        let webhooks: Vec<_> = directory.webhooks_of(number).cloned().collect();
        drop(directory);
        // What is erased is overwritten, so that the file no longer holds it.
        self.conn.execute_batch("PRAGMA secure_delete = ON").map_err(Fault::from)?;
        let erased = self.erase(number, &webhooks);
        self.conn.execute_batch("PRAGMA secure_delete = FAST").map_err(Fault::from)?;
        erased?;
        let fresh = self.shared.fresh();
        let rows: Vec<_> = fresh.iter().filter(|(_, delivery)| delivery.account == number).map(|(id, _)| id).collect();
        drop(fresh);
        self.staged.rows.extend(rows);
        for webhook in webhooks {
            self.staged.facts.push(Fact::WebhookDeleted { webhook: webhook.number });
        }
        self.staged.directory.push(Entry::AccountGone(number));
        Ok(())
    }

    /// Deletes the rows of an account and of all that it owns.
    fn erase(&self, number: u32, webhooks: &[Arc<Webhook>]) -> Result<(), Fault> {
        for webhook in webhooks {
            webhooks::delete(&self.conn, webhook, false)?;
            due::delete_of_webhook(&self.conn, webhook.number)?;
        }
        loop {
            let oldest = events::oldest_of_account(&self.conn, number, AT_ONCE)?;
            if oldest.is_empty() {
                break;
            }
            for event in oldest {
                deliveries::delete_of_event(&self.conn, event)?;
                events::delete(&self.conn, event)?;
            }
        }
        webhooks::delete_gone_of_account(&self.conn, number)?;
        keys::delete_of_account(&self.conn, number)?;
        accounts::delete(&self.conn, number)
    }
}
