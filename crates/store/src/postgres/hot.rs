//! Rows of what has not ended: where each delivery stands, and when it is due.

use std::time::Duration;

use domain::attempt::Reason;
use domain::delivery::Due;
use domain::id::{DeliveryId, EventId};
use domain::shard::Shard;
use domain::time::Timestamp;
use tokio_postgres::Row;

use super::connection::Link;
use super::fault::Fault;
use crate::rows::delivery::{DeliveryRow, State, error_code, error_number, reason, reason_number};

/// A delivery that waits, and why it is tried next.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) row: DeliveryRow,
    pub(super) reason: Reason,
}

impl Waiting {
    /// The work that it means.
    pub(super) fn due(&self) -> Due {
        self.row.due(self.reason)
    }
}

/// The shard of a delivery's webhook, as its row has it.
pub(super) const fn shard(account: u32, webhook: u32) -> i16 {
    Shard::of(account, webhook).0 as i16
}

/// What [`read`] reads, in its order.
macro_rules! columns {
    () => {
        "hot.webhook, hot.event, hot.place, hot.account, hot.type, hot.lead, hot.due_at, hot.attempts_made, \
         hot.retries_made, hot.reason, hot.test, hot.code, hot.error, hot.duration"
    };
}
pub(super) use columns;

/// A row of [`columns`].
pub(super) fn read(row: &Row) -> Result<Waiting, Fault> {
    let id = DeliveryId { event: EventId(row.get::<_, i64>(1) as u64), place: row.get::<_, i16>(2) as u16 };
    let damaged = || Fault::Damaged(format!("waiting delivery {id}"));
    let small = |place: usize| row.get::<_, i32>(place) as u16;
    Ok(Waiting {
        row: DeliveryRow {
            id,
            account: row.get::<_, i32>(3) as u32,
            webhook: row.get::<_, i32>(0) as u32,
            event_type: row.get::<_, i32>(4) as u32,
            lead: row.get::<_, i32>(5).into(),
            state: State::Waiting,
            test: row.get(10),
            attempts_made: small(7),
            retries_made: small(8),
            code: row.get::<_, Option<i32>>(11).map(|code| code as u16),
            error: row
                .get::<_, Option<i16>>(12)
                .map(|number| error_code(number.into()).ok_or_else(damaged))
                .transpose()?,
            duration: row.get::<_, Option<i64>>(13).map(|micros| Duration::from_micros(micros as u64)),
            due_at: Some(Timestamp(row.get(6))),
            ended_at: None,
            was: Some(State::Waiting),
        },
        reason: reason(row.get::<_, i16>(9).into()).ok_or_else(damaged)?,
    })
}

/// Keys of rows, as arrays.
#[derive(Debug, Default)]
pub(super) struct Keys {
    shards: Vec<i16>,
    webhooks: Vec<i32>,
    events: Vec<i64>,
    places: Vec<i16>,
}

