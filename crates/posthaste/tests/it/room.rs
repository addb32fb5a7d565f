//! An account of its own, and what is done in one: webhooks, events, and waiting for their deliveries.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{Api, Reply};
use crate::certificates::Authority;
use crate::dns::{Dns, Script as Names};
use crate::server::{Launch, Server};
use crate::table::EXAMPLE;
use crate::wait;

/// For an attempt to be recorded: the deadline of an attempt, and what a loaded machine needs.
const RECORDED_MAX: Duration = Duration::from_secs(30);

/// Starts a server without holding up what runs beside it.
pub(crate) async fn start(launch: Launch) -> Server {
    tokio::task::spawn_blocking(move || launch.start()).await.expect("it starts")
}

/// A name server by which every name leads to 127.0.0.2, the "public" address of the tests; an authority for receivers
/// there; and a launch that asks the one and trusts the other.
pub(crate) async fn surroundings() -> (Dns, Authority, Launch) {
    let (dns, authority, launch) = (Dns::start().await, Authority::new(), Launch::new());
    dns.fallback(Names::addresses("127.0.0.2"));
    let roots = authority.write(launch.folder());
    let launch = launch.flag("--resolver", dns.address).flag("--trust-ca", roots.display());
    (dns, authority, launch.flag("--allow-private", "127.0.0.2/32"))
}

/// An account of its own.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    pub(crate) api: Api,
    pub(crate) account: String,
}

impl Room {
    /// Opens an account; it is there already if it was opened before.
    pub(crate) async fn open(api: &Api, account: &str) -> Self {
        let reply = api.post("/v1/accounts", &json!({"id": account})).await;
        assert!(matches!(reply.status, 201 | 409), "{}", reply.text());
        Self { api: api.clone(), account: account.to_owned() }
    }

    /// A path of the account.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/v1/accounts/{}/{rest}", self.account)
    }

    /// Creates a webhook for every event.
    pub(crate) async fn try_webhook(&self, url: &str, more: Value) -> Reply {
        let mut body = json!({"name": "hostile", "url": url, "events": ["*"]});
        let members = more.as_object().expect("an object").clone();
        body.as_object_mut().expect("an object").extend(members);
        self.api.post(&self.path("webhooks"), &body).await
    }

    /// As [`Self::try_webhook`], which must succeed.
    pub(crate) async fn webhook(&self, url: &str) -> Value {
        self.try_webhook(url, json!({})).await.expect(201)
    }

    /// Posts the page's example of `watchlist.domain_changed` with more members; gives the event's id.
    pub(crate) async fn post(&self, more: &str) -> String {
        let data = format!("{{{EXAMPLE}{more}}}");
        let account = &self.account;
        let body = format!(r#"{{"account":"{account}","event":"watchlist.domain_changed","data":{data}}}"#);
        let answer = self.api.send("POST", "/v1/events", &[], body.as_bytes()).await.expect(202);
        answer["id"].as_str().expect("an id").to_owned()
    }

    /// The one delivery of an event, once it has `count` attempts.
    pub(crate) async fn attempted(&self, event: &str, count: usize) -> Value {
        let deliveries = self.api.get(&self.path(&format!("events/{event}"))).await.expect(200)["deliveries"].clone();
        let id = deliveries[0]["id"].as_str().unwrap_or_else(|| panic!("no delivery: {deliveries}")).to_owned();
        self.delivery(&id, count).await
    }

    /// A delivery, once it has `count` attempts.
    pub(crate) async fn delivery(&self, id: &str, count: usize) -> Value {
        let path = self.path(&format!("deliveries/{id}"));
        wait::until(&format!("{count} attempts of {path}"), RECORDED_MAX, async || {
            let delivery = self.api.get(&path).await.expect(200);
            (delivery["attempts"].as_array().map_or(0, Vec::len) >= count).then_some(delivery)
        })
        .await
    }
}

/// Webhook, event, one attempt: the delivery and its attempt.
pub(crate) async fn attempt(room: &Room, url: &str) -> (Value, Value) {
    room.webhook(url).await;
    let event = room.post("").await;
    let delivery = room.attempted(&event, 1).await;
    let attempt = delivery["attempts"][0].clone();
    (delivery, attempt)
}
