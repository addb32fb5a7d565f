//! Deliveries as the log shows them: numbers become ids and names, and what is stored becomes a status.

use std::collections::HashMap;

use domain::delivery::{Delivery, DeliveryStatus};
use domain::id::{AccountId, DeliveryId, WebhookId};
use domain::in_flight::Flight;
use domain::time::Timestamp;

use super::damaged::Damaged;
use super::delivery::{DeliveryRow, State};
use super::names::Names;
use super::stamps::Stamp;

/// A webhook as its deliveries need it.
struct Met {
    id: WebhookId,
    paused: bool,
    /// Set if it was deleted: since when what is unfinished is cancelled.
    cancelled_at: Option<Timestamp>,
}

/// How the deliveries of one account look at one instant.
pub(crate) struct View<'a> {
    names: &'a Names,
    account: Option<AccountId>,
    now: Timestamp,
    /// The number of the attempt that is being made.
    sending: HashMap<DeliveryId, u16>,
    /// The webhooks met so far.
    webhooks: HashMap<u32, Option<Met>>,
}

impl<'a> View<'a> {
    pub(crate) fn new(names: &'a Names, account: u32, now: Timestamp, sending: &[Flight]) -> Self {
        let account = names.directory.read().account_numbered(account).map(|account| account.id.clone());
        let sending = sending.iter().copied().collect();
        Self { names, account, now, sending, webhooks: HashMap::new() }
    }

    /// The delivery of a row; `None` if its account was erased meanwhile.
    pub(crate) fn show(&mut self, row: &DeliveryRow) -> Result<Option<Delivery>, Damaged> {
        let webhook = self.webhooks.entry(row.webhook).or_insert_with(|| find(self.names, row.webhook, self.now));
        let (Some(account), Some(webhook)) = (&self.account, webhook) else { return Ok(None) };
        // What is left of a deleted webhook gets its row as cancelled by and by.
        let cancelled_at = webhook.cancelled_at.filter(|_| row.state == State::Waiting);
        let waits = row.state == State::Waiting && cancelled_at.is_none();
        let planned_retry = u16::from(waits && row.retries_made > 0);
        let status = match row.state {
            State::Waiting if cancelled_at.is_some() => DeliveryStatus::Cancelled,
            State::Waiting if self.sending.get(&row.id).is_some_and(|number| *number > row.attempts_made) => {
                DeliveryStatus::Sending
            }
            State::Waiting if webhook.paused && !row.test && row.due_at.is_some_and(|at| at <= self.now) => {
                DeliveryStatus::Held
            }
            State::Waiting => DeliveryStatus::Pending,
            State::Delivered => DeliveryStatus::Delivered,
            State::Failed => DeliveryStatus::Failed,
            State::Cancelled => DeliveryStatus::Cancelled,
        };
        Ok(Some(Delivery {
            id: row.id,
            account: account.clone(),
            webhook: webhook.id.clone(),
            event_type: std::sync::Arc::clone(self.names.types().name(row.event_type)?),
            timestamp: timestamp(row),
            status,
            test: row.test,
            attempts_made: row.attempts_made,
            retries_made: row.retries_made - planned_retry,
            next_attempt_at: row.due_at.filter(|_| cancelled_at.is_none()),
            ended_at: row.ended_at.or(cancelled_at),
            last_status_code: row.code,
            last_error: row.error,
            last_duration: row.duration,
        }))
    }
}

/// The timestamp of a delivery's event.
pub(crate) fn timestamp(row: &DeliveryRow) -> Timestamp {
    Stamp { key: row.id.event, lead: row.lead }.timestamp()
}

fn find(names: &Names, number: u32, now: Timestamp) -> Option<Met> {
    let directory = names.directory.read();
    let live = directory.webhook_numbered(number);
    let live = live.map(|it| Met { id: it.id.clone(), paused: it.pause.is_some(), cancelled_at: None });
    drop(directory);
    live.or_else(|| {
        let id = names.gone().get(&number).map(|(_, id)| id.clone())?;
        let cancelled_at = names.cancelling().get(&number).map_or(now, |(_, at)| *at);
        Some(Met { id, paused: false, cancelled_at: Some(cancelled_at) })
    })
}
