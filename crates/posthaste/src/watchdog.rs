//! The watchdog: notices that sending has stopped, from outside of what sends.
//!
//! It asks how late the oldest due delivery is that has no reason of its own to wait, and the dispatcher's loop where it stands, and
//! believes what it can see of both. `/readyz`, a figure and the service manager learn of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dispatch::{Dispatch, Pulse};
use domain::store::StoreError;
use domain::time::{Clock, Timestamp};
use domain::waiting::{Waiting, oldest_due};
use server::Health;

use crate::keeping::Kept;
use crate::service_manager::ServiceManager;

/// How often it looks.
const LOOKS_EVERY: Duration = Duration::from_secs(5);
/// How long the loop, and the store, may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// How late the oldest due delivery may be before it is asked why.
const LATE: Duration = Duration::from_secs(20);
/// For how many looks in a row something must be wrong: less than a minute from the first sign to the alarm.
const LOOKS: u32 = 3;

/// What is seen in one look.
#[derive(Debug, Clone, Copy)]
struct Seen {
    now: Timestamp,
    /// What the loop says; `None` if it does not answer.
    pulse: Option<Pulse>,
    /// When the oldest due delivery was due; `Err` if the store does not answer.
    oldest_due: Result<Option<Timestamp>, ()>,
    /// Transactions that were committed so far.
    commits: u64,
    /// Whether the store is known to wait for something that no start anew would mend: a database that is away, a disk that is full, or an end
    /// of an attempt that is refused.
    waits: bool,
}

/// What the looks so far say.
#[derive(Debug, Default)]
struct Judge {
    commits: u64,
    looks: u32,
    wrong: Option<&'static str>,
}

impl Judge {
    /// What is wrong, once it has been for several looks in a row.
    fn look(&mut self, seen: Seen) -> Option<&'static str> {
        let wrong = self.wrong(seen);
        self.commits = seen.commits;
        self.looks = if wrong.is_some() && wrong == self.wrong { self.looks.saturating_add(1) } else { 1 };
        self.wrong = wrong;
        wrong.filter(|_| self.looks >= LOOKS)
    }

    fn wrong(&self, seen: Seen) -> Option<&'static str> {
        let Some(pulse) = seen.pulse else { return Some("The dispatcher does not answer: nothing is sent.") };
        if seen.waits {
            return None;
        }
        let Ok(oldest_due) = seen.oldest_due else { return Some("The store does not answer.") };
        if !pulse.recorded && seen.commits == self.commits {
            return Some("Ends of attempts are not being recorded.");
        }
        let late = |at: Timestamp| seen.now.since(at) > LATE;
        // A receiver that asked for patience has its lane planned; a loop that is behind its own plan, or has none while
        // something is due, has lost it.
        let planned = pulse.wake_at.is_some_and(|at| !late(at));
        let stuck = oldest_due.is_some_and(late) && pulse.in_flight == 0 && !planned;
        stuck.then_some("Deliveries are due, and nothing is being sent.")
    }
}

/// Watches until the process ends, and tells the service manager in its own time whether all is well: a look that takes long is no
/// reason to be started again.
pub(crate) async fn watch(
    asked: (Arc<Dispatch>, Arc<dyn Waiting>),
    kept: Kept,
    clock: Arc<dyn Clock>,
    health: Health,
    manager: ServiceManager,
) {
    let well = AtomicBool::new(true);
    tokio::join!(looks(asked, kept, clock, health, &well), signs(&manager, &well));
}

/// Gives the service manager its signs of life, for as long as all is well.
async fn signs(manager: &ServiceManager, well: &AtomicBool) {
    loop {
        if well.load(Ordering::Relaxed) {
            manager.alive();
        }
        tokio::time::sleep(manager.sign_every).await;
    }
}

