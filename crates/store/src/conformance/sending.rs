//! Recording attempts: retries, ends, replays, cancellation, and what a restart finds.

use std::collections::HashSet;
use std::time::Duration;

use domain::attempt::{ErrorCode, Reason};
use domain::delivery::{DeliveryStatus, Due, Next, Settlement};
use domain::shard::Epoch;
use domain::store::{Change, ChangeError, Fact};

use super::Subject;
use super::world::{End, World, event, first, id, settlement};

/// A delivery fails, is retried when it is due, and is delivered; the log has each attempt as it was.
pub async fn a_retry_is_planned_and_delivered(subject: &mut dyn Subject) {
    let world = World::new(subject).await;
    let account = world.account();
    let webhook = world.new_webhook(account, "wh_all", &["*"]).await;
    let accepted = world.accept(event(account)).await;
    assert_eq!(world.store().oldest_due(world.now(), HashSet::new()).await, Ok(Some(world.now())));
    assert_eq!(world.store().oldest_due(world.now(), HashSet::from([webhook])).await, Ok(None), "it is patient");
    let delivery = id(accepted.id, 0);
    let due = first(accepted.id, 0, webhook);
    let retry = world.settle(due, End::Retry(503, Duration::from_secs(30))).await.expect("a retry");
    let planned = world.delivery(account, delivery).await;
    assert_eq!((planned.status, planned.attempts_made, planned.retries_made), (DeliveryStatus::Pending, 1, 0));
    assert_eq!((planned.next_attempt_at, planned.ended_at), (Some(retry.due_at), None));
    assert_eq!((planned.last_status_code, planned.last_error), (Some(503), Some(ErrorCode::Http5xx)));
    assert_eq!(world.due(retry.due_at).await, []);
    assert_eq!(world.due(retry.due_at.plus(Duration::from_micros(1))).await, [retry]);
    assert_eq!(world.backlog(webhook).await, []);
    assert_eq!(world.store().oldest_due(world.now(), HashSet::new()).await, Ok(None));

    world.pass(Duration::from_secs(31));
    assert_eq!(world.store().oldest_due(world.now(), HashSet::new()).await, Ok(Some(retry.due_at)));
    assert_eq!(world.store().oldest_due(world.now(), HashSet::from([webhook])).await, Ok(None), "it is patient");
    assert_eq!(world.store().oldest_due(world.now(), HashSet::from([webhook + 1])).await, Ok(Some(retry.due_at)));
    world.told();
    world.settle(retry, End::Delivered).await;
    assert!(matches!(&world.told()[..], [Fact::Settled(settled)] if settled.delivery == delivery));
    let (ended, attempts) = world.log(account, delivery).await;
    assert_eq!((ended.status, ended.attempts_made, ended.retries_made), (DeliveryStatus::Delivered, 2, 1));
    assert_eq!(ended.ended_at, Some(world.now().plus(Duration::from_micros(1_500))));
    assert_eq!((ended.next_attempt_at, ended.last_error), (None, None));
    let expected = settlement(world.now(), retry, End::Delivered).attempt.expect("an attempt");
    assert_eq!(attempts[1], expected);
    assert_eq!((attempts[0].number, attempts[0].reason), (1, Reason::First));
    assert_eq!(world.due(world.now().plus(Duration::from_secs(86_400))).await, []);
}

