//! The order of webhooks that ask for one.

use std::collections::{HashMap, VecDeque};

use domain::order::Order;

use super::*;

fn ordered(by: &str) -> impl FnOnce(&mut Webhook) {
    let order = Order::parse(by).expect("an order");
    |webhook| webhook.order = Some(order)
}

fn of(key: &str) -> String {
    format!(r#"{{"k":"{key}"}}"#)
}

/// Bounds so small that a handful of events reaches every one of them.
const SMALL: Bounds = Bounds { known: 8, due: 2, backlog: 2, lane: 2, keys: 3, all_keys: 100 };

#[test]
fn a_failing_head_blocks_its_own_key_only() {
    let mut bench = Bench::new(Policy { jitter: 0.0, ..Policy::default() });
    bench.webhook(1, 1, ordered("/k"));
    let [a1, a2, b1, b2] = ["a", "a", "b", "b"].map(|key| bench.accept(vec![1], false, &of(key), vec![false]));
    let started: Vec<_> = bench.starts.iter().map(|start| start.due.delivery.event).collect();
    assert_eq!(started, [a1, b1], "one of each key");
    let (head, other) = (bench.starts.remove(0), bench.starts.remove(0));
    bench.end(&head, answered(500, 1));
    bench.end(&other, answered(200, 1));
    assert!(bench.starts.is_empty(), "nothing follows before the end is on disk");
    bench.record();
    assert_eq!(bench.starts.iter().map(|start| start.due.delivery.event).collect::<Vec<_>>(), [b2]);
    let other = bench.starts.remove(0);
    bench.end(&other, answered(200, 1));
    bench.record();
    let before = bench.now;
    let retry = bench.next_start().expect("the retry");
    assert_eq!((retry.due.delivery.event, retry.number()), (a1, 2));
    assert!(bench.now.since(before) >= Duration::from_secs(29));
    assert!(bench.starts.is_empty());
    bench.end(&retry, answered(200, 1));
    bench.record();
    assert_eq!(bench.next_start().map(|start| start.due.delivery.event), Some(a2));
}

#[test]
fn by_webhook_one_is_in_flight_and_failed_or_cancelled_lets_the_next_go() {
    let mut bench = Bench::new(Policy { jitter: 0.0, ..Policy::default() });
    bench.webhook(1, 1, ordered("webhook"));
    let events = [0; 4].map(|_| bench.event(vec![1], false));
    for number in 1..=6 {
        let start = bench.next_start().expect("an attempt");
        assert_eq!((start.due.delivery.event, start.number()), (events[0], number));
        bench.end(&start, answered(500, 1));
        bench.record();
    }
    let start = bench.next_start().expect("the next");
    assert_eq!(start.due.delivery.event, events[1], "failed lets it go");
    bench.end(&start, answered(500, 1));
    bench.record();
    for cancelled in [events[2], events[1]] {
        let delivery = DeliveryId { event: cancelled, place: 0 };
        bench.on_disk.retain(|due| due.delivery != delivery);
        bench.take(Input::Fact(Fact::Cancelled { delivery, webhook: 1 }));
    }
    let start = bench.next_start().expect("the last");
    assert_eq!(start.due.delivery.event, events[3]);
    bench.end(&start, answered(200, 1));
    bench.record();
    assert_eq!(bench.next_start().map(|start| start.due), None);
    assert_eq!(bench.scheduler.known(), 0);
}

#[test]
fn tests_and_replays_go_outside_of_it() {
    let mut bench = Bench::new(Policy { jitter: 0.0, ..Policy::default() });
    bench.webhook(1, 1, ordered("webhook"));
    let first = bench.event(vec![1], false);
    let second = bench.event(vec![1], false);
    let start = bench.starts.remove(0);
    bench.end(&start, answered(500, 1));
    bench.record();
    bench.event(vec![1], true);
    assert_eq!(bench.starts.remove(0).due.reason, Reason::Test);
    // A replay of the head leaves the order, and with it its key is free.
    let replay = Due { attempts_made: 1, retries_made: 0, reason: Reason::Replay, due_at: bench.now, ..start.due };
    bench.on_disk = vec![replay];
    bench.take(Input::Fact(Fact::Replayed(replay)));
    let started: Vec<_> = bench.starts.iter().map(|start| (start.due.delivery.event, start.due.reason)).collect();
    assert_eq!(started, [(second, Reason::First), (first, Reason::Replay)]);
    // So does its retry: it stops nobody, before a restart and after one.
    let replayed = bench.starts.remove(1);
    bench.end(&replayed, answered(500, 1));
    bench.record();
    assert_eq!((bench.on_disk[0].attempts_made, bench.on_disk[0].retries_made), (2, 1));
    let next = bench.starts.remove(0);
    bench.end(&next, answered(200, 1));
    bench.record();
    let third = bench.event(vec![1], false);
    assert_eq!(bench.starts.remove(0).due.delivery.event, third);
}

#[test]
fn after_a_restart_a_waiting_retry_blocks_its_key_however_far_ahead_it_is() {
    let mut bench = Bench::new(Policy { jitter: 0.0, ..Policy::default() });
    let webhook = bench.webhook(1, 1, ordered("/k"));
    let a1 = bench.accept(vec![1], false, &of("a"), vec![false]);
    for _ in 0..5 {
        let start = bench.next_start().expect("an attempt");
        bench.end(&start, answered(500, 1));
        bench.record();
    }
    assert!(bench.on_disk[0].due_at.since(bench.now) >= Duration::from_secs(21_600));
    let a2 = bench.accept(vec![1], false, &of("a"), vec![true]);
    bench.restart(std::slice::from_ref(&webhook), Vec::new(), Bounds::default());
    let a3 = bench.accept(vec![1], false, &of("a"), vec![false]);
    let b1 = bench.accept(vec![1], false, &of("b"), vec![false]);
    assert_eq!(bench.starts.iter().map(|start| start.due.delivery.event).collect::<Vec<_>>(), [b1]);
    bench.starts.clear();
    for expected in [a1, a2, a3] {
        let start = bench.next_start().expect("an attempt");
        assert_eq!(start.due.delivery.event, expected);
        bench.end(&start, answered(if expected == a1 { 500 } else { 200 }, 1));
        bench.record();
    }
}

/// Sends everything; receivers fail for the keys `failing` the first `failures` times. Returns what was delivered, by key.
fn drain(bench: &mut Bench, failing: &[&str], failures: u16) -> HashMap<String, Vec<EventId>> {
    let mut delivered: HashMap<String, Vec<EventId>> = HashMap::new();
    let mut seen_at_once = HashMap::<String, EventId>::new();
    let mut under_way = VecDeque::new();
    loop {
        under_way.extend(bench.starts.drain(..));
        if under_way.is_empty() {
            under_way.extend(bench.next_start());
        }
        let Some(start) = under_way.pop_front() else { return delivered };
        let id = start.due.delivery.event;
        let event = bench.kept.iter().find(|event| event.id == id).cloned().expect("an event");
        let data: String = String::from_utf8(event.data.to_vec()).expect("text");
        let fails = failing.iter().any(|key| data == of(key)) && start.due.attempts_made < failures;
        if let Some(other) = seen_at_once.insert(data.clone(), id).filter(|other| *other != id) {
            assert!(delivered.get(&data).is_some_and(|done| done.contains(&other)), "{data}: two at once");
        }
        bench.end(&start, answered(if fails { 500 } else { 200 }, 1));
        bench.record();
        if !fails {
            delivered.entry(data).or_default().push(id);
        }
    }
}

#[test]
fn a_long_backlog_of_a_blocked_key_takes_little_memory_and_stops_no_other_key() {
    let mut bench = Bench::with_bounds(Policy { jitter: 0.0, ..Policy::default() }, SMALL);
    bench.webhook(1, 1, ordered("/k"));
    let mut sent: HashMap<String, Vec<EventId>> = HashMap::new();
    for number in 0..300 {
        let data = of(if number % 50 == 49 { ["x", "y", "z"][number / 100] } else { "a" });
        let id = bench.accept(vec![1], false, &data, vec![true]);
        sent.entry(data).or_default().push(id);
    }
    let start = bench.starts.remove(0);
    bench.end(&start, answered(500, 1));
    bench.record();
    let begin = bench.now;
    let mut others = 0;
    while let Some(start) = (!bench.starts.is_empty()).then(|| bench.starts.remove(0)) {
        bench.end(&start, answered(200, 1));
        bench.record();
        others += 1;
        assert!(bench.scheduler.known() < 12, "{}", bench.scheduler.known());
    }
    assert_eq!(others, 6, "all of the other keys");
    assert!(bench.now.since(begin) < Duration::from_secs(1));
    assert_eq!(drain(&mut bench, &[], 0)[&of("a")], sent[&of("a")]);
    assert_eq!(bench.scheduler.known(), 0);
}

#[test]
fn whatever_is_in_memory_or_on_disk_each_key_keeps_its_order() {
    for seed in 0..200 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let policy = Policy { jitter: 0.0, max_in_flight: 1 + chance.u16(..4), ..Policy::default() };
        let mut bench = Bench::with_bounds(policy, SMALL);
        let webhook = bench.webhook(1, 1, ordered("/k"));
        let mut sent: HashMap<String, Vec<EventId>> = HashMap::new();
        let mut on_disk = false;
        for _ in 0..40 {
            let data = of(["a", "b", "c", "d", "e"][chance.usize(..5)]);
            // Once a webhook has too much in memory, what follows waits on disk for a while.
            on_disk = if chance.u8(..4) == 0 { !on_disk } else { on_disk };
            let id = bench.accept(vec![1], false, &data, vec![on_disk]);
            sent.entry(data).or_default().push(id);
            if chance.u8(..3) == 0 && !bench.starts.is_empty() {
                let start = bench.starts.remove(0);
                bench.end(&start, answered(500, 1));
                bench.record();
            }
        }
        if chance.bool() {
            let stored: Vec<EventId> = bench.on_disk.iter().map(|due| due.delivery.event).collect();
            let mut fresh = bench.kept.clone();
            fresh.retain(|event| !stored.contains(&event.id));
            bench.restart(std::slice::from_ref(&webhook), fresh, SMALL);
        }
        let delivered = drain(&mut bench, &["b", "d"], 3);
        assert_eq!(delivered, sent, "seed {seed}");
        assert_eq!(bench.scheduler.known(), 0, "seed {seed}");
    }
}

