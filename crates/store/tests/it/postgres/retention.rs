//! What goes in time: days by their tables, events by themselves where something of a day must stay, what is over a size, closed
//! accounts, and minutes of figures once their hours have them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use domain::attempt::Reason;
use domain::delivery::{Due, Next};
use domain::event::{Idempotency, NewEvent};
use domain::id::{DeliveryId, EventId};
use domain::key::{Account, LogRules};
use domain::stats::{HOURS_KEPT, MINUTES_KEPT, StatsQuery, Step, Subjects, Window};
use domain::store::{Change, Store as _};
use domain::time::Clock as _;
use store::conformance::ManualClock;
use store::postgres::Settings;

use super::support::{Base, Node, eventually, retry, settlement};

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

const fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3_600)
}

impl Base {
    /// The days that have tables, as numbers.
    fn days(&self) -> Vec<i64> {
        let sql = "SELECT substring(relname FROM 8) FROM pg_class WHERE relname ~ '^events_[0-9]+$' AND relkind = 'r' ORDER BY 1";
        self.sql(sql).lines().map(|day| day.parse().expect("a number")).collect()
    }

    fn count(&self, table: &str) -> usize {
        self.sql(&format!("SELECT count(*) FROM {table}")).parse().expect("a number")
    }
}

fn due(event: EventId, place: u16, webhook: u32) -> Due {
    let delivery = DeliveryId { event, place };
    Due {
        delivery,
        webhook,
        due_at: domain::time::Timestamp(0),
        attempts_made: 0,
        retries_made: 0,
        reason: Reason::First,
    }
}

