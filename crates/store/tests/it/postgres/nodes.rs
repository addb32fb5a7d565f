//! Nodes that share a database: what one changes all know, and what they accept at once never meets.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::attempt::Reason;
use domain::audit::{Act, Action, AuditQuery};
use domain::cluster::{Arrival, Arrivals as _};
use domain::delivery::Next;
use domain::event::Idempotency;
use domain::event::NewEvent;
use domain::id::{DeliveryId, EventId};
use domain::key::Account;
use domain::store::{AcceptError, Change, ChangeError, Fact, Store as _};
use domain::time::Timestamp;
use domain::webhook::{Pause, PauseCause, Webhook};
use store::conformance::ManualClock;
use store::conformance::cluster::Cluster;

use super::support::{Node, eventually, retry, settlement};

/// An event that is accepted after a webhook was created elsewhere goes to it, whatever the accepting node has heard; and a
/// change is told on every node.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_changes_all_know() {
    let (database, clock) = (Cluster::shared().database(), ManualClock::default());
    let (one, two) = (Node::start(&database, &clock).await, Node::start(&database, &clock).await);
    for round in 0..20 {
        let (here, there) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        here.new_webhook(&format!("wh_{round}")).await;
        assert_eq!(there.accept().await.deliveries, round + 1, "it was there before the event");
    }
    let number = one.number("wh_0").expect("it is there");
    let _before = two.told.take();
    one.change(Change::DeleteWebhook(number)).await.expect("it exists");
    assert_eq!(two.accept().await.deliveries, 19);
    eventually(async || {
        let told = two.told.take();
        told.iter().any(|fact| matches!(fact, Fact::WebhookDeleted { webhook } if *webhook == number)).then_some(())
    })
    .await;
    let twice = Webhook { version: 2, ..Webhook::clone(&one.directory.read().webhooks().next().expect("one").clone()) };
    let both = tokio::join!(
        one.change(Change::PutWebhook(Box::new(twice.clone()))),
        two.change(Change::PutWebhook(Box::new(twice)))
    );
    let refused = [both.0, both.1].into_iter().filter(|made| *made == Err(ChangeError::Stale)).count();
    assert_eq!(refused, 1, "of two that change the same version one is told");
    one.store.stop().await;
    two.store.stop().await;
}

/// What a node has accepted another reads by its name, with the event; what has ended by then, or was never there, is left out.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_names_another_reads() {
    let (database, clock) = (Cluster::shared().database(), ManualClock::default());
    let (one, two) = (Node::start(&database, &clock).await, Node::start(&database, &clock).await);
    let webhooks = [one.new_webhook("wh_a").await, one.new_webhook("wh_b").await];
    let (first, second) = (one.accept().await.id, one.accept().await.id);
    let name = |event, place: u16| Arrival {
        account: one.account,
        webhook: webhooks[usize::from(place)],
        delivery: DeliveryId { event, place },
    };
    let mut named = vec![name(first, 0), name(first, 1), name(second, 0), name(second, 1), name(EventId(1), 0)];
    let found = async |named: &[Arrival]| {
        let (mut waiting, events) = two.store.arrived(named.to_vec()).await.expect("it is read");
        waiting.sort_by_key(|due| due.delivery);
        (waiting, events.iter().map(|event| event.id).collect::<HashSet<_>>())
    };
    let (waiting, events) = found(&named).await;
    assert_eq!(
        waiting.iter().map(|due| due.delivery).collect::<Vec<_>>(),
        named[..4].iter().map(|it| it.delivery).collect::<Vec<_>>()
    );
    assert_eq!(events, HashSet::from([first, second]));
    assert!(waiting.iter().all(|due| due.reason == Reason::First && due.attempts_made == 0));
    one.store.settle(vec![settlement(waiting[0], one.now(), Next::Delivered)]).await.expect("it is recorded");
    assert_eq!(found(&named).await.0, waiting[1..]);
    // An account that is closed has nothing that waits.
    one.change(Change::DeleteAccount(one.account)).await.expect("it is there");
    named.truncate(4);
    eventually(async || found(&named).await.0.is_empty().then_some(())).await;
    one.store.stop().await;
    two.store.stop().await;
}

