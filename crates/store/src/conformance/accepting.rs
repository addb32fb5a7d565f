//! Accepting events.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use domain::delivery::DeliveryStatus;
use domain::event::NewEvent;
use domain::store::{AcceptError, Fact};
use domain::trace::TraceParent;

use super::Subject;
use super::world::{End, World, event, first, id, idempotency, typed};

/// Where the producer's trace is.
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// An event goes to the webhooks that take its type, keeps its bytes and its trace, and is told with its deliveries.
pub async fn an_event_goes_to_whom_it_is_for(subject: &mut dyn Subject) {
    let world = World::new(subject).await;
    let account = world.account();
    let all = world.new_webhook(account, "wh_all", &["*"]).await;
    let alerts = world.new_webhook(account, "wh_alerts", &["alert.*"]).await;
    world.new_webhook(account, "wh_other", &["watchlist.domain_added"]).await;
    world.told();
    let accepted = world.accept(NewEvent { flagged: true, trace: TraceParent::parse(TRACE), ..event(account) }).await;
    assert_eq!((accepted.deliveries, accepted.repeated), (2, false));
    assert_eq!(accepted.timestamp, world.now());

    let told = world.told();
    let [Fact::Accepted { event: told, on_disk }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(*on_disk, [false, false]);
    assert_eq!(told.targets, [all, alerts]);
    let stored = world.store().event(account, accepted.id).await.expect("it is read").expect("it exists");
    assert_eq!(stored, *told);
    assert_eq!(&stored.data[..], br#"{"domain":"newstartup.com","n":1e400}"#);
    assert!(stored.flagged && !stored.test);
    assert_eq!(stored.trace.map(|trace| trace.to_string()).as_deref(), Some(TRACE));
    assert_eq!(world.store().load(vec![(account, accepted.id)]).await, Ok(vec![Arc::clone(told)]));

    let delivery = world.delivery(account, id(accepted.id, 1)).await;
    assert_eq!(delivery.status, DeliveryStatus::Pending);
    assert_eq!(delivery.webhook.as_str(), "wh_alerts");
    assert_eq!(delivery.timestamp, accepted.timestamp);
    assert_eq!(world.store().delivery(account, id(accepted.id, 2), world.now()).await, Ok(None));
    let nobody = world.accept(typed(account, "enrichment.failed")).await;
    assert_eq!(nobody.deliveries, 1);
}

/// A test goes to its webhook alone, whatever that takes, and also while it is paused.
pub async fn a_test_goes_to_its_webhook_alone(subject: &mut dyn Subject) {
    let world = World::new(subject).await;
    let account = world.account();
    world.new_webhook(account, "wh_all", &["*"]).await;
    let tested = world.new_webhook(account, "wh_tested", &["watchlist.*"]).await;
    world.change(domain::store::Change::PutWebhook(world.paused("wh_tested"))).await.expect("it is paused");
    world.told();
    let accepted = world.accept(NewEvent { test_for: Some(tested), ..event(account) }).await;
    assert_eq!(accepted.deliveries, 1);
    let told = world.told();
    let [Fact::Accepted { event: told, on_disk }] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&told.targets[..], &on_disk[..], told.test), (&[tested][..], &[false][..], true));
    let delivery = world.delivery(account, id(accepted.id, 0)).await;
    assert_eq!((delivery.status, delivery.test), (DeliveryStatus::Pending, true));

    let other = world.new_account("acme").await;
    let foreign = world.store().accept(vec![NewEvent { test_for: Some(tested), ..event(other) }]).await;
    assert_eq!(foreign, [Err(AcceptError::Gone)]);
    assert_eq!(world.store().accept(vec![event(4_000_000)]).await, [Err(AcceptError::Gone)]);
}

