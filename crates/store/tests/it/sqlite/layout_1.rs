//! A store of layout 1, as its release wrote it: opened by this release, all of it is found, and goes on.
//!
//! The fixture was made by that release's binary: three accounts, webhooks that are active, failing, paused by a person
//! and by a 410, rotated and deleted, and a `kill -9` while one request was under way.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::sqlite::support::{Dir, Open, limits, parts_with, settlement};
use domain::attempt::Reason;
use domain::delivery::{DeliveryStatus, Next};
use domain::event::Idempotency;
use domain::filter::DeliveryFilter;
use domain::id::{DeliveryId, EventId};
use domain::store::{Change, Changed, DeliveryQuery, Fact};
use domain::time::Timestamp;
use domain::webhook::{Held, PauseCause, Webhook};
use store::sqlite::{Engine, OpenError};

const FIXTURE: &str = include_str!("../../fixtures/layout_1.sql");
/// The key that the fixture was made with: `NOiYrYn8rNfgw++o8Mo3T7TplvKHOu/2I5te5iEd/N8=`.
const KEY: [u8; 32] = [
    52, 232, 152, 173, 137, 252, 172, 215, 224, 195, 239, 168, 240, 202, 55, 79, 180, 233, 150, 242, 135, 58, 239, 246,
    35, 155, 94, 230, 33, 29, 252, 223,
];
/// Two seconds after the `kill -9`.
const LATER: Timestamp = Timestamp(1_795_636_275_000_000);
const ACME: u32 = 2;
const GLOBEX: u32 = 3;

fn fixture() -> Dir {
    let dir = Dir::new();
    std::fs::create_dir(&dir.0).expect("a new directory");
    let conn = rusqlite::Connection::open(dir.database()).expect("it opens");
    conn.execute_batch(FIXTURE).expect("a dump of a whole store");
    dir
}

fn open(dir: &Dir) -> Open {
    let (parts, directory) = parts_with(&dir.0, &KEY, limits());
    let (engine, known) = Engine::open(parts).expect("it opens");
    Open { engine, known, directory }
}

fn webhook(open: &Open, name: &str) -> Webhook {
    let directory = open.directory.read();
    let found = directory.webhooks().find(|webhook| webhook.name == name);
    Webhook::clone(found.unwrap_or_else(|| panic!("{name} is missing")))
}

fn id(text: &str) -> DeliveryId {
    text.parse().expect("the id of a delivery")
}

#[test]
fn the_present_layout_is_made_of_it() {
    let dir = fixture();
    drop(open(&dir));
    let conn = rusqlite::Connection::open(dir.database()).expect("it opens");
    let shape = |conn: &rusqlite::Connection| -> BTreeSet<String> {
        let mut statement = conn
            .prepare("SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_schema")
            .expect("there is a schema");
        statement.query_map([], |row| row.get(0)).expect("it is read").map(|text| text.expect("a text")).collect()
    };
    let new = Dir::new();
    let (parts, _) = parts_with(&new.0, &KEY, limits());
    drop(Engine::open(parts).expect("a new store"));
    let made = rusqlite::Connection::open(new.database()).expect("it opens");
    assert_eq!(shape(&conn), shape(&made), "an upgraded store has the tables of a new one");
}

