//! The engine by itself: crashes at any point, damage on disk, refusals to open, and what is kept for how long.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use domain::attempt::{Answer, Attempt, ErrorCode, Failure, Reason, Timing};
use domain::custom_headers::CustomHeaders;
use domain::delivery::{Delivery, DeliveryStatus, Next, Settlement};
use domain::directory::SharedDirectory;
use domain::endpoint_url::EndpointUrl;
use domain::event::{Idempotency, NewEvent};
use domain::event_filter::EventFilter;
use domain::filter::DeliveryFilter;
use domain::id::{DeliveryId, EventId};
use domain::secret::SigningSecret;
use domain::signature::{SentRequest, SigningSecrets};
use domain::store::{Change, DeliveryQuery, Fact, StoreError};
use domain::time::Timestamp;
use domain::vault::Vault;
use domain::webhook::Webhook;
use proptest::prelude::*;
use store::sqlite::{Engine, Limits, OpenError, Parts, Reader};

const NOW: Timestamp = Timestamp(1_795_464_000_123_456);
const ACCOUNT: u32 = 1;

/// A directory that goes when this does.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("engine-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name))
    }

    /// The files as a crash at this instant would leave them.
    fn crashed(&self) -> Self {
        let copy = Self::new();
        std::fs::create_dir(&copy.0).expect("a new directory");
        for file in std::fs::read_dir(&self.0).expect("it exists") {
            let file = file.expect("an entry");
            std::fs::copy(file.path(), copy.0.join(file.file_name())).expect("it is copied");
        }
        copy
    }

    fn database(&self) -> PathBuf {
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
struct Open {
    engine: Engine,
    known: Vec<Fact>,
    directory: SharedDirectory,
}

fn parts(dir: &Path, key: u8, limits: Limits) -> (Parts<'_>, SharedDirectory) {
    let directory = SharedDirectory::default();
    let mut count = 0u8;
    let chance = Box::new(move |bytes: &mut [u8]| {
        count = count.wrapping_add(1);
        bytes.fill(count);
    });
    let vault = Vault::new(&[key; 32]);
    (Parts { dir, vault, directory: directory.clone(), limits, chance, now: NOW }, directory)
}

fn limits() -> Limits {
    Limits { durable: false, ..Limits::default() }
}

fn try_open(dir: &Dir, key: u8, limits: Limits) -> Result<Open, OpenError> {
    let (parts, directory) = parts(&dir.0, key, limits);
    Engine::open(parts).map(|(engine, known)| Open { engine, known, directory })
}

fn open(dir: &Dir) -> Open {
    try_open(dir, 7, limits()).expect("it opens")
}

impl Open {
    fn change(&mut self, now: Timestamp, change: Change) -> bool {
        self.engine.begin().expect("it begins");
        if self.engine.change(now, change, None).is_ok() {
            self.engine.commit().expect("it commits");
            return true;
        }
        self.engine.rollback().expect("it rolls back");
        false
    }

    fn new_webhook(&mut self, id: &str) -> u32 {
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
            secrets: SigningSecrets { current: SigningSecret::from_bytes(&[9; 32]), previous: None },
            pause: None,
            timeout: None,
            retry_schedule: None,
            rate_limit: None,
            max_in_flight: None,
            http2: false,
            created_at: NOW,
            updated_at: NOW,
            version: 1,
            failing_since: None,
            temporary: false,
        };
        assert!(self.change(NOW, Change::PutWebhook(Box::new(webhook))));
        self.directory.read().webhooks().map(|webhook| webhook.number).max().expect("there is one")
    }

    fn accept(&mut self, now: Timestamp, number: usize) -> Vec<EventId> {
        self.engine.begin().expect("it begins");
        let accepted = self.engine.accept(now, &vec![event(); number]).expect("it is written");
        self.engine.commit().expect("it commits");
        accepted.into_iter().map(|accepted| accepted.expect("it is accepted").id).collect()
    }

    fn settle(&mut self, now: Timestamp, settlement: Settlement) {
        self.engine.begin().expect("it begins");
        self.engine.settle(now, &[Arc::new(settlement)]).expect("it is written");
        self.engine.commit().expect("it commits");
    }

    fn reader(&self) -> Reader {
        self.engine.reader().expect("it opens")
    }

    /// The deliveries that the facts of the start bring to the scheduler.
    fn told_fresh(&self) -> BTreeSet<DeliveryId> {
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

fn event() -> NewEvent {
    NewEvent {
        account: ACCOUNT,
        event_type: "alert.rule_created".into(),
        data: Bytes::from_static(br#"{"domain":"canary-payload"}"#),
        test_for: None,
        flagged: false,
        idempotency: None,
    }
}

fn settlement(delivery: DeliveryId, webhook: u32, number: u16, now: Timestamp, next: Next) -> Settlement {
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
            custom: Vec::new(),
        },
        answer: delivered.then(|| Answer { status: 200, headers: Vec::new(), body: vec![7; 900], truncated: false }),
        failure: (!delivered).then(|| Failure { code: ErrorCode::ConnectRefused, detail: String::new() }),
        remote_address: None,
    };
    Settlement { delivery, webhook, attempt: Some(attempt), next }
}

fn list(reader: &Reader, now: Timestamp) -> Result<Vec<Delivery>, StoreError> {
    let (filter, limit) = (DeliveryFilter::default(), 100_000);
    let query = DeliveryQuery {
        account: ACCOUNT,
        event: None,
        filter,
        webhook: None,
        before: None,
        limit,
        now,
        sending: vec![],
    };
    reader.deliveries(&query).map(|page| page.rows)
}

/// What the store has promised about a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Promise {
    status: DeliveryStatus,
    attempts: u16,
    retry_at: Option<Timestamp>,
    webhook: u32,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Accept(usize),
    Settle(u8),
    Retry(u8),
    Cancel(u8),
    Replay(u8),
    Pause(bool),
    /// The machine dies: between two transactions, or within one.
    Crash {
        within: bool,
    },
    Pass(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1usize..5).prop_map(Step::Accept),
        4 => any::<u8>().prop_map(Step::Settle),
        3 => any::<u8>().prop_map(Step::Retry),
        1 => any::<u8>().prop_map(Step::Cancel),
        1 => any::<u8>().prop_map(Step::Replay),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => any::<bool>().prop_map(|within| Step::Crash { within }),
        2 => (-3_000_000i64..9_000_000).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..60)
}

