//! Moving out: the rows of this store as a database keeps them, in pages, each from after the row that the last one ended with.
//!
//! The mark of a move says that one was begun, and by which name. Whoever serves the store again meanwhile takes it away, so
//! that a move never goes on from rows that are others by now; and once everything was moved, the store is not served any more.

mod parts;

use std::path::Path;

use domain::attempt::Reason;
use domain::directory::SharedDirectory;
use domain::id::{DeliveryId, EventId};
use domain::time::Timestamp;
use domain::vault::Vault;
use rusqlite::types::Value as Stored;
use rusqlite::{Connection, OptionalExtension as _};

use super::backup::opens_with;
use super::counted;
use super::engine::{Chance, Engine, Parts};
use super::fault::{Fault, OpenError};
use super::limits::Limits;
use super::{check, data_dir, marks, schema};
use crate::rows::carried::{HOT, Table, Value};
use crate::rows::delivery::{DeliveryRow, reason_number};
use parts::{PARTS, Part, Rows};

/// How many bytes of rows are read at once, and a row more.
const BYTES_AT_ONCE: usize = 4 * 1024 * 1024;

/// The name by which a move is known on both sides.
pub(crate) type MoveId = [u8; 16];

/// How far a store has been moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// It was never begun, or the store was served since.
    No,
    /// It was begun.
    Begun(MoveId),
    /// Everything was.
    All(MoveId),
}

/// Reads how far the store has been moved.
fn moved(conn: &Connection) -> Result<Moved, Fault> {
    let damaged = || Fault::damaged("mark of a move", "it says nothing");
    match marks::get(conn, marks::MOVE)?.as_deref().map(<[u8]>::split_last) {
        None => Ok(Moved::No),
        Some(Some((0, id))) => Ok(Moved::Begun(id.try_into().map_err(|_| damaged())?)),
        Some(Some((1, id))) => Ok(Moved::All(id.try_into().map_err(|_| damaged())?)),
        Some(_) => Err(damaged()),
    }
}

/// The database into which everything was moved, for people; the first of those that were moved did not note it.
fn moved_to(conn: &Connection) -> Result<String, Fault> {
    let to = marks::get(conn, marks::MOVED_TO)?;
    Ok(to.map_or_else(|| "a database".to_owned(), |to| String::from_utf8_lossy(&to).into_owned()))
}

/// Whether a start could serve the store of `dir`, by the files that there are, its layout, and by whether everything in it was moved away. Its
/// rows are not looked at.
///
/// # Errors
/// [`OpenError::Newer`], [`OpenError::Moved`], [`OpenError::Damaged`]; or it cannot be read, or holds no store.
pub fn could_be_served(dir: &Path) -> Result<(), OpenError> {
    data_dir::whole(dir)?;
    let file = data_dir::database(dir);
    let at_open = |fault: Fault| fault.at_open(file.clone());
    let conn = schema::open_reader(&file).map_err(|error| at_open(error.into()))?;
    let found = schema::version(&conn).map_err(|error| at_open(error.into()))?;
    match found {
        ..1 => Err(OpenError::Unusable { file: file.clone(), what: "it holds no store".to_owned() }),
        1..=schema::LAYOUT => stays_in(&conn, dir),
        _ => Err(OpenError::Newer { file: file.clone(), found, known: schema::LAYOUT }),
    }
}

/// Refuses a store of which everything was moved away.
pub(super) fn stays_in(conn: &Connection, dir: &Path) -> Result<(), OpenError> {
    let file = data_dir::database(dir);
    match moved(conn) {
        Ok(Moved::No | Moved::Begun(_)) => Ok(()),
        Ok(Moved::All(_)) => {
            let to = moved_to(conn).map_err(|fault| fault.at_open(file))?;
            Err(OpenError::Moved { dir: dir.to_owned(), to })
        }
        Err(fault) => Err(fault.at_open(file)),
    }
}

impl Engine {
    /// The store is to be served from here: a move that was begun is none any more.
    ///
    /// # Errors
    /// [`OpenError::Moved`] if everything was moved.
    pub(super) fn stays(&mut self) -> Result<(), OpenError> {
        let file = self.shared.file.clone();
        let ended = match moved(&self.conn) {
            Ok(Moved::No) => Ok(()),
            Ok(Moved::Begun(_)) => marks::delete(&self.conn, marks::MOVE),
            Ok(Moved::All(_)) => {
                let to = moved_to(&self.conn).map_err(|fault| fault.at_open(file))?;
                return Err(OpenError::Moved { dir: self.dir().to_owned(), to });
            }
            Err(fault) => Err(fault),
        };
        ended.map_err(|fault| fault.at_open(file))
    }
}

/// A page of rows.
pub(crate) struct Page {
    pub(crate) rows: Vec<Vec<Value>>,
    /// What the last of them is found by; `None` if there was none.
    pub(crate) last: Option<Vec<Value>>,
}

/// The store of a directory, held for a move.
pub(crate) struct Source {
    engine: Engine,
    dir: std::path::PathBuf,
}

