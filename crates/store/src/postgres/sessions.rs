//! Rows of sessions: the hashes of their tokens, never the tokens.

use std::time::Duration;

use domain::id::{KeyId, SessionId};
use domain::session::Session;
use domain::time::Timestamp;
use tokio_postgres::Row;

use super::connection::Link;
use super::fault::Fault;
use crate::rows::session::{code, kind, micros, sum};

/// What [`read`] reads, in its order.
macro_rules! columns {
    () => {
        "id, kind, hash, key, account, portal, scopes, name, created_at, expires_at, opens_for, spent, crc"
    };
}

/// All sessions, or those of these ids.
pub(super) async fn load(link: &Link, ids: Option<&[String]>) -> Result<Vec<Session>, Fault> {
    let sql = concat!("SELECT ", columns!(), " FROM sessions WHERE $1::text[] IS NULL OR id = ANY ($1)");
    link.rows(sql, &[&ids]).await?.iter().map(read).collect()
}

/// A session, held until the end of the transaction.
pub(super) async fn hold(link: &Link, id: &SessionId) -> Result<Option<Session>, Fault> {
    let sql = concat!("SELECT ", columns!(), " FROM sessions WHERE id = $1 FOR UPDATE");
    link.row(sql, &[&id.as_str()]).await?.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<Session, Fault> {
    let (id, scopes): (String, String) = (row.get(0), row.get(6));
    let damaged = |why: &dyn std::fmt::Display| Fault::damaged(format_args!("session {id}"), why);
    let session = Session {
        id: id.parse().map_err(|error| damaged(&error))?,
        kind: kind(row.get::<_, i16>(1).into()).ok_or_else(|| damaged(&"of an unknown kind"))?,
        hash: row.get::<_, &[u8]>(2).try_into().map_err(|error| damaged(&error))?,
        key: row.get::<_, &[u8]>(3).try_into().map_err(|error| damaged(&error))?,
        account: row.get::<_, Option<i32>>(4).map(|account| account as u32),
        portal: row.get(5),
        scopes: serde_json::from_str(&scopes).map_err(|error| damaged(&error))?,
        name: row.get(7),
        created_at: Timestamp(row.get(8)),
        expires_at: Timestamp(row.get(9)),
        opens_for: Duration::from_micros(row.get::<_, i64>(10).unsigned_abs()),
        spent: row.get(11),
    };
    sum(&session, &scopes).verify(row.get(12), || format!("session {id}"))?;
    Ok(session)
}

/// Writes a session in place of the one of the same id.
pub(super) async fn put(link: &Link, session: &Session) -> Result<(), Fault> {
    let scopes =
        serde_json::to_string(&session.scopes).map_err(|error| Fault::damaged("scopes of a session", error))?;
    let sql = concat!(
        "INSERT INTO sessions (",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         ON CONFLICT (id) DO UPDATE SET spent = excluded.spent, crc = excluded.crc"
    );
    link.run(
        sql,
        &[
            &session.id.as_str(),
            &(code(session.kind) as i16),
            &&session.hash[..],
            &&session.key[..],
            &session.account.map(|account| account as i32),
            &session.portal,
            &scopes,
            &session.name,
            &session.created_at.0,
            &session.expires_at.0,
            &micros(session.opens_for),
            &session.spent,
            &sum(session, &scopes).sum(),
        ],
    )
    .await?;
    Ok(())
}

/// Deletes a session.
pub(super) async fn delete(link: &Link, id: &SessionId) -> Result<(), Fault> {
    link.run("DELETE FROM sessions WHERE id = $1", &[&id.as_str()]).await?;
    Ok(())
}

/// Deletes the sessions that come from a key.
pub(super) async fn delete_of_key(link: &Link, key: &KeyId) -> Result<(), Fault> {
    link.run("DELETE FROM sessions WHERE key = (SELECT hash FROM keys WHERE id = $1)", &[&key.as_str()]).await?;
    Ok(())
}

/// Deletes the sessions that ended before `until`; gives their ids.
pub(super) async fn delete_ended(link: &Link, until: Timestamp) -> Result<Vec<SessionId>, Fault> {
    let rows = link.rows("DELETE FROM sessions WHERE expires_at < $1 RETURNING id", &[&until.0]).await?;
    let id = |row: &Row| {
        let id: String = row.get(0);
        id.parse().map_err(|error| Fault::damaged(format_args!("session {id}"), error))
    };
    rows.iter().map(id).collect()
}
