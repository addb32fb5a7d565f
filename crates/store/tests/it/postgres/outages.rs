//! The database is away, and comes back: what was acknowledged is there, what ended is recorded once, and nobody has to start
//! again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use domain::cluster::{Beat, Cluster as _, Report};
use domain::delivery::{Due, Next};
use domain::shard::{Holdings, Terms};
use domain::store::{AcceptError, NoSpace, Store as _, StoreError};
use domain::time::Timestamp;
use store::conformance::ManualClock;
use store::conformance::cluster::Cluster;
use store::postgres::{Identity, Leases};

use super::support::{Node, eventually, retry, settlement};

/// After how long what was refused is posted again.
const PAUSE: Duration = Duration::from_millis(5);

/// Settings by which commits wait for a standby that is not there, and for none.
const MISSING_STANDBY: &str = "SET synchronous_standby_names = 'nobody'";
const NO_STANDBY: &str = "RESET synchronous_standby_names";

/// Changes a setting of the server, which reads it in a moment.
fn alter(cluster: &Cluster, change: &str) {
    cluster.run_sql("postgres", &format!("ALTER SYSTEM {change}"));
    cluster.run_sql("postgres", "SELECT pg_reload_conf()");
}

/// A node that has told of five deliveries, which are due; and the name of its database.
async fn with_five_due(cluster: &Cluster, clock: &ManualClock) -> (String, Arc<Node>, Vec<Due>) {
    let database = cluster.database();
    let name = database.rsplit('/').next().expect("a name").to_owned();
    let node = Arc::new(Node::start(&database, clock).await);
    node.new_webhook("wh_one").await;
    for _ in 0..5 {
        node.accept().await;
    }
    let due = node.store.due(None, Timestamp(i64::MAX), 100).await.expect("it is read");
    assert!(!node.told.take().is_empty(), "what was accepted");
    (name, node, due)
}

/// A crash of the server under load loses nothing that was acknowledged; the store goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_server_loses_nothing() {
    let cluster = Cluster::start(&[]);
    let clock = ManualClock::default();
    let node = Arc::new(Node::start(&cluster.database(), &clock).await);
    node.new_webhook("wh_one").await;
    let stop = Arc::new(AtomicBool::new(false));
    let posting = tokio::spawn({
        let (node, stop) = (Arc::clone(&node), Arc::clone(&stop));
        async move {
            let (mut acknowledged, mut refused) = (Vec::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                for answer in node.store.accept(vec![node.event(); 5]).await {
                    match answer {
                        Ok(accepted) => acknowledged.push(accepted.id),
                        Err(AcceptError::Store(StoreError::Away(_))) => {
                            refused += 1;
                            tokio::time::sleep(PAUSE).await;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                tokio::task::yield_now().await;
            }
            (acknowledged, refused)
        }
    });
    for _ in 0..3 {
        let before = node.store.figures().commits.load(Ordering::Relaxed);
        let commits = || node.store.figures().commits.load(Ordering::Relaxed);
        eventually(async || (commits() > before + 20).then_some(())).await;
        tokio::task::block_in_place(|| cluster.crash());
    }
    let before = node.store.figures().commits.load(Ordering::Relaxed);
    eventually(async || (node.store.figures().commits.load(Ordering::Relaxed) > before + 20).then_some(())).await;
    stop.store(true, Ordering::Relaxed);
    let (acknowledged, refused) = posting.await.expect("it does not panic");
    assert!(refused > 0, "the server was away");
    let found = node.load(&acknowledged).await.expect("it is read");
    assert_eq!(found.len(), acknowledged.len(), "every acknowledged event is there");
    let waiting = node.store.due(None, Timestamp(i64::MAX), usize::MAX >> 1).await.expect("it is read");
    assert!(waiting.len() >= acknowledged.len());
    println!("{} acknowledged and there after 3 crashes, {refused} refused", acknowledged.len());
    node.store.stop().await;
}

/// The server dies and its synchronous standby takes its place: the node follows, and nothing that was acknowledged is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_is_followed() {
    let primary = Cluster::start(&[]);
    let database = primary.database();
    let name = database.rsplit('/').next().expect("a name").to_owned();
    let standby = primary.standby();
    let both = format!("postgres://posthaste@{},{}/{name}", primary.host(), standby.host());
    let clock = ManualClock::default();
    let node = Node::start(&both, &clock).await;
    node.new_webhook("wh_one").await;
    let mut acknowledged = Vec::new();
    for _ in 0..50 {
        acknowledged.push(node.accept().await.id);
    }
    tokio::task::block_in_place(|| {
        primary.stop();
        standby.promote();
    });
    let after = eventually(async || node.store.accept(vec![node.event()]).await.remove(0).ok()).await;
    acknowledged.push(after.id);
    let found = node.load(&acknowledged).await.expect("it is read");
    assert_eq!(found.len(), acknowledged.len(), "every acknowledged event is there");
    let due = node.store.due(None, Timestamp(i64::MAX), 100).await.expect("it is read");
    let ends = due.iter().map(|due| settlement(*due, node.now(), Next::Delivered)).collect();
    node.store.settle(ends).await.expect("it is recorded");
    assert_eq!(standby.run_sql(&name, "SELECT count(*) FROM deliveries"), "51");
    node.store.stop().await;
}

/// The server hangs, without closing a connection, and its standby takes its place: the node finds that out, and follows.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_left_for_its_standby() {
    let primary = Cluster::start(&[]);
    let name = primary.database().rsplit('/').next().expect("a name").to_owned();
    let standby = primary.standby();
    let both = format!("postgres://posthaste@{},{}/{name}?connect_timeout=1", primary.host(), standby.host());
    let clock = ManualClock::default();
    let node = Node::start(&both, &clock).await;
    let before = node.accept().await.id;
    let _hangs = tokio::task::block_in_place(|| {
        let hangs = primary.freeze();
        standby.promote();
        hangs
    });
    let refused = node.store.accept(vec![node.event()]).await.remove(0);
    assert!(matches!(refused, Err(AcceptError::Store(StoreError::Away(_)))), "{refused:?}");
    let after = eventually(async || node.store.accept(vec![node.event()]).await.remove(0).ok()).await.id;
    assert_eq!(node.load(&[before, after]).await.expect("it is read").len(), 2);
    node.store.stop().await;
}

