//! The store on PostgreSQL: what holds for it besides the suite.

mod nodes;
mod outages;
mod plans;
mod starting;
mod support;
