//! Three nodes on one PostgreSQL, under load: one is killed with `kill -9`, one stands still and goes on, the database is
//! restarted as after a crash, one is asked to end. Everything that was acknowledged is delivered, and what is sent twice was in flight.

use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use store::conformance::cluster::Cluster;
use tokio::task::JoinSet;

use crate::api::Api;
use crate::receiver::{Receiver, Request, Script, status};
use crate::room::start;
use crate::server::{Launch, Server};
use crate::wait;

/// Webhooks, each of which takes everything; and how many requests each has in flight at most.
const WEBHOOKS: usize = 6;
const IN_FLIGHT: usize = 10;
/// For whatever has to come: far more than is promised, since the machine may do much else.
const PATIENCE: Duration = Duration::from_secs(120);

/// Requests by delivery and attempt, as they came.
type Came = Arc<Mutex<HashMap<(String, u16), usize>>>;

async fn receiver() -> (Receiver, Came) {
    let came = Came::default();
    let comes = Arc::clone(&came);
    let answer = move |request: &Request| {
        let number = request.header("X-CronDB-Attempt").and_then(|text| text.parse().ok()).expect("a number");
        *comes.lock().expect("no test panics here").entry((request.delivery().to_owned(), number)).or_default() += 1;
        status(200)
    };
    (Receiver::start(Script::choosing(None, Arc::new(answer))).await, came)
}

/// Posts to all nodes in turn, until it is told to stop; what was acknowledged.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<String>>>,
    workers: JoinSet<()>,
}

impl Load {
    fn start(nodes: &[Api]) -> Self {
        let (stop, acknowledged) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (turn, mut workers) = (Arc::<AtomicUsize>::default(), JoinSet::new());
        for _ in 0..4 {
            let (nodes, stop, acknowledged) = (nodes.to_vec(), Arc::clone(&stop), Arc::clone(&acknowledged));
            let turn = Arc::clone(&turn);
            workers.spawn(async move {
                let body = br#"{"event":"alert.rule_created","data":{"n":1}}"#;
                while !stop.load(Ordering::SeqCst) {
                    let node = &nodes[turn.fetch_add(1, Ordering::SeqCst) % nodes.len()];
                    let post = node.try_send("POST", "/v1/events", &[], body);
                    match tokio::time::timeout(Duration::from_secs(2), post).await {
                        Ok(Ok(reply)) if reply.status == 202 => {
                            let id = reply.json()["id"].as_str().expect("an id").to_owned();
                            acknowledged.lock().expect("no test panics here").push(id);
                        }
                        // The node is dead, stands still, or has no database: another one is next.
                        Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                    }
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
            });
        }
        Self { stop, acknowledged, workers }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().expect("no test panics here").len()
    }

    /// Waits until so many more are acknowledged.
    async fn more(&self, count: usize) {
        let enough = self.count() + count;
        wait::until("more events to be acknowledged", PATIENCE, async || (self.count() >= enough).then_some(())).await;
    }

    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        self.workers.join_all().await;
        std::mem::take(&mut *self.acknowledged.lock().expect("no test panics here"))
    }
}

pub(crate) async fn nodes_of(api: &Api) -> Value {
    api.get("/v1/cluster").await.expect(200)
}

/// Waits until so many nodes live and every shard has an owner, with no more than one shard between any two; the time that took.
pub(crate) async fn balanced(api: &Api, count: u64) -> Duration {
    let begun = Instant::now();
    wait::until("the nodes to share evenly", PATIENCE, async || {
        let reply = api.get("/v1/cluster").await;
        if reply.status != 200 {
            return None;
        }
        let found = reply.json();
        let living = found["nodes"].as_array()?.iter().filter(|node| node["status"] == "live");
        let shards: Vec<u64> = living.filter_map(|node| node["shards"].as_u64()).collect();
        let (least, most) = (shards.iter().min()?, shards.iter().max()?);
        let all: u64 = shards.iter().sum();
        (shards.len() as u64 == count && all == 1_024 && most - least <= 1).then_some(())
    })
    .await;
    begun.elapsed()
}

pub(crate) fn signal(server: &Server, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", server.pid)]).status();
    assert!(sent.is_ok_and(|status| status.success()), "{name} can be sent");
}

/// Every delivery of these events, as the log has it.
async fn deliveries_of(api: &Api, events: &[String]) -> Vec<Value> {
    let mut all = Vec::new();
    for event in events {
        let found = api.get(&format!("/v1/accounts/default/events/{event}")).await.expect(200);
        all.extend(found["deliveries"].as_array().expect("deliveries").iter().cloned());
    }
    all
}