/// The end of a transaction goes out with what it writes: where a part of that fails, none of it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_which_a_part_fails_leaves_nothing() {
    let (cluster, clock) = (Cluster::shared(), ManualClock::default());
    let database = cluster.database();
    let name = database.rsplit('/').next().expect("a name");
    let node = Node::start(&database, &clock).await;
    let webhook = node.new_webhook("wh_one").await;
    let number = |sql: &str| cluster.run_sql(name, sql).trim().parse::<u32>().expect("a number");
    // Before, and once all statements are known to the connection.
    for accepted in 0..2 {
        cluster.run_sql(name, &format!("ALTER TABLE hot ADD CONSTRAINT none CHECK (webhook <> {webhook}) NOT VALID"));
        let refused = node.store.accept(vec![node.event()]).await.remove(0);
        assert!(matches!(refused, Err(AcceptError::Store(_))), "{refused:?}");
        assert_eq!(number("SELECT count(*) FROM events"), accepted, "an event without its delivery would be lost");
        cluster.run_sql(name, "ALTER TABLE hot DROP CONSTRAINT none");
        let at = node.accept().await.timestamp;
        assert_eq!(
            (number("SELECT count(*) FROM events"), number("SELECT count(*) FROM hot")),
            (accepted + 1, accepted + 1)
        );
        let behind = number(&format!("SELECT count(*) FROM slots WHERE reserved > {}", at.0));
        assert_eq!(behind, 1, "timestamps that were given could be given again after a crash");
    }
    node.store.stop().await;
}

/// Timestamps of an account are never given twice, by however many nodes at the same instant; ids are everybody's own; and an
/// idempotency key acts once.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_at_once_never_meets() {
    let (database, clock) = (Cluster::shared().database(), ManualClock::default());
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Arc::new(Node::start(&database, &clock).await));
    }
    nodes[0].new_webhook("wh_one").await;
    let mut posts = Vec::new();
    for round in 0..24u8 {
        for node in &nodes {
            let node = Arc::clone(node);
            posts.push(tokio::spawn(async move {
                let key = Idempotency { account: node.account, key: [round; 32], request: [1; 32] };
                let mut events = vec![node.event(); 40];
                events.push(NewEvent { idempotency: Some(key), ..node.event() });
                node.store.accept(events).await
            }));
        }
    }
    let (mut stamps, mut ids, mut repeated) = (HashSet::new(), HashSet::new(), 0);
    for post in posts {
        for answer in post.await.expect("it does not panic") {
            let accepted = answer.expect("it is accepted");
            if accepted.repeated {
                repeated += 1;
            } else {
                assert!(stamps.insert(accepted.timestamp), "{}", accepted.timestamp);
                assert!(ids.insert(accepted.id), "{}", accepted.id);
            }
        }
    }
    assert_eq!((repeated, ids.len()), (48, 24 * 3 * 40 + 24));
    let other = Idempotency { account: nodes[1].account, key: [0; 32], request: [2; 32] };
    let answer = nodes[1].store.accept(vec![NewEvent { idempotency: Some(other), ..nodes[1].event() }]).await;
    assert_eq!(answer, [Err(AcceptError::OtherRequest)]);
    for node in nodes {
        node.store.stop().await;
    }
}

/// Where what is accepted meets what another node has given, that is what a transaction is told by, whatever was asked behind it: it is made
/// again as a whole, and not for each request apart.
#[tokio::test(flavor = "multi_thread")]
async fn what_meets_is_made_again_with_all_that_came_with_it() {
    let (database, clock) = (Cluster::shared().database(), ManualClock::default());
    let (one, two) = (Node::start(&database, &clock).await, Node::start(&database, &clock).await);
    one.new_webhook("wh_one").await;
    let commits = || two.store.figures().commits.load(Ordering::Relaxed);
    let new_account =
        |id: String| Change::PutAccount(Account::new(id.parse().expect("an id"), "An account", one.now()));
    let mut in_one = 0;
    for round in 0..10 {
        // Both give what comes first in an instant the same timestamp.
        clock.step(1_000_000);
        let id = format!("acc_{round}");
        one.change(new_account(id.clone())).await.expect("a new account");
        let account = one.directory.read().account(&id.parse().expect("an id")).expect("it is there").number;
        let of_account = || vec![NewEvent { account, ..one.event() }];
        let first = one.store.accept(of_account()).await.remove(0).expect("it is accepted");
        one.accept().await;
        let due = one.store.due(None, Timestamp(i64::MAX), 100).await.expect("it is read").remove(0);
        // One delivery ends twice: where it stands then is asked once the first end is written.
        let later = retry(due, one.now().plus(Duration::from_secs(9)));
        let ends = vec![settlement(due, one.now(), later), settlement(due, one.now(), Next::Delivered)];
        let before = commits();
        // While the change is made, the two others wait for the next transaction.
        let (changed, mut accepted, settled) = tokio::join!(
            two.change(new_account(format!("other_{round}"))),
            two.store.accept(of_account()),
            two.store.settle(ends),
        );
        changed.expect("a new account");
        settled.expect("it is recorded");
        assert_ne!(first.timestamp, accepted.remove(0).expect("it is accepted").timestamp);
        assert_eq!(two.store.due(None, Timestamp(i64::MAX), 100).await.expect("it is read"), []);
        in_one += u32::from(commits() == before + 2);
    }
    // In the first of them the connection does not know its statements yet, and a machine that is busy may keep the three from coming together.
    assert!(in_one >= 5, "{in_one} of ten were made again as a whole");
    one.store.stop().await;
    two.store.stop().await;
}

