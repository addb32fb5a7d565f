//! Acceptance: idempotency record, event, and a row for each delivery, in one transaction.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use domain::attempt::Reason;
use domain::directory::Directory;
use domain::event::{Event, NewEvent};
use domain::id::DeliveryId;
use domain::shard::Shard;
use domain::store::{AcceptError, Fact, StoreError};
use domain::time::Timestamp;

use super::connection::Link;
use super::engine::Engine;
use super::fault::Fault;
use super::hot::Waiting;
use super::idempotency::{Answers, Found, Kept};
use super::shared::Shared;
use super::{directory, event_types, events, hot, idempotency};
use crate::accepting;
use crate::batch::Answered;
use crate::rows::damaged::Damaged;
use crate::rows::delivery::{DeliveryRow, State};
use crate::rows::stamps::Stamp;

/// What the database says before events are accepted.
#[derive(Default)]
pub(super) struct Before {
    /// The versions of the accounts' parts of the directory, where there are such accounts.
    versions: Vec<(u32, Option<i64>)>,
    /// What the keys of those that have one were answered.
    pub(super) found: Vec<Result<Found, Damaged>>,
}

/// Accepted events, each with its type's number, and a row for each delivery.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) events: Vec<(Arc<Event>, u32)>,
    waiting: Vec<Waiting>,
}

impl Rows {
    /// Writes them.
    ///
    /// # Errors
    /// [`Fault::Taken`] where another node has given an account's event the same timestamp.
    pub(super) async fn insert(&self, link: &Link) -> Result<(), Fault> {
        tokio::try_join!(biased; events::insert(link, &self.events), hot::insert(link, &self.waiting))?;
        Ok(())
    }
}

impl Before {
    /// Asks for what has to be known before events are accepted, in their transaction.
    pub(super) async fn ask(link: &Link, shared: &Shared, now: Timestamp, new: &[NewEvent]) -> Result<Self, Fault> {
        if new.is_empty() {
            return Ok(Self::default());
        }
        let accounts: BTreeSet<i32> = new.iter().map(|new| new.account as i32).collect();
        let accounts: Vec<i32> = accounts.into_iter().collect();
        let keyed: Vec<_> = new.iter().filter_map(|new| new.idempotency.as_ref()).collect();
        let find = async {
            if keyed.is_empty() { Ok(Vec::new()) } else { idempotency::find(link, shared, &keyed, now).await }
        };
        let (versions, found) = tokio::try_join!(directory::versions_of(link, &accounts), find)?;
        let version = |account: i32| (account as u32, versions.get(&(account as u32)).copied());
        Ok(Self { versions: accounts.into_iter().map(version).collect(), found })
    }

    /// Whether memory knows all that decides where these events go.
    ///
    /// # Errors
    /// [`Fault::Stale`] where another node has changed it.
    pub(super) fn fits(&self, shared: &Shared) -> Result<(), Fault> {
        let changed = |(account, version): &(u32, Option<i64>)| *version != shared.version(*account);
        if self.versions.iter().any(changed) { Err(Fault::Stale) } else { Ok(()) }
    }
}

/// What is to be written of accepted events.
#[derive(Debug, Default)]
pub(super) struct New {
    pub(super) rows: Rows,
    pub(super) keys: Answers,
    /// The latest timestamp that was given.
    pub(super) last: Option<Timestamp>,
    /// How many of each webhook come to memory, how many in all, and how many bytes.
    in_memory: HashMap<u32, usize>,
    more: (usize, u64),
}

impl Engine {
    /// Gives new types their numbers, and makes sure that there are tables for today. Outside of a transaction.
    pub(super) async fn prepare_for(&mut self, now: Timestamp, new: &[NewEvent]) -> Result<(), Fault> {
        let unknown: BTreeSet<_> = {
            let types = self.shared.types();
            new.iter().map(|new| &new.event_type).filter(|name| types.number(name).is_none()).cloned().collect()
        };
        let link = self.link()?;
        if !unknown.is_empty() {
            let names: Vec<_> = unknown.into_iter().collect();
            match event_types::add(&link, &names).await {
                Ok(types) => *self.shared.types_mut() = types,
                Err(fault) => {
                    self.rollback().await;
                    return Err(fault);
                }
            }
        }
        if accepting::clock(now).is_err() {
            return Ok(());
        }
        // Keys only grow: the clock may have been set back, or come to a new day while a batch is made.
        let key = self.stamps.next_key().max(domain::id::EventId::first_at(now.0.max(0)).0);
        let today = super::partitions::Day::of(domain::id::EventId(key));
        if !self.partitions.has(today) || !self.partitions.has(super::partitions::Day(today.0 + 1)) {
            self.partitions.make(&link, today).await?;
        }
        Ok(())
    }

