//! What a stream says about a committed fact: only what belongs to its account.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::attempt::ErrorCode;
use domain::chronicle::Head;
use domain::delivery::{DeliveryStatus, Next, Settlement};
use domain::id::{AccountId, DeliveryId, EventId, WebhookId};
use domain::key::Account;
use domain::replay::{Replay, State};
use domain::time::Timestamp;

use super::attempt_json::{AttemptHeadJson, milliseconds};
use super::replay_json::ReplayJson;
use super::replays;
use super::stream_news::{AttemptNews, DeliveryNews, WebhookDeleted};
use super::webhook_json::WebhookJson;
use crate::app::Api;
use crate::json;
use crate::live::Record;

/// How many events are remembered, so that their attempts need no look-up.
const REMEMBERED_MAX: usize = 1_000;
/// How often a replay that moves on is told of.
const REPLAY_TOLD_EVERY: Duration = Duration::from_millis(250);

/// The kinds of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An attempt was made.
    Attempt,
    /// A delivery was accepted, changed or ended.
    Delivery,
    /// A webhook was created, changed or deleted.
    Webhook,
    /// A replay in bulk was started, has moved on or has ended.
    Replay,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Attempt, Self::Delivery, Self::Webhook, Self::Replay];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Delivery => "delivery",
            Self::Webhook => "webhook",
            Self::Replay => "replay",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What is known of an event.
#[derive(Debug, Clone)]
struct Known {
    event_type: Arc<str>,
    timestamp: Timestamp,
    test: bool,
}

/// Makes a stream's messages.
pub(super) struct Messages {
    api: Arc<Api>,
    account: u32,
    account_id: AccountId,
    kinds: Vec<Kind>,
    /// Only this webhook's.
    only: Option<u32>,
    /// The account's webhooks, those that were deleted since included.
    webhooks: HashMap<u32, (WebhookId, String)>,
    events: HashMap<EventId, Known>,
    /// What was last said of each replay, and when.
    replays: HashMap<u32, (Timestamp, State)>,
}

impl Messages {
    pub(super) fn new(api: Arc<Api>, account: &Account, kinds: Vec<Kind>, only: Option<u32>) -> Self {
        let named =
            |webhook: &Arc<domain::webhook::Webhook>| (webhook.number, (webhook.id.clone(), webhook.name.clone()));
        let webhooks = api.directory.read().webhooks_of(account.number).map(named).collect();
        Self {
            api,
            account: account.number,
            account_id: account.id.clone(),
            kinds,
            only,
            webhooks,
            events: HashMap::new(),
            replays: HashMap::new(),
        }
    }

    /// The messages about a record, as JSON texts.
    pub(super) async fn of(&mut self, record: &Record) -> Vec<(Kind, String)> {
        match record {
            Record::Accepted { event, account, event_type, timestamp, test, targets } if *account == self.account => {
                let known = Known { event_type: Arc::clone(event_type), timestamp: *timestamp, test: *test };
                self.remember(*event, known.clone());
                if self.kinds.contains(&Kind::Delivery) { self.accepted(*event, &known, targets) } else { Vec::new() }
            }
            Record::Accepted { .. } => Vec::new(),
            Record::Webhook(webhook) if webhook.account == self.account => {
                self.webhooks.insert(webhook.number, (webhook.id.clone(), webhook.name.clone()));
                self.say(webhook.number, Kind::Webhook, || {
                    json::write_text(&WebhookJson::new(webhook, &self.api.policy, self.api.now()))
                })
            }
            Record::Webhook(_) => Vec::new(),
            Record::WebhookDeleted { webhook } => {
                let Some((id, _)) = self.webhooks.get(webhook) else { return Vec::new() };
                let gone = WebhookDeleted { id: id.clone(), deleted: true };
                self.say(*webhook, Kind::Webhook, || json::write_text(&gone))
            }
            Record::Replayed(due) => {
                let status = if self.paused(due.webhook) { DeliveryStatus::Held } else { DeliveryStatus::Pending };
                let news = News { status, made: due.attempts_made, next: Some(due.due_at) };
                self.delivery_news(due.delivery, due.webhook, news).await
            }
            Record::BulkReplay(replay) => self.replay(replay).await,
            Record::Cancelled { delivery, webhook } => {
                // How many attempts were made is the store's to know.
                let made = match self.api.store.delivery(self.account, *delivery, self.api.now()).await {
                    Ok(Some((delivery, _))) => delivery.attempts_made,
                    Ok(None) | Err(_) => 0,
                };
                let news = News { status: DeliveryStatus::Cancelled, made, next: None };
                self.delivery_news(*delivery, *webhook, news).await
            }
            Record::Settled(settlement, head) => self.settled(settlement, head.as_deref()).await,
        }
    }

    /// What a replay has come to: told when it starts, stands still or ends, and now and then in between.
    async fn replay(&mut self, replay: &Replay) -> Vec<(Kind, String)> {
        let wanted = self.kinds.contains(&Kind::Replay)
            && self.only.is_none_or(|only| replay.webhook.is_none_or(|webhook| webhook == only));
        if replay.account != self.account || !wanted {
            return Vec::new();
        }
        let now = self.api.now();
        let told = self.replays.get(&replay.number);
        if told.is_some_and(|(at, state)| *state == replay.state && now.since(*at) < REPLAY_TOLD_EVERY) {
            return Vec::new();
        }
        if replay.ended() {
            self.replays.remove(&replay.number);
        } else {
            self.replays.insert(replay.number, (now, replay.state.clone()));
        }
        // Without the others it is not known what it waits for; the next message tells.
        let others = replays::unfinished(&self.api, self.account).await.unwrap_or_default();
        vec![(Kind::Replay, json::write_text(&ReplayJson::new(replay, &self.account_id, &others, now)))]
    }

