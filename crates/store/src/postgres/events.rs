//! Rows of events: the producer's bytes, once, and the webhooks that they go to.

use std::sync::Arc;

use domain::event::Event;
use domain::id::EventId;
use domain::trace::TraceParent;
use tokio_postgres::Row;

use super::connection::Link;
use super::fault::Fault;
use crate::rows::event::{self, Columns, lead};
use crate::rows::event_types::EventTypes;

/// What [`read`] reads, in its order.
macro_rules! columns {
    () => {
        "e.key, e.account, e.type, e.lead, e.marked, e.crc, e.targets, e.data, e.trace"
    };
}

/// Writes events, each with its type's number.
///
/// # Errors
/// [`Fault::Taken`] where another node has given an account's event the same timestamp.
pub(super) async fn insert(link: &Link, all: &[(Arc<Event>, u32)]) -> Result<(), Fault> {
    if all.is_empty() {
        return Ok(());
    }
    let (mut keys, mut accounts, mut types, mut leads) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut marks, mut sums, mut targets, mut data) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut traces = Vec::new();
    for (event, event_type) in all {
        let mut buffer = Vec::with_capacity(event.targets.len() * 4);
        event::write_targets(event, &mut buffer);
        let trace = event.trace.map(TraceParent::to_bytes);
        let columns = Columns {
            key: event.id.0 as i64,
            account: event.account,
            event_type: *event_type,
            lead: lead(event),
            marked: event::marked(event),
            targets: &buffer,
            data: &event.data,
            trace: trace.as_ref().map(|trace| &trace[..]),
        };
        keys.push(columns.key);
        accounts.push(event.account as i32);
        types.push(*event_type as i32);
        leads.push(columns.lead as i32);
        marks.push(columns.marked as i16);
        sums.push(columns.sum());
        data.push(&event.data[..]);
        traces.push(trace.map(|trace| trace.to_vec()));
        targets.push(buffer);
    }
    link.run(
        "INSERT INTO events (key, account, type, lead, marked, crc, targets, data, trace)
         SELECT * FROM unnest($1::bigint[], $2::integer[], $3::integer[], $4::integer[], $5::smallint[], $6::bigint[],
                              $7::bytea[], $8::bytea[], $9::bytea[])",
        &[&keys, &accounts, &types, &leads, &marks, &sums, &targets, &data, &traces],
    )
    .await?;
    Ok(())
}

/// The rows of these ids, each of an account, in their order; what is missing is left out.
pub(super) async fn rows_of(link: &Link, wanted: &[(u32, EventId)]) -> Result<Vec<Row>, Fault> {
    let (accounts, keys): (Vec<i32>, Vec<i64>) =
        wanted.iter().map(|(account, id)| (*account as i32, id.0 as i64)).unzip();
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM unnest($1::integer[], $2::bigint[]) WITH ORDINALITY AS k (account, key, place)
         JOIN events AS e ON e.account = k.account AND e.key = k.key ORDER BY k.place"
    );
    link.rows(sql, &[&accounts, &keys]).await
}

/// The rows of an account's events between two keys, newest first; of some types, if some are given.
pub(super) async fn rows_below(
    link: &Link,
    account: u32,
    types: Option<&[i32]>,
    (from, below): (i64, i64),
    limit: usize,
) -> Result<Vec<Row>, Fault> {
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM events AS e WHERE account = $1 AND key >= $2 AND key < $3
           AND ($4::integer[] IS NULL OR type = ANY ($4))
         ORDER BY key DESC LIMIT $5"
    );
    link.rows(sql, &[&(account as i32), &from, &below, &types, &(limit as i64)]).await
}

/// An event's bytes.
pub(super) async fn data(link: &Link, account: u32, id: EventId) -> Result<Option<Vec<u8>>, Fault> {
    let sql = "SELECT data FROM events WHERE account = $1 AND key = $2";
    Ok(link.row(sql, &[&(account as i32), &(id.0 as i64)]).await?.map(|row| row.get(0)))
}

/// Whether the names of all types in these rows are known.
pub(super) fn knows_types(rows: &[Row], types: &EventTypes) -> bool {
    rows.iter().all(|row| types.name(row.get::<_, i32>(2) as u32).is_ok())
}

/// The events of rows.
pub(super) fn read_all(rows: &[Row], types: &EventTypes) -> Result<Vec<Arc<Event>>, Fault> {
    rows.iter().map(|row| read(row, types)).collect()
}

/// The webhooks that an event goes to, without the rest of it.
pub(super) async fn targets(link: &Link, account: u32, id: EventId) -> Result<Option<Vec<u32>>, Fault> {
    let found = link
        .row("SELECT targets FROM events WHERE account = $1 AND key = $2", &[&(account as i32), &(id.0 as i64)])
        .await?;
    let targets = |row: Row| {
        let bytes: &[u8] = row.get(0);
        bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
    };
    Ok(found.map(targets))
}

fn read(row: &Row, types: &EventTypes) -> Result<Arc<Event>, Fault> {
    let columns = Columns {
        key: row.get(0),
        account: row.get::<_, i32>(1) as u32,
        event_type: row.get::<_, i32>(2) as u32,
        lead: row.get::<_, i32>(3).into(),
        marked: row.get::<_, i16>(4).into(),
        targets: row.get(6),
        data: row.get(7),
        trace: row.get(8),
    };
    Ok(columns.event(row.get(5), types)?)
}
