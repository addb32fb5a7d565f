//! One node's leases by themselves; many nodes over one store are played in the simulation.

use super::*;

const SHARDS: u16 = 12;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn node() -> Leases {
    Leases::new(Terms::for_deadline(seconds(5)), SHARDS)
}

fn leases(shards: impl IntoIterator<Item = u16>, epoch: u64) -> Vec<Lease> {
    shards.into_iter().map(|shard| Lease { shard: Shard(shard), epoch: Epoch(epoch) }).collect()
}

fn shards(shards: impl IntoIterator<Item = u16>) -> Vec<Shard> {
    shards.into_iter().map(Shard).collect()
}

fn seen(nodes: u16, place: u16, held: &[Lease]) -> Seen {
    Seen { nodes, place, held: held.to_vec(), next_end: None }
}

/// The beat among what is to be done.
fn beat(outputs: &[Output]) -> Beat {
    let mut beats = outputs.iter().filter_map(|output| match output {
        Output::Beat(beat) => Some(beat.clone()),
        Output::Hold(_) | Output::LetGo(_) | Output::WindDown(_) | Output::StartUntil(_) | Output::Left => None,
    });
    beats.next().expect("a beat")
}

fn answer(node: &mut Leases, now: Duration, beat: u64, seen: Seen) -> Vec<Output> {
    node.step(now, Input::Answered { beat, seen })
}

/// A node that has held everything alone since second 0.
fn alone() -> Leases {
    let mut node = node();
    let first = beat(&node.step(Duration::ZERO, Input::Tick));
    assert_eq!((first.want, first.leaving), (0, false), "it does not know how many there are");
    let second = beat(&answer(&mut node, Duration::ZERO, first.number, seen(1, 0, &[])));
    assert_eq!(second.want, SHARDS);
    let outputs = answer(&mut node, Duration::ZERO, second.number, seen(1, 0, &leases(0..SHARDS, 1)));
    assert_eq!(outputs, [Output::Hold(leases(0..SHARDS, 1)), Output::StartUntil(seconds(10))]);
    node
}

#[test]
fn all_shares_together_are_the_shards() {
    for shards in [1u16, 12, 1_024, 10_000] {
        for nodes in [1, 2, 3, 7, 100, 1_023, 1_024, 1_025] {
            let shares: Vec<_> = (0..nodes).map(|place| share(shards, nodes, place)).collect();
            assert_eq!(shares.iter().map(|share| u32::from(*share)).sum::<u32>(), u32::from(shards));
            assert!(shares[0] - shares[usize::from(nodes) - 1] <= 1, "{shards} over {nodes}");
        }
    }
    assert_eq!(share(12, 0, 0), 12, "nobody is seen only by somebody");
}

#[test]
fn a_lease_counts_from_when_its_renewal_was_sent() {
    let mut node = alone();
    assert_eq!(node.wake_at(), Some(seconds(5)));
    assert_eq!(node.step(seconds(4), Input::Tick), []);
    let renewal = beat(&node.step(seconds(5), Input::Tick));
    assert_eq!(node.wake_at(), None, "one beat at a time");
    let outputs = answer(&mut node, seconds(8), renewal.number, seen(1, 0, &leases(0..SHARDS, 1)));
    assert_eq!(outputs, [Output::StartUntil(seconds(15))]);
    assert_eq!(answer(&mut node, seconds(8), renewal.number, seen(1, 0, &[])), [], "an answer counts once");
}

#[test]
fn what_is_beyond_the_share_is_wound_down_and_given_back_once_it_is_quiet() {
    let mut node = alone();
    let renewal = beat(&node.step(seconds(5), Input::Tick));
    let outputs = answer(&mut node, seconds(5), renewal.number, seen(2, 0, &leases(0..SHARDS, 1)));
    assert_eq!(outputs, [Output::StartUntil(seconds(15)), Output::WindDown(shards((6..12).rev()))]);
    let outputs = node.step(seconds(6), Input::Quiet(shards([7, 9, 3])));
    assert_eq!(outputs[0], Output::LetGo(shards([7, 9])), "what is served stays");
    let release = beat(&outputs);
    assert_eq!((release.release, release.want), (leases([7, 9], 1), 6));
    // Nobody knows whether it was done.
    assert_eq!(node.step(seconds(7), Input::Failed { beat: release.number }), []);
    let again = beat(&node.step(seconds(8), Input::Tick));
    assert_eq!(again.release, leases([7, 9], 1));
    let rest = leases([0, 1, 2, 3, 4, 5, 6, 8, 10, 11], 1);
    let outputs = answer(&mut node, seconds(8), again.number, seen(2, 0, &rest));
    assert_eq!(outputs, [Output::StartUntil(seconds(18))], "the scheduler has let go of them before");
    assert_eq!(node.held(), 10);
}

