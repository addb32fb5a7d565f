//! The store on PostgreSQL: what holds for it besides the suite.

mod chronicle;
mod connecting;
mod crowded;
mod layouts;
mod leases;
mod nodes;
mod outages;
mod plans;
mod retention;
mod starting;
mod support;
