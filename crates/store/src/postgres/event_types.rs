//! Rows of event types: names as numbers, which count from 0 and are given under a lock. A new one is rare, and committed by
//! itself before the event that brings it.

use std::sync::Arc;

use super::connection::Link;
use super::fault::Fault;
use super::schema::LOCK;
pub(super) use crate::rows::event_types::EventTypes;
use crate::rows::event_types::sum;

/// Reads all names.
pub(super) async fn load(link: &Link) -> Result<EventTypes, Fault> {
    let mut types = EventTypes::default();
    for row in link.rows("SELECT number, name, crc FROM event_types ORDER BY number", &[]).await? {
        let (number, name): (i32, String) = (row.get(0), row.get(1));
        sum(number.into(), &name).verify(row.get(2), || format!("event type {number}"))?;
        if types.push(&name.into()) as i32 != number {
            return Err(Fault::damaged(format_args!("event type {number}"), "one is missing before it"));
        }
    }
    Ok(types)
}

/// Gives names their numbers, unless they have them, and reads all. Outside of a transaction.
pub(super) async fn add(link: &Link, names: &[Arc<str>]) -> Result<EventTypes, Fault> {
    link.batch(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK} + 1)")).await?;
    let mut types = load(link).await?;
    for name in names {
        if types.number(name).is_none() {
            let number = types.push(name) as i32;
            link.run(
                "INSERT INTO event_types (number, name, crc) VALUES ($1, $2, $3)",
                &[&number, &&**name, &sum(number.into(), name).sum()],
            )
            .await?;
        }
    }
    link.batch("COMMIT").await?;
    Ok(types)
}
