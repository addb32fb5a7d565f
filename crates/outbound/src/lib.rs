//! Sends requests to strangers: resolver, address guard, TLS, connection pool, deadline, capture of the answer.
//!
//! It implements [`domain::transport::Transport`] and [`domain::transport::Names`]. Every failure of an attempt is an
//! [`domain::attempt::Outcome`]; the one error beside it says that no attempt could be made. Nothing here follows a redirect, repeats a request,
//! reads a proxy from the environment or a name from the hosts file, decompresses or interprets a body.
//!
//! An attempt goes through these files: `attempt` (stages and the one deadline) → `resolver` (name to checked addresses,
//! with `guard`) → `pool`, or `dial` and `tls` for a new connection → `http1` or `http2` → `body`.

mod attempt;
mod body;
mod buffer;
mod certificate;
mod certificate_ends;
mod dial;
mod guard;
mod head;
mod http1;
mod http2;
mod look;
mod network;
mod pool;
mod resolver;
mod stream;
mod tls;

pub use network::{BadSettings, Network, Settings};
