//! Retention by an account's own rules and by size: what has ended goes, what is unfinished never does, and stops what is
//! new when nothing else is left.

use std::time::Duration;

use domain::delivery::Next;
use domain::id::{DeliveryId, EventId};
use domain::key::{Account, LogRules};
use domain::store::{AcceptError, Change, NoSpace, StoreError};
use domain::time::Timestamp;

use crate::sqlite::support::{ACCOUNT, Dir, NOW, Open, event, list, open, settlement};

const HOUR: u64 = 3_600;

fn rules(open: &mut Open, log: LogRules) {
    let mut account = Account::clone(open.directory.read().account_numbered(ACCOUNT).expect("it exists"));
    account.version += 1;
    account.log = log;
    assert!(open.change(NOW, Change::PutAccount(account)));
}

/// Shrinks until there is no more to do at once; how many events went.
fn shrink(open: &mut Open, size: Option<u64>) -> usize {
    let mut gone = 0;
    loop {
        open.engine.begin().expect("it begins");
        let shrunk = open.engine.shrink(size, 7).expect("it is written");
        open.engine.commit().expect("it commits");
        gone += shrunk.events;
        if !shrunk.more {
            return gone;
        }
    }
}

fn refused(open: &mut Open) -> Option<NoSpace> {
    open.engine.begin().expect("it begins");
    let answer = open.engine.accept(NOW, &[event()]).expect("it is asked").remove(0);
    open.engine.rollback().expect("it rolls back");
    match answer {
        Ok(_) => None,
        Err(AcceptError::Store(StoreError::NoSpace(why))) => Some(why),
        Err(other) => panic!("{other}"),
    }
}

const fn id(event: EventId) -> DeliveryId {
    DeliveryId { event, place: 0 }
}

#[test]
fn an_account_s_own_retention_goes_before_the_operator_s() {
    let dir = Dir::new();
    let mut open = open(&dir);
    let webhook = open.new_webhook("wh_one");
    let event = open.accept(NOW, 1)[0];
    open.settle(NOW, settlement(id(event), webhook, 1, NOW, Next::Delivered));
    let at = |hours: u64| NOW.plus(Duration::from_secs(hours * HOUR));
    let keep = Duration::from_secs(10 * HOUR);
    let mut retained = |hours: Option<u64>, now: Timestamp| {
        let retention = hours.map(|hours| Duration::from_secs(hours * HOUR));
        rules(&mut open, LogRules { retention, ..LogRules::default() });
        open.engine.begin().expect("it begins");
        let retained = open.engine.retain(now, keep, 100).expect("it is written");
        open.engine.commit().expect("it commits");
        retained.events
    };
    assert_eq!(retained(Some(20), at(11)), 0, "kept for longer");
    assert_eq!(retained(Some(5), at(4)), 0);
    assert_eq!(retained(Some(5), at(6)), 1, "kept for less");
}

#[test]
fn an_account_s_size_is_kept_and_only_unfinished_ones_stop_what_is_new() {
    let dir = Dir::new();
    let mut before = open(&dir);
    let webhook = before.new_webhook("wh_one");
    let events = before.accept(NOW, 100);
    for event in &events[10..] {
        before.settle(NOW, settlement(id(*event), webhook, 1, NOW, Next::Delivered));
    }
    let half = before.engine.kept_of(ACCOUNT) / 2;
    assert!(half > 50 * 200, "{half} bytes are half of a hundred events");
    rules(&mut before, LogRules { retention_size: Some(half), ..LogRules::default() });
    let gone = shrink(&mut before, None);
    assert!((40..70).contains(&gone), "{gone} of 100 went");
    assert!(before.engine.kept_of(ACCOUNT) <= half);
    assert_eq!(refused(&mut before), None);
    let left: Vec<_> = list(&before.reader(), NOW).expect("it is read").iter().map(|row| row.id.event).collect();
    assert!(events[..10].iter().all(|event| left.contains(event)), "what is unfinished stays");
    assert_eq!(left.len(), 100 - gone);
    assert!(left.contains(&events[99]) && !left.contains(&events[10]), "the oldest went first");

    // What is left by a crash counts as before, less what was not saved.
    let crashed = dir.crashed();
    let after = open(&crashed);
    assert!(after.engine.kept_of(ACCOUNT) <= half);

    rules(&mut before, LogRules { retention_size: Some(100), ..LogRules::default() });
    assert_eq!(shrink(&mut before, None), 90 - gone, "everything that has ended");
    assert_eq!(refused(&mut before), Some(NoSpace::Account));
    for event in &events[..10] {
        assert!(before.change(NOW, Change::Cancel(ACCOUNT, id(*event))));
    }
    assert_eq!(shrink(&mut before, None), 10);
    assert_eq!((refused(&mut before), before.engine.kept_of(ACCOUNT)), (None, 0));
}

