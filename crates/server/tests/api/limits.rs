//! Limits: events per second, webhooks per account, and what an answer says of them.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{PLATFORM, Reply, World};

const ACCOUNT: &str = "/v1/accounts/default";

async fn post(world: &World, body: &Value) -> Reply {
    world.ask(Method::POST, "/v1/events").key(PLATFORM).json(body).send().await
}

fn event(account: &str) -> Value {
    json!({"account": account, "event": "alert.rule_created", "data": {"rule": 1}})
}

fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply.headers.get(name).map_or("", |value| value.to_str().expect("text"))
}

#[tokio::test]
async fn an_account_posts_as_many_events_a_second_as_it_may() {
    let world = World::new();
    world.account("other", &[]).await;
    let free = post(&world, &event("default")).await;
    assert_eq!(
        (free.status, header(&free, "ratelimit")),
        (StatusCode::ACCEPTED, ""),
        "without a quota nothing is said"
    );
    let changed = world.patch(ACCOUNT, &json!({"events_per_second": 3})).await;
    assert_eq!((changed.status, &changed.json()["events_per_second"]), (StatusCode::OK, &json!(3)));
    for left in ["2", "1", "0"] {
        let taken = post(&world, &event("default")).await;
        assert_eq!(taken.status, StatusCode::ACCEPTED);
        assert_eq!(header(&taken, "ratelimit"), format!("\"events\";r={left};t=1"));
    }
    let refused = post(&world, &event("default")).await;
    assert_eq!((refused.status, &refused.json()["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("too_many_events")));
    assert_eq!(header(&refused, "retry-after"), "1");
    assert_eq!(header(&refused, "ratelimit-policy"), "\"events\";q=3;w=1");
    assert_eq!(header(&refused, "ratelimit"), "\"events\";r=0;t=1");
    assert_eq!(post(&world, &event("other")).await.status, StatusCode::ACCEPTED, "each account has its own");
    let mixed = post(&world, &json!([event("default"), event("other"), event("default")])).await;
    let results = mixed.json()["results"].as_array().expect("results").clone();
    let said: Vec<_> = results.iter().map(|one| (one["status"].clone(), one["retry_after"].clone())).collect();
    let (over, taken) = ((json!(429), json!(1)), (json!(202), Value::Null));
    assert_eq!((mixed.status, said), (StatusCode::OK, vec![over.clone(), taken, over]));
    let whole = post(&world, &json!([event("default"), event("default")])).await;
    assert_eq!((whole.status, header(&whole, "retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    world.advance(Duration::from_secs(1));
    let batch = post(&world, &Value::Array(vec![event("default"); 30])).await;
    assert_eq!(batch.status, StatusCode::OK, "a batch is taken whole");
    world.advance(Duration::from_secs(9));
    assert_eq!(post(&world, &event("default")).await.status, StatusCode::TOO_MANY_REQUESTS, "and made up for");
    world.advance(Duration::from_secs(1));
    assert_eq!(post(&world, &event("default")).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn the_same_request_again_uses_up_nothing_and_is_never_over_a_quota() {
    let world = World::new();
    assert_eq!(world.patch(ACCOUNT, &json!({"events_per_second": 2})).await.status, StatusCode::OK);
    let keyed = async |key: &str, body: &Value| {
        let request = world.ask(Method::POST, "/v1/events").key(PLATFORM).header("idempotency-key", key);
        request.json(body).send().await
    };
    let one = event("default");
    let first = keyed("a", &one).await;
    assert_eq!((first.status, header(&first, "ratelimit")), (StatusCode::ACCEPTED, "\"events\";r=1;t=1"));
    for _ in 0..5 {
        let again = keyed("a", &one).await;
        assert_eq!((again.status, again.json()), (StatusCode::ACCEPTED, first.json()));
    }
    assert_eq!(keyed("b", &one).await.status, StatusCode::ACCEPTED, "the repeats have used up nothing");
    let again = keyed("a", &one).await;
    assert_eq!((again.status, again.json()), (StatusCode::ACCEPTED, first.json()), "nor are they over the quota");
    let fresh = keyed("c", &one).await;
    assert_eq!((fresh.status, header(&fresh, "retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    assert_eq!(
        keyed("a", &json!({"event": "alert.rule_created", "data": {"rule": 2}})).await.json()["code"],
        "idempotency_key_reused"
    );

    world.account("other", &[]).await;
    world.advance(Duration::from_secs(2));
    let batch = json!([event("default"), event("other"), event("default"), event("default")]);
    let whole = keyed("d", &batch).await;
    assert_eq!(whole.json()["results"].as_array().map(Vec::len), Some(4));
    for _ in 0..2 {
        let again = keyed("d", &batch).await;
        assert_eq!((again.status, again.json()), (StatusCode::OK, whole.json()));
    }
    let fresh = keyed("e", &batch).await.json();
    let statuses: Vec<_> = (0..4).map(|n| fresh["results"][n]["status"].clone()).collect();
    assert_eq!(statuses, [429, 202, 429, 429]);
    assert_eq!(keyed("f", &json!([event("default")])).await.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn an_account_has_as_many_webhooks_as_it_may() {
    let world = World::new();
    let changed = world.patch(ACCOUNT, &json!({"max_webhooks": 2})).await;
    assert_eq!((changed.status, &changed.json()["max_webhooks"]), (StatusCode::OK, &json!(2)));
    let (one, _two) = (world.webhook("default").await, world.webhook("default").await);
    let body = json!({"url": "https://hooks.example.com/in", "events": ["*"]});
    let create =
        async || world.ask(Method::POST, &format!("{ACCOUNT}/webhooks")).key(PLATFORM).json(&body).send().await;
    let refused = create().await;
    assert_eq!((refused.status, &refused.json()["code"]), (StatusCode::CONFLICT, &json!("too_many_webhooks")));
    let gone = world.ask(Method::DELETE, &format!("{ACCOUNT}/webhooks/{one}")).key(PLATFORM).send().await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(create().await.status, StatusCode::CREATED);
    assert_eq!(world.patch(ACCOUNT, &json!({"max_webhooks": null})).await.json()["max_webhooks"], Value::Null);
    assert_eq!(create().await.status, StatusCode::CREATED, "back to the operator's");
}

#[tokio::test]
async fn absurd_limits_are_refused() {
    let world = World::new();
    for (field, value) in [
        ("events_per_second", json!(0)),
        ("events_per_second", json!(1_000_001)),
        ("events_per_second", json!("many")),
        ("max_webhooks", json!(0)),
        ("max_webhooks", json!(1_025)),
        ("max_webhooks", json!(-1)),
    ] {
        let refused = world.patch(ACCOUNT, &json!({ field: value })).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{field} {value}");
        assert_eq!(refused.json()["errors"][0]["code"], "limit_invalid");
    }
    let made = world.ask(Method::POST, "/v1/accounts").key(PLATFORM);
    let made = made.json(&json!({"id": "small", "events_per_second": 5, "max_webhooks": 1})).send().await;
    let account = made.json();
    assert_eq!((&account["events_per_second"], &account["max_webhooks"]), (&json!(5), &json!(1)));
}
