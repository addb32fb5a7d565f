//! The plans of the hot statements, on a table of a million rows: each goes by an index.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use domain::audit::{Act, Action, AuditQuery};
use domain::chronicle::Chronicle as _;
use domain::cluster::{Arrival, Arrivals as _};
use domain::delivery::Next;
use domain::event::{Idempotency, NewEvent};
use domain::filter::DeliveryFilter;
use domain::replay::{Replay, ReplayChange, Scope};
use domain::store::{Change, Store as _};
use domain::time::Timestamp;
use domain::webhook::Webhook;
use store::conformance::ManualClock;
use store::conformance::cluster::Cluster;

use super::support::{Node, eventually, settlement};

/// With these the server logs the plan of every statement.
const EXPLAINED: [&str; 3] = [
    "session_preload_libraries = 'auto_explain'",
    "auto_explain.log_min_duration = 0",
    "auto_explain.log_analyze = off",
];

/// A million deliveries wait, and much has happened in accounts that are followed; no statement of acceptance, settling, loading or
/// following reads more than it is about.
#[tokio::test(flavor = "multi_thread")]
async fn hot_statements_go_by_indexes() {
    let cluster = Cluster::start(&EXPLAINED);
    let (database, clock) = (cluster.database(), ManualClock::default());
    let name = database.rsplit('/').next().expect("a name").to_owned();
    let node = Node::start(&database, &clock).await;
    let webhook = node.new_webhook("wh_one").await;
    let now = node.now().0;
    cluster.run_sql(
        &name,
        &format!(
            "INSERT INTO hot (shard, webhook, event, place, account, type, lead, due_at, attempts_made, retries_made, reason,
                              test)
             SELECT n % 1024, 1000 + n % 5000, ({now} + n)::bigint << 11, 0, 7, 0, 0, {now} + 60000000 + n * 1000, 1, 1, 1,
                    false
             FROM generate_series(1, 1000000) AS n"
        ),
    );
    cluster.run_sql(
        &name,
        "INSERT INTO chronicle (account, tx, crc, items)
         SELECT account, tx::text::xid8, 0, '' FROM generate_series(1, 2000) AS account, generate_series(1, 100) AS tx",
    );
    cluster.run_sql(
        &name,
        "INSERT INTO followed SELECT n, now() + interval '1 hour' FROM generate_series(1000, 9000) AS n",
    );
    cluster.run_sql(&name, "ANALYZE hot, chronicle, followed");
    cluster.forget_log();
    assert_eq!(node.store.follow(vec![node.account]).await, Ok(vec![]));
    let mark = node.store.read(vec![node.account], None, None).await.expect("it is read").until;
    let accepted = node.accept().await;
    let due = node.store.due(None, Timestamp(now + 1), 10).await.expect("it is read");
    assert_eq!((due.len(), due[0].delivery.event), (1, accepted.id));
    assert_eq!(node.store.backlog(webhook, None, Timestamp(now + 1), 10).await.expect("it is read").len(), 1);
    let named = vec![Arrival { account: node.account, webhook, delivery: due[0].delivery }];
    let (waiting, events) = node.store.arrived(named).await.expect("it is read");
    assert_eq!((&waiting, events.len()), (&due, 1));
    assert_eq!(node.store.oldest_due(Timestamp(now), HashSet::new()).await.expect("it is read"), Some(Timestamp(now)));
    node.store.settle(vec![settlement(due[0], node.now(), Next::Delivered)]).await.expect("it is recorded");
    let news = node.store.read(vec![node.account], Some(mark), None).await.expect("it is read");
    assert_eq!((news.whole, news.happened.len()), (true, 2), "an acceptance, and the end of an attempt");
    node.store.stop().await;
    let log = cluster.log();
    for table in ["hot", "deliveries", "events", "attempts", "idempotency", "chronicle", "followed"] {
        let scans: Vec<_> = log
            .lines()
            .filter(|line| line.contains("Seq Scan on ") && line.contains(&format!(" on {table}")))
            .collect();
        assert!(scans.is_empty(), "{table}: {scans:?}");
    }
    for index in ["hot_pkey on hot", "hot_by_time on hot", "chronicle_pkey on chronicle", "followed_pkey on followed"] {
        assert!(log.contains(index), "{index} is used");
    }
}

