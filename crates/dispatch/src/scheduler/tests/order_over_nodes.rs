//! An ordered webhook over nodes: its owner reads what others have accepted, in the order of events.

use domain::order::{Order, OrderKey};
use domain::shard::Lease;

use super::*;

const SHARDS: u16 = 4;
const NONE: [i64; 0] = [];

/// A node that holds an ordered webhook's shard; what it is told to load is answered by hand.
struct InOrder {
    scheduler: Scheduler,
    now: Timestamp,
    /// The load under way.
    load: Option<(u64, Option<DeliveryId>, usize)>,
    started: Vec<i64>,
}

impl InOrder {
    fn new(bounds: Bounds) -> Self {
        let mut ordered = webhook(1, 1);
        ordered.order = Some(Order::parse("webhook").expect("an order"));
        let lease = Lease { shard: Shard::among(SHARDS, 1, 1), epoch: Epoch(1) };
        let scheduler = Scheduler::new(Arc::new(Policy::default()), 7, START).with_bounds(bounds).sharing(SHARDS);
        let mut node = Self { scheduler, now: START, load: None, started: Vec::new() };
        node.take(Input::Hold { leases: vec![lease], webhooks: vec![Arc::new(ordered)] });
        node.take(Input::Due(Vec::new()));
        node
    }

    fn take(&mut self, input: Input) {
        for output in self.scheduler.step(self.now, input) {
            if let Output::Start(start) = output {
                self.started.push(number(start.due.delivery));
            } else if let Output::LoadBacklog { load, after, limit, .. } = output {
                self.load = Some((load, after, limit));
            } else {
                assert!(matches!(output, Output::LoadDue(_)), "{output:?}");
            }
        }
    }

    /// Another node has accepted an event so many milliseconds after the start, and this one has heard of it.
    fn arrives(&mut self, ms: i64) {
        let event = Arc::new(event(delivery(ms).event, vec![1]));
        self.take(Input::Fact(Fact::Accepted { event, on_disk: vec![true] }));
    }

    /// Answers the load with those of these events that it asks for; what is started of it.
    fn answer(&mut self, waiting: &[i64]) -> Vec<i64> {
        self.answer_rows(waiting.iter().map(|ms| due(*ms)).collect())
    }

    fn answer_rows(&mut self, waiting: Vec<Due>) -> Vec<i64> {
        let (load, after, limit) = self.load.take().expect("a load under way");
        let rows = waiting.into_iter().filter(|due| Some(due.delivery) > after).take(limit);
        let rows = Some(rows.map(|due| (due, OrderKey::NONE)).collect());
        self.take(Input::Backlog { webhook: 1, load, rows });
        std::mem::take(&mut self.started)
    }

    /// What is started has been delivered, and that is recorded.
    fn deliver(&mut self, ms: i64) -> Vec<i64> {
        let mut settlements = Vec::new();
        let start = Start { due: due(ms), webhook: Arc::new(webhook(1, 1)), event: None, epoch: Epoch(1) };
        let ended = ended(&Policy::default(), &start, self.now, answered(200, 0));
        for output in self.scheduler.step(self.now, Input::Ended(Box::new(ended))) {
            if let Output::Settle(settlement) = output {
                settlements.push(*settlement);
            }
        }
        for settlement in settlements {
            self.take(Input::Fact(Fact::Settled(Arc::new(settlement))));
        }
        std::mem::take(&mut self.started)
    }
}

fn delivery(ms: i64) -> DeliveryId {
    DeliveryId { event: EventId::first_at(START.0 + ms * 1_000), place: 0 }
}

fn number(delivery: DeliveryId) -> i64 {
    (super::super::facts::accepted_at(delivery.event).0 - START.0) / 1_000
}

fn due(ms: i64) -> Due {
    let (attempts_made, retries_made, reason) = (0, 0, Reason::First);
    Due { delivery: delivery(ms), webhook: 1, due_at: START, attempts_made, retries_made, reason }
}

/// With more arriving all the time than one load can bring, an order would else stand still until half a minute has passed.
#[test]
fn what_arrives_while_the_disk_is_read_holds_nothing_back_that_is_older() {
    let mut node = InOrder::new(Bounds::default());
    assert_eq!(node.answer(&[]), NONE, "nothing waits");
    node.arrives(10);
    node.arrives(20);
    assert_eq!(node.answer(&[10]), [10], "the second has come since the load began, and is newer");
    assert_eq!(node.deliver(10), NONE);
    node.arrives(30);
    assert_eq!(node.answer(&[20, 30]), [20], "no load has begun since the third came");
    assert_eq!(node.answer(&[20, 30]), NONE);
    assert_eq!(node.deliver(20), [30]);
    assert_eq!(node.load, None, "all has been read");
}

#[test]
fn what_is_older_than_what_was_read_and_came_meanwhile_goes_first() {
    let mut node = InOrder::new(Bounds::default());
    node.answer(&[]);
    node.arrives(20);
    // Accepted by a node whose clock is behind.
    node.arrives(10);
    assert_eq!(node.answer(&[20]), NONE, "the older one has been heard of, and is not in memory yet");
    assert_eq!(node.answer(&[10, 20]), [10]);
    assert_eq!(node.deliver(10), [20]);
}

#[test]
fn what_a_node_with_a_clock_ahead_has_accepted_blocks_no_order() {
    let mut node = InOrder::new(Bounds::default());
    node.answer(&[]);
    node.arrives(10);
    let ahead = Due { due_at: START.plus(Duration::from_secs(90)), ..due(10) };
    assert_eq!(node.answer_rows(vec![ahead]), [10], "it was never tried, and so is due");
}

#[test]
fn a_long_backlog_is_read_to_its_end_however_much_arrives_meanwhile() {
    let mut node = InOrder::new(Bounds { backlog: 4, lane: 6, ..Bounds::default() });
    let mut waiting: Vec<i64> = (1..=20).collect();
    let mut sent = node.answer(&waiting);
    let (mut next, mut rounds) = (21, 0);
    while sent.last() != Some(&40) && rounds < 400 {
        rounds += 1;
        if next <= 40 {
            waiting.push(next);
            node.arrives(next);
            next += 1;
        }
        if node.load.is_some() {
            sent.extend(node.answer(&waiting));
        }
        if let Some(&last) = sent.last()
            && waiting.contains(&last)
        {
            waiting.retain(|ms| *ms != last);
            sent.extend(node.deliver(last));
        }
    }
    assert_eq!(sent, (1..=40).collect::<Vec<_>>(), "after {rounds} rounds");
}
