//! What can go wrong between this store and its database, and what it means above the seam.

use domain::store::{AcceptError, ChangeError, NoSpace, StoreError};
use domain::vault::Unopened;
use tokio_postgres::error::SqlState;

use super::lack::NEEDED;
use super::tls;
use crate::rows::damaged::Damaged;

/// The store could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The server is older than this release can use.
    #[error("the server is PostgreSQL {0}, and 15 or newer is needed")]
    OldServer(String),
    /// The database's texts are in another encoding.
    #[error(
        "the database is encoded in {0}, and UTF8 is needed: createdb --encoding=UTF8 --template=template0 makes one"
    )]
    Encoding(String),
    /// Nothing can be written there.
    #[error(
        "the database takes no writes: it follows another, whose host is the one to name, or default_transaction_read_only is on for it"
    )]
    ReadOnly,
    /// The role may not do what is needed.
    #[error(
        "{0}: the role has to own the database, or to have USAGE and CREATE in its schema, and CONNECT to it: its owner GRANTs them"
    )]
    NotPermitted(String),
    /// The tables are another role's.
    #[error(
        "the table {table} belongs to {owner}, and the nodes' role has to own it, as it makes and drops the tables of days: \
         REASSIGN OWNED BY {owner} TO {role}, or ALTER TABLE … OWNER TO {role} for each"
    )]
    NotOwned {
        /// One of them.
        table: String,
        /// Whose it is.
        owner: String,
        /// Who has come.
        role: String,
    },
    /// A schema stands before the one that the tables lie in.
    #[error(
        "its tables lie in the schema {lie}, and {first} comes first in the search_path ({path}), where new ones would be made: name \
         the one that is meant in the address, by options=-csearch_path%3D{lie}, or set the role's search_path"
    )]
    Elsewhere {
        /// Where the tables are.
        lie: String,
        /// Where tables would be made.
        first: String,
        /// What was set.
        path: String,
    },
    /// The server has no such database.
    #[error("{0}: make it with createdb, or name one that is there")]
    NoDatabase(String),
    /// The server does not let the role in.
    #[error(
        "{0}: the address has to name a role that may log in, with its password, and the server's pg_hba.conf to let it in"
    )]
    NotLetIn(String),
    /// No TLS with the server, whoever asks again, until somebody mends what this names.
    #[error("{0}")]
    NoTls(String),
    /// Tables that somebody else has made have the names of ours.
    #[error("the database holds tables that are not posthaste's ({0}): name an empty one, which createdb makes")]
    Foreign(String),
    /// The tables were made by a later release.
    #[error(
        "the database has layout {found}, but this release knows layouts up to {known}: start the newer release again"
    )]
    Newer {
        /// The layout that was found.
        found: i32,
        /// The latest layout that this release knows.
        known: i32,
    },
    /// Nodes of an earlier release serve the database, and what they write does not fit the present layout.
    #[error(
        "nodes of an earlier release serve the database ({nodes} of them), and cannot go on with the layout of this one: stop them \
         first; one that died counts until its leases end"
    )]
    Served {
        /// How many.
        nodes: i64,
    },
    /// The encryption key is not the one that the store was made with.
    #[error("the database was made with another encryption key: give the one it was made with")]
    OtherKey,
    /// An embedded store is being moved into it.
    #[error("a store is being moved into the database: let `posthaste migrate` end first, or run it again")]
    Unfinished,
    /// A row is damaged.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// The database cannot be reached, or has refused.
    #[error("{0}")]
    Unusable(String),
}

/// A fault while reading or writing.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection is gone, or the server cannot serve now: what was under way may have been committed, or not.
    Lost(String),
    /// The server has no further connection for this node.
    Crowded(String),
    /// Another transaction was in the way: nothing was changed, and it can be tried again.
    Conflict(String),
    /// Something of this name is there already: the constraint's.
    Taken(String),
    /// A row that cannot be read; the text says which.
    Damaged(String),
    /// Another node has changed what memory says: it is to be read first, then this can be tried again.
    Stale,
    /// The database's disk is full.
    Full,
    /// The role may not do this.
    NotPermitted(String),
    /// There is no such database.
    NoDatabase(String),
    /// The role may not connect.
    NotLetIn(String),
    /// There is no connection, since TLS with the server came to nothing; and how to mend that.
    NoTls(String),
    /// The tables are not as they have to be: a day's is missing, or somebody has changed one.
    Unfit(String),
    /// The server has refused, and would again.
    Refused(String),
}

impl Fault {
    /// A row that cannot be read, with what the reading code said.
    pub(super) fn damaged(row: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Self::Damaged(format!("{row}: {why}"))
    }

