//! `POST /v1/events`, and the events that were accepted.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{PLATFORM, World};

/// The members of the page's example of `watchlist.domain_changed`.
const EXAMPLE: &str = r#""domain":"competitor.com","changes":[{"field":"tech_stack","action":"added","value":"Stripe","previous_value":null}]"#;

async fn post(world: &World, body: &str) -> crate::world::Reply {
    world.ask(Method::POST, "/v1/events").key(PLATFORM).text("application/json", body).send().await
}

#[tokio::test]
async fn an_event_is_accepted_and_goes_to_the_webhooks_that_take_it() {
    let world = World::new();
    world.webhook("default").await;
    world.webhook("default").await;
    let reply = post(&world, &format!(r#"{{"event":"watchlist.domain_changed","data":{{{EXAMPLE}}}}}"#)).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    let json = reply.json();
    assert_eq!(json["deliveries"], 2);
    let id = json["id"].as_str().expect("an id");
    let event = world.get(&format!("/v1/accounts/default/events/{id}")).await.json();
    assert_eq!(event["timestamp"], json["timestamp"]);
    assert_eq!(event["data"]["domain"], "competitor.com");
    assert_eq!(event["deliveries"].as_array().map(Vec::len), Some(2));
    assert_eq!(event["deliveries"][0]["status"], "pending");
}

#[tokio::test]
async fn the_producer_s_bytes_are_kept() {
    let world = World::new();
    for rest in [
        r#""a":1,"a":2"#,
        r#""n":1e400"#,
        r#""n":9223372036854775808"#,
        r#""n":0.10000000000000000000000000000000000001"#,
        r#""n":1E+2"#,
        r#""s":"\u0000""#,
        r#""s":"\ud83d\ude00""#,
        r#""s":"a\/b""#,
        r#""z":1,  "a": 2"#,
    ] {
        let data = format!("{{{EXAMPLE},{rest}}}");
        let reply = post(&world, &format!(r#"{{"event":"watchlist.domain_changed", "data": {data} }}"#)).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{rest}: {reply:?}");
        let id = reply.json()["id"].as_str().expect("an id").to_owned();
        let event = world.get(&format!("/v1/accounts/default/events/{id}")).await;
        let body = String::from_utf8(event.body.to_vec()).expect("text");
        assert!(body.contains(&format!("\"data\":{data}")), "{data} is not in {body}");
    }
}

#[tokio::test]
async fn what_is_no_event_is_refused_and_nothing_is_stored() {
    let world = World::new();
    let deep = format!(
        r#"{{"event":"watchlist.domain_changed","data":{{{EXAMPLE},"n":{}{}}}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let with = |rest: &str| format!(r#"{{"event":"watchlist.domain_changed",{rest}"data":{{{EXAMPLE}}}}}"#);
    let typed = |event: &str| format!(r#"{{"event":"{event}","data":{{{EXAMPLE}}}}}"#);
    for (body, status, code) in [
        ("{".to_owned(), 400, "json_invalid"),
        ("null".to_owned(), 422, "body_invalid"),
        ("42".to_owned(), 422, "body_invalid"),
        ("{}".to_owned(), 422, "field_missing"),
        (r#"{"event":1,"data":{}}"#.to_owned(), 422, "event_type_unknown"),
        (r#"{"event":"watchlist.domain_changed"}"#.to_owned(), 422, "field_missing"),
        (r#"{"event":"watchlist.domain_changed","data":null}"#.to_owned(), 422, "data_invalid"),
        ("{'event':'x'}".to_owned(), 400, "json_invalid"),
        ("\u{feff}{\"event\":\"x\",\"data\":{}}".to_owned(), 400, "json_invalid"),
        ("NaN".to_owned(), 400, "json_invalid"),
        (deep, 422, "data_invalid"),
        (
            format!("{{\"event\":\"watchlist.domain_changed\",\"data\":{{{EXAMPLE},\"s\":\"\u{1}\"}}}}"),
            400,
            "json_invalid",
        ),
        (typed(""), 422, "event_type_unknown"),
        (typed("nope.nope"), 422, "event_type_unknown"),
        (typed("*"), 422, "event_type_unknown"),
        (typed("ALERT.DOMAIN_MATCHED"), 422, "event_type_unknown"),
        (typed(r"a\r\nb"), 422, "event_type_unknown"),
        (typed("../x"), 422, "event_type_unknown"),
        (typed("alert"), 422, "event_type_unknown"),
        (typed(r"alert.domain_matched\u0000"), 422, "event_type_unknown"),
        (r#"{"event":"alert.domain_matched","data":{}}"#.to_owned(), 422, "data_invalid"),
        (with(r#""id":"evt_a.b","#), 422, "unknown_field"),
        (with(r#""timestamp":"2036-01-01T00:00:00Z","#), 422, "unknown_field"),
        (with(r#""account":"no-such-account","#), 404, "account_not_found"),
        (with(r#""account":"","#), 422, "account_invalid"),
        (with(r#""account":7,"#), 422, "account_invalid"),
    ] {
        let reply = post(&world, &body).await;
        assert_eq!(reply.status.as_u16(), status, "{body:.200}: {reply:?}");
        assert_eq!(reply.headers["content-type"], "application/problem+json");
        let json = reply.json();
        let first = json["errors"][0]["code"].as_str().or(json["code"].as_str());
        assert_eq!(first, Some(code), "{body:.200}");
        assert!(json["request_id"].as_str().is_some_and(|id| id.starts_with("req_")));
    }
    assert_eq!(world.get("/v1/accounts/default/events").await.json()["data"], json!([]));
}

#[tokio::test]
async fn each_fault_of_the_data_has_its_pointer() {
    let world = World::new();
    let reply = post(&world, r#"{"event":"watchlist.domain_changed","data":{"domain":7,"changes":"x"}}"#).await;
    let (status, mut faults) = reply.faults();
    faults.sort();
    assert_eq!(status, 422);
    let expected = ["/data/changes", "/data/domain"].map(|pointer| (pointer.to_owned(), "data_invalid".to_owned()));
    assert_eq!(faults, expected);
}

#[tokio::test]
async fn sizes_and_kinds_of_bodies_are_judged() {
    let world = World::new();
    let data = format!(r#"{{{EXAMPLE},"pad":"{}"}}"#, "a".repeat(256 * 1024));
    let reply = post(&world, &format!(r#"{{"event":"watchlist.domain_changed","data":{data}}}"#)).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(reply.json()["code"], "data_too_large");

    let announced = world.ask(Method::POST, "/v1/events").key(PLATFORM).header("content-length", "104857600");
    assert_eq!(announced.text("application/json", "{").send().await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(post(&world, &" ".repeat(17 * 1024 * 1024)).await.status, StatusCode::PAYLOAD_TOO_LARGE);

    let good = format!(r#"{{"event":"watchlist.domain_changed","data":{{{EXAMPLE}}}}}"#);
    for (kind, status) in [
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json; charset=latin1", 415),
        ("application/json; charset=utf-8", 202),
    ] {
        let reply = world.ask(Method::POST, "/v1/events").key(PLATFORM).text(kind, good.clone()).send().await;
        assert_eq!(reply.status.as_u16(), status, "{kind}");
    }
    let packed = world.ask(Method::POST, "/v1/events").key(PLATFORM).header("content-encoding", "gzip");
    assert_eq!(packed.text("application/json", good).send().await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_batch_answers_for_each_event_in_order() {
    let world = World::new();
    world.webhook("default").await;
    let good = json!({"event": "alert.rule_created", "data": {}});
    let batch = json!([good, {"event": "nope", "data": {}}, {"account": "nobody", "event": "alert.rule_created", "data": {}}, 7, good]);
    let reply = world.post("/v1/events", &batch).await;
    assert_eq!(reply.status, StatusCode::OK);
    let results = reply.json()["results"].clone();
    let statuses: Vec<_> = results.as_array().expect("results").iter().map(|result| result["status"].clone()).collect();
    assert_eq!(statuses, [202, 422, 404, 422, 202].map(Value::from));
    assert_eq!(results[0]["deliveries"], 1);
    assert_eq!(results[1]["errors"][0]["code"], "event_type_unknown");
    assert_eq!(results[2]["code"], "account_not_found");

    let whole = world.post("/v1/events", &Value::Array(vec![good.clone(); 1_000])).await.json();
    let results = whole["results"].as_array().expect("results");
    assert_eq!(results.len(), 1_000);
    assert!(results.iter().all(|result| result["status"] == 202));
    let ids: Vec<_> = results.iter().map(|result| result["id"].as_str().expect("an id")).collect();
    assert!(ids.is_sorted());
    let before = world.get("/v1/accounts/default/events?limit=1").await.json();
    let over = world.post("/v1/events", &Value::Array(vec![good; 1_001])).await;
    assert_eq!(over.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(world.get("/v1/accounts/default/events?limit=1").await.json(), before, "nothing was accepted");
}

#[tokio::test]
async fn lines_are_a_batch_too() {
    let world = World::new();
    let good = r#"{"event":"alert.rule_created","data":{}}"#;
    let send = async |lines: String| {
        let ask = world.ask(Method::POST, "/v1/events").key(PLATFORM).text("application/x-ndjson", lines);
        let reply = ask.send().await;
        assert_eq!(reply.status, StatusCode::OK);
        let results = reply.json()["results"].as_array().cloned().expect("results");
        results.iter().map(|result| result["status"].as_u64().expect("a status")).collect::<Vec<_>>()
    };
    assert_eq!(send(format!("{good}\n{{broken\n{good}\n")).await, [202, 422, 202]);
    assert_eq!(send(good.to_owned()).await, [202]);
    assert_eq!(send(String::new()).await, [0u64; 0]);
}

#[tokio::test]
async fn an_account_key_posts_for_its_own_account_and_only_with_the_scope() {
    let world = World::new();
    let writer = world.account("a", &["events:write"]).await;
    let reader = world.key("a", &[]).await;
    world.account("b", &[]).await;
    let post = async |key: &str, body: Value| {
        world.ask(Method::POST, "/v1/events").key(key).json(&body).send().await.status.as_u16()
    };
    let event = |account: &str| json!({"account": account, "event": "alert.rule_created", "data": {}});
    assert_eq!(post(&writer, event("a")).await, 202);
    assert_eq!(post(&writer, json!({"event": "alert.rule_created", "data": {}})).await, 202, "its own is the default");
    assert_eq!(post(&writer, event("b")).await, 404);
    assert_eq!(post(&writer, event("never")).await, 404);
    assert_eq!(post(&reader, event("a")).await, 403);
    let mine = world.get("/v1/accounts/a/events").await.json();
    assert_eq!(mine["data"].as_array().map(Vec::len), Some(2));
    assert_eq!(world.get("/v1/accounts/b/events").await.json()["data"], json!([]));
}

#[tokio::test]
async fn a_store_that_takes_nothing_now_says_when_to_come_again() {
    let world = World::new();
    world.store.busy.store(true, std::sync::atomic::Ordering::SeqCst);
    let event = json!({"event": "alert.rule_created", "data": {}});
    for body in [event.clone(), json!([event])] {
        let reply = world.post("/v1/events", &body).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(reply.headers["retry-after"], "1");
    }
    assert_eq!(world.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.get("/livez").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_store_that_commits_nothing_says_what_it_may_wait_for() {
    let world = World::new();
    world.store.stuck.store(true, std::sync::atomic::Ordering::SeqCst);
    let reply = world.get("/readyz").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    let problem = reply.json();
    assert_eq!(problem["code"], "database_unanswered");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("synchronous_standby_names")), "{problem}");
    world.store.stuck.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(world.get("/readyz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn events_are_counted_by_type() {
    let world = World::new();
    world.webhook("default").await;
    let post = async |event: &str, data: Value| {
        let reply = world.post("/v1/events", &json!({"event": event, "data": data})).await;
        reply.status.as_u16()
    };
    for _ in 0..3 {
        assert_eq!(post("alert.rule_created", json!({"rule": 1})).await, 202);
    }
    assert_eq!(post("watchlist.domain_changed", json!({"domain": 7})).await, 422);
    let batch = json!([
        {"event": "watchlist.domain_changed", "data": {"domain": 7}},
        {"event": "watchlist.domain_changed", "data": {"domain": "a.example.com", "changes": []}},
        {"event": "no.such_type", "data": {}},
    ]);
    assert_eq!(world.post("/v1/events", &batch).await.status, StatusCode::OK);
    let counts = world.get("/v1/accounts/default/event-types").await.json();
    assert_eq!(counts["since"], "2026-03-18T14:30:00.000000Z");
    let of = |name: &str| {
        let row = counts["data"].as_array().expect("rows").iter().find(|row| row["name"] == name).expect("the type");
        (row["accepted"].as_u64().expect("a count"), row["refused"].as_u64().expect("a count"))
    };
    assert_eq!(of("alert.rule_created"), (3, 0));
    assert_eq!(of("watchlist.domain_changed"), (1, 2));
    assert_eq!(of("sequence.email_sent"), (0, 0));
    world.account("other", &[]).await;
    let others = world.get("/v1/accounts/other/event-types").await.json();
    assert!(others["data"].as_array().expect("rows").iter().all(|row| row["accepted"] == 0 && row["refused"] == 0));
}
