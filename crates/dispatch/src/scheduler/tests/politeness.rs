//! What receivers are spared, and what one of them cannot do to the others.

use domain::order::Order;
use domain::waiting::Waits;

use super::*;
use crate::scheduler::waits::AFTER_PATIENCE;

fn asked_to_wait(status: u16, seconds: &str) -> Outcome {
    let mut outcome = answered(status, 1);
    if let Ok(answer) = &mut outcome.result {
        answer.headers.push(("Retry-After".to_owned(), seconds.as_bytes().to_vec()));
    }
    outcome
}

#[test]
fn retry_after_holds_the_whole_lane_but_no_other_and_no_test() {
    for status in [429, 503] {
        let mut bench = Bench::new(Policy { jitter: 0.0, ..Policy::default() });
        bench.webhook(1, 1, |_| {});
        bench.webhook(2, 1, |_| {});
        bench.event(vec![1], false);
        let start = bench.starts.remove(0);
        bench.end(&start, asked_to_wait(status, "90"));
        bench.record();
        let until = bench.now.plus(Duration::from_secs(90));
        let held = bench.event(vec![1], false);
        assert!(bench.starts.is_empty(), "an event of the same webhook waits");
        let waits = bench.scheduler.waits(bench.now, 1, DeliveryId { event: held, place: 0 });
        assert_eq!(waits, Some(Waits::RetryAfter(until)));
        bench.event(vec![2], false);
        assert_eq!(bench.starts.remove(0).due.webhook, 2);
        bench.event(vec![1], true);
        assert_eq!(bench.starts.remove(0).due.reason, Reason::Test);
        let start = bench.next_start().expect("it is sent then");
        assert_eq!((start.due.webhook, bench.now >= until, bench.now.since(until).as_millis()), (1, true, 0));
    }
}

#[test]
fn retry_after_is_bounded_by_the_longest_delay_and_counts_on_429_and_503_only() {
    for (status, seconds, held) in [(429, "99999999", 21_600), (500, "90", 0), (429, "soon", 0)] {
        let mut bench = Bench::new(Policy { jitter: 0.0, ..Policy::default() });
        bench.webhook(1, 1, |_| {});
        bench.event(vec![1], false);
        let start = bench.starts.remove(0);
        bench.end(&start, asked_to_wait(status, seconds));
        bench.record();
        let before = bench.now;
        bench.event(vec![1], false);
        bench.next_start().expect("an attempt");
        assert_eq!(bench.now.since(before).as_secs(), held, "{status} {seconds}");
    }
}

#[test]
fn a_receiver_that_asked_for_a_while_is_left_alone_over_a_restart() {
    let mut bench = Bench::new(Policy { jitter: 0.0, ..Policy::default() });
    let webhook = bench.webhook(1, 1, |_| {});
    for _ in 0..3 {
        bench.event(vec![1], false);
    }
    let starts = std::mem::take(&mut bench.starts);
    bench.end(&starts[0], asked_to_wait(429, "9"));
    assert_eq!(bench.left_alone, [], "that is not worth a write");
    for start in &starts[1..] {
        bench.end(start, asked_to_wait(503, "3600"));
    }
    bench.record();
    let until = bench.now.plus(Duration::from_secs(3_600));
    assert_eq!(bench.left_alone.len(), 1, "and what the others in flight add is not: {:?}", bench.left_alone);
    let (number, told) = bench.left_alone[0];
    assert!(number == 1 && told <= until && until.since(told) < Duration::from_secs(1));
    let kept = Arc::new(Webhook { leave_alone_until: Some(told), ..Webhook::clone(&webhook) });
    bench.restart(&[kept], Vec::new(), Bounds::default());
    bench.event(vec![1], false);
    bench.next_start().expect("it is sent then");
    assert_eq!(bench.now, told);
    // A clock that was set back by days meanwhile makes nobody wait for days.
    let ahead = Arc::new(Webhook { leave_alone_until: Some(Timestamp(i64::MAX / 2)), ..Webhook::clone(&webhook) });
    bench.restart(&[ahead], Vec::new(), Bounds::default());
    let restarted = bench.now;
    bench.event(vec![1], false);
    bench.next_start().expect("it is sent then");
    assert_eq!(bench.now.since(restarted), bench.policy.retry_schedule.longest());
}

const NOBODY: [u32; 0] = [];

/// Who is patient once everything has been started that may be.
fn patient(bench: &mut Bench) -> Vec<u32> {
    bench.take(Input::Tick);
    let mut patient: Vec<u32> = bench.scheduler.patient(bench.now).into_iter().collect();
    patient.sort_unstable();
    patient
}

