//! Plays the dispatcher: records attempts as if they had been made.

use std::time::Duration;

use domain::attempt::{Answer, Attempt, ErrorCode, Failure, Reason, Timing};
use domain::audit::By;
use domain::delivery::{Next, Settlement};
use domain::id::DeliveryId;
use domain::replay::ReplayChange;
use domain::shard::Epoch;
use domain::signature::{SentRequest, ToSign};
use domain::store::{Change, Store as _};
use domain::time::Clock as _;

use crate::world::{World, brand};

impl World {
    /// The first delivery of an event.
    pub(crate) fn first_delivery(event: &str) -> DeliveryId {
        DeliveryId { event: event.parse().expect("an event's id"), place: 0 }
    }

    /// Hands over what a replay may hand over now.
    pub(crate) async fn hand_over(&self, replay: &str, count: u32) {
        let id = replay.parse().expect("a replay's id");
        let account = self.directory.read().account(&"default".parse().expect("an id")).expect("it exists").number;
        let found = self.store.bulk_replay(account, id).await.expect("the store reads").expect("the replay");
        let change = Change::BulkReplay(ReplayChange::HandOver { account, replay: found.number, count });
        self.store.change(change, By::us(), None).await.expect("it is running");
    }

    /// Records an attempt of a delivery with this status; what is not 2xx is tried again in 30 s.
    pub(crate) async fn settle(&self, delivery: DeliveryId, status: u16, body: &[u8]) {
        let accounts: Vec<u32> = self.directory.read().accounts().map(|account| account.number).collect();
        let mut events = Vec::new();
        for account in accounts {
            events.extend(self.store.load(vec![(account, delivery.event)]).await.expect("the store reads"));
        }
        let event = events.remove(0);
        let webhook = event.targets[usize::from(delivery.place)];
        let webhook = self.directory.read().webhook_numbered(webhook).cloned().expect("a webhook");
        let found = self.store.delivery(event.account, delivery, self.clock.now()).await.expect("the store reads");
        let (before, _) = found.expect("the delivery");
        let sent = domain::signature::body(&event.event_type, &webhook.id, event.timestamp, &event.data);
        let custom: Vec<String> = webhook.headers.names().map(str::to_owned).collect();
        let request = SentRequest::sign(&ToSign {
            delivery,
            body: &sent,
            now: self.clock.now(),
            secrets: &webhook.secrets,
            url: webhook.url.as_str(),
            brand: &brand(),
            custom: &custom,
        });
        let delivered = (200..300).contains(&status);
        let code = if status < 500 { ErrorCode::Http4xx } else { ErrorCode::Http5xx };
        let due = self.store.due(None, domain::time::Timestamp(i64::MAX), 1_000).await.expect("the store reads");
        let reason = match due.iter().find(|due| due.delivery == delivery) {
            Some(due) => due.reason,
            None if event.test => Reason::Test,
            None => Reason::First,
        };
        let attempt = Attempt {
            number: before.attempts_made + 1,
            reason,
            started_at: self.clock.now(),
            duration: Duration::from_micros(41_500),
            timing: Timing { first_byte: Some(Duration::from_micros(1_250)), ..Timing::default() },
            request,
            answer: Some(Answer {
                status,
                headers: vec![("Server".to_owned(), b"test".to_vec())],
                body: body.to_vec(),
                truncated: false,
            }),
            failure: (!delivered).then(|| Failure { code, detail: String::new() }),
            remote_address: Some("198.41.0.4:443".parse().expect("an address")),
        };
        let retries_made = if reason == Reason::Replay { 1 } else { before.attempts_made };
        let due_at = attempt.ended_at().plus(Duration::from_secs(30));
        let next =
            if delivered { Next::Delivered } else { Next::Retry { due_at, retries_made, reason: Reason::Retry } };
        let epoch = Epoch::SOLE;
        let settlement = Settlement { delivery, webhook: webhook.number, attempt: Some(attempt), next, epoch };
        self.store.settle(vec![settlement]).await.expect("the store settles");
    }
}
