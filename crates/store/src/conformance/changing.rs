//! Changes: versions, idempotency, deletion, and whose anything is.

use std::sync::Arc;

use domain::audit::By;
use domain::delivery::DeliveryStatus;
use domain::endpoint_url::EndpointUrl;
use domain::id::WebhookId;
use domain::key::{ApiKey, Scope};
use domain::key_pair::KeyPair;
use domain::secret::SigningSecret;
use domain::signature::KeyPairs;
use domain::store::{Change, ChangeError, Changed, EventQuery, Fact, Keep, StoreError};
use domain::time::Timestamp;
use domain::webhook::{Held, Webhook};

use super::Subject;
use super::world::{End, World, event, first, id, idempotency};

/// A webhook comes back from the store as it was put in, its secrets too; an older version than the stored one's
/// successor is stale.
pub async fn a_webhook_keeps_everything(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let account = world.account();
    world.new_webhook(account, "wh_kept", &["alert.*", "*"]).await;
    let mut webhook = world.paused("wh_kept");
    let pair = |fill| KeyPair::from_seed(&[fill; 32]);
    webhook.secrets.pairs = Some(KeyPairs::new(pair(1)));
    webhook.secrets.rotate(SigningSecret::from_bytes(&[8; 32]), pair(2), Some(Timestamp(77)));
    webhook.failing_since = Some(Timestamp(5));
    world.change(Change::PutWebhook(webhook.clone())).await.expect("the next version");
    assert_eq!(world.change(Change::PutWebhook(webhook.clone())).await, Err(ChangeError::Stale));
    let again = Webhook { number: 0, version: 1, ..*webhook.clone() };
    assert_eq!(world.change(Change::PutWebhook(Box::new(again))).await, Err(ChangeError::Exists));
    let before = world.webhook("wh_kept");
    world.restart().await;
    let after = world.webhook("wh_kept");
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
    assert_eq!(after.secrets, webhook.secrets);
    assert_eq!(after.headers, webhook.headers);
    let failing = Change::Failing { webhook: after.number, since: None };
    world.change(failing).await.expect("it exists");
    world.restart().await;
    assert_eq!((world.webhook("wh_kept").failing_since, world.webhook("wh_kept").version), (None, after.version));
}

/// A receiver's wish to be left alone is kept, through changes too; not for another URL, and not past a resume.
pub async fn a_wish_to_be_left_alone_is_kept(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let account = world.account();
    let webhook = world.new_webhook(account, "wh_one", &["*"]).await;
    let version = world.webhook("wh_one").version;
    let until = Timestamp(7_000_000);
    let wish = Change::LeaveAlone { webhook, until };
    world.change(wish.clone()).await.expect("it exists");
    world.restart().await;
    let kept = world.webhook("wh_one");
    assert_eq!((kept.leave_alone_until, kept.version), (Some(until), version));
    // Whoever changes the webhook has read it before, and knows nothing of the wish.
    let known = |kept: &Webhook| Webhook { version: kept.version + 1, leave_alone_until: None, ..kept.clone() };
    world.change(Change::PutWebhook(Box::new(known(&kept)))).await.expect("the next version");
    assert_eq!(world.webhook("wh_one").leave_alone_until, Some(until));
    let url = Arc::new(EndpointUrl::stored("https://example.org/in").expect("a URL"));
    let moved = Webhook { url, ..known(&world.webhook("wh_one")) };
    world.change(Change::PutWebhook(Box::new(moved))).await.expect("the next version");
    assert_eq!(world.webhook("wh_one").leave_alone_until, None);
    world.change(wish).await.expect("it exists");
    world.change(Change::PutWebhook(world.paused("wh_one"))).await.expect("it is active");
    assert_eq!(world.webhook("wh_one").leave_alone_until, Some(until));
    let resume = Change::Resume { webhook: world.active("wh_one"), held: Held::Deliver, rate: None };
    world.change(resume).await.expect("it is paused");
    world.restart().await;
    assert_eq!(world.webhook("wh_one").leave_alone_until, None);
    let gone = Change::LeaveAlone { webhook: 999, until };
    assert_eq!(world.change(gone).await.map(|_| ()), Err(ChangeError::NotFound));
}

