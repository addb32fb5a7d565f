//! The shipped binary from outside: hostile input, the page line by line, `kill -9`, receivers in Python and JavaScript,
//! and the rules of the tree.

mod api;
mod bench;
mod certificates;
mod crash;
mod dns;
mod first_start;
mod hostile;
mod page;
mod python;
mod receiver;
mod room;
mod server;
mod table;
mod tidy;
mod wait;