impl Keys {
    pub(super) fn push(&mut self, account: u32, webhook: u32, id: DeliveryId) {
        self.shards.push(shard(account, webhook));
        self.webhooks.push(webhook as i32);
        self.events.push(id.event.0 as i64);
        self.places.push(id.place as i16);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// Takes rows away, and gives them.
pub(super) async fn take(link: &Link, keys: &Keys) -> Result<Vec<Waiting>, Fault> {
    let sql = concat!(
        "DELETE FROM hot USING unnest($1::smallint[], $2::integer[], $3::bigint[], $4::smallint[])
             AS k (shard, webhook, event, place)
         WHERE hot.shard = k.shard AND hot.webhook = k.webhook AND hot.event = k.event AND hot.place = k.place
         RETURNING ",
        columns!()
    );
    rows_of(link, keys, sql).await
}

/// The rows of keys; `$lock` is what else becomes of them.
macro_rules! named {
    ($lock:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM unnest($1::smallint[], $2::integer[], $3::bigint[], $4::smallint[]) AS k (shard, webhook, event, place)
             JOIN hot ON hot.shard = k.shard AND hot.webhook = k.webhook AND hot.event = k.event AND hot.place = k.place",
            $lock
        )
    };
}

/// Reads rows, and holds them until the end of the transaction.
pub(super) async fn hold(link: &Link, keys: &Keys) -> Result<Vec<Waiting>, Fault> {
    rows_of(link, keys, named!(" FOR UPDATE OF hot")).await
}

/// Reads rows as they are.
pub(super) async fn get_all(link: &Link, keys: &Keys) -> Result<Vec<Waiting>, Fault> {
    rows_of(link, keys, named!("")).await
}

/// Runs a statement about the rows of keys, which gives them.
async fn rows_of(link: &Link, keys: &Keys, sql: &'static str) -> Result<Vec<Waiting>, Fault> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    link.rows(sql, &[&keys.shards, &keys.webhooks, &keys.events, &keys.places]).await?.iter().map(read).collect()
}

/// What rows hold, as arrays.
#[derive(Default)]
struct Columns {
    keys: Keys,
    accounts: Vec<i32>,
    types: Vec<i32>,
    leads: Vec<i32>,
    due_at: Vec<i64>,
    attempts: Vec<i32>,
    retries: Vec<i32>,
    reasons: Vec<i16>,
    tests: Vec<bool>,
    codes: Vec<Option<i32>>,
    errors: Vec<Option<i16>>,
    durations: Vec<Option<i64>>,
}

impl Columns {
    fn of(all: &[Waiting]) -> Self {
        let mut columns = Self::default();
        for Waiting { row, reason } in all {
            columns.keys.push(row.account, row.webhook, row.id);
            columns.accounts.push(row.account as i32);
            columns.types.push(row.event_type as i32);
            columns.leads.push(row.lead as i32);
            columns.due_at.push(row.due_at.unwrap_or_default().0);
            columns.attempts.push(i32::from(row.attempts_made));
            columns.retries.push(i32::from(row.retries_made));
            columns.reasons.push(reason_number(*reason) as i16);
            columns.tests.push(row.test);
            columns.codes.push(row.code.map(i32::from));
            columns.errors.push(row.error.map(|error| error_number(error) as i16));
            columns.durations.push(row.duration_micros());
        }
        columns
    }
}

/// Writes the rows of deliveries that were just accepted.
pub(super) async fn insert(link: &Link, all: &[Waiting]) -> Result<(), Fault> {
    if all.is_empty() {
        return Ok(());
    }
    let Columns { keys, accounts, types, leads, due_at, reasons, .. } = Columns::of(all);
    link.run(
        "INSERT INTO hot (shard, webhook, event, place, account, type, lead, due_at, attempts_made, retries_made, reason, test)
         SELECT k.shard, k.webhook, k.event, k.place, k.account, k.type, k.lead, k.due_at, 0, 0, k.reason, k.reason = 3
         FROM unnest($1::smallint[], $2::integer[], $3::bigint[], $4::smallint[], $5::integer[], $6::integer[],
                     $7::integer[], $8::bigint[], $9::smallint[])
             AS k (shard, webhook, event, place, account, type, lead, due_at, reason)",
        &[
            &keys.shards,
            &keys.webhooks,
            &keys.events,
            &keys.places,
            &accounts,
            &types,
            &leads,
            &due_at,
            &reasons,
        ],
    )
    .await?;
    Ok(())
}

/// Writes rows, in place of those of the same deliveries.
pub(super) async fn put(link: &Link, all: &[Waiting]) -> Result<(), Fault> {
    if all.is_empty() {
        return Ok(());
    }
    let Columns { keys, accounts, types, leads, due_at, attempts, retries, reasons, tests, codes, errors, durations } =
        Columns::of(all);
    link.run(
        "INSERT INTO hot (shard, webhook, event, place, account, type, lead, due_at, attempts_made, retries_made, reason,
                          test, code, error, duration)
         SELECT * FROM unnest($1::smallint[], $2::integer[], $3::bigint[], $4::smallint[], $5::integer[], $6::integer[],
                              $7::integer[], $8::bigint[], $9::integer[], $10::integer[], $11::smallint[], $12::boolean[],
                              $13::integer[], $14::smallint[], $15::bigint[])
         ON CONFLICT (shard, webhook, event, place) DO UPDATE
         SET due_at = excluded.due_at, attempts_made = excluded.attempts_made, retries_made = excluded.retries_made,
             reason = excluded.reason, code = excluded.code, error = excluded.error, duration = excluded.duration",
        &[
            &keys.shards,
            &keys.webhooks,
            &keys.events,
            &keys.places,
            &accounts,
            &types,
            &leads,
            &due_at,
            &attempts,
            &retries,
            &reasons,
            &tests,
            &codes,
            &errors,
            &durations,
        ],
    )
    .await?;
    Ok(())
}

