//! Changes to accounts, webhooks, keys and single deliveries: each in a transaction of its own, on any node.
//!
//! Whoever changes an account's part of the directory holds its version until the commit, and has in memory what that version
//! says: so what memory says is what the database does.

use std::sync::Arc;

use domain::attempt::Reason;
use domain::audit::{Act, Action, By, of_webhook};
use domain::id::{DeliveryId, KeyId, SessionId};
use domain::key::{Account, ApiKey};
use domain::session::Session;
use domain::store::{Change, ChangeError, Changed, Fact, Keep};
use domain::time::Timestamp;
use domain::webhook::{Held, Webhook};

use super::cancelling::HeldUntil;
use super::deliveries::Ids;
use super::directory::Entry;
use super::engine::Engine;
use super::fault::{Fault, Refusal};
use super::feed::Told;
use super::hot::{self, Waiting};
use super::idempotency::{Answers, Found, Kept};
use super::replaying::may_be_of_replay;
use super::{accounts, cancelling, deliveries, directory, events, idempotency, keys, sessions, webhooks};
use crate::rows::delivery::{DeliveryRow, State};

/// A delivery that is to be changed, where it stands.
enum Stands {
    Waiting(Waiting),
    Ended(DeliveryRow),
}

impl Engine {
    /// Makes a change, in a transaction, and writes what it was and by whom into the audit log.
    pub(super) async fn change(
        &mut self,
        now: Timestamp,
        change: Change,
        by: &By,
        keep: Option<&Keep>,
    ) -> Result<Changed, Refusal> {
        let link = self.link()?;
        if let Some(keep) = keep {
            let found = idempotency::find(&link, &self.shared, &[&keep.idempotency], now).await?;
            match found.into_iter().next().unwrap_or(Ok(Found::New)).map_err(Fault::from)? {
                Found::New => {}
                Found::OtherRequest => return Err(ChangeError::OtherRequest.into()),
                Found::Same(kept) => return Ok(Changed::Repeated(answer_of(kept))),
            }
        }
        for account in self.accounts_of(&change) {
            let version = directory::hold_version(&link, account).await?;
            if version != self.shared.version(account) {
                return Err(Fault::Stale.into());
            }
        }
        // Each says what it has done: no change goes by without its entries in the audit log.
        let acts = match change {
            Change::PutAccount(account) => vec![self.put_account(account).await?],
            Change::DeleteAccount(number) => vec![self.delete_account(now, number).await?],
            Change::PutWebhook(webhook) => self.put_webhook(*webhook).await?,
            Change::Resume { webhook, held, rate } => self.resume(now, *webhook, held, rate).await?,
            Change::DeleteWebhook(number) => vec![self.delete_webhook(now, number).await?],
            Change::Failing { webhook, since } => {
                self.failing(webhook, since).await?;
                Vec::new()
            }
            Change::HeldSent { webhook, version } => {
                self.held_sent(webhook, version).await?;
                Vec::new()
            }
            Change::LeaveAlone { webhook, until } => {
                self.leave_alone(webhook, until).await?;
                Vec::new()
            }
            Change::PutKey(key) => vec![self.put_key(key).await?],
            Change::RevokeKey(id) => vec![self.revoke_key(&id).await?],
            Change::OpenSessions { sessions, link } => self.open_sessions(now, sessions, link).await?,
            Change::EndSession(id) => vec![self.end_session(&id).await?],
            Change::KeysUsed(uses) => {
                self.keys_used(&uses).await?;
                Vec::new()
            }
            Change::Replay(account, id) => vec![self.replay(now, account, id).await?],
            Change::Cancel(account, id) => vec![self.cancel(now, account, id).await?],
            Change::BulkReplay(change) => self.change_replay(now, change).await?.into_iter().collect(),
            Change::Note(act) => vec![self.note(act)?],
        };
        self.write_moves().await?;
        self.note_all(now, by, acts).await?;
        self.write_replays(now).await?;
        if let Some(Keep { idempotency, answer }) = keep {
            let nonce = self.nonce();
            let mut answers = Answers::default();
            answers.answer(&self.shared.vault, nonce, idempotency, now, answer);
            answers.write(&link).await?;
        }
        Ok(Changed::Made)
    }

