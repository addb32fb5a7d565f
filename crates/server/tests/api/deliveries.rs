//! The log: filters, one delivery with its attempts, replay and cancel.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{NOW, PLATFORM, World};

const LIST: &str = "/v1/accounts/default/deliveries";

#[tokio::test]
async fn the_log_of_a_deleted_webhook_is_found_by_it() {
    let world = World::new();
    let (gone, other) = (world.webhook("default").await, world.webhook("default").await);
    let delivery = World::first_delivery(&world.event("default").await);
    world.settle(delivery, 200, b"ok").await;
    let deleted =
        world.ask(Method::DELETE, &format!("/v1/accounts/default/webhooks/{gone}")).key(PLATFORM).send().await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    let ids = async |filter: &str| -> Vec<String> {
        let list = world.get(&format!("{LIST}?{filter}")).await.json();
        let rows = list["data"].as_array().expect("rows");
        rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!(ids("").await.len(), 2);
    for filter in ["", "&status=delivered", "&event=alert.*", "&since=1h", "&q=rule"] {
        assert_eq!(ids(&format!("webhook={gone}{filter}")).await, [delivery.to_string()], "{filter}");
    }
    assert_eq!(world.get(&format!("{LIST}/count?webhook={gone}")).await.json()["count"], 1);
    let export = world.get(&format!("{LIST}/export?webhook={gone}")).await;
    assert_eq!(String::from_utf8_lossy(&export.body).lines().count(), 1);
    assert_eq!((ids(&format!("webhook={other}")).await.len(), ids("webhook=wh_nobody").await.len()), (1, 0));
}

#[tokio::test]
async fn a_delivery_shows_what_was_sent_and_what_came_back() {
    let world = World::new();
    let webhook = world.webhook("default").await;
    let event = world.event("default").await;
    let delivery = World::first_delivery(&event);
    world.settle(delivery, 500, "{\"error\":\"db locked\"}\u{1b}[31m".as_bytes()).await;
    let got = world.get(&format!("{LIST}/{delivery}")).await.json();
    assert_eq!(got["id"], json!(delivery));
    assert_eq!((&got["webhook_id"], &got["event_id"]), (&json!(webhook), &json!(event)));
    assert_eq!(
        (&got["status"], &got["attempts_made"], &got["last_error"]),
        (&json!("pending"), &json!(1), &json!("http_5xx"))
    );
    let attempt = &got["attempts"][0];
    assert_eq!(
        (&attempt["number"], &attempt["reason"], &attempt["status_code"]),
        (&json!(1), &json!("first"), &json!(500))
    );
    assert_eq!(attempt["duration_ms"], json!(41.5));
    assert_eq!(attempt["timing"]["first_byte"], json!(1.25));
    assert_eq!(attempt["timing"]["tls"], Value::Null);
    assert_eq!(attempt["error"]["code"], "http_5xx");
    assert!(attempt["error"]["message"].as_str().is_some_and(|message| message.contains("500")));
    assert_eq!(attempt["remote_address"], "198.41.0.4:443");
    assert_eq!(attempt["response"]["body"], "{\"error\":\"db locked\"}\u{1b}[31m");
    assert_eq!(attempt["response"]["body_base64"], Value::Null);

    let request = &attempt["request"];
    assert_eq!((&request["method"], &request["url"]), (&json!("POST"), &json!("https://hooks.crm.example.com/in")));
    let timestamp = &got["timestamp"];
    let body = format!(
        r#"{{"event":"alert.rule_created","webhook_id":"{webhook}","timestamp":{timestamp},"data":{{"rule":1}}}}"#
    );
    assert_eq!(request["body"], json!(body));
    let header = |name: &str| {
        let headers = request["headers"].as_array().expect("headers");
        headers.iter().find(|header| header["name"] == name).map(|header| header["value"].clone())
    };
    assert_eq!(header("Host"), Some(json!("hooks.crm.example.com")));
    assert_eq!(header("Content-Length"), Some(json!(body.len().to_string())));
    assert_eq!(header("X-CronDB-Delivery"), Some(json!(delivery)));
    assert_eq!(header("X-Api-Key"), Some(json!("••••")));
    let secret = world.get(&format!("/v1/accounts/default/webhooks/{webhook}/secret")).await.json()["secret"].clone();
    let secret = domain::secret::SigningSecret::parse(secret.as_str().expect("a secret")).expect("a secret");
    let signature = header("X-CronDB-Signature").expect("the signature");
    let check = domain::signature::verify(body.as_bytes(), signature.as_str().expect("text"), &secret);
    assert_eq!(check, domain::signature::Check::Valid);
}

#[tokio::test]
async fn the_rest_of_the_schedule_is_told() {
    let world = World::new();
    world.webhook("default").await;
    let delivery = World::first_delivery(&world.event("default").await);
    let path = format!("{LIST}/{delivery}");
    let schedule = async || world.get(&path).await.json()["schedule"].clone();
    let first = world.get(&path).await.json()["next_attempt_at"].clone();
    let fresh = schedule().await;
    assert_eq!(fresh.as_array().map(Vec::len), Some(6), "the first attempt and the page's five retries");
    assert_eq!(fresh[0], json!({"number": 1, "at": first}));
    world.settle(delivery, 503, b"").await;
    // 30 s after the end of the attempt, which took 41.5 ms; then the page's further delays.
    let times = [0, 120, 720, 4_320, 25_920].map(|later| NOW + 30_041_500 + later * 1_000_000);
    let rows = times.iter().zip(2..).map(|(&at, number)| json!({"number": number, "at": domain::time::Timestamp(at)}));
    let after_first: Vec<_> = rows.collect();
    assert_eq!(schedule().await, Value::Array(after_first));
    world.settle(delivery, 200, b"").await;
    assert_eq!(schedule().await, json!([]));
}

#[tokio::test]
async fn bytes_that_are_no_text_can_be_read_back() {
    let world = World::new();
    world.webhook("default").await;
    let delivery = World::first_delivery(&world.event("default").await);
    world.settle(delivery, 200, b"\xff\x00\xfe").await;
    let got = world.get(&format!("{LIST}/{delivery}")).await.json();
    assert_eq!(got["attempts"][0]["response"]["body_base64"], "/wD+");
    assert_eq!((&got["attempts"][0]["error"], &got["status"]), (&Value::Null, &json!("delivered")));
}

/// Who records ends says of many at once that they are over: until then they stand there as in flight, and are not.
#[tokio::test]
async fn what_is_recorded_is_no_longer_being_sent() {
    let world = World::new();
    world.webhook("default").await;
    let (delivered, failing) = (world.event("default").await, world.event("default").await);
    for (event, code, status) in [(&delivered, 200, "delivered"), (&failing, 500, "pending")] {
        let delivery = World::first_delivery(event);
        let shown = async || {
            let one = world.get(&format!("{LIST}/{delivery}")).await.json();
            let listed = world.get(&format!("{LIST}?q={delivery}")).await.json();
            assert_eq!(one["status"], listed["data"][0]["status"]);
            one["status"].as_str().expect("a status").to_owned()
        };
        world.in_flight.started(delivery, 1);
        assert_eq!(shown().await, "sending");
        world.settle(delivery, code, b"").await;
        assert_eq!(shown().await, status);
    }
    let retried = World::first_delivery(&failing);
    world.in_flight.started(retried, 2);
    assert_eq!(world.get(&format!("{LIST}/{retried}")).await.json()["status"], "sending");
}

#[tokio::test]
async fn the_log_is_filtered_and_paged() {
    let world = World::new();
    let webhook = world.webhook("default").await;
    let mut events = Vec::new();
    for _ in 0..5 {
        events.push(world.event("default").await);
    }
    world.settle(World::first_delivery(&events[0]), 500, b"").await;
    world.settle(World::first_delivery(&events[1]), 200, b"").await;
    world.in_flight.started(World::first_delivery(&events[2]), 1);
    let list = async |query: &str| {
        let reply = world.get(&format!("{LIST}?{query}")).await;
        assert_eq!(reply.status, StatusCode::OK, "{query}: {reply:?}");
        let json = reply.json();
        json["data"]
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| row["event_id"].as_str().expect("an id").to_owned())
            .collect::<Vec<_>>()
    };
    let newest_first: Vec<_> = events.iter().rev().cloned().collect();
    assert_eq!(list("").await, newest_first);
    assert_eq!(list("status=delivered").await, events[1..2]);
    assert_eq!(list("status=sending").await, events[2..3]);
    assert_eq!(list("code=5xx").await, events[0..1]);
    assert_eq!(list("error=http_5xx&status=pending").await, events[0..1]);
    assert_eq!(list(&format!("webhook={webhook}&event=alert.*&since=1h&limit=2")).await, newest_first[..2]);
    assert_eq!(list("webhook=wh_never").await, [""; 0]);
    assert_eq!(list("q='%20OR%201=1--").await, [""; 0]);
    for query in [
        "limit=0",
        "limit=-1",
        "limit=1000000000",
        "limit=NaN",
        "cursor=AAAA",
        "status=lost",
        "since=yesterday",
        "code=5xy",
        "error=nope",
        "colour=red",
        "status=",
    ] {
        let reply = world.get(&format!("{LIST}?{query}")).await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
    }
}

