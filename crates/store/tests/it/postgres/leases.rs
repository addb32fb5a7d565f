//! Leases: nodes that take, renew and give back shards in one database, and the fence.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::attempt::Reason;
use domain::audit::By;
use domain::cluster::{Beat, Cluster as _, Hint, Report, Seen};
use domain::delivery::{Due, Next, Settlement};
use domain::directory::SharedDirectory;
use domain::endpoint_url::EndpointUrl;
use domain::event::NewEvent;
use domain::event_filter::EventFilter;
use domain::id::DeliveryId;
use domain::secret::SigningSecret;
use domain::shard::{Epoch, Holdings, Lease, SHARDS, Shard, Terms};
use domain::store::{Change, Fact, Store as _};
use domain::time::Timestamp;
use domain::vault::Vault;
use domain::webhook::Webhook;
use store::conformance::ManualClock;
use store::conformance::cluster::Cluster;
use store::postgres::{Address, Identity, Leases, Limits, PostgresStore, Settings, migrate};
use tokio::task::JoinSet;

/// How long the tests wait for what has to come.
const PATIENCE: Duration = Duration::from_secs(60);

async fn database() -> Address {
    let address = Address::parse(&Cluster::shared().database()).expect("an address");
    migrate(&address, Timestamp(1_795_464_000_123_456)).await.expect("it is made");
    address
}

/// A node, and what it hears of others.
fn node(address: &Address, id: i64, length: Duration) -> (Leases, Arc<Mutex<Vec<Hint>>>) {
    named(address, (id, &format!("node-{id}")), length)
}

fn named(address: &Address, (id, name): (i64, &str), length: Duration) -> (Leases, Arc<Mutex<Vec<Hint>>>) {
    let heard = Arc::<Mutex<Vec<Hint>>>::default();
    let hears = Arc::clone(&heard);
    let terms = Terms { length, ..Terms::for_deadline(Duration::from_secs(5)) };
    let identity = Identity { id, name: name.to_owned(), version: "1".to_owned() };
    let hear = move |hint| hears.lock().expect("nobody panics").push(hint);
    (Leases::new(address, identity, terms, Holdings::default(), hear).expect("leases"), heard)
}

const LONG: Duration = Duration::from_secs(600);

async fn beat(node: &Leases, number: u64, want: u16, release: Vec<Lease>) -> Seen {
    let beat = Beat { number, want, patient: false, release, leaving: false };
    node.beat(beat, Report::default()).await.expect("the database is there")
}

