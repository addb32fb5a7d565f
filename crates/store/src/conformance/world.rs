//! What the behaviours need to talk about a store: makers of everything, and short ways to ask.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::attempt::{Answer, Attempt, ErrorCode, Failure, Reason, Timing};
use domain::audit::By;
use domain::custom_headers::CustomHeaders;
use domain::delivery::{Delivery, Due, Next, Settlement};
use domain::endpoint_url::EndpointUrl;
use domain::event::{Idempotency, NewEvent};
use domain::event_filter::EventFilter;
use domain::filter::DeliveryFilter;
use domain::id::{DeliveryId, EventId};
use domain::key::Account;
use domain::secret::SigningSecret;
use domain::shard::Epoch;
use domain::signature::SentRequest;
use domain::stats::{Stats, StatsQuery, Step, Subjects, Window};
use domain::store::{Accepted, Change, ChangeError, Changed, DeliveryQuery, Fact, PATIENCE, Store};
use domain::time::{Clock, Timestamp};
use domain::webhook::{Pause, PauseCause, Webhook};

use super::{ManualClock, Opened, Subject};

const MICROSECOND: Duration = Duration::from_micros(1);

/// A subject with what the behaviours need to talk about it.
pub(super) struct World<'a> {
    pub(super) subject: &'a mut dyn Subject,
    pub(super) clock: ManualClock,
    fresh_per_webhook: usize,
    pub(super) opened: Opened,
}

