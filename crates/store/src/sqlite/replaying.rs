//! Replays in bulk: what they cover is listed, then handed over a bounded number at a time, each with its row of what is
//! due, the replay's counts and its place in the list in one transaction.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use domain::attempt::Reason;
use domain::audit::{Act, Action};
use domain::id::DeliveryId;
use domain::replay::{PassedOver, Replay, ReplayChange, Standing, State as Goes, UNFINISHED_MAX};
use domain::store::{ChangeError, Fact, StoreError};
use domain::time::Timestamp;
use rusqlite::Connection;

use super::deliveries::{self, DeliveryRow, State};
use super::due;
use super::engine::Engine;
use super::fault::Fault;
use super::replayed::{self, Link};
use super::replays::{self, PAGE, ReplayRow};

/// How many deliveries one transaction looks at, handed over or not.
const LOOKED_AT_MAX: u32 = 2_000;
/// How long a list that is being made may be nobody's.
const PREPARED_WITHIN: Duration = Duration::from_secs(3_600);

/// The replays that the present transaction changes, by number.
pub(super) type Changed = BTreeMap<u32, ReplayRow>;

/// A step of listing what a replay covers.
#[derive(Debug)]
pub enum Prepare {
    /// Give the replay a number.
    Begin(Box<Replay>),
    /// Write down what it covers.
    List {
        /// The replay's number.
        replay: u32,
        /// How many it covers so far.
        listed: u64,
        /// What comes next.
        ids: Vec<DeliveryId>,
    },
    /// The list is complete.
    End {
        /// The replay's number.
        replay: u32,
        /// How many it covers.
        total: u64,
        /// What else the filter means.
        left_out: PassedOver,
    },
}

impl Engine {
    /// Makes a step of listing, in a transaction; gives the replay's number.
    ///
    /// # Errors
    /// [`StoreError`], after which the transaction cannot be committed.
    pub fn prepare(&mut self, now: Timestamp, step: Prepare) -> Result<u32, StoreError> {
        Ok(self.prepare_step(now, step)?)
    }

    fn prepare_step(&mut self, now: Timestamp, step: Prepare) -> Result<u32, Fault> {
        match step {
            Prepare::Begin(mut replay) => {
                // Whoever asked for these went away before they were started.
                for left in replays::unfinished(&self.conn)? {
                    if left.replay.state == Goes::Preparing && now.since(left.replay.created_at) > PREPARED_WITHIN {
                        replays::delete(&self.conn, left.replay.number)?;
                    }
                }
                replay.state = Goes::Preparing;
                replays::insert(&self.conn, &mut replay)?;
                Ok(replay.number)
            }
            Prepare::List { replay, listed, ids } => {
                let mut statement = replays::prepare_page(&self.conn)?;
                for (ids, page) in ids.chunks(PAGE).zip(listed / PAGE as u64..) {
                    replays::put_page(&mut statement, replay, page as u32, ids)?;
                }
                Ok(replay)
            }
            Prepare::End { replay, total, left_out } => {
                if let Some(mut row) = replays::get(&self.conn, replay)? {
                    row.replay.total = total;
                    row.replay.left_out = left_out;
                    replays::put(&self.conn, &row)?;
                }
                Ok(replay)
            }
        }
    }

    /// Changes a replay; says what is to be told of it in the audit log.
    pub(super) fn change_replay(&mut self, now: Timestamp, change: ReplayChange) -> Result<Option<Act>, ChangeError> {
        match change {
            ReplayChange::Start(replay) => self.start_replay(now, &replay).map(Some),
            ReplayChange::HandOver { account, replay, count } => {
                self.hand_over(now, (account, replay), count)?;
                Ok(None)
            }
            ReplayChange::Pause { account, replay, cause } => {
                let row = self.changing((account, replay))?;
                if !row.replay.running() {
                    return Err(ChangeError::State("it is not running"));
                }
                let act = Act::of_replay(Action::ReplayPaused, &row.replay).with("cause", cause.as_str());
                row.replay.stand(now, Goes::Paused { since: now, cause });
                Ok(Some(act))
            }
            ReplayChange::Resume { account, replay, rate } => {
                let row = self.changing((account, replay))?;
                if !matches!(row.replay.state, Goes::Paused { .. }) {
                    return Err(ChangeError::State("it is not paused"));
                }
                let webhook = row.replay.webhook;
                row.replay.rate = rate.or(row.replay.rate);
                row.replay.go_on(now);
                let act = Act::of_replay(Action::ReplayResumed, &row.replay).with("rate", row.replay.rate);
                self.webhook_is_active(webhook)?;
                Ok(Some(act))
            }
            ReplayChange::Stop { account, replay, by } => {
                let row = self.changing((account, replay))?;
                if row.replay.ended() {
                    return Err(ChangeError::State("it is over already"));
                }
                let act = Act::of_replay(Action::ReplayStopped, &row.replay);
                row.replay.stand(now, Goes::Stopped { at: now, by });
                replays::delete_pages(&self.conn, replay)?;
                Ok(Some(act))
            }
        }
    }

