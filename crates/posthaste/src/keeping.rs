//! Where a service keeps everything: in a directory of its own, or in a database that it may share with other nodes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::chronicle::Chronicle;
use domain::cluster::Arrivals;
use domain::directory::SharedDirectory;
use domain::shard::Holdings;
use domain::store::{Fact, Store};
use domain::time::{Clock as _, Timestamp, write_span};
use domain::vault::Vault;
use store::Figures;
use store::postgres::{self, Address, FactsHook, PostgresStore, Whose};
use store::sqlite::{self, SqliteStore};
use tokio::sync::watch;

use crate::chance;
use crate::clock::SystemClock;
use crate::exit::Stop;
use crate::settings::{BadSetting, Mode, Settings};

/// For how long the end of the process waits for a database that is there and does not answer.
const DATABASE_ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How far this machine's clock may be from the database's.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(3_600);
/// From which difference on it is told.
const CLOCKS_APART_TOLD: Duration = Duration::from_secs(1);
/// Bytes of the disk that are kept back for when it is full.
const BALLAST: u64 = 64 * 1024 * 1024;

/// A place to keep everything.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// The embedded store, in this directory.
    Directory(PathBuf),
    /// PostgreSQL.
    Database(Box<Address>),
}

impl Place {
    /// Where the settings say that everything is kept; `None` where they do not say.
    ///
    /// # Errors
    /// When they name more than one place, or one that the mode does not have.
    pub(crate) fn of(settings: &Settings, mode: Mode) -> Result<Option<Self>, BadSetting> {
        let bad = |said: &str| {
            let origin = settings.shown.iter().find(|shown| shown.name == "database").map(|shown| shown.origin.clone());
            Err(BadSetting { origin, ..BadSetting::new("database", said) })
        };
        match (mode, &settings.data, &settings.database) {
            (Mode::Dev, _, Some(_)) => bad("`posthaste dev` keeps everything in a directory: use `posthaste serve`"),
            (Mode::Serve, Some(_), Some(_)) => {
                bad("everything is kept in one place, and data names another: leave one of the two out")
            }
            (_, Some(data), None) => Ok(Some(Self::Directory(data.clone()))),
            (Mode::Serve, None, Some(database)) => Ok(Some(Self::Database(Box::new(database.clone())))),
            (_, None, None) => Ok(None),
        }
    }

    /// The directory, if it is one.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(data) => Some(data),
            Self::Database(_) => None,
        }
    }
}

/// What a store is opened with, wherever it is.
pub(crate) struct Opening<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) key: &'a [u8; 32],
    pub(crate) directory: SharedDirectory,
    /// Told what is committed, in the order of the commits.
    pub(crate) facts: FactsHook,
    /// Told why the store has stopped for good.
    pub(crate) failed: watch::Sender<Option<String>>,
    /// The shards that this node holds, where many share them.
    pub(crate) holdings: Option<Holdings>,
}

/// An open store.
#[derive(Clone)]
pub(crate) enum Kept {
    /// In a directory.
    Sqlite(Arc<SqliteStore>),
    /// In a database.
    Postgres(Arc<PostgresStore>),
}

impl Kept {
    /// Opens the store of a place, or makes one. The facts are what a dispatcher has to know first.
    ///
    /// # Errors
    /// The setting that has to be changed.
    pub(crate) async fn open(place: &Place, opening: Opening<'_>) -> Result<(Self, Vec<Fact>), Stop> {
        let Opening { settings, key, directory, mut facts, failed, holdings } = opening;
        let clock = Arc::new(SystemClock);
        match place {
            Place::Directory(dir) => {
                let opened = SqliteStore::open(sqlite::Settings {
                    dir,
                    vault: Vault::new(key),
                    directory,
                    clock,
                    chance: Box::new(chance::fill),
                    retention: sqlite::Retention { age: Some(settings.retention), size: settings.retention_size },
                    limits: sqlite::Limits { ballast: BALLAST, ..sqlite::Limits::default() },
                    facts: Box::new(move |told| facts(told, Whose::Ours)),
                    fatal: Box::new(move |why| {
                        failed.send_replace(Some(why.to_owned()));
                    }),
                });
                let (store, known) = opened.map_err(|error| refused(&error))?;
                Ok((Self::Sqlite(Arc::new(store)), known))
            }
            Place::Database(address) => {
                let theirs = postgres::time(address).await.map_err(|error| refused_by_database(address, &error))?;
                clocks_agree(clock.now(), theirs).map_err(|said| BadSetting::new("database", said))?;
                let opened = PostgresStore::open(postgres::Settings {
                    address: Address::clone(address),
                    vault: Vault::new(key),
                    directory,
                    holdings,
                    clock,
                    chance: Box::new(chance::fill),
                    keep: Some(settings.retention),
                    size: settings.retention_size,
                    limits: postgres::Limits::default(),
                    facts,
                });
                let (store, known) = opened.await.map_err(|error| refused_by_database(address, &error))?;
                Ok((Self::Postgres(Arc::new(store)), known))
            }
        }
    }