/// A store, and beside it what it has promised so far.
struct Model {
    dir: Dir,
    open: Option<Open>,
    now: Timestamp,
    webhooks: [u32; 2],
    promised: BTreeMap<DeliveryId, Promise>,
}

impl Model {
    fn new() -> Self {
        let dir = Dir::new();
        let mut open = try_open(&dir, 7, Self::limits()).expect("it opens");
        let webhooks = [open.new_webhook("wh_one"), open.new_webhook("wh_two")];
        Self { dir, open: Some(open), now: NOW, webhooks, promised: BTreeMap::new() }
    }

    fn limits() -> Limits {
        Limits { fresh_per_webhook: 5, fresh_behind: 6, ..limits() }
    }

    fn engine(&mut self) -> &mut Open {
        self.open.as_mut().expect("it is open")
    }

    fn pick(&self, number: u8, wanted: impl Fn(&Promise) -> bool) -> Option<(DeliveryId, Promise)> {
        let fitting: Vec<_> = self.promised.iter().filter(|(_, promise)| wanted(promise)).collect();
        let (id, promise) = fitting.get(usize::from(number) % fitting.len().max(1))?;
        Some((**id, **promise))
    }

    fn step(&mut self, step: Step) {
        let (now, webhooks) = (self.now, self.webhooks);
        let waits = |promise: &Promise| promise.status == DeliveryStatus::Pending;
        match step {
            Step::Accept(number) => {
                for event in self.engine().accept(now, number) {
                    for (place, webhook) in (0u16..).zip(webhooks) {
                        let promise = Promise { status: DeliveryStatus::Pending, attempts: 0, retry_at: None, webhook };
                        self.promised.insert(DeliveryId { event, place }, promise);
                    }
                }
            }
            Step::Settle(number) => self.end(number, Next::Delivered, DeliveryStatus::Delivered, None),
            Step::Retry(number) => {
                let due_at = now.plus(Duration::from_secs(30));
                let next = Next::Retry { due_at, retries_made: 1, reason: Reason::Retry };
                self.end(number, next, DeliveryStatus::Pending, Some(due_at));
            }
            Step::Cancel(number) => {
                if let Some((id, promise)) = self.pick(number, waits) {
                    assert!(self.engine().change(now, Change::Cancel(id)));
                    self.promised.insert(id, Promise { status: DeliveryStatus::Cancelled, retry_at: None, ..promise });
                }
            }
            Step::Replay(number) => {
                if let Some((id, promise)) = self.pick(number, |promise| !waits(promise)) {
                    assert!(self.engine().change(now, Change::Replay(id)));
                    let promise = Promise { status: DeliveryStatus::Pending, retry_at: Some(now), ..promise };
                    self.promised.insert(id, promise);
                }
            }
            Step::Pause(pause) => self.pause(pause),
            Step::Crash { within } => self.crash(within),
            Step::Pass(micros) => self.now = Timestamp(now.0 + micros),
        }
    }