    /// The replay of this number, to be changed; [`Self::write_replays`] follows.
    fn changing(&mut self, (account, number): (u32, u32)) -> Result<&mut ReplayRow, ChangeError> {
        let known = replays::get(&self.conn, number)?
            .filter(|row| row.replay.account == account && row.replay.state != Goes::Preparing);
        Ok(self.staged.replays.entry(number).insert_entry(known.ok_or(ChangeError::NotFound)?).into_mut())
    }

    fn webhook_is_active(&self, webhook: Option<u32>) -> Result<(), ChangeError> {
        let Some(number) = webhook else { return Ok(()) };
        match self.shared.directory.read().webhook_numbered(number) {
            None => Err(ChangeError::State("its webhook was deleted")),
            Some(webhook) if webhook.pause.is_some() => {
                Err(ChangeError::State("its webhook is paused: resume that first"))
            }
            Some(_) => Ok(()),
        }
    }

    fn start_replay(&mut self, now: Timestamp, replay: &Replay) -> Result<Act, ChangeError> {
        let mut row = replays::by_id(&self.conn, &replay.id)?
            .filter(|row| row.replay.state == Goes::Preparing && row.replay.account == replay.account)
            .ok_or(ChangeError::NotFound)?;
        if self.shared.directory.read().account_numbered(replay.account).is_none() {
            return Err(ChangeError::NotFound);
        }
        self.webhook_is_active(replay.webhook)?;
        let others = replays::of_account(&self.conn, replay.account, u32::MAX, UNFINISHED_MAX, true)?;
        if others.len() >= UNFINISHED_MAX {
            return Err(ChangeError::State("the account has 50 replays that are not over: stop some of them first"));
        }
        row.replay.go_on(now);
        let act = Act::of_replay(Action::ReplayStarted, &row.replay).with("rate", row.replay.rate);
        self.staged.replays.insert(row.replay.number, row);
        Ok(act)
    }

    fn hand_over(&mut self, now: Timestamp, (account, number): (u32, u32), count: u32) -> Result<(), ChangeError> {
        let row = self.changing((account, number))?;
        if !row.replay.running() {
            return Err(ChangeError::State("it is not running"));
        }
        let mut row = row.clone();
        self.webhook_is_active(row.replay.webhook)?;
        let (mut handed_over, mut looked_at) = (0, 0);
        while handed_over < count && looked_at < LOOKED_AT_MAX && row.replay.remaining() > 0 {
            let page = replays::page(&self.conn, number, row.page)?;
            for id in page.iter().skip(row.skip as usize) {
                if handed_over == count || looked_at == LOOKED_AT_MAX {
                    break;
                }
                looked_at += 1;
                row.skip += 1;
                if self.hand_one_over(now, &mut row.replay, *id)? {
                    handed_over += 1;
                }
            }
            if row.skip as usize >= page.len() {
                replays::delete_page(&self.conn, number, row.page)?;
                row.page += 1;
                row.skip = 0;
            }
        }
        self.staged.replays.insert(number, row);
        Ok(())
    }

