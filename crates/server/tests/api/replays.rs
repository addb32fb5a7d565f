//! Replays in bulk: the dry run, how one comes along, what is refused.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{PLATFORM, World};

const ALL: &str = "/v1/accounts/default/replays";

/// Deliveries that were cancelled, oldest first: they have ended, and none was sent.
async fn cancelled(world: &World, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let id = World::first_delivery(&world.event("default").await).to_string();
        let done = world.post(&format!("/v1/accounts/default/deliveries/{id}/cancel"), &json!({})).await;
        assert_eq!(done.status, StatusCode::OK);
        ids.push(id);
    }
    ids
}

fn id(reply: &Value) -> String {
    reply["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() {
    let world = World::new();
    let webhook = world.webhook("default").await;
    let ids = cancelled(&world, 22).await;
    world.event("default").await;
    let ask = json!({"webhook": webhook, "status": ["cancelled", "pending"], "since": "1h", "dry_run": true});
    let reply = world.post(ALL, &ask).await;
    assert_eq!(reply.status, StatusCode::OK);
    let counted = reply.json();
    assert_eq!((&counted["total"], &counted["left_out"]["unfinished"]), (&json!(22), &json!(1)));
    let shown: Vec<_> = counted["deliveries"].as_array().expect("rows").iter().map(id).collect();
    assert_eq!(shown, ids[..20]);
    assert!(counted["filter"]["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{counted}");
    assert_eq!(world.get(ALL).await.json()["data"], json!([]));
}

#[tokio::test]
async fn a_replay_comes_along_and_says_how_far() {
    let world = World::new();
    let webhook = world.webhook("default").await;
    let ids = cancelled(&world, 3).await;
    let ask = json!({"webhook": webhook, "status": "cancelled", "rate": 2});
    let once = || world.ask(Method::POST, ALL).key(PLATFORM).header("idempotency-key", "one").json(&ask);
    let reply = once().send().await;
    assert_eq!(reply.status, StatusCode::ACCEPTED, "{reply:?}");
    let started = reply.json();
    let replay = id(&started);
    assert_eq!(reply.headers["location"], format!("{ALL}/{replay}"));
    assert_eq!(once().send().await.json(), started, "the same request starts no other");
    assert_eq!(
        (&started["status"], &started["total"], &started["remaining"]),
        (&json!("running"), &json!(3), &json!(3))
    );
    assert_eq!((&started["started_by"], &started["eta"]["basis"]), (&json!("platform"), &json!("2 per second")));
    let second = world.post(ALL, &json!({"status": "cancelled"})).await.json();
    assert_eq!((&second["status"], &second["waits_for"]), (&json!("queued"), &json!(replay)));

    world.hand_over(&replay, 2).await;
    world.settle(ids[0].parse().expect("an id"), 200, b"").await;
    world.settle(ids[1].parse().expect("an id"), 500, b"").await;
    let one = format!("{ALL}/{replay}");
    let seen = world.get(&one).await.json();
    assert_eq!((&seen["handed_over"], &seen["remaining"], &seen["waiting"]), (&json!(2), &json!(1), &json!(0)));
    assert_eq!(seen["results"], json!({"delivered": 1, "retrying": 1, "failed": 0, "cancelled": 0}));
    assert_eq!(seen["errors"], json!({"http_5xx": 1}));
    let detail = world.get(&format!("/v1/accounts/default/deliveries/{}", ids[0])).await.json();
    assert_eq!(
        (&detail["attempts"][0]["reason"], &detail["attempts"][0]["replay"]),
        (&json!("replay"), &json!(replay))
    );

    let paused = world.post(&format!("{one}/pause"), &json!({"reason": "lunch"})).await.json();
    assert_eq!(paused["status_reason"]["sentence"], "Paused by key platform: lunch");
    assert_eq!(world.post(&format!("{one}/pause"), &json!({})).await.json()["status"], "paused");
    assert_eq!(world.get(&one).await.json()["status_reason"]["reason"], "lunch");
    let resumed = world.post(&format!("{one}/resume"), &json!({"rate": 9})).await.json();
    assert_eq!(
        (&resumed["status"], &resumed["rate"], &resumed["status_reason"]),
        (&json!("running"), &json!(9), &Value::Null)
    );
    let stopped = world.post(&format!("{one}/stop"), &json!({})).await.json();
    assert_eq!((&stopped["status"], &stopped["status_reason"]["by"]), (&json!("stopped"), &json!("person")));
    assert_eq!(world.post(&format!("{one}/stop"), &json!({})).await.status, StatusCode::OK);
    for verb in ["pause", "resume"] {
        assert_eq!(world.post(&format!("{one}/{verb}"), &json!({})).await.status, StatusCode::CONFLICT, "{verb}");
    }
    assert_eq!(world.get(&format!("{ALL}/{}", id(&second))).await.json()["status"], "running", "its turn has come");
    let page = world.get(&format!("{ALL}?limit=1")).await.json();
    assert_eq!(page["data"][0]["id"], second["id"]);
    let cursor = page["next_cursor"].as_str().expect("there is another");
    assert_eq!(world.get(&format!("{ALL}?limit=1&cursor={cursor}")).await.json()["data"][0]["id"], json!(replay));
}

#[tokio::test]
async fn what_cannot_be_replayed_is_refused() {
    let world = World::new();
    let webhook = world.webhook("default").await;
    cancelled(&world, 1).await;
    world.account("acme", &[]).await;
    let theirs = world.webhook("acme").await;
    for (body, pointer, code) in [
        (json!({}), "", "filter_missing"),
        (json!({"dry_run": true, "rate": 5}), "", "filter_missing"),
        (json!({"status": "lost"}), "/status", "filter_invalid"),
        (json!({"status": 5}), "/status", "filter_invalid"),
        (json!({"status": "pending"}), "/status", "filter_invalid"),
        (json!({"status": ["held", "sending"], "webhook": webhook}), "/status", "filter_invalid"),
        (json!({"since": "1h", "until": "2h"}), "/since", "filter_invalid"),
        (json!({"status": "failed", "rate": 0}), "/rate", "rate_invalid"),
        (json!({"status": "failed", "dry_run": "yes"}), "/dry_run", "dry_run_invalid"),
        (json!({"status": "failed", "q": ["a", "b"]}), "/q", "filter_invalid"),
        (json!({"status": "failed", "body": "text"}), "/body", "unknown_field"),
    ] {
        let (status, faults) = world.post(ALL, &body).await.faults();
        assert_eq!(status, 422, "{body}");
        assert_eq!(faults[0], (pointer.to_owned(), code.to_owned()), "{body}");
    }
    let found = world.post(ALL, &json!({"q": "no such text", "dry_run": true})).await;
    assert_eq!((found.status, &found.json()["total"]), (StatusCode::OK, &json!(0)));
    let found = world.post(ALL, &json!({"status": "pending", "dry_run": true})).await;
    assert_eq!((found.status, &found.json()["total"]), (StatusCode::OK, &json!(0)), "it says how many are left out");
    for unknown in ["wh_never", &theirs] {
        let reply = world.post(ALL, &json!({"webhook": unknown, "status": "failed"})).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{unknown}");
    }
    world.post(&format!("/v1/accounts/default/webhooks/{webhook}/pause"), &json!({})).await;
    let refused = world.post(ALL, &json!({"webhook": webhook, "status": "cancelled"})).await;
    assert_eq!((refused.status, &refused.json()["code"]), (StatusCode::CONFLICT, &json!("webhook_paused")));
    // Where nobody named it, what it has is counted and left out.
    let all = world.post(ALL, &json!({"status": "cancelled"})).await.json();
    assert_eq!(
        (&all["status"], &all["total"], &all["left_out"]["webhook_paused"]),
        (&json!("done"), &json!(0), &json!(1))
    );
}
