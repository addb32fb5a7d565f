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
const STEPS: [&str; 3] = [include_str!("schema_1.sql"), include_str!("schema_2.sql"), include_str!("schema_3.sql")];
/// The present layout.
const LAYOUT: i32 = STEPS.len() as i32;
/// The first layout that statements of earlier releases do not fit any more: it is not made while such nodes are there.
const ALONE: i32 = 3;
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
    migrated?;
    link.keep_place().await.map_err(Fault::at_open)
}

/// Whether the server and the database are such that they can be used at all; the server's version.
///
/// # Errors
/// [`OpenError`]: what is wrong with them.
pub(super) async fn fits(link: &Link) -> Result<String, OpenError> {
    let sql = "SELECT current_setting('server_version_num')::integer, current_setting('server_version'),
                      current_setting('server_encoding'), current_setting('transaction_read_only') = 'on',
                      current_schema() IS NULL AND NOT EXISTS (
                          SELECT FROM pg_namespace, unnest(string_to_array(current_setting('search_path'), ',')) AS named
                          WHERE nspname = CASE trim(named, ' \"') WHEN '$user' THEN session_user::text
                                                                 ELSE trim(named, ' \"') END),
                      current_setting('search_path')";
    let found = link.row(sql, &[]).await.map_err(Fault::at_open)?;
    let row = found.ok_or_else(|| OpenError::Unusable("the server does not say what it is".to_owned()))?;
    let (version, encoding): (String, String) = (row.get(1), row.get(2));
    if row.get::<_, i32>(0) < SERVER_MIN {
        return Err(OpenError::OldServer(version));
    }
    if encoding != "UTF8" {
        return Err(OpenError::Encoding(encoding));
    }
    if row.get(3) {
        return Err(OpenError::ReadOnly);
    }
    if row.get(4) {
        let path: String = row.get(5);
        return Err(OpenError::Unusable(format!(
            "no schema of its search_path ({path}) exists: CREATE SCHEMA makes one, or name another by the address's options"
        )));
    }
    Ok(version)
}

/// The layout of the tables; `None` if there are none, nor any with their names.
///
/// # Errors
/// [`OpenError`]; a later layout than this release knows is one, and tables that somebody else has made.
pub(super) async fn layout(link: &Link) -> Result<Option<i32>, OpenError> {
    let sql = "SELECT to_regclass('layout') IS NOT NULL,
                      EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('layout') AND attname = 'number'
                                  AND atttypid = 'integer'::regtype)";
    let there = link.row(sql, &[]).await.map_err(Fault::at_open)?;
    match there.map_or((false, false), |row| (row.get(0), row.get(1))) {
        (false, _) => return others(link).await.map(|()| None),
        (true, false) => return Err(OpenError::Foreign("layout".to_owned())),
        (true, true) => {}
    }
    in_place(link).await?;
    let found = link.row("SELECT number FROM layout", &[]).await.map_err(Fault::at_open)?;
    match found.map(|row| row.get(0)) {
        Some(found) if found > LAYOUT => Err(OpenError::Newer { found, known: LAYOUT }),
        found => Ok(found),
    }
}

/// Whether the tables lie where this role makes new ones, and are its own: those of days that come are made beside them, and those of
/// old days are dropped.
async fn in_place(link: &Link) -> Result<(), OpenError> {
    let sql = "SELECT nspname::text, current_schema()::text, current_setting('search_path')
               FROM pg_class JOIN pg_namespace AS lie ON lie.oid = relnamespace
               WHERE pg_class.oid = to_regclass('layout') AND nspname IS DISTINCT FROM current_schema()";
    if let Some(row) = link.row(sql, &[]).await.map_err(Fault::at_open)? {
        let (lie, first, path): (String, Option<String>, String) = (row.get(0), row.get(1), row.get(2));
        return Err(OpenError::Elsewhere { lie, first: first.unwrap_or_default(), path });
    }
    let mut ours = tables();
    ours.push("layout");
    let sql = "SELECT relname::text, pg_get_userbyid(relowner)::text, current_user::text FROM pg_class
               WHERE relnamespace = to_regnamespace(quote_ident(current_schema())) AND relname = ANY ($1::text[])
                 AND NOT pg_has_role(relowner, 'USAGE') ORDER BY 1 LIMIT 1";
    match link.row(sql, &[&ours]).await.map_err(Fault::at_open)? {
        Some(row) => Err(OpenError::NotOwned { table: row.get(0), owner: row.get(1), role: row.get(2) }),
        None => Ok(()),
    }
}

/// Every table that a step makes; those of days go with the one that they are part of.
fn tables() -> Vec<&'static str> {
    let named = |line: &'static str| line.strip_prefix("CREATE TABLE ")?.split_ascii_whitespace().next();
    STEPS.iter().flat_map(|step| step.lines()).filter_map(named).collect()
}

/// Takes all of it away again: the database is then as it was before any step was made.
pub(super) async fn take_down(link: &Link) -> Result<(), Fault> {
    let tables = tables().join(", ");
    link.batch(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK}); DROP TABLE IF EXISTS {tables}, layout; COMMIT"))
        .await
}

/// Where no layout is noted, whatever has the name of one of our tables was made by somebody else.
async fn others(link: &Link) -> Result<(), OpenError> {
    let ours = tables();
    let sql = "SELECT string_agg(relname, ', ' ORDER BY relname) FROM pg_class
               WHERE relnamespace = to_regnamespace(quote_ident(current_schema())) AND relname = ANY ($1::text[])";
    let found = link.row(sql, &[&ours]).await.map_err(Fault::at_open)?;
    found.and_then(|row| row.get(0)).map_or(Ok(()), |names| Err(OpenError::Foreign(names)))
}

async fn steps(link: &Link) -> Result<(), OpenError> {
    let at_open = Fault::at_open;
    fits(link).await?;
    link.batch("BEGIN").await.map_err(at_open)?;
    // Another node may be making large steps: that is worth any wait.
    link.batch(&format!("SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock({LOCK})")).await.map_err(at_open)?;
    layout(link).await?;
    link.batch(
        "CREATE TABLE IF NOT EXISTS layout (
             one boolean PRIMARY KEY DEFAULT true CHECK (one), number integer NOT NULL
         );
         INSERT INTO layout (number) VALUES (0) ON CONFLICT DO NOTHING",
    )
    .await
    .map_err(at_open)?;
    let found = layout(link).await?.ok_or_else(|| OpenError::Damaged("the layout's number is missing".to_owned()))?;
    if (1..ALONE).contains(&found) {
        let live = link.row("SELECT count(*) FROM nodes WHERE until > clock_timestamp() AND NOT leaving", &[]).await;
        let nodes = live.map_err(at_open)?.map_or(0, |row| row.get::<_, i64>(0));
        if nodes > 0 {
            return Err(OpenError::Served { nodes });
        }
    }
    for (step, number) in STEPS.iter().zip(1..).skip(usize::try_from(found).unwrap_or(0)) {
        link.batch(step).await.map_err(at_open)?;
        link.batch(&format!("UPDATE layout SET number = {number}")).await.map_err(at_open)?;
    }
    link.batch("COMMIT").await.map_err(at_open)
}