    /// Makes a delivery due; returns whether it could be.
    fn hand_one_over(&mut self, now: Timestamp, replay: &mut Replay, id: DeliveryId) -> Result<bool, Fault> {
        let mut row = match deliveries::get(&self.conn, id) {
            Ok(Some(row)) => row,
            Ok(None) => {
                replay.passed_over.gone += 1;
                return Ok(false);
            }
            // A bad row stays where it is, for a person to look at, and keeps no other from being sent.
            Err(Fault::Damaged(row)) => {
                tracing::error!(delivery = %id, row, "a delivery cannot be replayed");
                replay.passed_over.gone += 1;
                return Ok(false);
            }
            Err(fault) => return Err(fault),
        };
        let passed = &mut replay.passed_over;
        let reason = match self.shared.directory.read().webhook_numbered(row.webhook) {
            None => Some(&mut passed.webhook_deleted),
            Some(_) if row.state == State::Waiting => Some(&mut passed.unfinished),
            Some(webhook) if webhook.pause.is_some() => Some(&mut passed.webhook_paused),
            Some(_) => None,
        };
        if let Some(count) = reason {
            *count += 1;
            return Ok(false);
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
        deliveries::update(&self.conn, &mut self.staged.counted, &row, None)?;
        let due = row.due(Reason::Replay);
        due::put(&mut due::prepare_put(&self.conn)?, &due)?;
        let link = Link {
            delivery: id,
            replay: replay.number,
            before: row.attempts_made,
            standing: Standing::Waiting,
            error: None,
        };
        replayed::put(&mut replayed::prepare_put(&self.conn)?, &link)?;
        replay.handed_over += 1;
        self.staged.facts.push(Fact::Replayed(due));
        Ok(true)
    }

    /// A webhook is being deleted: what replays of it alone have not handed over is passed over, also where they stand still,
    /// since they can go on no more. They end with the last of what they have handed over.
    pub(super) fn pass_over_all_of(&mut self, account: u32, webhook: u32) -> Result<(), Fault> {
        for known in replays::of_account(&self.conn, account, u32::MAX, UNFINISHED_MAX, true)? {
            if known.replay.webhook == Some(webhook) {
                let row = self.staged.replays.entry(known.replay.number).or_insert(known);
                row.replay.passed_over.webhook_deleted += row.replay.remaining();
            }
        }
        Ok(())
    }

    /// Writes the replays that the transaction has changed, and tells of them.
    pub(super) fn write_replays(&mut self, now: Timestamp) -> Result<(), Fault> {
        for (number, mut row) in std::mem::take(&mut self.staged.replays) {
            row.replay.end_if_done(now);
            replays::put(&self.conn, &row)?;
            if row.replay.ended() {
                replays::delete_pages(&self.conn, number)?;
            }
            self.staged.facts.push(Fact::BulkReplay(Arc::new(row.replay)));
        }
        Ok(())
    }

    /// Deletes the replays of an account that is being erased; whoever carries them out is told that they are over.
    pub(super) fn erase_replays(&mut self, now: Timestamp, account: u32) -> Result<(), Fault> {
        for row in replays::of_account(&self.conn, account, u32::MAX, usize::MAX >> 1, true)? {
            let mut replay = row.replay;
            replay.stand(now, Goes::Stopped { at: now, by: String::new() });
            self.staged.facts.push(Fact::BulkReplay(Arc::new(replay)));
        }
        for number in replays::numbers_of(&self.conn, account)? {
            replays::delete(&self.conn, number)?;
        }
        Ok(())
    }

    /// The replays that go on after a start; lists that were never finished are deleted.
    pub(super) fn recover_replays(&self) -> Result<Vec<Fact>, Fault> {
        let mut facts = Vec::new();
        for row in replays::unfinished(&self.conn)? {
            if row.replay.state == Goes::Preparing {
                replays::delete(&self.conn, row.replay.number)?;
            } else {
                facts.push(Fact::BulkReplay(Arc::new(row.replay)));
            }
        }
        Ok(facts)
    }
}

/// Counts where a delivery stands now in the replay that has handed it over, if one has. `reason` is that of the attempt
/// that has ended, if one has.
pub(super) fn count(
    conn: &Connection,
    changed: &mut Changed,
    row: &DeliveryRow,
    reason: Option<Reason>,
) -> Result<(), Fault> {
    let Some(mut link) = replayed::last(conn, row.id)?.filter(|link| !link.ended()) else { return Ok(()) };
    // An attempt that was in flight before it was handed over says nothing about the replay.
    let earlier = link.standing == Standing::Waiting
        && row.state == State::Waiting
        && reason.is_some_and(|reason| reason != Reason::Replay);
    if earlier {
        return Ok(());
    }
    let before = (link.standing, link.error);
    (link.standing, link.error) = match row.state {
        State::Delivered => (Standing::Delivered, None),
        State::Waiting => (Standing::Retrying, row.error),
        State::Failed => (Standing::Failed, row.error),
        State::Cancelled => (Standing::Cancelled, None),
    };
    replayed::put(&mut replayed::prepare_put(conn)?, &link)?;
    let row = match changed.entry(link.replay) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => match replays::get(conn, link.replay)? {
            Some(row) => entry.insert(row),
            None => return Ok(()),
        },
    };
    row.replay.moved(before, (link.standing, link.error));
    Ok(())
}