    /// The accounts whose parts of the directory a change is made in, the platform's first.
    fn accounts_of(&self, change: &Change) -> Vec<u32> {
        match change {
            Change::PutAccount(_) => vec![0],
            Change::DeleteAccount(number) => vec![0, *number],
            Change::PutWebhook(webhook) | Change::Resume { webhook, .. } => vec![webhook.account],
            Change::DeleteWebhook(number)
            | Change::Failing { webhook: number, .. }
            | Change::HeldSent { webhook: number, .. }
            | Change::LeaveAlone { webhook: number, .. } => {
                let directory = self.shared.directory.read();
                directory.webhook_numbered(*number).map(|webhook| webhook.account).into_iter().collect()
            }
            Change::PutKey(key) => key.account.into_iter().collect(),
            Change::RevokeKey(_)
            | Change::OpenSessions { .. }
            | Change::EndSession(_)
            | Change::KeysUsed(_)
            | Change::Replay(..)
            | Change::Cancel(..)
            | Change::BulkReplay(_)
            | Change::Note(_) => Vec::new(),
        }
    }

    /// An act that changes nothing here.
    fn note(&self, act: Act) -> Result<Act, Refusal> {
        let known = act.account.is_none_or(|account| self.shared.is_open(account));
        if known { Ok(act) } else { Err(ChangeError::NotFound.into()) }
    }

    async fn put_account(&mut self, mut account: Account) -> Result<Act, Refusal> {
        let link = self.link()?;
        let stored = self.shared.directory.read().account(&account.id).cloned();
        match &stored {
            Some(_) if account.version == 1 => return Err(ChangeError::Exists.into()),
            Some(stored) if account.version != stored.version + 1 => return Err(ChangeError::Stale.into()),
            Some(stored) => {
                account.number = stored.number;
                accounts::put(&link, &account).await?;
            }
            None if account.version == 1 => {
                accounts::insert(&link, &mut account).await?;
                self.raise_version(account.number).await?;
            }
            None => return Err(ChangeError::NotFound.into()),
        }
        self.raise_version(0).await?;
        let act = Act::of_account(stored.as_deref(), &account);
        self.staged.directory.push(Entry::Account(account));
        Ok(act)
    }

    /// Closes an account: it is gone for everybody, and its erasure is certain.
    async fn delete_account(&mut self, now: Timestamp, number: u32) -> Result<Act, Refusal> {
        let link = self.link()?;
        let (act, gone) = {
            let directory = self.shared.directory.read();
            let act = Act::account_deleted(directory.account_numbered(number).ok_or(ChangeError::NotFound)?);
            (act, directory.webhooks_of(number).map(|webhook| webhook.number).collect::<Vec<_>>())
        };
        for sql in [
            "DELETE FROM webhooks WHERE account = $1",
            "DELETE FROM cancellings WHERE account = $1",
            "DELETE FROM keys WHERE account = $1",
            "DELETE FROM sessions WHERE account = $1",
            "DELETE FROM audit WHERE account = $1",
            "DELETE FROM directory_versions WHERE account = $1",
        ] {
            link.run(sql, &[&(number as i32)]).await?;
        }
        let webhooks: Vec<_> = gone.iter().map(|webhook| *webhook as i32).collect();
        let sql = "INSERT INTO erasures (account, webhooks) VALUES ($1, $2)";
        link.run(sql, &[&(number as i32), &webhooks]).await?;
        accounts::delete(&link, number).await?;
        self.erase_replays(now, number).await?;
        for webhook in gone {
            self.staged.facts.push(Fact::WebhookDeleted { webhook });
        }
        self.raise_version(0).await?;
        self.staged.versions.push((number, None));
        self.staged.directory.push(Entry::AccountGone(number));
        Ok(act)
    }

    async fn put_webhook(&mut self, mut webhook: Webhook) -> Result<Vec<Act>, Refusal> {
        let stored = self.shared.directory.read().webhook_numbered(webhook.number).cloned();
        let resumed = stored.as_ref().is_some_and(|stored| stored.pause.is_some()) && webhook.pause.is_none();
        webhook.held_rate = stored.as_ref().and_then(|stored| stored.held_rate).filter(|_| webhook.pause.is_none());
        // What a receiver has asked for concerns no other, and not whom a person has told us to go on with.
        let same = stored.filter(|stored| !resumed && stored.url == webhook.url);
        webhook.leave_alone_until = same.and_then(|stored| stored.leave_alone_until);
        let (acts, number) = self.write_webhook(webhook).await?;
        if resumed {
            self.tell_resumed(number, None);
        }
        Ok(acts)
    }