impl<'a> World<'a> {
    pub(super) async fn new(subject: &'a mut dyn Subject) -> World<'a> {
        Self::bounded(subject, 1_000).await
    }

    pub(super) async fn bounded(subject: &'a mut dyn Subject, fresh_per_webhook: usize) -> World<'a> {
        let clock = ManualClock::default();
        let opened = subject.open(clock.clone(), fresh_per_webhook).await;
        World { subject, clock, fresh_per_webhook, opened }
    }

    pub(super) async fn restart(&mut self) {
        self.subject.close().await;
        self.opened = self.subject.open(self.clock.clone(), self.fresh_per_webhook).await;
    }

    pub(super) fn store(&self) -> &dyn Store {
        &*self.opened.store
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn pass(&self, span: Duration) {
        self.clock.step(span.as_micros() as i64);
    }

    /// The deliveries that the store has told of when it was opened.
    pub(super) fn told_at_start(&self) -> Vec<DeliveryId> {
        let mut told = Vec::new();
        for fact in &self.opened.known {
            if let Fact::Accepted { event, on_disk } = fact {
                assert_eq!(on_disk.len(), event.targets.len());
                let places = (0u16..).zip(on_disk).filter(|(_, on_disk)| !**on_disk);
                told.extend(places.map(|(place, _)| id(event.id, place)));
            }
        }
        told
    }

    /// How many webhooks the store has told of when it was opened.
    pub(super) fn webhooks_at_start(&self) -> usize {
        self.opened.known.iter().filter(|fact| matches!(fact, Fact::Webhook(_))).count()
    }

    pub(super) fn told(&self) -> Vec<Fact> {
        self.opened.told.take()
    }

    /// The account `default`, which exists from the start.
    pub(super) fn account(&self) -> u32 {
        self.account_named("default")
    }

    pub(super) fn account_named(&self, id: &str) -> u32 {
        let id = id.parse().expect("an id");
        self.opened.directory.read().account(&id).expect("the account exists").number
    }

    pub(super) async fn new_account(&self, id: &str) -> u32 {
        let account = Account::new(id.parse().expect("an id"), id, self.now());
        self.change(Change::PutAccount(account)).await.expect("a new account");
        self.account_named(id)
    }

    pub(super) fn webhook(&self, id: &str) -> Arc<Webhook> {
        let id = id.parse().expect("an id");
        let directory = self.opened.directory.read();
        directory.webhooks().find(|webhook| webhook.id == id).expect("the webhook exists").clone()
    }

    pub(super) async fn new_webhook(&self, account: u32, id: &str, events: &[&str]) -> u32 {
        let account = {
            let directory = self.opened.directory.read();
            directory.account_numbered(account).expect("the account exists").clone()
        };
        let url = Arc::new(EndpointUrl::stored("https://example.com/in").expect("a URL"));
        let events = EventFilter::stored(events.iter().map(|&text| text.to_owned()).collect());
        let secret = SigningSecret::from_bytes(&[9; 32]);
        let webhook = Webhook {
            headers: CustomHeaders::stored(vec![("X-Api-Key".to_owned(), "canary-header".to_owned())]),
            timeout: Some(Duration::from_millis(2_500)),
            rate_limit: Some(7),
            http2: true,
            ..Webhook::new(&account, id.parse().expect("an id"), url, events, secret, self.now())
        };
        self.change(Change::PutWebhook(Box::new(webhook))).await.expect("a new webhook");
        self.webhook(id).number
    }

    /// The webhook, paused, as its next version.
    pub(super) fn paused(&self, id: &str) -> Box<Webhook> {
        let mut webhook = Webhook::clone(&self.webhook(id));
        webhook.version += 1;
        let cause = PauseCause::Key { name: "a key".to_owned(), reason: None };
        webhook.pause = Some(Pause { since: self.now(), cause });
        Box::new(webhook)
    }

    /// The webhook, active, as its next version.
    pub(super) fn active(&self, id: &str) -> Box<Webhook> {
        let mut webhook = Webhook::clone(&self.webhook(id));
        webhook.version += 1;
        webhook.pause = None;
        Box::new(webhook)
    }

    pub(super) async fn change(&self, change: Change) -> Result<Changed, ChangeError> {
        self.store().change(change, By::us(), None).await
    }

    pub(super) async fn accept(&self, event: NewEvent) -> Accepted {
        let answers = self.store().accept(vec![event]).await;
        assert_eq!(answers.len(), 1);
        answers[0].clone().expect("it is accepted")
    }

    /// Records an attempt's end as a scheduler would: numbered after what the store says was made.
    pub(super) async fn settle(&self, due: Due, end: End) -> Option<Due> {
        let settlement = settlement(self.now(), due, end);
        let next = settlement.next;
        self.store().settle(vec![settlement]).await.expect("it is recorded");
        match next {
            Next::Retry { due_at, retries_made, reason } => {
                Some(Due { due_at, retries_made, reason, attempts_made: due.attempts_made + 1, ..due })
            }
            Next::Delivered | Next::Failed => None,
        }
    }

    pub(super) async fn delivery(&self, account: u32, id: DeliveryId) -> Delivery {
        self.log(account, id).await.0
    }

    pub(super) async fn log(&self, account: u32, id: DeliveryId) -> (Delivery, Vec<Attempt>) {
        let found = self.store().delivery(account, id, self.now()).await.expect("it is read");
        let (delivery, logged) = found.expect("the delivery exists");
        assert_eq!(logged.len(), usize::from(delivery.attempts_made));
        (delivery, logged.into_iter().map(|logged| logged.attempt).collect())
    }

    /// Everything that a filter finds, newest first, in pages of `limit`.
    pub(super) async fn list(&self, account: u32, filter: &str, limit: usize) -> Vec<Delivery> {
        self.list_within(account, filter, limit, PATIENCE).await
    }

    /// [`Self::list`] with this patience for each page.
    pub(super) async fn list_within(
        &self,
        account: u32,
        filter: &str,
        limit: usize,
        patience: Duration,
    ) -> Vec<Delivery> {
        let filter = DeliveryFilter::parse_line(filter, self.now()).expect("a filter");
        let webhook = filter.webhook.as_ref().and_then(|id| {
            let mut numbers = self.store().deleted_webhooks(account, id);
            numbers.extend(self.opened.directory.read().webhook(account, id).map(|webhook| webhook.number));
            if let [one] = numbers[..] { Some(one) } else { None }
        });
        let mut query = DeliveryQuery { webhook, limit, patience, ..DeliveryQuery::new(account, filter, self.now()) };
        let mut rows = Vec::new();
        loop {
            let page = self.store().deliveries(query.clone()).await.expect("it is listed");
            assert!(page.rows.len() <= limit);
            assert!(page.next.is_none_or(|next| query.before.is_none_or(|before| next < before)), "it comes further");
            if let Some(until) = page.searched_until {
                assert!(page.next.is_some() && page.rows.iter().all(|row| row.timestamp.plus(MICROSECOND) >= until));
            }
            rows.extend(page.rows);
            if page.next.is_none() {
                return rows;
            }
            query.before = page.next;
        }
    }

    pub(super) async fn backlog(&self, webhook: u32) -> Vec<Due> {
        self.store().backlog(webhook, None, self.now().plus(Duration::from_micros(1)), 100).await.expect("it is read")
    }

    /// Figures of the last day and the minutes to come.
    pub(super) async fn stats(&self, account: u32, subjects: Subjects, step: Step) -> Vec<Stats> {
        let now = self.now().plus(Duration::from_secs(300));
        let window = Window::back(now, Duration::from_secs(86_400), Some(step)).expect("a window");
        self.store().stats(StatsQuery { account, subjects, window }).await.expect("it is read")
    }

    pub(super) async fn due(&self, until: Timestamp) -> Vec<Due> {
        self.store().due(None, until, 100).await.expect("it is read")
    }
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Delivered,
    Failed(u16),
    Retry(u16, Duration),
    TimedOut(Duration),
}

/// An event of `account`, of the type `alert.rule_created`.
pub(super) fn event(account: u32) -> NewEvent {
    typed(account, "alert.rule_created")
}

pub(super) fn typed(account: u32, event_type: &str) -> NewEvent {
    let data = Bytes::from_static(br#"{"domain":"newstartup.com","n":1e400}"#);
    NewEvent {
        account,
        event_type: event_type.into(),
        data,
        test_for: None,
        flagged: false,
        trace: None,
        idempotency: None,
        only_repeated: false,
    }
}

/// An idempotency key of the account and a request, told apart by a byte each.
pub(super) const fn idempotency(account: u32, key: u8, request: u8) -> Idempotency {
    Idempotency { account, key: [key; 32], request: [request; 32] }
}

pub(super) const fn id(event: EventId, place: u16) -> DeliveryId {
    DeliveryId { event, place }
}

/// The first attempt of a delivery.
pub(super) fn first(event: EventId, place: u16, webhook: u32) -> Due {
    let due_at = Timestamp((event.0 >> domain::id::EVENT_RESIDUE_BITS) as i64);
    Due { delivery: id(event, place), webhook, due_at, attempts_made: 0, retries_made: 0, reason: Reason::First }
}

pub(super) fn settlement(now: Timestamp, due: Due, end: End) -> Settlement {
    let status = match end {
        End::Delivered => Some(200),
        End::Failed(status) | End::Retry(status, _) => Some(status),
        End::TimedOut(_) => None,
    };
    let code = match status {
        Some(200) => None,
        Some(400..500) => Some(ErrorCode::Http4xx),
        Some(_) => Some(ErrorCode::Http5xx),
        None => Some(ErrorCode::ResponseTimeout),
    };
    let duration = Duration::from_micros(1_500);
    let attempt = Attempt {
        number: due.attempts_made + 1,
        reason: due.reason,
        started_at: now,
        duration,
        timing: Timing { first_byte: Some(Duration::from_micros(900)), ..Timing::default() },
        request: SentRequest {
            url: "https://example.com/in".to_owned(),
            prefix: "X-CronDB".to_owned(),
            user_agent: "CronDB-Webhooks/1".to_owned(),
            signed_at: now.seconds(),
            signature: [1; 32],
            standard: vec![[2; 32]],
            ed25519: vec![[3; 64], [4; 64]],
            custom: vec!["X-Api-Key".to_owned()],
        },
        answer: status.map(|status| Answer {
            status,
            headers: vec![("server".to_owned(), b"\xff\x00".to_vec())],
            body: b"<b>\0\xff".to_vec(),
            truncated: true,
        }),
        failure: code.map(|code| Failure { code, detail: "a detail".to_owned() }),
        remote_address: Some(([192, 0, 2, 1], 443).into()),
    };
    let retry = |delay: Duration| Next::Retry {
        due_at: now.plus(duration + delay),
        retries_made: due.retries_made + 1,
        reason: Reason::Retry,
    };
    let next = match end {
        End::Delivered => Next::Delivered,
        End::Failed(_) => Next::Failed,
        End::Retry(_, delay) | End::TimedOut(delay) => retry(delay),
    };
    Settlement { delivery: due.delivery, webhook: due.webhook, attempt: Some(attempt), next, epoch: Epoch::SOLE }
}