async fn looks(
    (dispatch, waiting): (Arc<Dispatch>, Arc<dyn Waiting>),
    kept: Kept,
    clock: Arc<dyn Clock>,
    health: Health,
    well: &AtomicBool,
) {
    let store = kept.store();
    let mut judge = Judge::default();
    let mut before = None;
    loop {
        let now = clock.now();
        let pulse = tokio::time::timeout(ANSWERS_WITHIN, dispatch.pulse()).await.ok().flatten();
        let asked = tokio::time::timeout(ANSWERS_WITHIN, oldest_due(&*store, &*waiting, now)).await;
        let away = matches!(asked, Ok(Err(StoreError::Away(_) | StoreError::Crowded(_))));
        let oldest_due = asked.map_err(|_| ()).and_then(|answer| answer.map_err(|_| ()));
        if let Ok(oldest_due) = oldest_due {
            dispatch.gauges().oldest_due.store(oldest_due.map_or(0, |at| at.0), Ordering::Relaxed);
        }
        if let Some(pulse) = pulse {
            dispatch.gauges().failing_lanes.store(pulse.failing_lanes, Ordering::Relaxed);
        }
        let commits = kept.figures().commit_durations.snapshot().count;
        let figures = kept.figures();
        // An end that cannot be recorded leaves its delivery due, and a start anew would send it again. Nor would that make a database commit.
        let waits = away
            || figures.writing.is_over(LOOKS_EVERY)
            || figures.away.load(Ordering::Relaxed)
            || figures.blocked.load(Ordering::Relaxed)
            || figures.set_aside.load(Ordering::Relaxed) > 0;
        let trouble = judge.look(Seen { now, pulse, oldest_due, commits, waits });
        match (before, trouble) {
            (None, Some(why)) => tracing::error!(why, "sending has stopped"),
            (Some(_), None) => tracing::info!("sending goes on"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        before = trouble;
        health.say(trouble);
        well.store(trouble.is_none(), Ordering::Relaxed);
        tokio::time::sleep(LOOKS_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_464_000_000_000);

    fn well() -> Seen {
        let pulse = Pulse { in_flight: 0, recorded: true, wake_at: None, failing_lanes: 0 };
        Seen { now: NOW, pulse: Some(pulse), oldest_due: Ok(None), commits: 7, waits: false }
    }

    fn with(change: impl Fn(&mut Pulse)) -> Seen {
        let mut seen = well();
        let pulse = seen.pulse.as_mut().expect("it answers");
        change(pulse);
        seen
    }

    fn judged(seen: Seen) -> Option<&'static str> {
        let mut judge = Judge { commits: 7, ..Judge::default() };
        let looks: Vec<_> = (0..LOOKS).map(|_| judge.look(seen)).collect();
        assert!(looks[..looks.len() - 1].iter().all(Option::is_none), "one bad look is no alarm");
        let last = looks[looks.len() - 1];
        assert_eq!(judge.look(well()), None, "what is well again is no alarm");
        last
    }

    #[test]
    fn what_has_stopped_is_noticed_within_a_minute() {
        let late = Some(NOW.minus(LATE * 2));
        let dead = Seen { pulse: None, ..well() };
        let mute = Seen { oldest_due: Err(()), ..well() };
        let unrecorded = with(|pulse| pulse.recorded = false);
        let forgotten = Seen { oldest_due: Ok(late), ..well() };
        let behind = Seen { oldest_due: Ok(late), ..with(|pulse| pulse.wake_at = late) };
        for seen in [dead, mute, unrecorded, forgotten, behind] {
            assert!(judged(seen).is_some(), "{seen:?}");
        }
        let slowest = LATE + (LOOKS_EVERY + ANSWERS_WITHIN) * LOOKS;
        assert!(slowest <= Duration::from_secs(65) && LATE + LOOKS_EVERY * LOOKS <= Duration::from_secs(60));
    }

    #[test]
    fn what_waits_for_a_reason_is_no_alarm() {
        let late = Ok(Some(NOW.minus(LATE * 100)));
        let sending = Seen { oldest_due: late, ..with(|pulse| pulse.in_flight = 1) };
        let patient = Seen { oldest_due: late, ..with(|pulse| pulse.wake_at = Some(NOW.plus(LATE * 50))) };
        let young = Seen { oldest_due: Ok(Some(NOW)), ..well() };
        // To start anew would make requests again whose ends wait to be recorded, and mend nothing.
        let away = Seen { oldest_due: Err(()), waits: true, ..with(|pulse| pulse.recorded = false) };
        for seen in [well(), sending, patient, young, away] {
            assert_eq!(judged(seen), None, "{seen:?}");
        }
        let mut judge = Judge::default();
        for commits in 1..10 {
            let busy = Seen { commits, ..with(|pulse| pulse.recorded = false) };
            assert_eq!(judge.look(busy), None, "what is recorded all the time is not stuck");
        }
    }
}