#[test]
fn the_whole_store_s_size_is_kept_and_only_unfinished_ones_stop_what_is_new() {
    let dir = Dir::new();
    let mut open = open(&dir);
    let webhook = open.new_webhook("wh_one");
    let small = open.engine.used_bytes();
    let waiting = open.accept(NOW, 5);
    for _ in 0..20 {
        for event in open.accept(NOW, 100) {
            open.settle(NOW, settlement(id(event), webhook, 1, NOW, Next::Delivered));
        }
    }
    let bound = small + (open.engine.used_bytes() - small) / 2;
    let gone = shrink(&mut open, Some(bound));
    assert!((500..1_600).contains(&gone), "{gone} of 2,000 went");
    assert!(open.engine.used_bytes() <= bound);
    assert_eq!(refused(&mut open), None);
    assert_eq!(shrink(&mut open, Some(4_096)), 2_000 - gone);
    assert_eq!(refused(&mut open), Some(NoSpace::Store));
    let left: Vec<_> = list(&open.reader(), NOW).expect("it is read").iter().map(|row| row.id.event).collect();
    assert_eq!(left, waiting.iter().rev().copied().collect::<Vec<_>>());
    assert_eq!(shrink(&mut open, None), 0);
    assert_eq!(refused(&mut open), None, "the bound is gone");
}

#[test]
fn a_crash_within_a_batch_leaves_all_of_it_and_one_after_it_nothing() {
    let dir = Dir::new();
    let mut before = open(&dir);
    let webhook = before.new_webhook("wh_one");
    let events = before.accept(NOW, 200);
    for event in events.iter().skip(1).filter(|event| event.0 % 7 != 0) {
        before.settle(NOW, settlement(id(*event), webhook, 1, NOW, Next::Delivered));
    }
    let unfinished: Vec<_> =
        std::iter::once(&events[0]).chain(events[1..].iter().filter(|event| event.0 % 7 == 0)).copied().collect();
    let late = NOW.plus(Duration::from_secs(10 * HOUR));
    let keep = Duration::from_secs(HOUR);
    // What a start after a crash at this instant finds: every row whole, every reference kept.
    let survives = || {
        let crashed = dir.crashed();
        let after = open(&crashed);
        let left = list(&after.reader(), late).expect("it is read");
        for delivery in &left {
            let found = after.reader().delivery(ACCOUNT, delivery.id, late).expect("it is read").expect("it is there");
            assert_eq!(found.1.len(), usize::from(delivery.attempts_made));
            assert!(after.reader().event(ACCOUNT, delivery.id.event).expect("it is read").is_some());
        }
        drop(after);
        store::sqlite::check(&crashed.0).expect("nothing is damaged");
        left.len()
    };
    let mut left = 200;
    loop {
        before.engine.begin().expect("it begins");
        let retained = before.engine.retain(late, keep, 40).expect("it is written");
        assert_eq!(survives(), left, "nothing of a batch that is not committed");
        before.engine.commit().expect("it commits");
        left -= retained.events;
        assert_eq!(survives(), left, "all of one that is");
        if !retained.more {
            break;
        }
    }
    let rest: Vec<_> = list(&before.reader(), late).expect("it is read").iter().map(|row| row.id.event).collect();
    assert_eq!(rest, unfinished.into_iter().rev().collect::<Vec<_>>());
}