/// Accepts events with so many bytes of data, for the only webhook, and settles the first `delivered` of them.
async fn fill(node: &Node, webhook: u32, events: usize, bytes: usize, delivered: usize) -> Vec<EventId> {
    let mut state = 7_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + (state >> 59) as u8 % 26)
    };
    let mut event = || {
        let text: String = (0..bytes).map(|_| letter()).collect();
        NewEvent { data: Bytes::from(format!(r#"{{"n":"{text}"}}"#)), ..node.event() }
    };
    let accepted = node.store.accept((0..events).map(|_| event()).collect()).await;
    let ids: Vec<EventId> = accepted.into_iter().map(|accepted| accepted.expect("it is accepted").id).collect();
    let ends = ids.iter().take(delivered).map(|id| settlement(due(*id, 0, webhook), node.now(), Next::Delivered));
    node.store.settle(ends.collect()).await.expect("it is written");
    ids
}

/// Waits until a round of upkeep is over that has begun after this: a day that comes is made at the beginning of one, and that of the day
/// after it at the beginning of the next.
async fn round(base: &Base, clock: &ManualClock) {
    for _ in 0..2 {
        clock.step(DAY);
        let made = clock.now().0.div_euclid(DAY) + 3;
        eventually(async || base.days().contains(&made).then_some(())).await;
    }
}

/// How many events a node says that retention has deleted.
fn retained(node: &Node) -> u64 {
    node.store.figures().retained_events.load(Ordering::Relaxed)
}

async fn change_account(node: &Node, log: LogRules) {
    let mut account = Account::clone(node.directory.read().account_numbered(node.account).expect("it exists"));
    account.version += 1;
    account.log = log;
    node.change(Change::PutAccount(account)).await.expect("it is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn days_go_as_a_whole_and_what_is_unfinished_stays() {
    let (base, clock) = (Base::new(), ManualClock::default());
    let node = Node::keeping(&base.0, &clock, Some(hours(30 * 24)), None).await;
    let webhook = node.new_webhook("wh_one").await;
    let today = clock.now().0.div_euclid(DAY);
    assert_eq!(base.days(), (today..=today + 3).collect::<Vec<_>>(), "made ahead");
    fill(&node, webhook, 3, 10, 3).await;
    clock.step(DAY);
    let of_second = fill(&node, webhook, 3, 10, 2).await;
    let (third, left) = (fill(&node, webhook, 1, 10, 0).await[0], of_second[2]);
    // A day later it fails, is planned for later, fails for good then, and is replayed: each makes rows of its event's day.
    let planned = retry(due(third, 0, webhook), node.now());
    node.store.settle(vec![settlement(due(third, 0, webhook), node.now(), planned)]).await.expect("it is written");
    let again = Due { attempts_made: 1, retries_made: 1, reason: Reason::Retry, ..due(third, 0, webhook) };
    node.store.settle(vec![settlement(again, node.now(), Next::Failed)]).await.expect("it is written");

    clock.step(40 * DAY);
    let now = today + 41;
    eventually(async || (!base.days().contains(&today)).then_some(())).await;
    // Of the second day one event is unfinished: it stays, and its table; the others go by themselves.
    eventually(async || (base.count("events") == 1).then_some(())).await;
    assert_eq!(
        base.days(),
        [today + 1, today + 2, today + 3, now, now + 1, now + 2, now + 3]
            .into_iter()
            .filter(|day| *day == today + 1 || *day >= now)
            .collect::<Vec<_>>()
    );
    assert_eq!((base.count("deliveries"), base.count("attempts"), base.count("hot")), (0, 0, 1));
    assert_eq!(node.load(&[left]).await.expect("it is there").len(), 1);
    // Retention counts from a delivery's end: what ended now stays for as long again.
    node.store
        .settle(vec![settlement(due(left, 0, webhook), node.now(), Next::Delivered)])
        .await
        .expect("it is written");
    clock.step(29 * DAY);
    eventually(async || base.days().contains(&(now + 32)).then_some(())).await;
    assert_eq!(base.count("events"), 1);
    // Replayed by now, it waits again.
    node.change(Change::Replay(node.account, DeliveryId { event: left, place: 0 })).await.expect("it has ended");
    clock.step(2 * DAY);
    eventually(async || base.days().contains(&(now + 34)).then_some(())).await;
    assert_eq!((base.count("events"), base.count("hot")), (1, 1));
    let again = Due { attempts_made: 1, reason: Reason::Replay, ..due(left, 0, webhook) };
    node.store.settle(vec![settlement(again, node.now(), Next::Delivered)]).await.expect("it is written");
    clock.step(31 * DAY);
    // What was told of the replay keeps its day for a minute: that one is over.
    base.sql("UPDATE changes SET at = at - interval '2 minutes'");
    eventually(async || (!base.days().contains(&(today + 1))).then_some(())).await;
    assert_eq!(base.count("events"), 0);
    assert!(node.store.event(node.account, left).await.expect("it is read").is_none());
    // Three with their day, three by themselves, and the last one with its day.
    eventually(async || (retained(&node) == 7).then_some(())).await;
    // What comes has a place.
    fill(&node, webhook, 1, 10, 1).await;
    node.store.stop().await;
}

/// Somebody reads the tables for long, as `pg_dump` does. A day that is over waits for that: it is asked for once, by one node, and none of
/// its events goes by itself instead.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_being_read_waits_for_the_reader() {
    let (base, clock) = (Base::new(), ManualClock::default());
    let asks_after = |after| {
        move |settings: &mut Settings| {
            (settings.keep, settings.limits.drop_again_after) = (Some(hours(48)), after);
        }
    };
    let node = Node::with(&base.0, &clock, asks_after(hours(1))).await;
    let webhook = node.new_webhook("wh_one").await;
    let first = clock.now().0.div_euclid(DAY);
    // Of the first day one event waits: its others go by themselves, whoever reads.
    for delivered in [2, 3, 3] {
        fill(&node, webhook, 3, 10, delivered).await;
        clock.step(DAY);
    }
    let (reader, connection) =
        tokio_postgres::connect(&base.0, tokio_postgres::NoTls).await.expect("it is connected to");
    tokio::spawn(connection);
    reader.batch_execute("BEGIN; LOCK TABLE events IN ACCESS SHARE MODE").await.expect("it is read");
    clock.step(10 * DAY);
    eventually(async || (base.count("events") == 7).then_some(())).await;
    round(&base, &clock).await;
    let held = || {
        let days = base.days();
        (days.contains(&(first + 1)) && days.contains(&(first + 2)), base.count("events"))
    };
    assert_eq!(held(), (true, 7));
    fill(&node, webhook, 1, 10, 0).await;
    round(&base, &clock).await;
    assert_eq!(held(), (true, 8));
    reader.batch_execute("COMMIT").await.expect("it is read");
    round(&base, &clock).await;
    assert_eq!(held(), (true, 8), "it is not asked for again within the hour");
    let second = Node::with(&base.0, &clock, asks_after(Duration::ZERO)).await;
    round(&base, &clock).await;
    assert_eq!((held(), retained(&second)), ((true, 8), 0), "nor by others");
    node.store.stop().await;
    eventually(async || (held() == (false, 2)).then_some(())).await;
    eventually(async || (retained(&second) == 6).then_some(())).await;
    assert_eq!(retained(&node), 2);
    second.store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_keeps_less_or_more_than_others() {
    let (base, clock) = (Base::new(), ManualClock::default());
    let node = Node::keeping(&base.0, &clock, Some(hours(48)), None).await;
    let webhook = node.new_webhook("wh_one").await;
    change_account(&node, LogRules { retention: Some(hours(5)), ..LogRules::default() }).await;
    fill(&node, webhook, 4, 10, 3).await;
    clock.step(6 * HOUR);
    eventually(async || (base.count("events") == 1).then_some(())).await;
    assert_eq!((base.count("deliveries"), base.count("hot")), (0, 1));
    change_account(&node, LogRules { retention: Some(hours(240)), ..LogRules::default() }).await;
    fill(&node, webhook, 2, 10, 2).await;
    let today = clock.now().0.div_euclid(DAY);
    clock.step(9 * DAY);
    eventually(async || base.days().contains(&(today + 12)).then_some(())).await;
    assert_eq!(base.count("events"), 3, "others' days would have gone");
    change_account(&node, LogRules::default()).await;
    eventually(async || (base.count("events") == 1).then_some(())).await;
    node.store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_s_size_is_kept_by_its_oldest() {
    let (base, clock) = (Base::new(), ManualClock::default());
    let node = Node::keeping(&base.0, &clock, Some(hours(48)), None).await;
    let webhook = node.new_webhook("wh_one").await;
    let unfinished = fill(&node, webhook, 5, 1_000, 0).await;
    let ended = fill(&node, webhook, 1_200, 1_000, 1_200).await;
    // What an event holds, and what it takes beside: far from both bounds.
    change_account(&node, LogRules { retention_size: Some(600 * 1_300), ..LogRules::default() }).await;
    let left = eventually(async || {
        let left = base.count("events");
        (left < 700).then_some(left)
    })
    .await;
    assert!(left > 400, "no more than what is over it: {left}");
    for id in unfinished.iter().chain(&ended[1_000..]) {
        assert!(node.store.event(node.account, *id).await.expect("it is read").is_some(), "the newest, and what waits");
    }
    assert!(node.store.event(node.account, ended[0]).await.expect("it is read").is_none());
    assert_eq!(base.count("hot"), 5);
    node.store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_is_kept_by_the_oldest_days() {
    let (base, clock) = (Base::new(), ManualClock::default());
    let first = Node::start(&base.0, &clock).await;
    let webhook = first.new_webhook("wh_one").await;
    let today = clock.now().0.div_euclid(DAY);
    let mut of_days = Vec::new();
    for day in 0..4 {
        // Of the second day one waits.
        of_days.push(fill(&first, webhook, 300, 8_000, if day == 1 { 299 } else { 300 }).await);
        clock.step(DAY);
    }
    clock.step(3 * HOUR);
    first.store.stop().await;
    let size = |of: &str| -> u64 {
        let sql = format!(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class WHERE relkind = 'r' AND relname ~ '{of}'"
        );
        base.sql(&sql).parse().expect("a number")
    };
    let (all, day) = (size("^(events|deliveries|attempts|replayed)_[0-9]+$|^hot$"), size(&format!("^events_{today}$")));
    // Without the first day, and the third, the rest fits.
    let second = Node::keeping(&base.0, &clock, None, Some(all - day * 3 / 2)).await;
    eventually(async || (!base.days().contains(&(today + 2))).then_some(())).await;
    let left = base.days();
    assert!(!left.contains(&today) && left.contains(&(today + 1)) && left.contains(&(today + 3)), "{left:?}");
    assert_eq!(base.count("events"), 600);
    let kept = second.store.event(second.account, of_days[1][299]).await.expect("it is read");
    assert!(kept.is_some(), "what is unfinished stays");
    eventually(async || (retained(&second) == 600).then_some(())).await;
    second.store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_an_account_that_was_deleted() {
    let (base, clock) = (Base::new(), ManualClock::default());
    let node = Node::keeping(&base.0, &clock, Some(hours(48)), None).await;
    let other = Arc::new(Account::new("other".parse().expect("an id"), "Other", node.now()));
    node.change(Change::PutAccount(Account::clone(&other))).await.expect("it is made");
    let webhook = node.new_webhook("wh_canary").await;
    let gone = node.new_webhook("wh_canary_gone").await;
    let ids = fill(&node, webhook, 30, 100, 20).await;
    let planned = retry(due(ids[21], 0, webhook), node.now());
    node.store.settle(vec![settlement(due(ids[21], 0, webhook), node.now(), planned)]).await.expect("it is written");
    node.change(Change::DeleteWebhook(gone)).await.expect("it exists");
    let key = Idempotency { account: node.account, key: [1; 32], request: [1; 32] };
    node.store
        .accept(vec![NewEvent { idempotency: Some(key), ..node.event() }])
        .await
        .remove(0)
        .expect("it is accepted");
    node.change(Change::Replay(node.account, DeliveryId { event: ids[0], place: 0 })).await.expect("it has ended");
    node.change(Change::DeleteAccount(node.account)).await.expect("it exists");
    eventually(async || (base.count("erasures") == 0).then_some(())).await;
    let tables = base.sql(
        "SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'account'
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace",
    );
    assert!(tables.lines().count() > 10, "{tables}");
    // What nodes tell each other goes after an hour, and says no more than its number.
    for table in tables.lines().filter(|table| *table != "changes") {
        let left = base.sql(&format!("SELECT count(*) FROM {table} WHERE account = {}", node.account));
        assert_eq!(left, "0", "{table}");
    }
    let canary = base.sql("SELECT count(*) FROM webhooks WHERE id LIKE 'wh_canary%'");
    assert_eq!((canary.as_str(), base.count("accounts")), ("0", 1));
    node.store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_of_figures_become_hours_and_both_go_in_time() {
    let (base, clock) = (Base::new(), ManualClock::default());
    let node = Node::start(&base.0, &clock).await;
    let webhook = node.new_webhook("wh_one").await;
    let begun = node.now();
    for _ in 0..3 {
        fill(&node, webhook, 5, 10, 5).await;
        clock.step(20 * 60_000_000);
    }
    let seen = async || {
        // A day from then on, whatever time it is by now.
        let window = Window::back(begun.plus(hours(22)), hours(24), Some(Step::HOUR)).expect("a window");
        let query = StatsQuery { account: node.account, subjects: Subjects::Account, window };
        let stats = node.store.stats(query).await.expect("it is read").remove(0);
        stats.buckets.into_iter().map(|bucket| bucket.figures.delivered).sum::<u64>()
    };
    assert_eq!(seen().await, 15);
    clock.step(3 * HOUR);
    // Of the webhook and of the account, in each of the hours.
    eventually(async || (base.count("stats_hours") >= 2).then_some(())).await;
    assert_eq!(seen().await, 15, "nothing is counted twice");
    let micros = |kept: Duration| i64::try_from(kept.as_micros()).expect("small");
    clock.step(micros(MINUTES_KEPT));
    eventually(async || (base.count("stats_minutes") == 0).then_some(())).await;
    assert_eq!(seen().await, 15);
    clock.step(micros(HOURS_KEPT));
    eventually(async || (base.count("stats_hours") == 0).then_some(())).await;
    assert_eq!(seen().await, 0);
    node.store.stop().await;
}
