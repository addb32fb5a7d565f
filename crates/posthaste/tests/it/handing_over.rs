//! What goes on over many nodes while they come and go: a replay in bulk is sent whole, and a webhook with an order keeps it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use store::conformance::cluster::Cluster;

use crate::api::Api;
use crate::nodes::{drained, three, webhooks};
use crate::receiver::{Receiver, Request, Script, status};
use crate::room::start;
use crate::server::{Launch, Server};
use crate::wait;

/// For whatever has to come.
const PATIENCE: Duration = Duration::from_secs(120);
/// Webhooks: enough that each node has some.
const WEBHOOKS: usize = 6;

/// What arrived, by the path of the webhook: numbers of events, in order.
type Arrived = Arc<Mutex<HashMap<String, Vec<u64>>>>;

/// A receiver that refuses everything until it is told that it is well, and remembers what it took.
async fn receiver(well: &Arc<AtomicBool>) -> (Receiver, Arrived) {
    let arrived = Arrived::default();
    let (well, took) = (Arc::clone(well), Arc::clone(&arrived));
    let answer = move |request: &Request| {
        if !well.load(Ordering::SeqCst) {
            return status(400);
        }
        let path = request.path().to_owned();
        let body = request.json();
        let number = body["data"]["n"].as_u64().expect("a number");
        took.lock().expect("no test panics here").entry(path).or_default().push(number);
        status(200)
    };
    (Receiver::start(Script::choosing(None, Arc::new(answer))).await, arrived)
}

async fn nodes(receiver: &Receiver, more: &Value) -> (Vec<Server>, Launch) {
    let (nodes, _, again) = three(&Cluster::shared().database(), "1s").await;
    webhooks(&nodes, WEBHOOKS, receiver, more).await;
    (nodes, again)
}

async fn post(nodes: &[&Api], numbers: std::ops::Range<u64>) {
    for n in numbers {
        let api = nodes[usize::try_from(n).expect("small") % nodes.len()];
        let body = json!({"event": "alert.rule_created", "data": {"n": n}});
        api.post("/v1/events", &body).await.expect(202);
    }
}

fn count(arrived: &Arrived) -> usize {
    arrived.lock().expect("no test panics here").values().map(Vec::len).sum()
}

/// Started at one node, paused and resumed at others, with a node killed in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_in_bulk_is_sent_whole_though_a_node_dies() {
    let _machine = wait::the_machine().await;
    let well = Arc::<AtomicBool>::default();
    let (receiver, arrived) = receiver(&well).await;
    let (mut nodes, _) = nodes(&receiver, &json!({})).await;
    let apis: Vec<Api> = nodes.iter().map(|node| node.api.clone()).collect();
    post(&apis.iter().collect::<Vec<_>>(), 0..30).await;
    drained(&apis[0]).await;
    well.store(true, Ordering::SeqCst);
    let body = json!({"status": "failed", "rate": 20});
    let replay = apis[0].post("/v1/accounts/default/replays", &body).await.expect(202);
    assert_eq!(replay["total"], 30 * WEBHOOKS);
    let path = format!("/v1/accounts/default/replays/{}", replay["id"].as_str().expect("an id"));
    wait::until("some to arrive", PATIENCE, async || (count(&arrived) >= 10).then_some(())).await;
    apis[1].post(&format!("{path}/pause"), &json!({})).await.expect(200);
    apis[2].post(&format!("{path}/resume"), &json!({})).await.expect(200);
    drop(nodes.remove(1).kill());
    let ended = wait::until("the replay to end", PATIENCE, async || {
        let replay = apis[2].get(&path).await.expect(200);
        (replay["status"] == "done").then_some(replay)
    })
    .await;
    assert_eq!(ended["results"]["delivered"], 30 * WEBHOOKS, "{ended}");
    for numbers in arrived.lock().expect("no test panics here").values() {
        let mut once = numbers.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once, (0..30).collect::<Vec<_>>());
    }
}

/// The owners of its webhooks end, and die, while events come: each webhook gets them in their order all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_kept_while_shards_move() {
    let _machine = wait::the_machine().await;
    let (receiver, arrived) = receiver(&Arc::new(AtomicBool::new(true))).await;
    let (mut nodes, again) = nodes(&receiver, &json!({"order": {"by": "webhook"}})).await;
    let apis: Vec<Api> = nodes.iter().map(|node| node.api.clone()).collect();
    post(&apis.iter().collect::<Vec<_>>(), 0..30).await;
    let ended = nodes.remove(2);
    let ended = tokio::task::spawn_blocking(move || ended.terminate());
    post(&[&apis[0], &apis[1]], 30..60).await;
    assert!(ended.await.expect("it does not panic").success(), "SIGTERM ends it well");
    post(&[&apis[0], &apis[1]], 60..90).await;
    drop(nodes.remove(1).kill());
    post(&[&apis[0]], 90..120).await;
    let come = start(again).await;
    post(&[&apis[0], &come.api], 120..150).await;
    drained(&apis[0]).await;
    for (path, numbers) in arrived.lock().expect("no test panics here").iter() {
        let mut seen = Vec::new();
        for number in numbers {
            // What was in flight when its owner died comes again.
            if !seen.contains(number) {
                assert!(seen.last().is_none_or(|last| last < number), "{path}: {numbers:?}");
                seen.push(*number);
            }
        }
        assert_eq!(seen, (0..150).collect::<Vec<_>>(), "{path}");
    }
}
