//! What the database keeps under its account, and the embedded store does not: it is found under it once it was moved.

use domain::audit::{Act, Action, Entry};
use domain::replay::{Replay, ReplayChange, Scope};
use domain::store::{ChangeError, Changed, Keep};

use super::*;

/// The entries of an account, or of all.
async fn entries(store: &dyn Store, account: Option<u32>) -> Vec<Entry> {
    let query = AuditQuery { account, limit: 1_000, ..AuditQuery::default() };
    store.audit(query).await.expect("it is listed").rows
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_of_an_account_is_found_under_it() {
    let (dir, clock) = (Dir::new("owned"), ManualClock::default());
    let (name, address) = database();
    let (store, directory) = embedded(&dir.0, &clock);
    let [account, other] = fill(&store, &directory, &clock).await;
    let now = clock.now();
    let filter = DeliveryFilter::parse_line("status=delivered,failed", now).expect("a filter");
    let scope = Scope { account, webhook: None, filter, now, sending: Vec::new() };
    let replay = Replay::new("rpl_one".parse().expect("an id"), &scope, None, "ops");
    let replay = store.prepare_replay(scope, replay).await.expect("it is listed");
    let (number, total) = (replay.number, replay.total);
    assert!(total > 3, "{replay:?}");
    change(&store, Change::BulkReplay(ReplayChange::Start(Box::new(replay)))).await;
    let note = |of, target: &str| Change::Note(Act::new(Action::SecretRevealed, of, target));
    let keep = |of, key| {
        let idempotency = Idempotency { account: of, key: [key; 32], request: [1; 32] };
        Keep { idempotency, answer: vec![key] }
    };
    let kept = [(note(None, "key_one"), keep(0, 100)), (note(Some(other), "wh_one"), keep(other, 101))];
    for (change, keep) in kept.clone() {
        assert_eq!(store.change(change, By::us(), Some(keep)).await, Ok(Changed::Made));
    }
    let accounts = [Some(account), Some(other), None];
    let mut before = Vec::new();
    for of in accounts {
        before.push(entries(&store, of).await);
    }
    assert!(before[2].len() > before[0].len() + before[1].len(), "some are the platform's own");
    store.stop();
    run(&dir.0, &address, now, 7, 0).await.expect("it ends").expect("it is moved");
    let left =
        "SELECT (SELECT count(*) FROM replay_pages WHERE account = $), (SELECT count(*) FROM audit WHERE account = 0),
                       (SELECT count(*) FROM idempotency WHERE account = -1)";
    let left = Cluster::shared().run_sql(&name, &left.replace('$', &account.to_string()));
    assert_eq!(left, "1|1|4");

    let (store, directory) = try_served(&address, &clock).await.expect("it is served");
    for (of, before) in accounts.into_iter().zip(&before) {
        assert_eq!(entries(&store, of).await, *before);
    }
    for (change, keep) in kept {
        let answer = Changed::Repeated(keep.answer.clone());
        assert_eq!(store.kept(keep.idempotency.clone()).await, Ok(Some(answer.clone())));
        assert_eq!(store.change(change, By::us(), Some(keep)).await, Ok(answer));
    }
    let change = async |change| store.change(Change::BulkReplay(change), By::us(), None).await;
    let hand_over = |of| ReplayChange::HandOver { account: of, replay: number, count: 1_000 };
    assert_eq!(change(hand_over(other)).await, Err(ChangeError::NotFound));
    assert_eq!(change(hand_over(account)).await, Ok(Changed::Made));
    let found =
        store.bulk_replay(account, "rpl_one".parse().expect("an id")).await.expect("it is read").expect("it is there");
    assert_eq!((found.remaining(), found.total), (0, total));
    // A node tells of what it has written after what has come with the move.
    assert!(entries(&store, None).await.first() == before[2].first());
    webhook(&store, &directory, account, "wh_after", now).await;
    let after = entries(&store, Some(account)).await;
    assert!(after[0].id > before[0][0].id && after[1..] == before[0], "{after:?}");
    store.stop().await;
}
