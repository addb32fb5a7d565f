//! Moving an embedded store into a database: whatever was cut short goes on, and what is there after it is what was there
//! before.

use std::cell::Cell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::attempt::{Answer, Attempt, ErrorCode, Failure, LoggedAttempt, Reason, Timing};
use domain::audit::{AuditFilter, AuditQuery, By};
use domain::custom_headers::CustomHeaders;
use domain::delivery::{Delivery, Due, Next, Settlement};
use domain::directory::SharedDirectory;
use domain::endpoint_url::EndpointUrl;
use domain::event::{Event, Idempotency, NewEvent};
use domain::event_filter::EventFilter;
use domain::filter::DeliveryFilter;
use domain::id::{DeliveryId, EVENT_RESIDUE_BITS, EventId};
use domain::key::Account;
use domain::key_pair::KeyPair;
use domain::secret::SigningSecret;
use domain::shard::Epoch;
use domain::signature::{KeyPairs, SentRequest, SigningSecrets};
use domain::stats::{StatsQuery, Subjects, Window};
use domain::store::{Accepted, Change, DeliveryQuery, Store};
use domain::time::{Clock as _, Timestamp};
use domain::vault::Vault;
use domain::webhook::{Pause, PauseCause, Webhook};
use store::conformance::ManualClock;
use store::conformance::cluster::Cluster;
use store::moving::{self, MoveError, Moved, Parts, Step};
use store::postgres::{self, Address, PostgresStore};
use store::sqlite::{self, Limits, Retention, SqliteStore};
use tokio::sync::Notify;

mod abandoned;
mod owned;

const KEY: [u8; 32] = [7; 32];
const MINUTE: Duration = Duration::from_secs(60);

/// A directory with a store in it.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("moving-{name}-{}", std::process::id()));
        let _there_was_none = std::fs::remove_dir_all(&dir);
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_dir_all(&self.0);
    }
}

fn chance() -> postgres::Chance {
    let mut last = 0u8;
    Box::new(move |bytes| {
        last = last.wrapping_add(1);
        bytes.fill(last);
    })
}

fn try_embedded(dir: &Path, clock: &ManualClock) -> Result<(SqliteStore, SharedDirectory), sqlite::OpenError> {
    let directory = SharedDirectory::default();
    let settings = sqlite::Settings {
        dir,
        vault: Vault::new(&KEY),
        directory: directory.clone(),
        clock: Arc::new(clock.clone()),
        chance: chance(),
        retention: Retention::default(),
        limits: Limits { durable: false, ..Limits::default() },
        facts: Box::new(|_| ()),
        fatal: Box::new(|why| panic!("{why}")),
    };
    SqliteStore::open(settings).map(|(store, _)| (store, directory))
}

fn embedded(dir: &Path, clock: &ManualClock) -> (SqliteStore, SharedDirectory) {
    try_embedded(dir, clock).expect("it opens")
}

async fn try_served(
    address: &Address,
    clock: &ManualClock,
) -> Result<(PostgresStore, SharedDirectory), postgres::OpenError> {
    let directory = SharedDirectory::default();
    let settings = postgres::Settings {
        address: address.clone(),
        vault: Vault::new(&KEY),
        directory: directory.clone(),
        holdings: None,
        clock: Arc::new(clock.clone()),
        chance: chance(),
        keep: None,
        size: None,
        limits: postgres::Limits::default(),
        facts: Box::new(|_, _| ()),
    };
    PostgresStore::open(settings).await.map(|(store, _)| (store, directory))
}

async fn change(store: &dyn Store, change: Change) {
    store.change(change, By::us(), None).await.expect("it is changed");
}

async fn webhook(store: &dyn Store, directory: &SharedDirectory, account: u32, id: &str, now: Timestamp) -> u32 {
    let of = directory.read().account_numbered(account).expect("it is there").clone();
    let url = Arc::new(EndpointUrl::stored("https://example.com/in").expect("a URL"));
    let events = EventFilter::stored(vec!["*".to_owned()]);
    let mut secrets = SigningSecrets::new(SigningSecret::from_bytes(&[9; 32]));
    let pair = |seed: u8| KeyPair::from_seed(&[seed; 32]);
    secrets.pairs = Some(KeyPairs { current: pair(1), previous: Some(pair(2)) });
    let made = Webhook {
        secrets,
        headers: CustomHeaders::stored(vec![("X-Api-Key".to_owned(), format!("header of {id}"))]),
        ..Webhook::new(&of, id.parse().expect("an id"), url, events, SigningSecret::from_bytes(&[9; 32]), now)
    };
    change(store, Change::PutWebhook(Box::new(made))).await;
    let known = directory.read();
    known.webhooks().find(|webhook| webhook.id.as_str() == id).expect("it is there").number
}