#[test]
fn a_webhook_with_a_reason_of_its_own_to_wait_is_patient() {
    let mut bench = Bench::new(Policy { jitter: 0.0, max_in_flight: 8, ..Policy::default() });
    bench.webhook(1, 1, |_| {});
    bench.webhook(2, 1, |webhook| webhook.rate_limit = Some(1));
    bench.webhook(3, 1, |webhook| webhook.max_in_flight = Some(1));
    bench.webhook(4, 1, |webhook| webhook.order = Some(Order::parse("webhook").expect("an order")));
    bench.now = bench.now.plus(AFTER_PATIENCE);
    assert_eq!(patient(&mut bench), NOBODY, "nothing waits");
    let end_all = |bench: &mut Bench| {
        for start in std::mem::take(&mut bench.starts) {
            bench.end(&start, answered(200, 1));
        }
        bench.record();
    };
    bench.event(vec![1], false);
    let asked = bench.starts.remove(0);
    bench.end(&asked, asked_to_wait(429, "90"));
    bench.record();
    for _ in 0..3 {
        bench.event(vec![1, 2, 3, 4], false);
    }
    assert_eq!(patient(&mut bench), [1, 2, 3, 4], "asked for, its rate, its cap, its order");
    bench.now = bench.now.plus(Duration::from_secs(60));
    end_all(&mut bench);
    assert_eq!(patient(&mut bench), [1, 2, 3, 4], "and with the next in flight");
    for _ in 0..3 {
        end_all(&mut bench);
        bench.now = bench.now.plus(Duration::from_secs(2));
        bench.take(Input::Tick);
    }
    patient(&mut bench);
    bench.now = bench.now.plus(AFTER_PATIENCE);
    assert_eq!(patient(&mut bench), [1], "only the receiver's wish is left");
    bench.now = bench.now.plus(Duration::from_secs(600));
    bench.take(Input::Tick);
    while !bench.starts.is_empty() {
        end_all(&mut bench);
    }
    patient(&mut bench);
    bench.now = bench.now.plus(AFTER_PATIENCE);
    assert_eq!(patient(&mut bench), NOBODY);
}

#[test]
fn what_waits_for_a_slot_of_all_is_late() {
    let mut bench = Bench::new(Policy { slots: 1, ..Policy::default() });
    bench.webhook(1, 1, |_| {});
    bench.webhook(2, 2, |_| {});
    bench.event(vec![1], false);
    bench.event(vec![2], false);
    assert_eq!(bench.starts.len(), 1);
    bench.now = bench.now.plus(AFTER_PATIENCE);
    assert_eq!(patient(&mut bench), NOBODY, "the one slot is taken, and neither has its own in use");
}

#[test]
fn another_url_is_another_receiver() {
    let mut bench = Bench::new(Policy::default());
    let webhook = bench.webhook(1, 1, |_| {});
    bench.event(vec![1], false);
    let start = bench.starts.remove(0);
    bench.end(&start, asked_to_wait(429, "3600"));
    bench.record();
    bench.event(vec![1], false);
    assert!(bench.starts.is_empty());
    let mut moved = (*webhook).clone();
    moved.url = Arc::new(EndpointUrl::stored("https://other.example.com/").expect("a URL"));
    bench.take(Input::Fact(Fact::Webhook(Arc::new(moved))));
    assert_eq!(bench.starts.len(), 1);
}

#[test]
fn the_window_adapts_by_successes_and_signs_of_overload() {
    for sign in [answered(429, 1), answered(502, 1), answered(503, 1), answered(504, 1), timed_out()] {
        let mut bench = Bench::new(Policy { max_in_flight: 8, ..Policy::default() });
        bench.webhook(1, 1, |_| {});
        for _ in 0..200 {
            bench.event(vec![1], false);
        }
        let width = |bench: &Bench| bench.scheduler.lane(1).map(|(in_flight, _)| in_flight);
        assert_eq!(width(&bench), Some(4), "half of the cap to begin with");
        for expected in [5, 6, 7, 8, 8] {
            for _ in 0..20 {
                let start = bench.starts.remove(0);
                bench.end(&start, answered(200, 1));
                bench.record();
            }
            assert_eq!(width(&bench), Some(expected), "one more for 20 successes");
        }
        let start = bench.starts.remove(0);
        bench.end(&start, sign);
        bench.record();
        while bench.starts.len() > 4 {
            let start = bench.starts.remove(0);
            bench.end(&start, answered(200, 1));
            bench.record();
        }
        assert_eq!(width(&bench), Some(4), "halved");
    }
}