/// The same key with the same request acts once: within a batch, in later ones, and after a restart; for 24 hours.
pub async fn an_idempotency_key_acts_once(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let account = world.account();
    world.new_webhook(account, "wh_all", &["*"]).await;
    let keyed = |key, request| NewEvent { idempotency: Some(idempotency(account, key, request)), ..event(account) };
    let over = |key, request| NewEvent { only_repeated: true, ..keyed(key, request) };
    assert_eq!(world.store().accept(vec![over(1, 1)]).await, [Err(AcceptError::NotRepeated)]);
    let answers = world.store().accept(vec![keyed(1, 1), keyed(1, 1), keyed(1, 2), keyed(2, 1)]).await;
    let one = answers[0].clone().expect("it is accepted");
    let again = answers[1].clone().expect("it is accepted");
    assert_eq!((again.id, again.timestamp, again.deliveries), (one.id, one.timestamp, 1));
    assert!(!one.repeated && again.repeated);
    let repeated = world.store().accept(vec![over(1, 1), over(1, 2), over(3, 1)]).await;
    assert_eq!(repeated, [Ok(again), Err(AcceptError::OtherRequest), Err(AcceptError::NotRepeated)]);
    assert_eq!(answers[2], Err(AcceptError::OtherRequest));
    assert_ne!(answers[3].clone().expect("it is accepted").id, one.id);
    world.restart().await;
    world.pass(std::time::Duration::from_secs(86_399));
    assert_eq!(world.accept(keyed(1, 1)).await.id, one.id);
    assert_eq!(world.list(account, "", 10).await.len(), 2);
    world.pass(std::time::Duration::from_secs(2));
    let later = world.accept(keyed(1, 2)).await;
    assert!(!later.repeated && later.id > one.id);
}

/// Timestamps of an account are never given twice, and ids only grow: over bursts, restarts and steps of the clock.
pub async fn timestamps_are_unique(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let accounts = [world.account(), world.new_account("acme").await];
    let (mut given, mut last) = (HashSet::new(), None);
    for round in 0..12 {
        for account in accounts {
            for answer in world.store().accept(vec![event(account); 300]).await {
                let accepted = answer.expect("it is accepted");
                assert!(given.insert((account, accepted.timestamp)), "{}", accepted.timestamp);
                assert!(last < Some(accepted.id));
                last = Some(accepted.id);
            }
        }
        match round % 4 {
            0 => world.clock.step(-3_600_000_000),
            1 => world.restart().await,
            2 => world.clock.step(7_000_000_000),
            _ => {}
        }
    }
}

/// What is more than memory should hold waits on disk, and is found there, oldest first.
pub async fn what_memory_should_not_hold_waits_on_disk(subject: &mut dyn Subject) {
    let mut world = World::bounded(subject, 3).await;
    let account = world.account();
    let webhook = world.new_webhook(account, "wh_slow", &["*"]).await;
    world.told();
    let mut events = Vec::new();
    for answer in world.store().accept(vec![event(account); 2]).await {
        events.push(answer.expect("it is accepted").id);
    }
    for answer in world.store().accept(vec![event(account); 3]).await {
        events.push(answer.expect("it is accepted").id);
    }
    let on_disk: Vec<_> =
        world.told().iter().map(|fact| matches!(fact, Fact::Accepted { on_disk, .. } if on_disk[0])).collect();
    assert_eq!(on_disk, [false, false, false, true, true]);
    let waiting: Vec<_> = world.backlog(webhook).await.iter().map(|due| due.delivery.event).collect();
    // A store may have what memory holds on disk too.
    assert!(waiting == events[3..] || waiting == events, "{waiting:?}");
    assert_eq!(world.list(account, "status=pending", 2).await.len(), 5);
    for event in &events {
        world.settle(first(*event, 0, webhook), End::Delivered).await;
    }
    assert_eq!(world.backlog(webhook).await, []);
    assert_eq!(world.list(account, "status=delivered", 2).await.len(), 5);
    world.restart().await;
    assert_eq!(world.opened.known.len(), 1, "only the webhook is left to be told");
}

/// A clock beyond what ids can hold accepts nothing, and leaves nothing behind: once it is right again, so is everything.
pub async fn a_clock_beyond_all_ids_accepts_nothing(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let account = world.account();
    world.new_webhook(account, "wh_all", &["*"]).await;
    let before = world.accept(event(account)).await;
    let ahead = Duration::from_secs(100 * 365 * 86_400);
    world.pass(ahead);
    let refused = world.store().accept(vec![event(account), event(account)]).await;
    assert_eq!(refused, vec![Err(AcceptError::Clock(world.now())); 2]);
    world.clock.step(-(ahead.as_micros() as i64));
    let after = world.accept(event(account)).await;
    assert!(after.timestamp.since(before.timestamp) < Duration::from_secs(1), "{after:?}");
    world.restart().await;
    world.accept(event(account)).await;
}
