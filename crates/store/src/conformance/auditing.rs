//! The audit log: every change is in it with its actor, in the change's own transaction.

use domain::audit::{Act, Action, Actor, ActorKind, AuditFilter, AuditQuery, By, Entry};
use domain::id::AuditId;
use domain::store::{Change, ChangeError, Changed, Keep};
use domain::time::Timestamp;
use domain::webhook::Held;

use super::Subject;
use super::world::{End, World, event, first, id, idempotency};

fn by(name: &str) -> By {
    let actor = Actor { kind: ActorKind::Key, id: Some(format!("key_{name}")), name: name.to_owned() };
    By { actor, request: Some("req_1".to_owned()), address: Some([192, 0, 2, 7].into()) }
}

async fn entries(world: &World<'_>, account: Option<u32>, filter: AuditFilter) -> Vec<Entry> {
    let mut query = AuditQuery { account, filter, before: None, limit: 2 };
    let mut all = Vec::new();
    loop {
        let page = world.store().audit(query.clone()).await.expect("a page");
        assert!(page.rows.len() <= query.limit);
        all.extend(page.rows);
        query.before = page.next;
        if query.before.is_none() {
            return all;
        }
    }
}

fn told(entries: &[Entry]) -> Vec<(&'static str, &str, &str)> {
    entries
        .iter()
        .map(|entry| (entry.act.action.as_str(), entry.act.target.as_str(), entry.by.actor.name.as_str()))
        .collect()
}

/// Every change is there, newest first, with who made it; what was refused or only repeated is not.
pub async fn changes_are_told_with_their_actor(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let account = world.account();
    let webhook = world.new_webhook(account, "wh_one", &["*"]).await;
    let due = first(world.accept(event(account)).await.id, 0, webhook);
    world.settle(due, End::Failed(500)).await;
    let change = async |change: Change, name: &str| world.store().change(change, by(name), None).await;
    change(Change::Replay(account, due.delivery), "ann").await.expect("it has ended");
    change(Change::Cancel(account, due.delivery), "bob").await.expect("it waits");
    assert!(change(Change::Cancel(account, due.delivery), "eve").await.is_err());
    assert_eq!(change(Change::Cancel(account, id(due.delivery.event, 7)), "eve").await, Err(ChangeError::NotFound));
    let keep = Keep { idempotency: idempotency(account, 1, 1), answer: Vec::new() };
    let paused = Change::PutWebhook(world.paused("wh_one"));
    let made = world.store().change(paused.clone(), by("ann"), Some(keep.clone())).await;
    assert_eq!(made, Ok(Changed::Made));
    assert_eq!(world.store().change(paused, by("eve"), Some(keep)).await, Ok(Changed::Repeated(Vec::new())));
    change(Change::Failing { webhook, since: Some(Timestamp(5)) }, "us").await.expect("it exists");
    let resumed = Change::Resume { webhook: world.active("wh_one"), held: Held::Deliver, rate: Some(3) };
    change(resumed, "bob").await.expect("it is paused");
    let note = Act::new(Action::SecretRevealed, Some(account), "wh_one").with("field", "secret");
    change(Change::Note(note.clone()), "ann").await.expect("it is noted");
    assert_eq!(
        change(Change::Note(Act { account: Some(999), ..note.clone() }), "eve").await,
        Err(ChangeError::NotFound)
    );
    change(Change::DeleteWebhook(webhook), "bob").await.expect("it exists");
    world.restart().await;

    let all = entries(&world, Some(account), AuditFilter::default()).await;
    let delivery = due.delivery.to_string();
    let expected = [
        ("webhook.deleted", "wh_one", "bob"),
        ("webhook.secret_revealed", "wh_one", "ann"),
        ("webhook.resumed", "wh_one", "bob"),
        ("webhook.paused", "wh_one", "ann"),
        ("delivery.cancelled", &delivery, "bob"),
        ("delivery.replayed", &delivery, "ann"),
        ("webhook.created", "wh_one", "posthaste"),
    ];
    assert_eq!(told(&all), expected);
    assert_eq!(all[0].by, by("bob"));
    assert_eq!(all[1].act, note);
    assert_eq!(all[2].act.detail["rate"], 3);
    assert!(all.windows(2).all(|pair| pair[0].id > pair[1].id));
    let whole = format!("{all:?}");
    assert!(!whole.contains("canary-header") && !whole.contains("whsec_"), "{whole}");

    let filter = |pairs: &[(&str, &str)]| AuditFilter::parse(pairs.iter().copied(), world.now()).expect("a filter");
    for (pairs, number) in [
        (vec![("action", "delivery.*")], 2),
        (vec![("action", "webhook.paused")], 1),
        (vec![("actor", "key_ann")], 3),
        (vec![("actor", "posthaste")], 1),
        (vec![("actor", "key")], 6),
        (vec![("target", "wh_one"), ("actor", "key_bob")], 2),
        (vec![("since", "1h")], 7),
        (vec![("until", "1h")], 0),
    ] {
        assert_eq!(entries(&world, Some(account), filter(&pairs)).await.len(), number, "{pairs:?}");
    }
}

/// An account sees its own part; erasing it erases that, and leaves the erasure in the platform's.
pub async fn an_account_s_part_goes_with_it(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let (ours, theirs) = (world.account(), world.new_account("acme").await);
    world.new_webhook(theirs, "wh_theirs", &["*"]).await;
    world.new_webhook(ours, "wh_ours", &["*"]).await;
    let all = AuditFilter::default;
    assert_eq!(entries(&world, Some(ours), all()).await.len(), 1);
    let part = entries(&world, Some(theirs), all()).await;
    assert_eq!(told(&part), [("webhook.created", "wh_theirs", "posthaste"), ("account.created", "acme", "posthaste")]);
    world.store().change(Change::DeleteAccount(theirs), by("ann"), None).await.expect("it exists");
    assert_ne!(world.new_account("acme").await, theirs);
    world.restart().await;
    assert_eq!(entries(&world, Some(theirs), all()).await, []);
    let platform = entries(&world, None, all()).await;
    let expected = [
        ("account.created", "acme", "posthaste"),
        ("account.deleted", "acme", "ann"),
        ("webhook.created", "wh_ours", "posthaste"),
    ];
    assert_eq!(told(&platform), expected);
    assert_eq!(platform[1].act.account, None);
    assert!(platform[0].id > AuditId::first_at(world.now()));
}