    /// The store.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as Arc<dyn Store>,
            Self::Postgres(store) => Arc::clone(store) as Arc<dyn Store>,
        }
    }

    /// Where deliveries are read that other nodes have accepted, where there may be others.
    pub(crate) fn arrivals(&self) -> Option<Arc<dyn Arrivals>> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(store) => Some(Arc::clone(store) as Arc<dyn Arrivals>),
        }
    }

    /// What happens on all nodes, where many share it.
    pub(crate) fn chronicle(&self) -> Option<Arc<dyn Chronicle>> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(store) => Some(Arc::clone(store) as Arc<dyn Chronicle>),
        }
    }

    /// Its figures.
    pub(crate) fn figures(&self) -> Arc<Figures> {
        match self {
            Self::Sqlite(store) => store.figures(),
            Self::Postgres(store) => store.figures(),
        }
    }

    /// Writes what waits, and closes it.
    pub(crate) async fn stop(self) {
        match self {
            Self::Sqlite(store) => {
                if let Err(error) = tokio::task::spawn_blocking(move || store.stop()).await {
                    tracing::error!(%error, "the store could not be closed");
                }
            }
            Self::Postgres(store) => {
                if tokio::time::timeout(DATABASE_ANSWERS_WITHIN, store.stop()).await.is_err() {
                    tracing::warn!("the database does not answer: what it was asked last may be committed or not");
                }
            }
        }
    }
}

/// Why the embedded store cannot be opened, by the setting that has to be changed.
fn refused(error: &sqlite::OpenError) -> Stop {
    let setting = match error {
        sqlite::OpenError::OtherKey(_) => "encryption-key",
        sqlite::OpenError::Locked(_)
        | sqlite::OpenError::Newer { .. }
        | sqlite::OpenError::Moved { .. }
        | sqlite::OpenError::Damaged { .. }
        | sqlite::OpenError::Unusable { .. } => "data",
    };
    let mend =
        if matches!(error, sqlite::OpenError::Locked(_)) { ": end that one, or name another directory" } else { "" };
    BadSetting::new(setting, format!("{error}{mend}")).into()
}

/// A node by whose clock everything is old would erase what all of them keep, and one that is behind would send late.
pub(crate) fn clocks_agree(ours: Timestamp, theirs: Timestamp) -> Result<(), String> {
    let (ahead, behind) = (ours.since(theirs), theirs.since(ours));
    let apart = ahead.max(behind);
    let how = if ahead > behind { "ahead of" } else { "behind" };
    if apart <= CLOCKS_APART_MAX {
        if apart > CLOCKS_APART_TOLD {
            let seconds = apart.as_secs();
            tracing::warn!(
                seconds,
                "this machine's clock is {how} the database's: what other nodes plan is sent as much later or sooner"
            );
        }
        return Ok(());
    }
    Err(format!(
        "this machine's clock is {} {how} the database's: set the one that is wrong, keep both set by NTP, and start again",
        // In whole hours: it is large, and what is beyond them says nothing.
        write_span(Duration::from_secs(apart.as_secs() / 3_600 * 3_600))
    ))
}

/// Why the database cannot be used, by the setting that has to be changed.
fn refused_by_database(address: &Address, error: &postgres::OpenError) -> Stop {
    let setting = match error {
        postgres::OpenError::OtherKey => "encryption-key",
        postgres::OpenError::OldServer(_)
        | postgres::OpenError::Encoding(_)
        | postgres::OpenError::ReadOnly
        | postgres::OpenError::NotPermitted(_)
        | postgres::OpenError::NotOwned { .. }
        | postgres::OpenError::Elsewhere { .. }
        | postgres::OpenError::NoDatabase(_)
        | postgres::OpenError::NotLetIn(_)
        | postgres::OpenError::NoTls(_)
        | postgres::OpenError::Foreign(_)
        | postgres::OpenError::Newer { .. }
        | postgres::OpenError::Served { .. }
        | postgres::OpenError::Unfinished
        | postgres::OpenError::Damaged(_)
        | postgres::OpenError::Unusable(_) => "database",
    };
    BadSetting::new(setting, format!("{}: {error}", address.hosts())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_needs_the_time_of_its_database() {
        let theirs = Timestamp(1_795_464_000_000_000);
        let day = Duration::from_secs(86_400);
        assert!(clocks_agree(theirs.plus(CLOCKS_APART_MAX), theirs).is_ok());
        assert!(clocks_agree(theirs.minus(CLOCKS_APART_MAX), theirs).is_ok());
        for (ours, said) in [(theirs.plus(day * 60), "60d ahead of"), (theirs.minus(day), "1d behind")] {
            let refused = clocks_agree(ours, theirs).expect_err("they are apart").to_string();
            assert!(refused.contains(said), "{refused}");
        }
    }
}
