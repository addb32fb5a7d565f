//! The HTTP API over the store: what comes in is judged here, and nothing is kept here.
//!
//! [`serve`] runs the accept loop; [`router`] is the same API without a socket. The list of operations in `api` is the one
//! source of the routes, of the OpenAPI document and of the tests that go over every route.

mod api;
mod app;
mod auth;
mod body;
mod carrier;
mod dashboard;
mod docs_page;
mod event_counts;
mod following;
mod framing;
mod health;
mod idempotency;
mod inbox;
mod json;
mod json_input;
mod key_uses;
mod limits;
mod listening;
mod live;
mod metrics;
mod operation;
mod outside;
mod page;
mod problem;
mod refuse;
mod router;
mod same_origin;
mod serve;
mod signed_in;
mod stopping;
mod strict_head;

pub use app::{App, Disk, Random, ShownSetting};
pub use carrier::Carrier;
pub use dashboard::{Dashboard, DashboardFile};
pub use health::Health;
pub use inbox::{Inbox, InboxBox, InboxRequest};
pub use listening::Listening;
pub use live::Live;
pub use outside::Outside;
pub use router::{metrics_router, router};
pub use serve::{bind, serve, serve_metrics};