/// A webhook that is paused on one node holds what another accepts, and a delivery that one cancels or replays is so for all.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_changed_anywhere() {
    let (database, clock) = (Cluster::shared().database(), ManualClock::default());
    let (one, two) = (Node::start(&database, &clock).await, Node::start(&database, &clock).await);
    let number = one.new_webhook("wh_one").await;
    let first = two.accept().await;
    let mut paused = Webhook::clone(&one.directory.read().webhook_numbered(number).expect("it is there").clone());
    paused.version += 1;
    paused.pause = Some(Pause { since: one.now(), cause: PauseCause::Gone });
    one.change(Change::PutWebhook(Box::new(paused))).await.expect("the next version");
    let _before = two.told.take();
    two.accept().await;
    let told = two.told.take();
    assert!(
        told.iter().any(|fact| matches!(fact, Fact::Accepted { on_disk, .. } if *on_disk == [true])),
        "it is held: {told:?}"
    );
    let id = domain::id::DeliveryId { event: first.id, place: 0 };
    one.change(Change::Cancel(one.account, id)).await.expect("it waits");
    assert!(matches!(two.change(Change::Cancel(two.account, id)).await, Err(ChangeError::State(_))));
    two.change(Change::Replay(two.account, id)).await.expect("it has ended");
    let waiting = one.store.backlog(number, None, domain::time::Timestamp(i64::MAX), 9).await.expect("it is read");
    assert_eq!(waiting.len(), 2);
    one.store.stop().await;
    two.store.stop().await;
}

/// What an operator has set for all sessions of a server is for others: here nothing depends on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_s_own_defaults_change_nothing() {
    let cluster = Cluster::start(&[
        "default_transaction_isolation = 'serializable'",
        "idle_session_timeout = 1000",
        "synchronous_commit = off",
        "timezone = 'Asia/Kathmandu'",
        "datestyle = 'SQL, DMY'",
        "intervalstyle = 'iso_8601'",
        "bytea_output = 'escape'",
        "standard_conforming_strings = off",
    ]);
    let (database, clock) = (cluster.database(), ManualClock::default());
    let (one, two) = (Node::start(&database, &clock).await, Node::start(&database, &clock).await);
    one.new_webhook("wh_one").await;
    for _ in 0..10 {
        let (here, there) =
            tokio::join!(one.store.accept(vec![one.event(); 20]), two.store.accept(vec![two.event(); 20]));
        assert!(
            here.iter().chain(&there).all(|it| it.as_ref().is_ok_and(|it| it.deliveries == 1)),
            "{here:?} {there:?}"
        );
    }
    let due = one.store.due(None, Timestamp(i64::MAX), 1_000).await.expect("it is read");
    assert_eq!(due.len(), 400);
    let ends = due.into_iter().map(|due| settlement(due, one.now(), Next::Delivered)).collect();
    two.store.settle(ends).await.expect("it is recorded");
    assert_eq!(one.store.due(None, Timestamp(i64::MAX), 1_000).await.expect("it is read"), []);
    // Those that read are kept however long nobody asks for anything.
    let idle = "SELECT count(*) FROM pg_stat_activity
                WHERE application_name = 'posthaste' AND state = 'idle' AND now() - state_change > interval '2 seconds'";
    eventually(async || (cluster.run_sql("postgres", idle) != "0").then_some(())).await;
    one.store.stop().await;
    two.store.stop().await;
}

