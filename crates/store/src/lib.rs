//! The stores behind [`domain::store::Store`].

pub mod sqlite;
