//! Replays in bulk: what they cover, that each is handed over once, and what is counted.

use std::sync::Arc;
use std::time::Duration;

use domain::attempt::{ErrorCode, Reason};
use domain::delivery::{DeliveryStatus, Due};
use domain::event::NewEvent;
use domain::filter::DeliveryFilter;
use domain::id::DeliveryId;
use domain::replay::{Cause, Coverage, Replay, ReplayChange, Results, Scope, State};
use domain::store::{Change, ChangeError, Fact};

use super::Subject;
use super::world::{End, World, event, first, id};

impl World<'_> {
    fn scope(&self, account: u32, filter: &str) -> Scope {
        let filter = DeliveryFilter::parse_line(filter, self.now()).expect("a filter");
        let directory = self.opened.directory.read();
        let webhook = filter.webhook.as_ref().and_then(|id| directory.webhook(account, id)).map(|w| w.number);
        Scope { account, webhook, filter, now: self.now(), sending: Vec::new() }
    }

    async fn coverage(&self, account: u32, filter: &str) -> Coverage {
        self.store().coverage(self.scope(account, filter), 2).await.expect("it is counted")
    }

    /// Lists what a replay covers.
    async fn prepare(&self, account: u32, filter: &str, name: &str) -> Replay {
        let scope = self.scope(account, filter);
        let new = Replay::new(name.parse().expect("an id"), &scope, None, "a key");
        self.store().prepare_replay(scope, new).await.expect("it is listed")
    }

    async fn bulk(&self, change: ReplayChange) -> Result<(), ChangeError> {
        self.change(Change::BulkReplay(change)).await.map(|_| ())
    }

    async fn start(&self, account: u32, filter: &str, name: &str) -> u32 {
        let replay = self.prepare(account, filter, name).await;
        let number = replay.number;
        self.bulk(ReplayChange::Start(Box::new(replay))).await.expect("it starts");
        number
    }

    /// Hands over what a replay of the first account covers, and gives what is due by it.
    async fn hand_over(&self, replay: u32, count: u32) -> Vec<Due> {
        let account = self.account();
        self.told();
        self.bulk(ReplayChange::HandOver { account, replay, count }).await.expect("it is running");
        let told = self.told();
        assert!(matches!(told.last(), Some(Fact::BulkReplay(_))), "{told:?}");
        let due = |fact: &Fact| if let Fact::Replayed(due) = fact { Some(*due) } else { None };
        told.iter().filter_map(due).collect()
    }

    async fn replay(&self, account: u32, name: &str) -> Replay {
        let id = name.parse().expect("an id");
        self.store().bulk_replay(account, id).await.expect("it is read").expect("there is one")
    }
}

/// `count` events whose deliveries have failed, oldest first.
async fn failed(world: &World<'_>, account: u32, webhook: u32, count: usize) -> Vec<DeliveryId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let accepted = world.accept(event(account)).await.id;
        world.settle(first(accepted, 0, webhook), End::Failed(500)).await;
        ids.push(id(accepted, 0));
    }
    ids
}

fn ids(due: &[Due]) -> Vec<DeliveryId> {
    due.iter().map(|due| due.delivery).collect()
}