#[test]
fn an_order_that_is_made_of_what_waits_already_waits_for_what_is_in_flight() {
    let mut bench = Bench::new(Policy { jitter: 0.0, max_in_flight: 2, ..Policy::default() });
    let webhook = bench.webhook(1, 1, |_| {});
    let events = [0; 4].map(|_| bench.event(vec![1], false));
    assert_eq!(bench.starts.len(), 1);
    let mut changed = (*webhook).clone();
    changed.order = Order::parse("webhook").ok();
    bench.take(Input::Fact(Fact::Webhook(Arc::new(changed.clone()))));
    let start = bench.starts.remove(0);
    bench.end(&start, answered(500, 1));
    bench.record();
    for expected in [events[0], events[1]] {
        let start = bench.next_start().expect("an attempt");
        assert_eq!(start.due.delivery.event, expected);
        bench.end(&start, answered(200, 1));
        bench.record();
    }
    // And an order that is taken away lets everything go.
    changed.order = None;
    bench.take(Input::Fact(Fact::Webhook(Arc::new(changed))));
    for expected in [events[2], events[3]] {
        let start = bench.next_start().expect("an attempt");
        assert_eq!(start.due.delivery.event, expected);
        bench.end(&start, answered(200, 1));
        bench.record();
    }
    assert_eq!(bench.scheduler.known(), 0);
}

