//! Acceptance: idempotency record, event, and the webhooks that it goes to, in one transaction.

use std::sync::Arc;

use domain::attempt::Reason;
use domain::delivery::Due;
use domain::event::NewEvent;
use domain::id::DeliveryId;
use domain::store::{AcceptError, Accepted, Fact, StoreError};
use domain::time::Timestamp;
use rusqlite::CachedStatement;

use super::counted::Counted;
use super::deliveries::DeliveryRow;
use super::engine::{Engine, fresh_delivery};
use super::fault::Fault;
use super::fresh::FreshDelivery;
use super::{deliveries, due, event_types, events, idempotency, marks, sizes};
use crate::accepting;

/// How many of the oldest deliveries without a row get theirs in one transaction, when they are too far behind.
const SPILLED_AT_ONCE: usize = 512;
/// After how many events the marks are written, if no other reason comes before.
const MARKED_EVERY: u64 = 10_000;

/// The statements of one call.
struct Statements<'c> {
    event: events::Insert<'c>,
    delivery: deliveries::Insert<'c>,
    due: CachedStatement<'c>,
    idempotency: CachedStatement<'c>,
}

impl Engine {
    pub(super) fn accept_all(
        &mut self,
        now: Timestamp,
        new: &[NewEvent],
    ) -> Result<Vec<Result<Accepted, AcceptError>>, Fault> {
        let shared = Arc::clone(&self.shared);
        let directory = shared.directory.read();
        let Self { conn, stamps, limits, staged, turn, buffer, shrinking, .. } = self;
        let fresh = shared.fresh();
        let mut statements = Statements {
            event: events::prepare_insert(conn)?,
            delivery: deliveries::prepare_insert(conn)?,
            due: due::prepare_put(conn)?,
            idempotency: idempotency::prepare_put(conn)?,
        };
        let mut answers = Vec::with_capacity(new.len());
        for new in new {
            if let Some(key) = &new.idempotency {
                let before = match idempotency::find(conn, &shared.vault, key, now) {
                    Err(Fault::Damaged(row)) => Some(Err(Fault::Damaged(row).into())),
                    found => accepting::before(&found?),
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
            if let Some(why) = shrinking.refuses(new.account) {
                answers.push(Err(StoreError::NoSpace(why).into()));
                continue;
            }
            let known = shared.types().number(&new.event_type);
            let event_type = match known {
                Some(number) => number,
                None => event_types::add(&mut shared.types_mut(), conn, &new.event_type)?,
            };
            let stamp = stamps.next(now, new.account);
            *turn += 1;
            let event = accepting::event(new, stamp, targets);
            *staged.sizes.entry(event.account).or_default() += sizes::of_event(event.data.len(), event.targets.len());
            events::insert(&mut statements.event, &event, event_type, stamp.lead, buffer)?;
            staged.events += 1;
            let mut on_disk = vec![false; event.targets.len()];
            for (place, (&webhook, on_disk)) in (0u16..).zip(event.targets.iter().zip(&mut on_disk)) {
                let id = DeliveryId { event: event.id, place };
                let delivery = fresh_delivery(&event, place, event_type, now, *turn);
                let staged_of = staged.fresh_of.get(&webhook).copied().unwrap_or(0);
                let paused = directory.webhook_numbered(webhook).is_some_and(|webhook| webhook.pause.is_some());
                // Somebody waits for a test, so it never has to wait on disk.
                *on_disk = !event.test
                    && (paused
                        || fresh.far_behind(webhook)
                        || fresh.len_of(webhook) + staged_of >= limits.fresh_per_webhook
                        || fresh.in_memory() + staged.fresh.len() >= limits.fresh
                        || fresh.bytes() + staged.fresh_bytes >= limits.fresh_bytes);
                if *on_disk {
                    let (row, reason) = (delivery.row(id), first(&delivery));
                    let Statements { delivery, due, .. } = &mut statements;
                    write_waiting(delivery, due, &mut staged.counted, &row, reason)?;
                } else {
                    *staged.fresh_of.entry(webhook).or_default() += 1;
                    staged.fresh_bytes += u64::from(delivery.bytes);
                    staged.fresh.push((id, delivery));
                }
            }
            if let Some(key) = &new.idempotency {
                idempotency::put_event(&mut statements.idempotency, key, now, stamp, event.targets.len())?;
            }
            staged.last_given = Some(staged.last_given.map_or(event.timestamp, |last| last.max(event.timestamp)));
            answers.push(Ok(accepting::accepted(stamp, event.targets.len(), false)));
            staged.facts.push(Fact::Accepted { event, on_disk });
        }
        Ok(answers)
    }

    /// Writes the marks, when what was given goes beyond what they reserve; and keeps a start's work bounded.
    pub(super) fn write_marks(&mut self) -> Result<(), Fault> {
        let Some(given) = self.staged.last_given else { return Ok(()) };
        let oldest = self.shared.fresh().first().map(|(id, delivery)| (id, delivery.turn));
        if oldest.is_some_and(|(_, turn)| turn + self.limits.fresh_behind < self.turn) {
            self.spill_oldest()?;
        }
        let reserved = self.stamps.reserve(given);
        if reserved.is_none() && self.turn < self.marked_turn + MARKED_EVERY.min(self.limits.fresh_behind) {
            return Ok(());
        }
        if let Some(reserved) = reserved {
            marks::set_number(&self.conn, marks::RESERVED, reserved)?;
        }
        let staged = self.staged.fresh.first().map(|(id, _)| id.event.0);
        let below = oldest.map(|(id, _)| id.event.0).or(staged).unwrap_or_else(|| self.stamps.next_key());
        marks::set_number(&self.conn, marks::ROWS_BELOW, below as i64)?;
        self.marked_turn = self.turn;
        Ok(())
    }

    /// Writes rows for the oldest deliveries that have none. The scheduler need not know: it sends them from memory, and
    /// settling finds the rows. Until then their webhooks get nothing more into memory, so that a backlog that grows for
    /// days fills the disk only.
    fn spill_oldest(&mut self) -> Result<(), Fault> {
        let shared = Arc::clone(&self.shared);
        let fresh = shared.fresh();
        let oldest = fresh.iter().filter(|(id, _)| !self.staged.rows.contains(id)).take(SPILLED_AT_ONCE);
        let oldest: Vec<_> = oldest.map(|(id, delivery)| (id, delivery.clone())).collect();
        drop(fresh);
        self.spill(&oldest)?;
        self.staged.kept.extend(oldest);
        Ok(())
    }

    /// Writes rows for deliveries that have none.
    pub(super) fn spill(&mut self, deliveries: &[(DeliveryId, FreshDelivery)]) -> Result<(), Fault> {
        let mut delivery_statement = deliveries::prepare_insert(&self.conn)?;
        let mut due_statement = due::prepare_put(&self.conn)?;
        for (id, delivery) in deliveries {
            let counted = &mut self.staged.counted;
            let (row, reason) = (delivery.row(*id), first(delivery));
            write_waiting(&mut delivery_statement, &mut due_statement, counted, &row, reason)?;
            self.staged.rows.insert(*id);
        }
        Ok(())
    }
}

/// Writes the row of a delivery that waits, and what it waits for.
pub(super) fn write_waiting(
    delivery_statement: &mut deliveries::Insert<'_>,
    due_statement: &mut CachedStatement<'_>,
    counted: &mut Counted,
    row: &DeliveryRow,
    reason: Reason,
) -> Result<(), Fault> {
    if deliveries::insert(delivery_statement, counted, row, None)? {
        let due: Due = row.due(reason);
        due::put(due_statement, &due)?;
    }
    Ok(())
}

/// Why a delivery without a row is tried.
pub(super) const fn first(delivery: &FreshDelivery) -> Reason {
    if delivery.test { Reason::Test } else { Reason::First }
}
