//! Erasing an account: in bounded steps, also over a crash, until no byte of it is left.

use crate::support::{ACCOUNT, Dir, NOW, Open, open, settlement};
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
    assert_eq!(open.reader().oldest_due(Timestamp(i64::MAX)), Ok(None));
    assert_eq!(rows(&dir, "webhooks") + rows(&dir, "keys") + rows(&dir, "accounts"), 0);
    assert_eq!(rows(&dir, "events"), 20);
    assert_eq!(step(&mut open, 8), Erased::Some);
    assert_eq!(rows(&dir, "events"), 12);
    assert_eq!(step(&mut open, 8), Erased::Some);
    assert_eq!(step(&mut open, 8), Erased::All(ACCOUNT));
    for table in ["events", "deliveries", "attempts", "due", "webhooks_gone"] {
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
    assert_eq!(step(&mut again, 100), Erased::All(ACCOUNT));
    drop(again);
    assert_no_byte(&crashed);
}
