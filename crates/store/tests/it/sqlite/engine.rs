//! The engine by itself: what gets rows when, what is kept for how long, what is erased, and what it refuses to open.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::sqlite::support::{ACCOUNT, Dir, NOW, Open, event, limits, list, open, settlement, stats, try_open};
use domain::attempt::Reason;
use domain::delivery::Next;
use domain::event::{Idempotency, NewEvent};
use domain::id::DeliveryId;
use domain::secret::SigningSecret;
use domain::stats::{Step, Subjects};
use domain::store::{Change, Fact};
use domain::time::Timestamp;
use store::sqlite::{Limits, OpenError};

#[test]
fn the_oldest_get_rows_when_they_are_far_behind() {
    let dir = Dir::new();
    let mut open = try_open(&dir, 7, Limits { fresh_behind: 100, ..limits() }).expect("it opens");
    let webhook = open.new_webhook("wh_one");
    let first = open.accept(NOW, 1)[0];
    for round in 0..40 {
        for event in open.accept(Timestamp(NOW.0 + round), 10) {
            let delivery = DeliveryId { event, place: 0 };
            open.settle(NOW, settlement(delivery, webhook, 1, NOW, Next::Delivered));
        }
    }
    assert_eq!(open.engine.fresh(), 0);
    let delivery = DeliveryId { event: first, place: 0 };
    let waiting = open.reader().backlog(webhook, None, Timestamp(i64::MAX), 10).expect("it is read");
    assert_eq!(waiting.iter().map(|due| (due.delivery, due.reason)).collect::<Vec<_>>(), [(delivery, Reason::First)]);
    open.settle(NOW, settlement(delivery, webhook, 1, NOW, Next::Delivered));
    assert_eq!(open.reader().backlog(webhook, None, Timestamp(i64::MAX), 10), Ok(Vec::new()));
    assert_eq!(open.reader().delivery(ACCOUNT, delivery, NOW).expect("it is read").expect("it exists").1.len(), 1);
}

/// Accepts ten events in each of some rounds; those of their deliveries that are sent from memory.
fn told_in_memory(open: &mut Open, rounds: i64) -> Vec<DeliveryId> {
    let mut told = Vec::new();
    for round in 0..rounds {
        open.engine.begin().expect("it begins");
        open.engine.accept(Timestamp(NOW.0 + round), &vec![event(); 10]).expect("it is written");
        for fact in open.engine.commit().expect("it commits") {
            if let Fact::Accepted { event, on_disk } = fact
                && on_disk == [false]
            {
                told.push(DeliveryId { event: event.id, place: 0 });
            }
        }
    }
    told
}

#[test]
fn a_backlog_that_grows_fills_the_disk_and_not_memory() {
    let dir = Dir::new();
    let mut open = try_open(&dir, 7, Limits { fresh_behind: 100, ..limits() }).expect("it opens");
    let webhook = open.new_webhook("wh_one");
    let mut told = told_in_memory(&mut open, 100);
    assert!((100..=130).contains(&told.len()), "{} of 1,000 are in memory", told.len());
    let waiting = open.reader().backlog(webhook, None, Timestamp(i64::MAX), 2_000).expect("it is read");
    assert_eq!(waiting.len() + open.engine.fresh(), 1_000);
    assert!(open.change(NOW, Change::Cancel(ACCOUNT, told.pop().expect("there are some"))));
    for delivery in told {
        open.settle(NOW, settlement(delivery, webhook, 1, NOW, Next::Delivered));
    }
    assert_eq!(told_in_memory(&mut open, 5).len(), 50, "it has caught up");
}

#[test]
fn a_pause_lets_go_of_what_was_in_memory() {
    let dir = Dir::new();
    let mut open = try_open(&dir, 7, Limits { fresh_behind: 100, ..limits() }).expect("it opens");
    let webhook = open.new_webhook("wh_one");
    told_in_memory(&mut open, 20);
    assert!(told_in_memory(&mut open, 1).is_empty(), "it is far behind");
    open.pause(webhook);
    let mut active = open.directory.read().webhook_numbered(webhook).map(|it| (**it).clone()).expect("a webhook");
    active.version += 1;
    active.pause = None;
    assert!(open.change(NOW, Change::PutWebhook(Box::new(active))));
    assert_eq!(told_in_memory(&mut open, 5).len(), 50);
}

