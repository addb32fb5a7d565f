//! Settling: the end of an attempt and the state of its delivery, in one transaction.
//!
//! What ends is taken out of `hot` by the statement that reads it, and what is tried again is held there: whoever cancels or
//! replays at the same instant comes before or after the whole of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use domain::attempt::Reason;
use domain::delivery::{Next, Settlement};
use domain::id::DeliveryId;
use domain::shard::{Epoch, Shard};
use domain::store::Fact;
use domain::time::Timestamp;

use super::connection::Link;
use super::deliveries::{self, Ids};
use super::engine::Engine;
use super::fault::Fault;
use super::hot::{self, Waiting};
use super::leases;
use super::replaying::may_be_of_replay;
use super::shared::Shared;
use crate::rows::attempt;
use crate::rows::delivery::{DeliveryRow, State};

/// Where a delivery's row was found.
enum Stood {
    /// Among what waits, and was taken from there.
    Taken(Waiting),
    /// Among what waits, where it is held.
    Held(Waiting),
    /// Among what has ended.
    Ended(DeliveryRow),
}

/// What the database says before ends of attempts are recorded.
#[derive(Default)]
pub(super) struct Before {
    /// The epochs of their shards; `None` where one process owns everything.
    epochs: Option<HashMap<Shard, Epoch>>,
    /// Where the deliveries of the first round stand, unless some of them may be recorded already.
    stood: Option<HashMap<DeliveryId, Stood>>,
}

impl Before {
    /// Asks for what has to be known before ends of attempts are recorded, in their transaction: the fence first.
    pub(super) async fn ask(
        link: &Link,
        shared: &Shared,
        ends: &[Arc<Settlement>],
        again: bool,
    ) -> Result<Self, Fault> {
        if ends.is_empty() {
            return Ok(Self::default());
        }
        if again {
            return Ok(Self { epochs: fence(link, shared, ends).await?, stood: None });
        }
        let (first, _) = one_of_each(ends.iter().collect());
        let (epochs, stood) = tokio::try_join!(fence(link, shared, ends), find(link, shared, &first))?;
        Ok(Self { epochs, stood: Some(stood) })
    }
}

impl Engine {
    /// Records ends of attempts; with `again`, they may have been recorded by a transaction of which nobody knows whether it
    /// was committed. Those of another epoch change nothing, and are counted.
    pub(super) async fn settle(
        &mut self,
        now: Timestamp,
        settlements: &[Arc<Settlement>],
        again: bool,
        before: Before,
    ) -> Result<(), Fault> {
        let link = self.link()?;
        let Before { mut epochs, mut stood } = before;
        let mut allowed = self.allowed(settlements, epochs.as_ref());
        if allowed.len() < settlements.len() && stood.take().is_some() {
            // What another node owns was taken with the rest: all of it is let go of, and what is accepted is written anew.
            link.batch("ROLLBACK; BEGIN").await?;
            self.staged.followed = None;
            self.staged.inserting = Mutex::default();
            epochs = fence(&link, &self.shared, &allowed).await?;
            allowed = self.allowed(&allowed, epochs.as_ref());
        }
        self.shared.refuse(settlements.len() - allowed.len());
        let known = if again { self.recorded(&allowed).await? } else { HashSet::new() };
        let mut rest: Vec<_> = allowed.iter().filter(|settlement| !known.contains(&settlement.delivery)).collect();
        while !rest.is_empty() {
            let (round, later) = one_of_each(rest);
            let rows = match stood.take() {
                Some(rows) => rows,
                None => find(&link, &self.shared, &round).await?,
            };
            self.settle_round(now, &round, rows).await?;
            if !later.is_empty() {
                self.write_moves().await?;
            }
            rest = later;
        }
        self.write_replays(now).await?;
        self.staged.facts.extend(allowed.into_iter().map(Fact::Settled));
        Ok(())
    }

    /// The settlements that this node may record, by the epochs of their shards.
    fn allowed(&self, settlements: &[Arc<Settlement>], epochs: Option<&HashMap<Shard, Epoch>>) -> Vec<Arc<Settlement>> {
        let held = |settlement: &Settlement| {
            // Of an account that was erased there is nothing to be protected.
            let (Some(epochs), Some(shard)) = (epochs, shard_of(&self.shared, settlement)) else { return true };
            epochs.get(&shard) == Some(&settlement.epoch)
        };
        settlements.iter().filter(|settlement| held(settlement)).cloned().collect()
    }

