//! Deciding which delivery is sent when: the scheduler, a state machine without I/O, and the driver that carries out what
//! it says.

mod driver;
mod horizon;
mod lane;
pub mod leases;
mod loader;
mod ordered;
mod replays;
pub mod scheduler;
mod sender;
mod turns;
mod unread;

pub use driver::{Dispatch, Facts, Feed, Gauges, Parts, Pulse, Sharing, feed, start};
pub use sender::build_request;