#[test]
fn accounts_webhooks_keys_and_secrets_are_found() {
    let dir = fixture();
    let open = open(&dir);
    let directory = open.directory.read();
    let accounts: Vec<_> = directory.accounts().map(|account| (account.number, account.name.clone())).collect();
    let named = |number, name: &str| (number, name.to_owned());
    assert_eq!(
        BTreeSet::from_iter(accounts),
        BTreeSet::from([named(1, "Default"), named(ACME, "Acme GmbH"), named(GLOBEX, "Globex")])
    );
    assert_eq!(directory.webhooks().count(), 6);
    assert_eq!(directory.keys_of(Some(ACME)).iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["producer"]);
    drop(directory);
    let good = webhook(&open, "CRM Sync");
    assert_eq!(good.secrets.current.reveal(), "whsec_+ixq1/vMiY4s8hAjjjVTXmIFViOjk6NYmfvoiB6pftE=");
    let previous = good.secrets.previous.as_ref().expect("its rotation overlaps");
    assert_eq!(previous.0.reveal(), "whsec_5b3RzXDzX3XSlyCFj+joA73HHHP88ykPyzwgGT9Plp8=");
    assert_eq!(good.headers.pairs(), [("X-Api-Key".to_owned(), "layout-1-header".to_owned())]);
    let paused = webhook(&open, "Paused");
    assert!(matches!(&paused.pause, Some(pause) if matches!(pause.cause, PauseCause::Key { .. })));
    assert_eq!((paused.rate_limit, paused.max_in_flight), (Some(5), Some(3)));
    assert_eq!(paused.timeout, Some(Duration::from_secs(2)));
    let gone = webhook(&open, "Gone");
    assert!(matches!(&gone.pause, Some(pause) if matches!(pause.cause, PauseCause::Gone)));
    assert_eq!(webhook(&open, "Fails").retry_schedule.expect("its own").delays(), [Duration::from_millis(100)]);
    let told = open.known.iter().filter(|fact| matches!(fact, Fact::Webhook(_))).count();
    assert_eq!(told, 6, "the dispatcher hears of each webhook");
}

