//! Rows of group T about browsers that are signed in: what their cookie lets pass, and what a one-time link opens.

use serde_json::json;

use super::super::seen::Seen;
use super::super::stage::Stage;
use super::Pair;
use crate::api::{Api, Reply};
use crate::table::Row;

/// What our own pages send with a change.
const OURS: (&str, &str) = ("X-Requested-With", "posthaste");

/// The token of a one-time link to the dashboard.
async fn link(stage: &Stage) -> String {
    let made = stage.main.api.send("POST", "/v1/sessions/links", &[], b"").await.expect(201);
    let url = made["url"].as_str().expect("a URL").to_owned();
    url.split_once("#t=").expect("a token in the fragment").1.to_owned()
}

async fn sign_in(api: &Api, token: &str) -> Reply {
    api.post("/v1/sessions", &json!({"token": token})).await
}

/// A browser's cookie, as it sends it back.
fn cookie(reply: &Reply) -> String {
    let set = reply.header("set-cookie").expect("a cookie");
    set.split(';').next().expect("a pair").to_owned()
}

/// T092–T094: a change by cookie alone, or from elsewhere. Each row first shows that the cookie works.
pub(super) async fn cross_site(stage: &Stage, row: &Row) -> Seen {
    let browser = stage.main.api.without_key();
    let cookie = cookie(&sign_in(&browser, &link(stage).await).await);
    let read = browser.send("GET", "/v1/accounts", &[("Cookie", &cookie)], b"").await;
    assert_eq!(read.status, 200, "the cookie opens nothing");
    let elsewhere = match row.id.as_str() {
        "T092" => None,
        "T093" => Some(("Origin", "https://evil.com")),
        _ => Some(("Sec-Fetch-Site", "cross-site")),
    };
    let id = format!("cross-site-{}", row.id);
    let body = json!({"id": id}).to_string();
    let mut headers = vec![("Cookie", cookie.as_str())];
    headers.extend(elsewhere);
    let without = browser.send("POST", "/v1/accounts", &headers, body.as_bytes()).await;
    headers.extend(elsewhere.map(|_| OURS));
    let reply = browser.send("POST", "/v1/accounts", &headers, body.as_bytes()).await;
    let mut seen = Seen::reply(&reply);
    seen.must(without.status == 403, format!("without our header {}", without.status));
    let made = stage.main.api.get(&format!("/v1/accounts/{id}")).await;
    seen.must(made.status == 404, "an account was made");
    let ours = [("Cookie", cookie.as_str()), OURS, ("Sec-Fetch-Site", "same-origin")];
    let own = browser.send("POST", "/v1/accounts", &ours, body.as_bytes()).await;
    seen.must(own.status == 201, format!("our own page gets {}", own.status));
    seen
}

/// T097: the same one-time link again.
pub(super) async fn link_used_twice(stage: &Stage) -> Seen {
    let (browser, token) = (stage.main.api.without_key(), link(stage).await);
    assert_eq!(sign_in(&browser, &token).await.status, 201, "the link signs in");
    let again = sign_in(&browser, &token).await;
    let mut seen = Seen::reply(&again);
    seen.must(again.header("set-cookie").is_none(), "a cookie came");
    seen
}

/// T095: pages, each with the headers by which a browser refuses to frame them.
pub(super) async fn framed(stage: &Stage) -> Seen {
    let mut seen = Seen::default();
    for path in ["/docs", "/"] {
        let page = stage.main.api.without_key().send("GET", path, &[("Accept", "text/html")], b"").await;
        // Without npm the binary has no dashboard, and there is nothing to frame.
        if path == "/" && page.status == 404 {
            continue;
        }
        let policy = page.header("content-security-policy").unwrap_or_default();
        seen = seen.check("not_framable", policy.contains("frame-ancestors 'none'"), format!("{path}: {policy:?}"));
    }
    seen
}

/// T098, T099: an embed token of account a elsewhere. It first shows that it works at home.
pub(super) async fn portal(stage: &Stage, pair: &Pair, row: &Row) -> Seen {
    let made = stage.main.api.post(&pair.a.path("portal-sessions"), &json!({})).await.expect(201);
    let embed = stage.main.api.with_key(made["token"].as_str().expect("a token"));
    assert_eq!(embed.get(&pair.a.path("webhooks")).await.status, 200, "the token opens nothing");
    let path = if row.id == "T098" { pair.b.path("webhooks") } else { "/v1/accounts".to_owned() };
    Seen::reply(&embed.get(&path).await)
}
