//! One node among many: what it has while it holds a shard, and what becomes of that.

use super::*;
use domain::cluster::Arrival;
use domain::shard::Lease;

const SHARDS: u16 = 4;

/// A node that holds nothing yet.
fn one_of_many() -> Bench {
    let mut bench = Bench::new(Policy::default());
    bench.scheduler = Scheduler::new(Arc::clone(&bench.policy), 7, START).sharing(SHARDS);
    bench.take(Input::Tick);
    bench
}

/// The webhook of this number of account 1, and the lease of its shard.
fn held(number: u32, epoch: u64) -> (Arc<Webhook>, Lease) {
    (Arc::new(webhook(number, 1)), Lease { shard: Shard::among(SHARDS, 1, number), epoch: Epoch(epoch) })
}

/// Two webhooks that are in different shards.
fn two() -> (u32, u32) {
    let other = |number: &u32| Shard::among(SHARDS, 1, *number) != Shard::among(SHARDS, 1, 1);
    (1, (2..).find(other).expect("webhooks are spread"))
}

impl Bench {
    fn hold(&mut self, number: u32, epoch: u64) -> Lease {
        let (webhook, lease) = held(number, epoch);
        self.take(Input::Hold { leases: vec![lease], webhooks: vec![webhook] });
        lease
    }

    fn retry(&mut self, webhook: u32, in_seconds: u64) -> DeliveryId {
        self.events += 1;
        let delivery = DeliveryId { event: EventId::first_at(START.0 - 60_000_000 + self.events), place: 0 };
        let due_at = self.now.plus(Duration::from_secs(in_seconds));
        let (attempts_made, retries_made) = (1, 1);
        self.on_disk.push(Due { delivery, webhook, due_at, attempts_made, retries_made, reason: Reason::Retry });
        delivery
    }

    fn started(&mut self) -> Vec<(u32, Epoch)> {
        self.starts.drain(..).map(|start| (start.due.webhook, start.epoch)).collect()
    }
}

#[test]
fn a_node_sends_what_is_in_its_shards_and_nothing_else() {
    let mut bench = one_of_many();
    let (ours, theirs) = two();
    for number in [ours, theirs] {
        bench.take(Input::Fact(Fact::Webhook(held(number, 0).0)));
    }
    bench.event(vec![ours, theirs], false);
    assert_eq!((bench.started(), bench.scheduler.known()), (vec![], 0));
    bench.retry(ours, 0);
    bench.hold(ours, 3);
    assert_eq!(bench.started(), [(ours, Epoch(3))], "what was due already is read from the disk");
    bench.event(vec![ours, theirs], false);
    assert_eq!(bench.started(), [(ours, Epoch(3))]);
    assert_eq!(bench.scheduler.lane(theirs), None, "no memory is spent on others' webhooks");
}

#[test]
fn what_is_planned_is_found_by_whoever_takes_the_shard() {
    let mut bench = one_of_many();
    let (ours, theirs) = two();
    bench.hold(ours, 1);
    let planned = bench.retry(theirs, 30);
    let loads = bench.loads;
    bench.hold(theirs, 1);
    assert_eq!(
        (bench.loads, bench.scheduler.known()),
        (loads + 2, 1),
        "of what is due, and of what lies beyond all schedules"
    );
    bench.now = bench.now.plus(Duration::from_secs(30));
    bench.take(Input::Tick);
    assert_eq!(bench.starts.last().map(|start| start.due.delivery), Some(planned));
}

