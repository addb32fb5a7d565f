//! The store on PostgreSQL, for any number of nodes: the same rows as the embedded store's, in tables that many write at once.
//!
//! - `schema_1.sql` shows what is kept, and those after it what has become of that; one file a kind of row how it is read and written.
//! - Every delivery that has not ended has a row in `hot`, from the transaction that accepts its event on. So what is due, what
//!   waits for a webhook and what a crash has left are plain queries, and memory holds nothing that has to be rebuilt.
//! - [`PostgresStore`] has one connection through which it writes, in group commits, and several through which it reads.

mod accept;
mod accounts;
mod address;
mod apart;
mod audit;
mod bench;
mod cancelling;
mod change;
mod changing;
mod chronicle;
mod connection;
mod coverage;
mod deliveries;
mod directory;
mod dropping;
mod engine;
mod event_list;
mod event_types;
mod events;
mod fault;
mod feed;
mod figures;
mod hints;
mod hosts;
mod hot;
mod idempotency;
mod in_memory;
mod keys;
mod lack;
mod leases;
mod limits;
mod list;
mod look;
mod marks;
pub(crate) mod moving;
mod open;
mod partitions;
mod pool;
mod reader;
mod replayed;
mod replaying;
mod replays;
mod retain;
mod roll;
mod schema;
mod sessions;
mod settle;
mod shared;
mod shrink;
mod stats;
mod store;
mod streams;
mod tls;
mod upkeep;
mod webhooks;
mod writer;

pub use address::{Address, BadAddress};
pub use bench::{BenchFault, Job, RowQueue, Scratch, ServerCounts};
pub use engine::Chance;
pub use fault::OpenError;
pub use leases::{Identity, Leases};
pub use limits::Limits;
pub use look::{Found, look, time};
pub use schema::migrate;
pub use store::{PostgresStore, Settings};
pub use writer::{FactsHook, Whose};