#[test]
fn a_failure_that_is_no_overload_leaves_the_window() {
    let mut bench = Bench::new(Policy { max_in_flight: 8, ..Policy::default() });
    bench.webhook(1, 1, |_| {});
    for _ in 0..20 {
        bench.event(vec![1], false);
    }
    let start = bench.starts.remove(0);
    bench.end(&start, answered(500, 1));
    bench.record();
    assert_eq!(bench.scheduler.lane(1).map(|(in_flight, _)| in_flight), Some(4));
}

/// Retries of many webhooks of an account come due while others of its webhooks have first attempts: F4.
#[test]
fn retries_of_an_account_get_a_fifth_while_first_attempts_wait() {
    let mut bench = Bench::new(Policy { slots: 4, jitter: 0.0, ..Policy::default() });
    for number in 1..=10 {
        bench.webhook(number, 1, |_| {});
    }
    // Webhooks 1 to 8 have nothing but retries, 9 and 10 nothing but first attempts.
    for event in 0..800u32 {
        let id = EventId::first_at(bench.now.0 - 5_000_000 + i64::from(event));
        let due = Due {
            delivery: DeliveryId { event: id, place: 0 },
            webhook: 1 + event % 8,
            due_at: bench.now.plus(Duration::from_secs(1)),
            attempts_made: 1,
            retries_made: 1,
            reason: Reason::Retry,
        };
        bench.take(Input::Fact(Fact::Replayed(due)));
    }
    bench.now = bench.now.plus(Duration::from_secs(2));
    for number in 0..800 {
        bench.event(vec![9 + number % 2], false);
    }
    let mut starts = [0u32; 2];
    while starts[0] < 400 {
        let start = bench.starts.remove(0);
        starts[usize::from(start.due.reason == Reason::Retry)] += 1;
        bench.end(&start, answered(200, 10));
        bench.record();
    }
    let share = f64::from(starts[1]) / f64::from(starts[0] + starts[1]);
    assert!(share > 0.1 && share <= 0.25, "{starts:?}");
}

#[test]
fn what_came_due_while_the_process_was_down_is_spread_and_new_events_go_at_once() {
    let mut bench = Bench::new(Policy { max_in_flight: 1_000, jitter: 0.0, ..Policy::default() });
    let webhook = bench.webhook(1, 1, |_| {});
    let hours = Duration::from_secs(6 * 3_600);
    for number in 0..1_000u32 {
        let id = EventId::first_at(START.0 - 9_000_000 + i64::from(number));
        bench.on_disk.push(Due {
            delivery: DeliveryId { event: id, place: 0 },
            webhook: 1,
            due_at: bench.now.plus(hours * number / 1_000),
            attempts_made: 1,
            retries_made: 1,
            reason: Reason::Retry,
        });
    }
    bench.now = bench.now.plus(hours);
    bench.restart(&[webhook], Vec::new(), Bounds::default());
    let begin = bench.now;
    bench.event(vec![1], false);
    assert_eq!(bench.starts.remove(0).due.reason, Reason::First, "what is new does not wait");
    let mut per_minute = [0u32; 10];
    for _ in 0..1_000 {
        let start = bench.next_start().expect("each of them");
        let minute = usize::try_from(bench.now.since(begin).as_secs() / 60).expect("small");
        per_minute[minute] += 1;
        bench.end(&start, answered(200, 0));
        bench.record();
    }
    assert!(per_minute.iter().all(|count| (60..=200).contains(count)), "{per_minute:?}");
    assert_eq!(bench.scheduler.known(), 1, "the new event's attempt is in flight");
}

#[test]
fn a_short_stop_delays_by_half_of_it_at_most() {
    let mut bench = Bench::new(Policy { jitter: 0.0, ..Policy::default() });
    let webhook = bench.webhook(1, 1, |_| {});
    bench.event(vec![1], false);
    let start = bench.starts.remove(0);
    bench.end(&start, answered(500, 0));
    bench.record();
    bench.now = bench.now.plus(Duration::from_secs(34));
    bench.restart(&[webhook], Vec::new(), Bounds::default());
    let begin = bench.now;
    bench.next_start().expect("the retry");
    assert!(bench.now.since(begin) <= Duration::from_secs(2), "{:?}", bench.now.since(begin));
}

