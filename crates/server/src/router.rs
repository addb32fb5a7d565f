//! The routes: those of the list of operations, and what every answer goes through.

use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use tower::util::MapResponseLayer;

use crate::api;
use crate::app::{Api, App};
use crate::dashboard;
use crate::problem;
use crate::stopping::Stopping;

/// The whole API, and the dashboard beside it.
pub fn router(app: App) -> Router {
    router_until(app, Stopping::default())
}

/// The whole API, whose streams end when `stopping` says so.
pub(crate) fn router_until(app: App, stopping: Stopping) -> Router {
    let api = Arc::new(Api::new(app, stopping));
    let mut router = Router::new();
    for operation in api::operations() {
        router = router.route(operation.path, operation.handler);
    }
    let answering = Arc::clone(&api);
    let finish = move |response: Response| {
        answering.live.metrics().answered(response.status());
        problem::render(&answering, response)
    };
    router.fallback(dashboard::serve).layer(MapResponseLayer::new(finish)).with_state(api)
}

/// The figures alone, open: for `--metrics-listen`.
pub fn metrics_router(app: App) -> Router {
    let api = Arc::new(Api::new(app, Stopping::default()));
    Router::new().route("/metrics", axum::routing::get(api::open_metrics)).with_state(api)
}