/// A database that takes no writes for a while is away until it does, and not now and then.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_writes_is_away() {
    let cluster = Cluster::start(&[]);
    let database = cluster.database();
    let name = database.rsplit('/').next().expect("a name").to_owned();
    let clock = ManualClock::default();
    let node = Node::start(&database, &clock).await;
    let lost = || node.store.figures().connections_lost.load(Ordering::Relaxed);
    let read_only = |on: bool| {
        let change = if on { "SET default_transaction_read_only = on" } else { "RESET default_transaction_read_only" };
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'posthaste'";
        cluster.run_sql("postgres", &format!("ALTER DATABASE {name} {change}"));
        cluster.run_sql("postgres", end);
    };
    tokio::task::block_in_place(|| read_only(true));
    eventually(async || (lost() > 0).then_some(())).await;
    for _ in 0..20 {
        let refused = node.store.accept(vec![node.event()]).await.remove(0);
        assert!(matches!(refused, Err(AcceptError::Store(StoreError::Away(_)))), "{refused:?}");
        tokio::time::sleep(PAUSE * 10).await;
    }
    assert!(node.store.ready().await.is_err(), "nothing can be accepted");
    assert_eq!(lost(), 1, "it was not back in between");
    tokio::task::block_in_place(|| read_only(false));
    eventually(async || node.store.accept(vec![node.event()]).await.remove(0).ok()).await;
    assert_eq!(node.store.ready().await, Ok(()));
    node.store.stop().await;
}

/// A commit waits for a standby that does not answer: whoever asked is told so in time, and not left without an answer.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_standby_is_told_so() {
    let cluster = Cluster::start(&[]);
    let clock = ManualClock::default();
    let node = Node::with(&cluster.database(), &clock, |settings| {
        settings.limits.answered_within = Duration::from_millis(200);
    })
    .await;
    node.new_webhook("wh_one").await;
    for change in [MISSING_STANDBY, NO_STANDBY] {
        let before = node.store.accept(vec![node.event()]).await.remove(0);
        tokio::task::block_in_place(|| alter(&cluster, change));
        if change.starts_with("SET") {
            assert!(before.is_ok(), "{before:?}");
            // The server reads its settings in a moment.
            let unanswered = async || {
                let answer = node.store.accept(vec![node.event()]).await.remove(0);
                matches!(answer, Err(AcceptError::Store(StoreError::Unanswered))).then_some(())
            };
            eventually(unanswered).await;
        } else {
            assert!(matches!(before, Err(AcceptError::Store(StoreError::Unanswered))), "{before:?}");
        }
    }
    eventually(async || node.store.accept(vec![node.event()]).await.remove(0).ok()).await;
    node.store.stop().await;
}