/// An answer that is kept with a change is given again, and the change is made once; a failed change keeps nothing.
pub async fn a_change_is_made_once_per_key(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let account = world.account();
    world.new_webhook(account, "wh_one", &["*"]).await;
    let keep =
        |request| Some(Keep { idempotency: idempotency(account, 1, request), answer: b"secret answer".to_vec() });
    let change = Change::PutWebhook(world.paused("wh_one"));
    assert_eq!(world.store().kept(idempotency(account, 1, 1)).await, Ok(None));
    let failed = world.store().change(Change::DeleteWebhook(999), By::us(), keep(1)).await;
    assert_eq!(failed, Err(ChangeError::NotFound));
    assert_eq!(world.store().kept(idempotency(account, 1, 1)).await, Ok(None));
    assert_eq!(world.store().change(change.clone(), By::us(), keep(1)).await, Ok(Changed::Made));
    world.restart().await;
    let repeated = Changed::Repeated(b"secret answer".to_vec());
    assert_eq!(world.store().change(change.clone(), By::us(), keep(1)).await, Ok(repeated.clone()));
    assert_eq!(world.store().change(change, By::us(), keep(2)).await, Err(ChangeError::OtherRequest));
    assert_eq!(world.store().kept(idempotency(account, 1, 1)).await, Ok(Some(repeated)));
    assert_eq!(world.store().kept(idempotency(account, 1, 2)).await, Err(ChangeError::OtherRequest));
}

/// Deleting a webhook cancels what is unfinished and keeps the log, which still names it; it cannot be replayed to.
pub async fn deleting_a_webhook_cancels_and_keeps_the_log(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let account = world.account();
    let webhook = world.new_webhook(account, "wh_gone", &["*"]).await;
    let done = world.accept(event(account)).await.id;
    let planned = world.accept(event(account)).await.id;
    let new = world.accept(event(account)).await.id;
    world.settle(first(done, 0, webhook), End::Delivered).await;
    world.settle(first(planned, 0, webhook), End::Retry(500, std::time::Duration::from_secs(9))).await;
    world.told();
    world.change(Change::DeleteWebhook(webhook)).await.expect("it exists");
    assert!(matches!(&world.told()[..], [Fact::WebhookDeleted { webhook: gone }] if *gone == webhook));
    world.restart().await;
    assert_eq!(world.opened.known.len(), 0);
    let statuses = [DeliveryStatus::Cancelled, DeliveryStatus::Cancelled, DeliveryStatus::Delivered];
    let log = world.list(account, "webhook=wh_gone", 10).await;
    assert_eq!(log.iter().map(|delivery| delivery.status).collect::<Vec<_>>(), statuses);
    assert!(log.iter().all(|delivery| delivery.webhook.as_str() == "wh_gone"));
    assert!(matches!(world.change(Change::Replay(account, id(new, 0))).await, Err(ChangeError::State(_))));
    assert_eq!(world.change(Change::DeleteWebhook(webhook)).await, Err(ChangeError::NotFound));
    assert_ne!(world.new_webhook(account, "wh_gone", &["*"]).await, webhook);
    assert_eq!(world.accept(event(account)).await.deliveries, 1);
    assert_eq!(world.list(account, "webhook=wh_gone", 10).await.len(), 4, "of both that have had the id");
}

/// Deleting an account erases all that it owned, and leaves the others alone.
pub async fn deleting_an_account_erases(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let (kept, erased) = (world.account(), world.new_account("acme").await);
    let ours = world.new_webhook(kept, "wh_ours", &["*"]).await;
    let theirs = world.new_webhook(erased, "wh_theirs", &["*"]).await;
    world.change(Change::PutKey(key("key_theirs", 1, Some(erased)))).await.expect("a new key");
    let mut events = Vec::new();
    for _ in 0..3 {
        events.push((world.accept(event(kept)).await.id, world.accept(event(erased)).await.id));
    }
    world.settle(first(events[0].1, 0, theirs), End::Delivered).await;
    world.settle(first(events[1].1, 0, theirs), End::Retry(500, std::time::Duration::from_secs(9))).await;
    world.change(Change::DeleteAccount(erased)).await.expect("it exists");
    // An attempt that was in flight ends: there is nothing left to record it with.
    world.settle(first(events[2].1, 0, theirs), End::Delivered).await;
    for _ in 0..2 {
        assert_eq!(world.store().event(erased, events[0].1).await, Ok(None));
        assert_eq!(world.store().delivery(erased, id(events[1].1, 0), world.now()).await, Ok(None));
        assert_eq!(
            world.store().load(vec![(kept, events[2].1), (kept, events[2].0)]).await.map(|found| found.len()),
            Ok(1)
        );
        assert_eq!(world.store().load(vec![(erased, events[2].1)]).await, Ok(Vec::new()));
        assert_eq!(world.list(erased, "", 10).await, []);
        assert!(world.due(Timestamp(i64::MAX)).await.iter().all(|due| due.webhook == ours));
        assert!(world.opened.directory.read().key(&[1; 32]).is_none());
        assert_eq!(world.list(kept, "", 10).await.len(), 3);
        world.restart().await;
        assert_eq!(world.webhooks_at_start(), 1);
        let mut waiting = world.told_at_start();
        waiting.extend(world.due(Timestamp(i64::MAX)).await.iter().map(|due| due.delivery));
        assert_eq!(waiting, events.iter().map(|(ours, _)| id(*ours, 0)).collect::<Vec<_>>());
    }
    assert_eq!(world.webhook("wh_ours").number, ours);
    assert_eq!(world.change(Change::DeleteAccount(erased)).await, Err(ChangeError::NotFound));
    assert_ne!(world.new_account("acme").await, erased);
}