#[test]
fn a_receiver_that_fails_for_every_key_blocks_no_more_keys_than_memory_should_hold() {
    let mut bench = Bench::with_bounds(Policy { jitter: 0.0, ..Policy::default() }, SMALL);
    bench.webhook(1, 1, ordered("/k"));
    for number in 0..20 {
        bench.accept(vec![1], false, &of(&number.to_string()), vec![true]);
    }
    let mut begun = 0;
    while !bench.starts.is_empty() {
        let start = bench.starts.remove(0);
        begun += u32::from(start.due.reason == Reason::First);
        bench.end(&start, answered(500, 1));
        bench.record();
    }
    assert!((3..=8).contains(&begun), "{begun}");
    let delivered = drain(&mut bench, &[], 0);
    assert_eq!(delivered.len(), 20, "and each of them in the end");
}

#[test]
fn held_ones_keep_their_place() {
    let mut bench = Bench::new(Policy { jitter: 0.0, ..Policy::default() });
    let webhook = bench.webhook(1, 1, ordered("webhook"));
    let first = bench.event(vec![1], false);
    let start = bench.starts.remove(0);
    let mut paused = (*webhook).clone();
    paused.pause = Some(Pause { since: bench.now, cause: PauseCause::Gone });
    bench.take(Input::Fact(Fact::Webhook(Arc::new(paused))));
    bench.end(&start, answered(500, 1));
    bench.record();
    let second = bench.accept(vec![1], false, "{}", vec![true]);
    assert!(bench.starts.is_empty());
    bench.take(Input::Fact(Fact::Webhook(webhook)));
    bench.take(Input::Fact(Fact::Resumed { webhook: 1, rate: None }));
    let third = bench.event(vec![1], false);
    for expected in [first, second, third] {
        let start = bench.next_start().expect("an attempt");
        assert_eq!(start.due.delivery.event, expected);
        bench.end(&start, answered(200, 1));
        bench.record();
    }
}