pub(crate) async fn drained(api: &Api) {
    wait::until("the rest to be delivered", PATIENCE, async || {
        let left = api.get("/v1/accounts/default/deliveries?status=pending,sending,held&limit=1").await.expect(200);
        left["data"].as_array().is_some_and(Vec::is_empty).then_some(())
    })
    .await;
}

/// Three nodes on a database, which share evenly `.1` after the last start; and what starts one more.
pub(crate) async fn three(database: &str, schedule: &str) -> (Vec<Server>, Duration, Launch) {
    let flags = format!("--allow-private 127.0.0.2/32 --allow-http --retry-schedule {schedule}");
    let launch = || Launch::new().on(database).flags(&flags);
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(start(launch()).await);
    }
    let took = balanced(&nodes[0].api, 3).await;
    (nodes, took, launch())
}

/// Makes webhooks that take everything, each with a path of its own, at the nodes in turn; `more` is what else they have.
pub(crate) async fn webhooks(nodes: &[Server], number: usize, receiver: &Receiver, more: &Value) {
    for place in 0..number {
        let url = format!("http://127.0.0.2:{}/{place}", receiver.port());
        let mut body = json!({"name": "nodes", "url": url, "events": ["*"], "id": format!("wh_{place}")});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        nodes[place % nodes.len()].api.post("/v1/accounts/default/webhooks", &body).await.expect(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_die_stand_still_and_end_and_nothing_is_lost() {
    let _machine = wait::the_machine().await;
    let cluster = Cluster::start(&[]);
    let (receiver, came) = receiver().await;
    let database = cluster.database();
    let (mut nodes, took, _) = three(&database, "1s,1s,1s").await;
    println!("three nodes share evenly {took:.1?} after the last start");
    let apis: Vec<Api> = nodes.iter().map(|node| node.api.clone()).collect();
    let (one, other) = (&apis[1], &apis[2]);
    webhooks(&nodes, WEBHOOKS, &receiver, &json!({})).await;
    let load = Load::start(&apis);
    load.more(60).await;

    drop(nodes.remove(0).kill());
    let took = balanced(one, 2).await;
    println!("kill -9: the others have its shards after {took:.1?}");
    let listed = nodes[0].client("default", &["cluster", "status"]);
    let gone = listed.lines().find(|line| line.contains("gone, heard ")).expect("the dead one is listed");
    assert_eq!(gone.matches('—').count(), 4, "nothing of it is true any more: {gone}");
    load.more(60).await;

    signal(&nodes[0], "STOP");
    let took = balanced(other, 1).await;
    println!("SIGSTOP: the other has its shards after {took:.1?}");
    load.more(20).await;
    signal(&nodes[0], "CONT");
    let took = balanced(other, 2).await;
    let refused = nodes_of(one).await["refused"].clone();
    println!("SIGCONT: it has its share again after {took:.1?}, {refused} ends of attempts were refused");
    load.more(60).await;

    cluster.crash();
    let took = balanced(one, 2).await;
    println!("the database was restarted as after a crash: both share again after {took:.1?}");
    load.more(60).await;

    let ended = nodes.remove(0);
    let ended = tokio::task::spawn_blocking(move || ended.terminate());
    assert!(ended.await.expect("it does not panic").success(), "SIGTERM ends it well");
    let took = balanced(other, 1).await;
    println!("SIGTERM: the other has its shards {took:.1?} after its end");
    let listed = nodes[0].client("default", &["cluster", "status"]);
    assert!(!listed.contains(&format!(":{} ", one.address.port())), "it has ended: {listed}");
    load.more(20).await;

    let acknowledged = load.end().await;
    drained(other).await;
    let deliveries = deliveries_of(other, &acknowledged).await;
    assert_eq!(deliveries.len(), acknowledged.len() * WEBHOOKS, "each event has a delivery for each webhook");
    let came = came.lock().expect("no test panics here");
    let arrived: HashSet<&str> = came.keys().map(|(delivery, _)| delivery.as_str()).collect();
    for delivery in &deliveries {
        assert_eq!(delivery["status"], "delivered", "{delivery}");
        assert!(arrived.contains(delivery["id"].as_str().expect("an id")), "{delivery} never arrived");
        // An attempt under an old epoch would be a second one.
        assert_eq!(delivery["attempts_made"], 1, "{delivery}");
    }
    let repeated: usize = came.values().map(|count| count - 1).sum();
    let in_flight = WEBHOOKS * IN_FLIGHT * 2;
    println!("{} events, {} requests, {repeated} of them made again", acknowledged.len(), came.values().sum::<usize>());
    assert!(
        repeated <= in_flight,
        "{repeated} were repeated, {in_flight} can have been in flight at a death and a stop"
    );
}
