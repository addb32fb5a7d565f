//! The store in one SQLite file, from outside: the suite of all stores, and what holds for this one besides.

mod conformance;
mod crashes;
mod damage;
mod engine;
mod layout_1;
mod support;