#[test]
fn retention_counts_from_the_end_and_spares_what_is_unfinished() {
    let dir = Dir::new();
    let mut open = open(&dir);
    let nobody = open.accept(NOW, 1)[0];
    let webhook = open.new_webhook("wh_one");
    let events = open.accept(NOW, 4);
    let at = |hours: u64| NOW.plus(Duration::from_secs(hours * 3_600));
    let id = |n: usize| DeliveryId { event: events[n], place: 0 };
    let retry = Next::Retry { due_at: at(2), retries_made: 1, reason: Reason::Retry };
    open.settle(NOW, settlement(id(0), webhook, 1, NOW, Next::Delivered));
    open.settle(NOW, settlement(id(1), webhook, 1, NOW, retry));
    open.settle(at(9), settlement(id(1), webhook, 2, at(9), Next::Failed));
    open.settle(NOW, settlement(id(2), webhook, 1, NOW, retry));
    let keyed = NewEvent { idempotency: Some(Idempotency { account: 1, key: [1; 32], request: [1; 32] }), ..event() };
    open.engine.begin().expect("it begins");
    open.engine.accept(NOW, &[keyed]).expect("it is written");
    open.engine.commit().expect("it commits");

    let keep = Duration::from_secs(10 * 3_600);
    let mut retain = |now| {
        let mut all = (0, 0, 0);
        loop {
            open.engine.begin().expect("it begins");
            let retained = open.engine.retain(now, keep, 2).expect("it is written");
            open.engine.commit().expect("it commits");
            all = (all.0 + retained.events, all.1 + retained.keys, all.2 + retained.entries);
            if !retained.more {
                return all;
            }
        }
    };
    assert_eq!(retain(at(10)), (0, 0, 0));
    assert_eq!(retain(at(11)), (2, 0, 1), "the one delivered, the one that went to nobody, and the webhook's making");
    assert_eq!(retain(at(18)), (0, 0, 0));
    assert_eq!(retain(at(20)), (1, 0, 0));
    assert_eq!(retain(at(9_999)), (0, 1, 0), "two wait for ever, and one has no row yet");
    let reader = open.reader();
    let wanted = [nobody, events[0], events[1], events[2], events[3]].map(|id| (ACCOUNT, id));
    assert_eq!(reader.load(&wanted).map(|found| found.len()), Ok(2));
    assert_eq!(reader.delivery(ACCOUNT, id(1), NOW), Ok(None));
    assert_eq!(list(&reader, NOW).map(|rows| rows.len()), Ok(3));
}

#[test]
fn secrets_are_not_in_the_file() {
    let dir = Dir::new();
    let mut open = open(&dir);
    open.new_webhook("wh_one");
    let secret = SigningSecret::from_bytes(&[9; 32]);
    let crashed = dir.crashed();
    for file in std::fs::read_dir(&crashed.0).expect("it exists") {
        let bytes = std::fs::read(file.expect("an entry").path()).expect("it is read");
        for canary in [secret.reveal().as_bytes(), &[9; 32], b"canary-header"] {
            assert!(!bytes.windows(canary.len()).any(|window| window == canary));
        }
    }
}

#[test]
fn refuses_to_open_what_is_not_its_own() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = Dir::new();
    let mut open = open(&dir);
    open.new_webhook("wh_one");
    assert!(matches!(try_open(&dir, 7, limits()), Err(OpenError::Locked(held)) if held == dir.0));
    for file in std::fs::read_dir(&dir.0).expect("it exists") {
        let mode = file.expect("an entry").metadata().expect("it exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(std::fs::metadata(&dir.0).expect("it exists").permissions().mode() & 0o777, 0o700);
    drop(open);
    let other = try_open(&dir, 8, limits()).err().expect("refused").to_string();
    assert!(other.contains("another encryption key"), "{other}");
    let conn = rusqlite::Connection::open(dir.database()).expect("it opens");
    conn.execute_batch("PRAGMA user_version = 99").expect("it is written");
    drop(conn);
    assert!(matches!(try_open(&dir, 7, limits()), Err(OpenError::Newer { found: 99, .. })));
    std::fs::write(dir.database(), b"not a database, but long enough to be taken for one by its name")
        .expect("written");
    assert!(matches!(try_open(&dir, 7, limits()), Err(OpenError::Damaged { file, .. }) if file == dir.database()));
}

#[test]
fn each_delivery_is_shown_once_while_it_gets_its_row() {
    const NUMBER: usize = 1_500;
    let dir = Dir::new();
    let mut open = open(&dir);
    let webhook = open.new_webhook("wh_one");
    let reader = open.reader();
    let events = open.accept(NOW, NUMBER);
    let done = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for event in events {
                let delivery = DeliveryId { event, place: 0 };
                open.settle(NOW, settlement(delivery, webhook, 1, NOW, Next::Delivered));
            }
            done.store(1, Ordering::SeqCst);
        });
        while done.load(Ordering::SeqCst) == 0 {
            let rows = list(&reader, NOW).expect("it is read");
            assert!(rows.windows(2).all(|pair| pair[0].id > pair[1].id));
            assert_eq!(rows.len(), NUMBER);
            // What ends meanwhile may be shown as both; nothing is shown as neither.
            assert!(shown(&reader, webhook) >= NUMBER as u64);
        }
    });
    assert_eq!(shown(&reader, webhook), NUMBER as u64);
}

/// How many deliveries the figures show: delivered, or waiting.
fn shown(reader: &store::sqlite::Reader, webhook: u32) -> u64 {
    let all = stats(reader, Subjects::Webhooks(vec![webhook]), Step::MINUTE).expect("it is read");
    all[0].total().delivered + all[0].pending
}

#[test]
fn the_oldest_due_is_found_behind_any_number_that_is_held() {
    let dir = Dir::new();
    let mut open = open(&dir);
    let held = open.new_webhook("wh_held");
    open.pause(held);
    open.accept(NOW, 1_500);
    let later = NOW.plus(Duration::from_secs(60));
    assert_eq!(open.reader().oldest_due(later, &HashSet::new()), Ok(None));
    let active = open.new_webhook("wh_active");
    let event = open.accept(NOW.plus(Duration::from_secs(1)), 1)[0];
    let due_at = NOW.plus(Duration::from_secs(31));
    let retry = Next::Retry { due_at, retries_made: 1, reason: Reason::Retry };
    open.settle(NOW, settlement(DeliveryId { event, place: 1 }, active, 1, NOW, retry));
    assert_eq!(open.reader().oldest_due(NOW.plus(Duration::from_secs(30)), &HashSet::new()), Ok(None));
    assert_eq!(open.reader().oldest_due(later, &HashSet::new()), Ok(Some(due_at)));
    assert_eq!(open.reader().oldest_due(later, &HashSet::from([active])), Ok(None));
}
