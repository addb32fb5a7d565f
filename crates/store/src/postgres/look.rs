//! A look at a database that changes nothing in it: whether a node could serve it.

use domain::time::Timestamp;
use domain::vault::Vault;

use super::address::Address;
use super::connection::{Connector, Link, Purpose};
use super::fault::{Fault, OpenError};
use super::open::KEY_CHECK;
use super::{lack, marks, moving, schema};
use crate::rows::first::opens;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The server's version.
    pub version: String,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// The layout of the tables; `None` where they hold no store yet, or there are none.
    pub layout: Option<i32>,
    /// How many nodes live.
    pub nodes: i64,
    /// What keeps a node from having all connections that it needs, and the way out.
    pub short: Option<String>,
    /// Its time.
    pub time: Timestamp,
}

/// The database's time: what nodes share.
///
/// # Errors
/// What keeps a node from asking it.
pub async fn time(address: &Address) -> Result<Timestamp, OpenError> {
    let connector = Connector::new(address.clone()).map_err(Fault::at_open)?;
    let link = connector.connect(Purpose::Upkeep).await.map_err(Fault::at_open)?;
    time_of(&link).await
}

async fn time_of(link: &Link) -> Result<Timestamp, OpenError> {
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    let row = link.row(sql, &[]).await.map_err(Fault::at_open)?;
    row.map(|row| Timestamp(row.get(0))).ok_or_else(|| OpenError::Unusable("it does not tell the time".to_owned()))
}

/// Looks at a database, with the key that its store is sealed with, if there is one to try.
///
/// # Errors
/// What keeps a node from serving it.
pub async fn look(address: &Address, vault: Option<&Vault>) -> Result<Found, OpenError> {
    let connector = Connector::new(address.clone()).map_err(Fault::at_open)?;
    let link = connector.connect(Purpose::Upkeep).await.map_err(Fault::at_open)?;
    let version = schema::fits(&link).await?;
    let sql = "SELECT coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false),
                      has_schema_privilege(current_schema(), 'CREATE')";
    let row = link.row(sql, &[]).await.map_err(Fault::at_open)?;
    let (encrypted, creates) =
        row.map_or((false, false), |row| (row.get(0), row.get::<_, Option<bool>>(1).unwrap_or(false)));
    if !creates {
        return Err(OpenError::NotPermitted("tables cannot be made in the database".to_owned()));
    }
    let mut layout = schema::layout(&link).await?;
    let mut nodes = 0;
    if layout.is_some_and(|layout| layout > 0) {
        if moving::is_under_way(&link).await.map_err(Fault::at_open)? {
            return Err(OpenError::Unfinished);
        }
        let sealed = marks::get(&link, KEY_CHECK).await.map_err(Fault::at_open)?;
        match (vault, sealed) {
            // Tables that were made, and that nobody has served.
            (_, None) => layout = None,
            (Some(vault), Some(sealed)) if !opens(vault, &sealed) => return Err(OpenError::OtherKey),
            (Some(_) | None, Some(_)) => {}
        }
        let sql = "SELECT count(*) FROM nodes WHERE until > now() AND NOT leaving";
        nodes = link.row(sql, &[]).await.map_err(Fault::at_open)?.map_or(0, |row| row.get(0));
    }
    let short = lack::limits(&link).await.map_err(Fault::at_open)?;
    Ok(Found { version, encrypted, layout, nodes, short, time: time_of(&link).await? })
}
