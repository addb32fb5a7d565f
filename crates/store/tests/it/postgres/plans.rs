//! The plans of the hot statements, on a table of a million rows: each goes by an index.

use domain::chronicle::Chronicle as _;
use domain::cluster::{Arrival, Arrivals as _};
use domain::delivery::Next;
use domain::store::Store as _;
use domain::time::Timestamp;
use store::conformance::ManualClock;
use store::conformance::cluster::Cluster;

use super::support::{Node, settlement};

/// A million deliveries wait, and much has happened in accounts that are followed; no statement of acceptance, settling, loading or
/// following reads more than it is about.
#[tokio::test(flavor = "multi_thread")]
async fn hot_statements_go_by_indexes() {
    let cluster = Cluster::start(&[
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = off",
    ]);
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
    assert_eq!(node.store.oldest_due(Timestamp(now)).await.expect("it is read"), Some(Timestamp(now)));
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
