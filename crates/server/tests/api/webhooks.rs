//! Webhooks: what may be given, and what is shown.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{NOW, PLATFORM, World};

const LIST: &str = "/v1/accounts/default/webhooks";

fn body(url: &str) -> Value {
    json!({"name": "CRM Sync", "url": url, "events": ["alert.*"]})
}

#[tokio::test]
async fn a_new_webhook_has_the_page_s_defaults_and_shows_its_secret_this_once() {
    let world = World::new();
    let mut given = body("HTTPS://Hooks.CRM.example.com:443/in");
    given["headers"] = json!({"X-Api-Key": "s3cr3t"});
    let made = world.post(LIST, &given).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let mut made = made.json();
    let secret = made.as_object_mut().and_then(|made| made.remove("secret")).expect("the secret");
    let id = made["id"].as_str().expect("an id").to_owned();
    let at = domain::time::Timestamp(NOW).to_string();
    let expected = json!({
        "id": id, "account": "default", "name": "CRM Sync", "url": "https://hooks.crm.example.com/in",
        "events": ["alert.*"], "headers": {"X-Api-Key": "••••"}, "status": "active", "status_reason": null,
        "health": "healthy", "failing_since": null, "timeout": "5s", "retry_schedule": ["30s", "2m", "10m", "1h", "6h"],
        "rate_limit": null, "max_in_flight": 10, "http2": false, "signing": "hmac", "public_key": null, "secrets_overlap_until": null, "order": null,
        "defaults": ["timeout", "retry_schedule", "max_in_flight"], "temporary": false,
        "created_at": at, "updated_at": at,
    });
    assert_eq!(made, expected);
    let got = world.get(&format!("{LIST}/{id}")).await;
    assert_eq!((got.json(), &got.headers["etag"]), (expected.clone(), &"\"1\"".parse().expect("a tag")));
    assert_eq!(world.get(LIST).await.json()["data"], json!([expected]));
    let shown = world.get(&format!("{LIST}/{id}/secret")).await;
    assert_eq!(shown.headers["cache-control"], "no-store");
    assert_eq!(shown.json()["secret"], secret);
}

#[tokio::test]
async fn every_fault_is_named_at_once() {
    let world = World::new();
    let reply = world
        .post(
            LIST,
            &json!({
                "name": "", "url": "http://example.com/", "events": ["nope.*", 7], "headers": {"Host": "x", "X A": "y", "X-B": 7},
                "timeout": "10m", "retry_schedule": ["30s", "soon"], "rate_limit": 0, "max_in_flight": 1e9, "http2": "yes",
                "order": {"by": "customer"}, "colour": "red",
            }),
        )
        .await;
    let (status, faults) = reply.faults();
    assert_eq!(status, 422);
    for (pointer, code) in [
        ("/name", "name_invalid"),
        ("/url", "url_scheme"),
        ("/events", "events_invalid"),
        ("/headers/Host", "header_forbidden"),
        ("/headers/X A", "header_name_invalid"),
        ("/headers/X-B", "header_value_invalid"),
        ("/timeout", "timeout_invalid"),
        ("/retry_schedule", "schedule_invalid"),
        ("/rate_limit", "rate_limit_invalid"),
        ("/max_in_flight", "max_in_flight_invalid"),
        ("/http2", "http2_invalid"),
        ("/order/by", "order_invalid"),
        ("/colour", "unknown_field"),
    ] {
        assert!(faults.contains(&(pointer.to_owned(), code.to_owned())), "{pointer} {code} is not in {faults:?}");
    }
    assert_eq!(world.get(LIST).await.json()["data"], json!([]));
}

