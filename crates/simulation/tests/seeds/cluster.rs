//! Many nodes over one shared store. `CLUSTER_SEEDS=5000` runs more, `CLUSTER_SEED=4711` one of them with its story, `LARGE=1` a
//! hundred nodes with ten thousand shards.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use simulation::{ClusterTold, Mutation, Size, run_cluster};

use super::number;

/// Within how many seeds a fault that was put in must be noticed.
const NOTICED_WITHIN: u64 = 100;
/// Where much is under way, and much goes wrong: what is rarely wrong is noticed soon.
const BUSY: Size =
    Size { event_every: Duration::from_millis(100), trouble_every: Duration::from_secs(10), ..Size::SMALL };
/// Where leases end all the time, and many webhooks have retries planned.
const ROUGH: Size = Size {
    webhooks: 200,
    event_every: Duration::from_millis(200),
    trouble_every: Duration::from_secs(3),
    ..Size::SMALL
};

/// Runs seeds on every core until `enough`; what they have told, by seed.
fn run_seeds(
    seeds: std::ops::Range<u64>,
    (size, mutation): (Size, Option<Mutation>),
    enough: impl Fn(&Result<ClusterTold, String>) -> bool + Sync,
) -> Vec<(u64, Result<ClusterTold, String>)> {
    let (next, done) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let told = run_cluster(seed, size, mutation).map_err(|violation| violation.0);
                    if enough(&told) {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                    done.lock().expect("no run panics").push((seed, told));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no run panics");
    done.sort_by_key(|(seed, _)| *seed);
    done
}

#[test]
fn nodes_die_come_go_and_stand_still_and_nothing_is_lost() {
    let seeds = number("CLUSTER_SEEDS").unwrap_or(25);
    let first = number("FIRST").unwrap_or(0);
    let (mut all, mut violations) = (ClusterTold::default(), Vec::new());
    for (_, told) in run_seeds(first..first + seeds, (Size::SMALL, None), |_| false) {
        match told {
            Ok(told) => add(&mut all, &told),
            Err(violation) => violations.push(violation),
        }
    }
    assert!(violations.is_empty(), "{} of {seeds} seeds fail:\n{}", violations.len(), violations.join("\n"));
    println!("{}", said(&format!("{seeds} seeds"), &all));
    let least = [all.deaths, all.joins, all.leaves, all.stops, all.outages, all.refused, all.repeats];
    assert!(least.into_iter().all(|count| count > 0), "the seeds exercise what they are for: {least:?}");
}

#[test]
fn a_cluster_tells_the_same_story_again() {
    for seed in [0, 1] {
        assert_eq!(run_cluster(seed, Size::SMALL, None), run_cluster(seed, Size::SMALL, None), "seed {seed}");
    }
}

/// Each fault that is put in is noticed, and by what is meant to notice it.
#[test]
fn what_would_be_wrong_is_noticed() {
    let mutations = [
        (Mutation::EpochUnchecked, BUSY, "D5"),
        (Mutation::LeaseTooShort, BUSY, "a request of node"),
        (Mutation::NotRenewedUnderLoad, BUSY, "nothing was wrong with it"),
        (Mutation::NoMargin, ROUGH, "a request of node"),
        (Mutation::StopUnnoticed, BUSY, "I4"),
    ];
    for (mutation, size, by) in mutations {
        let noticed = |told: &Result<ClusterTold, String>| {
            let line = told.as_ref().err()?.lines().next()?;
            line.contains(by).then(|| line.to_owned())
        };
        let told = run_seeds(0..NOTICED_WITHIN, (size, Some(mutation)), |told| noticed(told).is_some());
        let line = told.iter().find_map(|(_, told)| noticed(told));
        println!("{mutation:?}: {}", line.unwrap_or_else(|| panic!("not noticed within {NOTICED_WITHIN} seeds")));
    }
}

#[test]
fn one_cluster() {
    let size = if number("LARGE").is_some() { Size::LARGE } else { Size::SMALL };
    let seed = number("CLUSTER_SEED").unwrap_or(1);
    let told = run_cluster(seed, size, None).unwrap_or_else(|violation| panic!("{}", violation.0));
    for line in &told.story {
        println!("{line}");
    }
    println!("{}", said(&format!("{} nodes, {} shards, seed {seed}", size.nodes, size.shards), &told));
    assert!(told.requests > 0, "seed {seed} sends nothing");
}

fn add(all: &mut ClusterTold, told: &ClusterTold) {
    all.events += told.events;
    all.requests += told.requests;
    all.repeats += told.repeats;
    all.deaths += told.deaths;
    all.joins += told.joins;
    all.leaves += told.leaves;
    all.stops += told.stops;
    all.outages += told.outages;
    all.takes += told.takes;
    all.refused += told.refused;
    all.slowest_take_over = all.slowest_take_over.max(told.slowest_take_over);
}

fn said(what: &str, told: &ClusterTold) -> String {
    format!(
        "{what}: {} events, {} requests, {} repeated; {} nodes died, {} came, {} left, {} stood still, the store was away {} \
         times; {} shards taken, {} ends of attempts refused, slowest take-over {:.1} s",
        told.events,
        told.requests,
        told.repeats,
        told.deaths,
        told.joins,
        told.leaves,
        told.stops,
        told.outages,
        told.takes,
        told.refused,
        told.slowest_take_over.as_secs_f64(),
    )
}
