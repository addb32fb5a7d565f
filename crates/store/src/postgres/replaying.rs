//! Replays in bulk: what they cover is listed, then handed over a bounded number at a time, each with its row among what
//! waits, the replay's counts and its place in the list in one transaction.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::attempt::Reason;
use domain::audit::{Act, Action};
use domain::id::DeliveryId;
use domain::replay::{Replay, ReplayChange, Standing, State as Goes, UNFINISHED_MAX};
use domain::store::{ChangeError, Fact};
use domain::time::Timestamp;

use super::deliveries::{self, Ids};
use super::engine::Engine;
use super::fault::{Fault, Refusal};
use super::feed::Told;
use super::hot::Waiting;
use super::replayed::{self, Link};
use super::replays::{self, ReplayRow};
use crate::rows::delivery::{DeliveryRow, State};

/// How many deliveries one transaction looks at, handed over or not.
const LOOKED_AT_MAX: u32 = 2_000;

/// Whether a delivery that waits may be part of a replay: an attempt of its present schedule is one, or follows from one.
pub(super) const fn may_be_of_replay(row: &DeliveryRow, reason: Reason) -> bool {
    matches!(reason, Reason::Replay) || row.attempts_made > row.retries_made
}

impl Engine {
    /// Changes a replay; says what is to be told of it in the audit log.
    pub(super) async fn change_replay(&mut self, now: Timestamp, change: ReplayChange) -> Result<Option<Act>, Refusal> {
        match change {
            ReplayChange::Start(replay) => self.start_replay(now, &replay).await.map(Some),
            ReplayChange::HandOver { account, replay, count } => {
                self.hand_over(now, (account, replay), count).await?;
                Ok(None)
            }
            ReplayChange::Pause { account, replay, cause } => {
                let mut row = self.changing((account, replay)).await?;
                if !row.replay.running() {
                    return Err(ChangeError::State("it is not running").into());
                }
                let act = Act::of_replay(Action::ReplayPaused, &row.replay).with("cause", cause.as_str());
                row.replay.stand(now, Goes::Paused { since: now, cause });
                self.staged.replays.insert(replay, row);
                Ok(Some(act))
            }
            ReplayChange::Resume { account, replay, rate } => {
                let mut row = self.changing((account, replay)).await?;
                if !matches!(row.replay.state, Goes::Paused { .. }) {
                    return Err(ChangeError::State("it is not paused").into());
                }
                self.webhook_is_active(row.replay.webhook)?;
                row.replay.rate = rate.or(row.replay.rate);
                row.replay.go_on(now);
                let act = Act::of_replay(Action::ReplayResumed, &row.replay).with("rate", row.replay.rate);
                self.staged.replays.insert(replay, row);
                Ok(Some(act))
            }
            ReplayChange::Stop { account, replay, by } => {
                let mut row = self.changing((account, replay)).await?;
                if row.replay.ended() {
                    return Err(ChangeError::State("it is over already").into());
                }
                let act = Act::of_replay(Action::ReplayStopped, &row.replay);
                row.replay.stand(now, Goes::Stopped { at: now, by });
                self.staged.replays.insert(replay, row);
                Ok(Some(act))
            }
        }
    }

    /// The account's replay of this number, held until the end of the transaction.
    async fn changing(&self, of: (u32, u32)) -> Result<ReplayRow, Refusal> {
        let known = replays::hold(&*self.link()?, of).await?;
        known.filter(|row| row.replay.state != Goes::Preparing).ok_or(ChangeError::NotFound.into())
    }

    fn webhook_is_active(&self, webhook: Option<u32>) -> Result<(), Refusal> {
        let Some(number) = webhook else { return Ok(()) };
        match self.shared.directory.read().webhook_numbered(number) {
            None => Err(ChangeError::State("its webhook was deleted").into()),
            Some(webhook) if webhook.pause.is_some() => {
                Err(ChangeError::State("its webhook is paused: resume that first").into())
            }
            Some(_) => Ok(()),
        }
    }