/// A replay covers what its filter means and has ended, oldest first, and says what else the filter means.
pub async fn coverage_is_exact(subject: &mut dyn Subject) {
    let world = World::new(subject).await;
    let (account, other) = (world.account(), world.new_account("acme").await);
    let theirs = world.new_webhook(other, "wh_theirs", &["*"]).await;
    failed(&world, other, theirs, 1).await;
    let one = world.new_webhook(account, "wh_one", &["*"]).await;
    let ended = failed(&world, account, one, 3).await;
    let delivered = world.accept(event(account)).await.id;
    world.settle(first(delivered, 0, one), End::Delivered).await;
    let retried = world.accept(event(account)).await.id;
    world.settle(first(retried, 0, one), End::Retry(500, Duration::from_secs(9))).await;
    world.accept(event(account)).await;
    let test = world.accept(NewEvent { test_for: Some(one), ..event(account) }).await.id;
    let test_due = Due { reason: Reason::Test, ..first(test, 0, one) };
    world.settle(test_due, End::Failed(500)).await;
    let all = world.coverage(account, "webhook=wh_one").await;
    assert_eq!((all.total, all.passed_over.unfinished, all.passed_over.tests), (4, 2, 1));
    assert_eq!(all.first.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), ended[..2]);
    let counts = async |filter: &str| {
        let coverage = world.coverage(account, filter).await;
        (coverage.total, coverage.passed_over.sum())
    };
    assert_eq!(counts("status=failed").await, (3, 1));
    assert_eq!(counts("status=failed,cancelled webhook=wh_one").await, (3, 1));
    assert_eq!(counts("status=delivered").await, (1, 0));
    assert_eq!(counts("status=delivered,failed error=http_5xx").await, (3, 1));
    assert_eq!(counts("status=pending").await, (0, 2));
    assert_eq!(counts("event=sequence.*").await, (0, 0));
    let since = world.delivery(account, ended[1]).await.timestamp;
    assert_eq!(counts(&format!("status=failed since={since}")).await, (2, 1));
    assert_eq!(counts(&format!("status=failed until={since}")).await, (1, 0));
    // What a paused or deleted webhook had is counted, and left out where nobody named it.
    world.change(Change::PutWebhook(world.paused("wh_one"))).await.expect("it is active");
    assert_eq!(world.coverage(account, "status=failed").await.passed_over.webhook_paused, 3);
    world.change(Change::DeleteWebhook(one)).await.expect("it exists");
    let deleted = world.coverage(account, "").await;
    assert_eq!((deleted.total, deleted.passed_over.webhook_deleted, deleted.passed_over.tests), (0, 6, 1));
}

