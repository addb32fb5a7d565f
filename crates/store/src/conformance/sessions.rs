//! Sessions: kept, spent once, and ended with what they come from.

use std::time::Duration;

use domain::key::{ApiKey, Scope};
use domain::session::{REMEMBERED, Session, SessionKind};
use domain::store::{Change, ChangeError};
use domain::time::Timestamp;

use super::Subject;
use super::world::World;

/// Sessions are kept, a link is spent once, and what comes from a key ends with it.
pub async fn sessions_come_from_keys_and_end_with_them(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let (account, other) = (world.account(), world.new_account("acme").await);
    world.change(Change::PutKey(key("key_one", 1))).await.expect("a new key");
    let link = session("ses_link", 1, 10, None);
    world.change(open(vec![link.clone()], None)).await.expect("a new link");
    let opened = Session { kind: SessionKind::Browser, ..session("ses_a", 1, 11, Some(account)) };
    let spend = open(vec![opened.clone()], Some(&link));
    world.change(spend).await.expect("the link is there");
    let again = Session { id: "ses_b".parse().expect("an id"), hash: [12; 32], ..opened.clone() };
    assert!(matches!(world.change(open(vec![again.clone()], Some(&link))).await, Err(ChangeError::State(_))));
    let unknown = Session { id: "ses_never".parse().expect("an id"), ..link.clone() };
    assert_eq!(world.change(open(vec![again], Some(&unknown))).await, Err(ChangeError::NotFound));
    assert_eq!(world.change(open(vec![opened.clone()], None)).await, Err(ChangeError::Exists));
    let theirs = session("ses_theirs", 1, 13, Some(other));
    let of_none = session("ses_none", 9, 14, Some(account));
    world.change(open(vec![theirs, of_none.clone()], None)).await.expect("new sessions");
    for _ in 0..2 {
        assert_eq!(found(&world, 10).map(|link| link.spent), Some(true));
        assert_eq!(found(&world, 11), Some(opened.clone()));
        assert_eq!(found(&world, 12), None);
        world.restart().await;
    }
    world.change(Change::DeleteAccount(other)).await.expect("it exists");
    world.change(Change::EndSession(of_none.id.clone())).await.expect("it exists");
    assert_eq!(world.change(Change::EndSession(of_none.id)).await, Err(ChangeError::NotFound));
    assert_eq!((found(&world, 13), found(&world, 14)), (None, None));
    world.change(Change::RevokeKey("key_one".parse().expect("an id"))).await.expect("it exists");
    for _ in 0..2 {
        assert_eq!(found(&world, 11), None);
        world.restart().await;
    }
}

/// Sessions that ended long ago are forgotten when new ones are opened.
pub async fn sessions_that_ended_are_forgotten(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let old = Session { expires_at: world.now(), ..session("ses_old", 1, 10, None) };
    world.change(open(vec![old], None)).await.expect("a new session");
    let lasting =
        |id, hash, now: Timestamp| Session { expires_at: now.plus(REMEMBERED * 9), ..session(id, 1, hash, None) };
    world.change(open(vec![lasting("ses_b", 11, world.now())], None)).await.expect("a new session");
    assert!(found(&world, 10).is_some(), "it can still be said that it has ended");
    world.pass(REMEMBERED + Duration::from_micros(1));
    world.change(open(vec![lasting("ses_c", 12, world.now())], None)).await.expect("a new session");
    for _ in 0..2 {
        assert_eq!(found(&world, 10), None);
        assert!(found(&world, 11).is_some() && found(&world, 12).is_some());
        world.restart().await;
    }
}

/// The session whose token's hash is made of this byte.
fn found(world: &World<'_>, hash: u8) -> Option<Session> {
    world.opened.directory.read().session(&[hash; 32]).map(|session| Session::clone(session))
}

fn open(sessions: Vec<Session>, link: Option<&Session>) -> Change {
    Change::OpenSessions { sessions, link: link.map(|link| link.id.clone()) }
}

fn session(id: &str, key: u8, hash: u8, account: Option<u32>) -> Session {
    Session {
        id: id.parse().expect("an id"),
        kind: SessionKind::Link,
        hash: [hash; 32],
        key: [key; 32],
        account,
        portal: account.is_some(),
        scopes: vec![Scope::Account],
        name: "a session".to_owned(),
        created_at: Timestamp(1),
        expires_at: Timestamp(i64::MAX),
        opens_for: Duration::from_secs(60),
        spent: false,
    }
}

fn key(id: &str, hash: u8) -> ApiKey {
    ApiKey {
        id: id.parse().expect("an id"),
        name: "a key".to_owned(),
        account: None,
        scopes: Vec::new(),
        hash: [hash; 32],
        hint: "phk_x".to_owned(),
        created_at: Timestamp(1),
        expires_at: None,
        last_used_at: None,
    }
}
