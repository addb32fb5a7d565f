//! The shipped binary from outside: hostile input, the page line by line, `kill -9`, receivers in Python and JavaScript,
//! and the rules of the tree.

mod api;
mod backup;
mod bench;
mod certificates;
mod compose;
mod crash;
mod database;
mod descriptors;
mod disk_full;
mod dns;
mod erasing;
mod export;
mod first_start;
mod following;
mod fuzz;
mod handing_over;
mod hostile;
mod listen;
mod moving;
mod nodes;
mod operating;
mod ordering;
mod packaging;
mod page;
mod politeness;
mod public_keys;
mod python;
mod receiver;
mod replaying;
mod room;
mod rotation;
mod running;
mod server;
mod table;
mod terminal;
mod tidy;
#[cfg(feature = "otel")]
mod traces;
mod typing;
mod verifying;
mod wait;
mod waiting;
mod whole;
