//! Lists and filters: exact, whatever has a row and whatever has none.

use std::sync::Arc;
use std::time::Duration;

use domain::delivery::{Delivery, DeliveryStatus, Due};
use domain::event::{Event, NewEvent};
use domain::filter::DeliveryFilter;
use domain::key::Account;
use domain::redaction::Redaction;
use domain::store::{Change, DeliveryQuery, EventQuery, PATIENCE};
use domain::time::Timestamp;

use super::Subject;
use super::world::{End, World, first, id, typed};

const TYPES: [&str; 4] = ["alert.rule_created", "alert.rule_deleted", "watchlist.domain_added", "enrichment.failed"];
const ENDS: [Option<End>; 8] = [
    None,
    Some(End::Delivered),
    Some(End::Retry(503, Duration::from_secs(30))),
    Some(End::Failed(404)),
    None,
    Some(End::TimedOut(Duration::from_secs(1))),
    Some(End::Delivered),
    Some(End::Retry(429, Duration::from_millis(1))),
];

/// Two accounts with deliveries of every kind, in many states; returns the accounts.
pub(super) async fn busy_world(world: &World<'_>) -> [u32; 2] {
    let accounts = [world.account(), world.new_account("acme").await];
    for (account, ids) in accounts.into_iter().zip([["wh_a", "wh_b", "wh_c"], ["wh_x", "wh_y", "wh_z"]]) {
        world.new_webhook(account, ids[0], &["*"]).await;
        world.new_webhook(account, ids[1], &["alert.*"]).await;
        world.new_webhook(account, ids[2], &["*"]).await;
        world.change(Change::PutWebhook(world.paused(ids[2]))).await.expect("it is paused");
    }
    for round in 0..40usize {
        for account in accounts {
            let mut new = typed(account, TYPES[round % 4]);
            new.data = format!(r#"{{"domain":"site{round}.com","note":"Grüße {}"}}"#, round % 5).into();
            if round % 9 == 4 {
                new.test_for = Some(world.webhook(if account == accounts[0] { "wh_b" } else { "wh_y" }).number);
            }
            send(world, account, new, round).await;
        }
        world.pass(Duration::from_millis(700 * (round as u64 % 3)));
    }
    world.change(Change::DeleteWebhook(world.webhook("wh_b").number)).await.expect("it exists");
    accounts
}

/// Accepts an event and lets its deliveries end, each in its own way.
async fn send(world: &World<'_>, account: u32, new: NewEvent, round: usize) {
    let accepted = world.accept(new).await;
    let event = world.store().event(account, accepted.id).await.expect("it is read").expect("it exists");
    for (place, webhook) in (0u16..).zip(&event.targets) {
        let due = first(event.id, place, *webhook);
        let paused = world.opened.directory.read().webhook_numbered(*webhook).is_some_and(|w| w.pause.is_some());
        match ENDS[(round * 3 + usize::from(place) * 5) % ENDS.len()] {
            Some(end) if !paused => {
                // A test is tried once.
                let end = match end {
                    End::Retry(status, _) if event.test => End::Failed(status),
                    End::TimedOut(_) if event.test => End::Failed(500),
                    End::Delivered | End::Failed(_) | End::Retry(..) | End::TimedOut(_) => end,
                };
                let retry = world.settle(due, end).await;
                if round.is_multiple_of(4)
                    && let Some(retry) = retry
                {
                    world.settle(Due { due_at: world.now(), ..retry }, End::Delivered).await;
                }
            }
            Some(_) | None => {}
        }
        if round % 7 == 6 {
            // What has ended cannot be cancelled.
            let _ = world.change(Change::Cancel(account, due.delivery)).await;
        }
    }
}

/// Every filter finds what it means, in pages of any size, each delivery once, newest first.
pub async fn filters_are_exact(subject: &mut dyn Subject) {
    let mut world = World::bounded(subject, 6).await;
    let accounts = busy_world(&world).await;
    for restarted in [false, true] {
        if restarted {
            world.restart().await;
        }
        for account in accounts {
            let all = world.list(account, "", 1_000).await;
            assert!(all.len() > 60 && all.windows(2).all(|pair| pair[0].id > pair[1].id));
            let now = world.now();
            for delivery in &all {
                assert_eq!(*delivery, world.delivery(account, delivery.id).await);
            }
            let plain = DeliveryQuery::new(account, DeliveryFilter::default(), now);
            let plain = DeliveryQuery { limit: 60, patience: Duration::ZERO, ..plain };
            let page = world.store().deliveries(plain).await.expect("it is listed");
            assert_eq!(
                (page.rows.len(), page.searched_until),
                (60, None),
                "where all is wanted, time cuts nothing short"
            );
            for line in lines(&all) {
                let filter = DeliveryFilter::parse_line(&line, now).expect("a filter");
                let expected: Vec<_> = all.iter().filter(|delivery| filter.matches(delivery)).cloned().collect();
                for limit in [1, 7, 1_000] {
                    assert_eq!(world.list(account, &line, limit).await, expected, "{line} by {limit}");
                }
                let hasty = world.list_within(account, &line, 7, Duration::ZERO).await;
                assert_eq!(hasty, expected, "{line} without patience");
            }
        }
    }
}

/// Filters of every kind, with borders that matter.
fn lines(all: &[Delivery]) -> Vec<String> {
    let mut lines: Vec<_> = [
        "test=true",
        "test=false",
        "test=false status=failed webhook=wh_a",
        "webhook=wh_a",
        "webhook=wh_b",
        "webhook=wh_b",
        "webhook=wh_b status=cancelled",
        "webhook=wh_c",
        "webhook=wh_x",
        "webhook=wh_nobody",
        "event=alert.*",
        "event=alert.rule_created,enrichment.*",
        "event=sequence.*",
        "code=2xx",
        "code=5xx",
        "code=404,429",
        "code=200 status=failed",
        "code=1xx",
        "error=response_timeout",
        "error=http_5xx,http_4xx",
        "error=tls_other",
        "status=failed webhook=wh_a",
        "status=pending,held webhook=wh_c",
        "status=delivered webhook=wh_x",
        "status=failed,cancelled,held",
        "code=5xx status=pending event=alert.*",
        "code=2xx,404 event=alert.rule_created",
        "error=http_5xx status=failed webhook=wh_a",
        "error=response_timeout code=404",
        "status=failed,pending,held event=watchlist.*,enrichment.failed",
        "webhook=wh_a event=alert.rule_deleted",
        "webhook=wh_a status=delivered event=alert.*",
    ]
    .map(str::to_owned)
    .to_vec();
    lines.extend(DeliveryStatus::ALL.map(|status| format!("status={}", status.as_str())));
    for delivery in [&all[3], &all[all.len() / 2], &all[all.len() - 2]] {
        let at = delivery.timestamp;
        lines.push(format!("since={at}"));
        lines.push(format!("until={at}"));
        lines.push(format!("since={at} until={} status=pending", Timestamp(at.0 + 2_000_000)));
        lines.push(format!("webhook={} until={at}", delivery.webhook));
    }
    lines
}

/// What is in flight is `sending`, and nothing else; an event's deliveries are found by it; a text is found in bodies and
/// ids.
pub async fn searches_find(subject: &mut dyn Subject) {
    let world = World::bounded(subject, 6).await;
    let [account, _] = busy_world(&world).await;
    let all = world.list(account, "", 1_000).await;
    let pending: Vec<_> = all.iter().filter(|delivery| delivery.status == DeliveryStatus::Pending).collect();
    let delivered = all.iter().find(|delivery| delivery.status == DeliveryStatus::Delivered).expect("there is one");
    let filter = DeliveryFilter { status: vec![DeliveryStatus::Sending], ..DeliveryFilter::default() };
    let mut query = DeliveryQuery {
        // Of the second one this attempt is recorded: it waits for the next.
        sending: vec![
            (pending[0].id, pending[0].attempts_made + 1),
            (pending[1].id, pending[1].attempts_made),
            (pending[3].id, pending[3].attempts_made + 2),
            (delivered.id, delivered.attempts_made + 1),
        ],
        ..DeliveryQuery::new(account, filter, world.now())
    };
    let sending = world.store().deliveries(query.clone()).await.expect("it is listed");
    assert_eq!(sending.rows.iter().map(|row| row.id).collect::<Vec<_>>(), [pending[0].id, pending[3].id]);
    query.filter = DeliveryFilter::default();
    query.event = Some(delivered.id.event);
    let of_event = world.store().deliveries(query).await.expect("it is listed");
    assert_eq!(of_event.rows.len(), all.iter().filter(|row| row.id.event == delivered.id.event).count());

    let ids = |rows: Vec<Delivery>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(world.list(account, &format!("q={}", delivered.id), 10).await), [delivered.id]);
    let of_event: Vec<_> = all.iter().map(|row| row.id).filter(|id| id.event == delivered.id.event).collect();
    assert_eq!(ids(world.list(account, &format!("q={}", delivered.id.event), 1).await), of_event);
    for (text, marks) in [("\"SITE7.com\"", "site7.com"), ("Grüße", "Grüße")] {
        let mut expected = Vec::new();
        for row in &all {
            let event = world.store().event(account, row.id.event).await.expect("it is read").expect("it exists");
            if String::from_utf8_lossy(&event.data).contains(marks) {
                expected.push(row.id);
            }
        }
        assert!(!expected.is_empty());
        assert_eq!(ids(world.list(account, &format!("q={text}"), 3).await), expected);
        let hasty = world.list_within(account, &format!("q={text}"), 3, Duration::ZERO).await;
        assert_eq!(ids(hasty), expected, "a page that ends early is gone on with");
    }
    let by_webhook: Vec<_> = all.iter().filter(|row| row.webhook.as_str() == "wh_a").map(|row| row.id).collect();
    assert_eq!(ids(world.list(account, "q=wh_a", 10).await), by_webhook);
    assert_eq!(world.list(account, "q=nowhere-to-be-found", 10).await, []);
}