#[test]
fn a_node_that_was_stopped_learns_what_it_holds_before_it_goes_on() {
    let mut node = alone();
    let waking = node.step(seconds(40), Input::Tick);
    let renewal = beat(&waking);
    assert_eq!(waking.len(), 1, "nothing says that it may start anything");
    let outputs = answer(&mut node, seconds(40), renewal.number, seen(2, 0, &leases(0..4, 1)));
    assert_eq!(outputs, [Output::LetGo(shards(4..12)), Output::StartUntil(seconds(50))]);
    let patient = beat(&node.step(seconds(41), Input::Tick));
    assert_eq!((patient.want, patient.patient), (6, true), "others may come back too: it takes nothing of theirs");
    let _same = answer(&mut node, seconds(41), patient.number, seen(2, 0, &leases(0..4, 1)));
    let taking = beat(&node.step(seconds(45), Input::Tick));
    assert_eq!((taking.want, taking.patient), (6, false));
    let held = [leases(0..4, 1), leases(4..6, 3)].concat();
    let outputs = answer(&mut node, seconds(45), taking.number, seen(2, 0, &held));
    assert_eq!(outputs, [Output::Hold(leases(4..6, 3)), Output::StartUntil(seconds(55))]);
}

#[test]
fn a_shard_that_was_lost_and_taken_again_is_another() {
    let mut node = alone();
    let renewal = beat(&node.step(seconds(5), Input::Tick));
    let held = [leases(0..11, 1), leases([11], 3)].concat();
    let outputs = answer(&mut node, seconds(5), renewal.number, seen(1, 0, &held));
    let expected = [Output::LetGo(shards([11])), Output::Hold(leases([11], 3)), Output::StartUntil(seconds(15))];
    assert_eq!(outputs, expected);
}

#[test]
fn what_another_node_is_about_to_lose_is_looked_at_in_that_moment() {
    let mut node = alone();
    let renewal = beat(&node.step(seconds(5), Input::Tick));
    let mut seen = seen(2, 0, &leases(0..6, 1));
    seen.next_end = Some(seconds(2));
    let _lost = answer(&mut node, seconds(5), renewal.number, seen);
    assert_eq!(node.wake_at(), Some(seconds(7) + AFTER_THE_END));
}

#[test]
fn a_hint_is_followed_at_once_but_not_for_ever() {
    let mut node = alone();
    let nudged = beat(&node.step(seconds(1), Input::Nudged));
    let _same = answer(&mut node, seconds(1), nudged.number, seen(1, 0, &leases(0..SHARDS, 1)));
    assert_eq!(node.step(seconds(1), Input::Nudged), []);
    assert_eq!(node.wake_at(), Some(seconds(1) + NUDGED_EVERY));
}

#[test]
fn a_node_that_ends_gives_everything_back() {
    let mut node = alone();
    let under_way = beat(&node.step(seconds(5), Input::Tick));
    assert_eq!(node.step(seconds(6), Input::Drain), [Output::WindDown(shards((0..12).rev()))]);
    let outputs = node.step(seconds(6), Input::Quiet(shards(0..11)));
    assert_eq!(outputs, [Output::LetGo(shards(0..11))]);
    let outputs = answer(&mut node, seconds(7), under_way.number, seen(1, 0, &leases(0..12, 1)));
    let leaving = beat(&outputs);
    assert_eq!((leaving.leaving, leaving.want, leaving.release), (true, 0, leases(0..11, 1)));
    let outputs = answer(&mut node, seconds(7), leaving.number, seen(0, 0, &leases([11], 1)));
    assert_eq!(outputs, [Output::StartUntil(seconds(17))]);
    let last = beat(&node.step(seconds(9), Input::Quiet(shards([11]))));
    let outputs = answer(&mut node, seconds(9), last.number, seen(0, 0, &[]));
    assert_eq!(outputs, [Output::StartUntil(seconds(19)), Output::Left]);
    assert_eq!((node.wake_at(), node.step(seconds(60), Input::Tick)), (None, vec![]));
}

#[test]
fn a_node_that_ends_says_so_even_if_it_holds_nothing() {
    let mut node = node();
    let first = beat(&node.step(Duration::ZERO, Input::Tick));
    assert_eq!(node.step(Duration::ZERO, Input::Drain), []);
    let leaving = beat(&answer(&mut node, Duration::ZERO, first.number, seen(1, 0, &[])));
    assert!(leaving.leaving);
    let outputs = answer(&mut node, Duration::ZERO, leaving.number, seen(0, 0, &[]));
    assert_eq!(outputs.last(), Some(&Output::Left));
}
