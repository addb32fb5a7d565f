//! Moving house: everything that an embedded store keeps, carried into a database.
//!
//! Rows go over in batches, each in one transaction with how far the move has come: so a move that was cut short, however that
//! was, goes on from there when it is run again. At the end both sides are read in whole and compared; then the store notes that
//! it was moved, and is served no more; then the database notes that all is there, and may be served. Between these two
//! neither is served, and running it again finishes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use domain::time::Timestamp;
use domain::vault::Vault;

use crate::postgres::moving::{Ends, Holds, Progress, Target, Unmoved};
use crate::postgres::{self, Address};
use crate::rows::carried::{Sum, TABLES};
use crate::sqlite::moving::{Moved as Marked, Source};
use crate::sqlite::{self, Chance};

/// How many rows go over at once, unless somebody asks for another number.
pub const ROWS_AT_ONCE: usize = 2_000;
/// The tables that give numbers which are never used again.
const NUMBERED: [&str; 3] = ["accounts", "webhooks", "replays"];

/// What is moved, and where to.
pub struct Parts<'a> {
    /// The data directory of the embedded store. Nobody may serve it meanwhile.
    pub from: &'a Path,
    /// The database, which is empty or holds what an earlier run of the same move has carried.
    pub to: &'a Address,
    /// The operator's encryption key: both sides are sealed with it.
    pub vault: Vault,
    /// Where the move's name comes from.
    pub chance: Chance,
    /// The time.
    pub now: Timestamp,
    /// How many rows go over at once.
    pub rows_at_once: usize,
}

/// What a move is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It compares the checksum of every row of the store.
    Checking,
    /// So many rows are in the database, of so many.
    Carried(u64, u64),
    /// Of rows of this kind so many went over, and that was the last of them.
    Kind(&'static str, u64),
    /// Of so many rows so many are compared.
    Compared(u64, u64),
}

/// What was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The tables, and how many rows each has.
    pub rows: Vec<(&'static str, u64)>,
    /// An earlier run had begun it.
    pub resumed: bool,
    /// An earlier run had finished it: nothing was done or compared.
    pub already: bool,
    /// Closed accounts that were still being erased: nothing of them was carried.
    pub left_out: u64,
}

/// A move could not be made, or not to its end; run again, it goes on.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The embedded store cannot be read.
    #[error("{0}")]
    From(#[from] sqlite::OpenError),
    /// The database cannot be written.
    #[error("{0}")]
    To(postgres::OpenError),
    /// Nothing answers at the database's address, or no longer.
    #[error("{0}")]
    Unreachable(String),
    /// The database is not empty.
    #[error("the database holds a store already: name an empty one")]
    NotEmpty,
    /// The database holds part of another move.
    #[error("the database holds part of another move: of another store, or of this one before it was served again")]
    OtherMove {
        /// Whether [`abandon`] would take it out, since it may well be this store's.
        may_be_abandoned: bool,
    },
    /// Another move into the database is under way.
    #[error("another move into the database is under way")]
    Busy,
    /// The store was moved into another database.
    #[error("everything in {dir} was moved already, into {to}", dir = dir.display())]
    MovedElsewhere {
        /// The data directory.
        dir: PathBuf,
        /// The database, for people.
        to: String,
    },
    /// There is nothing to give up.
    #[error("the database holds no move that is unfinished: nothing was taken out of it")]
    NotUnderWay,
    /// The comparison at the end has found a difference. [`abandon`] empties the database.
    #[error("{table} differ: {from} rows here, {to} there")]
    Differs {
        /// The database's table.
        table: &'static str,
        /// How many rows the store has for it.
        from: u64,
        /// How many rows it has.
        to: u64,
    },
}

impl From<Unmoved> for MoveError {
    fn from(error: Unmoved) -> Self {
        match error {
            Unmoved::Unreachable(what) => Self::Unreachable(what),
            Unmoved::Busy => Self::Busy,
            Unmoved::Open(error) => Self::To(error),
        }
    }
}

