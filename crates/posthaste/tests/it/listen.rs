//! `posthaste listen` as a process: what it says, and that it goes on over lost connections, ends of the server and its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::receiver::{Receiver, Script, Step, status};
use crate::room::{Room, start};
use crate::running::Running;
use crate::server::{Launch, PLATFORM_KEY, Server};
use crate::wait;

/// For what the dispatcher does after an end of the server, or of the command.
const SOON: Duration = Duration::from_secs(60);

/// A server that can be found again where it was, and an account on it.
struct Stage {
    server: Server,
    room: Room,
    folder: TempDir,
}

impl Stage {
    async fn open() -> Self {
        let launch = Launch::new()
            .flags("--allow-private 127.0.0.0/8 --allow-http --retry-schedule 1s,1s,1s,1s,1s,1s --jitter 0");
        let server = start(launch).await;
        let room = Room::open(&server.api, "ears").await;
        Self { server, room, folder: tempfile::tempdir().expect("a folder") }
    }

    /// `kill -9`, and a start at the same address.
    async fn kill_and_start(self) -> Self {
        let address = self.server.api.address;
        let launch = self.server.kill().at(address);
        Self { server: start(launch).await, ..self }
    }

    fn listen(&self, arguments: &[&str]) -> Running {
        self.listen_with(PLATFORM_KEY, arguments)
    }

    fn listen_with(&self, key: &str, arguments: &[&str]) -> Running {
        let (url, all) = (format!("http://{}", self.server.api.address), [&["listen"], arguments].concat());
        let variables = [("POSTHASTE_URL", &*url), ("POSTHASTE_KEY", key), ("POSTHASTE_ACCOUNT", &*self.room.account)];
        Running::start_with(self.folder.path(), &all, &variables)
    }

    async fn webhooks(&self) -> Vec<Value> {
        let listed = self.room.api.get(&self.room.path("webhooks")).await.expect(200);
        listed["data"].as_array().expect("a list").clone()
    }

    /// The one delivery of an event, once it has this status.
    async fn delivery(&self, event: &str, wanted: &str) -> Value {
        let path = self.room.path(&format!("events/{event}"));
        wait::until(&format!("{wanted} at {path}"), SOON, async || {
            let delivery = self.room.api.get(&path).await.expect(200)["deliveries"][0].clone();
            (delivery["status"] == wanted).then_some(delivery)
        })
        .await
    }
}

fn hook(receiver: &Receiver) -> String {
    format!("http://{}/hook", receiver.address)
}

/// The deliveries that a receiver got, in order.
fn got(receiver: &Receiver) -> Vec<String> {
    receiver.requests().iter().map(|request| request.delivery().to_owned()).collect()
}