    fn end(&mut self, number: u8, next: Next, status: DeliveryStatus, retry_at: Option<Timestamp>) {
        let now = self.now;
        if let Some((id, promise)) = self.pick(number, |promise| promise.status == DeliveryStatus::Pending) {
            let mut settlement = settlement(id, promise.webhook, promise.attempts + 1, now, next);
            if let Some(attempt) = &mut settlement.attempt {
                // The scheduler knows of a replay that was committed before.
                attempt.reason = Reason::Replay;
            }
            self.engine().settle(now, settlement);
            self.promised.insert(id, Promise { status, attempts: promise.attempts + 1, retry_at, ..promise });
        }
    }

    fn pause(&mut self, pause: bool) {
        let (now, number) = (self.now, self.webhooks[1]);
        let stored = self.engine().directory.read().webhook_numbered(number).cloned().expect("it exists");
        let mut webhook = Webhook::clone(&stored);
        webhook.version += 1;
        let cause = domain::webhook::PauseCause::Gone;
        webhook.pause = pause.then_some(domain::webhook::Pause { since: now, cause });
        assert!(self.engine().change(now, Change::PutWebhook(Box::new(webhook))));
    }

    fn crash(&mut self, within: bool) {
        let now = self.now;
        let engine = &mut self.engine().engine;
        if within {
            engine.begin().expect("it begins");
            engine.accept(now, &[event(), event()]).expect("it is written");
        }
        let dir = self.dir.crashed();
        self.open = None;
        self.dir = dir;
        self.open = Some(try_open(&self.dir, 7, Self::limits()).expect("it opens"));
    }

    /// The store shows what it has promised, no more and no less, and a scheduler would hear of all that waits, once.
    fn check(&mut self) {
        let (now, promised) = (self.now, self.promised.clone());
        let reader = self.engine().reader();
        let shown = list(&reader, now).expect("it is read");
        assert_eq!(shown.len(), promised.len());
        for delivery in &shown {
            let promise = promised[&delivery.id];
            let waits = [DeliveryStatus::Pending, DeliveryStatus::Held].contains(&delivery.status);
            assert_eq!(waits, promise.status == DeliveryStatus::Pending, "{delivery:?} {promise:?}");
            assert!(waits || delivery.status == promise.status, "{delivery:?} {promise:?}");
            assert_eq!(delivery.attempts_made, promise.attempts);
            if let Some(at) = promise.retry_at {
                assert_eq!(delivery.next_attempt_at, Some(at));
            }
        }
        drop(reader);
        self.crash(false);
        let mut heard = self.engine().told_fresh();
        let number = heard.len();
        let reader = self.engine().reader();
        for webhook in self.webhooks {
            for due in reader.backlog(webhook, None, Timestamp(i64::MAX), 100_000).expect("it is read") {
                assert_eq!(due.attempts_made, promised[&due.delivery].attempts);
                assert!(heard.insert(due.delivery), "{} waits twice", due.delivery);
            }
        }
        let waiting: BTreeSet<_> =
            promised.iter().filter(|(_, p)| p.status == DeliveryStatus::Pending).map(|(id, _)| *id).collect();
        assert_eq!(heard, waiting);
        assert_eq!(self.engine().engine.fresh(), number);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn promises_hold_over_crashes(steps in steps()) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
        }
        model.check();
    }
}

#[test]
fn the_oldest_get_rows_when_they_are_far_behind() {
    let dir = Dir::new();
    let mut open = try_open(&dir, 7, Limits { fresh_behind: 100, ..limits() }).expect("it opens");
    let webhook = open.new_webhook("wh_one");
    let first = open.accept(NOW, 1)[0];
    for round in 0..40 {
        for event in open.accept(Timestamp(NOW.0 + round), 10) {
            let delivery = DeliveryId { event, place: 0 };
            open.settle(NOW, settlement(delivery, webhook, 1, NOW, Next::Delivered));
        }
    }
    assert_eq!(open.engine.fresh(), 0);
    let delivery = DeliveryId { event: first, place: 0 };
    let waiting = open.reader().backlog(webhook, None, Timestamp(i64::MAX), 10).expect("it is read");
    assert_eq!(waiting.iter().map(|due| (due.delivery, due.reason)).collect::<Vec<_>>(), [(delivery, Reason::First)]);
    open.settle(NOW, settlement(delivery, webhook, 1, NOW, Next::Delivered));
    assert_eq!(open.reader().backlog(webhook, None, Timestamp(i64::MAX), 10), Ok(Vec::new()));
    assert_eq!(open.reader().delivery(ACCOUNT, delivery, NOW).expect("it is read").expect("it exists").1.len(), 1);
}

