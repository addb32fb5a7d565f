//! Another encryption key: all that was sealed opens with it, and with the old one nothing does.

use crate::sqlite::support::{Dir, NOW, limits, open, try_open};
use domain::event::Idempotency;
use domain::key::Account;
use domain::key_pair::KeyPair;
use domain::signature::KeyPairs;
use domain::store::{Change, Changed, Keep};
use domain::vault::Vault;
use store::sqlite::{OpenError, opens_with, rotate};

fn chance() -> store::sqlite::Chance {
    let mut count = 100u8;
    Box::new(move |bytes: &mut [u8]| {
        count = count.wrapping_add(1);
        bytes.fill(count);
    })
}

#[test]
fn all_that_is_sealed_opens_with_the_new_key_only() {
    let dir = Dir::new();
    let mut before = open(&dir);
    before.new_webhook("wh_one");
    before.new_webhook("wh_two");
    let idempotency = Idempotency { account: 1, key: [3; 32], request: [4; 32] };
    let account = Account::new("acme".parse().expect("an id"), "Acme", NOW);
    let keep = Keep { idempotency: idempotency.clone(), answer: b"a kept answer".to_vec() };
    before.engine.begin().expect("it begins");
    before.engine.change(NOW, Change::PutAccount(account), &domain::audit::By::us(), Some(keep)).expect("it is made");
    before.engine.commit().expect("it commits");
    let (old, new) = (Vault::new(&[7; 32]), Vault::new(&[8; 32]));
    assert!(
        matches!(rotate(&dir.0, &old, &new, &mut chance(), || Ok(())), Err(OpenError::Locked(_))),
        "it is being served"
    );
    drop(before);
    let crashed_before = dir.crashed();

    assert!(matches!(rotate(&dir.0, &new, &old, &mut chance(), || Ok(())), Err(OpenError::OtherKey(_))));
    let unkept = rotate(&dir.0, &old, &new, &mut chance(), || Err(std::io::Error::other("no place")));
    assert!(matches!(unkept, Err(OpenError::Unusable { .. })));
    assert_eq!(opens_with(&dir.0, &old).expect("it is read"), Some(true));
    let done = rotate(&dir.0, &old, &new, &mut chance(), || Ok(())).expect("it is sealed anew");
    assert_eq!(done, [("webhooks", 2), ("idempotency", 1), ("marks", 1)]);
    assert_eq!(opens_with(&dir.0, &old).expect("it is read"), Some(false));
    assert_eq!(opens_with(&dir.0, &new).expect("it is read"), Some(true));
    assert_eq!(opens_with(&crashed_before.0, &old).expect("it is read"), Some(true));
    assert!(matches!(try_open(&dir, 7, limits()), Err(OpenError::OtherKey(_))));

    let after = try_open(&dir, 8, limits()).expect("the new key opens it");
    let directory = after.directory.read();
    for webhook in directory.webhooks() {
        assert_eq!(webhook.secrets.current, domain::secret::SigningSecret::from_bytes(&[9; 32]));
        assert_eq!(webhook.secrets.pairs, Some(KeyPairs::new(KeyPair::from_seed(&[6; 32]))));
        assert_eq!(webhook.headers.pairs()[0].1, "canary-header");
    }
    assert_eq!(directory.webhooks().count(), 2);
    drop(directory);
    let kept = after.reader().kept(&idempotency, NOW);
    assert_eq!(kept, Ok(Some(Changed::Repeated(b"a kept answer".to_vec()))));
}

#[test]
fn there_is_nothing_to_open_before_the_first_start() {
    let dir = Dir::new();
    assert_eq!(opens_with(&dir.0, &Vault::new(&[7; 32])).expect("it is read"), None);
}