    async fn settle_round(
        &mut self,
        now: Timestamp,
        settlements: &[&Arc<Settlement>],
        mut rows: HashMap<DeliveryId, Stood>,
    ) -> Result<(), Fault> {
        let mut replayed = Vec::new();
        for settlement in settlements {
            // An account may have been erased meanwhile: then there is nothing to record it with.
            let Some(stood) = rows.remove(&settlement.delivery) else { continue };
            self.settle_one(now, settlement, stood, &mut replayed)?;
        }
        self.count_in_replays(&replayed).await
    }

    fn settle_one(
        &mut self,
        now: Timestamp,
        settlement: &Settlement,
        stood: Stood,
        replayed: &mut Vec<(DeliveryRow, Option<Reason>)>,
    ) -> Result<(), Fault> {
        let (mut row, planned, taken, was_waiting) = match stood {
            Stood::Taken(waiting) => (waiting.row, Some(waiting.reason), true, true),
            Stood::Held(waiting) => (waiting.row, Some(waiting.reason), false, true),
            Stood::Ended(row) => (row, None, false, false),
        };
        let counts = planned.is_none_or(|reason| may_be_of_replay(&row, reason));
        let mut record = None;
        if let Some(made) = &settlement.attempt {
            // A replay may have been asked for while this attempt was being recorded: numbers only grow.
            let number = made.number.max(row.attempts_made.saturating_add(1));
            let written = attempt::encode(row.id, made, number, Vec::new())?;
            row.count(made, number);
            record = Some((number, written));
        }
        let mut reason = None;
        match row.state {
            // A person's word, or a 2xx, stands, whatever was in flight meanwhile.
            State::Cancelled | State::Delivered => {}
            // Its webhook was deleted: it is as good as cancelled.
            State::Waiting | State::Failed if self.shared.directory.read().webhook_numbered(row.webhook).is_none() => {
                row.end(State::Cancelled, now);
            }
            State::Waiting | State::Failed => {
                if planned.is_some_and(|planned| replay_asked(&row, planned, settlement)) {
                    reason = planned;
                } else {
                    row.apply(settlement, now);
                    if let Next::Retry { reason: next, .. } = settlement.next {
                        reason = Some(next);
                    }
                }
            }
        }
        if let Some(made) = &settlement.attempt {
            self.staged.counted.attempted(&row, made);
        }
        self.staged.counted.written(&row);
        self.staged.heads.push(&row);
        if counts {
            replayed.push((row.clone(), settlement.attempt.as_ref().map(|made| made.reason)));
        }
        let moves = &mut self.staged.moves;
        let mut inline = None;
        match record {
            Some((1, written)) if row.state != State::Waiting => inline = Some(written),
            Some((number, written)) => moves.attempts.push(row.account, row.id, number, written),
            None => {}
        }
        match (was_waiting, reason) {
            (true, Some(reason)) => moves.waiting.push(Waiting { row, reason }),
            (true, None) => {
                if !taken {
                    moves.no_longer.push(row.account, row.webhook, row.id);
                }
                moves.ended.push((row, inline));
            }
            (false, Some(reason)) => {
                moves.begun.push(row.account, row.id);
                moves.waiting.push(Waiting { row, reason });
            }
            (false, None) => moves.ended.push((row, inline)),
        }
        Ok(())
    }