/// A node that died has left retries behind: whoever takes its shards does not send them all at once, however long it runs
/// already.
#[test]
fn what_came_due_while_nobody_held_the_shard_is_spread() {
    let mut bench = one_of_many();
    let (ours, theirs) = two();
    bench.hold(ours, 1);
    bench.now = bench.now.plus(Duration::from_secs(3_600));
    let late: Vec<DeliveryId> = (0..8).map(|second| bench.retry(theirs, second)).collect();
    bench.now = bench.now.plus(Duration::from_secs(20));
    let begin = bench.now;
    bench.hold(theirs, 1);
    let mut order = Vec::new();
    for _ in &late {
        let start = bench.next_start().expect("each of them");
        order.push(start.due.delivery);
        bench.end(&start, answered(200, 0));
        bench.record();
    }
    let took = bench.now.since(begin);
    assert!(took > Duration::from_secs(2) && took <= Duration::from_secs(10), "{took:?}");
    assert_ne!(order, late, "each waits for a time of its own");
    assert!(order.iter().all(|delivery| late.contains(delivery)));
}

#[test]
fn a_lost_shard_is_forgotten_and_what_was_in_flight_is_not_recorded() {
    let mut bench = one_of_many();
    let (lost, kept) = two();
    let lease = bench.hold(lost, 1);
    bench.hold(kept, 1);
    bench.event(vec![lost, kept], false);
    bench.retry(lost, 60);
    bench.event(vec![lost], false);
    let starts: Vec<_> = bench.starts.drain(..).collect();
    assert_eq!(starts.len(), 3);
    bench.end(&starts[2], answered(200, 1));
    bench.take(Input::LetGo(vec![lease.shard]));
    assert_eq!((bench.scheduler.in_flight(), bench.scheduler.known(), bench.scheduler.recorded()), (1, 1, true));
    bench.end(&starts[0], answered(200, 1));
    assert_eq!(bench.dropped, [starts[0].due.delivery]);
    bench.settlements.clear();
    bench.end(&starts[1], answered(200, 1));
    assert_eq!(bench.record().len(), 1, "the other shard goes on");
    assert!(bench.scheduler.idle());
}

#[test]
fn an_attempt_from_before_a_loss_changes_nothing_of_what_is_sent_since() {
    let mut bench = one_of_many();
    let lease = bench.hold(1, 1);
    let delivery = bench.retry(1, 0);
    bench.take(Input::LetGo(vec![lease.shard]));
    bench.hold(1, 1);
    let before = bench.starts.pop().expect("an attempt");
    bench.end(&before, answered(500, 1));
    // Recorded just in time by the one that lost it; the word of it comes after the shard was taken again.
    let late = bench.settlements.pop().expect("its end");
    bench.take(Input::LetGo(vec![lease.shard]));
    bench.hold(1, 5);
    let again = bench.next_start().expect("the same again");
    assert_eq!((again.due.delivery, again.epoch), (delivery, Epoch(5)));
    bench.take(Input::Fact(Fact::Settled(Arc::new(late))));
    bench.end(&before, answered(200, 1));
    assert_eq!((bench.dropped.len(), bench.settlements.len(), bench.scheduler.in_flight()), (1, 0, 1));
    bench.end(&again, answered(200, 1));
    assert_eq!(bench.record().iter().map(|it| it.epoch).collect::<Vec<_>>(), [Epoch(5)]);
    assert!(bench.scheduler.idle());
}

#[test]
fn a_shard_that_is_wound_down_comes_to_rest_once_everything_is_recorded() {
    let mut bench = one_of_many();
    let (ours, idle) = two();
    let (busy, quiet) = (bench.hold(ours, 1), bench.hold(idle, 1));
    bench.event(vec![ours], false);
    let start = bench.starts.pop().expect("an attempt");
    bench.take(Input::WindDown(vec![busy.shard, quiet.shard]));
    assert_eq!(bench.quiet, [quiet.shard]);
    bench.event(vec![ours, idle], false);
    bench.end(&start, answered(200, 1));
    assert_eq!((bench.starts.len(), &bench.quiet[..]), (0, &[quiet.shard][..]), "the end is not recorded yet");
    bench.record();
    assert_eq!((bench.starts.len(), &bench.quiet[..]), (0, &[quiet.shard, busy.shard][..]));
}

