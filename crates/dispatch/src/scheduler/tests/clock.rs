//! The wall clock steps: it was wrong, it was set right, or the machine has stood still.

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);
const MONTHS: Duration = Duration::from_secs(60 * 86_400);

impl Bench {
    /// Sets the wall clock ahead.
    fn leap(&mut self, span: Duration) {
        self.now = self.now.plus(span);
        self.take(Input::ClockStepped(i64::try_from(span.as_micros()).expect("a span")));
    }

    /// Sets the wall clock back.
    fn set_back(&mut self, span: Duration) {
        self.now = self.now.minus(span);
        self.take(Input::ClockStepped(-i64::try_from(span.as_micros()).expect("a span")));
    }

    /// One attempt that fails, recorded.
    fn fail(&mut self) -> Vec<Settlement> {
        let start = self.next_start().expect("an attempt");
        self.end(&start, answered(500, 1));
        self.record()
    }
}

fn bench() -> Bench {
    let mut bench = Bench::new(Policy { jitter: 0.0, ..Policy::default() });
    bench.webhook(1, 1, |_| {});
    bench
}

#[test]
fn a_step_of_the_wall_clock_moves_plans_along() {
    for ahead in [false, true] {
        let mut bench = bench();
        bench.event(vec![1], false);
        bench.fail();
        if ahead {
            bench.leap(HOUR)
        } else {
            bench.set_back(HOUR)
        }
        assert!(bench.starts.is_empty(), "the clock's step is no passing of time");
        let before = bench.now;
        bench.next_start().expect("the retry");
        assert_eq!(bench.now.since(before), Duration::from_secs(30));
    }
}

#[test]
fn a_step_makes_no_webhook_fail_for_longer() {
    let mut bench = bench();
    bench.event(vec![1], false);
    bench.fail();
    bench.leap(MONTHS);
    bench.fail();
    assert_eq!(bench.pauses, [], "it has failed for half a minute");
    bench.set_back(MONTHS);
    bench.event(vec![1], false);
    let began = bench.now;
    while bench.pauses.is_empty() {
        bench.fail();
        bench.event(vec![1], false);
        bench.now = bench.now.plus(HOUR);
    }
    assert!(bench.now.since(began).abs_diff(bench.policy.pause_after) < HOUR * 2, "and is paused when it should be");
}

#[test]
fn a_webhook_that_began_to_fail_by_a_clock_ahead_is_paused_in_its_time_after_a_restart() {
    let mut bench = bench();
    let webhook = bench.webhook(1, 1, |_| {});
    let ahead = Arc::new(Webhook { failing_since: Some(bench.now.plus(MONTHS)), ..Webhook::clone(&webhook) });
    bench.restart(&[ahead], Vec::new(), Bounds::default());
    let began = bench.now;
    while bench.pauses.is_empty() {
        bench.event(vec![1], false);
        bench.fail();
        bench.now = bench.now.plus(HOUR);
    }
    assert!(bench.now.since(began).abs_diff(bench.policy.pause_after) < HOUR * 2);
}

#[test]
fn what_a_step_passes_over_is_sent_late_and_not_given_up() {
    let mut bench = bench();
    bench.event(vec![1], false);
    for _ in 0..4 {
        bench.fail();
    }
    assert_eq!(bench.on_disk.len(), 1);
    assert!(bench.on_disk[0].due_at.since(bench.now) > HOUR / 2, "it is planned for so late that it is on disk only");
    bench.leap(MONTHS);
    let before = bench.now;
    let start = bench.next_start().expect("the retry");
    assert_eq!(start.due.reason, Reason::Retry);
    assert!(bench.now.since(before) <= Duration::from_secs(600), "all of them over ten minutes");
    assert!(bench.settlements.is_empty(), "{:?}", bench.settlements);
}