/// What was delivered or cancelled stays so, whatever an attempt in flight came to; the attempt is logged.
pub async fn an_end_stands(subject: &mut dyn Subject) {
    let world = World::new(subject).await;
    let account = world.account();
    let webhook = world.new_webhook(account, "wh_all", &["*"]).await;
    let events = [world.accept(event(account)).await.id, world.accept(event(account)).await.id];
    let (delivered, cancelled) = (first(events[0], 0, webhook), first(events[1], 0, webhook));
    world.settle(delivered, End::Delivered).await;
    world.change(Change::Cancel(account, cancelled.delivery)).await.expect("it waits");
    for due in [Due { attempts_made: 1, ..delivered }, cancelled] {
        world.settle(due, End::Retry(500, Duration::from_secs(30))).await;
    }
    let (one, attempts) = world.log(account, delivered.delivery).await;
    assert_eq!((one.status, attempts.len()), (DeliveryStatus::Delivered, 2));
    let (two, attempts) = world.log(account, cancelled.delivery).await;
    assert_eq!((two.status, attempts.len()), (DeliveryStatus::Cancelled, 1));
    assert_eq!(world.due(world.now().plus(Duration::from_secs(3_600))).await, []);
    let again = world.change(Change::Cancel(account, delivered.delivery)).await;
    assert!(matches!(again, Err(ChangeError::State(_))), "{again:?}");
    let unknown = world.change(Change::Cancel(account, id(events[0], 7))).await;
    assert_eq!(unknown, Err(ChangeError::NotFound));
}

/// A delivery that ends without an attempt has an end, and no attempt.
pub async fn a_delivery_may_end_without_an_attempt(subject: &mut dyn Subject) {
    let world = World::new(subject).await;
    let account = world.account();
    let webhook = world.new_webhook(account, "wh_all", &["*"]).await;
    let accepted = world.accept(event(account)).await;
    let given_up =
        Settlement { delivery: id(accepted.id, 0), webhook, attempt: None, next: Next::Failed, epoch: Epoch::SOLE };
    world.store().settle(vec![given_up]).await.expect("it is recorded");
    let (delivery, attempts) = world.log(account, id(accepted.id, 0)).await;
    assert_eq!((delivery.status, attempts.len()), (DeliveryStatus::Failed, 0));
    assert_eq!(delivery.ended_at, Some(world.now()));
}

/// A retry is planned anew without an attempt, as after a clock that was ahead; a replay that was asked for meanwhile stands.
pub async fn a_retry_may_be_planned_anew(subject: &mut dyn Subject) {
    let world = World::new(subject).await;
    let account = world.account();
    let webhook = world.new_webhook(account, "wh_all", &["*"]).await;
    let far = Duration::from_secs(60 * 86_400);
    let mut planned = Vec::new();
    for _ in 0..2 {
        let event = world.accept(event(account)).await.id;
        planned.push(world.settle(first(event, 0, webhook), End::Retry(500, far)).await.expect("a retry"));
    }
    world.change(Change::Replay(account, planned[1].delivery)).await.expect("what waits can be sent at once");
    let due_at = world.now().plus(Duration::from_secs(30));
    let anew = |due: &Due| Settlement {
        delivery: due.delivery,
        webhook,
        attempt: None,
        next: Next::Retry { due_at, retries_made: due.retries_made, reason: due.reason },
        epoch: Epoch::SOLE,
    };
    world.store().settle(planned.iter().map(anew).collect()).await.expect("it is recorded");
    let (delivery, attempts) = world.log(account, planned[0].delivery).await;
    assert_eq!((delivery.status, delivery.next_attempt_at), (DeliveryStatus::Pending, Some(due_at)));
    assert_eq!(attempts.len(), 1);
    let due = world.due(world.now().plus(far * 2)).await;
    let replay = Due { due_at: world.now(), retries_made: 0, reason: Reason::Replay, ..planned[1] };
    assert_eq!(due, [replay, Due { due_at, ..planned[0] }]);
}

