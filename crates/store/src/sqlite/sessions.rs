//! Rows of sessions: the hashes of their tokens, never the tokens.

use std::time::Duration;

use domain::audit::{Act, Action};
use domain::id::{KeyId, SessionId};
use domain::session::Session;
use domain::store::ChangeError;
use domain::time::Timestamp;
use rusqlite::{Connection, params};

use super::engine::{Engine, Entry};
use super::fault::Fault;
use crate::rows::session::{code, kind, micros, sum};

impl Engine {
    /// Writes new sessions, spends the link that they are opened by, and forgets those that ended long ago.
    pub(super) fn open_sessions(
        &mut self,
        now: Timestamp,
        sessions: Vec<Session>,
        link: Option<SessionId>,
    ) -> Result<Vec<Act>, ChangeError> {
        for gone in delete_ended(&self.conn, now.minus(domain::session::REMEMBERED))? {
            self.staged.directory.push(Entry::SessionGone(gone));
        }
        if let Some(link) = link {
            let mut link = get(&self.conn, &link)?.ok_or(ChangeError::NotFound)?;
            if link.spent {
                return Err(ChangeError::State("the link was used already"));
            }
            link.spent = true;
            put(&self.conn, &link)?;
            self.staged.directory.push(Entry::Session(link));
        }
        let mut acts = Vec::new();
        for session in sessions {
            let directory = self.shared.directory.read();
            if session.account.is_some_and(|account| directory.account_numbered(account).is_none()) {
                return Err(ChangeError::NotFound);
            }
            if directory.session(&session.hash).is_some() {
                return Err(ChangeError::Exists);
            }
            drop(directory);
            put(&self.conn, &session)?;
            acts.push(Act::of_session(Action::SessionOpened, &session));
            self.staged.directory.push(Entry::Session(session));
        }
        Ok(acts)
    }

    /// Deletes a session.
    pub(super) fn end_session(&mut self, id: &SessionId) -> Result<Act, ChangeError> {
        let session = get(&self.conn, id)?.ok_or(ChangeError::NotFound)?;
        self.conn
            .prepare_cached("DELETE FROM sessions WHERE id = ?1")
            .and_then(|mut delete| delete.execute([id.as_str()]))
            .map_err(Fault::from)?;
        self.staged.directory.push(Entry::SessionGone(id.clone()));
        Ok(Act::of_session(Action::SessionEnded, &session))
    }
}

/// All sessions.
pub(super) fn load(conn: &Connection) -> Result<Vec<Session>, Fault> {
    let mut statement = conn.prepare(&format!("SELECT {COLUMNS} FROM sessions"))?;
    let mut rows = statement.query([])?;
    let mut sessions = Vec::new();
    while let Some(row) = rows.next()? {
        sessions.push(read(row)?);
    }
    Ok(sessions)
}

/// Deletes the sessions that come from a key.
pub(super) fn delete_of_key(conn: &Connection, key: &KeyId) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM sessions WHERE key = (SELECT hash FROM keys WHERE id = ?1)")?
        .execute([key.as_str()])?;
    Ok(())
}

/// Deletes an account's sessions.
pub(super) fn delete_of_account(conn: &Connection, account: u32) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM sessions WHERE account = ?1")?.execute([account])?;
    Ok(())
}

const COLUMNS: &str =
    "id, kind, hash, key, account, portal, scopes, name, created_at, expires_at, opens_for, spent, crc";

fn get(conn: &Connection, id: &SessionId) -> Result<Option<Session>, Fault> {
    let mut statement = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM sessions WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_str()])?;
    rows.next()?.map(read).transpose()
}

fn read(row: &rusqlite::Row<'_>) -> Result<Session, Fault> {
    let (id, scopes): (String, String) = (row.get(0)?, row.get(6)?);
    let damaged = |why: &dyn std::fmt::Display| Fault::damaged(format_args!("session {id}"), why);
    let kind = kind(row.get(1)?).ok_or_else(|| damaged(&"of an unknown kind"))?;
    let session = Session {
        id: id.parse().map_err(|error| damaged(&error))?,
        kind,
        hash: row.get(2)?,
        key: row.get(3)?,
        account: row.get(4)?,
        portal: row.get(5)?,
        scopes: serde_json::from_str(&scopes).map_err(|error| damaged(&error))?,
        name: row.get(7)?,
        created_at: Timestamp(row.get(8)?),
        expires_at: Timestamp(row.get(9)?),
        opens_for: Duration::from_micros(row.get::<_, i64>(10)?.unsigned_abs()),
        spent: row.get(11)?,
    };
    sum(&session, &scopes).verify(row.get(12)?, || format!("session {id}"))?;
    Ok(session)
}

fn put(conn: &Connection, session: &Session) -> Result<(), Fault> {
    let scopes =
        serde_json::to_string(&session.scopes).map_err(|error| Fault::damaged("scopes of a session", error))?;
    conn.prepare_cached(&format!(
        "INSERT OR REPLACE INTO sessions ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
    ))?
    .execute(params![
        session.id.as_str(),
        code(session.kind),
        session.hash,
        session.key,
        session.account,
        session.portal,
        scopes,
        session.name,
        session.created_at.0,
        session.expires_at.0,
        micros(session.opens_for),
        session.spent,
        sum(session, &scopes).sum()
    ])?;
    Ok(())
}

/// Deletes the sessions that ended before `until`; gives their ids.
fn delete_ended(conn: &Connection, until: Timestamp) -> Result<Vec<SessionId>, Fault> {
    let mut statement = conn.prepare_cached("DELETE FROM sessions WHERE expires_at < ?1 RETURNING id")?;
    let mut rows = statement.query([until.0])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        ids.push(id.parse().map_err(|error| Fault::damaged(format_args!("session {id}"), error))?);
    }
    Ok(ids)
}