    /// The deliveries of which the attempt is recorded already, just as it is here.
    async fn recorded(&self, settlements: &[Arc<Settlement>]) -> Result<HashSet<DeliveryId>, Fault> {
        let (mut ids, mut numbers) = (Ids::default(), Vec::new());
        let mut made = HashMap::new();
        for settlement in settlements {
            if let (Some(attempt), Some(account)) = (&settlement.attempt, self.shared.account_of(settlement.webhook)) {
                ids.push(account, settlement.delivery);
                numbers.push(i32::from(attempt.number));
                made.insert(settlement.delivery, attempt);
            }
        }
        let rows = self
            .link()?
            .rows(
                "SELECT k.event, k.place, k.number, a.record
                 FROM unnest($1::integer[], $2::bigint[], $3::smallint[], $4::integer[]) AS k (account, event, place, number)
                 JOIN attempts AS a ON a.account = k.account AND a.event = k.event AND a.place = k.place
                      AND a.number = k.number
                 UNION ALL
                 SELECT k.event, k.place, k.number, d.record
                 FROM unnest($1::integer[], $2::bigint[], $3::smallint[], $4::integer[]) AS k (account, event, place, number)
                 JOIN deliveries AS d ON d.account = k.account AND d.event = k.event AND d.place = k.place
                 WHERE k.number = 1 AND d.record IS NOT NULL",
                &[&ids.accounts, &ids.events, &ids.places, &numbers],
            )
            .await?;
        let mut recorded = HashSet::new();
        for row in rows {
            let id = DeliveryId {
                event: domain::id::EventId(row.get::<_, i64>(0) as u64),
                place: row.get::<_, i16>(1) as u16,
            };
            let stored = attempt::decode(id, row.get::<_, i32>(2) as u16, row.get(3))?;
            if made.get(&id).is_some_and(|made| **made == stored) {
                recorded.insert(id);
            }
        }
        Ok(recorded)
    }
}

/// The epochs of the shards of these deliveries, which stay as they are until the end of the transaction.
async fn fence(
    link: &Link,
    shared: &Shared,
    settlements: &[Arc<Settlement>],
) -> Result<Option<HashMap<Shard, Epoch>>, Fault> {
    if !shared.shares() {
        return Ok(None);
    }
    let mut shards: Vec<Shard> = settlements.iter().filter_map(|settlement| shard_of(shared, settlement)).collect();
    shards.sort_unstable();
    shards.dedup();
    leases::fence(link, &shards).await.map(Some)
}

fn shard_of(shared: &Shared, settlement: &Settlement) -> Option<Shard> {
    shared.account_of(settlement.webhook).map(|account| Shard::of(account, settlement.webhook))
}

/// Where these deliveries stand: each row is held until the end of the transaction.
async fn find(
    link: &Link,
    shared: &Shared,
    settlements: &[&Arc<Settlement>],
) -> Result<HashMap<DeliveryId, Stood>, Fault> {
    let (mut ending, mut going_on) = (hot::Keys::default(), hot::Keys::default());
    let mut accounts = HashMap::new();
    for settlement in settlements {
        let Some(account) = shared.account_of(settlement.webhook) else { continue };
        accounts.insert(settlement.delivery, account);
        let keys = if matches!(settlement.next, Next::Retry { .. }) { &mut going_on } else { &mut ending };
        keys.push(account, settlement.webhook, settlement.delivery);
    }
    let (taken, held) = tokio::try_join!(hot::take(link, &ending), hot::hold(link, &going_on))?;
    let taken = taken.into_iter().map(|waiting| (waiting.row.id, Stood::Taken(waiting)));
    let held = held.into_iter().map(|waiting| (waiting.row.id, Stood::Held(waiting)));
    let mut found: HashMap<_, _> = taken.chain(held).collect();
    let mut missing = Ids::default();
    for (delivery, account) in accounts.iter().filter(|(delivery, _)| !found.contains_key(*delivery)) {
        missing.push(*account, *delivery);
    }
    let ended = deliveries::hold(link, &missing).await?;
    found.extend(ended.into_iter().map(|row| (row.id, Stood::Ended(row))));
    Ok(found)
}

/// Of each delivery the first, and what is left: a delivery comes once in a round.
fn one_of_each(all: Vec<&Arc<Settlement>>) -> (Vec<&Arc<Settlement>>, Vec<&Arc<Settlement>>) {
    let mut met = HashSet::new();
    all.into_iter().partition(|settlement| met.insert(settlement.delivery))
}

/// Whether a replay was asked for after this attempt had started: then it stands, whatever the attempt came to.
fn replay_asked(row: &DeliveryRow, planned: Reason, settlement: &Settlement) -> bool {
    planned == Reason::Replay && !settlement.may_come_of_replay() && row.state == State::Waiting
}
