//! The nouns and the pure decisions of posthaste, and the seams through which the world comes in.
//!
//! Nothing here knows of tokio, of a socket or a file, of the wall clock or of chance: time and chance are arguments.

pub mod address;
pub mod attempt;
pub mod audit;
pub mod brand;
pub mod catalogue;
pub mod chronicle;
pub mod cluster;
pub mod custom_headers;
pub mod delivery;
pub mod directory;
pub mod endpoint_url;
pub mod event;
pub mod event_filter;
pub mod explain;
pub mod filter;
pub mod histogram;
pub mod id;
pub mod in_flight;
pub mod json_pointer;
pub mod key;
pub mod key_pair;
pub mod order;
pub mod policy;
pub mod redaction;
pub mod refusal;
pub mod replay;
pub mod retry;
pub mod retry_after;
pub mod secret;
pub mod seldom;
pub mod session;
pub mod shard;
pub mod signature;
pub mod size;
pub mod stats;
pub mod store;
pub mod time;
pub mod trace;
pub mod transport;
pub mod vault;
pub mod waiting;
pub mod webhook;
