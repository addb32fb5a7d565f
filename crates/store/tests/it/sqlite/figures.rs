//! Figures on disk: rolled up, pruned, made for a store of the first layout, and written by the commit they belong to.

use std::time::Duration;

use crate::sqlite::support::{ACCOUNT, Dir, NOW, Open, limits, open, settlement, stats, try_open};
use domain::attempt::Reason;
use domain::delivery::Next;
use domain::id::DeliveryId;
use domain::stats::{HOURS_KEPT, MINUTES_KEPT, Stats, Step, Subjects};
use domain::store::Change;
use domain::time::Timestamp;

fn keep(open: &mut Open, now: Timestamp) {
    loop {
        open.engine.begin().expect("it begins");
        let more = open.engine.keep_figures(now).expect("they are kept");
        open.engine.commit().expect("it commits");
        if !more {
            return;
        }
    }
}

/// Deliveries that end in the ways there are, over some minutes; returns the webhook.
fn busy(open: &mut Open) -> u32 {
    let webhook = open.new_webhook("wh_one");
    for (n, event) in (0u64..).zip(open.accept(NOW, 40)) {
        let (now, delivery) = (NOW.plus(Duration::from_secs(7 * n)), DeliveryId { event, place: 0 });
        let retry = Next::Retry { due_at: now, retries_made: 1, reason: Reason::Retry };
        match n % 5 {
            0 => open.settle(now, settlement(delivery, webhook, 1, now, Next::Delivered)),
            1 => open.settle(now, settlement(delivery, webhook, 1, now, Next::Failed)),
            2 => {
                open.settle(now, settlement(delivery, webhook, 1, now, retry));
                open.settle(now, settlement(delivery, webhook, 2, now, Next::Delivered));
            }
            3 => open.settle(now, settlement(delivery, webhook, 1, now, retry)),
            _ => assert!(open.change(now, Change::Cancel(ACCOUNT, delivery))),
        }
    }
    webhook
}

/// Everything that figures are asked for.
fn all(open: &Open, webhook: u32) -> Vec<Stats> {
    let (reader, mut found) = (open.reader(), Vec::new());
    for subjects in [Subjects::Account, Subjects::Webhooks(vec![webhook])] {
        for step in [Step::MINUTE, Step::HOUR] {
            found.extend(stats(&reader, subjects.clone(), step).expect("they are read"));
        }
    }
    found
}

#[test]
fn what_is_rolled_up_reads_as_before() {
    let dir = Dir::new();
    let mut open = open(&dir);
    let webhook = busy(&mut open);
    let before = all(&open, webhook);
    assert_eq!((before[0].total().attempts(), before[0].total().delivered, before[0].pending), (40, 16, 8));
    for seconds in [0, 60, 130, 130, 400] {
        keep(&mut open, NOW.plus(Duration::from_secs(seconds)));
        assert_eq!(all(&open, webhook), before, "after {seconds} s");
    }
    // A clock that was set back counts in minutes that are rolled up already.
    let late = open.accept(NOW, 1)[0];
    open.settle(NOW, settlement(DeliveryId { event: late, place: 0 }, webhook, 1, NOW, Next::Delivered));
    for found in all(&open, webhook) {
        assert_eq!((found.total().attempts(), found.total().delivered), (41, 17));
    }
}

#[test]
fn minutes_go_before_hours() {
    let dir = Dir::new();
    let mut open = open(&dir);
    let webhook = busy(&mut open);
    keep(&mut open, NOW.plus(MINUTES_KEPT + Duration::from_secs(3_600)));
    let [minutes, hours] = &all(&open, webhook)[..2] else { panic!("two steps") };
    assert_eq!((minutes.total().attempts(), hours.total().attempts()), (0, 40));
    keep(&mut open, NOW.plus(HOURS_KEPT + Duration::from_secs(2 * 3_600)));
    assert_eq!(all(&open, webhook)[1].total().attempts(), 0);
}

#[test]
fn a_store_without_figures_gets_them_from_its_log() {
    let dir = Dir::new();
    let mut first = open(&dir);
    let webhook = busy(&mut first);
    let before = all(&first, webhook);
    drop(first);
    let conn = rusqlite::Connection::open(dir.database()).expect("it opens");
    conn.execute_batch(
        "DELETE FROM stats_minutes; DELETE FROM stats_hours; DELETE FROM stats_journal;
         DELETE FROM marks WHERE name = 'stats_rolled'",
    )
    .expect("they are gone");
    drop(conn);
    for _ in 0..2 {
        let mut again = try_open(&dir, 7, limits()).expect("it opens");
        assert_eq!(all(&again, webhook), before);
        keep(&mut again, NOW.plus(Duration::from_secs(400)));
    }
}

#[test]
fn an_erased_account_leaves_no_figures() {
    let dir = Dir::new();
    let mut open = open(&dir);
    busy(&mut open);
    keep(&mut open, NOW.plus(Duration::from_secs(400)));
    assert!(open.change(NOW, Change::DeleteAccount(1)));
    open.engine.begin().expect("it begins");
    open.engine.erase(1_000).expect("it is erased");
    open.engine.commit().expect("it commits");
    let conn = rusqlite::Connection::open(dir.database()).expect("it opens");
    for table in ["stats_minutes", "stats_hours"] {
        let number: i64 =
            conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("a count");
        assert_eq!(number, 0, "{table}");
    }
}
