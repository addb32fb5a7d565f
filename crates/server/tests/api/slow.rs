//! Bodies that do not come.

use axum::body::{Body, Bytes};
use futures_util::stream;
use http::{Request, StatusCode};
use tower::ServiceExt as _;

use crate::world::{PLATFORM, World};

#[tokio::test(start_paused = true)]
async fn a_body_has_thirty_seconds() {
    let world = World::new();
    let trickle = stream::unfold((), async |()| {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from_static(b" ")), ()))
    });
    let request = Request::post("/v1/events")
        .header("authorization", format!("Bearer {PLATFORM}"))
        .header("content-type", "application/json")
        .body(Body::from_stream(trickle))
        .expect("a request");
    let before = tokio::time::Instant::now();
    let response = world.router.clone().oneshot(request).await.expect("the router does not fail");
    assert_eq!((response.status(), before.elapsed().as_secs()), (StatusCode::REQUEST_TIMEOUT, 30));
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(world.store_events().await, 0);
}