#[test]
fn retention_counts_from_the_end_and_spares_what_is_unfinished() {
    let dir = Dir::new();
    let mut open = open(&dir);
    let nobody = open.accept(NOW, 1)[0];
    let webhook = open.new_webhook("wh_one");
    let events = open.accept(NOW, 4);
    let at = |hours: u64| NOW.plus(Duration::from_secs(hours * 3_600));
    let id = |n: usize| DeliveryId { event: events[n], place: 0 };
    let retry = Next::Retry { due_at: at(2), retries_made: 1, reason: Reason::Retry };
    open.settle(NOW, settlement(id(0), webhook, 1, NOW, Next::Delivered));
    open.settle(NOW, settlement(id(1), webhook, 1, NOW, retry));
    open.settle(at(9), settlement(id(1), webhook, 2, at(9), Next::Failed));
    open.settle(NOW, settlement(id(2), webhook, 1, NOW, retry));
    let keyed = NewEvent { idempotency: Some(Idempotency { key: [1; 32], request: [1; 32] }), ..event() };
    open.engine.begin().expect("it begins");
    open.engine.accept(NOW, &[keyed]).expect("it is written");
    open.engine.commit().expect("it commits");

    let keep = Duration::from_secs(10 * 3_600);
    let mut retain = |now| {
        let mut all = (0, 0);
        loop {
            open.engine.begin().expect("it begins");
            let retained = open.engine.retain(now, keep, 2).expect("it is written");
            open.engine.commit().expect("it commits");
            all = (all.0 + retained.events, all.1 + retained.keys);
            if !retained.more {
                return all;
            }
        }
    };
    assert_eq!(retain(at(10)), (0, 0));
    assert_eq!(retain(at(11)), (2, 0), "the one delivered, and the one that went to nobody");
    assert_eq!(retain(at(18)), (0, 0));
    assert_eq!(retain(at(20)), (1, 0));
    assert_eq!(retain(at(9_999)), (0, 1), "two wait for ever, and one has no row yet");
    let reader = open.reader();
    assert_eq!(reader.load(&[nobody, events[0], events[1], events[2], events[3]]).map(|found| found.len()), Ok(2));
    assert_eq!(reader.delivery(ACCOUNT, id(1), NOW), Ok(None));
    assert_eq!(list(&reader, NOW).map(|rows| rows.len()), Ok(3));
}

#[test]
fn an_erased_account_leaves_no_byte() {
    let dir = Dir::new();
    let mut open = open(&dir);
    let webhook = open.new_webhook("wh_canary");
    for event in open.accept(NOW, 20) {
        let delivery = DeliveryId { event, place: 0 };
        open.settle(NOW, settlement(delivery, webhook, 1, NOW, Next::Delivered));
    }
    assert!(open.change(NOW, Change::DeleteAccount(ACCOUNT)));
    drop(open);
    for file in std::fs::read_dir(&dir.0).expect("it exists") {
        let path = file.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("it is read");
        for canary in [&b"canary-payload"[..], b"wh_canary", &[7; 100]] {
            let found = bytes.windows(canary.len()).position(|window| window == canary);
            assert_eq!(found, None, "{canary:?} in {}", path.display());
        }
    }
}

#[test]
fn secrets_are_not_in_the_file() {
    let dir = Dir::new();
    let mut open = open(&dir);
    open.new_webhook("wh_one");
    let secret = SigningSecret::from_bytes(&[9; 32]);
    let crashed = dir.crashed();
    for file in std::fs::read_dir(&crashed.0).expect("it exists") {
        let bytes = std::fs::read(file.expect("an entry").path()).expect("it is read");
        for canary in [secret.reveal().as_bytes(), &[9; 32], b"canary-header"] {
            assert!(!bytes.windows(canary.len()).any(|window| window == canary));
        }
    }
}