    async fn write_webhook(&mut self, mut webhook: Webhook) -> Result<(Vec<Act>, u32), Refusal> {
        let (stored, id_taken) = {
            let directory = self.shared.directory.read();
            if directory.account_numbered(webhook.account).is_none() {
                return Err(ChangeError::NotFound.into());
            }
            (directory.webhook_numbered(webhook.number).cloned(), directory.has_webhook(&webhook.id))
        };
        match &stored {
            None if webhook.number == 0 && webhook.version == 1 => {
                if id_taken || webhooks::is_taken(&*self.link()?, &webhook.id).await? {
                    return Err(ChangeError::Exists.into());
                }
                self.number(&mut webhook).await?;
            }
            Some(stored) if stored.account == webhook.account && stored.id == webhook.id => {
                if webhook.version != stored.version + 1 {
                    return Err(ChangeError::Stale.into());
                }
            }
            None | Some(_) => return Err(ChangeError::NotFound.into()),
        }
        let acts = of_webhook::acts(stored.as_deref(), &webhook);
        self.store_webhook(&webhook).await?;
        self.raise_version(webhook.account).await?;
        let (number, webhook) = (webhook.number, Arc::new(webhook));
        self.staged.directory.push(Entry::Webhook(Arc::clone(&webhook)));
        self.staged.facts.push(Fact::Webhook(webhook));
        Ok((acts, number))
    }

    async fn store_webhook(&mut self, webhook: &Webhook) -> Result<(), Fault> {
        let mut nonces: Vec<_> = (0..5).map(|_| self.nonce()).collect();
        let nonce = || nonces.pop().unwrap_or_default();
        webhooks::put(&*self.link()?, &self.shared.vault, nonce, webhook).await
    }

    fn tell_resumed(&mut self, webhook: u32, rate: Option<u32>) {
        self.staged.told.push(Told::resumed(webhook, rate));
        self.staged.facts.push(Fact::Resumed { webhook, rate });
    }

    async fn resume(
        &mut self,
        now: Timestamp,
        mut webhook: Webhook,
        held: Held,
        rate: Option<u32>,
    ) -> Result<Vec<Act>, Refusal> {
        webhook.held_rate = rate;
        webhook.leave_alone_until = None;
        let account = webhook.account;
        let (mut acts, number) = self.write_webhook(webhook).await?;
        of_webhook::resumed(&mut acts, held, rate);
        if held == Held::Cancel {
            // What is left of it: the writer has cancelled before, if it was much. What has come since was not meant.
            let until = self.resuming.unwrap_or_else(|| self.held_until(now));
            self.cancel_held_of(now, (account, number), until, usize::MAX >> 1).await?;
        }
        // Also after cancelling: retries that are planned for later were passed over while it was paused.
        self.tell_resumed(number, rate);
        Ok(acts)
    }

    /// What a webhook that is paused holds now.
    pub(super) fn held_until(&self, now: Timestamp) -> HeldUntil {
        let due = now.plus(std::time::Duration::from_micros(1));
        HeldUntil { due, key: self.stamps.next_key().max(domain::id::EventId::first_at(due.0.max(0)).0) }
    }

    async fn delete_webhook(&mut self, now: Timestamp, number: u32) -> Result<Act, Refusal> {
        let link = self.link()?;
        let stored = self.shared.directory.read().webhook_numbered(number).cloned();
        let webhook = stored.ok_or(ChangeError::NotFound)?;
        let account = webhook.account;
        // Of most webhooks this is all; of others the rest follows, and what others accept for it at this instant.
        self.cancel_all_of(now, (account, number)).await?;
        cancelling::put(&link, number, account, now).await?;
        self.pass_over_all_of(account, number).await?;
        webhooks::delete(&link, &webhook, true).await?;
        self.raise_version(account).await?;
        let id = webhook.id.clone();
        self.staged.directory.push(Entry::WebhookGone { number, account, id, cancelling: Some(now) });
        self.staged.facts.push(Fact::WebhookDeleted { webhook: number });
        Ok(of_webhook::act(Action::WebhookDeleted, &webhook))
    }

