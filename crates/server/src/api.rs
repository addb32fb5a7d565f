//! The resources, one per file: each with its operations, what it reads and what it writes.

mod accept_events;
mod account_limits;
mod account_log;
mod accounts;
mod answer_headers;
mod attempt_json;
mod audit;
mod brand;
mod closed_sets;
mod cluster;
mod deliveries;
mod delivery_count;
mod delivery_export;
mod delivery_json;
mod egress_ips;
mod event_batch;
mod event_types;
mod events;
mod inbox;
mod keys;
mod listen;
mod openapi;
mod openapi_document;
mod operations;
mod portal_sessions;
mod replay_json;
mod replays;
mod sessions;
mod stats;
mod stats_json;
mod stream;
mod stream_messages;
mod stream_news;
mod url_check;
mod webhook_actions;
mod webhook_change;
mod webhook_input;
mod webhook_json;
mod webhook_keys;
mod webhook_secret;
mod webhook_test;
mod webhooks;

pub(crate) use operations::open_metrics;
pub(crate) use stream::Streams;

use crate::operation::{Operation, Shape, shape};

/// Every operation of the API, in the order of its description.
pub(crate) fn operations() -> Vec<Operation> {
    [
        accept_events::operations(),
        accounts::operations(),
        webhooks::operations(),
        webhook_actions::operations(),
        webhook_secret::operations(),
        webhook_keys::operations(),
        webhook_test::operations(),
        stats::operations(),
        url_check::operations(),
        events::operations(),
        deliveries::operations(),
        delivery_count::operations(),
        delivery_export::operations(),
        replays::operations(),
        stream::operations(),
        listen::operations(),
        keys::operations(),
        audit::operations(),
        sessions::operations(),
        portal_sessions::operations(),
        brand::operations(),
        inbox::operations(),
        event_types::operations(),
        egress_ips::operations(),
        operations::operations(),
        cluster::operations(),
        openapi::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The shapes of what streams carry, which no operation's answer names.
fn stream_shapes() -> Vec<Shape> {
    vec![shape::<stream_news::StreamMessages>()]
}
