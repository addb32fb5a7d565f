//! Figures: of a webhook, of an account, and of the rows of the list of webhooks.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::world::World;

const ACCOUNT: &str = "/v1/accounts/default";

fn sum(buckets: &Value, field: &str) -> u64 {
    buckets.as_array().expect("a list").iter().map(|bucket| bucket[field].as_u64().expect("a number")).sum()
}

#[tokio::test]
async fn figures_count_what_became_of_deliveries() {
    let world = World::new();
    let webhook = world.webhook("default").await;
    for status in [200, 200, 500] {
        let delivery = World::first_delivery(&world.event("default").await);
        world.settle(delivery, status, b"").await;
    }
    for path in [format!("{ACCOUNT}/webhooks/{webhook}/stats?window=1h"), format!("{ACCOUNT}/stats?window=1h")] {
        let stats = world.get(&path).await.json();
        assert_eq!((&stats["delivered"], &stats["failed"], &stats["success"]), (&json!(2), &json!(0), &json!(1.0)));
        assert_eq!((&stats["unfinished"], &stats["pending"], &stats["held"]), (&json!(1), &json!(1), &json!(0)));
        assert_eq!((&stats["attempts"], &stats["attempts_succeeded"]), (&json!(3), &json!(2)));
        assert_eq!((&stats["window"], &stats["step"]), (&json!("1h"), &json!("1m")));
        let buckets = stats["buckets"].as_array().expect("a list");
        assert_eq!((buckets.len(), &buckets[0]["start"]), (61, &stats["since"]));
        for (field, total) in [("delivered", 2), ("attempts", 3), ("failed", 0)] {
            assert_eq!(sum(&stats["buckets"], field), total, "{field}");
        }
        let [error] = &stats["errors"].as_array().expect("a list")[..] else { panic!("{stats}") };
        assert_eq!(
            (&error["code"], &error["status_code"], &error["attempts"]),
            (&json!("http_5xx"), &json!(500), &json!(1))
        );
        assert_eq!((&error["first_in"], &error["last_in"]), (&buckets[60]["start"], &buckets[60]["start"]));
        let p99 = stats["latency"]["p99"].as_f64().expect("a number");
        assert!(p99 > 0.0 && buckets[60]["p95"].as_f64().is_some_and(|p95| p95 <= p99), "{stats}");
        assert!(stats["oldest_due_at"].is_string() && stats["last_delivered_at"].is_string());
    }
    let metrics = world.get("/metrics").await;
    let text = String::from_utf8(metrics.body.to_vec()).expect("text");
    assert!(text.contains("posthaste_events_accepted_total 3\n"), "{text}");
    assert!(text.contains("posthaste_attempts_total{outcome=\"success\"} 2\n"), "{text}");
    assert!(!text.contains("s3cr3t") && !text.contains("whsec_"));
}

#[tokio::test]
async fn a_window_is_cut_as_asked_or_refused() {
    let world = World::new();
    world.webhook("default").await;
    for (query, step, steps) in
        [("", "1h", 25), ("?window=7d", "6h", 29), ("?window=30d", "1d", 31), ("?window=1h&step=5m", "5m", 13)]
    {
        let stats = world.get(&format!("{ACCOUNT}/stats{query}")).await.json();
        let found = stats["buckets"].as_array().expect("a list").len();
        assert_eq!((&stats["step"], found), (&json!(step), steps), "{query}");
        assert_eq!(
            (&stats["success"], &stats["latency"]["p50"], &stats["errors"]),
            (&Value::Null, &Value::Null, &json!([]))
        );
    }
    for (query, code) in [
        ("window=0s", "window_invalid"),
        ("window=soon", "window_invalid"),
        ("window=400d", "window_invalid"),
        ("step=7m", "step_invalid"),
        ("window=7d&step=1m", "step_invalid"),
        ("window=366d&step=1h", "step_invalid"),
        ("since=1h", "unknown_parameter"),
    ] {
        let refused = world.get(&format!("{ACCOUNT}/stats?{query}")).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        assert_eq!(refused.json()["errors"][0]["code"], code, "{query}");
    }
}

#[tokio::test]
async fn a_list_of_webhooks_has_what_its_rows_show() {
    let world = World::new();
    let quiet = world.webhook("default").await;
    let busy = world.webhook("default").await;
    assert!(world.get(&format!("{ACCOUNT}/webhooks")).await.json()["data"][0].get("stats").is_none());
    for _ in 0..2 {
        // The event goes to both; only the second webhook's delivery is tried.
        let event = world.event("default").await;
        let second = World::first_delivery(&event);
        world.settle(domain::id::DeliveryId { place: 1, ..second }, 200, b"").await;
    }
    let list = world.get(&format!("{ACCOUNT}/webhooks?stats=24h&limit=1")).await.json();
    let row = &list["data"][0];
    assert_eq!(
        (&row["id"], &row["stats"]["delivered"], &row["stats"]["success"]),
        (&json!(busy), &json!(2), &json!(1.0))
    );
    assert_eq!(
        (&row["stats"]["health"], row["stats"]["buckets"].as_array().map(Vec::len)),
        (&json!("healthy"), Some(25))
    );
    assert_eq!(sum(&row["stats"]["buckets"], "delivered"), 2);
    let next = list["next_cursor"].as_str().expect("there is more");
    let list = world.get(&format!("{ACCOUNT}/webhooks?stats=24h&limit=1&cursor={next}")).await.json();
    let row = &list["data"][0];
    assert_eq!(
        (&row["id"], &row["stats"]["health"], &row["stats"]["pending"]),
        (&json!(quiet), &json!("no_traffic"), &json!(2))
    );
    for query in ["stats=never", "stats=999d", "stats=1h&stats=1h", "statistics=1h"] {
        assert_eq!(world.get(&format!("{ACCOUNT}/webhooks?{query}")).await.status.as_u16(), 422, "{query}");
    }
}

#[tokio::test]
async fn health_is_a_word_about_the_last_attempts() {
    let world = World::new();
    let webhook = world.webhook("default").await;
    let health = async || world.get(&format!("{ACCOUNT}/webhooks/{webhook}/stats")).await.json()["health"].clone();
    assert_eq!(health().await, "no_traffic");
    for expected in [["degraded"; 9].as_slice(), &["failing"]].concat() {
        let delivery = World::first_delivery(&world.event("default").await);
        world.settle(delivery, 500, b"").await;
        assert_eq!(health().await, expected);
    }
    let delivery = World::first_delivery(&world.event("default").await);
    world.settle(delivery, 200, b"").await;
    assert_eq!(health().await, "healthy");
    world.advance(Duration::from_secs(26 * 3_600));
    assert_eq!(health().await, "no_traffic");
}

#[tokio::test]
async fn a_webhook_s_certificate_is_told_where_one_was_seen() {
    let world = World::new();
    for (host, ends) in [("ends.example.com", true), ("hooks.example.com", false)] {
        let body = json!({"url": format!("https://{host}/in"), "events": ["*"]});
        let made = world.post(&format!("{ACCOUNT}/webhooks"), &body).await.json();
        let id = made["id"].as_str().expect("an id");
        let stats = world.get(&format!("{ACCOUNT}/webhooks/{id}/stats")).await.json();
        let end = stats.get("certificate_ends_at").expect("a webhook's figures have it");
        assert_eq!(end.is_string(), ends, "{stats}");
    }
    let all = world.get(&format!("{ACCOUNT}/stats")).await.json();
    assert_eq!(all.get("certificate_ends_at"), None, "an account has no certificate");
}
