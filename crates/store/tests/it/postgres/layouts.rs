//! Databases of earlier layouts: whoever starts first brings them up, and nothing of what they hold is lost to those who look for it.

use domain::audit::{AuditQuery, By, Entry};
use domain::delivery::{Due, Next};
use domain::event::{Idempotency, NewEvent};
use domain::filter::DeliveryFilter;
use domain::id::DeliveryId;
use domain::key::Account;
use domain::replay::{Replay, ReplayChange, Scope, State};
use domain::store::{AcceptError, Accepted, Change, ChangeError, Changed, DeliveryQuery, Fact, Keep, Store as _};
use domain::time::{Clock as _, Timestamp};
use domain::webhook::Webhook;
use store::conformance::ManualClock;
use store::postgres::{Address, OpenError, migrate};

use super::support::{Base, Node, eventually, settlement};

/// What layout 3 has other keys for, and the columns of it that layouts 1 and 2 had, as they had them.
const TABLES: [(&str, &str); 7] = [
    ("webhooks", "*"),
    ("webhooks_gone", "*"),
    ("cancellings", "*"),
    ("replays", "*"),
    ("replay_pages", "replay, page, ids, crc"),
    (
        "audit",
        "key, nullif(account, 0), action, actor, actor_id, actor_name, target, target_name, request, address, detail, crc",
    ),
    ("idempotency", "key, request, at, event, lead, deliveries, answer, crc"),
];

impl Base {
    async fn bring_up(&self, now: Timestamp) -> Result<(), OpenError> {
        migrate(&Address::parse(&self.0).expect("an address"), now).await
    }

    /// Makes a database of the present layout one of an earlier: with its tables, and their rows as that wrote them.
    fn bring_down(&self, layout: u32) {
        let first = include_str!("../../../src/postgres/schema_1.sql");
        let lines: Vec<_> = first.lines().filter(|line| !line.starts_with("--")).collect();
        let mut sql = vec!["BEGIN; CREATE SCHEMA kept".to_owned()];
        sql.extend(TABLES.map(|(table, _)| format!("ALTER TABLE {table} SET SCHEMA kept")));
        let of_table = |statement: &&str, table: &str| {
            statement.trim_start().starts_with(&format!("CREATE TABLE {table} ("))
                || statement.contains(&format!(" ON {table} ("))
        };
        for statement in lines.join("\n").split(';') {
            if TABLES.iter().any(|(table, _)| of_table(&statement, table)) {
                sql.push(statement.to_owned());
            }
        }
        for (table, columns) in TABLES {
            sql.push(format!("INSERT INTO {table} SELECT {columns} FROM kept.{table}"));
        }
        for table in ["webhooks", "replays"] {
            sql.push(format!("SELECT setval(pg_get_serial_sequence('{table}', 'number'), max(number)) FROM {table}"));
        }
        sql.push("DROP SCHEMA kept CASCADE".to_owned());
        if layout < 2 {
            sql.push("DROP TABLE followed, chronicle".to_owned());
        }
        sql.push(format!("UPDATE layout SET number = {layout}; COMMIT"));
        self.sql(&sql.join(";\n"));
    }
}

/// What is found in a database.
#[derive(Debug, PartialEq)]
struct Seen {
    webhooks: Vec<String>,
    /// The deliveries' ids and webhooks of the first account.
    deliveries: Vec<(DeliveryId, String)>,
    replay: Replay,
    /// The entries of each account, and all.
    audit: [Vec<Entry>; 3],
}

async fn see(node: &Node, accounts: [u32; 2]) -> Seen {
    let mut webhooks: Vec<_> = node.directory.read().webhooks().map(|it| format!("{it:?}")).collect();
    webhooks.sort();
    let query = DeliveryQuery::new(accounts[0], DeliveryFilter::default(), node.now());
    let listed = node.store.deliveries(query).await.expect("they are listed").rows;
    let replay = node.store.bulk_replay(accounts[0], "rpl_one".parse().expect("an id")).await;
    let entries = async |account| {
        let query = AuditQuery { account, limit: 100, ..AuditQuery::default() };
        node.store.audit(query).await.expect("it is listed").rows
    };
    Seen {
        webhooks,
        deliveries: listed.into_iter().map(|it| (it.id, it.webhook.to_string())).collect(),
        replay: replay.expect("it is read").expect("it is there"),
        audit: [entries(Some(accounts[0])).await, entries(Some(accounts[1])).await, entries(None).await],
    }
}