/// A node of whose writes, or of whose leases, nothing is committed is not ready, and says why; it is by itself once something is.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_commits_do_not_return_is_not_ready() {
    let cluster = Cluster::start(&[]);
    let node = Node::with(&cluster.database(), &ManualClock::default(), |settings| {
        settings.limits.answered_within = Duration::from_millis(200);
    })
    .await;
    node.new_webhook("wh_one").await;
    let identity = Identity { id: 7, name: "node".to_owned(), version: "1".to_owned() };
    let terms = Terms::for_deadline(Duration::from_secs(5));
    let leases = Leases::new(&node.address, identity, terms, Holdings::default(), |_| {}).expect("leases");
    let beat = async || {
        let beat = Beat { number: 2, want: 1024, patient: false, release: Vec::new(), leaving: false };
        leases.beat(beat, Report::default()).await.map(|seen| seen.held.len())
    };
    assert_eq!(beat().await, Ok(1024));
    let accept = async || node.store.accept(vec![node.event()]).await.remove(0).map(drop);
    for writes in [true, false] {
        assert_eq!(node.store.ready().await, Ok(()));
        tokio::task::block_in_place(|| alter(&cluster, MISSING_STANDBY));
        // The server reads its settings in a moment.
        if writes {
            let unanswered = Err(AcceptError::Store(StoreError::Unanswered));
            eventually(async || (accept().await == unanswered).then_some(())).await;
        } else {
            let refused = eventually(async || beat().await.err()).await;
            assert_eq!(refused, StoreError::Stuck);
            assert_eq!(beat().await, Err(StoreError::Stuck), "the one before it holds the rows");
        }
        eventually(async || (node.store.ready().await == Err(StoreError::Stuck)).then_some(())).await;
        tokio::task::block_in_place(|| alter(&cluster, NO_STANDBY));
        if !writes {
            assert_eq!(eventually(async || beat().await.ok()).await, 1024);
        }
        eventually(async || node.store.ready().await.ok()).await;
    }
    accept().await.expect("it is accepted");
    node.store.stop().await;
}

/// The database's disk is full: what was sent is known to its node alone, which keeps it until it can be recorded, and refuses what is new.
#[tokio::test(flavor = "multi_thread")]
async fn ends_wait_for_space() {
    let cluster = Cluster::start(&[]);
    let clock = ManualClock::default();
    let (name, node, due) = with_five_due(&cluster, &clock).await;
    let full = "CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS
                    'BEGIN RAISE EXCEPTION ''No space left on device'' USING ERRCODE = ''53100''; END';
                CREATE TRIGGER no_space BEFORE INSERT ON deliveries FOR EACH ROW EXECUTE FUNCTION no_space();
                CREATE TRIGGER no_space BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION no_space()";
    tokio::task::block_in_place(|| cluster.run_sql(&name, full));
    let ends = |due: &[Due]| due.iter().map(|due| settlement(*due, node.now(), Next::Delivered)).collect::<Vec<_>>();
    let settling = [ends(&due[..4]), ends(&due[4..])].map(|ends| {
        let node = Arc::clone(&node);
        tokio::spawn(async move { node.store.settle(ends).await })
    });
    let blocked = || node.store.figures().blocked.load(Ordering::Relaxed);
    eventually(async || blocked().then_some(())).await;
    for _ in 0..20 {
        let refused = node.store.accept(vec![node.event()]).await.remove(0);
        assert_eq!(refused, Err(AcceptError::Store(StoreError::NoSpace(NoSpace::Disk))));
    }
    assert!(settling.iter().all(|settling| !settling.is_finished()), "the ends wait");
    assert_eq!(node.told.take().len(), 0, "and nothing is told of them, by which they would be sent again");
    let drop = "DROP TRIGGER no_space ON deliveries; DROP TRIGGER no_space ON events";
    tokio::task::block_in_place(|| cluster.run_sql(&name, drop));
    for settling in settling {
        assert_eq!(settling.await.expect("it does not panic"), Ok(()));
    }
    assert_eq!(cluster.run_sql(&name, "SELECT count(*), sum(attempts_made) FROM deliveries"), "5|5");
    assert_eq!(node.store.due(None, Timestamp(i64::MAX), 100).await, Ok(Vec::new()));
    node.accept().await;
    eventually(async || (!blocked()).then_some(())).await;
    node.store.stop().await;
}