fn new_event(account: u32, n: usize, idempotency: Option<Idempotency>) -> NewEvent {
    NewEvent {
        account,
        event_type: if n.is_multiple_of(2) { "alert.rule_created" } else { "watchlist.domain_changed" }.into(),
        data: Bytes::from(format!(r#"{{"n":{n},"text":"Grüße"}}"#)),
        test_for: None,
        flagged: n.is_multiple_of(3),
        trace: None,
        idempotency,
        only_repeated: false,
    }
}

async fn accept(store: &dyn Store, event: NewEvent) -> Accepted {
    store.accept(vec![event]).await.pop().expect("an answer").expect("it is accepted")
}

/// How an attempt ends.
#[derive(Clone, Copy)]
enum End {
    Delivered,
    Failed,
    Retry,
}

async fn settle(store: &dyn Store, now: Timestamp, due: Due, end: End) -> Option<Due> {
    let failed = !matches!(end, End::Delivered);
    let attempt = Attempt {
        number: due.attempts_made + 1,
        reason: due.reason,
        started_at: now,
        duration: Duration::from_micros(1_500),
        timing: Timing::default(),
        request: SentRequest {
            url: "https://example.com/in".to_owned(),
            prefix: "X-CronDB".to_owned(),
            user_agent: "CronDB-Webhooks/1".to_owned(),
            signed_at: now.seconds(),
            signature: [1; 32],
            standard: vec![[2; 32]],
            ed25519: vec![[3; 64]],
            custom: vec!["X-Api-Key".to_owned()],
        },
        answer: Some(Answer {
            status: if failed { 500 } else { 200 },
            headers: vec![("server".to_owned(), b"\xff\x00".to_vec())],
            body: b"<b>\0\xff".to_vec(),
            truncated: false,
        }),
        failure: failed.then(|| Failure { code: ErrorCode::Http5xx, detail: "a detail".to_owned() }),
        remote_address: None,
    };
    let (retries_made, due_at) = (due.retries_made + 1, now.plus(5 * MINUTE));
    let next = match end {
        End::Delivered => Next::Delivered,
        End::Failed => Next::Failed,
        End::Retry => Next::Retry { due_at, retries_made, reason: Reason::Retry },
    };
    let settlement =
        Settlement { delivery: due.delivery, webhook: due.webhook, attempt: Some(attempt), next, epoch: Epoch::SOLE };
    store.settle(vec![settlement]).await.expect("it is recorded");
    let again = Due { due_at, retries_made, reason: Reason::Retry, attempts_made: due.attempts_made + 1, ..due };
    matches!(end, End::Retry).then_some(again)
}

fn first(event: EventId, place: u16, webhook: u32) -> Due {
    let due_at = Timestamp((event.0 >> EVENT_RESIDUE_BITS) as i64);
    let delivery = DeliveryId { event, place };
    Due { delivery, webhook, due_at, attempts_made: 0, retries_made: 0, reason: Reason::First }
}

/// Fills a store with something of everything; gives the accounts.
async fn fill(store: &dyn Store, directory: &SharedDirectory, clock: &ManualClock) -> [u32; 2] {
    let now = clock.now();
    let other = Account::new("other".parse().expect("an id"), "Another", now);
    change(store, Change::PutAccount(other)).await;
    let accounts = ["default", "other"]
        .map(|id| directory.read().account(&id.parse().expect("an id")).expect("it is there").number);
    for (at, account) in accounts.into_iter().enumerate() {
        let active = webhook(store, directory, account, &format!("wh_active{at}"), now).await;
        let held = webhook(store, directory, account, &format!("wh_held{at}"), now).await;
        let gone = webhook(store, directory, account, &format!("wh_gone{at}"), now).await;
        let mut paused = Webhook::clone(directory.read().webhook_numbered(held).expect("it is there"));
        paused.version += 1;
        paused.pause = Some(Pause { since: now, cause: PauseCause::Key { name: "a key".to_owned(), reason: None } });
        change(store, Change::PutWebhook(Box::new(paused))).await;
        for n in 0..12 {
            clock.step(7_000_000);
            let key = (n == 0).then_some(Idempotency { account, key: [account as u8; 32], request: [1; 32] });
            let event = accept(store, new_event(account, n, key)).await;
            let place_of =
                |webhook: u32, targets: &[u32]| targets.iter().position(|it| *it == webhook).map(|at| at as u16);
            let targets =
                store.event(account, event.id).await.expect("it is read").expect("it is there").targets.clone();
            let due = |webhook| first(event.id, place_of(webhook, &targets).expect("it goes there"), webhook);
            if n < 10 {
                settle(store, clock.now(), due(gone), if n % 2 == 0 { End::Delivered } else { End::Failed }).await;
            }
            let end = [End::Delivered, End::Failed, End::Retry, End::Retry][n % 4];
            if n < 10
                && let Some(again) = settle(store, clock.now(), due(active), end).await
                && n % 4 == 3
            {
                settle(store, clock.now(), again, End::Delivered).await;
            }
            if n == 1 {
                change(store, Change::Replay(account, due(active).delivery)).await;
            }
        }
        let number = directory.read().webhook_numbered(gone).expect("it is there").number;
        change(store, Change::DeleteWebhook(number)).await;
    }
    accounts
}

/// Everything that somebody sees of an account.
#[derive(Debug, PartialEq)]
struct Seen {
    deliveries: Vec<(Delivery, Vec<LoggedAttempt>)>,
    events: Vec<Arc<Event>>,
    webhooks: Vec<String>,
    audit: usize,
    held: u64,
    pending: u64,
    delivered: u64,
}

async fn see(store: &dyn Store, directory: &SharedDirectory, account: u32, now: Timestamp) -> Seen {
    let filter = DeliveryFilter::parse_line("", now).expect("a filter");
    let query = DeliveryQuery { limit: 1_000, ..DeliveryQuery::new(account, filter, now) };
    let rows = store.deliveries(query).await.expect("it is listed").rows;
    let mut deliveries = Vec::new();
    let mut events = HashMap::new();
    for row in rows {
        let found = store.delivery(account, row.id, now).await.expect("it is read").expect("it is there");
        assert_eq!(found.0, row);
        let event = store.event(account, row.id.event).await.expect("it is read").expect("it is there");
        events.insert(event.id, event);
        deliveries.push(found);
    }
    let mut events: Vec<_> = events.into_values().collect();
    events.sort_by_key(|event| event.id);
    let mut webhooks: Vec<String> = directory
        .read()
        .webhooks_of(account)
        .map(|it| {
            let pairs = it.secrets.pairs.as_ref().expect("it signs with them");
            let revealed = [Some(&pairs.current), pairs.previous.as_ref()].map(|pair| pair.expect("both").reveal());
            let secret = it.secrets.current.reveal();
            format!("{} {:?} {:?} {secret} {revealed:?}", it.number, it, it.headers.pairs())
        })
        .collect();
    webhooks.sort();
    let query = AuditQuery { account: Some(account), filter: AuditFilter::default(), before: None, limit: 100 };
    let audit = store.audit(query).await.expect("it is read").rows.len();
    let window = Window::back(now.plus(MINUTE), Duration::from_secs(86_400), None).expect("a window");
    let asked = StatsQuery { account, subjects: Subjects::Account, window };
    let stats = store.stats(asked).await.expect("it is read").pop().expect("one");
    let delivered = stats.buckets.iter().map(|bucket| bucket.figures.delivered).sum();
    Seen { deliveries, events, webhooks, audit, held: stats.held, pending: stats.pending, delivered }
}

/// Runs a move, and drops it wherever it is once it has told of so many batches.
async fn run(
    from: &Path,
    to: &Address,
    now: Timestamp,
    rows_at_once: usize,
    batches: usize,
) -> Option<Result<Moved, MoveError>> {
    let (told, enough) = (Cell::new(0), Notify::new());
    let parts = Parts { from, to, vault: Vault::new(&KEY), chance: chance(), now, rows_at_once };
    let moving = moving::run(parts, |step| {
        if matches!(step, Step::Carried(..) | Step::Compared(..)) {
            told.set(told.get() + 1);
            if told.get() == batches {
                enough.notify_one();
            }
        }
    });
    tokio::select! {
        biased;
        () = enough.notified() => None,
        moved = moving => Some(moved),
    }
}

fn database() -> (String, Address) {
    let url = Cluster::shared().database();
    let address = Address::parse(&url).expect("an address");
    (url.rsplit('/').next().expect("a name").to_owned(), address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_cut_short_again_and_again_carries_everything() {
    let (dir, clock) = (Dir::new("cut-short"), ManualClock::default());
    let (_, address) = database();
    let (store, directory) = embedded(&dir.0, &clock);
    let accounts = fill(&store, &directory, &clock).await;
    clock.step(61_000_000);
    let now = clock.now();
    let mut before = Vec::new();
    for account in accounts {
        before.push(see(&store, &directory, account, now).await);
    }
    assert!(before.iter().all(|seen| seen.held > 0 && seen.pending > 0 && seen.delivered > 0), "{before:#?}");
    let newest = before[0].events.last().expect("an event").timestamp;
    let due = store.due(None, now.plus(60 * MINUTE), 1_000).await.expect("it is read").len();
    assert!(matches!(run(&dir.0, &address, now, 5, 0).await, Some(Err(MoveError::From(sqlite::OpenError::Locked(_))))));
    store.stop();

    let mut cuts = 0;
    let moved = loop {
        // More at each time: the comparison begins from its beginning.
        match run(&dir.0, &address, now, 5, 9 + 3 * cuts).await {
            Some(moved) => break moved.expect("it is moved"),
            None => cuts += 1,
        }
        assert!(cuts < 200, "each run carries something");
        let refused = try_served(&address, &clock).await.map(|_| ());
        assert!(matches!(refused, Err(postgres::OpenError::Unfinished)), "{refused:?}");
    };
    assert!(cuts > 3 && moved.resumed && !moved.already, "{cuts} {moved:?}");
    let rows = |table: &str| moved.rows.iter().find(|(name, _)| *name == table).map_or(0, |(_, rows)| *rows);
    assert_eq!((rows("accounts"), rows("webhooks"), rows("webhooks_gone"), rows("events")), (2, 4, 2, 24));
    assert_eq!(rows("deliveries") + rows("hot"), 24 * 3);
    let again = run(&dir.0, &address, now, 5, 0).await.expect("it ends").expect("nothing is refused");
    assert!(again.already && again.rows.iter().all(|(table, count)| rows(table) == *count), "{again:?} {moved:?}");

    let (store, directory) = try_served(&address, &clock).await.expect("it is served");
    for (account, before) in accounts.into_iter().zip(before) {
        let after = see(&store, &directory, account, now).await;
        assert_eq!(after, before);
        let key = Some(Idempotency { account, key: [account as u8; 32], request: [1; 32] });
        let repeated = accept(&store, new_event(account, 0, key)).await;
        assert!(repeated.repeated && repeated.id == before.events[0].id, "{repeated:?}");
        let next = accept(&store, new_event(account, 99, None)).await;
        assert!(next.timestamp > newest && before.events.iter().all(|event| event.id < next.id), "{next:?}");
    }
    let waiting = store.due(None, now.plus(60 * MINUTE), 1_000).await.expect("it is read");
    // In memory those that were never tried were told of by facts; here all are rows. Each new event goes to two webhooks.
    assert!(waiting.len() >= due, "{} {due}", waiting.len());
    // Numbers and ids go on after those that were ever given.
    let number = webhook(&store, &directory, accounts[0], "wh_after", now).await;
    assert_eq!(number, 7);
    store.stop().await;
    let refused = try_embedded(&dir.0, &clock).map(|_| ());
    assert!(matches!(refused, Err(sqlite::OpenError::Moved { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_served_again_and_a_database_that_is_none_of_its_are_refused() {
    let (dir, clock) = (Dir::new("refused"), ManualClock::default());
    let (_, address) = database();
    let (store, directory) = embedded(&dir.0, &clock);
    fill(&store, &directory, &clock).await;
    store.stop();
    let now = clock.now();
    assert!(run(&dir.0, &address, now, 5, 9).await.is_none());
    // Served again, it has other rows than those that were carried.
    let (store, _) = embedded(&dir.0, &clock);
    store.stop();
    let refused = run(&dir.0, &address, now, 5, 0).await;
    assert!(matches!(refused, Some(Err(MoveError::OtherMove { may_be_abandoned: true }))), "{refused:?}");

    let (_, other) = database();
    let (node, _) = try_served(&other, &clock).await.expect("it is served");
    node.stop().await;
    let refused = run(&dir.0, &other, now, 5, 0).await;
    assert!(matches!(refused, Some(Err(MoveError::NotEmpty))), "{refused:?}");

    let parts = |vault: Vault, to, from| Parts { from, to, vault, chance: chance(), now, rows_at_once: 5 };
    let refused = moving::run(parts(Vault::new(&[8; 32]), &other, &dir.0), |_| ()).await;
    assert!(matches!(refused, Err(MoveError::From(sqlite::OpenError::OtherKey(_)))), "{refused:?}");
    let nowhere = Dir::new("nowhere");
    let refused = moving::run(parts(Vault::new(&KEY), &other, &nowhere.0), |_| ()).await;
    assert!(matches!(refused, Err(MoveError::From(sqlite::OpenError::Unusable { .. }))), "{refused:?}");
    assert!(!nowhere.0.exists(), "no store was made");
    let gone = Address::parse("postgres://posthaste@127.0.0.1:1/none").expect("an address");
    let refused = moving::run(parts(Vault::new(&KEY), &gone, &dir.0), |_| ()).await;
    assert!(matches!(refused, Err(MoveError::Unreachable(_))), "{refused:?}");
    // It was not moved: it is served on.
    let (store, _) = embedded(&dir.0, &clock);
    store.stop();
}

/// An account that is closed is nobody's any more: what of it is left to be erased stays where it is, to the last row.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_over_of_an_account_that_is_being_erased() {
    let (dir, clock) = (Dir::new("erased"), ManualClock::default());
    let (name, address) = database();
    let (store, directory) = embedded(&dir.0, &clock);
    let [stays, closed] = fill(&store, &directory, &clock).await;
    // More than what goes in one step.
    let events = (0..600).map(|n| new_event(closed, n, None)).collect();
    assert!(store.accept(events).await.iter().all(Result::is_ok));
    let now = clock.now();
    let before = see(&store, &directory, stays, now).await;
    change(&store, Change::DeleteAccount(closed)).await;
    store.stop();
    let conn = rusqlite::Connection::open(dir.0.join("posthaste.db")).expect("it opens");
    let left = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("it is counted");
    assert_eq!(left("SELECT count(*) FROM erasures"), 1);
    assert!(left(&format!("SELECT count(*) FROM events WHERE account = {closed}")) > 0, "something is left of it");
    drop(conn);
    let moved = run(&dir.0, &address, now, 50, 0).await.expect("it ends").expect("it is moved");
    assert_eq!(moved.left_out, 1);
    let of_closed =
        "SELECT (SELECT count(*) FROM events WHERE account = $) + (SELECT count(*) FROM deliveries WHERE account = $)
        + (SELECT count(*) FROM hot WHERE account = $) + (SELECT count(*) FROM attempts WHERE account = $)
        + (SELECT count(*) FROM webhooks WHERE account = $) + (SELECT count(*) FROM webhooks_gone WHERE account = $)
        + (SELECT count(*) FROM audit WHERE account = $) + (SELECT count(*) FROM stats_minutes WHERE account = $)";
    assert_eq!(Cluster::shared().run_sql(&name, &of_closed.replace('$', &closed.to_string())), "0");
    let (store, directory) = try_served(&address, &clock).await.expect("it is served");
    assert_eq!(see(&store, &directory, stays, now).await, before);
    assert!(directory.read().account(&"other".parse().expect("an id")).is_none());
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_another_is_found_by_the_comparison() {
    let (dir, clock) = (Dir::new("another"), ManualClock::default());
    let (name, address) = database();
    let (store, directory) = embedded(&dir.0, &clock);
    fill(&store, &directory, &clock).await;
    store.stop();
    let now = clock.now();
    let parts = Parts { from: &dir.0, to: &address, vault: Vault::new(&KEY), chance: chance(), now, rows_at_once: 500 };
    let mut changed = false;
    let differs = moving::run(parts, |step| {
        if matches!(step, Step::Compared(..)) && !changed {
            changed = true;
            Cluster::shared().run_sql(&name, "UPDATE attempts SET record = overlay(record placing '\\x00' from 9)");
        }
    })
    .await;
    assert!(changed && matches!(differs, Err(MoveError::Differs { table: "attempts", .. })), "{differs:?}");
    let refused = try_served(&address, &clock).await.map(|_| ());
    assert!(matches!(refused, Err(postgres::OpenError::Unfinished)), "{refused:?}");
    // The way out that is named then.
    let parts = Parts { from: &dir.0, to: &address, vault: Vault::new(&KEY), chance: chance(), now, rows_at_once: 500 };
    moving::abandon(parts).await.expect("it is given up");
    let (store, _) = embedded(&dir.0, &clock);
    store.stop();
}