    async fn failing(&mut self, number: u32, since: Option<Timestamp>) -> Result<(), Refusal> {
        let stored = self.shared.directory.read().webhook_numbered(number).cloned();
        let mut webhook = Webhook::clone(&*stored.ok_or(ChangeError::NotFound)?);
        webhook.failing_since = since;
        self.store_webhook(&webhook).await?;
        self.staged.directory.push(Entry::Webhook(Arc::new(webhook)));
        Ok(())
    }

    async fn leave_alone(&mut self, number: u32, until: Timestamp) -> Result<(), Refusal> {
        let stored = self.shared.directory.read().webhook_numbered(number).cloned();
        let webhook =
            Webhook { leave_alone_until: Some(until), ..Webhook::clone(&*stored.ok_or(ChangeError::NotFound)?) };
        self.store_webhook(&webhook).await?;
        self.staged.directory.push(Entry::Webhook(Arc::new(webhook)));
        Ok(())
    }

    async fn held_sent(&mut self, number: u32, version: u64) -> Result<(), Refusal> {
        let stored = self.shared.directory.read().webhook_numbered(number).cloned();
        let mut webhook = Webhook::clone(&*stored.ok_or(ChangeError::NotFound)?);
        if webhook.version == version && webhook.held_rate.take().is_some() {
            self.store_webhook(&webhook).await?;
            self.staged.directory.push(Entry::Webhook(Arc::new(webhook)));
        }
        Ok(())
    }

    async fn put_key(&mut self, key: ApiKey) -> Result<Act, Refusal> {
        if key.account.is_some_and(|account| !self.shared.is_open(account)) {
            return Err(ChangeError::NotFound.into());
        }
        keys::insert(&*self.link()?, &key).await?;
        let act = Act::of_key(Action::KeyCreated, &key);
        self.staged.directory.push(Entry::Key(key));
        Ok(act)
    }

    async fn revoke_key(&mut self, id: &KeyId) -> Result<Act, Refusal> {
        let link = self.link()?;
        let known = keys::load(&link, Some(&[id.as_str().to_owned()])).await?.into_iter().next();
        let key = known.ok_or(ChangeError::NotFound)?;
        sessions::delete_of_key(&link, id).await?;
        if !keys::delete(&link, id).await? {
            return Err(ChangeError::NotFound.into());
        }
        self.staged.directory.push(Entry::KeyGone(id.clone()));
        Ok(Act::of_key(Action::KeyRevoked, &key))
    }

    async fn keys_used(&mut self, uses: &[(KeyId, Timestamp)]) -> Result<(), Refusal> {
        let link = self.link()?;
        for (id, at) in uses {
            let known = self.shared.directory.read().key_of_id(id).cloned();
            let Some(known) = known.filter(|key| key.last_used_at < Some(*at)) else { continue };
            let key = ApiKey { last_used_at: Some(*at), ..ApiKey::clone(&known) };
            keys::used(&link, &key).await?;
            self.staged.directory.push(Entry::Key(key));
        }
        Ok(())
    }

    /// Writes new sessions, spends the link that they are opened by, and forgets those that ended long ago.
    async fn open_sessions(
        &mut self,
        now: Timestamp,
        new: Vec<Session>,
        spent: Option<SessionId>,
    ) -> Result<Vec<Act>, Refusal> {
        let link = self.link()?;
        for gone in sessions::delete_ended(&link, now.minus(domain::session::REMEMBERED)).await? {
            self.staged.directory.push(Entry::SessionGone(gone));
        }
        if let Some(spent) = spent {
            let mut session = sessions::hold(&link, &spent).await?.ok_or(ChangeError::NotFound)?;
            if session.spent {
                return Err(ChangeError::State("the link was used already").into());
            }
            session.spent = true;
            sessions::put(&link, &session).await?;
            self.staged.directory.push(Entry::Session(session));
        }
        let mut acts = Vec::new();
        for session in new {
            if session.account.is_some_and(|account| !self.shared.is_open(account)) {
                return Err(ChangeError::NotFound.into());
            }
            if self.shared.directory.read().session(&session.hash).is_some() {
                return Err(ChangeError::Exists.into());
            }
            sessions::put(&link, &session).await?;
            acts.push(Act::of_session(Action::SessionOpened, &session));
            self.staged.directory.push(Entry::Session(session));
        }
        Ok(acts)
    }

