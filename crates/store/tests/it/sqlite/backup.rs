//! Copies of a store that is open, and checks of whole files.

use crate::sqlite::support::{ACCOUNT, Dir, NOW, limits, list, open, settlement, try_open};
use domain::delivery::Next;
use domain::id::DeliveryId;
use store::sqlite::{OpenError, check, check_file, copy};

fn rows(checked: &store::sqlite::Checked, table: &str) -> u64 {
    checked.rows.iter().find(|(name, _)| *name == table).expect("a table").1
}

#[test]
fn a_copy_is_one_state_of_an_open_store() {
    let dir = Dir::new();
    let mut whole = open(&dir);
    let webhook = whole.new_webhook("wh_one");
    let events = whole.accept(NOW, 300);
    let delivered = DeliveryId { event: events[0], place: 0 };
    whole.settle(NOW, settlement(delivered, webhook, 1, NOW, Next::Delivered));
    let target = Dir::new();
    std::fs::create_dir(&target.0).expect("a new directory");
    let mut told = Vec::new();
    let mut later = Some(&mut whole);
    copy(&dir.0, &target.database(), |done, all| {
        // What is committed while it is copied is not in it.
        if let Some(open) = later.take() {
            open.accept(NOW, 10);
        }
        told.push((done, all));
    })
    .expect("it is copied");
    assert!(told.last().is_some_and(|(done, all)| done == all && *all > 10), "{told:?}");
    assert!(copy(&dir.0, &target.database(), |_, _| {}).is_err(), "nothing is overwritten");
    let before: Vec<_> = std::fs::read_dir(&target.0).expect("it exists").collect();
    let checked = check_file(&target.database()).expect("it is whole");
    assert!(checked.sums);
    assert_eq!((rows(&checked, "events"), rows(&checked, "deliveries"), rows(&checked, "webhooks")), (300, 1, 1));
    assert_eq!(std::fs::read_dir(&target.0).expect("it exists").count(), before.len(), "a check touches nothing");
    let live = check(&dir.0).expect("it is whole, and open meanwhile");
    assert_eq!(rows(&live, "events"), 310);

    let restored = try_open(&target, 7, limits()).expect("it opens");
    assert_eq!(restored.told_fresh().len(), 299);
    assert_eq!(list(&restored.reader(), NOW).map(|rows| rows.len()), Ok(300));
    let (delivery, attempts) = restored.reader().delivery(ACCOUNT, delivered, NOW).expect("it is read").expect("there");
    assert_eq!((delivery.attempts_made, attempts.len()), (1, 1));
}

#[test]
fn a_check_names_the_damaged_row() {
    let dir = Dir::new();
    let mut whole = open(&dir);
    let webhook = whole.new_webhook("wh_one");
    for event in whole.accept(NOW, 3) {
        let delivery = DeliveryId { event, place: 0 };
        whole.settle(NOW, settlement(delivery, webhook, 1, NOW, Next::Delivered));
    }
    drop(whole);
    check(&dir.0).expect("it is whole");
    for (sql, named) in [
        ("UPDATE events SET data = x'7b7d' WHERE key = (SELECT max(key) FROM events)", "event evt_"),
        ("UPDATE deliveries SET state = 2", "delivery dlv_"),
        ("UPDATE deliveries SET record = x'00112233445566'", "attempt att_"),
        ("UPDATE webhooks SET profile = profile || ' '", "webhook wh_one"),
        ("UPDATE marks SET value = x'00'", "mark "),
    ] {
        let copy = dir.crashed();
        let conn = rusqlite::Connection::open(copy.database()).expect("it opens");
        conn.execute_batch(sql).expect("it is written");
        drop(conn);
        match check(&copy.0) {
            Err(OpenError::Damaged { what, .. }) => assert!(what.starts_with(named), "{what}"),
            other => panic!("{sql}: {other:?}"),
        }
    }
    assert!(check(&Dir::new().0).is_err(), "there is nothing");
}