/// Ends of attempts wait while the database is away, and each is recorded once when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn ends_wait_for_the_database() {
    let cluster = Cluster::start(&[]);
    let clock = ManualClock::default();
    let database = cluster.database();
    let node = Arc::new(Node::start(&database, &clock).await);
    node.new_webhook("wh_one").await;
    let mut accepted = Vec::new();
    for _ in 0..40 {
        accepted.push(node.accept().await.id);
    }
    let due = node.store.due(None, Timestamp(i64::MAX), 100).await.expect("it is read");
    assert_eq!(due.len(), 40);
    tokio::task::block_in_place(|| cluster.stop());
    let settling: Vec<_> = due
        .iter()
        .enumerate()
        .map(|(place, &due)| {
            let node = Arc::clone(&node);
            let next =
                if place % 2 == 0 { Next::Delivered } else { retry(due, node.now().plus(Duration::from_secs(9))) };
            let settlement = settlement(due, node.now(), next);
            tokio::spawn(async move { node.store.settle(vec![settlement]).await })
        })
        .collect();
    let meanwhile = node.store.accept(vec![node.event()]).await;
    assert!(
        matches!(meanwhile[..], [Err(AcceptError::Store(StoreError::Away(_)))]),
        "nothing is accepted: {meanwhile:?}"
    );
    tokio::task::block_in_place(|| cluster.start_again());
    for settled in settling {
        assert_eq!(settled.await.expect("it does not panic"), Ok(()));
    }
    let left = node.store.due(None, Timestamp(i64::MAX), 100).await.expect("it is read");
    assert_eq!(left.len(), 20);
    assert!(left.iter().all(|due| due.attempts_made == 1 && due.retries_made == 1));
    let name = database.rsplit('/').next().expect("a name");
    assert_eq!(
        cluster.run_sql(name, "SELECT count(*) FROM deliveries WHERE attempts_made = 1 AND record IS NOT NULL"),
        "20"
    );
    assert_eq!(cluster.run_sql(name, "SELECT count(*) FROM attempts"), "20");
    node.store.stop().await;
}

/// A connection that ends in the middle of commits: whatever was committed then is recorded once.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_whose_commit_is_unknown_is_recorded_once() {
    let cluster = Cluster::start(&[]);
    let clock = ManualClock::default();
    let database = cluster.database();
    let name = database.rsplit('/').next().expect("a name").to_owned();
    let node = Arc::new(Node::start(&database, &clock).await);
    node.new_webhook("wh_one").await;
    let events = node.store.accept(vec![node.event(); 400]).await;
    assert!(events.iter().all(Result::is_ok));
    let due = node.store.due(None, Timestamp(i64::MAX), 400).await.expect("it is read");
    let recorded = Arc::new(AtomicUsize::new(0));
    let settling = tokio::spawn({
        let (node, recorded) = (Arc::clone(&node), Arc::clone(&recorded));
        async move {
            for due in due.chunks(4) {
                let ends = due.iter().map(|due| settlement(*due, node.now(), Next::Delivered)).collect();
                node.store.settle(ends).await.expect("it is recorded");
                recorded.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let killing = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let (mut killed, mut seen) = (0, usize::MAX);
            while !settling.is_finished() {
                // Where nothing was recorded since, a kill would only keep the node from connecting.
                let now = recorded.load(Ordering::Relaxed);
                if now == seen {
                    std::thread::yield_now();
                    continue;
                }
                seen = now;
                cluster.run_sql(
                    &name,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE application_name = 'posthaste' AND datname = current_database()",
                );
                killed += 1;
            }
            killed
        });
        tokio::task::block_in_place(|| killer.join().expect("it does not panic"))
    });
    settling.await.expect("it does not panic");
    let figures = "SELECT count(*), count(*) FILTER (WHERE state = 1 AND attempts_made = 1) FROM deliveries";
    assert_eq!(cluster.run_sql(&name, figures), "400|400", "after {killing} times");
    assert_eq!(cluster.run_sql(&name, "SELECT count(*) FROM hot"), "0");
    assert_eq!(cluster.run_sql(&name, "SELECT count(*) FROM attempts"), "0");
    node.store.stop().await;
}