    fn wanted(&self, webhook: u32, kind: Kind) -> bool {
        self.kinds.contains(&kind) && self.only.is_none_or(|only| only == webhook)
    }

    fn say(&self, webhook: u32, kind: Kind, text: impl FnOnce() -> String) -> Vec<(Kind, String)> {
        if self.wanted(webhook, kind) { vec![(kind, text())] } else { Vec::new() }
    }

    fn paused(&self, webhook: u32) -> bool {
        self.api.directory.read().webhook_numbered(webhook).is_some_and(|webhook| webhook.pause.is_some())
    }

    fn remember(&mut self, event: EventId, known: Known) {
        if self.events.len() >= REMEMBERED_MAX {
            self.events.clear();
        }
        self.events.insert(event, known);
    }

    /// What is known of an event of the account.
    async fn known(&mut self, event: EventId) -> Option<Known> {
        if let Some(known) = self.events.get(&event) {
            return Some(known.clone());
        }
        let found = self.api.store.event(self.account, event).await.ok().flatten()?;
        let known = Known { event_type: Arc::clone(&found.event_type), timestamp: found.timestamp, test: found.test };
        self.remember(event, known.clone());
        Some(known)
    }

    fn accepted(&self, event: EventId, known: &Known, targets: &[u32]) -> Vec<(Kind, String)> {
        let places = targets.iter().zip(0u16..);
        let messages =
            places.filter(|(webhook, _)| self.wanted(**webhook, Kind::Delivery)).filter_map(|(webhook, place)| {
                let status =
                    if self.paused(*webhook) && !known.test { DeliveryStatus::Held } else { DeliveryStatus::Pending };
                let news = News { status, made: 0, next: Some(known.timestamp) };
                self.news(DeliveryId { event, place }, *webhook, known, &news, None)
            });
        messages.map(|text| (Kind::Delivery, text)).collect()
    }

    async fn delivery_news(&mut self, delivery: DeliveryId, webhook: u32, news: News) -> Vec<(Kind, String)> {
        if !self.wanted(webhook, Kind::Delivery) || !self.webhooks.contains_key(&webhook) {
            return Vec::new();
        }
        let Some(known) = self.known(delivery.event).await else { return Vec::new() };
        self.news(delivery, webhook, &known, &news, None).map(|text| (Kind::Delivery, text)).into_iter().collect()
    }

    /// The text of a delivery's news; `None` if its webhook is not the account's.
    fn news(
        &self,
        delivery: DeliveryId,
        webhook: u32,
        known: &Known,
        news: &News,
        last: Option<&domain::attempt::Attempt>,
    ) -> Option<String> {
        let (id, _) = self.webhooks.get(&webhook)?;
        Some(json::write_text(&DeliveryNews {
            id: delivery,
            webhook_id: id.clone(),
            event_id: delivery.event,
            event: Arc::clone(&known.event_type),
            timestamp: known.timestamp,
            status: news.status.as_str(),
            test: known.test,
            attempts_made: news.made,
            next_attempt_at: news.next,
            last_status_code: last.and_then(domain::attempt::Attempt::status_code),
            last_error: last
                .and_then(|attempt| attempt.failure.as_ref())
                .map(|failure| ErrorCode::as_str(failure.code)),
            last_duration_ms: last.map(|attempt| milliseconds(attempt.duration)),
        }))
    }

    async fn settled(&mut self, settlement: &Settlement, head: Option<&Head>) -> Vec<(Kind, String)> {
        let Settlement { delivery, webhook, attempt, next, epoch: _ } = settlement;
        let Some((id, name)) = self.webhooks.get(webhook).cloned() else { return Vec::new() };
        if !self.wanted(*webhook, Kind::Attempt) && !self.wanted(*webhook, Kind::Delivery) {
            return Vec::new();
        }
        let told = head.map(|Head { event_type, timestamp, test }| Known {
            event_type: Arc::clone(event_type),
            timestamp: *timestamp,
            test: *test,
        });
        let known = match told {
            Some(known) => Some(known),
            None => self.known(delivery.event).await,
        };
        let Some(known) = known else { return Vec::new() };
        let (status, due) = match next {
            Next::Delivered => (DeliveryStatus::Delivered, None),
            Next::Failed => (DeliveryStatus::Failed, None),
            Next::Retry { due_at, .. } if self.paused(*webhook) && !known.test => (DeliveryStatus::Held, Some(*due_at)),
            Next::Retry { due_at, .. } => (DeliveryStatus::Pending, Some(*due_at)),
        };
        let mut messages = Vec::new();
        if let Some(attempt) = attempt
            && self.wanted(*webhook, Kind::Attempt)
        {
            let found = self.api.directory.read().webhook_numbered(*webhook).cloned();
            let timeout = found.map_or(self.api.policy.timeout, |webhook| webhook.timeout(&self.api.policy));
            let text = json::write_text(&AttemptNews {
                delivery_id: *delivery,
                webhook_id: id,
                webhook_name: name,
                event_id: delivery.event,
                event: Arc::clone(&known.event_type),
                test: known.test,
                attempt: AttemptHeadJson::new(*delivery, attempt, timeout, due),
                status: status.as_str(),
                next_attempt_at: due,
            });
            messages.push((Kind::Attempt, text));
        }
        if self.wanted(*webhook, Kind::Delivery) {
            let made = attempt.as_ref().map_or(0, |attempt| attempt.number);
            let news = News { status, made, next: due };
            let text = self.news(*delivery, *webhook, &known, &news, attempt.as_ref());
            messages.extend(text.map(|text| (Kind::Delivery, text)));
        }
        messages
    }
}

/// Where a delivery stands.
struct News {
    status: DeliveryStatus,
    made: u16,
    next: Option<Timestamp>,
}
