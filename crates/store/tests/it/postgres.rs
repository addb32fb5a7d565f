//! The store on PostgreSQL: what holds for it besides the suite.

mod starting;