/// Moves a store, or goes on with it. Reads of the store are made on the present thread.
///
/// # Errors
/// [`MoveError`].
pub async fn run(parts: Parts<'_>, mut told: impl FnMut(Step)) -> Result<Moved, MoveError> {
    let Parts { from, to, vault, mut chance, now, rows_at_once } = parts;
    let mut id = [0; 16];
    chance(&mut id);
    let mut source = Source::open(from, vault, chance, now)?;
    let mut target = Target::open(to).await?;
    let (marked, holds) = (source.moved()?, target.holds().await?);
    let (mut progress, resumed) = match holds {
        Holds::Store => return Err(MoveError::NotEmpty),
        Holds::Nothing => match marked {
            Marked::All(_) => return Err(elsewhere(&source, from)),
            Marked::No | Marked::Begun(_) => {
                told(Step::Checking);
                source.prepare()?;
                source.set_moved(Marked::Begun(id))?;
                let progress = Progress { id, part: 0, after: None, rows: 0, finished: false };
                if !target.begin(&progress, &source.key_check()?).await? {
                    return Err(MoveError::NotEmpty);
                }
                (progress, false)
            }
        },
        Holds::Move(_, sealed) if !source.opens(&sealed) => return Err(MoveError::To(postgres::OpenError::OtherKey)),
        Holds::Move(progress, _) => match marked {
            Marked::All(id) if id == progress.id && progress.finished => return already(&source),
            Marked::Begun(id) | Marked::All(id) if id == progress.id => (progress, true),
            Marked::All(_) => return Err(elsewhere(&source, from)),
            Marked::No | Marked::Begun(_) if progress.finished => return Err(MoveError::NotEmpty),
            Marked::No => {
                return Err(MoveError::OtherMove { may_be_abandoned: progress.is_before(Source::parts()) });
            }
            Marked::Begun(_) => return Err(MoveError::OtherMove { may_be_abandoned: false }),
        },
    };
    carry(&source, &mut target, &mut progress, rows_at_once, &mut told).await?;
    let rows = compare(&source, &target, rows_at_once, &mut told).await?;
    source.set_moved_to(&to.place())?;
    source.set_moved(Marked::All(progress.id))?;
    progress.finished = true;
    let highest = |table: &'static str| Ok((table, source.highest(table)?));
    let ends = Ends {
        reserved: source.reserved()?,
        rolled: source.rolled()?,
        highest: NUMBERED.into_iter().map(highest).collect::<Result<_, sqlite::OpenError>>()?,
    };
    target.finish(&progress, &ends, now).await?;
    Ok(Moved { rows, resumed, already: false, left_out: source.being_erased()? })
}

/// Gives a move up that is not finished: takes out of the database all that it has carried, so that the store is served on, or moved
/// anew. Until a move has ended nobody serves the database, and the store lacks nothing. Of a move that the store does not know any
/// more, since it was served meanwhile, only what was cut short while it carried is taken for this store's: where everything was
/// carried, another store may have noted that all it has is there.
///
/// # Errors
/// [`MoveError`]; what was begun goes on when it is asked for again.
pub async fn abandon(parts: Parts<'_>) -> Result<u64, MoveError> {
    let Parts { from, to, vault, chance, now, .. } = parts;
    let source = Source::open(from, vault, chance, now)?;
    match postgres::look(to, None).await {
        Err(postgres::OpenError::Unfinished) => {}
        // Nothing is made in a database that has no tables of ours.
        Ok(_) => return Err(MoveError::NotUnderWay),
        // It says better what is wrong.
        Err(_) => {}
    }
    let mut target = Target::open(to).await?;
    let (progress, sealed) = match target.holds().await? {
        Holds::Move(progress, sealed) if !progress.finished => (progress, sealed),
        Holds::Move(..) | Holds::Nothing | Holds::Store => return Err(MoveError::NotUnderWay),
    };
    if !source.opens(&sealed) {
        return Err(MoveError::To(postgres::OpenError::OtherKey));
    }
    match source.moved()? {
        Marked::Begun(id) if id == progress.id => {}
        // Everything was compared, and the end is missing. First the store is to be served again, whatever happens next.
        Marked::All(id) if id == progress.id => source.set_moved(Marked::Begun(id))?,
        Marked::No if progress.is_before(Source::parts()) => {}
        Marked::No | Marked::Begun(_) | Marked::All(_) => {
            return Err(MoveError::OtherMove { may_be_abandoned: false });
        }
    }
    let rows = progress.rows;
    target.empty(progress).await?;
    source.set_moved(Marked::No)?;
    Ok(rows)
}

