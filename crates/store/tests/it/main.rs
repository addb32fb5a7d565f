//! The stores from outside: the suite that each passes, and what holds for one of them besides.

mod conformance;
mod moving;
mod postgres;
mod sqlite;
