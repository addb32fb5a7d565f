//! The routes: those of the list of operations, and what every answer goes through.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use http::StatusCode;

use crate::api;
use crate::app::{Api, App};
use crate::dashboard;
use crate::problem::{self, Problem};
use crate::stopping::Stopping;

/// The whole API, and the dashboard beside it.
pub fn router(app: App) -> Router {
    router_of(Arc::new(Api::new(app, Stopping::default())))
}

/// The whole API, whose streams end when its `stopping` says so.
pub(crate) fn router_of(api: Arc<Api>) -> Router {
    let mut router = Router::new();
    for operation in api::operations() {
        router = router.route(operation.path, operation.into_handler());
    }
    let around = middleware::from_fn_with_state(Arc::clone(&api), around);
    router.fallback(dashboard::serve).layer(around).with_state(api)
}

/// What every request and every answer goes through: the request gets its id, the answer carries it.
async fn around(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let id = api.new_request_id();
    request.extensions_mut().insert(id);
    let response = next.run(request).await;
    api.live.metrics().answered(response.status());
    if Problem::tells_damage(&response) {
        api.health.met_damage();
    }
    problem::render(id, response)
}

/// The figures alone, open: for `--metrics-listen`.
pub fn metrics_router(app: App) -> Router {
    let api = Arc::new(Api::new(app, Stopping::default()));
    let rendered = middleware::from_fn_with_state(Arc::clone(&api), rendered);
    let elsewhere = async || {
        let detail = "Only GET /metrics is here. The API, the dashboard and the answers on health are at the address of `listen`.";
        Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
    };
    let router = Router::new().route("/metrics", axum::routing::get(api::open_metrics));
    router.fallback(elsewhere).layer(rendered).with_state(api)
}

/// Writes the documents of problems.
async fn rendered(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    problem::render(api.new_request_id(), next.run(request).await)
}
