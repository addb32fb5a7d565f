//! What lists by type and by webhook are read from: tables that follow the events and the deliveries.
//!
//! An index over all of them would be entered in as many places as there are types and webhooks, and every commit would
//! write a page for each. So what is new goes to the end of a small table in its own order, and from there to its place a
//! few thousand at a time, when many fall on the same page. Readers merge the two.

use rusqlite::{CachedStatement, Connection, params};

use domain::id::{DeliveryId, EventId};

use super::fault::Fault;

/// How many young rows of each kind there are before they go over to the sorted tables.
const YOUNG_MAX: usize = 4_096;

/// How many young rows there are.
#[derive(Debug, Default)]
pub(super) struct Young {
    events: usize,
    deliveries: usize,
}

impl Young {
    /// Counts them.
    pub(super) fn load(conn: &Connection) -> Result<Self, Fault> {
        let count = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
        let events = count("SELECT count(*) FROM events_young")? as usize;
        Ok(Self { events, deliveries: count("SELECT count(*) FROM deliveries_young")? as usize })
    }

    /// More were written in this transaction: where there are enough, they go over.
    pub(super) fn grow(&mut self, conn: &Connection, events: usize, deliveries: usize) -> Result<(), Fault> {
        self.events += events;
        self.deliveries += deliveries;
        if self.events >= YOUNG_MAX {
            conn.prepare_cached(
                "INSERT INTO events_by_type SELECT account, type, key FROM events_young ORDER BY account, type, key",
            )?
            .execute([])?;
            conn.prepare_cached("DELETE FROM events_young")?.execute([])?;
            self.events = 0;
        }
        if self.deliveries >= YOUNG_MAX {
            conn.prepare_cached(
                "INSERT INTO deliveries_by_webhook
                 SELECT webhook, event, place FROM deliveries_young ORDER BY webhook, event, place",
            )?
            .execute([])?;
            conn.prepare_cached("DELETE FROM deliveries_young")?.execute([])?;
            self.deliveries = 0;
        }
        Ok(())
    }
}

/// The statement for [`insert_event`].
pub(super) fn prepare_event(conn: &Connection) -> Result<CachedStatement<'_>, Fault> {
    Ok(conn.prepare_cached("INSERT INTO events_young (key, account, type) VALUES (?1, ?2, ?3)")?)
}

/// Writes that an account has an event of a type.
pub(super) fn insert_event(
    statement: &mut CachedStatement<'_>,
    event: EventId,
    account: u32,
    event_type: u32,
) -> Result<(), Fault> {
    statement.execute(params![event.0 as i64, account, event_type])?;
    Ok(())
}

/// The statement for [`insert_delivery`].
pub(super) fn prepare_delivery(conn: &Connection) -> Result<CachedStatement<'_>, Fault> {
    Ok(conn.prepare_cached("INSERT INTO deliveries_young (event, place, webhook) VALUES (?1, ?2, ?3)")?)
}

/// Writes that a webhook has a delivery with a row.
pub(super) fn insert_delivery(statement: &mut CachedStatement<'_>, id: DeliveryId, webhook: u32) -> Result<(), Fault> {
    statement.execute(params![id.event.0 as i64, id.place, webhook])?;
    Ok(())
}

/// Deletes what says that an event is of its type, while the event is still there.
pub(super) fn delete_event(conn: &Connection, event: EventId) -> Result<(), Fault> {
    conn.prepare_cached(
        "DELETE FROM events_by_type WHERE (account, type, key) IN (SELECT account, type, key FROM events WHERE key = ?1)",
    )?
    .execute([event.0 as i64])?;
    conn.prepare_cached("DELETE FROM events_young WHERE key = ?1")?.execute([event.0 as i64])?;
    Ok(())
}

/// Deletes what says that an event's deliveries are their webhooks', while they are still there.
pub(super) fn delete_deliveries(conn: &Connection, event: EventId) -> Result<(), Fault> {
    conn.prepare_cached(
        "DELETE FROM deliveries_by_webhook
         WHERE (webhook, event, place) IN (SELECT webhook, event, place FROM deliveries WHERE event = ?1)",
    )?
    .execute([event.0 as i64])?;
    conn.prepare_cached("DELETE FROM deliveries_young WHERE event = ?1")?.execute([event.0 as i64])?;
    Ok(())
}

/// A table that repeats what another says, and how many of its rows do.
const REPEATED: [(&str, &str); 4] = [
    ("events_young", "SELECT count(*) FROM events_young AS y JOIN events USING (key, account, type)"),
    ("events_by_type", "SELECT count(*) FROM events_by_type AS s JOIN events USING (key, account, type)"),
    ("deliveries_young", "SELECT count(*) FROM deliveries_young AS y JOIN deliveries USING (event, place, webhook)"),
    (
        "deliveries_by_webhook",
        "SELECT count(*) FROM deliveries_by_webhook AS s JOIN deliveries USING (event, place, webhook)",
    ),
];

/// Compares every row of one of the tables with what it repeats.
pub(super) fn verify(conn: &Connection, table: &'static str) -> Result<u64, Fault> {
    let count = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    let rows = count(&format!("SELECT count(*) FROM {table}"))?;
    for (_, sql) in REPEATED.iter().filter(|(repeated, _)| *repeated == table) {
        if count(sql)? != rows {
            return Err(Fault::Damaged(format!("{table} does not fit what it lists")));
        }
    }
    Ok(rows.unsigned_abs())
}

/// Compares all four with what they repeat, and what they repeat with them: nothing is left out.
pub(super) fn verify_all(conn: &Connection) -> Result<(), Fault> {
    let mut listed = 0;
    for (table, _) in REPEATED {
        listed += verify(conn, table)?;
    }
    let count = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    let all = count("SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM deliveries)")?;
    if all.unsigned_abs() == listed {
        Ok(())
    } else {
        Err(Fault::Damaged("some events or deliveries are missing from the lists by type or webhook".to_owned()))
    }
}
