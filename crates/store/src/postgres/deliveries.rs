//! Rows of deliveries that have ended, and how a delivery moves between them and what waits.

use std::time::Duration;

use domain::id::{DeliveryId, EventId};
use domain::time::Timestamp;
use tokio_postgres::Row;

use super::connection::Link;
use super::fault::Fault;
use super::hot::{self, Waiting};
use crate::rows::delivery::{DeliveryRow, State, error_code, error_number};

/// What [`read`] reads, in its order.
macro_rules! columns {
    () => {
        "d.account, d.event, d.place, d.webhook, d.type, d.lead, d.state, d.test, d.attempts_made, d.retries_made, \
         d.code, d.error, d.duration, d.ended_at"
    };
}
pub(super) use columns;

/// A row of [`columns`].
pub(super) fn read(row: &Row) -> Result<DeliveryRow, Fault> {
    let id = DeliveryId { event: EventId(row.get::<_, i64>(1) as u64), place: row.get::<_, i16>(2) as u16 };
    let damaged = || Fault::Damaged(format!("delivery {id}"));
    let state = State::read(row.get::<_, i16>(6).into()).ok_or_else(damaged)?;
    Ok(DeliveryRow {
        id,
        account: row.get::<_, i32>(0) as u32,
        webhook: row.get::<_, i32>(3) as u32,
        event_type: row.get::<_, i32>(4) as u32,
        lead: row.get::<_, i32>(5).into(),
        state,
        test: row.get(7),
        attempts_made: row.get::<_, i32>(8) as u16,
        retries_made: row.get::<_, i32>(9) as u16,
        code: row.get::<_, Option<i32>>(10).map(|code| code as u16),
        error: row.get::<_, Option<i16>>(11).map(|number| error_code(number.into()).ok_or_else(damaged)).transpose()?,
        duration: row.get::<_, Option<i64>>(12).map(|micros| Duration::from_micros(micros as u64)),
        due_at: None,
        ended_at: Some(Timestamp(row.get(13))),
        was: Some(state),
    })
}

/// Ids of an account's deliveries, as arrays.
#[derive(Debug, Default)]
pub(super) struct Ids {
    pub(super) accounts: Vec<i32>,
    pub(super) events: Vec<i64>,
    pub(super) places: Vec<i16>,
}

impl Ids {
    pub(super) fn push(&mut self, account: u32, id: DeliveryId) {
        self.accounts.push(account as i32);
        self.events.push(id.event.0 as i64);
        self.places.push(id.place as i16);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// The rows of these ids, held until the end of the transaction.
pub(super) async fn hold(link: &Link, ids: &Ids) -> Result<Vec<DeliveryRow>, Fault> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM unnest($1::integer[], $2::bigint[], $3::smallint[]) AS k (account, event, place)
         JOIN deliveries AS d ON d.account = k.account AND d.event = k.event AND d.place = k.place
         FOR UPDATE OF d"
    );
    link.rows(sql, &[&ids.accounts, &ids.events, &ids.places]).await?.iter().map(read).collect()
}

/// The rows of these ids.
pub(super) async fn get_all(link: &Link, ids: &Ids) -> Result<Vec<DeliveryRow>, Fault> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM unnest($1::integer[], $2::bigint[], $3::smallint[]) AS k (account, event, place)
         JOIN deliveries AS d ON d.account = k.account AND d.event = k.event AND d.place = k.place"
    );
    link.rows(sql, &[&ids.accounts, &ids.events, &ids.places]).await?.iter().map(read).collect()
}

/// What a transaction changes of deliveries: written together.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// No longer waiting; those that [`hot::take`] has taken need no second time.
    pub(super) no_longer: hot::Keys,
    /// Waiting, in place of what waited.
    pub(super) waiting: Vec<Waiting>,
    /// Ended, in place of an earlier end, each with its first attempt's record if it has had no other.
    pub(super) ended: Vec<(DeliveryRow, Option<Vec<u8>>)>,
    /// No longer ended.
    pub(super) begun: Ids,
    /// Attempts beside their delivery's row.
    pub(super) attempts: Attempts,
}

/// Attempts, as arrays.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    ids: Ids,
    numbers: Vec<i32>,
    records: Vec<Vec<u8>>,
}

impl Attempts {
    pub(super) fn push(&mut self, account: u32, id: DeliveryId, number: u16, record: Vec<u8>) {
        self.ids.push(account, id);
        self.numbers.push(number.into());
        self.records.push(record);
    }
}