/// Waits for a line of a process without holding up what runs beside it.
fn wait_for<T>(look: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(look)
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_says_what_comes_and_why_it_fails() {
    let stage = Stage::open().await;
    // A port on which nothing listens, until something does.
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
    let to = format!("http://{address}/hook");
    let listen = stage.listen(&[&to, "--events", "watchlist.*", "--print-secret"]);
    let said = wait_for(|| listen.talks(&["Connecting… connected. Waiting for events."]));
    assert!(
        said[0].starts_with("Temporary webhook wh_") && said[0].ends_with("(removed when you stop; --keep keeps it)")
    );
    let secret = wait_for(|| listen.until(&["whsec_"]));
    assert!(said[1].starts_with(&format!("Signing secret  {}", secret[0])), "{said:?}");
    assert_eq!(stage.webhooks().await[0]["temporary"], true);
    let event = stage.room.post("").await;
    let nothing = format!("Nothing listens on {address}.");
    wait_for(|| listen.until(&["connect_refused", "watchlist.domain_changed", &nothing, "next in 1 s"]));
    let count = Arc::new(AtomicUsize::new(0));
    let answer = move |_: &crate::receiver::Request| match count.fetch_add(1, Ordering::SeqCst) {
        0 => vec![Step::Write(b"HTTP/1.1 401 No\r\nContent-Length: 13\r\n\r\nbad signature".to_vec())],
        _ => status(200),
    };
    let receiver = Receiver::start_at(&address.to_string(), Script::choosing(None, Arc::new(answer))).await;
    let lines = wait_for(|| listen.until(&["posthaste verify --explain att_", "tells why"]));
    let refused = &lines[lines.len() - 2];
    assert!(refused.contains("401") && refused.contains("Your server said: \"bad signature\""), "{lines:?}");
    wait_for(|| listen.until(&["✓ 200", "watchlist.domain_changed"]));
    let delivery = stage.delivery(&event, "delivered").await;
    let request = &receiver.requests()[1];
    assert_eq!(delivery["id"], request.delivery(), "{}", request.head);
    let (status, _) = wait_for(|| listen.end("-INT"));
    assert_eq!(status.code(), Some(130));
    assert_eq!(stage.webhooks().await, Vec::<Value>::new(), "the temporary webhook went with the command");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_of_a_listening_webhook_is_for_people() {
    let stage = Stage::open().await;
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
    let listen = stage.listen(&[&format!("http://{address}/hook")]);
    wait_for(|| listen.talks(&["connected. Waiting for events."]));
    let url = format!("http://{}", stage.server.api.address);
    let variables = [("POSTHASTE_URL", &*url), ("POSTHASTE_KEY", PLATFORM_KEY), ("POSTHASTE_ACCOUNT", "ears")];
    let posthaste = |arguments: &[&str]| Running::start_with(stage.folder.path(), arguments, &variables);
    let trigger = posthaste(&["trigger", "watchlist.domain_changed"]);
    let said = wait_for(|| trigger.until(&["at the URL that `posthaste listen` was given. Is your server running"]));
    let delivery = stage.room.api.get(&stage.room.path("deliveries")).await.expect(200)["data"][0]["id"].clone();
    let show = posthaste(&["deliveries", "show", delivery.as_str().expect("an id")]);
    let shown = wait_for(|| show.until(&["POST (posthaste listen)"]));
    let list = posthaste(&["webhooks", "list"]);
    let listed = wait_for(|| list.until(&["listen http://", "(posthaste listen)"]));
    for line in [said, shown, show.rest(), listed].concat() {
        assert!(!line.contains("listen.invalid"), "{line}");
    }
    assert_eq!(wait_for(|| trigger.ended()).0.code(), Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_goes_on_after_kill_9_of_the_server() {
    let stage = Stage::open().await;
    let receiver = Receiver::start_at("127.0.0.1:0", Script::answering(None, status(200))).await;
    let listen = stage.listen(&[&hook(&receiver)]);
    wait_for(|| listen.talks(&["connected. Waiting for events."]));
    let first = stage.room.post("").await;
    wait_for(|| listen.until(&["✓ 200"]));
    let webhook = stage.webhooks().await[0]["id"].clone();
    let stage = stage.kill_and_start().await;
    // It may not be back yet: what is accepted now waits for it.
    let second = stage.room.post("").await;
    let said = wait_for(|| listen.talks(&["Connected again."]));
    assert!(said[0].starts_with("The connection is lost: reconnecting (1 s)…"), "{said:?}");
    wait_for(|| listen.until(&["✓ 200"]));
    stage.delivery(&second, "delivered").await;
    assert_eq!(stage.webhooks().await[0]["id"], webhook, "the same webhook");
    assert_eq!(got(&receiver).len(), 2, "nothing is repeated");
    assert_ne!(first, second);
    assert_eq!(listen.rest(), Vec::<String>::new());
    assert_eq!(wait_for(|| listen.end("-INT")).0.code(), Some(130));
    assert_eq!(stage.webhooks().await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_being_made_is_made_once_over_an_end_of_the_server() {
    let stage = Stage::open().await;
    let slow = [vec![Step::Pause(Duration::from_secs(3))], status(200)].concat();
    let receiver = Receiver::start_at("127.0.0.1:0", Script::answering(None, slow)).await;
    let listen = stage.listen(&[&hook(&receiver)]);
    wait_for(|| listen.talks(&["connected. Waiting for events."]));
    let event = stage.room.post("").await;
    wait::until("the request", SOON, async || (!receiver.requests().is_empty()).then_some(())).await;
    let stage = stage.kill_and_start().await;
    wait_for(|| listen.talks(&["Connected again."]));
    let delivery = stage.delivery(&event, "delivered").await;
    assert_eq!(delivery["attempts_made"], 1, "{delivery}");
    assert_eq!(receiver.requests().len(), 1, "the answer that there was is told again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_webhook_holds_what_comes_until_somebody_listens() {
    let stage = Stage::open().await;
    let receiver = Receiver::start_at("127.0.0.1:0", Script::answering(None, status(200))).await;
    let listen = stage.listen(&[&hook(&receiver), "--keep"]);
    let said = wait_for(|| listen.talks(&["connected. Waiting for events."]));
    assert!(said[0].ends_with("(kept when you stop)"), "{said:?}");
    let (status, said) = wait_for(|| listen.end("-INT"));
    assert_eq!(status.code(), Some(130));
    let webhook = wait::until("a pause", SOON, async || {
        stage.webhooks().await.into_iter().find(|webhook| webhook["status_reason"]["cause"] == "nobody_listens")
    })
    .await;
    let id = webhook["id"].as_str().expect("an id");
    assert!(said.contains(&format!("--webhook {id}")), "{said}");
    let mut events = vec![stage.room.post("").await];
    stage.delivery(&events[0], "held").await;
    let stage = stage.kill_and_start().await;
    events.push(stage.room.post("").await);
    stage.delivery(&events[1], "held").await;
    let listen = stage.listen(&[&hook(&receiver), "--webhook", id]);
    wait_for(|| listen.talks(&["what it held comes first"]));
    for event in &events {
        wait_for(|| listen.until(&["✓ 200"]));
        assert_eq!(stage.delivery(event, "delivered").await["attempts_made"], 1);
    }
    assert_eq!(got(&receiver).len(), 2);
    let real = stage.room.webhook("http://127.0.0.1:1/hook").await;
    for (id, code, why) in
        [(real["id"].as_str().expect("an id"), 5, ""), ("wh_never", 4, "no webhook wh_never in account")]
    {
        let (status, said) = wait_for(|| stage.listen(&[&hook(&receiver), "--webhook", id]).ended());
        assert!(status.code() == Some(code) && said.contains(why), "{status} {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_listening() {
    let stage = Stage::open().await;
    let keys = stage.room.path("keys");
    let key = stage.room.api.post(&keys, &json!({"name": "ears"})).await.expect(201);
    let listen = stage.listen_with(key["key"].as_str().expect("a key"), &["http://127.0.0.1:1/hook"]);
    wait_for(|| listen.talks(&["connected. Waiting for events."]));
    let id = key["id"].as_str().expect("an id");
    stage.room.api.delete(&format!("{keys}/{id}")).await.expect(204);
    let (status, said) = wait_for(|| listen.ended());
    assert_eq!(status.code(), Some(3), "{said}");
    assert!(said.contains("Give a key that is valid here"), "{said}");
}
