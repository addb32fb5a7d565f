//! Browsers that are signed in: by a link or a key, for as long as the key, and never on behalf of another site.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{Ask, PLATFORM, Reply, World};

const ACCOUNTS: &str = "/v1/accounts";
const CURRENT: &str = "/v1/sessions/current";
const DAY: Duration = Duration::from_secs(86_400);

async fn sign_in(world: &World, token: &str) -> Reply {
    world.ask(Method::POST, "/v1/sessions").json(&json!({"token": token})).send().await
}

/// The cookie of an answer, as a browser sends it back.
fn cookie(reply: &Reply) -> String {
    let set = reply.headers["set-cookie"].to_str().expect("text");
    set.split(';').next().expect("a pair").to_owned()
}

/// A browser that is signed in with a key.
pub(crate) async fn browser(world: &World, key: &str) -> String {
    let reply = sign_in(world, key).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    cookie(&reply)
}

/// The token of a new link.
async fn link(world: &World, key: &str) -> String {
    let made = world.ask(Method::POST, "/v1/sessions/links").key(key).send().await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let url = made.json()["url"].as_str().expect("a URL").to_owned();
    url.strip_prefix("https://hooks.example.com/#t=").expect("the token in the fragment").to_owned()
}

pub(crate) fn by<'a>(world: &'a World, cookie: &str, method: Method, path: &str) -> Ask<'a> {
    world.ask(method, path).header("cookie", &format!("theme=dark; {cookie}"))
}

pub(crate) fn ours<'a>(ask: Ask<'a>) -> Ask<'a> {
    ask.header("x-requested-with", "posthaste").header("sec-fetch-site", "same-origin")
}