const fn key(account: u32, key: u8) -> Idempotency {
    Idempotency { account, key: [key; 32], request: [1; 32] }
}

/// Posts an event of the account with a key; the request is told by a byte.
async fn post(node: &Node, account: u32, number: u8, request: u8) -> Result<Accepted, AcceptError> {
    let idempotency = Some(Idempotency { request: [request; 32], ..key(account, number) });
    node.store.accept(vec![NewEvent { account, idempotency, ..node.event() }]).await.remove(0)
}

async fn new_account(node: &Node, id: &str) -> u32 {
    let account = Account::new(id.parse().expect("an id"), id, node.now());
    node.change(Change::PutAccount(account)).await.expect("a new account");
    node.directory.read().account(&id.parse().expect("an id")).expect("it is there").number
}

/// A change of the platform's own, and one of an account, each with a key and an answer.
fn kept_changes(accounts: [u32; 2]) -> [(Change, Keep); 2] {
    let note = |account, target: &str| {
        Change::Note(domain::audit::Act::new(domain::audit::Action::SecretRevealed, account, target))
    };
    let keep = |account, number, answer: &[u8]| Keep { idempotency: key(account, number), answer: answer.to_vec() };
    [(note(None, "key_one"), keep(0, 3, b"ours")), (note(Some(accounts[1]), "wh_two"), keep(accounts[1], 4, b"theirs"))]
}

async fn upgrades_from(layout: u32) {
    let (base, clock) = (Base::new(), ManualClock::default());
    let node = Node::start(&base.0, &clock).await;
    let accounts = [node.account, new_account(&node, "acme").await];
    let webhook = node.new_webhook("wh_one").await;
    let gone = node.new_webhook("wh_gone").await;
    let two = Webhook {
        account: accounts[1],
        account_id: "acme".parse().expect("an id"),
        ..Webhook::clone(&node.webhook(webhook))
    };
    let two = Webhook { id: "wh_two".parse().expect("an id"), number: 0, ..two };
    node.change(Change::PutWebhook(Box::new(two))).await.expect("a new webhook");
    let due = |event, webhook, place| Due {
        delivery: DeliveryId { event, place },
        webhook,
        due_at: node.now(),
        attempts_made: 0,
        retries_made: 0,
        reason: domain::attempt::Reason::First,
    };
    for _ in 0..3 {
        clock.step(1_000);
        let event = node.accept().await.id;
        let ends = [due(event, webhook, 0), due(event, gone, 1)].map(|due| settlement(due, node.now(), Next::Failed));
        node.store.settle(ends.to_vec()).await.expect("it is recorded");
    }
    node.change(Change::DeleteWebhook(gone)).await.expect("it is there");
    let filter = DeliveryFilter { webhook: Some("wh_one".parse().expect("an id")), ..DeliveryFilter::default() };
    let scope = Scope { account: accounts[0], webhook: Some(webhook), filter, now: node.now(), sending: Vec::new() };
    let replay = Replay::new("rpl_one".parse().expect("an id"), &scope, None, "ops");
    let replay = node.store.prepare_replay(scope, replay).await.expect("it is listed");
    let number = replay.number;
    node.change(Change::BulkReplay(ReplayChange::Start(Box::new(replay)))).await.expect("it is started");
    let brief = new_account(&node, "brief").await;
    node.change(Change::DeleteAccount(brief)).await.expect("it is there");
    let posted = [post(&node, accounts[0], 1, 1).await, post(&node, accounts[1], 2, 1).await];
    for (change, keep) in kept_changes(accounts) {
        assert_eq!(node.store.change(change, By::us(), Some(keep)).await, Ok(Changed::Made));
    }
    let before = see(&node, accounts).await;
    assert!(before.audit.iter().all(|entries| entries.len() > 1), "{:?}", before.audit);
    assert!(before.audit[2].iter().any(|entry| entry.act.account.is_none()), "{:?}", before.audit[2]);
    assert!(before.deliveries.iter().any(|(_, webhook)| webhook == "wh_gone"), "{:?}", before.deliveries);
    node.store.stop().await;
    base.bring_down(layout);
    for (table, _) in TABLES {
        assert_ne!(base.sql(&format!("SELECT count(*) FROM {table}")), "0", "{table} has rows");
    }

    let nodes: Vec<_> = (0..4).map(|_| tokio::spawn(migrated(base.0.clone(), clock.now()))).collect();
    for node in nodes {
        node.await.expect("it does not panic").expect("it is brought up");
    }
    assert_eq!(base.sql("SELECT number FROM layout"), "3");
    let node = Node::start(&base.0, &clock).await;
    assert_eq!(see(&node, accounts).await, before);
    for (account, posted) in accounts.into_iter().zip(posted) {
        let number = if account == accounts[0] { 1 } else { 2 };
        let again = post(&node, account, number, 1).await.expect("it is answered");
        assert_eq!(Ok((again.id, again.repeated)), posted.map(|first| (first.id, true)));
        assert_eq!(post(&node, account, number, 2).await, Err(AcceptError::OtherRequest));
        assert!(!post(&node, account, number + 10, 1).await.expect("it is accepted").repeated);
        assert!(post(&node, account, number + 10, 1).await.expect("it is answered").repeated);
    }
    for (change, keep) in kept_changes(accounts) {
        let repeated = Changed::Repeated(keep.answer.clone());
        assert_eq!(node.store.kept(keep.idempotency.clone()).await, Ok(Some(repeated.clone())));
        assert_eq!(node.store.change(change, By::us(), Some(keep)).await, Ok(repeated));
    }
    // All of it can be changed.
    let next = Webhook { version: 2, ..Webhook::clone(&node.webhook(webhook)) };
    node.change(Change::PutWebhook(Box::new(next))).await.expect("the next version");
    assert!(node.new_webhook("wh_new").await > node.number("wh_two").expect("it is there"));
    let _before = node.told.take();
    let hand_over = ReplayChange::HandOver { account: accounts[0], replay: number, count: 2 };
    node.change(Change::BulkReplay(hand_over)).await.expect("it runs");
    assert_eq!(node.told.take().iter().filter(|fact| matches!(fact, Fact::Replayed(_))).count(), 2);
    let elsewhere = ReplayChange::Stop { account: accounts[1], replay: number, by: "ops".to_owned() };
    assert_eq!(node.change(Change::BulkReplay(elsewhere)).await.map(|_| ()), Err(ChangeError::NotFound));
    let stop = ReplayChange::Stop { account: accounts[0], replay: number, by: "ops".to_owned() };
    node.change(Change::BulkReplay(stop)).await.expect("it runs");
    assert!(matches!(see(&node, accounts).await.replay.state, State::Stopped { .. }));
    assert_eq!(base.sql("SELECT count(*) FROM replay_pages"), "0");
    // New entries come after those that there were.
    let entries = see(&node, accounts).await.audit;
    assert!(entries.iter().all(|entries| entries.windows(2).all(|pair| pair[0].id > pair[1].id)), "{entries:?}");
    node.change(Change::DeleteWebhook(webhook)).await.expect("it is there");
    // What goes by itself goes.
    clock.step(120_000_000);
    eventually(async || (base.sql("SELECT count(*) FROM cancellings") == "0").then_some(())).await;
    clock.step(86_400_000_000);
    eventually(async || (base.sql("SELECT count(*) FROM idempotency WHERE account = -1") == "0").then_some(())).await;
    node.store.stop().await;
}