    async fn end_session(&mut self, id: &SessionId) -> Result<Act, Refusal> {
        let link = self.link()?;
        let session = sessions::hold(&link, id).await?.ok_or(ChangeError::NotFound)?;
        sessions::delete(&link, id).await?;
        self.staged.directory.push(Entry::SessionGone(id.clone()));
        Ok(Act::of_session(Action::SessionEnded, &session))
    }

    async fn replay(&mut self, now: Timestamp, account: u32, id: DeliveryId) -> Result<Act, Refusal> {
        let stands = self.stands(account, id).await?;
        let (mut row, had_ended) = match stands {
            Stands::Waiting(waiting) => (waiting.row, false),
            Stands::Ended(row) => (row, true),
        };
        if self.shared.directory.read().webhook_numbered(row.webhook).is_none() {
            return Err(ChangeError::State("its webhook was deleted, so it cannot be sent again").into());
        }
        row.wait(now, 0);
        if had_ended {
            self.staged.moves.begun.push(account, id);
        }
        // A test stays one: it goes out also while its webhook is paused, and is not retried.
        let reason = if row.test { Reason::Test } else { Reason::Replay };
        let act = self.act_on(Action::DeliveryReplayed, &row);
        let waiting = Waiting { row, reason };
        self.staged.told.push(Told::replayed(account, &waiting.due()));
        self.staged.facts.push(Fact::Replayed(waiting.due()));
        self.staged.moves.waiting.push(waiting);
        Ok(act)
    }

    async fn cancel(&mut self, now: Timestamp, account: u32, id: DeliveryId) -> Result<Act, Refusal> {
        let ended = ChangeError::State("it has ended already, so it cannot be cancelled");
        let Stands::Waiting(Waiting { mut row, reason }) = self.stands(account, id).await? else {
            return Err(ended.into());
        };
        if self.shared.is_cancelling(row.webhook) {
            return Err(ended.into());
        }
        let replayed = may_be_of_replay(&row, reason);
        row.end(State::Cancelled, now);
        self.staged.counted.written(&row);
        if replayed {
            self.count_in_replays(&[(row.clone(), None)]).await?;
        }
        self.staged.told.push(Told::cancelled(account, row.webhook, id));
        self.staged.facts.push(Fact::Cancelled { delivery: id, webhook: row.webhook });
        let act = self.act_on(Action::DeliveryCancelled, &row);
        self.staged.moves.no_longer.push(account, row.webhook, id);
        self.staged.moves.ended.push((row, None));
        Ok(act)
    }

    fn act_on(&self, action: Action, row: &DeliveryRow) -> Act {
        let webhook = self.shared.directory.read().webhook_numbered(row.webhook).map(|webhook| webhook.id.clone());
        Act::of_delivery(action, row.account, row.id, webhook.as_ref())
    }

    /// Where an account's delivery stands: its row is held until the end of the transaction.
    async fn stands(&self, account: u32, id: DeliveryId) -> Result<Stands, Refusal> {
        let link = self.link()?;
        if !self.shared.is_open(account) {
            return Err(ChangeError::NotFound.into());
        }
        let targets = events::targets(&link, account, id.event).await?.ok_or(ChangeError::NotFound)?;
        let webhook = *targets.get(usize::from(id.place)).ok_or(ChangeError::NotFound)?;
        let mut keys = hot::Keys::default();
        keys.push(account, webhook, id);
        if let Some(waiting) = hot::hold(&link, &keys).await?.pop() {
            return Ok(Stands::Waiting(waiting));
        }
        let mut ids = Ids::default();
        ids.push(account, id);
        deliveries::hold(&link, &ids).await?.pop().map(Stands::Ended).ok_or(ChangeError::NotFound.into())
    }

    /// Whether a delivery of the account waits.
    pub(super) async fn waits(&self, account: u32, id: DeliveryId) -> Result<bool, Fault> {
        let link = self.link()?;
        let targets = events::targets(&link, account, id.event).await?.unwrap_or_default();
        let Some(&webhook) = targets.get(usize::from(id.place)) else { return Ok(false) };
        let mut keys = hot::Keys::default();
        keys.push(account, webhook, id);
        Ok(!hot::get_all(&link, &keys).await?.is_empty())
    }
}

fn answer_of(kept: Kept) -> Vec<u8> {
    match kept {
        Kept::Answer(answer) => answer,
        Kept::Event(..) => Vec::new(),
    }
}