/// Events are found by type, time and text, alone and together, in pages of any size, and with no patience at all.
pub async fn events_are_filtered(subject: &mut dyn Subject) {
    let mut world = World::bounded(subject, 6).await;
    let accounts = busy_world(&world).await;
    for restarted in [false, true] {
        if restarted {
            world.restart().await;
        }
        for account in accounts {
            let all = list_events(&world, EventQuery::new(account, 1_000)).await;
            assert_eq!(all.len(), 40);
            let at = all[20].timestamp;
            let texts = ["", "event=alert.*", "event=alert.rule_created,enrichment.*", "event=*", "event=sequence.*"];
            let times = [String::new(), format!("since={at}"), format!("until={at}"), format!("since={at} until={at}")];
            let mut lines: Vec<_> = texts.iter().flat_map(|a| times.iter().map(move |b| format!("{a} {b}"))).collect();
            lines.extend(["q=SITE7", "q=Grüße event=alert.*", "q=nowhere"].map(str::to_owned));
            lines.push(format!("q={}", all[7].id));
            for line in lines {
                let filter = DeliveryFilter::parse_line(&line, world.now()).expect("a filter");
                let DeliveryFilter { events, since, until, q, .. } = filter.clone();
                let wanted = |event: &&Arc<Event>| {
                    let text = format!("{} {}", event.id, String::from_utf8_lossy(&event.data)).to_lowercase();
                    (events.is_empty() || events.iter().any(|pattern| pattern.matches(&event.event_type)))
                        && since.is_none_or(|since| event.timestamp >= since)
                        && until.is_none_or(|until| event.timestamp < until)
                        && q.as_ref().is_none_or(|q| text.contains(&q.to_lowercase()))
                };
                let expected: Vec<_> = all.iter().filter(wanted).map(|event| event.id).collect();
                for (limit, patience) in [(1, PATIENCE), (7, PATIENCE), (1_000, PATIENCE), (7, Duration::ZERO)] {
                    let (events, q) = (events.clone(), q.clone());
                    let query = EventQuery { events, since, until, q, patience, ..EventQuery::new(account, limit) };
                    let found: Vec<_> = list_events(&world, query).await.iter().map(|event| event.id).collect();
                    assert_eq!(found, expected, "{line} by {limit}");
                }
            }
        }
    }
}