/// Accounts are made at any node, and each knows at once of those of the others.
#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_made_anywhere() {
    let (database, clock) = (Cluster::shared().database(), ManualClock::default());
    let (one, two) = (Node::start(&database, &clock).await, Node::start(&database, &clock).await);
    for round in 0..10 {
        let here = if round % 2 == 0 { &one } else { &two };
        let account = Account::new(format!("acc_{round}").parse().expect("an id"), "An account", here.now());
        here.change(Change::PutAccount(account)).await.expect("a new account");
    }
    one.store.stop().await;
    two.store.stop().await;
}

/// A webhook's id is one webhook's, whosever, although each account's are kept by keys of their own.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_one_webhook_s_over_all_accounts() {
    let (database, clock) = (Cluster::shared().database(), ManualClock::default());
    let (one, two) = (Node::start(&database, &clock).await, Node::start(&database, &clock).await);
    let account = Account::new("acme".parse().expect("an id"), "Acme", one.now());
    one.change(Change::PutAccount(account)).await.expect("a new account");
    let theirs = one.directory.read().account(&"acme".parse().expect("an id")).expect("it is there").number;
    let first = one.new_webhook("wh_first").await;
    let made = Webhook { number: 0, ..Webhook::clone(&one.webhook(first)) };
    for round in 0..20 {
        let id = format!("wh_{round}");
        let of = |account, name: &str| {
            let account_id = name.parse().expect("an id");
            let webhook = Webhook { account, account_id, id: id.parse().expect("an id"), ..made.clone() };
            Change::PutWebhook(Box::new(webhook))
        };
        let (here, there) = tokio::join!(one.change(of(one.account, "default")), two.change(of(theirs, "acme")));
        let (made, refused) = if here.is_ok() { (here, there) } else { (there, here) };
        assert!(made.is_ok() && refused == Err(ChangeError::Exists), "{id}: {made:?} {refused:?}");
    }
    one.store.stop().await;
    two.store.stop().await;
}

/// What nodes write into the audit log at the same instant, for whichever accounts, has ids of its own: however short the pages are,
/// all is in them.
#[tokio::test(flavor = "multi_thread")]
async fn entries_of_one_instant_have_ids_of_their_own() {
    let (database, clock) = (Cluster::shared().database(), ManualClock::default());
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Arc::new(Node::start(&database, &clock).await));
    }
    let account = Account::new("acme".parse().expect("an id"), "Acme", nodes[0].now());
    nodes[0].change(Change::PutAccount(account)).await.expect("a new account");
    let theirs = nodes[0].directory.read().account(&"acme".parse().expect("an id")).expect("it is there").number;
    let ours = nodes[0].account;
    eventually(async || {
        nodes.iter().all(|node| node.directory.read().account_numbered(theirs).is_some()).then_some(())
    })
    .await;
    let mut notes = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        for account in [None, Some(ours), Some(theirs)] {
            for note in 0..5 {
                let (node, note) =
                    (Arc::clone(node), Act::new(Action::SecretRevealed, account, format!("{at}_{note}")));
                notes.push(tokio::spawn(async move { node.change(Change::Note(note)).await }));
            }
        }
    }
    for note in notes {
        note.await.expect("it does not panic").expect("it is noted");
    }
    let listed = async |account| {
        let mut query = AuditQuery { account, limit: 1, ..AuditQuery::default() };
        let mut ids = Vec::new();
        loop {
            let page = nodes[0].store.audit(query.clone()).await.expect("it is listed");
            ids.extend(page.rows.iter().map(|entry| entry.id));
            query.before = page.next;
            if query.before.is_none() {
                return ids;
            }
        }
    };
    let (all, of_ours, of_theirs) = (listed(None).await, listed(Some(ours)).await, listed(Some(theirs)).await);
    // And that the account was made.
    assert_eq!((all.len(), of_ours.len(), of_theirs.len()), (46, 15, 16));
    assert!(all.windows(2).all(|pair| pair[0] > pair[1]), "{all:?}");
    for node in nodes {
        node.store.stop().await;
    }
}
