//! Carrying deliveries to a command that listens: the transport of temporary webhooks, whose receiver is no address but
//! whoever holds the webhook's stream (`posthaste listen`). All other requests go to the network as they are.
//!
//! A request waits here until its answer has come back or its time is over, whether somebody listens or not: a command
//! that comes again after a lost connection is given what it has not answered.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use domain::attempt::{ErrorCode, Failure, LISTENER_LEFT, NOBODY_LISTENS, Outcome, Timing};
use domain::endpoint_url::{EndpointUrl, LISTEN_SUFFIX};
use domain::id::WebhookId;
use domain::shard::{Holdings, Shard};
use domain::transport::{Outgoing, Transport, Untried};
use domain::webhook::Webhook;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// A request that is to be carried, and the ticket under which its answer comes back.
pub(crate) struct Carried {
    pub(crate) ticket: u64,
    pub(crate) request: Outgoing,
}

/// One who listens, by the webhook's URL; who comes later takes the place over.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    url: Arc<EndpointUrl>,
    number: u64,
}

struct Waiting {
    request: Outgoing,
    answer: oneshot::Sender<Outcome>,
}

/// What there is of a webhook that is listened to, or was.
#[derive(Default)]
struct Place {
    /// The last who came; 0 before the first.
    turn: u64,
    /// Whether that one is still there.
    attended: bool,
    /// Wakes that one when there is more to carry.
    more: Arc<Notify>,
    waiting: BTreeMap<u64, Waiting>,
}

struct Places {
    by_host: HashMap<String, Place>,
    next_turn: u64,
    next_ticket: u64,
}

/// The transport in front of the network.
#[derive(Clone)]
pub struct Carrier {
    network: Arc<dyn Transport>,
    places: Arc<Mutex<Places>>,
    /// The shards that this node serves, where many share the work: it carries what it sends.
    holdings: Option<Holdings>,
    /// Held while a webhook is paused, resumed or deleted because somebody listens or has stopped to.
    pub(crate) changing: Arc<tokio::sync::Mutex<()>>,
}

/// Where a webhook that is listened to sends.
pub(crate) fn listen_url(webhook: &WebhookId) -> Option<EndpointUrl> {
    let label = webhook.as_str().to_ascii_lowercase().replace('_', "-");
    EndpointUrl::stored(&format!("https://{label}{LISTEN_SUFFIX}/")).ok()
}

/// Whether requests to `url` are carried.
pub(crate) fn is_carried(url: &EndpointUrl) -> bool {
    key(url).is_some()
}

fn key(url: &EndpointUrl) -> Option<&str> {
    url.host().listened()
}

impl Carrier {
    /// A carrier in front of `network`. Tickets count from `first_ticket` on: one by chance, so that an answer to a
    /// request of the last process is not taken for one of this.
    #[must_use]
    pub fn new(network: Arc<dyn Transport>, first_ticket: u32) -> Self {
        // Tickets are whole numbers in JSON: they stay below 2^53.
        let places = Places { by_host: HashMap::new(), next_turn: 1, next_ticket: u64::from(first_ticket) << 20 };
        Self { network, places: Arc::new(Mutex::new(places)), holdings: None, changing: Arc::default() }
    }

    /// The carrier of a node that serves these shards, and others others.
    #[must_use]
    pub fn of_node(self, holdings: Option<Holdings>) -> Self {
        Self { holdings, ..self }
    }

    /// Whether it is one of many nodes.
    pub(crate) const fn is_of_many(&self) -> bool {
        self.holdings.is_some()
    }

    /// Whether the requests of a webhook are sent here.
    pub(crate) fn serves(&self, webhook: &Webhook) -> bool {
        let shard = Shard::of(webhook.account, webhook.number);
        self.holdings.as_ref().is_none_or(|held| held.epoch(shard).is_some())
    }

    /// Whether the requests of any webhook are sent here.
    pub(crate) fn serves_any(&self) -> bool {
        self.holdings.as_ref().is_none_or(|held| !held.all().is_empty())
    }