/// What is of an account is looked up and changed by keys that begin with it, and what is of all goes by an index of its own: in tables
/// that many accounts have filled.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_account_go_by_keys_that_begin_with_it() {
    let cluster = Cluster::start(&EXPLAINED);
    let (database, clock) = (cluster.database(), ManualClock::default());
    let name = database.rsplit('/').next().expect("a name").to_owned();
    let node = Node::keeping(&database, &clock, Some(Duration::from_secs(3_600)), None).await;
    let other = Node::start(&database, &clock).await;
    let (webhook, gone) = (node.new_webhook("wh_one").await, node.new_webhook("wh_gone").await);
    let accepted = node.accept().await;
    let due = node.store.due(None, Timestamp(node.now().0 + 1), 10).await.expect("it is read");
    let ends = due.iter().map(|due| settlement(*due, node.now(), Next::Failed)).collect();
    node.store.settle(ends).await.expect("it is recorded");
    let (account, now) = (node.account, node.now().0);
    cluster.run_sql(
        &name,
        &format!(
            "INSERT INTO replays (number, id, account, state, page, skip, record, crc)
             SELECT n, 'rpl_' || n, 1000 + n % 500, 4, 0, 0, '', 0 FROM generate_series(1000, 60000) AS n;
             INSERT INTO replay_pages (account, replay, page, ids, crc)
             SELECT 1000 + n % 500, n, 0, '', 0 FROM generate_series(1000, 60000) AS n;
             INSERT INTO audit (key, account, action, actor, actor_name, target, detail, crc)
             SELECT (({now} - 100000 + n)::bigint << 11) + 1, n % 500 * (1000 + n % 500), '', '', '', '', '', 0
             FROM generate_series(1, 60000) AS n;
             INSERT INTO idempotency (account, key, request, at, crc)
             SELECT 1000 + n % 500, sha256(n::text::bytea), '', {now}, 0 FROM generate_series(1, 60000) AS n;
             INSERT INTO webhooks_gone (number, id, account, crc)
             SELECT n, 'wh_' || n, 1000 + n % 500, 0 FROM generate_series(1000, 60000) AS n;
             INSERT INTO cancellings (webhook, account, at, crc)
             SELECT n, 1000 + n % 500, {now}, 0 FROM generate_series(1000, 60000) AS n;
             INSERT INTO webhooks (number, id, account, version, profile, secret_version, secret, headers, crc)
             SELECT n, 'wh_' || n, 1000 + n % 500, 1, '', 1, '', '', 0 FROM generate_series(1000, 60000) AS n;
             SELECT setval('replays_number_seq', 100000), setval('webhooks_number_seq', 100000);
             ANALYZE replays, replay_pages, audit, idempotency, webhooks_gone, cancellings, webhooks"
        ),
    );
    cluster.forget_log();
    // Lists of the audit log: an account's, and the newest of all.
    node.change(Change::Note(Act::new(Action::SecretRevealed, None, "key_one"))).await.expect("it is noted");
    for of in [Some(account), None] {
        let query = AuditQuery { account: of, limit: 1, ..AuditQuery::default() };
        assert_eq!(node.store.audit(query).await.expect("it is listed").rows.len(), 1);
    }
    // Keys, new and known.
    let key = Idempotency { account, key: [7; 32], request: [1; 32] };
    for repeated in [false, true] {
        let event = NewEvent { idempotency: Some(key.clone()), ..node.event() };
        let answer = node.store.accept(vec![event]).await.remove(0).expect("it is answered");
        assert_eq!(answer.repeated, repeated);
    }
    assert!(node.store.kept(key).await.expect("it is read").is_some());
    // A replay, from its list to its end.
    let filter = DeliveryFilter { webhook: Some("wh_one".parse().expect("an id")), ..DeliveryFilter::default() };
    let scope = Scope { account, webhook: Some(webhook), filter, now: node.now(), sending: Vec::new() };
    let replay = Replay::new("rpl_one".parse().expect("an id"), &scope, None, "ops");
    let replay = node.store.prepare_replay(scope, replay).await.expect("it is listed");
    let number = replay.number;
    node.change(Change::BulkReplay(ReplayChange::Start(Box::new(replay)))).await.expect("it is started");
    let hand_over = ReplayChange::HandOver { account, replay: number, count: 1 };
    node.change(Change::BulkReplay(hand_over)).await.expect("it runs");
    let replayed = node.store.due(None, Timestamp(node.now().0 + 1), 10).await.expect("it is read");
    let replayed = replayed.into_iter().find(|due| due.delivery.event == accepted.id).expect("it was handed over");
    node.store.settle(vec![settlement(replayed, node.now(), Next::Delivered)]).await.expect("it is recorded");
    let logged = node.store.delivery(account, replayed.delivery, node.now()).await.expect("it is read");
    assert_eq!(logged.map(|(_, logged)| logged.len()), Some(2));
    let found = node.store.bulk_replay(account, "rpl_one".parse().expect("an id")).await.expect("it is read");
    assert!(found.is_some_and(|replay| replay.ended()));
    assert_eq!(node.store.bulk_replays(account, None, 9, false).await.expect("they are listed").rows.len(), 1);
    // Webhooks, here and as another node hears of them; and one that goes, until nothing of it is left.
    let next = Webhook { version: 2, ..Webhook::clone(&node.webhook(webhook)) };
    node.change(Change::PutWebhook(Box::new(next))).await.expect("the next version");
    eventually(async || (other.webhook(webhook).version == 2).then_some(())).await;
    node.new_webhook("wh_new").await;
    node.change(Change::DeleteWebhook(gone)).await.expect("it is there");
    clock.step(120_000_000);
    let left = format!("SELECT count(*) FROM cancellings WHERE account = {account}");
    eventually(async || (cluster.run_sql(&name, &left) == "0").then_some(())).await;
    // And all that the account has, with it.
    node.change(Change::DeleteAccount(account)).await.expect("it is there");
    eventually(async || (cluster.run_sql(&name, "SELECT count(*) FROM erasures") == "0").then_some(())).await;
    node.store.stop().await;
    other.store.stop().await;
    let log = cluster.log();
    // What is asked of all accounts together, and by this test.
    let of_all = [
        "FROM webhooks WHERE id = $1",
        "FROM replays WHERE state = 0",
        "FROM replays WHERE state >= 3",
        "FROM audit WHERE key < $1",
        "FROM idempotency WHERE at <= $1",
        "SELECT count(*) FROM",
    ];
    let mut seen = BTreeSet::new();
    for statement in log.split("Query Text:") {
        let of_one = statement.contains("account = $") || statement.contains("account = k.account");
        for table in ["webhooks", "webhooks_gone", "cancellings", "replays", "replay_pages", "audit", "idempotency"] {
            let scans = |line: &str| {
                let (scan, of) = line.split_once(" on ").unwrap_or_default();
                scan.contains("Scan") && of.split_whitespace().next() == Some(table)
            };
            if !statement.lines().any(scans) {
                continue;
            }
            seen.insert((table, of_one));
            assert!(!statement.contains("Seq Scan on"), "it reads a whole table: {statement}");
            let begins = |line: &str| line.contains("Index Cond: ") && line.contains("(account = ");
            if of_one {
                assert!(statement.lines().any(begins), "its key does not begin with the account: {statement}");
            } else {
                assert!(of_all.iter().any(|known| statement.contains(known)), "it names no account: {statement}");
            }
        }
    }
    assert_eq!(seen.iter().filter(|(_, of_one)| *of_one).count(), 7, "each is read: {seen:?}");
    assert_eq!(seen.len(), 12, "and some as a whole: {seen:?}");
}
