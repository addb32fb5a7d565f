//! Pausing and resuming webhooks.

use std::collections::HashSet;
use std::time::Duration;

use domain::delivery::DeliveryStatus;
use domain::event::NewEvent;
use domain::stats::{Step, Subjects};
use domain::store::{Change, Fact};
use domain::webhook::Held;

use super::Subject;
use super::world::{End, World, event, first, id};

/// A webhook with one delivery of each kind: waiting, planned, accepted while paused, a test.
async fn paused_world<'a>(world: &World<'a>) -> (u32, u32, [domain::id::EventId; 4]) {
    let account = world.account();
    let webhook = world.new_webhook(account, "wh_paused", &["*"]).await;
    let waiting = world.accept(event(account)).await.id;
    let planned = world.accept(event(account)).await.id;
    world.settle(first(planned, 0, webhook), End::Retry(500, Duration::from_secs(30))).await;
    world.change(Change::PutWebhook(world.paused("wh_paused"))).await.expect("it is paused");
    let meanwhile = world.accept(event(account)).await.id;
    let test = world.accept(NewEvent { test_for: Some(webhook), ..event(account) }).await.id;
    (account, webhook, [waiting, planned, meanwhile, test])
}

/// Everything of a paused webhook is on disk and held once it is due; tests are not held.
pub async fn a_paused_webhook_holds_what_is_due(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let (account, webhook, [waiting, planned, meanwhile, test]) = paused_world(&world).await;
    let told = world.told();
    let Some(Fact::Accepted { on_disk, .. }) = told.iter().rev().nth(1) else { panic!("{told:?}") };
    assert_eq!(*on_disk, [true]);
    let held = world.list(account, "status=held", 10).await;
    assert_eq!(held.iter().map(|d| d.id.event).collect::<Vec<_>>(), [meanwhile, waiting]);
    assert_eq!(world.delivery(account, id(planned, 0)).await.status, DeliveryStatus::Pending);
    assert_eq!(world.store().oldest_due(world.now(), HashSet::new()).await, Ok(Some(world.now())), "the test");
    world.settle(first(test, 0, webhook), End::Delivered).await;
    world.pass(Duration::from_secs(31));
    assert_eq!(world.list(account, "status=held", 1).await.len(), 3);
    assert_eq!(world.list(account, "status=pending", 10).await, []);
    assert_eq!(world.due(world.now().plus(Duration::from_secs(3_600))).await, []);
    assert_eq!(world.store().oldest_due(world.now(), HashSet::new()).await, Ok(None));
    world.restart().await;
    assert_eq!(world.opened.known.len(), 1, "nothing held is told");
    assert_eq!(world.list(account, "status=held", 10).await.len(), 3);
    assert_eq!(
        world.backlog(webhook).await.iter().map(|due| due.delivery.event).collect::<Vec<_>>(),
        [waiting, planned, meanwhile]
    );
}

/// Resuming with `deliver` leaves what is held to be sent, oldest first, and says so with the rate.
pub async fn resuming_delivers(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let (account, webhook, [waiting, _, meanwhile, _]) = paused_world(&world).await;
    world.told();
    let change = Change::Resume { webhook: world.active("wh_paused"), held: Held::Deliver, rate: Some(5) };
    world.change(change).await.expect("it is paused");
    let told = world.told();
    let [Fact::Webhook(active), Fact::Resumed { webhook: resumed, rate }] = &told[..] else { panic!("{told:?}") };
    assert!(active.pause.is_none());
    assert_eq!((*resumed, *rate), (webhook, Some(5)));
    assert_eq!(world.list(account, "status=held", 10).await, []);
    let backlog: Vec<_> = world.backlog(webhook).await.iter().map(|due| due.delivery.event).collect();
    assert_eq!(backlog, [waiting, meanwhile]);
    let after =
        world.store().backlog(webhook, Some(id(waiting, 0)), world.now().plus(Duration::from_secs(99)), 1).await;
    assert_eq!(after.expect("it is read").len(), 1);
    // The rate holds over a restart, until somebody says that everything was sent.
    world.restart().await;
    assert_eq!(world.webhook("wh_paused").held_rate, Some(5));
    let version = world.webhook("wh_paused").version;
    let sent = |version| Change::HeldSent { webhook, version };
    world.change(sent(version - 1)).await.expect("it is passed over");
    assert_eq!(world.webhook("wh_paused").held_rate, Some(5));
    world.change(sent(version)).await.expect("it is written");
    world.restart().await;
    assert_eq!((world.webhook("wh_paused").held_rate, world.webhook("wh_paused").version), (None, version));
}

/// Resuming with `cancel` cancels what is held, and nothing else.
pub async fn resuming_cancels(subject: &mut dyn Subject) {
    let world = World::new(subject).await;
    let (account, webhook, [waiting, planned, meanwhile, test]) = paused_world(&world).await;
    let change = Change::Resume { webhook: world.active("wh_paused"), held: Held::Cancel, rate: None };
    world.change(change).await.expect("it is paused");
    for (event, status) in [
        (waiting, DeliveryStatus::Cancelled),
        (planned, DeliveryStatus::Pending),
        (meanwhile, DeliveryStatus::Cancelled),
        (test, DeliveryStatus::Pending),
    ] {
        assert_eq!(world.delivery(account, id(event, 0)).await.status, status);
    }
    assert_eq!(world.backlog(webhook).await, []);
    let stats = world.stats(account, Subjects::Webhooks(vec![webhook]), Step::MINUTE).await;
    assert_eq!((stats[0].total().cancelled, stats[0].held, stats[0].pending), (2, 0, 1), "tests are left out");
}