    /// Whether somebody listens at `url` here.
    pub(crate) fn is_attended(&self, url: &EndpointUrl) -> bool {
        key(url).is_some_and(|key| self.places().by_host.get(key).is_some_and(|place| place.attended))
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody listens at `url` from now on, whoever did before. `None` if nothing is carried there.
    pub(crate) fn attend(&self, url: &Arc<EndpointUrl>) -> Option<Turn> {
        let key = key(url)?.to_owned();
        let mut places = self.places();
        let number = places.next_turn;
        places.next_turn += 1;
        let place = places.by_host.entry(key).or_default();
        (place.turn, place.attended) = (number, true);
        // The one before sees that it is no longer its turn.
        std::mem::take(&mut place.more).notify_one();
        Some(Turn { url: Arc::clone(url), number })
    }

    /// Runs `with` on the place of `turn`, if it is still that one's.
    fn at<T>(&self, turn: &Turn, with: impl FnOnce(&mut Place) -> T) -> Option<T> {
        let mut places = self.places();
        let place = places.by_host.get_mut(key(&turn.url)?)?;
        (place.turn == turn.number).then(|| with(place))
    }

    /// The first request from `ticket` on, once there is one; `None` when somebody else listens now.
    pub(crate) async fn next(&self, turn: &Turn, ticket: u64) -> Option<Carried> {
        loop {
            let (found, more) = self.at(turn, |place| {
                let found = place.waiting.range(ticket..).next();
                let found = found.map(|(&ticket, waiting)| Carried { ticket, request: waiting.request.clone() });
                (found, Arc::clone(&place.more))
            })?;
            if found.is_some() {
                return found;
            }
            more.notified().await;
        }
    }

    /// The one who listened has gone. Whether nobody listens now.
    pub(crate) fn leave(&self, turn: &Turn) -> bool {
        self.at(turn, |place| place.attended = false).is_some()
    }

    /// Whether nobody has come since this one left.
    pub(crate) fn is_left(&self, turn: &Turn) -> bool {
        self.at(turn, |place| !place.attended).unwrap_or(false)
    }

    /// Whether anybody has listened at `url` in this process.
    pub(crate) fn was_attended(&self, url: &EndpointUrl) -> bool {
        key(url).is_some_and(|key| self.places().by_host.get(key).is_some_and(|place| place.turn > 0))
    }

    /// The webhook is deleted: what waits for an answer fails.
    pub(crate) fn forget(&self, url: &EndpointUrl) {
        if let Some(key) = key(url)
            && let Some(place) = self.places().by_host.remove(key)
        {
            place.more.notify_one();
        }
    }

    /// The answer to a carried request has come back. Whether somebody still waited for it.
    pub(crate) fn answered(&self, url: &EndpointUrl, ticket: u64, outcome: Outcome) -> bool {
        self.take(url, ticket).is_some_and(|waiting| waiting.answer.send(outcome).is_ok())
    }

    fn take(&self, url: &EndpointUrl, ticket: u64) -> Option<Waiting> {
        let mut places = self.places();
        places.by_host.get_mut(key(url)?)?.waiting.remove(&ticket)
    }

    fn put(&self, key: &str, request: Outgoing) -> (u64, oneshot::Receiver<Outcome>) {
        let (answer, outcome) = oneshot::channel();
        let mut places = self.places();
        let ticket = places.next_ticket;
        places.next_ticket += 1;
        let place = places.by_host.entry(key.to_owned()).or_default();
        place.waiting.insert(ticket, Waiting { request, answer });
        place.more.notify_one();
        (ticket, outcome)
    }
}

#[async_trait]
impl Transport for Carrier {
    async fn send(&self, request: Outgoing) -> Result<Outcome, Untried> {
        let url = Arc::clone(&request.url);
        let Some(key) = key(&url) else { return self.network.send(request).await };
        let (start, timeout) = (Instant::now(), request.timeout);
        let (ticket, outcome) = self.put(key, request);
        Ok(match tokio::time::timeout_at(start + timeout, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => failed(ErrorCode::ConnectionReset, LISTENER_LEFT, start),
            Err(_) => {
                drop(self.take(&url, ticket));
                let attended = self.places().by_host.get(key).is_some_and(|place| place.attended);
                if attended {
                    failed(ErrorCode::ResponseTimeout, "", start)
                } else {
                    failed(ErrorCode::ConnectTimeout, NOBODY_LISTENS, start)
                }
            }
        })
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
