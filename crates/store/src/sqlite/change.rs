//! Changes to accounts, webhooks, keys and single deliveries: each in a transaction of its own.

use std::sync::Arc;

use domain::attempt::Reason;
use domain::audit::{Act, Action, By, of_webhook};
use domain::id::{DeliveryId, KeyId};
use domain::key::{Account, ApiKey};
use domain::store::{Change, ChangeError, Changed, Fact, Keep};
use domain::time::Timestamp;
use domain::webhook::{Held, Webhook};

use super::accept::write_waiting;
use super::deliveries::{DeliveryRow, State};
use super::engine::{Engine, Entry};
use super::fault::Fault;
use super::fresh::FreshDelivery;
use super::idempotency::{self, Found, Kept};
use super::replaying;
use super::{accounts, audit, cancelling, deliveries, due, keys, sessions, webhooks};

impl Engine {
    pub(super) fn make(
        &mut self,
        now: Timestamp,
        change: Change,
        by: &By,
        keep: Option<Keep>,
    ) -> Result<Changed, ChangeError> {
        if let Some(keep) = &keep {
            match idempotency::find(&self.conn, &self.shared.vault, &keep.idempotency, now)? {
                Found::New => {}
                Found::OtherRequest => return Err(ChangeError::OtherRequest),
                Found::Same(kept) => return Ok(Changed::Repeated(answer_of(kept))),
            }
        }
        // Each says what it has done: no change goes by without its entries in the audit log.
        let acts = match change {
            Change::PutAccount(account) => vec![self.put_account(account)?],
            Change::DeleteAccount(number) => vec![self.delete_account(now, number)?],
            Change::PutWebhook(webhook) => self.put_webhook(*webhook)?,
            Change::Resume { webhook, held, rate } => self.resume(now, *webhook, held, rate)?,
            Change::DeleteWebhook(number) => vec![self.delete_webhook(now, number)?],
            Change::Failing { webhook, since } => {
                self.failing(webhook, since)?;
                Vec::new()
            }
            Change::HeldSent { webhook, version } => {
                self.held_sent(webhook, version)?;
                Vec::new()
            }
            Change::LeaveAlone { webhook, until } => {
                self.leave_alone(webhook, until)?;
                Vec::new()
            }
            Change::PutKey(key) => vec![self.put_key(key)?],
            Change::RevokeKey(id) => vec![self.revoke_key(&id)?],
            Change::OpenSessions { sessions, link } => self.open_sessions(now, sessions, link)?,
            Change::EndSession(id) => vec![self.end_session(&id)?],
            Change::KeysUsed(uses) => {
                self.keys_used(&uses)?;
                Vec::new()
            }
            Change::Replay(account, id) => vec![self.replay(now, account, id)?],
            Change::Cancel(account, id) => vec![self.cancel(now, account, id)?],
            Change::BulkReplay(change) => self.change_replay(now, change)?.into_iter().collect(),
            Change::Note(act) => vec![self.note(act)?],
        };
        for act in acts {
            audit::insert(&self.conn, now, by, act)?;
        }
        self.write_replays(now)?;
        if let Some(Keep { idempotency, answer }) = keep {
            let nonce = self.nonce();
            idempotency::put_answer(&self.conn, &self.shared.vault, nonce, &idempotency, now, &answer)?;
        }
        Ok(Changed::Made)
    }

    /// An act that changes nothing here.
    fn note(&self, act: Act) -> Result<Act, ChangeError> {
        let directory = self.shared.directory.read();
        let known = act.account.is_none_or(|account| directory.account_numbered(account).is_some());
        if known { Ok(act) } else { Err(ChangeError::NotFound) }
    }