/// What is due before `until`, by due time, from after `after` on, of these shards (a bit for each), or of all; of paused webhooks only tests.
pub(super) async fn by_time(
    link: &Link,
    after: Option<(Timestamp, DeliveryId)>,
    until: Timestamp,
    limit: usize,
    (paused, shards): (Vec<i32>, Option<Vec<u8>>),
) -> Result<Vec<Waiting>, Fault> {
    let (at, id) = after.map_or((i64::MIN, None), |(at, id)| (at.0, Some(id)));
    let (event, place) = id.map_or((-1, 0), |id| (id.event.0 as i64, id.place as i16));
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM hot
         WHERE (due_at, event, place) > ($1::bigint, $2::bigint, $3::smallint) AND due_at < $4
           AND (reason = 3 OR webhook NOT IN (SELECT unnest($5::integer[])))
           AND ($6::bytea IS NULL OR get_bit($6, shard) = 1)
         ORDER BY due_at, event, place LIMIT $7"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    link.rows(sql, &[&at, &event, &place, &until.0, &paused, &shards, &limit]).await?.iter().map(read).collect()
}

/// What waits for a webhook and is due before `until`, oldest event first, from after `after` on; tests left out.
pub(super) async fn of_webhook(
    link: &Link,
    (account, webhook): (u32, u32),
    after: Option<DeliveryId>,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<Waiting>, Fault> {
    let (event, place) = after.map_or((-1, 0), |id| (id.event.0 as i64, id.place as i16));
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM hot WHERE shard = $1 AND webhook = $2 AND (event, place) > ($3::bigint, $4::smallint)
           AND due_at < $5 AND reason <> 3
         ORDER BY event, place LIMIT $6"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = link.rows(sql, &[&shard(account, webhook), &(webhook as i32), &event, &place, &until.0, &limit]).await?;
    rows.iter().map(read).collect()
}

/// When the oldest that are due at `now` were due, each with its webhook, of these shards (a bit for each), or of all; of paused webhooks only
/// tests count, of patient ones nothing.
pub(super) async fn oldest(
    link: &Link,
    now: Timestamp,
    (paused, patient): (Vec<i32>, Vec<i32>),
    shards: Option<Vec<u8>>,
) -> Result<Vec<(Timestamp, u32)>, Fault> {
    let found = link
        .rows(
            "SELECT due_at, webhook FROM hot
             WHERE due_at <= $1 AND (reason = 3 OR webhook NOT IN (SELECT unnest($2::integer[])))
               AND webhook NOT IN (SELECT unnest($4::integer[])) AND ($3::bytea IS NULL OR get_bit($3, shard) = 1)
             ORDER BY due_at LIMIT 1000",
            &[&now.0, &paused, &shards, &patient],
        )
        .await?;
    Ok(found.iter().map(|row| (Timestamp(row.get(0)), row.get::<_, i32>(1) as u32)).collect())
}
