//! The store in one SQLite file, from outside: the suite of all stores, and what holds for this one besides.

mod backup;
mod cancelling;
mod conformance;
mod crashes;
mod damage;
mod engine;
mod erasing;
mod figures;
mod layout_1;
mod reseal;
mod retention;
mod support;