    fn put_account(&mut self, mut account: Account) -> Result<Act, ChangeError> {
        let stored = self.shared.directory.read().account(&account.id).cloned();
        match &stored {
            Some(_) if account.version == 1 => return Err(ChangeError::Exists),
            Some(stored) if account.version != stored.version + 1 => return Err(ChangeError::Stale),
            Some(stored) => {
                account.number = stored.number;
                accounts::update(&self.conn, &account)?;
            }
            None if account.version == 1 => accounts::insert(&self.conn, &mut account)?,
            None => return Err(ChangeError::NotFound),
        }
        let act = Act::of_account(stored.as_deref(), &account);
        self.staged.directory.push(Entry::Account(account));
        Ok(act)
    }

    fn put_webhook(&mut self, mut webhook: Webhook) -> Result<Vec<Act>, ChangeError> {
        let stored = self.shared.directory.read().webhook_numbered(webhook.number).cloned();
        let resumed = stored.as_ref().is_some_and(|stored| stored.pause.is_some()) && webhook.pause.is_none();
        webhook.held_rate = stored.as_ref().and_then(|stored| stored.held_rate).filter(|_| webhook.pause.is_none());
        // What a receiver has asked for concerns no other, and not whom a person has told us to go on with.
        let same = stored.filter(|stored| !resumed && stored.url == webhook.url);
        webhook.leave_alone_until = same.and_then(|stored| stored.leave_alone_until);
        let number = webhook.number;
        let acts = self.write_webhook(webhook)?;
        if resumed {
            self.staged.facts.push(Fact::Resumed { webhook: number, rate: None });
        }
        Ok(acts)
    }

    /// Writes a webhook; if this pauses it, rows for what of it waits in memory only.
    fn write_webhook(&mut self, mut webhook: Webhook) -> Result<Vec<Act>, ChangeError> {
        let directory = self.shared.directory.read();
        if directory.account_numbered(webhook.account).is_none() {
            return Err(ChangeError::NotFound);
        }
        let stored = directory.webhook_numbered(webhook.number).cloned();
        let id_taken = directory.has_webhook(&webhook.id);
        drop(directory);
        match &stored {
            None if webhook.number == 0 && webhook.version == 1 => {
                if id_taken {
                    return Err(ChangeError::Exists);
                }
                webhooks::insert(&self.conn, &mut webhook)?;
            }
            Some(stored) if stored.account == webhook.account && stored.id == webhook.id => {
                if webhook.version != stored.version + 1 {
                    return Err(ChangeError::Stale);
                }
            }
            None | Some(_) => return Err(ChangeError::NotFound),
        }
        let acts = of_webhook::acts(stored.as_deref(), &webhook);
        if webhook.pause.is_some() && stored.is_some_and(|stored| stored.pause.is_none()) {
            let waiting = self.fresh_of(webhook.number, |delivery| !delivery.test);
            self.spill(&waiting)?;
        }
        self.store_webhook(&webhook)?;
        let webhook = Arc::new(webhook);
        self.staged.directory.push(Entry::Webhook(Arc::clone(&webhook)));
        self.staged.facts.push(Fact::Webhook(webhook));
        Ok(acts)
    }

    fn store_webhook(&mut self, webhook: &Webhook) -> Result<(), Fault> {
        let mut nonces = [self.nonce(), self.nonce(), self.nonce()].into_iter();
        let nonce = || nonces.next().unwrap_or_default();
        webhooks::put(&self.conn, &self.shared.vault, nonce, webhook)
    }

    /// The deliveries of a webhook that have no row.
    pub(super) fn fresh_of(
        &self,
        webhook: u32,
        wanted: impl Fn(&FreshDelivery) -> bool,
    ) -> Vec<(DeliveryId, FreshDelivery)> {
        let fresh = self.shared.fresh();
        if fresh.len_of(webhook) == 0 {
            return Vec::new();
        }
        fresh
            .iter()
            .filter(|(_, delivery)| delivery.webhook == webhook && wanted(delivery))
            .map(|(id, delivery)| (id, delivery.clone()))
            .collect()
    }

