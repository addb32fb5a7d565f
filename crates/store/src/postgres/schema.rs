//! The tables, and how those of an earlier layout become those of the present.
//!
//! Nodes that start at once take turns under an advisory lock: one makes the steps, the others find them made. A released step
//! is never edited.

use domain::time::Timestamp;

use super::address::Address;
use super::connection::{Connector, Link, Purpose};
use super::fault::{Fault, OpenError};
use super::partitions::{Day, Partitions};

/// One step from each layout to the next; the first makes the tables.
const STEPS: [&str; 1] = [include_str!("schema_1.sql")];
/// The present layout.
const LAYOUT: i32 = STEPS.len() as i32;
/// The oldest server that will do.
const SERVER_MIN: i32 = 15_00_00;
/// What is locked while steps are made, and while partitions are: "posthast" as a number.
pub(super) const LOCK: i64 = 0x706f_7374_6861_7374;

/// Brings the tables of a database to the present layout, and makes those of the days that come.
///
/// # Errors
/// [`OpenError`]; a step that was made stays.
pub async fn migrate(address: &Address, now: Timestamp) -> Result<(), OpenError> {
    let connector = Connector::new(address.clone()).map_err(Fault::at_open)?;
    let link = connector.connect(Purpose::Upkeep).await.map_err(Fault::at_open)?;
    bring_up(&link).await?;
    Partitions::default().make(&link, Day::at(now)).await.map_err(Fault::at_open)
}

/// Brings the tables to the present layout.
///
/// # Errors
/// [`OpenError`]; nothing was changed.
pub(super) async fn bring_up(link: &Link) -> Result<(), OpenError> {
    let migrated = steps(link).await;
    if migrated.is_err() {
        // The first fault is the one to tell of.
        let _ = link.batch("ROLLBACK").await;
    }
    migrated
}

async fn steps(link: &Link) -> Result<(), OpenError> {
    let at_open = Fault::at_open;
    let version = link
        .row("SELECT current_setting('server_version_num')::integer, current_setting('server_version')", &[])
        .await
        .map_err(at_open)?;
    if let Some(row) = version
        && row.get::<_, i32>(0) < SERVER_MIN
    {
        return Err(OpenError::OldServer(row.get(1)));
    }
    link.batch("BEGIN").await.map_err(at_open)?;
    // Another node may be making large steps: that is worth any wait.
    link.batch(&format!("SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock({LOCK})")).await.map_err(at_open)?;
    link.batch(
        "CREATE TABLE IF NOT EXISTS layout (
             one boolean PRIMARY KEY DEFAULT true CHECK (one), number integer NOT NULL
         );
         INSERT INTO layout (number) VALUES (0) ON CONFLICT DO NOTHING",
    )
    .await
    .map_err(at_open)?;
    let found: i32 = link
        .row("SELECT number FROM layout", &[])
        .await
        .map_err(at_open)?
        .ok_or_else(|| OpenError::Damaged("the layout's number is missing".to_owned()))?
        .get(0);
    if found > LAYOUT {
        return Err(OpenError::Newer { found, known: LAYOUT });
    }
    for (step, number) in STEPS.iter().zip(1..).skip(usize::try_from(found).unwrap_or(0)) {
        link.batch(step).await.map_err(at_open)?;
        link.batch(&format!("UPDATE layout SET number = {number}")).await.map_err(at_open)?;
    }
    link.batch("COMMIT").await.map_err(at_open)
}
