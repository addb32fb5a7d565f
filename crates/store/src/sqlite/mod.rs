//! The store in one SQLite file: group commits by one writer, reads beside it.
//!
//! - `schema_1.sql` shows what is on disk, one file per kind of row how it is read and written.
//! - [`Engine`] is every write, without threads or a clock of its own: what a simulation drives.
//! - [`SqliteStore`] is the engine on a thread, with a queue before it and readers beside it.

mod accept;
mod accounts;
mod attempts;
mod audit;
mod backup;
mod ballast;
mod cancelling;
mod change;
mod check;
mod checkpoint;
mod counted;
mod coverage;
mod data_dir;
mod deliveries;
mod due;
mod engine;
mod erase;
mod event_list;
mod event_types;
mod events;
mod fault;
mod figures;
mod first_figures;
mod fresh;
mod idempotency;
mod journal;
mod keys;
mod limits;
mod list;
mod log;
mod marks;
pub(crate) mod moving;
mod plans;
mod reader;
mod readers;
mod recover;
mod replayed;
mod replaying;
mod replays;
mod reseal;
mod retain;
mod schema;
mod sessions;
mod settle;
mod shared;
mod sizes;
mod stats;
mod store;
mod streams;
mod webhooks;
mod writer;
mod young;

#[cfg(test)]
mod tests;

use crate::rows::{checksum, search, stamps, view};

pub use backup::{copy, copy_opens_with, opens_with};
pub use cancelling::HeldUntil;
pub use check::{Checked, check, check_file};
pub use data_dir::{DATABASE, UNFINISHED, whole};
pub use engine::{Chance, Engine, Parts};
pub use erase::Erased;
pub use fault::OpenError;
pub use limits::Limits;
pub use moving::could_be_served;
pub use reader::Reader;
pub use replaying::Prepare;
pub use reseal::rotate;
pub use retain::Retained;
pub use store::{Settings, SqliteStore};
pub use writer::{FactsHook, FatalHook, Figures, Retention};