fn code(reply: &Reply) -> (u16, String) {
    (reply.status.as_u16(), reply.json()["code"].as_str().unwrap_or_default().to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_link_signs_in_once() {
    let world = World::new();
    let token = link(&world, PLATFORM).await;
    assert_eq!(world.ask(Method::GET, ACCOUNTS).key(&token).send().await.status, StatusCode::UNAUTHORIZED);
    let reply = sign_in(&world, &token).await;
    assert_eq!((reply.status, &reply.headers["location"]), (StatusCode::CREATED, &CURRENT.parse().expect("a value")));
    let set = reply.headers["set-cookie"].to_str().expect("text");
    let (pair, rest) = set.split_once("; ").expect("attributes");
    assert!(pair.starts_with("__Host-posthaste=phs_") && pair.len() == "__Host-posthaste=phs_".len() + 32, "{pair}");
    assert_eq!(rest, "Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure");
    let who = reply.json();
    assert_eq!(who["id"].as_str().map(|id| &id[..4]), Some("ses_"));
    let expected = json!({
        "id": who["id"], "kind": "browser", "name": "platform", "platform": true, "account": null, "scopes": [],
        "writes_events": true, "expires_at": "2026-03-19T02:30:00.000000Z",
    });
    assert_eq!(who, expected);
    let cookie = cookie(&reply);
    assert_eq!(by(&world, &cookie, Method::GET, CURRENT).send().await.json(), expected);
    assert_eq!(by(&world, &cookie, Method::GET, ACCOUNTS).send().await.status, StatusCode::OK);
    let again = sign_in(&world, &token).await;
    assert_eq!(code(&again), refused(410, "token_used"));
    assert!(!again.headers.contains_key("set-cookie"));
    let late = link(&world, PLATFORM).await;
    world.advance(Duration::from_secs(15 * 60));
    assert_eq!(code(&sign_in(&world, &late).await), refused(410, "token_ended"));
}

#[tokio::test]
async fn a_session_may_do_what_its_key_may_and_ends_with_it() {
    let world = World::new();
    let key = world.account("acme", &["events:write"]).await;
    world.account("other", &[]).await;
    let cookie = browser(&world, &key).await;
    let who = by(&world, &cookie, Method::GET, CURRENT).send().await.json();
    assert_eq!((&who["account"], &who["name"], &who["kind"]), (&json!("acme"), &json!("test"), &json!("browser")));
    let key_itself = world.ask(Method::GET, CURRENT).key(&key).send().await.json();
    assert_eq!((&key_itself["id"], &key_itself["kind"]), (&Value::Null, &json!("key")));
    assert_eq!(who["scopes"], key_itself["scopes"]);
    let get = async |path: &str| by(&world, &cookie, Method::GET, path).send().await.status;
    assert_eq!(get("/v1/accounts/acme/webhooks").await, StatusCode::OK);
    assert_eq!(get("/v1/accounts/other/webhooks").await, StatusCode::NOT_FOUND);
    assert_eq!(get(ACCOUNTS).await, StatusCode::FORBIDDEN);
    let event = json!({"account": "acme", "event": "alert.rule_created", "data": {"rule": 1}});
    let posted = ours(by(&world, &cookie, Method::POST, "/v1/events")).json(&event).send().await;
    assert_eq!(posted.status, StatusCode::ACCEPTED, "{posted:?}");
    // A session cannot make itself last: it makes no links.
    let links = ours(by(&world, &cookie, Method::POST, "/v1/sessions/links")).send().await;
    assert_eq!(links.status, StatusCode::FORBIDDEN);
    let waiting = link(&world, &key).await;
    let keys = world.get("/v1/accounts/acme/keys").await.json();
    let id = keys["data"][0]["id"].as_str().expect("an id").to_owned();
    world.delete(&format!("/v1/accounts/acme/keys/{id}")).await;
    assert_eq!(get("/v1/accounts/acme/webhooks").await, StatusCode::UNAUTHORIZED);
    assert_eq!(code(&sign_in(&world, &waiting).await), refused(401, "token_wrong"));
}

#[tokio::test]
async fn a_session_lasts_no_longer_than_its_key_or_half_a_day() {
    let world = World::new();
    let ends = json!({"name": "short", "expires_at": "2026-03-18T15:30:00Z"});
    let made = world.post("/v1/keys", &ends).await.json();
    let key = made["key"].as_str().expect("a key").to_owned();
    let reply = sign_in(&world, &key).await;
    assert_eq!(reply.json()["expires_at"], "2026-03-18T15:30:00.000000Z");
    let (short, long) = (cookie(&reply), browser(&world, PLATFORM).await);
    let spent_later = link(&world, &key).await;
    world.advance(Duration::from_secs(3_600));
    let ended = by(&world, &short, Method::GET, ACCOUNTS).send().await;
    assert_eq!(code(&ended), refused(401, "session_ended"));
    assert!(ended.headers["set-cookie"].to_str().expect("text").starts_with("__Host-posthaste=; Path=/; Max-Age=0;"));
    assert_eq!(code(&sign_in(&world, &key).await), refused(410, "token_ended"));
    assert_eq!(code(&sign_in(&world, &spent_later).await), refused(410, "token_ended"));
    let get = async || by(&world, &long, Method::GET, ACCOUNTS).send().await;
    assert_eq!(get().await.status, StatusCode::OK);
    world.advance(Duration::from_secs(11 * 3_600));
    assert_eq!(code(&get().await), refused(401, "session_ended"));
    // Long after that nobody remembers it.
    world.advance(DAY + Duration::from_secs(1));
    browser(&world, PLATFORM).await;
    assert_eq!(code(&get().await), refused(401, "unauthorized"));
}

#[tokio::test]
async fn what_changes_something_must_come_from_our_own_pages() {
    let world = World::new();
    let cookie = browser(&world, PLATFORM).await;
    let post = || by(&world, &cookie, Method::POST, ACCOUNTS).json(&json!({"id": "made-by-cookie"}));
    let custom = || post().header("x-requested-with", "posthaste");
    for (ask, why) in [
        (post(), "no header of our own"),
        (post().header("x-requested-with", ""), "an empty one"),
        (post().header("origin", "https://hooks.example.com").header("sec-fetch-site", "same-origin"), "no header"),
        (custom().header("sec-fetch-site", "cross-site"), "another site"),
        (custom().header("sec-fetch-site", "same-site"), "another host of the site"),
        (custom().header("sec-fetch-site", "none"), "a form that a person typed?"),
        (custom().header("origin", "https://evil.com"), "another origin"),
        (custom().header("origin", "null"), "an origin that hides"),
        (custom().header("origin", "https://hooks.example.com.evil.com"), "one that starts like ours"),
        (custom().header("origin", "https://evil.com").header("host", "hooks.example.com"), "another host"),
    ] {
        let reply = ask.send().await;
        assert_eq!(code(&reply), refused(403, "cross_site"), "{why}");
    }
    let accounts = world.get(ACCOUNTS).await.json();
    assert_eq!(accounts["data"].as_array().map(Vec::len), Some(1), "nothing was made");
    let delete = by(&world, &cookie, Method::DELETE, "/v1/accounts/default").send().await;
    assert_eq!(code(&delete), refused(403, "cross_site"));
    for ask in [
        custom().header("origin", "https://hooks.example.com").header("sec-fetch-site", "same-origin"),
        by(&world, &cookie, Method::POST, ACCOUNTS)
            .json(&json!({"id": "by-another-name"}))
            .header("x-requested-with", "posthaste")
            .header("host", "127.0.0.1:8400")
            .header("origin", "http://127.0.0.1:8400"),
    ] {
        assert_eq!(ask.send().await.status, StatusCode::CREATED);
    }
    // Nobody else's page signs a visitor in.
    let foreign = world.ask(Method::POST, "/v1/sessions").header("origin", "https://evil.com");
    let foreign = foreign.json(&json!({"token": PLATFORM})).send().await;
    assert_eq!(code(&foreign), refused(403, "cross_site"));
}

#[tokio::test]
async fn a_key_that_is_sent_goes_before_the_cookie() {
    let world = World::new();
    let cookie = browser(&world, PLATFORM).await;
    let wrong = by(&world, &cookie, Method::GET, ACCOUNTS).key("phk_wrong").send().await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    let right = by(&world, &cookie, Method::POST, ACCOUNTS).key(PLATFORM).json(&json!({"id": "by-key"})).send().await;
    assert_eq!(right.status, StatusCode::CREATED, "a key needs no proof of where it comes from");
    let token = cookie.split_once('=').expect("a pair").1;
    let bearer = world.ask(Method::GET, ACCOUNTS).key(token).send().await;
    assert_eq!(bearer.status, StatusCode::UNAUTHORIZED, "a cookie is no key");
}

#[tokio::test]
async fn signing_out_ends_the_session() {
    let world = World::new();
    let (cookie, other) = (browser(&world, PLATFORM).await, browser(&world, PLATFORM).await);
    let out = ours(by(&world, &cookie, Method::DELETE, CURRENT)).send().await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    let told = world.get("/v1/audit?action=session.*&limit=1").await.json()["data"][0].clone();
    assert_eq!((&told["action"], &told["actor"]["kind"]), (&json!("session.ended"), &json!("session")));
    assert_eq!(told["actor"]["id"], told["target"]["id"]);
    assert!(out.headers["set-cookie"].to_str().expect("text").contains("Max-Age=0"));
    let after = by(&world, &cookie, Method::GET, CURRENT).send().await;
    assert_eq!(code(&after), refused(401, "unauthorized"));
    assert!(after.headers["set-cookie"].to_str().expect("text").contains("Max-Age=0"), "the browser forgets it");
    assert_eq!(by(&world, &other, Method::GET, CURRENT).send().await.status, StatusCode::OK);
    assert_eq!(code(&world.delete(CURRENT).await), refused(409, "no_session"));
}

#[tokio::test]
async fn wrong_tokens_are_counted_and_each_kind_has_its_sentence() {
    let world = World::new();
    for token in ["phl_wrong", "phk_wrong", "", &"x".repeat(10_000)] {
        let reply = sign_in(&world, token).await;
        assert_eq!(code(&reply), refused(401, "token_wrong"), "{token:.10}");
        assert!(reply.json()["detail"].as_str().is_some_and(|said| said.contains("opens nothing here")));
    }
    for body in [json!({}), json!({"token": 7}), json!({"token": "x", "remember": true})] {
        let reply = world.ask(Method::POST, "/v1/sessions").json(&body).send().await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
    let mut last = None;
    for n in 4..11 {
        last = Some(sign_in(&world, &format!("phl_{n}")).await);
    }
    let last = last.expect("an answer");
    assert_eq!(
        (code(&last), &last.headers["retry-after"]),
        (refused(429, "too_many_sign_ins"), &"60".parse().expect("a value"))
    );
    browser(&world, PLATFORM).await;
}

#[tokio::test]
async fn the_same_request_gets_the_same_link() {
    let world = World::new();
    let ask = async |key: &str| {
        world.ask(Method::POST, "/v1/sessions/links").key(PLATFORM).header("idempotency-key", key).send().await.json()
    };
    let first = ask("a").await;
    assert_eq!(ask("a").await, first);
    assert_ne!(ask("b").await, first);
    assert_eq!(first["expires_at"], "2026-03-18T14:45:00.000000Z");
}

/// A portal session of the account `acme`.
pub(crate) async fn portal(world: &World, body: &Value) -> Value {
    let made = world.post("/v1/accounts/acme/portal-sessions", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    made.json()
}

#[tokio::test]
async fn a_portal_that_no_page_may_frame_has_no_frame() {
    let (mut world, mut app) = World::parts();
    app.dashboard.portal_origins.clear();
    world.router = server::router(app);
    world.account("acme", &[]).await;
    assert_eq!(portal(&world, &json!({})).await["frame_url"], Value::Null);
}

#[tokio::test]
async fn a_portal_looks_after_one_account_and_has_no_other_power() {
    let world = World::new();
    world.account("acme", &[]).await;
    world.account("other", &[]).await;
    let webhook = world.webhook("acme").await;
    let made = portal(&world, &json!({"name": "jane", "ttl": "2h"})).await;
    assert_eq!((&made["account"], &made["access"]), (&json!("acme"), &json!("manage")));
    assert_eq!(made["frame_url"], "https://hooks.example.com/portal");
    assert_eq!(made["expires_at"], "2026-03-18T16:30:00.000000Z");
    assert_eq!(made["url_expires_at"], "2026-03-18T14:45:00.000000Z");
    let token = made["token"].as_str().expect("a token").to_owned();
    let link = made["url"].as_str().and_then(|url| url.split_once("#t=")).expect("a token in the fragment").1;
    let reply = sign_in(&world, link).await;
    let who = reply.json();
    assert_eq!((&who["kind"], &who["name"], &who["account"]), (&json!("portal"), &json!("jane"), &json!("acme")));
    let cookie = cookie(&reply);
    let one = format!("/v1/accounts/acme/webhooks/{webhook}");
    for (method, path, expected) in [
        (Method::GET, "/v1/accounts/acme/webhooks", 200),
        (Method::PATCH, &*one, 200),
        (Method::GET, "/v1/accounts/acme/deliveries", 200),
        (Method::GET, "/v1/accounts/other/webhooks", 404),
        (Method::GET, "/v1/accounts/never/webhooks", 404),
        (Method::GET, ACCOUNTS, 403),
        (Method::GET, "/v1/keys", 403),
        (Method::GET, "/v1/system", 403),
        (Method::POST, "/v1/sessions/links", 403),
        (Method::GET, "/v1/accounts/acme/keys", 403),
        (Method::POST, "/v1/accounts/acme/keys", 403),
        (Method::POST, "/v1/accounts/acme/portal-sessions", 403),
        (Method::GET, "/v1/accounts/acme/audit", 403),
        (Method::DELETE, "/v1/accounts/acme", 403),
    ] {
        let body = json!({"name": "changed"});
        let bearer = world.ask(method.clone(), path).key(&token);
        let browser = ours(by(&world, &cookie, method.clone(), path));
        for ask in [bearer, browser] {
            let reply = if method == Method::GET { ask.send().await } else { ask.json(&body).send().await };
            assert_eq!(reply.status.as_u16(), expected, "{method} {path}: {reply:?}");
        }
    }
    let event = json!({"account": "acme", "event": "alert.rule_created", "data": {"rule": 1}});
    let posted = world.ask(Method::POST, "/v1/events").key(&token).json(&event).send().await;
    assert_eq!(posted.status, StatusCode::FORBIDDEN);
    let changed = world.get("/v1/accounts/acme/audit?action=webhook.updated&limit=1").await.json()["data"][0].clone();
    assert_eq!((&changed["actor"]["kind"], &changed["actor"]["name"]), (&json!("session"), &json!("jane")));
    world.advance(Duration::from_secs(2 * 3_600));
    for ask in [world.ask(Method::GET, &one).key(&token), by(&world, &cookie, Method::GET, &one)] {
        assert_eq!(code(&ask.send().await), refused(401, "session_ended"));
    }
}

#[tokio::test]
async fn a_portal_session_is_ended_by_its_id() {
    let world = World::new();
    let key = world.account("acme", &[]).await;
    world.account("other", &[]).await;
    let made = portal(&world, &json!({"name": "jane", "access": "read"})).await;
    portal(&world, &json!({"name": "joe"})).await;
    let link = made["url"].as_str().and_then(|url| url.split_once("#t=")).expect("a token in the fragment").1;
    let cookie = cookie(&sign_in(&world, link).await);
    let open = async |account: &str| {
        world.get(&format!("/v1/accounts/{account}/portal-sessions")).await.json()["data"].clone()
    };
    let rows = open("acme").await;
    let kinds = |rows: &Value| {
        let mut kinds: Vec<String> = rows
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| format!("{} {} {}", row["name"], row["kind"], row["access"]).replace('"', ""))
            .collect();
        kinds.sort();
        kinds
    };
    assert_eq!(kinds(&rows), ["jane browser read", "jane embed read", "joe embed manage", "joe link manage"]);
    assert_eq!(open("other").await, json!([]));
    let one =
        |account: &str, id: &Value| format!("/v1/accounts/{account}/portal-sessions/{}", id.as_str().expect("an id"));
    assert_eq!(world.delete(&one("other", &made["id"])).await.status, StatusCode::NOT_FOUND);
    let webhooks = "/v1/accounts/acme/webhooks";
    let token = made["token"].as_str().expect("a token");
    let end = world.ask(Method::DELETE, &one("acme", &made["id"])).key(&key).send().await;
    assert_eq!(end.status, StatusCode::NO_CONTENT);
    assert_eq!(world.ask(Method::GET, webhooks).key(token).send().await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(by(&world, &cookie, Method::GET, webhooks).send().await.status, StatusCode::OK, "it is another session");
    let rows = open("acme").await;
    let browser = rows.as_array().expect("rows").iter().find(|row| row["kind"] == "browser").expect("the browser's");
    assert_eq!(world.delete(&one("acme", &browser["id"])).await.status, StatusCode::NO_CONTENT);
    assert_eq!(by(&world, &cookie, Method::GET, webhooks).send().await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.delete(&one("acme", &browser["id"])).await.status, StatusCode::NOT_FOUND);
    // Signing in by a key is no portal's session.
    browser_of_key_is_not_listed(&world, &key).await;
    world.advance(Duration::from_secs(3_601));
    assert_eq!(open("acme").await, json!([]));
}

async fn browser_of_key_is_not_listed(world: &World, key: &str) {
    browser(world, key).await;
    let rows = world.get("/v1/accounts/acme/portal-sessions").await.json();
    assert_eq!(rows["data"].as_array().map(Vec::len), Some(2), "{rows}");
}

#[tokio::test]
async fn a_portal_may_look_only_and_its_holder_can_end_it() {
    let world = World::new();
    world.account("acme", &[]).await;
    let webhook = world.webhook("acme").await;
    let made = portal(&world, &json!({"access": "read"})).await;
    let token = made["token"].as_str().expect("a token");
    let one = format!("/v1/accounts/acme/webhooks/{webhook}");
    let status = async |method: Method, path: &str| {
        let ask = world.ask(method.clone(), path).key(token);
        if method == Method::GET { ask.send().await } else { ask.json(&json!({})).send().await }.status.as_u16()
    };
    assert_eq!(status(Method::GET, &one).await, 200);
    assert_eq!(status(Method::PATCH, &one).await, 403);
    assert_eq!(status(Method::GET, &format!("{one}/secret")).await, 403);
    assert_eq!(status(Method::DELETE, CURRENT).await, 204);
    assert_eq!(status(Method::GET, &one).await, 401);
    for body in [json!({"ttl": "25h"}), json!({"ttl": "1s"}), json!({"access": "own"}), json!({"account": "x"})] {
        let refused = world.post("/v1/accounts/acme/portal-sessions", &body).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
}
