//! The store in one SQLite file: what holds for it besides the suite.

mod backup;
mod cancelling;
mod crashes;
mod damage;
mod engine;
mod erasing;
mod figures;
mod layout_1;
mod reseal;
mod retention;
mod support;