async fn migrated(database: String, now: Timestamp) -> Result<(), OpenError> {
    Base(database).bring_up(now).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_layout_is_brought_up() {
    upgrades_from(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_layout_is_brought_up() {
    upgrades_from(2).await;
}

/// Nodes that run write by the keys of their layout: so the next one waits until they are gone. One that has left does not count.
#[tokio::test(flavor = "multi_thread")]
async fn no_layout_is_brought_up_under_nodes_that_serve_it() {
    let (base, now) = (Base::new(), ManualClock::default().now());
    base.bring_up(now).await.expect("its tables are made");
    base.bring_down(2);
    base.sql(
        "INSERT INTO nodes (id, name, version, since, heard, until, leaving, in_flight, known)
         SELECT n, 'old', '0', now(), now(), now() + interval '1 minute', n = 3, 0, 0 FROM generate_series(1, 3) AS n",
    );
    let refused = base.bring_up(now).await;
    assert!(matches!(refused, Err(OpenError::Served { nodes: 2 })), "{refused:?}");
    assert_eq!(base.sql("SELECT number FROM layout"), "2");
    base.sql("UPDATE nodes SET leaving = true WHERE id = 1; UPDATE nodes SET until = now() WHERE id = 2");
    base.bring_up(now).await.expect("nobody serves it");
    // From then on nodes come and go.
    base.sql("UPDATE nodes SET until = now() + interval '1 minute', leaving = false");
    base.bring_up(now).await.expect("there is nothing to do");
}