fn shards(seen: &Seen) -> Vec<u16> {
    seen.held.iter().map(|lease| lease.shard.0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_gives_back_another_takes_under_a_new_epoch() {
    let address = database().await;
    let ((one, heard), (two, _)) = (node(&address, 1, LONG), node(&address, 2, LONG));
    let seen = beat(&one, 1, 0, vec![]).await;
    assert_eq!((seen.nodes, seen.place, seen.held.len(), seen.next_end), (1, 0, 0, None));
    let all = beat(&one, 2, SHARDS, vec![]).await;
    assert_eq!(shards(&all), (0..SHARDS).collect::<Vec<_>>());
    assert!(all.held.iter().all(|lease| lease.epoch == Epoch(1)));
    let seen = beat(&two, 1, SHARDS, vec![]).await;
    assert_eq!((seen.nodes, seen.place, seen.held.len()), (2, 1, 0), "nothing is free");
    assert!(seen.next_end.is_some_and(|end| end > LONG / 2 && end <= LONG));
    // What is given back under another epoch is not given back.
    let mut given: Vec<Lease> = all.held[1_000..].to_vec();
    given.push(Lease { shard: Shard(0), epoch: Epoch(9) });
    let kept = beat(&one, 3, 512, given).await;
    assert_eq!(
        (kept.held.len(), kept.nodes, kept.place),
        (999, 2, 0),
        "the one of another epoch is not renewed this time"
    );
    assert_eq!(beat(&one, 4, 512, vec![]).await.held.len(), 1_000);
    let taken = beat(&two, 2, 512, vec![]).await;
    assert_eq!(shards(&taken), (1_000..SHARDS).collect::<Vec<_>>());
    assert!(taken.held.iter().all(|lease| lease.epoch == Epoch(2)));
    let heard_of_two = || heard.lock().expect("nobody panics").contains(&Hint::Nodes);
    let waited = tokio::time::timeout(PATIENCE, async {
        let mut beats = 2;
        while !heard_of_two() {
            beats += 1;
            two.beat(Beat { number: 1, want: 24, patient: false, release: vec![], leaving: false }, Report::default())
                .await
                .expect("there");
        }
        beats
    });
    waited.await.expect("that a node has come is heard");
    let nodes = one.nodes().await.expect("the database is there");
    let of = |place: usize| (nodes.nodes[place].name.as_str(), nodes.nodes[place].shards, nodes.nodes[place].here);
    assert_eq!((of(0), of(1), nodes.free), (("node-1", 1_000, true), ("node-2", 24, false), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_node_held_is_taken_once_its_lease_has_ended() {
    let address = database().await;
    let ((dead, _), (other, _)) = (node(&address, 1, Duration::from_millis(300)), node(&address, 2, LONG));
    let held = beat(&dead, 1, 7, vec![]).await.held;
    assert_eq!(held.len(), 7);
    let patient = Beat { number: 9, want: SHARDS, patient: true, release: vec![], leaving: false };
    let others = other.beat(patient, Report::default()).await.expect("the database is there").held;
    assert_eq!(others.len(), usize::from(SHARDS) - 7, "what nobody has is taken also by whoever is patient");
    let taken = tokio::time::timeout(PATIENCE, async {
        let mut number = 0;
        loop {
            number += 1;
            let seen = beat(&other, number, SHARDS, vec![]).await;
            if seen.held.len() == usize::from(SHARDS) {
                return seen;
            }
        }
    });
    let taken = taken.await.expect("the lease ends");
    assert_eq!((taken.nodes, taken.place), (1, 0), "it counts no more");
    assert!(held.iter().all(|lease| taken.held.contains(&Lease { epoch: Epoch(lease.epoch.0 + 1), ..*lease })));
    let seen = beat(&dead, 2, 7, vec![]).await;
    assert_eq!((seen.held.len(), seen.nodes), (0, 2), "it has come back, and holds nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_come_back_under_its_name_is_listed_once() {
    let address = database().await;
    let short = Duration::from_millis(300);
    let ((first, _), (gone, _)) = (named(&address, (1, "a"), short), named(&address, (2, "b"), short));
    for node in [&first, &gone] {
        let beat = Beat { number: 1, want: 7, patient: false, release: vec![], leaving: false };
        let report = Report { in_flight: 3, known: 5, oldest_due: Some(Timestamp(1)) };
        node.beat(beat, report).await.expect("the database is there");
    }
    let (again, _) = named(&address, (3, "a"), LONG);
    beat(&again, 1, 7, vec![]).await;
    let listed = tokio::time::timeout(PATIENCE, async {
        loop {
            let nodes = again.nodes().await.expect("the database is there").nodes;
            if nodes.iter().filter(|node| node.lives).count() == 1 {
                return nodes;
            }
        }
    });
    let listed = listed.await.expect("two leases end");
    let names: Vec<_> = listed.iter().map(|node| (node.name.as_str(), node.here, node.lives)).collect();
    assert_eq!(names, [("b", false, false), ("a", true, true)]);
    assert_eq!((listed[0].shards, listed[0].report), (0, Report::default()), "it has nothing in flight any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_left_is_listed_until_it_has_given_everything_back() {
    let address = database().await;
    let ((leaves, _), (stays, _)) = (named(&address, (1, "a"), LONG), named(&address, (2, "b"), LONG));
    let mut held = beat(&leaves, 1, 2, vec![]).await.held;
    beat(&stays, 1, 7, vec![]).await;
    let last = held.split_off(1);
    for (number, release, listed) in [(2, held, vec![("a", false, 1), ("b", true, 7)]), (3, last, vec![("b", true, 7)])]
    {
        let beat = Beat { number, want: 0, patient: false, release, leaving: true };
        leaves.beat(beat, Report { in_flight: 3, ..Report::default() }).await.expect("the database is there");
        let nodes = stays.nodes().await.expect("the database is there").nodes;
        let found: Vec<_> = nodes.iter().map(|node| (node.name.as_str(), node.lives, node.shards)).collect();
        assert_eq!(found, listed);
        assert!(nodes[0].lives || nodes[0].report.in_flight == 3, "what it has in flight is its own still");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_take_at_once_never_take_the_same() {
    let address = database().await;
    let nodes: Vec<_> = (1..=6).map(|id| Arc::new(node(&address, id, LONG).0)).collect();
    for want in [200, 400] {
        let beats = nodes.iter().map(|node| {
            let node = Arc::clone(node);
            tokio::spawn(async move { beat(&node, 2, want, vec![]).await })
        });
        let mut all = Vec::new();
        for beat in beats.collect::<Vec<_>>() {
            let seen = beat.await.expect("it does not panic");
            assert!(seen.held.len() <= usize::from(want));
            all.extend(shards(&seen));
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "each shard is taken by one node");
    }
    let nodes = nodes[0].nodes().await.expect("the database is there");
    assert_eq!((nodes.free, nodes.nodes.len()), (0, 6), "the six had asked for more than there are");
}

fn settlement(due: Due, epoch: Epoch) -> Settlement {
    Settlement { delivery: due.delivery, webhook: due.webhook, attempt: None, next: Next::Failed, epoch }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_under_an_old_epoch_changes_nothing() {
    let address = database().await;
    let (directory, holdings) = (SharedDirectory::default(), Holdings::default());
    let told = Arc::<Mutex<Vec<Fact>>>::default();
    let (tells, mut nonce) = (Arc::clone(&told), 0u8);
    let (store, _) = PostgresStore::open(Settings {
        address: address.clone(),
        vault: Vault::new(&[7; 32]),
        directory: directory.clone(),
        holdings: Some(holdings.clone()),
        clock: Arc::new(ManualClock::default()),
        chance: Box::new(move |bytes| {
            nonce = nonce.wrapping_add(1);
            bytes.fill(nonce);
        }),
        keep: None,
        size: None,
        limits: Limits::default(),
        facts: Box::new(move |facts, _| tells.lock().expect("nobody panics").extend(facts)),
    })
    .await
    .expect("it opens");
    let account = directory.read().account(&"default".parse().expect("an id")).expect("it is there").clone();
    let url = Arc::new(EndpointUrl::stored("https://example.com/in").expect("a URL"));
    let (events, secret) = (EventFilter::stored(vec!["*".to_owned()]), SigningSecret::from_bytes(&[9; 32]));
    let webhook = Webhook::new(&account, "wh_a".parse().expect("an id"), url, events, secret, Timestamp(0));
    store.change(Change::PutWebhook(Box::new(webhook)), By::us(), None).await.expect("it is made");
    let webhook = directory.read().webhook_of_id(&"wh_a".parse().expect("an id")).expect("it is there").number;
    let event = NewEvent {
        account: account.number,
        event_type: "alert.rule_created".into(),
        data: "{}".to_owned().into(),
        test_for: None,
        flagged: false,
        trace: None,
        idempotency: None,
        only_repeated: false,
    };
    let accepted = store.accept(vec![event.clone()]).await.remove(0).expect("it is accepted");
    let forever = Timestamp(i64::MAX);
    assert_eq!(store.due(None, forever, 10).await.expect("rows"), [], "another node's shard is not read");
    // This node has had the shard; another has taken it since, and gave it back.
    let shard = Shard::of(account.number, webhook);
    let ((one, _), (two, _)) = (node(&address, 1, LONG), node(&address, 2, LONG));
    let lease = |seen: &Seen| *seen.held.iter().find(|lease| lease.shard == shard).expect("all are taken");
    let first = lease(&beat(&one, 1, SHARDS, vec![]).await);
    holdings.hold(first);
    beat(&one, 2, 0, vec![first]).await;
    let second = lease(&beat(&two, 1, SHARDS, vec![]).await);
    assert_eq!((first.epoch, second.epoch), (Epoch(1), Epoch(2)));
    let due = store.due(None, forever, 10).await.expect("rows").remove(0);
    let id = DeliveryId { event: accepted.id, place: 0 };
    assert_eq!((due.delivery, due.reason), (id, Reason::First));
    store.settle(vec![settlement(due, first.epoch)]).await.expect("it is no fault");
    assert_eq!((holdings.refused(), store.due(None, forever, 10).await.expect("rows")), (1, vec![due]));
    let settled = || told.lock().expect("nobody panics").iter().filter(|fact| matches!(fact, Fact::Settled(_))).count();
    assert_eq!(settled(), 0);
    // What is accepted by the same transaction stays, though whatever else it has done is undone.
    let (store, mut beside) = (Arc::new(store), JoinSet::new());
    let commits = store.figures().commits.load(Ordering::Relaxed);
    for _ in 0..20 {
        let (store, event, ended) = (Arc::clone(&store), event.clone(), settlement(due, first.epoch));
        beside.spawn(async move { tokio::join!(store.settle(vec![ended]), store.accept(vec![event])) });
    }
    let mut waiting = vec![due];
    while let Some(both) = beside.join_next().await {
        let (ended, mut accepted) = both.expect("it does not panic");
        ended.expect("it is no fault");
        let event = accepted.remove(0).expect("it is accepted").id;
        waiting.push(Due { delivery: DeliveryId { event, place: 0 }, ..due });
    }
    assert!(store.figures().commits.load(Ordering::Relaxed) < commits + 40, "none of them shared a transaction");
    waiting.sort_unstable_by_key(|due| due.delivery);
    assert_eq!((holdings.refused(), store.due(None, forever, 100).await.expect("rows")), (21, waiting.clone()));
    store.settle(vec![settlement(due, second.epoch)]).await.expect("it is no fault");
    let left = store.due(None, forever, 100).await.expect("rows");
    assert_eq!((holdings.refused(), left, settled()), (21, waiting.split_off(1), 1));
    store.stop().await;
}