    /// Whether the connection is of no further use.
    pub(super) const fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::NoTls(_) | Self::Crowded(_))
    }

    /// Whether nothing can be written for now, whatever it is: it can be once somebody has made room, given the right, or mended the tables.
    pub(super) const fn is_for_all(&self) -> bool {
        matches!(self, Self::Full | Self::NotPermitted(_) | Self::NoDatabase(_) | Self::NotLetIn(_) | Self::Unfit(_))
    }

    /// Whether the database refuses whatever is written, and not for want of space.
    pub(super) const fn is_refusal(&self) -> bool {
        self.is_for_all() && !matches!(self, Self::Full)
    }

    /// The same as [`OpenError`].
    pub(super) fn at_open(self) -> OpenError {
        match self {
            Self::Damaged(what) => OpenError::Damaged(what),
            Self::Lost(what) | Self::Conflict(what) | Self::Taken(what) | Self::Unfit(what) | Self::Refused(what) => {
                OpenError::Unusable(what)
            }
            Self::Crowded(what) => OpenError::Unusable(format!(
                "{what}: a node needs up to {NEEDED} connections: raise the CONNECTION LIMIT of its role or its database, or the server's \
                 max_connections, or end who else has them"
            )),
            Self::NotPermitted(what) => OpenError::NotPermitted(what),
            Self::NoDatabase(what) => OpenError::NoDatabase(what),
            Self::NotLetIn(what) => OpenError::NotLetIn(what),
            Self::NoTls(what) => OpenError::NoTls(what),
            Self::Stale | Self::Full => OpenError::Unusable(self.to_string()),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lost(what) | Self::NoTls(what) => write!(f, "the database cannot be reached: {what}"),
            Self::Crowded(what)
            | Self::Conflict(what)
            | Self::Taken(what)
            | Self::NotPermitted(what)
            | Self::NoDatabase(what)
            | Self::NotLetIn(what)
            | Self::Unfit(what)
            | Self::Refused(what) => f.write_str(what),
            Self::Damaged(what) => write!(f, "damaged record: {what}"),
            Self::Stale => f.write_str("another node has changed it meanwhile"),
            Self::Full => f.write_str("the database's disk is full"),
        }
    }
}

/// An error with what caused it: the driver's own text often is no more than "db error".
fn said(error: &tokio_postgres::Error) -> String {
    if let Some(refused) = error.as_db_error() {
        let detail = refused.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        return format!("{}{detail}", refused.message());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What the driver finds out by itself, by its words: it has no others for what somebody has to set up otherwise.
fn unsaid(what: String) -> Fault {
    if what.ends_with("password missing") {
        let none = "the server asks for a password, and the address has none (postgres://role:password@host/database)";
        return Fault::NotLetIn(none.to_owned());
    }
    Fault::Lost(what)
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(refused) = error.as_db_error() else {
            return match tls::mend(&error) {
                Some(mend) => Self::NoTls(format!("{}: {mend}", said(&error))),
                None => unsaid(said(&error)),
            };
        };
        let code = refused.code();
        // What a server says that starts, stops, or was cut off from its standby's promotion.
        let away = [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::READ_ONLY_SQL_TRANSACTION,
        ];
        if away.contains(code) || code.code().starts_with("08") {
            return Self::Lost(said(&error));
        }
        if code.code().starts_with("40") || *code == SqlState::LOCK_NOT_AVAILABLE || *code == SqlState::QUERY_CANCELED {
            return Self::Conflict(said(&error));
        }
        match *code {
            SqlState::TOO_MANY_CONNECTIONS => Self::Crowded(said(&error)),
            SqlState::UNIQUE_VIOLATION => Self::Taken(refused.constraint().unwrap_or_default().to_owned()),
            SqlState::DISK_FULL => Self::Full,
            // No schema that tables could be made in is one that the role may not use, or none at all.
            SqlState::INSUFFICIENT_PRIVILEGE | SqlState::INVALID_SCHEMA_NAME => Self::NotPermitted(said(&error)),
            SqlState::INVALID_CATALOG_NAME => Self::NoDatabase(said(&error)),
            // Each connection names its statements by itself: what is there already, or no longer, is another's.
            SqlState::DUPLICATE_PSTATEMENT | SqlState::INVALID_SQL_STATEMENT_NAME => {
                let way = "a pooler between that pools by transaction hands one connection's statements to another: have it pool by session, \
                           or name the database itself";
                Self::Refused(format!("{}: {way}", said(&error)))
            }
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION if refused.message().contains("client certificate") => {
                let way = "posthaste has none to show: let the role in by a password (scram-sha-256) in the server's pg_hba.conf";
                Self::Refused(format!("{}: {way}", said(&error)))
            }
            SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => Self::NotLetIn(said(&error)),
            // What has no table to go to has met no constraint that anybody has named.
            SqlState::CHECK_VIOLATION if refused.constraint().is_none() => Self::Unfit(said(&error)),
            SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => Self::Damaged(said(&error)),
            // Statements are the same for every row: what is wrong with one is the table's.
            _ if code.code().starts_with("42") => Self::Unfit(said(&error)),
            _ => Self::Refused(said(&error)),
        }
    }
}

impl From<Damaged> for Fault {
    fn from(Damaged(row): Damaged) -> Self {
        Self::Damaged(row)
    }
}

impl From<Unopened> for Fault {
    fn from(error: Unopened) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged(what) => Self::Damaged(what),
            Fault::Full => Self::NoSpace(NoSpace::Disk),
            Fault::Lost(why) | Fault::NoTls(why) => Self::Away(why),
            Fault::Crowded(why) => Self::Crowded(why),
            Fault::Conflict(_) | Fault::Stale => Self::Busy,
            Fault::Taken(what) => Self::Stopped(format!("it is taken: {what}")),
            Fault::NotPermitted(what) | Fault::NoDatabase(what) | Fault::NotLetIn(what) | Fault::Unfit(what) => {
                Self::Refused(what)
            }
            Fault::Refused(what) => Self::Stopped(what),
        }
    }
}

impl From<Fault> for AcceptError {
    fn from(fault: Fault) -> Self {
        Self::Store(fault.into())
    }
}

impl From<Fault> for ChangeError {
    fn from(fault: Fault) -> Self {
        Self::Store(fault.into())
    }
}

/// Why a change was not made.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It may not be.
    ByRule(ChangeError),
    /// It could not be.
    ByFault(Fault),
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        Self::ByRule(error)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::ByFault(fault)
    }
}