#[test]
fn nothing_starts_while_the_leases_are_about_to_end() {
    let mut bench = one_of_many();
    bench.hold(1, 1);
    bench.scheduler.may_start(false);
    bench.event(vec![1], false);
    assert_eq!(bench.starts.len(), 0);
    bench.scheduler.may_start(true);
    bench.take(Input::Tick);
    assert_eq!(bench.starts.len(), 1);
}

#[test]
fn what_others_accepted_is_found_on_the_disk_and_sent_once() {
    let mut bench = one_of_many();
    bench.hold(1, 1);
    let due = |event: i64, at: Timestamp| Due {
        delivery: DeliveryId { event: EventId::first_at(START.0 + event), place: 0 },
        webhook: 1,
        due_at: at,
        attempts_made: 0,
        retries_made: 0,
        reason: Reason::First,
    };
    bench.on_disk.extend([due(1, START), due(2, START.plus(Duration::from_secs(7)))]);
    bench.take(Input::Tick);
    assert_eq!(bench.starts.len(), 0, "nobody has said so");
    bench.take(Input::LookForArrivals);
    assert_eq!(bench.starts.len(), 0, "what was accepted a moment ago has been named, or is about to be");
    bench.now = START.plus(Duration::from_millis(1_001));
    for _ in 0..2 {
        bench.take(Input::LookForArrivals);
    }
    assert_eq!(bench.starts.len(), 1);
    // Recorded while a look is under way that has read it before.
    bench.now = START.plus(Duration::from_secs(2));
    let outputs = bench.scheduler.step(bench.now, Input::LookForArrivals);
    assert!(matches!(outputs[..], [Output::LoadArrivals(_)]));
    let read = bench.on_disk.clone();
    let start = bench.starts.pop().expect("the first");
    bench.end(&start, answered(200, 1));
    bench.record();
    bench.take(Input::Arrivals(Some(read)));
    assert_eq!(bench.starts.len(), 0, "it has been delivered, and the other is not due");
    bench.now = START.plus(Duration::from_secs(9));
    bench.take(Input::LookForArrivals);
    assert_eq!(bench.starts.len(), 1);
}

/// Where much waits a look takes long; what else the database has to do is not to wait for one look after the other.
#[test]
fn looks_take_a_tenth_of_the_time_at_most() {
    let mut bench = one_of_many();
    bench.hold(1, 1);
    let at = |ms: u64| START.plus(Duration::from_millis(ms));
    let looks = |outputs: &[Output]| matches!(outputs, [Output::LoadArrivals(_)]);
    assert!(looks(&bench.scheduler.step(at(2_000), Input::ManyAccepted)));
    assert!(bench.scheduler.step(at(2_050), Input::ManyAccepted).is_empty(), "one is under way");
    assert!(bench.scheduler.step(at(2_100), Input::Arrivals(Some(Vec::new()))).is_empty());
    assert_eq!(bench.scheduler.wake_at(), Some(at(3_000)), "it has taken 100 ms");
    assert!(bench.scheduler.step(at(2_999), Input::LookForArrivals).is_empty());
    let outputs = bench.scheduler.step(at(3_000), Input::Tick);
    assert!(looks(&outputs));
    let Output::LoadArrivals(load) = outputs[0] else { panic!("{outputs:?}") };
    assert!(load.until > at(3_000), "it goes up to now, since more was accepted than was named");
    // A clock that jumps while one is under way keeps no look from being made for long.
    assert!(bench.scheduler.step(at(100_000), Input::Arrivals(Some(Vec::new()))).is_empty());
    assert!(looks(&bench.scheduler.step(at(105_000), Input::ManyAccepted)));
}

#[test]
fn what_was_read_before_a_shard_was_held_is_not_believed() {
    let mut bench = one_of_many();
    let (first, other) = two();
    bench.hold(first, 1);
    bench.retry(other, 0);
    let outputs = bench.scheduler.step(bench.now, Input::LookForArrivals);
    assert!(matches!(outputs[..], [Output::LoadArrivals(_)]));
    let read = std::mem::take(&mut bench.on_disk);
    bench.hold(other, 2);
    bench.take(Input::Arrivals(Some(read)));
    assert_eq!((bench.starts.len(), bench.scheduler.known()), (0, 0), "its owner before has sent it");
}

