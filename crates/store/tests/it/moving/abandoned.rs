//! A move that is given up: the database is as before it, the store goes on, and nothing else is ever taken out.

use super::*;

async fn abandon(from: &Path, to: &Address, key: [u8; 32], now: Timestamp) -> Result<u64, MoveError> {
    moving::abandon(Parts { from, to, vault: Vault::new(&key), chance: chance(), now, rows_at_once: 5 }).await
}

/// Runs a move until it has carried everything, and has compared some of it.
async fn until_it_compares(from: &Path, to: &Address, now: Timestamp) {
    let enough = Notify::new();
    // By another name than those of `run` have.
    let mut last = 100u8;
    let chance = Box::new(move |bytes: &mut [u8]| {
        last = last.wrapping_add(1);
        bytes.fill(last);
    });
    let parts = Parts { from, to, vault: Vault::new(&KEY), chance, now, rows_at_once: 5 };
    let moving = moving::run(parts, |step| {
        if matches!(step, Step::Compared(..)) {
            enough.notify_one();
        }
    });
    tokio::select! {
        biased;
        () = enough.notified() => {}
        moved = moving => panic!("it was not cut short: {moved:?}"),
    }
}

/// What there is in the database, whatever it is.
fn left(name: &str) -> String {
    let all = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    Cluster::shared().run_sql(name, all).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_is_given_up_wherever_it_was_cut_short_and_the_next_one_begins_anew() {
    let (dir, clock) = (Dir::new("abandoned"), ManualClock::default());
    let (name, address) = database();
    let (store, directory) = embedded(&dir.0, &clock);
    fill(&store, &directory, &clock).await;
    store.stop();
    let now = clock.now();
    let mut rows = Vec::new();
    // While it carries, and while it compares.
    for batches in [Some(1), Some(9), Some(30), None] {
        match batches {
            Some(batches) => assert!(run(&dir.0, &address, now, 5, batches).await.is_none(), "{batches}"),
            None => until_it_compares(&dir.0, &address, now).await,
        }
        rows.push(abandon(&dir.0, &address, KEY, now).await.expect("it is given up"));
        assert_eq!(left(&name), "0", "after {batches:?} batches");
        let again = abandon(&dir.0, &address, KEY, now).await;
        assert!(matches!(again, Err(MoveError::NotUnderWay)), "{again:?}");
    }
    assert!(rows.is_sorted() && rows[1] > 0, "{rows:?}");
    // Served again between: it does not know of its move any more.
    assert!(run(&dir.0, &address, now, 5, 9).await.is_none());
    let (store, _) = embedded(&dir.0, &clock);
    store.stop();
    let refused = run(&dir.0, &address, now, 5, 0).await;
    assert!(matches!(refused, Some(Err(MoveError::OtherMove { may_be_abandoned: true }))), "{refused:?}");
    abandon(&dir.0, &address, KEY, now).await.expect("it is given up");
    assert_eq!(left(&name), "0");
    let moved = run(&dir.0, &address, now, 500, usize::MAX).await.expect("to its end").expect("it moves");
    assert!(!moved.resumed && !moved.already, "{moved:?}");
    let (node, _) = try_served(&address, &clock).await.expect("it is served");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_an_unfinished_move_of_the_store_is_taken_out() {
    let (dir, other, clock) = (Dir::new("kept"), Dir::new("kept-other"), ManualClock::default());
    let (store, directory) = embedded(&dir.0, &clock);
    fill(&store, &directory, &clock).await;
    store.stop();
    let now = clock.now();
    // A database without tables of ours, and one that is served.
    let (name, empty) = database();
    let (_, served) = database();
    let (node, _) = try_served(&served, &clock).await.expect("it is served");
    node.stop().await;
    for address in [&empty, &served] {
        let refused = abandon(&dir.0, address, KEY, now).await;
        assert!(matches!(refused, Err(MoveError::NotUnderWay)), "{refused:?}");
    }
    assert_eq!(
        Cluster::shared().run_sql(&name, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").trim(),
        "0"
    );
    // Another store's, with the same key, that has carried everything: it may have noted so.
    let (store, directory) = embedded(&other.0, &clock);
    fill(&store, &directory, &clock).await;
    store.stop();
    let (name, address) = database();
    until_it_compares(&other.0, &address, now).await;
    let there = left(&name);
    let refused = abandon(&dir.0, &address, KEY, now).await;
    assert!(matches!(refused, Err(MoveError::OtherMove { .. })), "{refused:?}");
    // A move of its own elsewhere is not this one either.
    assert!(run(&dir.0, &empty, now, 5, 9).await.is_none());
    let refused = abandon(&dir.0, &address, KEY, now).await;
    assert!(matches!(refused, Err(MoveError::OtherMove { .. })), "{refused:?}");
    let refused = abandon(&other.0, &address, [8; 32], now).await;
    assert!(matches!(refused, Err(MoveError::From(sqlite::OpenError::OtherKey(_)))), "{refused:?}");
    assert_eq!(left(&name), there);
    // To its end: it is the database's now.
    run(&other.0, &address, now, 500, usize::MAX).await.expect("to its end").expect("it moves");
    let there = left(&name);
    for from in [&dir.0, &other.0] {
        let refused = abandon(from, &address, KEY, now).await;
        assert!(matches!(refused, Err(MoveError::NotUnderWay)), "{refused:?}");
    }
    assert_eq!(left(&name), there);
}
