//! The real scheduler and the real store under virtual time, with scripted receivers, people and crashes.
//!
//! A seed decides everything: who posts what when, how receivers answer, when the process dies. The same seed tells the
//! same story, line for line. After hours of trouble everything heals, and then every acknowledged delivery must have ended.

mod cluster;
mod disk;
mod ledger;
mod orders;
mod people;
mod receiver;
mod world;

pub use cluster::{Mutation, Size, Told as ClusterTold, run_cluster};
pub use ledger::Violation;
pub use world::{Told, run};