#[test]
fn a_dead_webhook_s_long_backlog_leaves_room_for_the_retries_of_others() {
    let bounds = Bounds { known: 50, due: 10, backlog: 4, lane: 10, ..Bounds::default() };
    let mut bench = Bench::with_bounds(Policy { jitter: 0.0, ..Policy::default() }, bounds);
    let (dead, live) = (bench.webhook(1, 1, |_| {}), bench.webhook(2, 2, |_| {}));
    for number in 0..500u32 {
        let id = EventId::first_at(START.0 - 9_000_000 + i64::from(number));
        bench.on_disk.push(Due {
            delivery: DeliveryId { event: id, place: 0 },
            webhook: if number == 499 { 2 } else { 1 },
            due_at: bench.now.plus(Duration::from_secs(200)).plus(Duration::from_millis(number.into())),
            attempts_made: 1,
            retries_made: 1,
            reason: Reason::Retry,
        });
    }
    bench.restart(&[dead, live], Vec::new(), bounds);
    let mut hanging = Vec::new();
    while let Some(start) = bench.next_start() {
        if start.due.webhook == 2 {
            assert!(bench.now.since(START) < Duration::from_secs(230), "{:?}", bench.now.since(START));
            return;
        }
        // The dead one never answers.
        hanging.push(start);
        assert!(hanging.len() <= 10, "never more than its cap");
    }
    panic!("the live webhook's retry is not sent");
}

#[test]
fn backlogs_are_read_to_their_end_also_when_the_disk_gets_more_meanwhile() {
    let bounds = Bounds { backlog: 4, lane: 4, ..Bounds::default() };
    let mut bench = Bench::with_bounds(Policy { jitter: 0.0, ..Policy::default() }, bounds);
    let webhook = bench.webhook(1, 1, |_| {});
    for _ in 0..30 {
        bench.accept(vec![1], false, "{}", vec![true]);
    }
    let mut sent = 0;
    // A pause in the middle of the pass, and on again.
    for round in 0..3 {
        let mut paused = (*webhook).clone();
        paused.pause = Some(Pause { since: bench.now, cause: PauseCause::Gone });
        bench.take(Input::Fact(Fact::Webhook(Arc::new(paused))));
        bench.take(Input::Fact(Fact::Webhook(Arc::clone(&webhook))));
        bench.take(Input::Fact(Fact::Resumed { webhook: 1, rate: None }));
        while sent < 10 * (round + 1) {
            let Some(start) = bench.next_start() else { break };
            bench.end(&start, answered(200, 1));
            bench.record();
            sent += 1;
        }
    }
    assert_eq!((sent, bench.on_disk.len()), (30, 0), "none is left behind");
}

#[test]
fn why_a_delivery_waits() {
    let mut bench = Bench::new(Policy { max_in_flight: 2, ..Policy::default() });
    let why = |bench: &Bench, event| bench.scheduler.waits(bench.now, 1, DeliveryId { event, place: 0 });
    bench.webhook(1, 1, |_| {});
    let sending = bench.event(vec![1], false);
    let full = bench.event(vec![1], false);
    assert_eq!((why(&bench, sending), why(&bench, full)), (None, Some(Waits::Slot)));
    for _ in 0..20 {
        if bench.starts.is_empty() {
            bench.event(vec![1], false);
        }
        let start = bench.starts.remove(0);
        bench.end(&start, timed_out());
        bench.record();
    }
    bench.event(vec![1], false);
    let waiting = bench.event(vec![1], false);
    assert_eq!(why(&bench, waiting), Some(Waits::Probe));
    let mut bench = Bench::new(Policy::default());
    bench.webhook(1, 1, |webhook| webhook.rate_limit = Some(1));
    bench.event(vec![1], false);
    let waiting = bench.event(vec![1], false);
    assert_eq!(why(&bench, waiting), Some(Waits::Rate));
    let mut bench = Bench::new(Policy::default());
    bench.webhook(1, 1, |webhook| webhook.order = domain::order::Order::parse("webhook").ok());
    bench.event(vec![1], false);
    let waiting = bench.event(vec![1], false);
    assert_eq!(why(&bench, waiting), Some(Waits::Order));
}

#[test]
fn every_row_of_a_load_that_is_full_is_sent() {
    let bounds = Bounds { due: 2, ..Bounds::default() };
    let mut bench = Bench::with_bounds(Policy::default(), bounds);
    let webhook = bench.webhook(1, 1, |_| {});
    for number in 0..10u32 {
        let id = EventId::first_at(START.0 - 1_000 + i64::from(number));
        bench.on_disk.push(Due {
            delivery: DeliveryId { event: id, place: 0 },
            webhook: 1,
            due_at: bench.now.plus(Duration::from_secs(60 + u64::from(number / 3))),
            attempts_made: 1,
            retries_made: 1,
            reason: Reason::Retry,
        });
    }
    bench.restart(&[webhook], Vec::new(), bounds);
    for sent in 0..10 {
        let start = bench.next_start().unwrap_or_else(|| panic!("only {sent} are sent"));
        bench.end(&start, answered(200, 1));
        bench.record();
    }
}