#[test]
fn refuses_to_open_what_is_not_its_own() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = Dir::new();
    let mut open = open(&dir);
    open.new_webhook("wh_one");
    assert!(matches!(try_open(&dir, 7, limits()), Err(OpenError::Locked(held)) if held == dir.0));
    for file in std::fs::read_dir(&dir.0).expect("it exists") {
        let mode = file.expect("an entry").metadata().expect("it exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(std::fs::metadata(&dir.0).expect("it exists").permissions().mode() & 0o777, 0o700);
    drop(open);
    let other = try_open(&dir, 8, limits()).err().expect("refused").to_string();
    assert!(other.contains("another encryption key"), "{other}");
    let conn = rusqlite::Connection::open(dir.database()).expect("it opens");
    conn.execute_batch("PRAGMA user_version = 99").expect("it is written");
    drop(conn);
    assert!(matches!(try_open(&dir, 7, limits()), Err(OpenError::Newer { found: 99, .. })));
    std::fs::write(dir.database(), b"not a database, but long enough to be taken for one by its name")
        .expect("written");
    assert!(matches!(try_open(&dir, 7, limits()), Err(OpenError::Damaged { file, .. }) if file == dir.database()));
}

/// Everything that can be read, as text.
fn everything(open: &Open) -> Result<String, StoreError> {
    let reader = open.reader();
    let mut text = String::new();
    {
        let directory = open.directory.read();
        let webhooks: Vec<_> = directory.webhooks_of(ACCOUNT).collect();
        text += &format!("{:?} {webhooks:?}", directory.accounts().collect::<Vec<_>>());
        text += &format!("{:?}", webhooks.iter().map(|webhook| webhook.secrets.current.reveal()).collect::<Vec<_>>());
    }
    let known: Vec<_> = open.told_fresh().into_iter().collect();
    text += &format!("{known:?} {:?}", reader.due(None, Timestamp(i64::MAX), 1_000)?);
    for webhook in 1..3 {
        text += &format!("{:?}", reader.backlog(webhook, None, Timestamp(i64::MAX), 1_000)?);
        text += &format!("{:?}", reader.counts(webhook, Timestamp(0))?);
    }
    for delivery in list(&reader, NOW)? {
        text += &format!("{delivery:?} {:?}", reader.delivery(ACCOUNT, delivery.id, NOW)?);
        text += &format!("{:?}", reader.event(ACCOUNT, delivery.id.event)?);
    }
    let key = Idempotency { key: [1; 32], request: [1; 32] };
    let kept = match reader.kept(&key, NOW) {
        Err(domain::store::ChangeError::Store(error)) => return Err(error),
        kept => kept,
    };
    Ok(text + &format!("{:?} {kept:?}", reader.events(ACCOUNT, None, 1_000)?))
}

#[test]
fn a_flipped_bit_is_noticed_and_never_served() {
    let dir = Dir::new();
    let mut whole = open(&dir);
    let webhook = whole.new_webhook("wh_one");
    whole.new_webhook("wh_two");
    let keyed = NewEvent { idempotency: Some(Idempotency { key: [1; 32], request: [1; 32] }), ..event() };
    whole.engine.begin().expect("it begins");
    whole.engine.accept(NOW, &[keyed]).expect("it is written");
    whole.engine.commit().expect("it commits");
    for (n, event) in whole.accept(NOW, 6).into_iter().enumerate().skip(1) {
        let delivery = DeliveryId { event, place: 0 };
        let retry = Next::Retry { due_at: NOW, retries_made: 1, reason: Reason::Retry };
        let next = if n % 2 == 0 { Next::Delivered } else { retry };
        whole.settle(NOW, settlement(delivery, webhook, 1, NOW, retry));
        whole.settle(NOW, settlement(delivery, webhook, 2, NOW, next));
    }
    drop(whole);
    let whole = open(&dir);
    let expected = everything(&whole).expect("it is read");
    drop(whole);
    let bytes = std::fs::read(dir.database()).expect("it is read");
    let (mut refused, mut detected, mut harmless) = (0, 0, 0);
    let mut chance = 7u64;
    for _ in 0..400 {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bit = (chance >> 20) as usize % (bytes.len() * 8);
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(dir.database(), &flipped).expect("it is written");
        match try_open(&dir, 7, limits()) {
            Err(_) => refused += 1,
            Ok(open) => match everything(&open) {
                Err(_) => detected += 1,
                Ok(read) => {
                    assert_eq!(read, expected, "bit {bit} was served");
                    harmless += 1;
                }
            },
        }
    }
    // Much of a small file is free space, in which a bit means nothing.
    assert!(refused + detected > 40, "{refused} {detected} {harmless}");
}
