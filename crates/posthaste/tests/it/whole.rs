//! Many nodes show one whole: a stream tells everything of its account whichever node it is open at, and goes on at another one
//! where it was cut off.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use store::conformance::cluster::Cluster;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::api::Api;
use crate::nodes::{drained, three, webhooks};
use crate::receiver::{Receiver, Script, status};
use crate::wait;

/// For whatever has to come.
const PATIENCE: Duration = Duration::from_secs(120);
/// Webhooks: enough that each node has some.
const WEBHOOKS: usize = 9;

/// What a stream has told.
#[derive(Debug, Default)]
struct Told {
    /// Kind and data of each event, in order.
    events: Vec<(String, Value)>,
    last: Option<String>,
    connections: usize,
}

/// A stream of the account `default` that goes on at the next node whenever it is cut off.
struct Stream {
    told: Arc<Mutex<Told>>,
    hop: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Stream {
    async fn open(nodes: &[Api], first: usize, query: &str) -> Self {
        let (told, hop) = (Arc::<Mutex<Told>>::default(), Arc::<Notify>::default());
        let (nodes, query) = (nodes.to_vec(), query.to_owned());
        let (tells, hops) = (Arc::clone(&told), Arc::clone(&hop));
        let task = tokio::spawn(async move {
            for turn in first.. {
                let api = &nodes[turn % nodes.len()];
                tokio::select! {
                    // A node that is dead, or has no answer: the next one is tried.
                    _ended = listen(api, &query, &tells) => tokio::time::sleep(Duration::from_millis(50)).await,
                    () = hops.notified() => {}
                }
            }
        });
        let stream = Self { told, hop, task };
        stream.connected(1).await;
        stream
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("no test panics here")
    }

    async fn connected(&self, times: usize) {
        wait::until("the stream to be open", PATIENCE, async || {
            let told = self.told();
            (told.connections >= times && told.last.is_some()).then_some(())
        })
        .await;
    }

    /// Cuts it off; it goes on at the next node.
    async fn hop(&self) {
        let times = self.told().connections + 1;
        self.hop.notify_one();
        self.connected(times).await;
    }

    /// The ids of attempts that were told, in order.
    fn attempts(&self) -> Vec<String> {
        let told = self.told();
        let attempts = told.events.iter().filter(|(kind, _)| kind == "attempt");
        attempts.map(|(_, data)| data["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// Waits until so many attempts were told, and makes sure that none of them was told twice, and nothing was missed.
    async fn told_all(&self, count: usize) {
        wait::until("every attempt to be told", PATIENCE, async || (self.attempts().len() >= count).then_some(()))
            .await;
        let attempts = self.attempts();
        let once: HashSet<&String> = attempts.iter().collect();
        assert_eq!((attempts.len(), once.len()), (count, count), "each attempt is told once");
        let told = self.told();
        assert!(told.events.iter().all(|(kind, _)| kind != "reset"), "nothing was missed");
        let mut stands: HashMap<&str, &str> = HashMap::new();
        for (_, data) in told.events.iter().filter(|(kind, _)| kind == "delivery") {
            let (id, status) = (data["id"].as_str().expect("an id"), data["status"].as_str().expect("a status"));
            let before = stands.insert(id, status);
            assert_ne!(before, Some("delivered"), "{id} was {status} after it was delivered");
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a stream until it ends; `None` if it could not be opened, or ended.
async fn listen(api: &Api, query: &str, told: &Mutex<Told>) -> Option<()> {
    let told = || told.lock().expect("no test panics here");
    let mut connection = BufReader::new(api.connect().await.ok()?);
    let last = told().last.as_ref().map_or_else(String::new, |last| format!("Last-Event-ID: {last}\r\n"));
    let head = format!(
        "GET /v1/accounts/default/stream?{query} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{last}\r\n",
        api.address,
        api.key()
    );
    connection.write_all(head.as_bytes()).await.ok()?;
    let (mut line, mut kind, mut id, mut data) = (String::new(), String::new(), None, None);
    loop {
        line.clear();
        if connection.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        let (field, value) = line.split_once(": ").unwrap_or((line, ""));
        match field {
            "id" => id = Some(value.to_owned()),
            "event" => value.clone_into(&mut kind),
            "data" => data = serde_json::from_str(value).ok(),
            "" if value == "connected" => told().connections += 1,
            // An empty line ends an event; others are the sizes of chunks.
            "" => {
                let mut told = told();
                told.last = id.take().or(told.last.take());
                if let Some(data) = data.take() {
                    told.events.push((std::mem::take(&mut kind), data));
                }
            }
            _ => {}
        }
    }
}

async fn post(api: &Api, count: usize) -> Vec<String> {
    let mut events = Vec::new();
    for n in 0..count {
        let body = json!({"event": "alert.rule_created", "data": {"n": n}});
        let reply = api.post("/v1/events", &body).await.expect(202);
        events.push(reply["id"].as_str().expect("an id").to_owned());
    }
    events
}

/// What was made at one node a moment ago is there at the next.
async fn known_at_once(nodes: &[Api], url: &str) {
    for round in 0..9 {
        let (one, two, three) = (&nodes[round % 3], &nodes[(round + 1) % 3], &nodes[(round + 2) % 3]);
        let account = format!("acme-{round}");
        one.post("/v1/accounts", &json!({"id": account})).await.expect(201);
        let event = json!({"account": account, "event": "alert.rule_created", "data": {}});
        if round % 2 == 0 {
            two.post("/v1/events", &event).await.expect(202);
        }
        let path = format!("/v1/accounts/{account}");
        let webhook = json!({"name": "new", "url": url, "events": ["*"]});
        let webhook = two.post(&format!("{path}/webhooks"), &webhook).await.expect(201);
        let id = webhook["id"].as_str().expect("an id");
        three.get(&format!("{path}/webhooks/{id}")).await.expect(200);
        let key =
            three.post(&format!("{path}/keys"), &json!({"name": "new", "scopes": ["events:write"]})).await.expect(201);
        let own = one.with_key(key["key"].as_str().expect("a key"));
        assert_eq!(own.post("/v1/events", &event).await.expect(202)["deliveries"], 1, "the webhook is known too");
    }
    assert_eq!(nodes[0].get("/v1/accounts/acme-1/webhooks/wh_none").await.status, 404);
    assert_eq!(nodes[1].with_key("whpk_none").get("/v1/accounts/acme-1/webhooks").await.status, 401);
}

/// Begins to listen at a node; the stream, after its greeting, and the id of the webhook that it has made.
async fn listening(api: &Api) -> (BufReader<TcpStream>, String) {
    let mut connection = BufReader::new(api.connect().await.expect("a connection"));
    let head = format!(
        "POST /v1/accounts/default/listen HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 2\r\n\r\n{{}}",
        api.address,
        api.key()
    );
    connection.write_all(head.as_bytes()).await.expect("it takes the request");
    let greeting = told_next(&mut connection).await;
    let id = greeting["id"].as_str().expect("an id").to_owned();
    (connection, id)
}

/// What a stream tells next.
async fn told_next(connection: &mut BufReader<TcpStream>) -> Value {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(connection.read_line(&mut line).await.expect("it goes on") > 0, "it has ended");
        if let Some(data) = line.trim_end().strip_prefix("data: ") {
            return serde_json::from_str(data).expect("JSON");
        }
    }
}

/// Requests are carried by the node that sends them: to listen works at any node, and to go on at the one where it began.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_listened_to_is_carried_by_the_node_that_is_listened_at() {
    let (nodes, ..) = three(&Cluster::shared().database(), "1s,1s,1s,1s").await;
    let apis: Vec<Api> = nodes.iter().map(|node| node.api.clone()).collect();
    for (place, api) in apis.iter().enumerate() {
        let (mut stream, id) = listening(api).await;
        for elsewhere in apis.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, api)| api) {
            let reply = elsewhere.post("/v1/accounts/default/listen", &json!({"webhook": id})).await;
            assert_eq!((reply.status, &reply.json()["code"]), (409, &json!("carried_elsewhere")), "{}", reply.text());
            // By then the lease of a node that has died has ended, and another has taken it: 15 s, and a beat.
            assert_eq!(reply.header("retry-after"), Some("20"), "{}", reply.text());
        }
        post(&apis[(place + 1) % 3], 1).await;
        let request = tokio::time::timeout(PATIENCE, told_next(&mut stream)).await.expect("it comes");
        assert!(request["body"].as_str().is_some_and(|body| body.contains(&id)), "{request}");
        drop(stream);
        apis[0].delete(&format!("/v1/accounts/default/webhooks/{id}")).await.expect(204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_tells_what_all_nodes_do_and_goes_on_at_another_node() {
    let receiver = Receiver::start(Script::answering(None, status(200))).await;
    let (mut nodes, ..) = three(&Cluster::shared().database(), "1s,1s,1s,1s").await;
    webhooks(&nodes, WEBHOOKS, &receiver, &json!({})).await;
    let apis: Vec<Api> = nodes.iter().map(|node| node.api.clone()).collect();
    let (still, moving, last) = (
        Stream::open(&apis[..1], 0, "").await,
        Stream::open(&apis, 1, "types=attempt,delivery").await,
        Stream::open(&apis[..2], 1, "types=attempt").await,
    );
    // Whichever node accepts, and whichever sends: all are told of it, also over changes of the node.
    for round in 0..6 {
        post(&apis[round % 3], 4).await;
        moving.hop().await;
    }
    for stream in [&still, &moving, &last] {
        stream.told_all(6 * 4 * WEBHOOKS).await;
    }
    assert_eq!(moving.told().connections, 7);
    known_at_once(&apis, &format!("http://127.0.0.2:{}/new", receiver.port())).await;
    // The node of a stream dies, and what it had to send goes on at others.
    wait::until("the stream to be at the last node", PATIENCE, async || {
        moving.hop().await;
        (moving.told().connections % 3 == 2).then_some(())
    })
    .await;
    drop(nodes.remove(2).kill());
    for round in 0..4 {
        post(&apis[round % 2], 3).await;
    }
    drained(&apis[0]).await;
    for stream in [&still, &moving, &last] {
        stream.told_all((6 * 4 + 4 * 3) * WEBHOOKS).await;
    }
    // A test is answered with its attempt, whichever node sends it.
    for place in 0..3 {
        let reply = apis[place % 2]
            .post(&format!("/v1/accounts/default/webhooks/wh_{place}/test"), &json!({"event": "alert.rule_created"}))
            .await;
        assert_eq!((reply.status, &reply.json()["delivery"]["status"]), (200, &json!("delivered")), "{}", reply.text());
    }
}