    fn resume(
        &mut self,
        now: Timestamp,
        mut webhook: Webhook,
        held: Held,
        rate: Option<u32>,
    ) -> Result<Vec<Act>, ChangeError> {
        let number = webhook.number;
        webhook.held_rate = rate;
        webhook.leave_alone_until = None;
        let mut acts = self.write_webhook(webhook)?;
        of_webhook::resumed(&mut acts, held, rate);
        if held == Held::Cancel {
            // What is left of it: `cancel_held` has gone before, if it was much. What has come since was not meant.
            let asked = self.resuming.take().filter(|(webhook, _)| *webhook == number);
            let until = asked.map_or_else(|| self.held_until(now), |(_, until)| until);
            self.cancel_held_of(now, number, until, usize::MAX >> 1)?;
        }
        // Also after cancelling: retries that are planned for later were passed over while it was paused.
        self.staged.facts.push(Fact::Resumed { webhook: number, rate });
        Ok(acts)
    }

    fn delete_webhook(&mut self, now: Timestamp, number: u32) -> Result<Act, ChangeError> {
        let stored = self.shared.directory.read().webhook_numbered(number).cloned();
        let webhook = stored.ok_or(ChangeError::NotFound)?;
        // Of most webhooks this is all; of others the rest follows.
        let more = self.cancel_all_of(now, number)?;
        if more {
            cancelling::put(&self.conn, number, webhook.account, now)?;
        }
        self.pass_over_all_of(webhook.account, number)?;
        webhooks::delete(&self.conn, &webhook, true)?;
        self.staged.directory.push(Entry::WebhookGone {
            number,
            account: webhook.account,
            id: webhook.id.clone(),
            cancelling: more.then_some(now),
        });
        self.staged.facts.push(Fact::WebhookDeleted { webhook: number });
        Ok(of_webhook::act(Action::WebhookDeleted, &webhook))
    }

    fn failing(&mut self, number: u32, since: Option<Timestamp>) -> Result<(), ChangeError> {
        let stored = self.shared.directory.read().webhook_numbered(number).cloned();
        let mut webhook = Webhook::clone(&*stored.ok_or(ChangeError::NotFound)?);
        webhook.failing_since = since;
        self.store_webhook(&webhook)?;
        self.staged.directory.push(Entry::Webhook(Arc::new(webhook)));
        Ok(())
    }

    fn leave_alone(&mut self, number: u32, until: Timestamp) -> Result<(), ChangeError> {
        let stored = self.shared.directory.read().webhook_numbered(number).cloned();
        let webhook =
            Webhook { leave_alone_until: Some(until), ..Webhook::clone(&*stored.ok_or(ChangeError::NotFound)?) };
        self.store_webhook(&webhook)?;
        self.staged.directory.push(Entry::Webhook(Arc::new(webhook)));
        Ok(())
    }

    fn held_sent(&mut self, number: u32, version: u64) -> Result<(), ChangeError> {
        let stored = self.shared.directory.read().webhook_numbered(number).cloned();
        let mut webhook = Webhook::clone(&*stored.ok_or(ChangeError::NotFound)?);
        if webhook.version == version && webhook.held_rate.take().is_some() {
            self.store_webhook(&webhook)?;
            self.staged.directory.push(Entry::Webhook(Arc::new(webhook)));
        }
        Ok(())
    }

    fn put_key(&mut self, key: ApiKey) -> Result<Act, ChangeError> {
        let directory = self.shared.directory.read();
        if key.account.is_some_and(|account| directory.account_numbered(account).is_none()) {
            return Err(ChangeError::NotFound);
        }
        let taken = directory.key(&key.hash).is_some() || directory.keys_of(key.account).iter().any(|k| k.id == key.id);
        drop(directory);
        if taken {
            return Err(ChangeError::Exists);
        }
        keys::insert(&self.conn, &key)?;
        let act = Act::of_key(Action::KeyCreated, &key);
        self.staged.directory.push(Entry::Key(key));
        Ok(act)
    }

    fn revoke_key(&mut self, id: &KeyId) -> Result<Act, ChangeError> {
        let known = self.shared.directory.read().key_of_id(id).cloned();
        let key = known.ok_or(ChangeError::NotFound)?;
        sessions::delete_of_key(&self.conn, id)?;
        keys::delete(&self.conn, id)?;
        self.staged.directory.push(Entry::KeyGone(id.clone()));
        Ok(Act::of_key(Action::KeyRevoked, &key))
    }