async fn list_events(world: &World<'_>, mut query: EventQuery) -> Vec<Arc<Event>> {
    let mut rows = Vec::new();
    loop {
        let page = world.store().events(query.clone()).await.expect("it is listed");
        assert!(page.rows.len() <= query.limit);
        rows.extend(page.rows);
        if page.next.is_none() {
            return rows;
        }
        query.before = page.next;
    }
}

/// What an account does not show, a search does not find.
pub async fn what_is_redacted_is_not_found(subject: &mut dyn Subject) {
    let mut world = World::new(subject).await;
    let account = world.account();
    world.new_webhook(account, "wh_a", &["*"]).await;
    let mut new = typed(account, TYPES[0]);
    new.data = r#"{"contact":{"email":"jane@example.org"},"note":"for jane"}"#.into();
    let accepted = world.accept(new.clone()).await;
    assert_eq!(world.list(account, "q=jane@", 10).await.len(), 1);
    let mut changed = Account::clone(world.opened.directory.read().account_numbered(account).expect("it exists"));
    changed.version += 1;
    changed.log.redact = Redaction::parse(&["/contact/email".to_owned()]).expect("a pointer");
    changed.log.retention = Some(Duration::from_secs(7_200));
    changed.log.retention_size = Some(1 << 30);
    world.change(Change::PutAccount(changed.clone())).await.expect("it is changed");
    for restarted in [false, true] {
        if restarted {
            world.restart().await;
        }
        let kept = world.opened.directory.read().account_numbered(account).expect("it exists").clone();
        assert_eq!(*kept, changed);
        assert_eq!(world.list(account, "q=jane@", 10).await, []);
        assert_eq!(world.list(account, "q=example.org", 10).await, []);
        assert_eq!(world.list(account, "q=\"for jane\"", 10).await.len(), 1);
        let query = EventQuery { q: Some("jane@".to_owned()), ..EventQuery::new(account, 10) };
        assert_eq!(list_events(&world, query).await, []);
        let whole = world.store().event(account, accepted.id).await.expect("it is read").expect("it exists");
        assert_eq!(whole.data, new.data, "what is kept to be sent is whole");
    }
}

/// Events come newest first, in pages.
pub async fn events_come_in_pages(subject: &mut dyn Subject) {
    let world = World::new(subject).await;
    let account = world.account();
    let mut expected = Vec::new();
    for _ in 0..7 {
        expected.insert(0, world.accept(super::world::event(account)).await.id);
    }
    let (mut listed, mut before) = (Vec::new(), None);
    loop {
        let query = EventQuery { before, ..EventQuery::new(account, 3) };
        let page = world.store().events(query).await.expect("it is listed");
        listed.extend(page.rows.iter().map(|event| event.id));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(listed, expected);
    assert_eq!(world.store().delivery(account, id(expected[0], 0), world.now()).await, Ok(None));
}