/// A delivery that another node has accepted just now, on the disk.
fn elsewhere(bench: &mut Bench, webhook: u32) -> Arrival {
    bench.events += 1;
    let delivery = DeliveryId { event: EventId::first_at(START.0 + bench.events), place: 0 };
    let (attempts_made, retries_made) = (0, 0);
    bench.on_disk.push(Due {
        delivery,
        webhook,
        due_at: bench.now,
        attempts_made,
        retries_made,
        reason: Reason::First,
    });
    Arrival { account: 1, webhook, delivery }
}

#[test]
fn what_others_name_is_asked_for_if_it_is_ours_and_not_known() {
    let mut bench = one_of_many();
    let (ours, theirs) = two();
    bench.hold(ours, 1);
    let (named, other) = (elsewhere(&mut bench, ours), elsewhere(&mut bench, theirs));
    assert!(bench.scheduler.step(bench.now, Input::Accepted(vec![other])).is_empty());
    bench.take(Input::Accepted(vec![named, other]));
    assert_eq!(bench.starts.iter().map(|start| start.due.delivery).collect::<Vec<_>>(), [named.delivery]);
    assert!(bench.scheduler.step(bench.now, Input::Accepted(vec![named])).is_empty(), "it is being sent");
    // A moment later there may be more of it: what is named meanwhile is asked for together.
    let later: Vec<Arrival> = (0..3).map(|_| elsewhere(&mut bench, ours)).collect();
    for part in [&later[..1], &later[1..2]] {
        assert!(bench.scheduler.step(bench.now, Input::Accepted(part.to_vec())).is_empty());
    }
    bench.now = bench.scheduler.wake_at().expect("it is going to be asked for");
    assert_eq!(bench.now.since(START), Duration::from_millis(10));
    let outputs = bench.scheduler.step(bench.now, Input::Tick);
    assert!(matches!(&outputs[..], [Output::LoadNamed(asked)] if *asked == later[..2]), "{outputs:?}");
    bench.now = bench.now.plus(Duration::from_secs(1));
    assert!(bench.scheduler.step(bench.now, Input::Accepted(vec![later[2]])).is_empty(), "one at a time");
    bench.take(Input::Named(Some(Vec::new())));
    assert_eq!(bench.starts.len(), 2, "the two had ended before they were read");
}

/// Behind a load balancer an event may be posted through one node for a webhook that another has just made, and be named before its owner
/// has heard of that.
#[test]
fn what_was_named_before_its_webhook_was_known_is_looked_for_once_it_is() {
    let mut bench = one_of_many();
    let (_, lease) = held(1, 1);
    bench.take(Input::Hold { leases: vec![lease], webhooks: Vec::new() });
    bench.take(Input::LookForArrivals);
    let named = elsewhere(&mut bench, 1);
    bench.now = bench.now.plus(Duration::from_millis(100));
    // A look passes over it: the store leaves out what belongs to no webhook that it knows.
    let waiting = std::mem::take(&mut bench.on_disk);
    bench.take(Input::ManyAccepted);
    bench.take(Input::Accepted(vec![named]));
    bench.on_disk = waiting;
    bench.now = bench.now.plus(Duration::from_millis(300));
    bench.take(Input::Tick);
    assert_eq!(bench.starts.len(), 0);
    bench.take(Input::Fact(Fact::Webhook(held(1, 0).0)));
    assert_eq!(bench.starts.len(), 1, "at once");
}