#[tokio::test]
async fn replay_and_cancel_do_what_the_state_allows() {
    let world = World::new();
    world.webhook("default").await;
    let delivery = World::first_delivery(&world.event("default").await);
    let path = format!("{LIST}/{delivery}");
    let act = async |verb: &str| world.ask(Method::POST, &format!("{path}/{verb}")).key(PLATFORM).send().await;
    world.settle(delivery, 200, b"").await;
    let refused = act("cancel").await;
    assert_eq!((refused.status, &refused.json()["code"]), (StatusCode::CONFLICT, &json!("state")));
    let replayed = act("replay").await;
    assert_eq!(replayed.status, StatusCode::ACCEPTED);
    let now = world.get(&path).await.json();
    for (field, value) in replayed.json().as_object().expect("a delivery") {
        assert_eq!(now[field], *value, "{field} is as the answer said");
    }
    assert_eq!(
        (&now["status"], &now["attempts_made"], &now["retries_made"]),
        (&json!("pending"), &json!(1), &json!(0))
    );
    assert_eq!(now["schedule"].as_array().map(Vec::len), Some(6), "the schedule starts afresh");
    let cancelled = act("cancel").await;
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (StatusCode::OK, &json!("cancelled")));
    assert_eq!(world.get(&path).await.json()["status"], "cancelled");
    assert_eq!(act("cancel").await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_search_says_how_far_it_looked() {
    let world = World::new();
    world.webhook("default").await;
    let event = world.event("default").await;
    for path in [LIST, "/v1/accounts/default/events"] {
        let found = world.get(&format!("{path}?q=rule")).await.json();
        assert_eq!(found["data"].as_array().map(Vec::len), Some(1));
        assert_eq!((&found["next_cursor"], &found["searched_until"]), (&Value::Null, &Value::Null), "to the end");
        assert!(found.as_object().is_some_and(|page| page.contains_key("searched_until")));
    }
    let events = async |query: &str| world.get(&format!("/v1/accounts/default/events?{query}")).await.json();
    assert_eq!(events("event=alert.*&since=1h").await["data"][0]["id"], json!(event));
    assert_eq!(events("event=enrichment.failed").await["data"], json!([]));
    assert_eq!(events("until=1h").await["data"], json!([]));
    for query in ["status=failed", "webhook=wh_a", "colour=red", "event=", "since=yesterday"] {
        let reply = world.get(&format!("/v1/accounts/default/events?{query}")).await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
    }
}

#[tokio::test]
async fn what_an_account_redacts_is_shown_nowhere() {
    let world = World::new();
    world.webhook("default").await;
    let event = world.event("default").await;
    let delivery = World::first_delivery(&event);
    world.settle(delivery, 500, b"").await;
    let request = async || world.get(&format!("{LIST}/{delivery}")).await.json()["attempts"][0]["request"].clone();
    let before = request().await;
    let changed = world.patch("/v1/accounts/default", &json!({"redact": ["/rule"]})).await;
    assert_eq!((changed.status, &changed.json()["redact"]), (StatusCode::OK, &json!(["/rule"])));
    let after = request().await;
    let body = before["body"].as_str().expect("a body").replace(r#"{"rule":1}"#, r#"{"rule":"[redacted]"}"#);
    assert_eq!(after["body"], json!(body));
    assert_eq!(after["headers"], before["headers"], "they are those of what was sent");
    assert_eq!(
        world.get(&format!("/v1/accounts/default/events/{event}")).await.json()["data"],
        json!({"rule": "[redacted]"})
    );
    let export = world.get(&format!("{LIST}/export?attempts=true")).await;
    assert!(export.json()["attempts"][0]["request"]["body"].as_str().is_some_and(|body| body.contains("[redacted]")));
    assert_eq!(world.get(&format!("{LIST}?q=%3A1%7D")).await.json()["data"], json!([]), "nor found");
    let whole = world.patch("/v1/accounts/default", &json!({"redact": null})).await;
    assert_eq!((whole.status, &whole.json()["redact"]), (StatusCode::OK, &json!([])));
    assert_eq!(request().await, before);
}

#[tokio::test]
async fn an_export_has_every_line_and_goes_on_where_it_was() {
    let world = World::new();
    world.webhook("default").await;
    for n in 0..230 {
        let delivery = World::first_delivery(&world.event("default").await);
        if n % 2 == 0 {
            world.settle(delivery, if n % 4 == 0 { 200 } else { 503 }, b"").await;
        }
    }
    let export = async |query: &str| {
        let reply = world.get(&format!("{LIST}/export?{query}")).await;
        assert_eq!(
            (reply.status, &reply.headers["content-type"]),
            (StatusCode::OK, &"application/x-ndjson".parse().expect("a value"))
        );
        let text = String::from_utf8(reply.body.to_vec()).expect("UTF-8");
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")).collect::<Vec<_>>()
    };
    let all = export("").await;
    assert_eq!(all.len(), 230);
    assert!(all.windows(2).all(|pair| pair[0]["id"].as_str() > pair[1]["id"].as_str()), "newest first");
    assert_eq!(all[..100], *world.get(&format!("{LIST}?limit=100")).await.json()["data"].as_array().expect("rows"));
    let last = all[149]["id"].as_str().expect("an id");
    assert_eq!(export(&format!("cursor={last}")).await, all[150..]);
    let failing = export("code=5xx&attempts=true").await;
    assert_eq!(failing.len(), 57);
    assert!(failing.iter().all(|row| row["attempts"][0]["status_code"] == 503));
    assert!(export("webhook=wh_never").await.is_empty());
    for query in ["cursor=x", "attempts=1", "colour=red", "limit=3", "cursor=a&cursor=b", "status=lost"] {
        let reply = world.get(&format!("{LIST}/export?{query}")).await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
    }
}

#[tokio::test]
async fn deliveries_are_counted_by_filter_and_type() {
    let world = World::new();
    let webhook = world.webhook("default").await;
    world.webhook("default").await;
    let other = json!({"event": "watchlist.domain_added", "data": {"domain": "newstartup.com"}});
    for body in [&other, &other] {
        assert_eq!(world.post("/v1/events", body).await.status, StatusCode::ACCEPTED);
    }
    let settled = World::first_delivery(&world.event("default").await);
    world.settle(settled, 200, b"").await;
    let count = async |query: &str| world.get(&format!("{LIST}/count{query}")).await.json();
    let types = |counted: &Value| {
        let events = counted["events"].as_array().expect("a list").clone();
        events.iter().map(|row| (row["event"].clone(), row["count"].clone())).collect::<Vec<_>>()
    };
    let all = count("").await;
    assert_eq!((&all["count"], &all["more"]), (&json!(6), &json!(false)));
    assert_eq!(
        types(&all),
        [(json!("watchlist.domain_added"), json!(4)), (json!("alert.rule_created"), json!(2))],
        "most frequent first"
    );
    assert_eq!(count(&format!("?webhook={webhook}")).await["count"], 3);
    assert_eq!(types(&count("?status=delivered").await), [(json!("alert.rule_created"), json!(1))]);
    let none = json!({"count": 0, "more": false, "events": []});
    assert_eq!([count("?webhook=wh_never").await, count("?code=500").await], [none.clone(), none]);
    assert_eq!(count("?test=true").await["count"], 0);
    for (query, pointer) in [("?limit=1", "limit"), ("?status=odd", "status"), ("?test=odd", "test")] {
        let refused = world.get(&format!("{LIST}/count{query}")).await;
        assert_eq!(refused.faults(), (422, vec![(pointer.to_owned(), "filter_invalid".to_owned())]), "{query}");
    }
}

#[tokio::test]
async fn no_more_than_ten_thousand_are_counted() {
    let world = World::new();
    let webhook = world.webhook("default").await;
    let events: Vec<_> =
        (0..1_000).map(|rule| json!({"event": "alert.rule_created", "data": {"rule": rule}})).collect();
    let count = async || world.get(&format!("{LIST}/count?webhook={webhook}")).await.json();
    for batch in 1..=11 {
        assert_eq!(world.post("/v1/events", &json!(events)).await.status, StatusCode::OK);
        let counted = count().await;
        let whole = (counted["count"].clone(), counted["more"].clone());
        assert_eq!(
            whole,
            if batch <= 10 { (json!(batch * 1_000), json!(false)) } else { (json!(10_000), json!(true)) }
        );
    }
}
