//! Cancelling more than one transaction takes: bounded parts, other writes in between, and crashes.

use domain::audit::By;
use domain::delivery::{Delivery, DeliveryStatus, Next};
use domain::filter::DeliveryFilter;
use domain::id::DeliveryId;
use domain::replay::{PassedOver, Scope};
use domain::stats::{Step, Subjects};
use domain::store::{Change, ChangeError, DeliveryQuery};
use domain::time::Timestamp;
use domain::webhook::{Held, Webhook};
use store::sqlite::{Limits, check};

use super::support::{ACCOUNT, Dir, NOW, Open, limits, settlement, stats, try_open};

/// Deliveries that one transaction cancels here.
const AT_ONCE: usize = 10;

fn open(dir: &Dir) -> Open {
    try_open(dir, 7, Limits { cancelled_at_once: AT_ONCE, fresh_per_webhook: 25, ..limits() }).expect("it opens")
}

/// The deliveries that a line of the filter means.
fn list(open: &Open, line: &str) -> Vec<Delivery> {
    let filter = DeliveryFilter::parse_line(line, NOW).expect("a filter");
    let query = DeliveryQuery { limit: 1_000, ..DeliveryQuery::new(ACCOUNT, filter, NOW) };
    open.reader().deliveries(&query).expect("it is listed").rows
}

/// How many of a webhook's rows wait on disk.
fn on_disk(open: &Open, webhook: u32) -> usize {
    open.reader().backlog(webhook, None, Timestamp(i64::MAX), 1_000).expect("it is read").len()
}

/// A step of what deleted webhooks have left.
fn cancel_some(open: &mut Open) -> bool {
    open.engine.begin().expect("it begins");
    let more = open.engine.cancel_some(NOW).expect("it is written");
    open.engine.commit().expect("it commits");
    more
}

#[test]
fn a_deleted_webhook_is_cancelled_in_parts_and_over_crashes() {
    let dir = Dir::new();
    let mut store = open(&dir);
    let (gone, kept) = (store.new_webhook("wh_gone"), store.new_webhook("wh_kept"));
    // Up to 25 of a webhook in memory, the others on disk; one of them in flight, one delivered, one to be retried.
    let events = store.accept(NOW, 60);
    let id = |n: usize| DeliveryId { event: events[n], place: 0 };
    let retry = Next::Retry { due_at: Timestamp(NOW.0 + 9), retries_made: 1, reason: domain::attempt::Reason::Retry };
    store.settle(NOW, settlement(id(0), gone, 1, NOW, Next::Delivered));
    store.settle(NOW, settlement(id(1), gone, 1, NOW, retry));
    assert!(store.change(NOW, Change::DeleteWebhook(gone)));
    assert!(store.engine.cancels(), "59 are more than one transaction takes");

    let mut lives = 0;
    loop {
        // Whatever is cancelled in its row and what is not: it reads the same, and nothing of it is to be sent.
        let cancelled = list(&store, "webhook=wh_gone status=cancelled");
        assert_eq!(cancelled.len(), 59);
        assert!(cancelled.iter().all(|it| it.ended_at == Some(NOW) && it.next_attempt_at.is_none()));
        assert_eq!(list(&store, "status=pending,held").iter().filter(|it| it.webhook.as_str() == "wh_gone").count(), 0);
        assert_eq!(list(&store, "status=cancelled").len(), 59);
        assert_eq!(list(&store, "webhook=wh_gone").len(), 60);
        let (delivery, _) = store.reader().delivery(ACCOUNT, id(59), NOW).expect("it is read").expect("it is there");
        assert_eq!((delivery.status, delivery.retries_made), (DeliveryStatus::Cancelled, 0));
        let due = store.reader().due(None, Timestamp(i64::MAX), 1_000).expect("it is read");
        assert!(due.iter().all(|due| due.webhook == kept));
        assert!(store.told_fresh().iter().all(|id| id.place == 1), "a start tells nothing of it");
        let filter = DeliveryFilter::parse_line("status=cancelled", NOW).expect("a filter");
        let scope = Scope { account: ACCOUNT, webhook: None, filter, now: NOW, sending: Vec::new() };
        let left_out = store.reader().coverage(&scope, 1).expect("it is counted").passed_over;
        assert_eq!(left_out, PassedOver { webhook_deleted: 59, ..PassedOver::default() });
        for change in [Change::Cancel(ACCOUNT, id(59)), Change::Replay(ACCOUNT, id(59))] {
            store.engine.begin().expect("it begins");
            let refused = store.engine.change(NOW, change, &By::us(), None);
            assert!(matches!(refused, Err(ChangeError::State(_))), "{refused:?}");
            store.engine.rollback().expect("it rolls back");
        }
        if !store.engine.cancels() {
            break;
        }
        let before = list(&store, "").len();
        cancel_some(&mut store);
        // Others write in between.
        store.accept(NOW, 1);
        assert_eq!(list(&store, "").len(), before + 1);
        if lives == 0 {
            // An attempt that was in flight when it was deleted changes nothing, wherever its delivery stands.
            store.settle(NOW, settlement(id(50), gone, 1, NOW, retry));
            store.settle(NOW, settlement(id(20), gone, 1, NOW, Next::Delivered));
        }
        drop(store);
        lives += 1;
        store = open(&dir);
    }
    assert!(lives >= 5, "{lives} transactions");
    assert_eq!(on_disk(&store, gone), 0);
    let figures = stats(&store.reader(), Subjects::Account, Step::MINUTE).expect("they are read");
    assert_eq!(figures[0].total().cancelled, 59);
    drop(store);
    assert!(check(&dir.0).expect("it is whole").rows.contains(&("cancellings", 0)));
}