/// The store was moved into another database: into which.
fn elsewhere(source: &Source, from: &Path) -> MoveError {
    source.moved_to().map_or_else(MoveError::From, |to| MoveError::MovedElsewhere { dir: from.to_owned(), to })
}

/// What the store says of a move that was finished.
fn already(source: &Source) -> Result<Moved, MoveError> {
    let mut rows: BTreeMap<&'static str, u64> = BTreeMap::new();
    for part in 0..Source::parts() {
        if let Some((table, _)) = Source::part(part) {
            *rows.entry(table.name).or_default() += source.count(part)?;
        }
    }
    let rows = rows.into_iter().collect();
    Ok(Moved { rows, resumed: true, already: true, left_out: source.being_erased()? })
}

/// Carries over what is not there yet.
async fn carry(
    source: &Source,
    target: &mut Target,
    progress: &mut Progress,
    rows_at_once: usize,
    told: &mut impl FnMut(Step),
) -> Result<(), MoveError> {
    let counts = (0..Source::parts()).map(|part| source.count(part)).collect::<Result<Vec<_>, _>>()?;
    let all = counts.iter().sum();
    told(Step::Carried(progress.rows, all));
    while let Some((table, said)) = Source::part(progress.part) {
        let page = source.page(progress.part, progress.after.as_deref(), rows_at_once)?;
        let Some(last) = page.last else {
            told(Step::Kind(said, counts.get(progress.part).copied().unwrap_or(0)));
            progress.part += 1;
            progress.after = None;
            continue;
        };
        progress.after = Some(last);
        progress.rows += page.rows.len() as u64;
        target.put(table, page.rows, progress).await?;
        told(Step::Carried(progress.rows, all));
    }
    // Before anything is compared, and so before the store can note that all of it is there: who gives it up has to know.
    Ok(target.note(progress).await?)
}

/// Reads both sides in whole, and compares every row of each table; says how many each has.
async fn compare(
    source: &Source,
    target: &Target,
    rows_at_once: usize,
    told: &mut impl FnMut(Step),
) -> Result<Vec<(&'static str, u64)>, MoveError> {
    let all = (0..Source::parts()).map(|part| source.count(part)).sum::<Result<u64, _>>()?;
    let mut sums: BTreeMap<&'static str, Sum> = BTreeMap::new();
    let mut compared = 0;
    for part in 0..Source::parts() {
        let Some((table, _)) = Source::part(part) else { continue };
        let sum = sums.entry(table.name).or_default();
        let mut after = None;
        loop {
            let page = source.page(part, after.as_deref(), rows_at_once)?;
            page.rows.iter().for_each(|row| sum.add(row));
            compared += page.rows.len() as u64;
            told(Step::Compared(compared, all));
            match page.last {
                Some(last) => after = Some(last),
                None => break,
            }
        }
    }
    let mut rows = Vec::with_capacity(TABLES.len());
    for table in TABLES {
        let here = sums.get(table.name).copied().unwrap_or_default();
        let there = target.sum(table).await?;
        if here != there {
            return Err(MoveError::Differs { table: table.name, from: here.rows, to: there.rows });
        }
        rows.push((table.name, here.rows));
    }
    Ok(rows)
}
