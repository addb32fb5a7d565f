//! Rows as every store keeps them: how what is kept is written as numbers, texts and bytes, and read again; which numbers
//! stand for what. Which tables they are in, and the statements, are each store's own.

pub(crate) mod account;
pub(crate) mod attempt;
pub(crate) mod audit;
pub(crate) mod carried;
pub(crate) mod checksum;
pub(crate) mod damaged;
pub(crate) mod delivery;
pub(crate) mod entry;
pub(crate) mod event;
pub(crate) mod event_types;
pub(crate) mod figures;
pub(crate) mod first;
pub(crate) mod idempotency;
pub(crate) mod key;
pub(crate) mod names;
pub(crate) mod replay;
pub(crate) mod replayed;
pub(crate) mod search;
pub(crate) mod session;
pub(crate) mod stamps;
pub(crate) mod view;
pub(crate) mod wanted;
pub(crate) mod webhook;