impl Source {
    /// Opens the store of `dir`, which nobody may serve meanwhile.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(crate) fn open(dir: &Path, vault: Vault, chance: Chance, now: Timestamp) -> Result<Self, OpenError> {
        // A start would make one.
        if opens_with(dir, &vault)?.is_none() {
            let what = "it holds no store".to_owned();
            return Err(OpenError::Unusable { file: data_dir::database(dir), what });
        }
        let (directory, limits) = (SharedDirectory::default(), Limits::default());
        let (engine, _) = Engine::open(Parts { dir, vault, directory, limits, chance, now })?;
        Ok(Self { engine, dir: dir.to_owned() })
    }

    fn at_open(&self) -> impl Fn(Fault) -> OpenError + use<> {
        let file = self.engine.shared.file.clone();
        move |fault| fault.at_open(file.clone())
    }

    /// Whether the key opens a text by which a database knows its key again.
    pub(crate) fn opens(&self, sealed: &[u8]) -> bool {
        crate::rows::first::opens(&self.engine.shared.vault, sealed)
    }

    /// How far it has been moved.
    pub(crate) fn moved(&self) -> Result<Moved, OpenError> {
        moved(&self.engine.conn).map_err(self.at_open())
    }

    /// Notes how far it has been moved, on disk when this returns.
    pub(crate) fn set_moved(&self, moved: Moved) -> Result<(), OpenError> {
        let set = match moved {
            Moved::No => marks::delete(&self.engine.conn, marks::MOVE),
            Moved::Begun(id) => marks::set(&self.engine.conn, marks::MOVE, &[&id[..], &[0]].concat()),
            Moved::All(id) => marks::set(&self.engine.conn, marks::MOVE, &[&id[..], &[1]].concat()),
        };
        set.map_err(self.at_open())
    }

    /// Notes the database into which it is about to be moved in whole, for people.
    pub(crate) fn set_moved_to(&self, to: &str) -> Result<(), OpenError> {
        marks::set(&self.engine.conn, marks::MOVED_TO, to.as_bytes()).map_err(self.at_open())
    }

    /// The database into which everything was moved, for people.
    pub(crate) fn moved_to(&self) -> Result<String, OpenError> {
        moved_to(&self.engine.conn).map_err(self.at_open())
    }

    /// Compares the checksum of every row, and brings figures to where they are carried from.
    pub(crate) fn prepare(&mut self) -> Result<(), OpenError> {
        check::check(&self.dir)?;
        let store = |error| Fault::Damaged(format!("{error}"));
        let mut fold = || -> Result<(), Fault> {
            self.engine.begin().map_err(store)?;
            self.engine.fold()?;
            self.engine.commit().map_err(store)?;
            Ok(())
        };
        fold().map_err(self.at_open())
    }

    /// The text by which the key is known again, as it is sealed.
    pub(crate) fn key_check(&self) -> Result<Vec<u8>, OpenError> {
        let sealed = marks::get(&self.engine.conn, marks::KEY_CHECK).map_err(self.at_open())?;
        sealed.ok_or_else(|| self.at_open()(Fault::damaged("mark of the key", "it is missing")))
    }

    /// No key of an event from this microsecond on was given.
    pub(crate) fn reserved(&self) -> Result<i64, OpenError> {
        Ok(marks::number(&self.engine.conn, marks::RESERVED).map_err(self.at_open())?.unwrap_or(0))
    }

    /// The first hour that the figures by the hour do not have in whole.
    pub(crate) fn rolled(&self) -> Result<i64, OpenError> {
        let rolled = counted::rolled(&self.engine.conn).map_err(self.at_open())?;
        Ok(rolled.map_or(0, |key| key.start.div_euclid(60)))
    }

    /// The highest number that was ever given to an account, a webhook or a replay.
    pub(crate) fn highest(&self, table: &str) -> Result<i64, OpenError> {
        let found: Result<Option<i64>, _> = self
            .engine
            .conn
            .query_row("SELECT seq FROM sqlite_sequence WHERE name = ?1", [table], |row| row.get(0))
            .optional();
        Ok(found.map_err(|error| self.at_open()(error.into()))?.unwrap_or(0))
    }

    /// How many closed accounts are still being erased: nothing of them is carried.
    pub(crate) fn being_erased(&self) -> Result<u64, OpenError> {
        schema::count(&self.engine.conn, "erasures").map_err(|error| self.at_open()(error.into()))
    }

    /// How many parts there are.
    pub(crate) const fn parts() -> usize {
        PARTS.len()
    }

    /// The table that a part goes to, and what the part is called.
    pub(crate) fn part(part: usize) -> Option<(&'static Table, &'static str)> {
        PARTS.get(part).map(|part| (part.table, part.said))
    }

    /// How many rows a part has.
    pub(crate) fn count(&self, part: usize) -> Result<u64, OpenError> {
        match PARTS.get(part).map(|part| &part.rows) {
            None => Ok(0),
            Some(Rows::Fresh) => Ok(self.engine.fresh() as u64),
            Some(Rows::Stored { from, filter, .. }) => {
                let sql = format!("SELECT count(*) FROM {from} WHERE {filter}");
                let count: Result<i64, _> = self.engine.conn.query_row(&sql, [], |row| row.get(0));
                Ok(count.map_err(|error| self.at_open()(error.into()))?.unsigned_abs())
            }
        }
    }

    /// The next rows of a part, as its table has them: at most `limit`, from after the one that is found by `after`.
    pub(crate) fn page(&self, part: usize, after: Option<&[Value]>, limit: usize) -> Result<Page, OpenError> {
        let Some(part) = PARTS.get(part) else { return Ok(Page { rows: Vec::new(), last: None }) };
        let page = match part.rows {
            Rows::Fresh => Ok(self.fresh(after, limit)),
            Rows::Stored { .. } => self.stored(part, after, limit),
        };
        let fit = |mut page: Page| -> Result<Page, Fault> {
            page.rows.iter_mut().try_for_each(|row| part.table.fit(row))?;
            Ok(page)
        };
        page.and_then(fit).map_err(self.at_open())
    }

    fn stored(&self, part: &Part, after: Option<&[Value]>, limit: usize) -> Result<Page, Fault> {
        let Rows::Stored { columns, from, filter, keys } = part.rows else {
            return Ok(Page { rows: Vec::new(), last: None });
        };
        let ordered = keys.join(", ");
        let entered = match after {
            None => String::new(),
            Some(_) => format!(" AND ({ordered}) > ({})", vec!["?"; keys.len()].join(", ")),
        };
        let sql =
            format!("SELECT {columns}, {ordered} FROM {from} WHERE {filter}{entered} ORDER BY {ordered} LIMIT {limit}");
        let mut statement = self.engine.conn.prepare_cached(&sql)?;
        let after = after.unwrap_or_default().iter().map(stored);
        let mut found = statement.query(rusqlite::params_from_iter(after))?;
        let (mut page, mut bytes) = (Page { rows: Vec::new(), last: None }, 0);
        let width = part.table.columns.len();
        while bytes < BYTES_AT_ONCE
            && let Some(row) = found.next()?
        {
            let mut values =
                (0..width + keys.len()).map(|at| value(row.get(at)?)).collect::<Result<Vec<_>, Fault>>()?;
            page.last = Some(values.split_off(width));
            if let Some(complete) = part.complete {
                complete(&mut values)?;
            }
            bytes += values.iter().map(Value::size).sum::<usize>();
            page.rows.push(values);
        }
        Ok(page)
    }

    /// Deliveries without a row, as what waits.
    fn fresh(&self, after: Option<&[Value]>, limit: usize) -> Page {
        let after = match after {
            Some([Value::Number(event), Value::Number(place)]) => {
                Some(DeliveryId { event: EventId(*event as u64), place: *place as u16 })
            }
            Some(_) | None => None,
        };
        let fresh = self.engine.shared.fresh();
        let rest = fresh.iter().filter(|(id, _)| after.is_none_or(|after| *id > after));
        let taken: Vec<_> = rest.take(limit).map(|(id, delivery)| delivery.row(id)).collect();
        let last =
            taken.last().map(|row| vec![Value::Number(row.id.event.0 as i64), Value::Number(row.id.place.into())]);
        Page { rows: taken.iter().map(waiting).collect(), last }
    }
}

