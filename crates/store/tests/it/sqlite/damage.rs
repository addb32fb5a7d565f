//! Damage on disk: noticed when the store is opened, or when it is read.

use std::path::PathBuf;

use crate::sqlite::support::{ACCOUNT, Dir, NOW, Open, event, limits, list, open, settlement, stats, try_open};
use domain::attempt::Reason;
use domain::delivery::Next;
use domain::event::{Idempotency, NewEvent};
use domain::id::DeliveryId;
use domain::stats::{Step, Subjects};
use domain::store::{EventQuery, StoreError};
use domain::time::Timestamp;

/// Everything that can be read, as text.
fn everything(open: &Open) -> Result<String, StoreError> {
    let reader = open.reader();
    let mut text = String::new();
    {
        let directory = open.directory.read();
        let webhooks: Vec<_> = directory.webhooks_of(ACCOUNT).collect();
        text += &format!("{:?} {webhooks:?}", directory.accounts().collect::<Vec<_>>());
        text += &format!("{:?}", webhooks.iter().map(|webhook| webhook.secrets.current.reveal()).collect::<Vec<_>>());
    }
    let known: Vec<_> = open.told_fresh().into_iter().collect();
    text += &format!("{known:?} {:?}", reader.due(None, Timestamp(i64::MAX), 1_000)?);
    for webhook in 1..3 {
        text += &format!("{:?}", reader.backlog(webhook, None, Timestamp(i64::MAX), 1_000)?);
        for step in [Step::MINUTE, Step::HOUR] {
            text += &format!("{:?}", stats(&reader, Subjects::Webhooks(vec![webhook]), step)?);
        }
    }
    for delivery in list(&reader, NOW)? {
        text += &format!("{delivery:?} {:?}", reader.delivery(ACCOUNT, delivery.id, NOW)?);
        text += &format!("{:?}", reader.event(ACCOUNT, delivery.id.event)?);
    }
    let key = Idempotency { account: 1, key: [1; 32], request: [1; 32] };
    let kept = match reader.kept(&key, NOW) {
        Err(domain::store::ChangeError::Store(error)) => return Err(error),
        kept => kept,
    };
    Ok(text + &format!("{:?} {kept:?}", reader.events(&EventQuery::new(ACCOUNT, 1_000))?))
}

#[test]
fn a_flipped_bit_is_noticed_and_never_served() {
    let dir = Dir::new();
    let mut whole = open(&dir);
    let webhook = whole.new_webhook("wh_one");
    whole.new_webhook("wh_two");
    let keyed = NewEvent { idempotency: Some(Idempotency { account: 1, key: [1; 32], request: [1; 32] }), ..event() };
    whole.engine.begin().expect("it begins");
    whole.engine.accept(NOW, &[keyed]).expect("it is written");
    whole.engine.commit().expect("it commits");
    for (n, event) in whole.accept(NOW, 40).into_iter().enumerate().skip(1) {
        let delivery = DeliveryId { event, place: 0 };
        let retry = Next::Retry { due_at: NOW, retries_made: 1, reason: Reason::Retry };
        let next = if n % 2 == 0 { Next::Delivered } else { retry };
        whole.settle(NOW, settlement(delivery, webhook, 1, NOW, retry));
        whole.settle(NOW, settlement(delivery, webhook, 2, NOW, next));
    }
    drop(whole);
    let whole = open(&dir);
    let expected = everything(&whole).expect("it is read");
    drop(whole);
    let bytes = std::fs::read(dir.database()).expect("it is read");
    let (mut refused, mut detected, mut harmless) = (0, 0, 0);
    let mut chance = 7u64;
    while refused + detected + harmless < 500 {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bit = (chance >> 20) as usize % (bytes.len() * 8);
        // Much of a small file is free space.
        if bytes[bit / 8] == 0 {
            continue;
        }
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(dir.database(), &flipped).expect("it is written");
        match try_open(&dir, 7, limits()) {
            Err(_) => refused += 1,
            Ok(open) => match everything(&open) {
                Err(_) => detected += 1,
                Ok(read) => {
                    assert_eq!(read, expected, "bit {bit} was served");
                    harmless += 1;
                }
            },
        }
    }
    assert!(refused + detected > 400, "{refused} {detected} {harmless}");
}

/// What a crash leaves in the log would else be forgotten from the damage on, without a word.
#[test]
fn damage_to_what_a_crash_has_left_in_the_log_is_noticed() {
    let dir = Dir::new();
    let mut whole = open(&dir);
    whole.new_webhook("wh_one");
    for _ in 0..4 {
        whole.accept(NOW, 10);
    }
    let crashed = || {
        let dir = dir.crashed();
        let log = PathBuf::from(format!("{}-wal", dir.database().display()));
        let bytes = std::fs::read(&log).expect("it is read");
        (dir, log, bytes)
    };
    let (after, _, _) = crashed();
    assert_eq!(open(&after).told_fresh().len(), 40, "as a crash leaves it");
    for at in [5, 40, 2_000, 9_000] {
        let (after, log, mut bytes) = crashed();
        bytes[at] ^= 1;
        std::fs::write(&log, bytes).expect("it is written");
        let refused = try_open(&after, 7, limits()).map(drop).expect_err("it is damaged");
        assert!(refused.to_string().contains("-wal is damaged: what was committed at byte "), "{at}: {refused}");
        let told = store::sqlite::could_be_served(&after.0).expect_err("what `doctor` asks");
        assert_eq!(told.to_string(), refused.to_string());
    }
    let (after, ..) = crashed();
    std::fs::remove_file(after.database()).expect("it is ours");
    let refused = try_open(&after, 7, limits()).map(drop).expect_err("nothing is begun anew beside the log");
    assert!(refused.to_string().contains("it is gone or empty"), "{refused}");
}