/// A database that answers nothing for a moment has not lost what it keeps: the next of a key waits.
#[test]
fn an_event_that_could_not_be_read_keeps_its_turn() {
    let mut bench = Bench::new(Policy { jitter: 0.0, ..Policy::default() });
    bench.webhook(1, 1, ordered("webhook"));
    let [first, second] = [0; 2].map(|_| bench.event(vec![1], false));
    for _ in 0..3 {
        let before = bench.now;
        let start = bench.next_start().expect("it is tried again");
        assert_eq!((start.due.delivery.event, start.number()), (first, 1));
        assert!(bench.starts.is_empty());
        let (delivery, epoch) = (start.due.delivery, start.epoch);
        bench.take(Input::Unmade { delivery, epoch });
        assert!(bench.starts.is_empty(), "not at once, and nothing in its place");
        assert!(bench.now.since(before) <= Duration::from_secs(1));
    }
    for event in [first, second] {
        let start = bench.next_start().expect("an attempt");
        assert_eq!(start.due.delivery.event, event);
        bench.end(&start, answered(200, 1));
        bench.record();
    }
    assert_eq!((bench.scheduler.in_flight(), bench.scheduler.known()), (0, 0));
}

#[test]
fn without_an_order_it_is_tried_again_too_unless_it_was_cancelled() {
    let mut bench = Bench::new(Policy { jitter: 0.0, ..Policy::default() });
    bench.webhook(1, 1, |_| {});
    let [tried, cancelled] = [0; 2].map(|_| bench.event(vec![1], false));
    let starts = [0; 2].map(|_| bench.next_start().expect("an attempt"));
    bench.take(Input::Fact(Fact::Cancelled { delivery: DeliveryId { event: cancelled, place: 0 }, webhook: 1 }));
    for start in &starts {
        bench.take(Input::Unmade { delivery: start.due.delivery, epoch: start.epoch });
    }
    let before = bench.now;
    let start = bench.next_start().expect("it is tried again");
    assert_eq!((start.due, bench.now.since(before)), (starts[0].due, Duration::from_secs(1)));
    assert_eq!(start.due.delivery.event, tried);
    bench.end(&start, answered(200, 1));
    bench.record();
    assert!(bench.next_start().is_none());
    assert_eq!((bench.scheduler.in_flight(), bench.scheduler.known()), (0, 0));
}