    /// What becomes of each event. `found` is what the keys of those that have one were answered. The answers come true with the commit.
    pub(super) fn accept(
        &mut self,
        now: Timestamp,
        new: &[NewEvent],
        found: Vec<Result<Found, Damaged>>,
    ) -> Result<Answered, Fault> {
        let mut found = found.into_iter();
        let shared = Arc::clone(&self.shared);
        let mut before: HashMap<[u8; 32], ([u8; 32], Stamp, usize)> = HashMap::new();
        let mut written = New::default();
        let mut answers = Vec::with_capacity(new.len());
        let directory = shared.directory.read();
        for new in new {
            if let Some(key) = &new.idempotency {
                // One of this very batch may have been first.
                let known = match before.get(&key.key) {
                    Some((request, ..)) if *request != key.request => Found::OtherRequest,
                    Some((_, stamp, deliveries)) => Found::Same(Kept::Event(*stamp, *deliveries)),
                    None => Found::New,
                };
                let kept = found.next().unwrap_or(Ok(Found::New));
                let before = match if matches!(known, Found::New) { kept } else { Ok(known) } {
                    Err(damaged) => Some(Err(StoreError::from(damaged).into())),
                    Ok(found) => accepting::before(&found),
                };
                if let Some(answer) = before {
                    answers.push(answer);
                    continue;
                }
            }
            if new.only_repeated {
                answers.push(Err(AcceptError::NotRepeated));
                continue;
            }
            let Some(targets) = accepting::targets(&directory, new) else {
                answers.push(Err(AcceptError::Gone));
                continue;
            };
            if let Err(error) = accepting::clock(now) {
                answers.push(Err(error));
                continue;
            }
            let stamp = self.take_in(now, new, targets, &directory, &mut written)?;
            let deliveries = written.rows.events.last().map_or(0, |(event, _)| event.targets.len());
            if let Some(key) = &new.idempotency {
                written.keys.event(key, now, stamp, deliveries);
                before.insert(key.key, (key.request, stamp, deliveries));
            }
            answers.push(Ok(accepting::accepted(stamp, deliveries, false)));
        }
        self.staged.rows = Arc::new(std::mem::take(&mut written.rows));
        self.staged.new = written;
        Ok(answers)
    }

    /// Gives an event its stamp, and its deliveries their rows.
    fn take_in(
        &mut self,
        now: Timestamp,
        new: &NewEvent,
        targets: Vec<u32>,
        directory: &Directory,
        written: &mut New,
    ) -> Result<Stamp, Fault> {
        let number = self.shared.types().number(&new.event_type);
        let number = number.ok_or_else(|| Fault::Conflict("an event's type has no number yet".to_owned()))?;
        let stamp = self.stamps.next(now, new.account);
        let event = accepting::event(new, stamp, targets);
        let share = (event.data.len() / event.targets.len().max(1)) as u64;
        let mut on_disk = vec![false; event.targets.len()];
        for (place, (&webhook, on_disk)) in (0u16..).zip(event.targets.iter().zip(&mut on_disk)) {
            let paused = directory.webhook_numbered(webhook).is_some_and(|webhook| webhook.pause.is_some());
            let more = written.in_memory.get(&webhook).copied().unwrap_or(0);
            // Somebody waits for a test, so it never has to wait for room.
            *on_disk = !self.shared.serves(Shard::of(event.account, webhook))
                || (!event.test && (paused || !self.memory.has_room(&self.limits, webhook, more, written.more)));
            if !*on_disk {
                *written.in_memory.entry(webhook).or_default() += 1;
                written.more = (written.more.0 + 1, written.more.1 + share);
            }
            written.rows.waiting.push(Waiting {
                row: DeliveryRow {
                    id: DeliveryId { event: event.id, place },
                    account: event.account,
                    webhook,
                    event_type: number,
                    lead: stamp.lead,
                    state: State::Waiting,
                    test: event.test,
                    attempts_made: 0,
                    retries_made: 0,
                    code: None,
                    error: None,
                    duration: None,
                    due_at: Some(now),
                    ended_at: None,
                    was: None,
                },
                reason: if event.test { Reason::Test } else { Reason::First },
            });
        }
        written.last = Some(written.last.map_or(event.timestamp, |last| last.max(event.timestamp)));
        written.rows.events.push((Arc::clone(&event), number));
        self.staged.facts.push(Fact::Accepted { event, on_disk });
        Ok(stamp)
    }
}
