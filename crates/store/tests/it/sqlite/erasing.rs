//! Erasing an account: in bounded steps, also over a crash, until no byte of it is left.

use std::collections::HashSet;

use crate::sqlite::support::{ACCOUNT, Dir, NOW, Open, open, settlement};
use domain::attempt::Reason;
use domain::delivery::Next;
use domain::id::DeliveryId;
use domain::store::{Change, Fact};
use domain::time::Timestamp;
use store::sqlite::Erased;

/// A store with twenty events: delivered, waiting for a retry, and without a row.
fn filled(dir: &Dir) -> Open {
    let mut open = open(dir);
    let webhook = open.new_webhook("wh_canary");
    for (n, event) in open.accept(NOW, 20).into_iter().enumerate() {
        let delivery = DeliveryId { event, place: 0 };
        let retry = Next::Retry { due_at: NOW, retries_made: 1, reason: Reason::Retry };
        match n % 3 {
            0 => open.settle(NOW, settlement(delivery, webhook, 1, NOW, Next::Delivered)),
            1 => {
                open.settle(NOW, settlement(delivery, webhook, 1, NOW, retry));
                open.settle(NOW, settlement(delivery, webhook, 2, NOW, retry));
            }
            _ => {}
        }
    }
    open
}

fn step(open: &mut Open, budget: usize) -> Erased {
    open.engine.begin().expect("it begins");
    let erased = open.engine.erase(budget).expect("it is written");
    open.engine.commit().expect("it commits");
    erased
}

/// Goes on until all is erased.
fn all(open: &mut Open, budget: usize) {
    for _ in 0..100 {
        match step(open, budget) {
            Erased::Some => {}
            Erased::All(account) => return assert_eq!(account, ACCOUNT),
            Erased::Nothing => panic!("there was nothing to erase"),
        }
    }
    panic!("it never ends");
}

fn rows(dir: &Dir, table: &str) -> i64 {
    let conn = rusqlite::Connection::open(dir.database()).expect("it opens");
    conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("it is counted")
}

fn assert_no_byte(dir: &Dir) {
    for file in std::fs::read_dir(&dir.0).expect("it exists") {
        let path = file.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("it is read");
        for canary in [&b"canary-payload"[..], b"wh_canary", &[7; 100]] {
            let found = bytes.windows(canary.len()).position(|window| window == canary);
            assert_eq!(found, None, "{canary:?} in {}", path.display());
        }
    }
}

#[test]
fn a_closed_account_is_gone_at_once_and_its_rows_follow() {
    let dir = Dir::new();
    let mut open = filled(&dir);
    assert!(open.change(NOW, Change::DeleteAccount(ACCOUNT)));
    assert!(!open.change(NOW, Change::DeleteAccount(ACCOUNT)), "it is no longer there");
    assert_eq!(open.engine.fresh(), 0);
    assert_eq!(open.reader().due(None, Timestamp(i64::MAX), 100), Ok(Vec::new()));
    assert_eq!(open.reader().oldest_due(Timestamp(i64::MAX), &HashSet::new()), Ok(None));
    assert_eq!(rows(&dir, "webhooks") + rows(&dir, "keys") + rows(&dir, "accounts"), 0);
    assert_eq!(rows(&dir, "events"), 20);
    assert_eq!(step(&mut open, 8), Erased::Some);
    assert_eq!(rows(&dir, "events"), 12);
    assert_eq!(step(&mut open, 8), Erased::Some);
    all(&mut open, 8);
    for table in ["events", "deliveries", "attempts", "due", "webhooks_gone", "zeros"] {
        assert_eq!(rows(&dir, table), 0, "{table}");
    }
    assert_eq!(step(&mut open, 8), Erased::All(ACCOUNT), "until the log is emptied");
    open.engine.begin().expect("it begins");
    open.engine.erasure_ends(ACCOUNT).expect("it is written");
    open.engine.commit().expect("it commits");
    assert_eq!(step(&mut open, 8), Erased::Nothing);
    drop(open);
    assert_no_byte(&dir);
}

#[test]
fn an_erasure_goes_on_after_a_crash() {
    let dir = Dir::new();
    let mut whole = filled(&dir);
    assert!(whole.change(NOW, Change::DeleteAccount(ACCOUNT)));
    assert_eq!(step(&mut whole, 8), Erased::Some);
    let crashed = dir.crashed();
    drop(whole);
    let mut again = open(&crashed);
    assert!(again.known.iter().all(|fact| !matches!(fact, Fact::Accepted { .. })), "nobody waits for what is left");
    assert_eq!(again.engine.fresh(), 0);
    assert!(again.directory.read().account_numbered(ACCOUNT).is_none());
    all(&mut again, 100);
    drop(again);
    assert_no_byte(&crashed);
}

#[test]
fn what_retention_had_deleted_before_is_overwritten_too() {
    let dir = Dir::new();
    let mut open = filled(&dir);
    // Long enough for pages of their own, which retention frees and does not overwrite.
    let long = format!(r#"{{"domain":"canary-payload","pad":"{}"}}"#, "x".repeat(20_000));
    let webhook = open.directory.read().webhooks().next().expect("one").number;
    for n in 0..50 {
        open.engine.begin().expect("it begins");
        let new = domain::event::NewEvent { data: long.clone().into(), ..crate::sqlite::support::event() };
        let event = open.engine.accept(NOW, &[new]).expect("it is written").remove(0).expect("it is accepted").id;
        open.engine.commit().expect("it commits");
        open.settle(
            NOW,
            settlement(
                DeliveryId { event, place: 0 },
                webhook,
                1,
                NOW.plus(std::time::Duration::from_secs(n)),
                Next::Delivered,
            ),
        );
    }
    let later = NOW.plus(std::time::Duration::from_secs(1_000_000));
    open.engine.begin().expect("it begins");
    let retained = open.engine.retain(later, std::time::Duration::from_secs(10), 1_000).expect("it is written");
    open.engine.commit().expect("it commits");
    assert!(retained.events >= 50);
    assert!(open.change(NOW, Change::DeleteAccount(ACCOUNT)));
    all(&mut open, 100);
    drop(open);
    assert_no_byte(&dir);
}