#[test]
fn a_pause_that_ends_by_cancelling_holds_until_the_last_is_cancelled() {
    let dir = Dir::new();
    let mut store = open(&dir);
    let webhook = store.new_webhook("wh_held");
    store.pause(webhook);
    store.accept(NOW, 35);
    let active = |store: &Open| {
        let directory = store.directory.read();
        let stored = directory.webhook_numbered(webhook).expect("it is there");
        Box::new(Webhook { version: stored.version + 1, pause: None, ..Webhook::clone(stored) })
    };
    let step = |store: &mut Open, resumed: &Webhook| {
        let until = store.engine.held_until(NOW);
        store.engine.begin().expect("it begins");
        let more = store.engine.cancel_held(NOW, resumed, until).expect("it is written");
        store.engine.commit().expect("it commits");
        more
    };
    let resumed = active(&store);
    let stale = Webhook { version: resumed.version + 1, ..Webhook::clone(&resumed) };
    assert!(!step(&mut store, &stale) && on_disk(&store, webhook) == 35, "what cannot be done cancels nothing");
    assert!(step(&mut store, &resumed));
    assert_eq!(on_disk(&store, webhook), 25);
    drop(store);
    // It is paused as before, and still holds what is left.
    let mut store = open(&dir);
    assert_eq!((list(&store, "status=held").len(), list(&store, "status=cancelled").len()), (25, 10));
    assert_eq!(store.reader().due(None, Timestamp(i64::MAX), 9).expect("it is read"), []);
    let resumed = active(&store);
    while step(&mut store, &resumed) {}
    // What comes after it was asked is held like any other, and not meant.
    store.accept(NOW, 1);
    assert!(store.change(NOW, Change::Resume { webhook: resumed, held: Held::Cancel, rate: None }));
    assert_eq!((list(&store, "status=cancelled").len(), on_disk(&store, webhook)), (35, 1));
    assert_eq!(store.accept(NOW, 1).len(), 1);
    assert_eq!(list(&store, "status=pending").len(), 2);
    // What is asked without taking parts means all that is held then.
    store.pause(webhook);
    let resumed = active(&store);
    assert!(store.change(NOW, Change::Resume { webhook: resumed, held: Held::Cancel, rate: None }));
    assert_eq!((list(&store, "status=cancelled").len(), on_disk(&store, webhook)), (37, 0));
}