#[test]
fn every_delivery_and_attempt_is_found() {
    let dir = fixture();
    let open = open(&dir);
    let reader = open.reader();
    let list = |account| {
        let query = DeliveryQuery::new(account, DeliveryFilter::default(), LATER);
        let rows = reader.deliveries(&query).expect("it is read").rows;
        rows.into_iter().map(|row| (row.id.to_string(), row.status, row.attempts_made)).collect::<Vec<_>>()
    };
    use DeliveryStatus::{Delivered, Failed, Held, Pending};
    let row = |id: &str, status, attempts| (id.to_owned(), status, attempts);
    assert_eq!(
        list(ACME),
        [
            row("dlv_3627s5v21e20001", Pending, 2),
            row("dlv_3627s5v21e20000", Delivered, 1),
            row("dlv_3627s5v1xmj0002", Held, 0),
            row("dlv_3627s5v1xmj0001", Pending, 2),
            row("dlv_3627s5v1xmj0000", Delivered, 1),
        ]
    );
    assert_eq!(
        list(GLOBEX),
        [
            row("dlv_3627s64kzhg0002", Pending, 0),
            row("dlv_3627s64kzhg0001", Failed, 2),
            row("dlv_3627s64kzhg0000", Held, 0),
            row("dlv_3627s60sq6m0001", Failed, 2),
            row("dlv_3627s60sq6m0000", Held, 0),
            row("dlv_3627s5v28aa0002", Delivered, 1),
            row("dlv_3627s5v28aa0001", Failed, 2),
            row("dlv_3627s5v28aa0000", Held, 1),
        ]
    );
    let (_, attempts) = reader.delivery(GLOBEX, id("dlv_3627s5v28aa0001"), LATER).expect("it is read").expect("there");
    assert_eq!(attempts.len(), 2);
    let answer = attempts[1].attempt.answer.as_ref().expect("it was answered");
    assert_eq!((answer.status, answer.body.as_slice()), (500, &b"receiver says 500"[..]));
    let event: EventId = "evt_3627s5v21e200".parse().expect("the id of an event");
    let event = reader.event(ACME, event).expect("it is read").expect("there");
    assert_eq!(&event.data[..], br#"{"domain": "competitor.com", "big": 12345678901234567890}"#);
    assert_eq!(&*event.event_type, "watchlist.domain_changed");
}

#[test]
fn what_waited_goes_on_and_what_was_held_is_held() {
    let dir = fixture();
    let mut open = open(&dir);
    // What was under way when the process was killed is told to the dispatcher, and made again.
    assert_eq!(open.told_fresh(), BTreeSet::from([id("dlv_3627s64kzhg0002")]));
    let due = open.reader().due(None, Timestamp(i64::MAX), 100).expect("it is read");
    let rows: Vec<_> = due.iter().map(|due| (due.delivery, due.attempts_made, due.retries_made, due.reason)).collect();
    assert_eq!(
        rows,
        [(id("dlv_3627s5v1xmj0001"), 2, 2, Reason::Retry), (id("dlv_3627s5v21e20001"), 2, 2, Reason::Retry)]
    );
    let retried = due[0];
    open.settle(LATER, settlement(retried.delivery, retried.webhook, 3, LATER, Next::Delivered));
    let fresh = id("dlv_3627s64kzhg0002");
    open.settle(LATER, settlement(fresh, webhook(&open, "Slow").number, 1, LATER, Next::Delivered));
    let reader = open.reader();
    let status = |account, id| reader.delivery(account, id, LATER).expect("it is read").expect("there");
    let (delivery, attempts) = status(ACME, retried.delivery);
    assert_eq!((delivery.status, attempts.len()), (DeliveryStatus::Delivered, 3));
    assert_eq!(status(GLOBEX, fresh).0.status, DeliveryStatus::Delivered);

    // Held ones are sent oldest first once their webhook is resumed; a failed one can be replayed.
    let mut gone = webhook(&open, "Gone");
    let number = gone.number;
    gone.pause = None;
    gone.version += 1;
    let resumed = Change::Resume { webhook: Box::new(gone), held: Held::Deliver, rate: None };
    assert!(open.change(LATER, resumed));
    let held = open.reader().backlog(number, None, Timestamp(i64::MAX), 100).expect("it is read");
    assert_eq!(
        held.iter().map(|due| due.delivery).collect::<Vec<_>>(),
        [id("dlv_3627s5v28aa0000"), id("dlv_3627s60sq6m0000"), id("dlv_3627s64kzhg0000")]
    );
    assert!(open.change(LATER, Change::Replay(GLOBEX, id("dlv_3627s5v28aa0001"))));
    assert!(!open.change(LATER, Change::Replay(GLOBEX, id("dlv_3627s5v28aa0002"))), "its webhook was deleted");
    let next = open.accept(LATER, 1)[0];
    assert!(next > "evt_3627s64kzhg00".parse().expect("an id"), "ids and timestamps go on after those given");
}

#[test]
fn idempotency_keys_are_remembered() {
    let dir = fixture();
    let open = open(&dir);
    let conn = rusqlite::Connection::open(dir.database()).expect("it opens");
    let mut statement = conn.prepare("SELECT key, request, event FROM idempotency").expect("there is a table");
    let keys = statement.query_map([], |row| {
        let idempotency = Idempotency { account: 0, key: row.get(0)?, request: row.get(1)? };
        Ok((idempotency, row.get::<_, Option<i64>>(2)?))
    });
    let mut answers = 0;
    for row in keys.expect("it is read") {
        let (idempotency, event) = row.expect("a row");
        let Ok(Some(Changed::Repeated(answer))) = open.reader().kept(&idempotency, LATER) else {
            panic!("a key is forgotten")
        };
        assert_eq!(answer.is_empty(), event.is_some());
        if event.is_none() {
            answers += 1;
            assert!(String::from_utf8_lossy(&answer).contains("key_sghy9erehneaf6gg2913"), "the sealed answer opens");
        }
        let other = Idempotency { request: [0; 32], ..idempotency };
        assert!(open.reader().kept(&other, LATER).is_err(), "another request is refused");
    }
    assert_eq!(answers, 1);
}

#[test]
fn the_sums_of_the_earlier_release_are_checked() {
    for (table, column) in [
        ("accounts", "name"),
        ("webhooks", "profile"),
        ("webhooks_gone", "id"),
        ("keys", "hint"),
        ("event_types", "name"),
    ] {
        let dir = fixture();
        let conn = rusqlite::Connection::open(dir.database()).expect("it opens");
        conn.execute_batch(&format!("UPDATE {table} SET {column} = {column} || ' '")).expect("it is written");
        drop(conn);
        let (parts, _) = parts_with(&dir.0, &KEY, limits());
        assert!(matches!(Engine::open(parts), Err(OpenError::Damaged { .. })), "{table}");
    }
}
