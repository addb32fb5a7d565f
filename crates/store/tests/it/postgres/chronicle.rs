//! What happens on several nodes, as each of them reads it: everything once, causes first, and nothing where nobody follows.

use std::collections::HashMap;

use domain::chronicle::{Chronicle as _, Happened, Mark, News};
use domain::delivery::Next;
use domain::id::DeliveryId;
use domain::store::{Change, Fact, Store as _};
use store::conformance::ManualClock;
use store::conformance::cluster::Cluster;

use super::support::{Node, settlement};

/// Accepts an event, and records the end of each of its deliveries at the node `there`.
async fn live(here: &Node, there: &Node) -> Vec<DeliveryId> {
    let event = here.accept().await.id;
    let due =
        there.store.due(None, there.now().plus(std::time::Duration::from_secs(1)), 100).await.expect("it is read");
    let due: Vec<_> = due.into_iter().filter(|due| due.delivery.event == event).collect();
    let ends = due.iter().map(|due| settlement(*due, there.now(), Next::Delivered)).collect();
    there.store.settle(ends).await.expect("it is recorded");
    due.iter().map(|due| due.delivery).collect()
}

async fn read(node: &Node, after: Option<&Mark>, until: Option<&Mark>) -> News {
    node.store.read(vec![node.account], after.cloned(), until.cloned()).await.expect("it is read")
}

/// The deliveries whose attempts are told, in order; each after its event.
fn attempts(happened: &[Happened]) -> Vec<DeliveryId> {
    let (mut accepted, mut ended) = (Vec::new(), Vec::new());
    for one in happened {
        match &one.fact {
            Fact::Accepted { event, .. } => accepted.push(event.id),
            Fact::Settled(settlement) => {
                assert!(accepted.contains(&settlement.delivery.event), "the event is told first");
                let head = one.head.as_ref().expect("the event of an attempt is told with it");
                assert_eq!((&*head.event_type, head.test), ("alert.rule_created", false));
                ended.push(settlement.delivery);
            }
            Fact::Webhook(_)
            | Fact::Resumed { .. }
            | Fact::WebhookDeleted { .. }
            | Fact::Replayed(_)
            | Fact::BulkReplay(_)
            | Fact::Cancelled { .. } => {}
        }
    }
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_on_one_node_is_read_on_all_once_and_in_order() {
    let (database, clock) = (Cluster::shared().database(), ManualClock::default());
    let (one, two) = (Node::start(&database, &clock).await, Node::start(&database, &clock).await);
    for place in 0..3 {
        one.new_webhook(&format!("wh_{place}")).await;
    }
    let before = read(&two, None, None).await.until;
    live(&one, &two).await;
    let news = read(&two, Some(&before), None).await;
    assert!(news.whole && news.happened.is_empty(), "nobody follows: nothing is written down");

    assert_eq!(two.store.follow(vec![two.account]).await, Ok(vec![]));
    assert_eq!(one.store.follow(vec![two.account]).await, Ok(vec![two.account]), "another node does already");
    let start = read(&one, None, None).await.until;
    let mut made = Vec::new();
    let (mut mark, mut told) = (start.clone(), Vec::new());
    for round in 0..10 {
        let (here, there) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        made.extend(live(here, there).await);
        let news = read(&one, Some(&mark), None).await;
        assert!(news.whole, "{round}: {mark} {}", news.until);
        told.extend(attempts(&news.happened));
        mark = news.until;
    }
    assert_eq!(told, made, "each attempt is told once, as it was made");
    let again = read(&two, Some(&start), Some(&mark)).await;
    assert_eq!(attempts(&again.happened), made, "the other node tells the same between the same marks");
    let places: Vec<u32> = again.happened.iter().map(|one| one.place).collect();
    assert_eq!(places, (1..).take(places.len()).collect::<Vec<_>>());

    // A change is told as what is there by now.
    let number = one.number("wh_1").expect("it is there");
    let webhook = one.directory.read().webhook_numbered(number).expect("it is there").clone();
    let changed = domain::webhook::Webhook { version: 2, name: "new".to_owned(), ..(*webhook).clone() };
    one.change(Change::PutWebhook(Box::new(changed))).await.expect("it is changed");
    one.change(Change::DeleteWebhook(one.number("wh_2").expect("it is there"))).await.expect("it is deleted");
    let news = read(&two, Some(&mark), None).await;
    let mut kinds = HashMap::new();
    for one in &news.happened {
        match &one.fact {
            Fact::Webhook(webhook) => drop(kinds.insert("webhook", webhook.name.clone())),
            Fact::WebhookDeleted { webhook } => drop(kinds.insert("deleted", webhook.to_string())),
            Fact::Accepted { .. }
            | Fact::Resumed { .. }
            | Fact::Replayed(_)
            | Fact::BulkReplay(_)
            | Fact::Cancelled { .. }
            | Fact::Settled(_) => panic!("{:?} has not happened", one.fact),
        }
    }
    assert_eq!(kinds["webhook"], "new");
    assert!(kinds.contains_key("deleted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_takes_long_is_told_once_and_a_mark_of_long_ago_is_refused() {
    let (cluster, clock) = (Cluster::shared(), ManualClock::default());
    let database = cluster.database();
    let name = database.rsplit('/').next().expect("a name");
    let node = Node::start(&database, &clock).await;
    node.new_webhook("wh_0").await;
    node.store.follow(vec![node.account]).await.expect("it is followed");
    let start = read(&node, None, None).await.until;
    let made = live(&node, &node).await;
    let middle = read(&node, Some(&start), None).await;
    assert_eq!(attempts(&middle.happened), made);
    // A row of an earlier transaction than the mark's, which was under way when it was made.
    let number = |text: String| text.trim().parse::<u64>().expect("a number");
    let first = number(cluster.run_sql(name, "SELECT min(tx::text::bigint) FROM chronicle"));
    let seconds = middle.until.as_str().split('.').next().expect("seconds");
    let under_way = Mark::new(&format!("{seconds}.{first}:{}:{first}", first + 1_000));
    let late = read(&node, Some(&under_way), None).await;
    assert!(late.whole);
    assert_eq!(late.happened.len(), 1, "only what was under way: {:?}", late.happened);
    let old: u64 = seconds.parse().expect("a number");
    let snapshot = start.as_str().split_once('.').expect("a mark").1;
    for (mark, whole) in [
        (format!("{}.{snapshot}", old - 60), true),
        (format!("{}.{snapshot}", old - 600), false),
        ("9".to_owned(), false),
    ] {
        assert_eq!(read(&node, Some(&Mark::new(&mark)), None).await.whole, whole, "{mark}");
    }
}