#[tokio::test]
async fn urls_are_judged_by_what_their_names_lead_to() {
    let world = World::new();
    for (url, code) in [
        ("https://private.example.com/", "url_private_address"),
        ("https://mixed.example.com/", "url_private_address"),
        ("https://x.test/", "url_host_not_public"),
        ("https://localhost:9443/", "url_host_not_public"),
        ("https://127.0.0.1/", "url_ip_literal"),
        ("https://single/", "url_host_invalid"),
        ("https://user:pass@example.com/", "url_userinfo"),
        ("https://example.com:22/", "url_port"),
    ] {
        let (status, faults) = world.post(LIST, &body(url)).await.faults();
        assert_eq!((status, faults), (422, vec![("/url".to_owned(), code.to_owned())]), "{url}");
    }
    for url in ["https://nowhere.example.com/", "https://slow.example.com/"] {
        assert_eq!(
            world.post(LIST, &body(url)).await.status,
            StatusCode::CREATED,
            "{url}: what does not resolve is saved"
        );
    }
}

#[tokio::test]
async fn headers_that_differ_in_case_only_are_one_too_many() {
    let world = World::new();
    let text = r#"{"url":"https://a.example.com/","events":["*"],"headers":{"X-A":"1","x-a":"2"}}"#;
    let reply = world.ask(Method::POST, LIST).key(PLATFORM).text("application/json", text).send().await;
    assert_eq!(reply.faults(), (422, vec![("/headers/x-a".to_owned(), "header_duplicate".to_owned())]));
    let many: serde_json::Map<_, _> = (0..65).map(|n| (format!("X-{n}"), json!("v"))).collect();
    let reply = world.post(LIST, &json!({"url": "https://a.example.com/", "events": ["*"], "headers": many})).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_nothing_else() {
    let world = World::new();
    let id = world.webhook("default").await;
    let path = format!("{LIST}/{id}");
    let before = world.get(&path).await.json();
    for (patch, code) in [
        (json!({"status": "active"}), "unknown_field"),
        (json!({"status_reason": "x"}), "unknown_field"),
        (json!({"id": "wh_x"}), "unknown_field"),
        (json!({"secret": "x"}), "unknown_field"),
        (json!({"created_at": "2020-01-01T00:00:00Z"}), "unknown_field"),
        (json!({"URL": "https://example.com/"}), "unknown_field"),
        (json!({"events": []}), "events_invalid"),
        (json!({"events": null}), "events_invalid"),
        (json!({"events": ["nope.*"]}), "events_invalid"),
        (json!({"events": ["alert.domain_*"]}), "events_invalid"),
        (json!({"events": ["ALERT.*"]}), "events_invalid"),
        (json!({"events": ["alert."]}), "events_invalid"),
        (json!({"events": [7]}), "events_invalid"),
        (json!({"events": ["a".repeat(1_000)]}), "events_invalid"),
        (json!({"retry_schedule": []}), "schedule_invalid"),
        (json!({"retry_schedule": ["0s"]}), "schedule_invalid"),
        (json!({"retry_schedule": ["30"]}), "schedule_invalid"),
        (json!({"retry_schedule": [30]}), "schedule_invalid"),
        (json!({"retry_schedule": ["NaNs"]}), "schedule_invalid"),
        (json!({"retry_schedule": ["1e9h"]}), "schedule_invalid"),
        (json!({"timeout": "-5s"}), "timeout_invalid"),
        (json!({"timeout": "0s"}), "timeout_invalid"),
        (json!({"timeout": "5 apples"}), "timeout_invalid"),
        (json!({"max_in_flight": 0}), "max_in_flight_invalid"),
        (json!({"max_in_flight": 1.5}), "max_in_flight_invalid"),
        (json!({"name": "a\u{0}b"}), "name_invalid"),
        (json!({"name": 7}), "name_invalid"),
        (json!({"name": "a".repeat(201)}), "name_invalid"),
    ] {
        let (status, faults) = world.patch(&path, &patch).await.faults();
        assert_eq!((status, faults[0].1.as_str()), (422, code), "{patch}");
    }
    assert_eq!(world.get(&path).await.json(), before, "nothing changed");

    world.advance(Duration::from_secs(1));
    let patch = json!({"name": "Robert'); DROP TABLE webhooks;--", "events": ["alert.*", "alert.*"], "timeout": "3s", "rate_limit": 5});
    let changed = world.patch(&path, &patch).await;
    assert_eq!((changed.status, &changed.headers["etag"]), (StatusCode::OK, &"\"2\"".parse().expect("a tag")));
    let mut expected = before;
    expected["name"] = patch["name"].clone();
    expected["events"] = json!(["alert.*"]);
    expected["timeout"] = json!("3s");
    expected["rate_limit"] = json!(5);
    expected["defaults"] = json!(["retry_schedule", "max_in_flight"]);
    expected["updated_at"] = json!(domain::time::Timestamp(NOW + 1_000_000).to_string());
    assert_eq!(changed.json(), expected);
    assert_eq!(world.patch(&path, &json!({"timeout": null})).await.json()["timeout"], "5s");
}

#[tokio::test]
async fn the_mask_keeps_a_header_s_value_and_no_answer_shows_it() {
    let world = World::new();
    let id = world.webhook("default").await;
    let path = format!("{LIST}/{id}");
    let reply = world.patch(&path, &json!({"headers": {"x-api-key": "••••", "X-New": "n3w"}})).await;
    assert_eq!(reply.json()["headers"], json!({"x-api-key": "••••", "X-New": "••••"}));
    let kept = {
        let directory = world.directory.read();
        let webhook = directory.webhooks().next().expect("a webhook");
        webhook.headers.pairs().to_vec()
    };
    assert_eq!(kept, [("X-New".to_owned(), "n3w".to_owned()), ("x-api-key".to_owned(), "s3cr3t".to_owned())]);
    let unknown = world.patch(&path, &json!({"headers": {"X-Other": "••••"}})).await;
    assert_eq!(unknown.faults(), (422, vec![("/headers/X-Other".to_owned(), "header_value_invalid".to_owned())]));
    let said = unknown.json()["detail"].as_str().expect("a sentence").to_owned();
    assert!(said.contains("X-Other") && said.contains("give it once more"), "it says what to do: {said}");
    let bad = world.patch(&path, &json!({"headers": {"X-Bad": "c4nary\u{1}"}})).await;
    assert!(!String::from_utf8_lossy(&bad.body).contains("c4nary"), "{bad:?}");
}

#[tokio::test]
async fn a_name_can_be_seen() {
    let world = World::new();
    for name in ["", " ", "\u{200b}", "\u{feff}\u{200b} ", "\u{2060}\u{e0001}", "\u{3000}"] {
        let refused = world.post(LIST, &json!({"name": name, "url": "https://a.example.com/", "events": ["*"]})).await;
        assert_eq!(refused.faults(), (422, vec![("/name".to_owned(), "name_invalid".to_owned())]), "{name:?}");
    }
    let family = json!({"name": "👩\u{200d}👧 CRM", "url": "https://a.example.com/", "events": ["*"]});
    assert_eq!(world.post(LIST, &family).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_stale_if_match_changes_nothing() {
    let world = World::new();
    let id = world.webhook("default").await;
    let path = format!("{LIST}/{id}");
    let patch = async |tag: &str, name: &str| {
        let ask = world.ask(Method::PATCH, &path).key(PLATFORM).header("if-match", tag);
        ask.json(&json!({"name": name})).send().await.status.as_u16()
    };
    assert_eq!(patch("\"1\"", "first").await, 200);
    assert_eq!(patch("\"1\"", "second").await, 412);
    assert_eq!(patch("\"7\", \"2\"", "third").await, 200);
    assert_eq!(patch("\"x\", \"3\"", "third").await, 200);
    assert_eq!(patch("*", "fourth").await, 200);
    assert_eq!(world.get(&path).await.json()["name"], "fourth");
    let delete = world.ask(Method::DELETE, &path).key(PLATFORM).header("if-match", "\"1\"").send().await;
    assert_eq!(delete.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(world.delete(&path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.get(&path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn only_the_platform_brings_ids_and_secrets_along() {
    let world = World::new();
    let key = world.account("a", &[]).await;
    let mut moved = body("https://a.example.com/");
    moved["id"] = json!("wh_abc123");
    moved["secret"] = json!("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let refused = world.ask(Method::POST, "/v1/accounts/a/webhooks").key(&key).json(&moved).send().await;
    let unknown = |pointer: &str| (pointer.to_owned(), "unknown_field".to_owned());
    let (status, mut faults) = refused.faults();
    faults.sort();
    assert_eq!((status, faults), (422, vec![unknown("/id"), unknown("/secret")]));
    let made = world.post("/v1/accounts/a/webhooks", &moved).await.json();
    assert_eq!((&made["id"], &made["secret"]), (&moved["id"], &moved["secret"]));
    assert_eq!(world.post(LIST, &moved).await.status, StatusCode::CONFLICT, "ids are unique over all accounts");
    moved["id"] = json!("wh_../x");
    moved["secret"] = json!("whsec_short");
    let (_, faults) = world.post(LIST, &moved).await.faults();
    assert_eq!(faults[0].1, "id_invalid");
    assert_eq!(faults[1].1, "secret_invalid");
}

#[tokio::test]
async fn a_url_is_checked_without_being_saved() {
    let world = World::new();
    let id = world.webhook("default").await;
    let check = async |url: &str| world.post("/v1/accounts/default/url-check", &json!({"url": url})).await.json();
    let good = check("https://new.example.com/x").await;
    assert_eq!(
        (&good["ok"], &good["addresses"], &good["warnings"]),
        (&json!(true), &json!(["198.41.0.4"]), &json!([]))
    );
    let used = check("https://hooks.crm.example.com/in").await;
    assert_eq!((&used["ok"], &used["warnings"][0]["webhook_id"]), (&json!(true), &json!(id)));
    assert_eq!(check("https://nowhere.example.com/").await["warnings"][0]["code"], "dns_not_found");
    let private = check("https://private.example.com/").await;
    assert_eq!((&private["ok"], &private["errors"][0]["code"]), (&json!(false), &json!("url_private_address")));
    assert_eq!(check("http://example.com/").await["errors"][0]["code"], "url_scheme");
    for _ in 0..25 {
        check("http://example.com/").await;
    }
    let limited = world.post("/v1/accounts/default/url-check", &json!({"url": "https://example.com/"})).await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(limited.headers["retry-after"], "10");
}

#[tokio::test]
async fn a_url_is_connected_to_only_if_that_is_asked_for() {
    let world = World::new();
    let check = async |body: Value| world.post("/v1/accounts/default/url-check", &body).await.json();
    assert_eq!(check(json!({"url": "https://moved.example.com/x"})).await["connection"], Value::Null);
    let look = async |url: &str| check(json!({"url": url, "connect": true})).await;
    let good = look("https://fine.example.com/x").await;
    assert_eq!(good["warnings"], json!([]));
    let connection = json!({"remote_address": "198.41.0.4:443", "certificate_ends_at": "2026-06-16T14:31:00.000000Z", "status_code": 204, "redirects_to": null});
    assert_eq!(good["connection"], connection);
    let moved = look("https://moved.example.com/x").await;
    assert_eq!(moved["connection"]["redirects_to"], "https://moved.example.com/other?a=b");
    assert_eq!(moved["warnings"][0]["code"], "redirects");
    let said = "It redirects to https://moved.example.com/other?a=b; we do not follow. Use that URL.";
    assert_eq!(moved["warnings"][0]["detail"], said);
    let elsewhere = look("https://gone-elsewhere.example.com/").await;
    assert_eq!(elsewhere["warnings"][0]["detail"], "It answers 307, a redirect; we do not follow.");
    let ends = look("https://ends.example.com/").await;
    assert_eq!(ends["warnings"][0]["detail"], "The certificate ends on 2026-03-24, in 6 days. Renew it before.");
    let closed = look("https://closed.example.com/").await;
    assert_eq!((&closed["ok"], &closed["warnings"][0]["code"]), (&json!(true), &json!("connect_refused")));
    let detail = closed["warnings"][0]["detail"].as_str().expect("a sentence");
    assert!(detail.starts_with("Nothing accepts connections on 198.41.0.4:443."), "{detail}");
    // What may not be used is not looked at, nor what cannot be looked up.
    for url in ["https://private.example.com/", "https://nowhere.example.com/", "http://fine.example.com/"] {
        assert_eq!(look(url).await["connection"], Value::Null, "{url}");
    }
    let odd = json!({"url": "https://fine.example.com/", "connect": 1});
    assert_eq!(check(odd).await["errors"][0]["code"], "connect_invalid");
}

#[tokio::test]
async fn webhooks_are_found_by_text_and_by_status() {
    let world = World::new();
    let add = async |name: &str, url: &str| {
        let body = json!({"name": name, "url": url, "events": ["*"]});
        world.post(LIST, &body).await.json()["id"].as_str().expect("an id").to_owned()
    };
    let crm = add("CRM Sync", "https://hooks.crm.example.com/in").await;
    let slack = add("Slack", "https://Slack.example.com/CRM").await;
    let names = async |query: &str| {
        let found = world.get(&format!("{LIST}?{query}")).await.json();
        let rows = found["data"].as_array().expect("rows").iter();
        rows.map(|row| row["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("q=crm").await, ["Slack", "CRM Sync"]);
    assert_eq!(names("q=SLACK&limit=1").await, ["Slack"]);
    assert_eq!(names(&format!("q={crm}")).await, ["CRM Sync"]);
    assert_eq!(names("q=nobody").await, [""; 0]);
    world.post(&format!("{LIST}/{slack}/pause"), &json!({})).await;
    assert_eq!(names("status=paused").await, ["Slack"]);
    assert_eq!(names("status=active&q=crm").await, ["CRM Sync"]);
    for (query, code) in
        [("status=asleep", "status_invalid"), ("q=a&q=b", "duplicate_parameter"), ("name=a", "unknown_parameter")]
    {
        let (status, faults) = world.get(&format!("{LIST}?{query}")).await.faults();
        assert_eq!((status, faults[0].1.as_str()), (422, code), "{query}");
    }
}

#[tokio::test]
async fn an_order_is_by_webhook_or_by_a_pointer() {
    let world = World::new();
    let id = world.webhook("default").await;
    let path = format!("{LIST}/{id}");
    for by in ["webhook", "/customer/id", "/a~1b/~0/0"] {
        let reply = world.patch(&path, &json!({"order": {"by": by}})).await;
        assert_eq!((reply.status, &reply.json()["order"]), (StatusCode::OK, &json!({"by": by})));
        assert_eq!(world.get(&path).await.json()["order"], json!({"by": by}));
    }
    for (order, pointer) in [
        (json!("webhook"), "/order"),
        (json!({}), "/order"),
        (json!({"by": 7}), "/order"),
        (json!({"by": "webhook", "to": 1}), "/order"),
        (json!({"by": ""}), "/order/by"),
        (json!({"by": "customer"}), "/order/by"),
        (json!({"by": "/a~2"}), "/order/by"),
        (json!({"by": format!("/{}", "a".repeat(300))}), "/order/by"),
    ] {
        let (status, faults) = world.patch(&path, &json!({"order": order})).await.faults();
        assert_eq!((status, faults), (422, vec![(pointer.to_owned(), "order_invalid".to_owned())]), "{order}");
    }
    assert_eq!(world.get(&path).await.json()["order"], json!({"by": "/a~1b/~0/0"}));
    let reply = world.patch(&path, &json!({"order": null})).await;
    assert_eq!((reply.status, &reply.json()["order"]), (StatusCode::OK, &Value::Null));
}