/// A day's table is missing, and no node can make it yet: what was sent is kept, nothing is told by which it would be sent again,
/// and the store says that it is not ready. Once a node looks, the table is made, and each end is recorded once.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_missing_is_made_and_ends_wait_for_it() {
    let cluster = Cluster::start(&[]);
    let clock = ManualClock::default();
    let (name, node, due) = with_five_due(&cluster, &clock).await;
    // No node makes it for a while.
    let day = node.now().0.div_euclid(86_400_000_000);
    let (table, no_making) = (
        format!("deliveries_{day}"),
        "CREATE FUNCTION no_making() RETURNS event_trigger LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''not now'' USING ERRCODE = ''42501''; END';
        CREATE EVENT TRIGGER no_making ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION no_making()",
    );
    tokio::task::block_in_place(|| {
        cluster.run_sql(&name, no_making);
        cluster.run_sql(&name, &format!("ALTER TABLE deliveries DETACH PARTITION {table}; DROP TABLE {table}"));
    });
    let ends: Vec<_> = due.iter().map(|due| settlement(*due, node.now(), Next::Delivered)).collect();
    let settling = tokio::spawn({
        let (node, ends) = (Arc::clone(&node), ends);
        async move { node.store.settle(ends).await }
    });
    let blocked = || node.store.figures().blocked.load(Ordering::Relaxed);
    eventually(async || blocked().then_some(())).await;
    let ready = node.store.ready().await;
    assert!(matches!(ready, Err(StoreError::Refused(_))), "{ready:?}");
    assert!(!settling.is_finished(), "the ends wait");
    assert_eq!(node.told.take().len(), 0, "and nothing is told of them, by which they would be sent again");
    tokio::task::block_in_place(|| cluster.run_sql(&name, "DROP EVENT TRIGGER no_making"));
    assert_eq!(settling.await.expect("it does not panic"), Ok(()));
    assert_eq!(cluster.run_sql(&name, "SELECT count(*), sum(attempts_made) FROM deliveries"), "5|5");
    assert_eq!(cluster.run_sql(&name, &format!("SELECT count(*) FROM {table}")), "5");
    eventually(async || (node.store.ready().await == Ok(())).then_some(())).await;
    // Of a day that is over too, where something may still wait.
    clock.step(5 * 86_400_000_000);
    tokio::task::block_in_place(|| cluster.run_sql(&name, &format!("DROP TABLE attempts_{day}")));
    let there = format!("SELECT count(*) FROM pg_inherits WHERE inhrelid = to_regclass('attempts_{day}')");
    eventually(async || (cluster.run_sql(&name, &there) == "1").then_some(())).await;
    node.store.stop().await;
}

/// The database refuses one end of an attempt for good: the others are recorded, and that one is told to nobody, so that it is not sent over and
/// over. Once it is taken it is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_refused_is_set_aside() {
    let cluster = Cluster::start(&[]);
    let clock = ManualClock::default();
    let (name, node, due) = with_five_due(&cluster, &clock).await;
    let bad = due[2].delivery.event.0;
    let refuse = format!(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF NEW.event = {bad} THEN RAISE EXCEPTION ''not this one''; END IF; RETURN NEW; END';
         CREATE TRIGGER refuse BEFORE INSERT ON deliveries FOR EACH ROW EXECUTE FUNCTION refuse()"
    );
    tokio::task::block_in_place(|| cluster.run_sql(&name, &refuse));
    let ends = due.iter().map(|due| settlement(*due, node.now(), Next::Delivered)).collect();
    assert_eq!(node.store.settle(ends).await, Ok(()), "others do not wait for it");
    assert_eq!(cluster.run_sql(&name, "SELECT count(*) FROM deliveries"), "4");
    assert_eq!(node.told.take().len(), 4, "of that one nothing is told");
    assert_eq!(node.store.figures().set_aside.load(Ordering::Relaxed), 1);
    assert_eq!(node.store.ready().await, Ok(()));
    tokio::task::block_in_place(|| cluster.run_sql(&name, "DROP TRIGGER refuse ON deliveries"));
    eventually(async || (!node.told.take().is_empty()).then_some(())).await;
    assert_eq!(cluster.run_sql(&name, "SELECT count(*), sum(attempts_made) FROM deliveries"), "5|5");
    eventually(async || (node.store.figures().set_aside.load(Ordering::Relaxed) == 0).then_some(())).await;
    node.store.stop().await;
}
