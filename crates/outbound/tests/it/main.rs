//! The network crate against strangers on loopback: receivers that follow a script, and a name server that lies as told.
//!
//! As the table of hostile inputs has it, "public" is 127.0.0.2, opened, and "private" 10.0.0.1, which is never dialled.

mod answers;
mod authority;
mod certificates;
mod connections;
mod http2;
mod looks;
mod name_server;
mod names;
mod receiver;
mod sending;
