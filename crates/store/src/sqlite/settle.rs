//! Settling: the end of an attempt and the state of its delivery, in one transaction.

use std::sync::Arc;

use domain::attempt::Reason;
use domain::delivery::{Due, Next, Settlement};
use domain::store::Fact;
use domain::time::Timestamp;
use rusqlite::CachedStatement;

use super::deliveries::{DeliveryRow, State};
use super::engine::{Engine, Staged};
use super::fault::Fault;
use super::fresh::FreshDelivery;
use super::replaying;
use super::{attempts, deliveries, due};

impl Engine {
    pub(super) fn settle_all(&mut self, now: Timestamp, settlements: &[Arc<Settlement>]) -> Result<(), Fault> {
        let shared = Arc::clone(&self.shared);
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut staged = std::mem::take(&mut self.staged);
        let mut insert = deliveries::prepare_insert(&self.conn)?;
        let mut put_due = due::prepare_put(&self.conn)?;
        let fresh = shared.fresh();
        for settlement in settlements {
            let id = settlement.delivery;
            let mut written = false;
            if let Some(delivery) = fresh.get(id).filter(|_| !staged.rows.contains(&id)) {
                let mut row = first_row(now, settlement, delivery, &mut buffer)?;
                let cancelled = shared.is_cancelling(row.webhook);
                if cancelled {
                    row.end(State::Cancelled, now);
                }
                let record = settlement.attempt.is_some().then_some(&buffer[..]);
                written = deliveries::insert(&mut insert, &mut staged.counted, &row, record)?;
                if written {
                    *staged.sizes.entry(row.account).or_default() += record.map_or(0, <[u8]>::len) as i64;
                    if let Some(attempt) = &settlement.attempt {
                        staged.counted.attempted(&row, attempt);
                    }
                    if let Next::Retry { reason, .. } = settlement.next
                        && !cancelled
                    {
                        due::put(&mut put_due, &row.due(reason))?;
                    }
                }
            }
            if written {
                staged.rows.insert(id);
            } else if let Err(fault) = self.settle_row(now, settlement, &mut put_due, &mut staged) {
                match fault {
                    // One bad row must not keep the others from being recorded, now and after every restart.
                    Fault::Damaged(row) => {
                        tracing::error!(delivery = %id, row, "an attempt's end could not be recorded")
                    }
                    Fault::Sqlite(_) | Fault::Corrupt(_) | Fault::Full => return Err(fault),
                }
            }
            staged.facts.push(Fact::Settled(Arc::clone(settlement)));
        }
        drop((insert, put_due));
        self.staged = staged;
        self.buffer = buffer;
        self.write_replays(now)
    }

    /// The end of an attempt of a delivery that has a row. An account may have been erased meanwhile: then there is none.
    fn settle_row(
        &self,
        now: Timestamp,
        settlement: &Settlement,
        put_due: &mut CachedStatement<'_>,
        staged: &mut Staged,
    ) -> Result<(), Fault> {
        let id = settlement.delivery;
        let Some(mut row) = deliveries::get(&self.conn, id)? else { return Ok(()) };
        let mut record = None;
        if let Some(attempt) = &settlement.attempt {
            // A replay may have been asked for while this attempt was being recorded: numbers only grow.
            let number = attempt.number.max(row.attempts_made.saturating_add(1));
            let written = attempts::encode(id, attempt, number, Vec::new())?;
            *staged.sizes.entry(row.account).or_default() += written.len() as i64;
            if number == 1 {
                record = Some(written);
            } else {
                attempts::insert(&self.conn, id, number, &written)?;
            }
            row.count(attempt, number);
        }
        match row.state {
            // A person's word, or a 2xx, stands, whatever was in flight meanwhile.
            State::Cancelled | State::Delivered => {}
            // Its webhook was deleted: it is as good as cancelled.
            State::Waiting | State::Failed if self.shared.is_cancelling(row.webhook) => {
                row.end(State::Cancelled, now);
                due::delete(&self.conn, row.webhook, id)?;
            }
            State::Waiting | State::Failed => {
                if let Some(mut asked) = self.replay_asked(&row, settlement)? {
                    asked.attempts_made = row.attempts_made;
                    due::put(put_due, &asked)?;
                } else {
                    row.apply(settlement, now);
                    if let Next::Retry { reason, .. } = settlement.next {
                        due::put(put_due, &row.due(reason))?;
                    } else {
                        due::delete(&self.conn, row.webhook, id)?;
                    }
                }
            }
        }
        deliveries::update(&self.conn, &mut staged.counted, &row, record.as_deref())?;
        if let Some(attempt) = &settlement.attempt {
            staged.counted.attempted(&row, attempt);
        }
        let reason = settlement.attempt.as_ref().map(|attempt| attempt.reason);
        replaying::count(&self.conn, &mut staged.replays, &row, reason)
    }

    /// The replay that was asked for after this attempt had started: it stands, whatever the attempt came to.
    fn replay_asked(&self, row: &DeliveryRow, settlement: &Settlement) -> Result<Option<Due>, Fault> {
        // A replay starts the schedule afresh, so most rows need no second look.
        if settlement.may_come_of_replay() || row.state != State::Waiting || row.retries_made > 0 {
            return Ok(None);
        }
        Ok(due::get(&self.conn, row.webhook, row.id)?.filter(|due| due.reason == Reason::Replay))
    }
}

/// The row that a delivery gets by the end of its first attempt, whose record `buffer` holds then.
fn first_row(
    now: Timestamp,
    settlement: &Settlement,
    delivery: &FreshDelivery,
    buffer: &mut Vec<u8>,
) -> Result<DeliveryRow, Fault> {
    let id = settlement.delivery;
    let mut row = delivery.row(id);
    buffer.clear();
    if let Some(attempt) = &settlement.attempt {
        *buffer = attempts::encode(id, attempt, 1, std::mem::take(buffer))?;
        row.count(attempt, 1);
    }
    row.apply(settlement, now);
    Ok(row)
}
