//! Carrying deliveries to a command that listens: the transport of temporary webhooks, whose receiver is no address but
//! whoever holds the webhook's stream (`posthaste listen`). All other requests go to the network as they are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use domain::attempt::{ErrorCode, Failure, Outcome, Timing};
use domain::endpoint_url::{EndpointUrl, HostName};
use domain::id::WebhookId;
use domain::transport::{Outgoing, Transport};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// What the hosts of temporary webhooks end in. Nobody can save such a URL: `.invalid` is no public name.
const HOST_SUFFIX: &str = ".listen.invalid";
/// How many requests may wait for the stream of one listener.
const WAITING_MAX: usize = 64;

/// A request that is to be carried, and the ticket under which its answer comes back.
pub(crate) struct Carried {
    pub(crate) ticket: u64,
    pub(crate) request: Outgoing,
}

struct Listener {
    requests: mpsc::Sender<Carried>,
    answers: HashMap<u64, oneshot::Sender<Outcome>>,
    next_ticket: u64,
}

/// The transport in front of the network.
#[derive(Clone)]
pub struct Carrier {
    network: Arc<dyn Transport>,
    listeners: Arc<Mutex<HashMap<String, Listener>>>,
}

/// Where a webhook that is listened to sends.
pub(crate) fn listen_url(webhook: &WebhookId) -> Option<EndpointUrl> {
    let label = webhook.as_str().to_ascii_lowercase().replace('_', "-");
    EndpointUrl::stored(&format!("https://{label}{HOST_SUFFIX}/")).ok()
}

fn key(url: &EndpointUrl) -> Option<&str> {
    match url.host() {
        HostName::Name(name) => name.strip_suffix(HOST_SUFFIX),
        HostName::Ip(_) => None,
    }
}

impl Carrier {
    /// A carrier in front of `network`.
    #[must_use]
    pub fn new(network: Arc<dyn Transport>) -> Self {
        Self { network, listeners: Arc::default() }
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<String, Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests to `url` come to the stream that is returned, until it is dropped.
    pub(crate) fn listen(&self, url: &EndpointUrl) -> Option<mpsc::Receiver<Carried>> {
        let (requests, stream) = mpsc::channel(WAITING_MAX);
        let listener = Listener { requests, answers: HashMap::new(), next_ticket: 0 };
        self.listeners().insert(key(url)?.to_owned(), listener);
        Some(stream)
    }

    /// Nobody listens at `url` any more: what waits for an answer fails.
    pub(crate) fn close(&self, url: &EndpointUrl) {
        if let Some(key) = key(url) {
            self.listeners().remove(key);
        }
    }

    /// The answer to a carried request has come back. Whether somebody still waited for it.
    pub(crate) fn answered(&self, url: &EndpointUrl, ticket: u64, outcome: Outcome) -> bool {
        let waiting = key(url).and_then(|key| self.listeners().get_mut(key)?.answers.remove(&ticket));
        waiting.is_some_and(|waiting| waiting.send(outcome).is_ok())
    }

    /// Puts a request on its listener's stream; `None` if nobody listens, or too much waits.
    fn hand_over(&self, key: &str, request: Outgoing) -> Option<(u64, oneshot::Receiver<Outcome>)> {
        let mut listeners = self.listeners();
        let listener = listeners.get_mut(key)?;
        let ticket = listener.next_ticket;
        listener.next_ticket += 1;
        let (answer, outcome) = oneshot::channel();
        listener.requests.try_send(Carried { ticket, request }).ok()?;
        listener.answers.insert(ticket, answer);
        Some((ticket, outcome))
    }
}

#[async_trait]
impl Transport for Carrier {
    async fn send(&self, request: Outgoing) -> Outcome {
        let Some(key) = key(&request.url).map(str::to_owned) else { return self.network.send(request).await };
        let (start, timeout) = (Instant::now(), request.timeout);
        let Some((ticket, outcome)) = self.hand_over(&key, request) else {
            return failed(ErrorCode::ConnectRefused, "the command that listens is not connected", start);
        };
        match tokio::time::timeout_at(start + timeout, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => failed(ErrorCode::ConnectionReset, "the command that listens went away", start),
            Err(_) => {
                if let Some(listener) = self.listeners().get_mut(&key) {
                    listener.answers.remove(&ticket);
                }
                failed(ErrorCode::ResponseTimeout, "", start)
            }
        }
    }
}

fn failed(code: ErrorCode, detail: &str, start: Instant) -> Outcome {
    Outcome {
        result: Err(Failure { code, detail: detail.to_owned() }),
        remote_address: None,
        timing: Timing::default(),
        duration: start.elapsed(),
    }
}
