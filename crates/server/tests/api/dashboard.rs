//! How the dashboard's files are given out.

use http::{Method, StatusCode};
use server::{Dashboard, DashboardFile};

use crate::world::{PLATFORM, Reply, World};

const PAGE: &str = "<!doctype html><base href=\"/\"><title>x</title>";

/// A page and a script.
pub(crate) fn of_the_tests() -> Dashboard {
    let file = DashboardFile { path: "", media: "", plain: b"", gzip: b"", brotli: b"" };
    let files = [
        DashboardFile { path: "index.html", media: "text/html; charset=utf-8", plain: PAGE.as_bytes(), ..file },
        DashboardFile {
            path: "assets/a-1.js",
            media: "text/javascript; charset=utf-8",
            plain: b"plain",
            gzip: b"gzip",
            brotli: b"br",
        },
        DashboardFile { path: "theme.js", media: "text/javascript; charset=utf-8", plain: b"plain", ..file },
    ];
    let portal_origins = vec!["https://app.example.com".to_owned(), "https://other.example".to_owned()];
    Dashboard { files: files.into(), base: "/hooks/".to_owned(), portal_origins }
}

async fn get(world: &World, path: &str, header: (&str, &str)) -> Reply {
    world.ask(Method::GET, path).header(header.0, header.1).send().await
}

#[tokio::test]
async fn every_address_that_a_browser_asks_for_gets_the_page_and_the_api_keeps_its_own() {
    let world = World::new();
    let html = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
    for path in ["/", "/accounts/default/webhooks", "/index.html", "/no/such/thing"] {
        let page = get(&world, path, html).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert_eq!(page.body, PAGE.replace("\"/\"", "\"/hooks/\"").as_bytes(), "{path}");
        let policy = page.headers["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.headers["cache-control"], "no-cache");
        let tag = page.headers["etag"].to_str().expect("text");
        let again = get(&world, path, ("if-none-match", &format!("\"x\", W/{tag}"))).await;
        if path == "/" {
            assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
        }
    }
    assert_eq!(world.ask(Method::GET, "/").send().await.status, StatusCode::OK, "whoever asks");
    for path in ["/v1", "/v1/", "/v1/nothing", "/v1/accounts/default/nothing"] {
        let answer = world.ask(Method::GET, path).key(PLATFORM).header(html.0, html.1).send().await;
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{path}");
    }
    for (method, path, header) in [
        (Method::GET, "/accounts/default/webhooks", ("accept", "application/json")),
        (Method::GET, "/assets/gone.js", ("accept", "*/*")),
        (Method::GET, "/x", ("accept", "text/html;q=0")),
        (Method::POST, "/", html),
    ] {
        let answer = world.ask(method, path).header(header.0, header.1).send().await;
        assert_eq!(answer.json()["code"], "not_found", "{path}");
    }
}

#[tokio::test]
async fn files_go_out_as_compressed_as_the_browser_takes_them() {
    let world = World::new();
    for (accepted, body, encoding) in [
        ("gzip, deflate, br, zstd", "br", Some("br")),
        ("gzip, br;q=0", "gzip", Some("gzip")),
        ("identity", "plain", None),
    ] {
        let file = get(&world, "/assets/a-1.js", ("accept-encoding", accepted)).await;
        assert_eq!(file.body, body.as_bytes(), "{accepted}");
        assert_eq!(file.headers.get("content-encoding").map(|value| value.to_str().expect("text")), encoding);
        assert_eq!(file.headers["cache-control"], "public, max-age=31536000, immutable");
        assert_eq!(file.headers["vary"], "accept-encoding");
    }
    let theme = get(&world, "/theme.js", ("accept-encoding", "br")).await;
    assert_eq!((theme.body, theme.headers.get("content-encoding")), ("plain".into(), None));
    assert_eq!(theme.headers["cache-control"], "public, max-age=300");
}

#[tokio::test]
async fn the_page_can_ask_whose_webhooks_these_are_and_who_is_signed_in() {
    let world = World::new();
    let brand = world.ask(Method::GET, "/v1/brand").send().await.json();
    assert_eq!((&brand["name"], &brand["development"]), (&"CronDB".into(), &true.into()));
    assert_eq!(brand["retry_schedule"], serde_json::json!(["30s", "2m", "10m", "1h", "6h"]));
    let platform = world.get("/v1/sessions/current").await.json();
    assert_eq!((&platform["platform"], &platform["account"]), (&true.into(), &serde_json::Value::Null));
    let key = world.account("acme", &[]).await;
    let own = world.ask(Method::GET, "/v1/sessions/current").key(&key).send().await.json();
    let expected = serde_json::json!({
        "id": null, "kind": "key", "name": "test", "platform": false, "account": "acme", "scopes": ["account"],
        "writes_events": false, "expires_at": null,
    });
    assert_eq!(own, expected);
}

#[tokio::test]
async fn only_the_portal_can_be_framed_and_only_by_whom_the_settings_list() {
    let world = World::new();
    for (path, framers) in [
        ("/", "frame-ancestors 'none'"),
        ("/accounts/default/webhooks", "frame-ancestors 'none'"),
        ("/portals", "frame-ancestors 'none'"),
        ("/portal", "frame-ancestors https://app.example.com https://other.example"),
        ("/portal/webhooks/wh_x", "frame-ancestors https://app.example.com https://other.example"),
    ] {
        let page = get(&world, path, ("accept", "text/html")).await;
        let policy = page.headers["content-security-policy"].to_str().expect("text");
        assert!(policy.ends_with(framers), "{path}: {policy}");
        let denied = page.headers.get("x-frame-options").is_some_and(|value| value == "DENY");
        assert_eq!(denied, !path.starts_with("/portal") || path == "/portals", "{path}");
    }
}
