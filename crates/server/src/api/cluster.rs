//! The nodes that share the work, where many do: who lives, who holds how much of it, and how far behind it is.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::cluster::{Node, Nodes};
use domain::time::Timestamp;
use domain::waiting::oldest_due;
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;

use super::closed_sets;
use crate::app::Api;
use crate::auth::Caller;
use crate::json;
use crate::operation::{Access, Operation, shape};
use crate::problem::Problem;

/// How a node fares.
pub(super) const STATUSES: [&str; 3] = ["live", "leaving", "gone"];

/// The nodes, and what becomes of the shards.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cluster)]
struct ClusterJson {
    /// Whether nodes share the work; false where one process does it all, on the embedded store.
    #[schema(example = true)]
    shared: bool,
    /// Into how many shards the webhooks are divided.
    #[schema(example = 1024)]
    shards: u16,
    /// How many of them nobody holds.
    #[schema(example = 0)]
    free: u16,
    /// When the oldest delivery was due that waits for nothing but to be sent; null if none does.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    oldest_due: Option<Timestamp>,
    /// How far behind sending is: the seconds since then.
    #[schema(example = 0.0)]
    lag_seconds: f64,
    /// How many ends of attempts this node has refused to record, since another had taken the shard; such an attempt is made again.
    #[schema(example = 0)]
    refused: u64,
    /// The nodes, the oldest first. One that has died stays for some minutes, without figures, unless it has come back under its name.
    /// One that was told to end stays until it has given all of its shards back.
    nodes: Vec<NodeJson>,
}

/// A node.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClusterNode)]
struct NodeJson {
    /// The name of its machine, and the port that it listens on.
    #[schema(example = "a.example:8400")]
    name: String,
    /// The release that it runs.
    #[schema(example = "0.1.0")]
    version: String,
    /// When it came.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// When it was last heard.
    #[schema(value_type = String, format = DateTime)]
    heard: Timestamp,
    /// `live`; `leaving` while one that was told to end gives its shards back; `gone` once it is no longer heard and holds nothing.
    #[schema(value_type = closed_sets::NodeStatus, example = "live")]
    status: &'static str,
    /// Whether it is the one that answers.
    #[schema(example = true)]
    here: bool,
    /// How many shards it holds.
    #[schema(example = 342)]
    shards: u16,
    /// Attempts that it has in flight.
    #[schema(example = 7)]
    in_flight: u32,
    /// Deliveries in its memory.
    #[schema(example = 1203)]
    known: u32,
    /// When the oldest delivery of its shards was due that waits for nothing but to be sent, when it was last heard; null if none
    /// did.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    oldest_due: Option<Timestamp>,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(&Method::GET, "/v1/cluster", "get_cluster", cluster, "Get the nodes that share the work")
            .access(Access::Platform)
            .answers(200, "The nodes, and how far behind sending is.", Some(shape::<ClusterJson>())),
    ]
}

async fn cluster(State(api): State<Arc<Api>>, _platform: Caller) -> Result<Response, Problem> {
    let now = api.now();
    let (shared, Nodes { nodes, shards, free, refused }) = match &api.cluster {
        Some(cluster) => (true, cluster.nodes().await?),
        None => (false, Nodes { shards: domain::shard::SHARDS, ..Nodes::default() }),
    };
    let living = nodes.iter().filter(|node| node.lives);
    let oldest_due = if shared {
        living.filter_map(|node| node.report.oldest_due).min()
    } else {
        oldest_due(&*api.store, &*api.waiting, now).await?
    };
    Ok(json::ok(&ClusterJson {
        shared,
        shards,
        free,
        oldest_due,
        lag_seconds: oldest_due.map_or(0.0, |at| now.since(at).as_secs_f64()),
        refused,
        nodes: nodes.into_iter().map(node).collect(),
    }))
}

fn node(node: Node) -> NodeJson {
    let Node { name, version, since, heard, lives, here, shards, report } = node;
    let [live, leaving, gone] = STATUSES;
    let status = match (lives, shards) {
        (true, _) => live,
        // It works on what it has not given back.
        (false, 1..) => leaving,
        (false, 0) => gone,
    };
    NodeJson {
        name,
        version,
        since,
        heard,
        status,
        here,
        shards,
        in_flight: report.in_flight,
        known: report.known,
        oldest_due: report.oldest_due,
    }
}
