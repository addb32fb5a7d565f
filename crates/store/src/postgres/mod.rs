//! The store on PostgreSQL, for any number of nodes: the same rows as the embedded store's, in tables that many write at once.
//!
//! - `schema_1.sql` shows what is kept, one file a kind of row how it is read and written.
//! - Every delivery that has not ended has a row in `hot`, from the transaction that accepts its event on. So what is due, what
//!   waits for a webhook and what a crash has left are plain queries, and memory holds nothing that has to be rebuilt.
//! - [`PostgresStore`] has one connection through which it writes, in group commits, and several through which it reads.

mod address;
#[expect(dead_code, reason = "what uses all of it follows")]
mod connection;
#[expect(dead_code, reason = "what uses all of it follows")]
mod fault;
#[expect(dead_code, reason = "what uses all of it follows")]
mod partitions;
mod schema;
mod tls;

pub use address::{Address, BadAddress};
pub use fault::OpenError;
pub use schema::migrate;
