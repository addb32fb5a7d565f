//! Figures: they agree with the log, whatever is summed up already, and what ended is counted once.

use std::collections::BTreeMap;

use domain::delivery::{Delivery, DeliveryStatus};
use domain::stats::{Bucket, End, Figures, Stats, Step, Subjects, instant, minute};
use domain::store::Change;
use domain::time::Timestamp;

use super::Subject;
use super::listing::busy_world;
use super::world::{End as Ends, World, event, first, id};

/// What the log says, in steps.
async fn expected(world: &World<'_>, account: u32, rows: &[Delivery], step: Step) -> Vec<Bucket> {
    let mut buckets = BTreeMap::<i64, Figures>::new();
    let start = |at: Timestamp| step.start(minute(at));
    // As they were recorded: oldest first.
    for row in rows.iter().rev().filter(|row| !row.test) {
        for attempt in world.log(account, row.id).await.1 {
            buckets.entry(start(attempt.ended_at())).or_default().attempted(&attempt);
        }
        let end = match row.status {
            DeliveryStatus::Delivered => End::Delivered,
            DeliveryStatus::Failed => End::Failed,
            DeliveryStatus::Cancelled => End::Cancelled,
            DeliveryStatus::Pending | DeliveryStatus::Sending | DeliveryStatus::Held => continue,
        };
        buckets.entry(start(row.ended_at.expect("it has ended"))).or_default().ended(end, row.retries_made > 0);
    }
    buckets.into_iter().map(|(start, figures)| Bucket { start: instant(start), figures }).collect()
}

/// Figures are what the log says, by minute and by hour, of a webhook and of an account, before a restart and after it;
/// and what waits is counted.
pub async fn figures_agree_with_the_log(subject: &mut dyn Subject) {
    let mut world = World::bounded(subject, 6).await;
    let accounts = busy_world(&world).await;
    for restarted in [false, true] {
        if restarted {
            world.restart().await;
        }
        for account in accounts {
            let all = world.list(account, "", 1_000).await;
            let webhooks: Vec<_> = world.opened.directory.read().webhooks_of(account).cloned().collect();
            let numbers: Vec<_> = webhooks.iter().map(|webhook| webhook.number).collect();
            for step in [Step::MINUTE, Step::HOUR] {
                let found = world.stats(account, Subjects::Webhooks(numbers.clone()), step).await;
                assert_eq!(found.len(), webhooks.len());
                for (webhook, found) in webhooks.iter().zip(found) {
                    let rows: Vec<_> = all.iter().filter(|row| row.webhook == webhook.id).cloned().collect();
                    assert_eq!(found.buckets, expected(&world, account, &rows, step).await, "{}", webhook.id);
                    let waiting = rows.iter().filter(|row| row.ended_at.is_none() && !row.test);
                    let (number, oldest) =
                        (waiting.clone().count() as u64, waiting.filter_map(|row| row.next_attempt_at).min());
                    let (held, pending) = if webhook.pause.is_some() { (number, 0) } else { (0, number) };
                    assert_eq!(
                        (found.held, found.pending, found.oldest_due),
                        (held, pending, oldest),
                        "{}",
                        webhook.id
                    );
                }
                let found = world.stats(account, Subjects::Account, step).await;
                let [Stats { buckets, .. }] = &found[..] else { panic!("{found:?}") };
                let mut wanted = expected(&world, account, &all, step).await;
                assert_eq!(buckets.len(), wanted.len());
                for (found, wanted) in buckets.iter().zip(&mut wanted) {
                    // How many missed in a row is a word about one webhook.
                    wanted.figures.misses_in_a_row = found.figures.misses_in_a_row;
                }
                assert_eq!(*buckets, wanted, "deleted webhooks count");
            }
        }
    }
}

/// A delivery that is replayed ends once more; what changes no end counts none.
pub async fn a_replay_ends_once_more(subject: &mut dyn Subject) {
    let world = World::new(subject).await;
    let account = world.account();
    let webhook = world.new_webhook(account, "wh_one", &["*"]).await;
    let sent = world.accept(event(account)).await.id;
    let delivery = id(sent, 0);
    world.settle(first(sent, 0, webhook), Ends::Failed(404)).await;
    world.change(Change::Replay(account, delivery)).await.expect("it has ended");
    let due = world.backlog(webhook).await.pop().expect("it waits");
    world.settle(due, Ends::Delivered).await;
    world.change(Change::Cancel(account, delivery)).await.expect_err("it has ended");
    let found = world.stats(account, Subjects::Webhooks(vec![webhook]), Step::HOUR).await;
    let total = found[0].total();
    assert_eq!((total.delivered, total.failed, total.cancelled, total.attempts()), (1, 1, 0, 2));
    assert_eq!((total.delivered_after_retry, total.misses_in_a_row, found[0].pending), (0, 0, 0));
}