impl Moves {
    /// Writes everything. A delivery is in one of the lists for what waits, and in one for what has ended, at most.
    pub(super) async fn write(&self, link: &Link) -> Result<(), Fault> {
        // What has waited until now has no other row: to look for one would cost as much as to write it.
        let (first, again): (Vec<_>, Vec<_>) = self.ended.iter().partition(|(row, _)| row.was == Some(State::Waiting));
        tokio::try_join!(
            biased;
            hot::take(link, &self.no_longer),
            hot::put(link, &self.waiting),
            put_ended(link, &first, INSERT_ENDED),
            put_ended(link, &again, PUT_ENDED),
            take_begun(link, &self.begun),
            put_attempts(link, &self.attempts),
        )?;
        Ok(())
    }
}

macro_rules! insert_ended {
    ($or:literal) => {
        concat!(
            "INSERT INTO deliveries (account, event, place, webhook, type, lead, state, test, attempts_made, retries_made,
                                     code, error, duration, ended_at, record)
             SELECT * FROM unnest($1::integer[], $2::bigint[], $3::smallint[], $4::integer[], $5::integer[], $6::integer[],
                                  $7::smallint[], $8::boolean[], $9::integer[], $10::integer[], $11::integer[],
                                  $12::smallint[], $13::bigint[], $14::bigint[], $15::bytea[])",
            $or
        )
    };
}
const INSERT_ENDED: &str = insert_ended!("");
const PUT_ENDED: &str = insert_ended!(
    " ON CONFLICT (account, event, place) DO UPDATE
      SET state = excluded.state, attempts_made = excluded.attempts_made, retries_made = excluded.retries_made,
          code = excluded.code, error = excluded.error, duration = excluded.duration, ended_at = excluded.ended_at,
          record = coalesce(deliveries.record, excluded.record)"
);

/// Writes rows of what has ended.
async fn put_ended(link: &Link, all: &[&(DeliveryRow, Option<Vec<u8>>)], sql: &'static str) -> Result<(), Fault> {
    if all.is_empty() {
        return Ok(());
    }
    let mut ids = Ids::default();
    let (mut webhooks, mut types, mut leads, mut states) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut tests, mut attempts, mut retries, mut codes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut errors, mut durations, mut ends, mut records) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (row, record) in all {
        ids.push(row.account, row.id);
        webhooks.push(row.webhook as i32);
        types.push(row.event_type as i32);
        leads.push(row.lead as i32);
        states.push(row.state as i16);
        tests.push(row.test);
        attempts.push(i32::from(row.attempts_made));
        retries.push(i32::from(row.retries_made));
        codes.push(row.code.map(i32::from));
        errors.push(row.error.map(|error| error_number(error) as i16));
        durations.push(row.duration_micros());
        ends.push(row.ended_at.unwrap_or_default().0);
        records.push(record.as_deref());
    }
    link.run(
        sql,
        &[
            &ids.accounts,
            &ids.events,
            &ids.places,
            &webhooks,
            &types,
            &leads,
            &states,
            &tests,
            &attempts,
            &retries,
            &codes,
            &errors,
            &durations,
            &ends,
            &records,
        ],
    )
    .await?;
    Ok(())
}

/// What has ended waits again: its row goes, and the record in it gets a row of its own.
async fn take_begun(link: &Link, ids: &Ids) -> Result<(), Fault> {
    if ids.is_empty() {
        return Ok(());
    }
    link.run(
        "WITH gone AS (
             DELETE FROM deliveries AS d USING unnest($1::integer[], $2::bigint[], $3::smallint[]) AS k (account, event, place)
             WHERE d.account = k.account AND d.event = k.event AND d.place = k.place
             RETURNING d.account, d.event, d.place, d.record
         )
         INSERT INTO attempts (account, event, place, number, record)
         SELECT account, event, place, 1, record FROM gone WHERE record IS NOT NULL",
        &[&ids.accounts, &ids.events, &ids.places],
    )
    .await?;
    Ok(())
}

async fn put_attempts(link: &Link, attempts: &Attempts) -> Result<(), Fault> {
    if attempts.ids.is_empty() {
        return Ok(());
    }
    link.run(
        "INSERT INTO attempts (account, event, place, number, record)
         SELECT * FROM unnest($1::integer[], $2::bigint[], $3::smallint[], $4::integer[], $5::bytea[])",
        &[&attempts.ids.accounts, &attempts.ids.events, &attempts.ids.places, &attempts.numbers, &attempts.records],
    )
    .await?;
    Ok(())
}