    async fn start_replay(&mut self, now: Timestamp, replay: &Replay) -> Result<Act, Refusal> {
        let link = self.link()?;
        let found = replays::by_id(&link, replay.account, &replay.id).await?;
        let number = found.map_or(0, |row| row.replay.number);
        let mut row = replays::hold(&link, (replay.account, number))
            .await?
            .filter(|row| row.replay.state == Goes::Preparing)
            .ok_or(ChangeError::NotFound)?;
        if self.shared.directory.read().account_numbered(replay.account).is_none() {
            return Err(ChangeError::NotFound.into());
        }
        self.webhook_is_active(replay.webhook)?;
        let others = replays::of_account(&link, replay.account, u32::MAX, UNFINISHED_MAX, true).await?;
        if others.len() >= UNFINISHED_MAX {
            return Err(
                ChangeError::State("the account has 50 replays that are not over: stop some of them first").into()
            );
        }
        row.replay.go_on(now);
        let act = Act::of_replay(Action::ReplayStarted, &row.replay).with("rate", row.replay.rate);
        self.staged.replays.insert(row.replay.number, row);
        Ok(act)
    }

    async fn hand_over(&mut self, now: Timestamp, of: (u32, u32), count: u32) -> Result<(), Refusal> {
        let mut row = self.changing(of).await?;
        if !row.replay.running() {
            return Err(ChangeError::State("it is not running").into());
        }
        self.webhook_is_active(row.replay.webhook)?;
        let link = self.link()?;
        let (mut handed_over, mut looked_at) = (0, 0);
        while handed_over < count && looked_at < LOOKED_AT_MAX && row.replay.remaining() > 0 {
            let page = replays::page(&link, of, row.page).await?;
            let most = (count - handed_over).min(LOOKED_AT_MAX - looked_at) as usize;
            let ids: Vec<_> = page.iter().skip(row.skip as usize).take(most).copied().collect();
            looked_at += ids.len() as u32;
            row.skip += ids.len() as u32;
            handed_over += self.hand_some_over(now, &mut row.replay, &ids).await?;
            if row.skip as usize >= page.len() {
                replays::delete_page(&link, of, row.page).await?;
                row.page += 1;
                row.skip = 0;
            }
        }
        self.staged.replays.insert(of.1, row);
        Ok(())
    }

    /// Makes deliveries due; returns how many of them could be.
    async fn hand_some_over(&mut self, now: Timestamp, replay: &mut Replay, ids: &[DeliveryId]) -> Result<u32, Fault> {
        let link = self.link()?;
        let mut wanted = Ids::default();
        ids.iter().for_each(|id| wanted.push(replay.account, *id));
        let found = deliveries::hold(&link, &wanted).await?;
        let mut found: HashMap<_, _> = found.into_iter().map(|row| (row.id, row)).collect();
        let (mut handed_over, mut links) = (0, Vec::new());
        for id in ids {
            let Some(mut row) = found.remove(id) else {
                // What has no row among those that ended waits, unless it is gone with its event.
                if self.waits(replay.account, *id).await? {
                    replay.passed_over.unfinished += 1;
                } else {
                    replay.passed_over.gone += 1;
                }
                continue;
            };
            let passed = &mut replay.passed_over;
            let reason = match self.shared.directory.read().webhook_numbered(row.webhook) {
                None => Some(&mut passed.webhook_deleted),
                Some(webhook) if webhook.pause.is_some() => Some(&mut passed.webhook_paused),
                Some(_) => None,
            };
            if let Some(count) = reason {
                *count += 1;
                continue;
            }
            let due_at = match replay.rate {
                None => now,
                Some(rate) => {
                    let at = replay.next_at(now);
                    replay.paced_until = at.plus(Duration::from_secs(1) / rate.max(1));
                    at
                }
            };
            row.wait(due_at, 0);
            links.push((
                replay.account,
                Link {
                    delivery: *id,
                    replay: replay.number,
                    before: row.attempts_made,
                    standing: Standing::Waiting,
                    error: None,
                },
            ));
            replay.handed_over += 1;
            handed_over += 1;
            self.staged.moves.begun.push(row.account, *id);
            let waiting = Waiting { row, reason: Reason::Replay };
            self.staged.told.push(Told::replayed(replay.account, &waiting.due()));
            self.staged.facts.push(Fact::Replayed(waiting.due()));
            self.staged.moves.waiting.push(waiting);
        }
        replayed::put(&link, &links).await?;
        self.write_moves().await?;
        Ok(handed_over)
    }