/// Keys are found by their hash until they are revoked; ids and hashes are unique.
pub async fn keys_come_and_go(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let account = world.account();
    let (one, two) = (key("key_one", 1, Some(account)), key("key_two", 2, None));
    world.change(Change::PutKey(one.clone())).await.expect("a new key");
    world.change(Change::PutKey(two.clone())).await.expect("a new key");
    assert_eq!(world.change(Change::PutKey(one.clone())).await, Err(ChangeError::Exists));
    assert_eq!(world.change(Change::PutKey(key("key_three", 2, None))).await, Err(ChangeError::Exists));
    assert_eq!(world.change(Change::PutKey(key("key_three", 3, Some(999)))).await, Err(ChangeError::NotFound));
    world.restart().await;
    let found = world.opened.directory.read().key(&[1; 32]).cloned();
    assert_eq!(found.as_deref(), Some(&one));
    let used = |at| {
        Change::KeysUsed(vec![(one.id.clone(), Timestamp(at)), ("key_gone".parse().expect("an id"), Timestamp(at))])
    };
    world.change(used(70)).await.expect("it is written");
    world.change(used(60)).await.expect("it is passed over");
    world.restart().await;
    let found = world.opened.directory.read().key(&[1; 32]).cloned();
    assert_eq!(found.map(|key| (key.last_used_at, key.name.clone())), Some((Some(Timestamp(70)), one.name.clone())));
    world.change(Change::RevokeKey(one.id.clone())).await.expect("it exists");
    assert_eq!(world.change(Change::RevokeKey(one.id.clone())).await, Err(ChangeError::NotFound));
    world.restart().await;
    assert!(world.opened.directory.read().key(&[1; 32]).is_none());
    assert_eq!(world.opened.directory.read().key(&[2; 32]).map(|key| key.id.clone()), Some(two.id));
}

/// Nothing of one account is seen, or lost, under another.
pub async fn a_foreign_account_sees_nothing(subject: &mut dyn Subject) {
    let world = World::new(subject).await;
    let (ours, theirs) = (world.account(), world.new_account("acme").await);
    let webhook = world.new_webhook(ours, "wh_ours", &["*"]).await;
    let one = world.accept(event(ours)).await.id;
    let two = world.accept(event(ours)).await.id;
    world.settle(first(one, 0, webhook), End::Failed(500)).await;
    let ids: [WebhookId; 1] = ["wh_ours".parse().expect("an id")];
    for event in [one, two] {
        assert_eq!(world.store().event(theirs, event).await, Ok(None));
        assert_eq!(world.store().delivery(theirs, id(event, 0), world.now()).await, Ok(None));
    }
    for filter in ["", "status=failed", "status=pending", "webhook=wh_ours", &format!("q={one}"), "q=newstartup"] {
        assert_eq!(world.list(theirs, filter, 10).await, [], "{filter}");
    }
    assert_eq!(world.store().events(EventQuery::new(theirs, 10)).await.map(|page| page.rows.len()), Ok(0));
    assert!(world.opened.directory.read().webhook(theirs, &ids[0]).is_none());
    let mut moved = world.active("wh_ours");
    moved.account = theirs;
    assert_eq!(world.change(Change::PutWebhook(moved)).await, Err(ChangeError::NotFound));
}

/// A store that is closed says so to whoever still asks.
pub async fn a_closed_store_says_so(subject: &mut dyn Subject) {
    let world = World::new(subject).await;
    let (account, store) = (world.account(), std::sync::Arc::clone(&world.opened.store));
    world.subject.close().await;
    let refused = store.accept(vec![event(account)]).await;
    assert!(matches!(&refused[..], [Err(domain::store::AcceptError::Store(StoreError::Stopped(_)))]), "{refused:?}");
    assert!(matches!(store.settle(Vec::new()).await, Err(StoreError::Stopped(_))));
}

fn key(id: &str, hash: u8, account: Option<u32>) -> ApiKey {
    ApiKey {
        id: id.parse().expect("an id"),
        name: "a key".to_owned(),
        account,
        scopes: vec![Scope::Account, Scope::EventsWrite],
        hash: [hash; 32],
        hint: "pha_x".to_owned(),
        created_at: Timestamp(1),
        expires_at: Some(Timestamp(9)),
        last_used_at: None,
    }
}