/// A replay with a rate plans a moment ahead: a look at what has come due finds that only later, and all of it together.
#[test]
fn what_is_to_be_sent_again_later_is_sent_at_its_own_time() {
    let mut bench = one_of_many();
    bench.hold(1, 1);
    bench.take(Input::LookForArrivals);
    let planned: Vec<Due> = (1..=3)
        .map(|n| Due {
            delivery: DeliveryId { event: EventId::first_at(START.0 - 60_000_000 + n), place: 0 },
            webhook: 1,
            due_at: START.plus(Duration::from_millis(50 * n.unsigned_abs())),
            attempts_made: 1,
            retries_made: 0,
            reason: Reason::Replay,
        })
        .collect();
    // By the time that this node hears of it, another may have sent one already.
    bench.on_disk.extend(&planned[..2]);
    for due in &planned {
        bench.take(Input::Fact(Fact::Replayed(*due)));
    }
    let mut sent = Vec::new();
    while bench.now < START.plus(Duration::from_millis(500)) {
        sent.extend(bench.starts.drain(..).map(|start| (start.due.delivery, bench.now)));
        bench.now = bench.scheduler.wake_at().unwrap_or(Timestamp(i64::MAX)).max(bench.now);
        bench.take(Input::Tick);
    }
    assert_eq!(sent, planned[..2].iter().map(|due| (due.delivery, due.due_at)).collect::<Vec<_>>());
}

#[test]
fn what_was_named_and_has_ended_since_it_was_read_is_not_sent_again() {
    let mut bench = one_of_many();
    bench.hold(1, 1);
    let named = elsewhere(&mut bench, 1);
    let outputs = bench.scheduler.step(bench.now, Input::Accepted(vec![named]));
    assert!(matches!(outputs[..], [Output::LoadNamed(_)]));
    let read = bench.on_disk.clone();
    // A look finds it meanwhile.
    bench.take(Input::ManyAccepted);
    let start = bench.starts.pop().expect("it is sent");
    bench.end(&start, answered(200, 1));
    bench.record();
    bench.take(Input::Named(Some(read)));
    assert_eq!((bench.starts.len(), bench.scheduler.known()), (0, 0));
}

#[test]
fn what_was_named_and_read_before_its_shard_was_held_is_not_believed() {
    let mut bench = one_of_many();
    let lease = bench.hold(1, 1);
    let named = elsewhere(&mut bench, 1);
    let outputs = bench.scheduler.step(bench.now, Input::Accepted(vec![named]));
    assert!(matches!(outputs[..], [Output::LoadNamed(_)]));
    bench.take(Input::LetGo(vec![lease.shard]));
    let read = std::mem::take(&mut bench.on_disk);
    bench.hold(1, 3);
    bench.take(Input::Named(Some(read)));
    assert_eq!((bench.starts.len(), bench.scheduler.known()), (0, 0), "another node had it meanwhile, and has sent it");
}

#[test]
fn what_was_named_and_could_not_be_read_is_found_by_a_look() {
    let mut bench = one_of_many();
    bench.hold(1, 1);
    let named = elsewhere(&mut bench, 1);
    // Accepted a while ago: a look in between would not go back so far.
    bench.now = bench.now.plus(Duration::from_secs(1));
    let read = std::mem::take(&mut bench.on_disk);
    bench.take(Input::LookForArrivals);
    let outputs = bench.scheduler.step(bench.now, Input::Accepted(vec![named]));
    assert!(matches!(outputs[..], [Output::LoadNamed(_)]));
    bench.on_disk = read;
    bench.take(Input::Named(None));
    assert_eq!(bench.starts.len(), 0);
    bench.take(Input::LookForArrivals);
    assert_eq!(bench.starts.len(), 1);
}

#[test]
fn what_a_node_with_a_clock_ahead_has_accepted_is_sent_at_once() {
    let mut bench = one_of_many();
    let (ours, _) = two();
    bench.hold(ours, 1);
    let arrival = elsewhere(&mut bench, ours);
    let row = bench.on_disk.last_mut().expect("it is there");
    row.due_at = row.due_at.plus(Duration::from_secs(90));
    let before = bench.now;
    bench.take(Input::Accepted(vec![arrival]));
    let start = bench.next_start().expect("an attempt");
    assert_eq!(start.due.delivery, arrival.delivery);
    assert!(bench.now.since(before) < Duration::from_secs(1));
}