    /// A webhook is being deleted: what replays of it alone have not handed over is passed over, also where they stand still,
    /// since they can go on no more. They end with the last of what they have handed over.
    pub(super) async fn pass_over_all_of(&mut self, account: u32, webhook: u32) -> Result<(), Fault> {
        let link = self.link()?;
        for known in replays::of_account(&link, account, u32::MAX, UNFINISHED_MAX, true).await? {
            if known.replay.webhook != Some(webhook) {
                continue;
            }
            let number = known.replay.number;
            if !self.staged.replays.contains_key(&number)
                && let Some(row) = replays::hold(&link, (account, number)).await?
            {
                self.staged.replays.insert(number, row);
            }
            if let Some(row) = self.staged.replays.get_mut(&number) {
                row.replay.passed_over.webhook_deleted += row.replay.remaining();
            }
        }
        Ok(())
    }

    /// Writes the replays that the transaction has changed, and tells of them.
    pub(super) async fn write_replays(&mut self, now: Timestamp) -> Result<(), Fault> {
        let link = self.link()?;
        for (number, mut row) in std::mem::take(&mut self.staged.replays) {
            row.replay.end_if_done(now);
            replays::put(&link, &row).await?;
            let account = row.replay.account;
            if row.replay.ended() {
                replays::delete_pages(&link, (account, number)).await?;
            }
            self.staged.told.push(Told::replay(account, number));
            self.staged.facts.push(Fact::BulkReplay(Arc::new(row.replay)));
        }
        Ok(())
    }

    /// Deletes the replays of an account that is being erased; whoever carries them out is told that they are over.
    pub(super) async fn erase_replays(&mut self, now: Timestamp, account: u32) -> Result<(), Fault> {
        let link = self.link()?;
        for row in replays::of_account(&link, account, u32::MAX, usize::MAX >> 1, true).await? {
            let mut replay = row.replay;
            replay.stand(now, Goes::Stopped { at: now, by: String::new() });
            self.staged.facts.push(Fact::BulkReplay(Arc::new(replay)));
        }
        link.run("DELETE FROM replay_pages WHERE account = $1", &[&(account as i32)]).await?;
        link.run("DELETE FROM replays WHERE account = $1", &[&(account as i32)]).await?;
        Ok(())
    }

    /// Counts where deliveries stand now in the replays that have handed them over, if one has. With each is the reason of
    /// the attempt that has ended, if one has.
    pub(super) async fn count_in_replays(&mut self, all: &[(DeliveryRow, Option<Reason>)]) -> Result<(), Fault> {
        if all.is_empty() {
            return Ok(());
        }
        let link = self.link()?;
        let mut ids = Ids::default();
        all.iter().for_each(|(row, _)| ids.push(row.account, row.id));
        let mut links = replayed::last(&link, &ids).await?;
        let mut moved = Vec::new();
        for (row, reason) in all {
            let Some(mut one) = links.remove(&row.id).filter(|one| !one.ended()) else { continue };
            // An attempt that was in flight before it was handed over says nothing about the replay.
            let earlier = one.standing == Standing::Waiting
                && row.state == State::Waiting
                && reason.is_some_and(|reason| reason != Reason::Replay);
            if earlier {
                continue;
            }
            let before = (one.standing, one.error);
            (one.standing, one.error) = match row.state {
                State::Delivered => (Standing::Delivered, None),
                State::Waiting => (Standing::Retrying, row.error),
                State::Failed => (Standing::Failed, row.error),
                State::Cancelled => (Standing::Cancelled, None),
            };
            moved.push((row.account, one, before));
        }
        // In the order of their numbers, so that no two nodes wait for each other.
        moved.sort_by_key(|(_, one, _)| one.replay);
        for (account, one, before) in &moved {
            if !self.staged.replays.contains_key(&one.replay)
                && let Some(row) = replays::hold(&link, (*account, one.replay)).await?
            {
                self.staged.replays.insert(one.replay, row);
            }
            if let Some(row) = self.staged.replays.get_mut(&one.replay) {
                row.replay.moved(*before, (one.standing, one.error));
            }
        }
        let links: Vec<_> = moved.into_iter().map(|(account, one, _)| (account, one)).collect();
        replayed::put(&link, &links).await
    }
}
