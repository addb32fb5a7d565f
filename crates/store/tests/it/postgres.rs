//! The store on PostgreSQL: what holds for it besides the suite.

mod chronicle;
mod crowded;
mod layouts;
mod leases;
mod nodes;
mod outages;
mod plans;
mod retention;
mod starting;
mod support;
