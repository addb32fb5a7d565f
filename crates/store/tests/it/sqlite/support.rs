//! An engine to test, in a directory of its own, and what goes into it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use domain::attempt::{Answer, Attempt, ErrorCode, Failure, Reason, Timing};
use domain::audit::By;
use domain::custom_headers::CustomHeaders;
use domain::delivery::{Delivery, Next, Settlement};
use domain::directory::SharedDirectory;
use domain::endpoint_url::EndpointUrl;
use domain::event::NewEvent;
use domain::event_filter::EventFilter;
use domain::filter::DeliveryFilter;
use domain::id::{DeliveryId, EventId};
use domain::key_pair::KeyPair;
use domain::secret::SigningSecret;
use domain::shard::Epoch;
use domain::signature::{KeyPairs, SentRequest, SigningSecrets};
use domain::stats::{Stats, StatsQuery, Step, Subjects, Window, minute};
use domain::store::{Change, DeliveryQuery, Fact, StoreError};
use domain::time::Timestamp;
use domain::vault::Vault;
use domain::webhook::{Pause, PauseCause, Webhook};
use store::sqlite::{Engine, Limits, OpenError, Parts, Reader};

pub(crate) const NOW: Timestamp = Timestamp(1_795_464_000_123_456);
pub(crate) const ACCOUNT: u32 = 1;

/// A directory that goes when this does.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("engine-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name))
    }

    /// The files as a crash at this instant would leave them.
    pub(crate) fn crashed(&self) -> Self {
        let copy = Self::new();
        std::fs::create_dir(&copy.0).expect("a new directory");
        for file in std::fs::read_dir(&self.0).expect("it exists") {
            let file = file.expect("an entry");
            std::fs::copy(file.path(), copy.0.join(file.file_name())).expect("it is copied");
        }
        copy
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("posthaste.db")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if self.0.exists() {
            std::fs::remove_dir_all(&self.0).expect("the directory is ours");
        }
    }
}

/// An open engine, what it told at the start, and its directory of webhooks.
pub(crate) struct Open {
    pub(crate) engine: Engine,
    pub(crate) known: Vec<Fact>,
    pub(crate) directory: SharedDirectory,
}

pub(crate) fn parts(dir: &Path, key: u8, limits: Limits) -> (Parts<'_>, SharedDirectory) {
    parts_with(dir, &[key; 32], limits)
}

pub(crate) fn parts_with<'a>(dir: &'a Path, key: &[u8; 32], limits: Limits) -> (Parts<'a>, SharedDirectory) {
    let directory = SharedDirectory::default();
    let mut count = 0u8;
    let chance = Box::new(move |bytes: &mut [u8]| {
        count = count.wrapping_add(1);
        bytes.fill(count);
    });
    let vault = Vault::new(key);
    (Parts { dir, vault, directory: directory.clone(), limits, chance, now: NOW }, directory)
}

pub(crate) fn limits() -> Limits {
    Limits { durable: false, ..Limits::default() }
}

pub(crate) fn try_open(dir: &Dir, key: u8, limits: Limits) -> Result<Open, OpenError> {
    let (parts, directory) = parts(&dir.0, key, limits);
    Engine::open(parts).map(|(engine, known)| Open { engine, known, directory })
}

pub(crate) fn open(dir: &Dir) -> Open {
    try_open(dir, 7, limits()).expect("it opens")
}

impl Open {
    pub(crate) fn change(&mut self, now: Timestamp, change: Change) -> bool {
        self.engine.begin().expect("it begins");
        if self.engine.change(now, change, &By::us(), None).is_ok() {
            self.engine.commit().expect("it commits");
            return true;
        }
        self.engine.rollback().expect("it rolls back");
        false
    }

    pub(crate) fn new_webhook(&mut self, id: &str) -> u32 {
        let account_id = "default".parse().expect("an id");
        let webhook = Webhook {
            number: 0,
            id: id.parse().expect("an id"),
            account: ACCOUNT,
            account_id,
            name: "a webhook".to_owned(),
            url: Arc::new(EndpointUrl::stored("https://example.com/in").expect("a URL")),
            events: EventFilter::stored(vec!["*".to_owned()]),
            headers: CustomHeaders::stored(vec![("X-Api-Key".to_owned(), "canary-header".to_owned())]),
            secrets: SigningSecrets {
                pairs: Some(KeyPairs::new(KeyPair::from_seed(&[6; 32]))),
                ..SigningSecrets::new(SigningSecret::from_bytes(&[9; 32]))
            },
            pause: None,
            timeout: None,
            retry_schedule: None,
            rate_limit: None,
            max_in_flight: None,
            http2: false,
            order: None,
            created_at: NOW,
            updated_at: NOW,
            version: 1,
            failing_since: None,
            held_rate: None,
            leave_alone_until: None,
            temporary: false,
        };
        assert!(self.change(NOW, Change::PutWebhook(Box::new(webhook))));
        self.directory.read().webhooks().map(|webhook| webhook.number).max().expect("there is one")
    }