/// A replay sends again at once, numbers on, and starts the schedule afresh; also of what waits.
pub async fn a_replay_starts_afresh(subject: &mut dyn Subject) {
    let world = World::new(subject).await;
    let account = world.account();
    let webhook = world.new_webhook(account, "wh_all", &["*"]).await;
    let accepted = world.accept(event(account)).await;
    let delivery = id(accepted.id, 0);
    let retry = world.settle(first(accepted.id, 0, webhook), End::TimedOut(Duration::from_secs(30))).await;
    world.pass(Duration::from_secs(31));
    world.settle(retry.expect("a retry"), End::Failed(404)).await;
    assert_eq!(world.delivery(account, delivery).await.status, DeliveryStatus::Failed);
    world.told();
    world.change(Change::Replay(account, delivery)).await.expect("it has ended");
    let told = world.told();
    let [Fact::Replayed(due)] = &told[..] else { panic!("{told:?}") };
    let due = *due;
    let expected =
        Due { delivery, webhook, due_at: world.now(), attempts_made: 2, retries_made: 0, reason: Reason::Replay };
    assert_eq!(due, expected);
    assert_eq!(world.backlog(webhook).await, [due]);
    let waiting = world.delivery(account, delivery).await;
    assert_eq!((waiting.status, waiting.ended_at), (DeliveryStatus::Pending, None));

    let retry = world.settle(due, End::Retry(500, Duration::from_secs(30))).await.expect("a retry");
    world.change(Change::Replay(account, delivery)).await.expect("what waits can be sent at once");
    assert_eq!(world.due(retry.due_at).await, [Due { due_at: world.now(), attempts_made: 3, ..expected }]);
    let (_, attempts) = world.log(account, delivery).await;
    assert_eq!(attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(attempts[2].reason, Reason::Replay);
}

/// A replay that is asked for while an attempt is being recorded stands, whatever that came to.
pub async fn a_replay_during_an_attempt_stands(subject: &mut dyn Subject) {
    let world = World::new(subject).await;
    let account = world.account();
    let webhook = world.new_webhook(account, "wh_all", &["*"]).await;
    let accepted = world.accept(event(account)).await;
    let due = first(accepted.id, 0, webhook);
    world.change(Change::Replay(account, due.delivery)).await.expect("it waits");
    world.settle(due, End::Delivered).await;
    assert_eq!(world.delivery(account, due.delivery).await.status, DeliveryStatus::Pending);
    let again = world.due(world.now().plus(Duration::from_micros(1))).await;
    assert_eq!((again[0].reason, again[0].attempts_made), (Reason::Replay, 1));
    // The scheduler may not have heard of the first attempt's number: no attempt is lost by that.
    world.settle(Due { attempts_made: 0, ..again[0] }, End::Delivered).await;
    let (delivery, attempts) = world.log(account, due.delivery).await;
    assert_eq!((delivery.status, attempts.len()), (DeliveryStatus::Delivered, 2));
    assert_eq!(attempts[1].number, 2);
}

/// After a restart everything that waits is told or found, once, and everything that ended is not.
pub async fn a_restart_finds_what_waits(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let account = world.account();
    let one = world.new_webhook(account, "wh_one", &["*"]).await;
    let two = world.new_webhook(account, "wh_two", &["*"]).await;
    let done = world.accept(event(account)).await.id;
    let half = world.accept(event(account)).await.id;
    let new = world.accept(event(account)).await.id;
    world.settle(first(done, 0, one), End::Delivered).await;
    world.settle(first(done, 1, two), End::Delivered).await;
    let retry = world.settle(first(half, 1, two), End::Retry(500, Duration::from_secs(30))).await.expect("a retry");
    let before = world.list(account, "", 10).await;
    world.restart().await;
    let webhooks = world.opened.known.iter().filter(|fact| matches!(fact, Fact::Webhook(_))).count();
    assert_eq!(webhooks, 2);
    let mut waiting = world.told_at_start();
    let found = world.due(retry.due_at.plus(Duration::from_secs(1))).await;
    assert!(found.contains(&retry));
    waiting.extend(found.iter().map(|due| due.delivery));
    waiting.sort();
    assert_eq!(waiting, [id(half, 0), id(half, 1), id(new, 0), id(new, 1)]);
    assert_eq!(world.list(account, "", 10).await, before);
    for (event, place, webhook) in [(half, 0, one), (new, 0, one), (new, 1, two)] {
        world.settle(first(event, place, webhook), End::Delivered).await;
    }
    world.restart().await;
    assert_eq!(world.opened.known.len(), 2);
    assert_eq!(world.list(account, "status=delivered", 10).await.len(), 5);
}
