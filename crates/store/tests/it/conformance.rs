//! The suite that every store must pass, against each of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::directory::SharedDirectory;
use domain::vault::Vault;
use store::conformance::cluster::Cluster;
use store::conformance::{
    ManualClock, Opened, Subject, Told, accepting, auditing, changing, figures, listing, pausing, replaying, sending,
    sessions,
};
use store::postgres::{self, Address, PostgresStore};
use store::sqlite::{Limits, Retention, Settings, SqliteStore};

/// A store in a directory of its own.
struct Sqlite {
    dir: PathBuf,
    store: Option<Arc<SqliteStore>>,
}

impl Sqlite {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("conformance-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { dir: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name), store: None }
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        if let Some(store) = self.store.take() {
            store.stop();
        }
        std::fs::remove_dir_all(&self.dir).expect("the directory is ours");
    }
}

#[async_trait]
impl Subject for Sqlite {
    async fn open(&mut self, clock: ManualClock, fresh_per_webhook: usize) -> Opened {
        let (directory, told) = (SharedDirectory::default(), Told::default());
        let (hook, mut nonce) = (told.clone(), 0u8);
        let settings = Settings {
            dir: &self.dir,
            vault: Vault::new(&[7; 32]),
            directory: directory.clone(),
            clock: Arc::new(clock),
            chance: Box::new(move |bytes| {
                nonce = nonce.wrapping_add(1);
                bytes.fill(nonce);
            }),
            retention: Retention::default(),
            limits: Limits { fresh_per_webhook, durable: false, ..Limits::default() },
            facts: Box::new(move |facts| hook.tell(facts)),
            fatal: Box::new(|why| panic!("{why}")),
        };
        let (store, known) = SqliteStore::open(settings).expect("it opens");
        let store = Arc::new(store);
        self.store = Some(Arc::clone(&store));
        Opened { store, directory, told, known }
    }

    async fn close(&mut self) {
        if let Some(store) = self.store.take() {
            store.stop();
        }
    }
}

/// A store in a database of its own.
struct Postgres {
    address: Address,
    store: Option<Arc<PostgresStore>>,
}

impl Postgres {
    fn new() -> Self {
        let address = Address::parse(&Cluster::shared().database()).expect("an address");
        Self { address, store: None }
    }
}

#[async_trait]
impl Subject for Postgres {
    async fn open(&mut self, clock: ManualClock, fresh_per_webhook: usize) -> Opened {
        let (directory, told) = (SharedDirectory::default(), Told::default());
        let (hook, mut nonce) = (told.clone(), 0u8);
        let settings = postgres::Settings {
            address: self.address.clone(),
            vault: Vault::new(&[7; 32]),
            directory: directory.clone(),
            holdings: None,
            clock: Arc::new(clock),
            chance: Box::new(move |bytes| {
                nonce = nonce.wrapping_add(1);
                bytes.fill(nonce);
            }),
            keep: None,
            size: None,
            limits: postgres::Limits {
                fresh_per_webhook,
                readers: 4,
                drop_again_after: Duration::from_millis(200),
                ..postgres::Limits::default()
            },
            facts: Box::new(move |facts, _| hook.tell(facts)),
        };
        let (store, known) = PostgresStore::open(settings).await.expect("it opens");
        let store = Arc::new(store);
        self.store = Some(Arc::clone(&store));
        Opened { store, directory, told, known }
    }

    async fn close(&mut self) {
        if let Some(store) = self.store.take() {
            store.stop().await;
        }
    }
}

macro_rules! behaviours {
    ($($group:ident::$name:ident),* $(,)?) => {
        mod in_sqlite {
            use super::*;

            $(
                #[tokio::test]
                async fn $name() {
                    $group::$name(&mut Sqlite::new()).await;
                }
            )*
        }

        mod on_postgres {
            use super::*;

            $(
                #[tokio::test]
                async fn $name() {
                    let mut subject = Postgres::new();
                    $group::$name(&mut subject).await;
                    subject.close().await;
                }
            )*
        }
    };
}

behaviours! {
    accepting::an_event_goes_to_whom_it_is_for,
    accepting::a_test_goes_to_its_webhook_alone,
    accepting::a_clock_beyond_all_ids_accepts_nothing,
    accepting::an_idempotency_key_acts_once,
    accepting::timestamps_are_unique,
    accepting::what_memory_should_not_hold_waits_on_disk,
    sending::a_retry_is_planned_and_delivered,
    sending::an_end_stands,
    sending::a_delivery_may_end_without_an_attempt,
    sending::a_retry_may_be_planned_anew,
    sending::a_replay_starts_afresh,
    sending::a_replay_during_an_attempt_stands,
    sending::a_restart_finds_what_waits,
    pausing::a_paused_webhook_holds_what_is_due,
    pausing::resuming_delivers,
    pausing::resuming_cancels,
    auditing::changes_are_told_with_their_actor,
    auditing::an_account_s_part_goes_with_it,
    sessions::sessions_come_from_keys_and_end_with_them,
    sessions::sessions_that_ended_are_forgotten,
    replaying::coverage_is_exact,
    replaying::coverage_searches,
    replaying::each_is_handed_over_once,
    replaying::results_follow_the_schedule,
    replaying::a_replay_stands_still_and_goes_on,
    replaying::a_replay_ends_with_its_webhook,
    replaying::replays_are_of_their_account,
    changing::a_webhook_keeps_everything,
    changing::a_wish_to_be_left_alone_is_kept,
    changing::a_change_is_made_once_per_key,
    changing::deleting_a_webhook_cancels_and_keeps_the_log,
    changing::deleting_an_account_erases,
    changing::keys_come_and_go,
    changing::a_foreign_account_sees_nothing,
    changing::a_closed_store_says_so,
    listing::filters_are_exact,
    listing::searches_find,
    listing::events_come_in_pages,
    listing::events_are_filtered,
    listing::what_is_redacted_is_not_found,
    figures::figures_agree_with_the_log,
    figures::a_replay_ends_once_more,
}