    pub(crate) fn pause(&mut self, number: u32) {
        let mut paused = self.directory.read().webhook_numbered(number).map(|it| (**it).clone()).expect("a webhook");
        paused.version += 1;
        paused.pause = Some(Pause { since: NOW, cause: PauseCause::Gone });
        assert!(self.change(NOW, Change::PutWebhook(Box::new(paused))));
    }

    pub(crate) fn accept(&mut self, now: Timestamp, number: usize) -> Vec<EventId> {
        self.engine.begin().expect("it begins");
        let accepted = self.engine.accept(now, &vec![event(); number]).expect("it is written");
        self.engine.commit().expect("it commits");
        accepted.into_iter().map(|accepted| accepted.expect("it is accepted").id).collect()
    }

    pub(crate) fn settle(&mut self, now: Timestamp, settlement: Settlement) {
        self.engine.begin().expect("it begins");
        self.engine.settle(now, &[Arc::new(settlement)]).expect("it is written");
        self.engine.commit().expect("it commits");
    }

    pub(crate) fn reader(&self) -> Reader {
        self.engine.reader().expect("it opens")
    }

    /// The deliveries that the facts of the start bring to the scheduler.
    pub(crate) fn told_fresh(&self) -> BTreeSet<DeliveryId> {
        let mut fresh = BTreeSet::new();
        for fact in &self.known {
            if let Fact::Accepted { event, on_disk } = fact {
                assert_eq!(on_disk.len(), event.targets.len());
                let places = (0u16..).zip(on_disk).filter(|(_, on_disk)| !**on_disk);
                fresh.extend(places.map(|(place, _)| DeliveryId { event: event.id, place }));
            }
        }
        fresh
    }
}

pub(crate) fn event() -> NewEvent {
    NewEvent {
        account: ACCOUNT,
        event_type: "alert.rule_created".into(),
        data: Bytes::from_static(br#"{"domain":"canary-payload"}"#),
        test_for: None,
        flagged: false,
        trace: None,
        idempotency: None,
        only_repeated: false,
    }
}

pub(crate) fn settlement(delivery: DeliveryId, webhook: u32, number: u16, now: Timestamp, next: Next) -> Settlement {
    let delivered = next == Next::Delivered;
    let attempt = Attempt {
        number,
        reason: if number == 1 { Reason::First } else { Reason::Retry },
        started_at: now,
        duration: Duration::from_millis(3),
        timing: Timing::default(),
        request: SentRequest {
            url: "https://example.com/in".to_owned(),
            prefix: "X-CronDB".to_owned(),
            user_agent: "CronDB-Webhooks/1".to_owned(),
            signed_at: now.seconds(),
            signature: [1; 32],
            standard: vec![[2; 32]],
            ed25519: Vec::new(),
            custom: Vec::new(),
        },
        answer: delivered.then(|| Answer { status: 200, headers: Vec::new(), body: vec![7; 100], truncated: false }),
        failure: (!delivered).then(|| Failure { code: ErrorCode::ConnectRefused, detail: String::new() }),
        remote_address: None,
    };
    Settlement { delivery, webhook, attempt: Some(attempt), next, epoch: Epoch::SOLE }
}

pub(crate) fn list(reader: &Reader, now: Timestamp) -> Result<Vec<Delivery>, StoreError> {
    let (filter, limit) = (DeliveryFilter::default(), 100_000);
    let query = DeliveryQuery { limit, ..DeliveryQuery::new(ACCOUNT, filter, now) };
    reader.deliveries(&query).map(|page| page.rows)
}

/// Figures of everything that a test does: from some hours before [`NOW`] to some hours after it.
pub(crate) fn stats(reader: &Reader, subjects: Subjects, step: Step) -> Result<Vec<Stats>, StoreError> {
    let now = minute(NOW);
    let window = Window { step, first: step.start(now - 600), last: now + 600 };
    reader.stats(&StatsQuery { account: ACCOUNT, subjects, window })
}