    fn keys_used(&mut self, uses: &[(KeyId, Timestamp)]) -> Result<(), ChangeError> {
        for (id, at) in uses {
            let known = self.shared.directory.read().key_of_id(id).cloned();
            let Some(known) = known.filter(|key| key.last_used_at < Some(*at)) else { continue };
            let key = ApiKey { last_used_at: Some(*at), ..ApiKey::clone(&known) };
            keys::used(&self.conn, &key)?;
            self.staged.directory.push(Entry::Key(key));
        }
        Ok(())
    }

    fn replay(&mut self, now: Timestamp, account: u32, id: DeliveryId) -> Result<Act, ChangeError> {
        let (mut row, has_row) = self.row_or_fresh(account, id)?;
        if self.shared.directory.read().webhook_numbered(row.webhook).is_none() {
            return Err(ChangeError::State("its webhook was deleted, so it cannot be sent again"));
        }
        row.wait(now, 0);
        // A test stays one: it goes out also while its webhook is paused, and is not retried.
        let reason = if row.test { Reason::Test } else { Reason::Replay };
        let mut due_statement = due::prepare_put(&self.conn)?;
        if has_row {
            deliveries::update(&self.conn, &mut self.staged.counted, &row, None)?;
            due::put(&mut due_statement, &row.due(reason))?;
        } else {
            let counted = &mut self.staged.counted;
            write_waiting(&mut deliveries::prepare_insert(&self.conn)?, &mut due_statement, counted, &row, reason)?;
            self.staged.rows.insert(id);
        }
        self.staged.facts.push(Fact::Replayed(row.due(reason)));
        Ok(self.act_on(Action::DeliveryReplayed, &row, id))
    }

    fn cancel(&mut self, now: Timestamp, account: u32, id: DeliveryId) -> Result<Act, ChangeError> {
        let (mut row, has_row) = self.row_or_fresh(account, id)?;
        if row.state != State::Waiting || self.shared.is_cancelling(row.webhook) {
            return Err(ChangeError::State("it has ended already, so it cannot be cancelled"));
        }
        row.end(State::Cancelled, now);
        if has_row {
            deliveries::update(&self.conn, &mut self.staged.counted, &row, None)?;
            due::delete(&self.conn, row.webhook, id)?;
            replaying::count(&self.conn, &mut self.staged.replays, &row, None)?;
        } else {
            let counted = &mut self.staged.counted;
            deliveries::insert(&mut deliveries::prepare_insert(&self.conn)?, counted, &row, None)?;
            self.staged.rows.insert(id);
        }
        self.staged.facts.push(Fact::Cancelled { delivery: id, webhook: row.webhook });
        Ok(self.act_on(Action::DeliveryCancelled, &row, id))
    }

    fn act_on(&self, action: Action, row: &DeliveryRow, id: DeliveryId) -> Act {
        let webhook = self.shared.directory.read().webhook_numbered(row.webhook).map(|webhook| webhook.id.clone());
        Act::of_delivery(action, row.account, id, webhook.as_ref())
    }

    /// The row of an account's delivery, or the one that it would have; and whether it has it.
    fn row_or_fresh(&self, account: u32, id: DeliveryId) -> Result<(DeliveryRow, bool), ChangeError> {
        let fresh = self.shared.fresh().get(id).map(|delivery| (delivery.row(id), false));
        let found = match fresh {
            Some(fresh) => Some(fresh),
            None => deliveries::get(&self.conn, id)?.map(|row| (row, true)),
        };
        found.filter(|(row, _)| row.account == account).ok_or(ChangeError::NotFound)
    }
}

fn answer_of(kept: Kept) -> Vec<u8> {
    match kept {
        Kept::Answer(answer) => answer,
        Kept::Event(..) => Vec::new(),
    }
}
