//! The stores behind [`domain::store::Store`]: where everything is kept that must not be lost.

mod accepting;
mod batch;
pub mod conformance;
mod figures;
pub mod moving;
pub mod postgres;
mod rows;
pub mod sqlite;

pub use figures::Figures;