/// A delivery that was never tried, as [`HOT`] has it.
fn waiting(row: &DeliveryRow) -> Vec<Value> {
    let reason = if row.test { Reason::Test } else { Reason::First };
    let column = |(name, _): &(&str, _)| match *name {
        "shard" => Value::Number(parts::shard(row.account, row.webhook)),
        "webhook" => Value::Number(row.webhook.into()),
        "event" => Value::Number(row.id.event.0 as i64),
        "place" => Value::Number(row.id.place.into()),
        "account" => Value::Number(row.account.into()),
        "type" => Value::Number(row.event_type.into()),
        "lead" => Value::Number(row.lead),
        "due_at" => Value::Number(row.due_at.unwrap_or_default().0),
        "attempts_made" | "retries_made" => Value::Number(0),
        "reason" => Value::Number(reason_number(reason)),
        "test" => Value::Number(row.test.into()),
        _ => Value::Null,
    };
    HOT.columns.iter().map(column).collect()
}

fn value(stored: Stored) -> Result<Value, Fault> {
    match stored {
        Stored::Null => Ok(Value::Null),
        Stored::Integer(number) => Ok(Value::Number(number)),
        Stored::Text(text) => Ok(Value::Text(text)),
        Stored::Blob(bytes) => Ok(Value::Bytes(bytes)),
        Stored::Real(_) => Err(Fault::damaged("a row", "it has a number that is not whole")),
    }
}

fn stored(value: &Value) -> Stored {
    match value {
        Value::Null => Stored::Null,
        Value::Number(number) => Stored::Integer(*number),
        Value::Text(text) => Stored::Text(text.clone()),
        Value::Bytes(bytes) => Stored::Blob(bytes.clone()),
    }
}