#[test]
fn an_attempt_that_is_under_way_when_the_clock_steps_is_retried_in_its_time() {
    for ahead in [false, true] {
        let mut bench = bench();
        bench.event(vec![1], false);
        let start = bench.next_start().expect("an attempt");
        let ended = ended(&bench.policy, &start, bench.now, answered(500, 1));
        if ahead {
            bench.leap(MONTHS)
        } else {
            bench.set_back(MONTHS)
        }
        bench.take(Input::Ended(Box::new(ended)));
        bench.record();
        let before = bench.now;
        bench.next_start().expect("the retry");
        assert!(bench.now.since(before).abs_diff(Duration::from_secs(30)) <= Duration::from_secs(10));
    }
}

#[test]
fn what_is_planned_after_the_clock_was_set_back_is_read_in_its_time() {
    let mut bench = bench();
    bench.leap(MONTHS);
    bench.set_back(MONTHS);
    bench.event(vec![1], false);
    for _ in 0..3 {
        bench.fail();
    }
    let planned = bench.on_disk[0].due_at;
    assert!(planned.since(bench.now) >= Duration::from_secs(600));
    assert_eq!(bench.scheduler.known(), 0, "it is on disk only, however far ahead was read before");
    bench.next_start().expect("the retry");
    assert_eq!(bench.now, planned);
}

/// What a clock that was ahead by months has planned, and a start by one that is right.
fn restarted_with(reasons: &[Reason], change: impl FnOnce(&mut Webhook), bounds: Bounds) -> Bench {
    let mut bench = bench();
    let webhook = bench.webhook(1, 1, change);
    for (at, reason) in (0i64..).zip(reasons) {
        let id = EventId::first_at(bench.now.0 - 1_000_000 + at);
        let retries = if *reason == Reason::Retry { 4 } else { 0 };
        bench.kept.push(Arc::new(event(id, vec![1])));
        bench.on_disk.push(Due {
            delivery: DeliveryId { event: id, place: 0 },
            webhook: 1,
            due_at: bench.now.plus(MONTHS),
            attempts_made: retries,
            retries_made: retries,
            reason: *reason,
        });
    }
    bench.restart(&[webhook], Vec::new(), bounds);
    bench
}

#[test]
fn what_was_planned_by_a_clock_ahead_is_planned_anew_by_the_one_of_now() {
    let bounds = Bounds { due: 2, ..Bounds::default() };
    let mut bench = restarted_with(&[Reason::Retry, Reason::Retry, Reason::Retry, Reason::First], |_| {}, bounds);
    let recorded = bench.record();
    assert_eq!(recorded.len(), 4, "on disk too");
    assert!(recorded.iter().all(|settlement| settlement.attempt.is_none()));
    let before = bench.now;
    let first = bench.next_start().expect("what was never tried");
    assert_eq!((first.due.reason, bench.now), (Reason::First, before));
    let mut starts = Vec::new();
    while starts.len() < 3 {
        starts.push(bench.next_start().expect("a retry"));
    }
    assert!(starts.iter().all(|start| start.due.reason == Reason::Retry && start.number() == 5));
    assert_eq!(bench.now.since(before), HOUR, "the fourth delay");
    assert!(bench.starts.is_empty());
}

#[test]
fn an_order_goes_on_whose_next_was_planned_by_a_clock_ahead() {
    let order = domain::order::Order::parse("webhook").expect("an order");
    let ordered = |webhook: &mut Webhook| webhook.order = Some(order);
    let mut bench = restarted_with(&[Reason::Retry, Reason::First], ordered, Bounds::default());
    let before = bench.now;
    let first = bench.next_start().expect("the next of the order");
    assert_eq!((first.number(), bench.now.since(before)), (5, HOUR));
}

#[test]
fn what_a_longer_schedule_has_planned_stays_where_it_was() {
    let mut bench = bench();
    bench.event(vec![1], false);
    for _ in 0..5 {
        bench.fail();
    }
    let planned = bench.on_disk[0].due_at;
    assert!(planned.since(bench.now) >= HOUR * 6);
    let short = domain::retry::RetrySchedule::try_from(vec!["1s".to_owned(); 5]).expect("a schedule");
    let webhook = bench.webhook(1, 1, |webhook| webhook.retry_schedule = Some(short));
    bench.restart(&[webhook], Vec::new(), Bounds::default());
    bench.next_start().expect("the retry");
    assert_eq!(bench.now, planned);
}