/// A replay covers what its text finds in ids and in data, as the log shows it.
pub async fn coverage_searches(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let account = world.account();
    let webhook = world.new_webhook(account, "wh_one", &["*"]).await;
    let of = |data: &'static str| NewEvent { data: data.into(), ..event(account) };
    let mut ids = Vec::new();
    for data in [r#"{"domain":"Acme.com"}"#, r#"{"domain":"other.com"}"#, r#"{"domain":"x","note":"for ACME"}"#] {
        let accepted = world.accept(of(data)).await.id;
        world.settle(first(accepted, 0, webhook), End::Failed(500)).await;
        ids.push(id(accepted, 0));
    }
    world.accept(of(r#"{"domain":"acme.org"}"#)).await;
    let counts = async |world: &World<'_>, filter: &str| {
        let coverage = world.coverage(account, filter).await;
        (coverage.total, coverage.passed_over.unfinished)
    };
    assert_eq!(counts(&world, "q=acme").await, (2, 1));
    assert_eq!(counts(&world, "q=acme status=failed").await, (2, 0));
    assert_eq!(counts(&world, "q=acme status=delivered").await, (0, 0));
    assert_eq!(counts(&world, "q=wh_one").await, (3, 1));
    assert_eq!(counts(&world, &format!("q={}", ids[1])).await, (1, 0));
    assert_eq!(counts(&world, &format!("q={}", ids[1].event)).await, (1, 0));
    assert_eq!(counts(&world, "q=nowhere").await, (0, 0));
    let replay = world.start(account, "q=acme status=failed webhook=wh_one", "rpl_one").await;
    world.restart().await;
    let due = world.hand_over(replay, 9).await;
    assert_eq!(due.iter().map(|due| due.delivery).collect::<Vec<_>>(), [ids[0], ids[2]]);
}

/// A replay hands each delivery over once, in batches and over restarts, and what came after its creation not at all.
pub async fn each_is_handed_over_once(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let account = world.account();
    let webhook = world.new_webhook(account, "wh_one", &["*"]).await;
    let covered = failed(&world, account, webhook, 5).await;
    let replay = world.start(account, "webhook=wh_one status=failed", "rpl_one").await;
    failed(&world, account, webhook, 1).await;
    let due = world.hand_over(replay, 2).await;
    assert_eq!(ids(&due), covered[..2]);
    assert!(due.iter().all(|due| (due.reason, due.attempts_made, due.retries_made) == (Reason::Replay, 1, 0)));
    world.restart().await;
    let known = |fact: &Fact| matches!(fact, Fact::BulkReplay(known) if known.number == replay && known.running());
    assert_eq!(world.opened.known.iter().filter(|fact| known(fact)).count(), 1);
    assert_eq!(ids(&world.due(world.now().plus(Duration::from_micros(1))).await), covered[..2]);
    // One ends by a person's hand before its turn, another is waiting already.
    world.change(Change::Replay(account, covered[2])).await.expect("it has ended");
    assert_eq!(ids(&world.hand_over(replay, 9).await), covered[3..]);
    let told = world.replay(account, "rpl_one").await;
    assert_eq!((told.total, told.handed_over, told.passed_over.unfinished, told.remaining()), (5, 4, 1, 0));
    assert_eq!((told.waiting(), told.running()), (4, true));
    assert_eq!(world.hand_over(replay, 9).await, []);
    world.restart().await;
    for due in [due[0], due[1]] {
        world.settle(due, End::Delivered).await;
    }
    for delivery in &covered[3..] {
        let due = Due { delivery: *delivery, ..due[0] };
        world.settle(due, End::Failed(404)).await;
    }
    let told = world.replay(account, "rpl_one").await;
    assert!(matches!(told.state, State::Done { .. }), "{told:?}");
    assert_eq!(told.results, Results { delivered: 2, failed: 2, ..Results::default() });
    assert_eq!(told.errors.get(&ErrorCode::Http4xx), Some(&2));
    world.restart().await;
    assert!(world.opened.known.iter().all(|fact| !matches!(fact, Fact::BulkReplay(_))));
    assert!(matches!(
        world.bulk(ReplayChange::HandOver { account, replay, count: 1 }).await,
        Err(ChangeError::State(_))
    ));
}

/// What became of a delivery is counted until its schedule has ended, also after the replay is over; and its attempts say
/// which replay they are part of.
pub async fn results_follow_the_schedule(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let account = world.account();
    let webhook = world.new_webhook(account, "wh_one", &["*"]).await;
    let covered = failed(&world, account, webhook, 3).await;
    let replay = world.start(account, "status=failed", "rpl_one").await;
    let due = world.hand_over(replay, 9).await;
    world.told();
    let retry = world.settle(due[0], End::Retry(503, Duration::from_secs(30))).await.expect("it is tried again");
    let told = world.told();
    let streak = |fact: &Fact| if let Fact::BulkReplay(replay) = fact { Some(replay.streak) } else { None };
    assert_eq!(told.iter().filter_map(streak).collect::<Vec<_>>(), [-1], "{told:?}");
    world.change(Change::Cancel(account, covered[1])).await.expect("it waits");
    world.settle(due[2], End::Delivered).await;
    let over = world.replay(account, "rpl_one").await;
    assert!(matches!(over.state, State::Done { .. }));
    assert_eq!(over.results, Results { delivered: 1, retrying: 1, cancelled: 1, failed: 0 });
    assert_eq!((over.errors.get(&ErrorCode::Http5xx), over.streak), (Some(&1), 1));
    world.restart().await;
    world.settle(retry, End::Delivered).await;
    let over = world.replay(account, "rpl_one").await;
    assert_eq!((over.results.delivered, over.results.retrying, over.errors.len()), (2, 0, 0));
    // By hand again: that is no part of it.
    world.change(Change::Replay(account, covered[0])).await.expect("it has ended");
    let again = Due { attempts_made: 3, ..due[0] };
    world.settle(again, End::Failed(500)).await;
    let found = world.store().delivery(account, covered[0], world.now()).await.expect("it is read");
    let (_, logged) = found.expect("it is there");
    let parts: Vec<_> = logged.iter().map(|logged| logged.replay.as_ref().map(|id| id.as_str())).collect();
    assert_eq!(parts, [None, Some("rpl_one"), Some("rpl_one"), None]);
    assert_eq!(world.replay(account, "rpl_one").await.results, over.results);
}

/// A replay stands still and goes on, is refused where it cannot, and is ended.
pub async fn a_replay_stands_still_and_goes_on(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let account = world.account();
    let webhook = world.new_webhook(account, "wh_one", &["*"]).await;
    failed(&world, account, webhook, 4).await;
    let replay = world.start(account, "webhook=wh_one", "rpl_one").await;
    world.hand_over(replay, 1).await;
    world.pass(Duration::from_secs(7));
    let cause = Cause::Failures { in_a_row: 20, last: Some(ErrorCode::Http5xx) };
    world.bulk(ReplayChange::Pause { account, replay, cause: cause.clone() }).await.expect("it runs");
    let refused = |change| async { matches!(world.bulk(change).await, Err(ChangeError::State(_))) };
    assert!(refused(ReplayChange::Pause { account, replay, cause: cause.clone() }).await);
    assert!(refused(ReplayChange::HandOver { account, replay, count: 1 }).await);
    let paused = world.paused("wh_one");
    world.change(Change::PutWebhook(paused)).await.expect("it is active");
    assert!(refused(ReplayChange::Resume { account, replay, rate: None }).await, "its webhook is paused");
    let second = world.prepare(account, "webhook=wh_one", "rpl_two").await;
    assert!(refused(ReplayChange::Start(Box::new(second.clone()))).await, "its webhook is paused");
    world.restart().await;
    let told = world.replay(account, "rpl_one").await;
    assert!(matches!(&told.state, State::Paused { cause: kept, .. } if *kept == cause), "{told:?}");
    assert_eq!(told.ran_until(world.now()), Duration::from_secs(7));
    world.change(Change::PutWebhook(world.active("wh_one"))).await.expect("it is paused");
    let started = world.bulk(ReplayChange::Start(Box::new(second))).await;
    assert!(matches!(started, Err(ChangeError::NotFound) | Ok(())), "a restart may drop what nobody had started");
    world.bulk(ReplayChange::Resume { account, replay, rate: Some(4) }).await.expect("it is paused");
    let due = world.hand_over(replay, 2).await;
    assert_eq!(due[1].due_at.since(due[0].due_at), Duration::from_millis(250));
    world.bulk(ReplayChange::Stop { account, replay, by: "ops".to_owned() }).await.expect("it runs");
    assert!(matches!(
        world.bulk(ReplayChange::Stop { account, replay, by: "ops".to_owned() }).await,
        Err(ChangeError::State(_))
    ));
    // What was handed over is still sent, and counted.
    world.settle(due[0], End::Delivered).await;
    let told = world.replay(account, "rpl_one").await;
    assert!(matches!(told.state, State::Stopped { .. }));
    assert_eq!((told.handed_over, told.results.delivered, told.waiting()), (3, 1, 2));
    assert_eq!(
        world.bulk(ReplayChange::Stop { account, replay: 99, by: String::new() }).await,
        Err(ChangeError::NotFound)
    );
}

/// A replay of a webhook that is deleted ends, also one that stands still: nobody could let it go on.
pub async fn a_replay_ends_with_its_webhook(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let account = world.account();
    let (one, two) =
        (world.new_webhook(account, "wh_one", &["*"]).await, world.new_webhook(account, "wh_two", &["*"]).await);
    for _ in 0..4 {
        let accepted = world.accept(event(account)).await.id;
        for (place, webhook) in [(0, one), (1, two)] {
            world.settle(first(accepted, place, webhook), End::Failed(500)).await;
        }
    }
    let paused = world.start(account, "webhook=wh_one", "rpl_paused").await;
    let due = world.hand_over(paused, 1).await;
    world.settle(due[0], End::Delivered).await;
    let cause = Cause::Key { name: "ops".to_owned(), reason: None };
    world.bulk(ReplayChange::Pause { account, replay: paused, cause }).await.expect("it runs");
    world.start(account, "webhook=wh_one status=failed", "rpl_waits").await;
    let running = world.start(account, "webhook=wh_two", "rpl_running").await;
    let due = world.hand_over(running, 2).await;
    let all = world.start(account, "status=failed", "rpl_all").await;
    world.told();
    for webhook in [one, two] {
        world.change(Change::DeleteWebhook(webhook)).await.expect("it exists");
    }
    let told = world.told();
    let over = |fact: &Fact| matches!(fact, Fact::BulkReplay(replay) if replay.ended());
    assert_eq!(told.iter().filter(|fact| over(fact)).count(), 3, "{told:?}");
    for (name, sent, left) in [("rpl_paused", 1, 3), ("rpl_waits", 0, 3), ("rpl_running", 2, 2)] {
        let told = world.replay(account, name).await;
        assert!(matches!(told.state, State::Done { .. }), "{told:?}");
        assert_eq!((told.handed_over, told.passed_over.webhook_deleted), (sent, left), "{name}");
    }
    assert_eq!(world.replay(account, "rpl_running").await.results.cancelled, due.len() as u64);
    assert!(matches!(
        world.bulk(ReplayChange::Resume { account, replay: paused, rate: None }).await,
        Err(ChangeError::State(_))
    ));
    // One of all webhooks goes on, and finds each of theirs gone.
    assert!(world.replay(account, "rpl_all").await.running());
    world.restart().await;
    assert_eq!(world.hand_over(all, 9).await, []);
    assert!(matches!(world.replay(account, "rpl_all").await.state, State::Done { .. }));
}

/// Lists are of an account, newest first; what an account had goes with it, and with retention.
pub async fn replays_are_of_their_account(subject: &mut dyn Subject) {
    let world = World::new(subject).await;
    let (account, other) = (world.account(), world.new_account("acme").await);
    let webhook = world.new_webhook(account, "wh_one", &["*"]).await;
    failed(&world, account, webhook, 2).await;
    let mut numbers = Vec::new();
    for name in ["rpl_a", "rpl_b", "rpl_c"] {
        numbers.push(world.start(account, "status=failed", name).await);
    }
    world.prepare(account, "status=failed", "rpl_nobody").await;
    let stop = |account| ReplayChange::Stop { account, replay: numbers[1], by: "ops".to_owned() };
    assert_eq!(world.bulk(stop(other)).await, Err(ChangeError::NotFound));
    world.bulk(stop(account)).await.expect("it waits for its turn");
    let list = async |account: u32, before, limit, unfinished| {
        let page = world.store().bulk_replays(account, before, limit, unfinished).await.expect("it is listed");
        (page.rows.iter().map(|replay| replay.id.to_string()).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(list(account, None, 2, false).await, (vec!["rpl_c".into(), "rpl_b".into()], Some(numbers[1])));
    assert_eq!(list(account, Some(numbers[1]), 2, false).await, (vec!["rpl_a".into()], None));
    assert_eq!(list(account, None, 9, true).await, (vec!["rpl_c".into(), "rpl_a".into()], None));
    assert_eq!(list(other, None, 9, false).await, (vec![], None));
    assert_eq!(world.store().bulk_replay(other, "rpl_a".parse().expect("an id")).await, Ok(None));
    assert_eq!(world.store().bulk_replay(account, "rpl_nobody".parse().expect("an id")).await, Ok(None));
    world.told();
    world.change(Change::DeleteAccount(account)).await.expect("it exists");
    let over = |fact: &Fact| matches!(fact, Fact::BulkReplay(replay) if Arc::clone(replay).ended());
    assert_eq!(world.told().iter().filter(|fact| over(fact)).count(), 2);
    assert_eq!(list(account, None, 9, false).await, (vec![], None));
    assert_eq!(world.delivery_gone(account).await, DeliveryStatus::ALL.len());
}

impl World<'_> {
    /// How many statuses have no delivery of the account any more.
    async fn delivery_gone(&self, account: u32) -> usize {
        let mut gone = 0;
        for status in DeliveryStatus::ALL {
            gone += usize::from(self.list(account, &format!("status={}", status.as_str()), 5).await.is_empty());
        }
        gone
    }
}
