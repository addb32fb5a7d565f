//! What a pause has held, at its rate, over a restart; a lane that does nothing but fail; one whose webhook is gone.

use domain::order::OrderKey;

use super::*;
use crate::horizon::LoadDue;

#[test]
fn held_work_goes_on_oldest_first_at_its_rate_after_a_restart() {
    let mut bench = Bench::new(Policy { jitter: 0.0, ..Policy::default() });
    let webhook = bench.webhook(1, 1, |webhook| {
        webhook.pause = Some(Pause { since: START, cause: PauseCause::Gone });
    });
    let events: Vec<EventId> = (0..6).map(|_| bench.accept(vec![1], false, "{}", vec![true])).collect();
    let resumed = Arc::new(Webhook { pause: None, held_rate: Some(2), ..Webhook::clone(&webhook) });
    bench.now = bench.now.plus(Duration::from_secs(3_600));
    // Both come with one commit.
    bench.scheduler.take(bench.now, Input::Fact(Fact::Webhook(Arc::clone(&resumed))));
    bench.take(Input::Fact(Fact::Resumed { webhook: 1, rate: Some(2) }));
    let first = bench.next_start().expect("the first");
    bench.end(&first, answered(200, 1));
    bench.record();
    bench.restart(&[resumed], Vec::new(), Bounds::default());
    let begin = bench.now;
    let mut sent = vec![first.due.delivery.event];
    for number in 1..6 {
        let start = bench.next_start().expect("all are sent");
        let at_least = Duration::from_millis(500) * (number - 1);
        assert!(bench.now.since(begin) >= at_least, "{number} after {:?}", bench.now.since(begin));
        assert!(bench.now.since(begin) < at_least + Duration::from_secs(1), "it waits for its rate alone");
        sent.push(start.due.delivery.event);
        bench.end(&start, answered(200, 1));
        bench.record();
    }
    assert_eq!(sent, events);
    // Only what was held goes at the rate.
    assert_eq!(bench.held_sent, [1]);
    let (one, two) = (bench.event(vec![1], false), bench.event(vec![1], false));
    assert_eq!(bench.starts.iter().map(|start| start.due.delivery.event).collect::<Vec<_>>(), [one, two]);
}

#[test]
fn a_rate_of_a_pause_long_over_is_told_to_be_over() {
    let mut bench = Bench::new(Policy::default());
    bench.webhook(1, 1, |webhook| webhook.held_rate = Some(1));
    assert_eq!(bench.held_sent, [1]);
    for _ in 0..3 {
        bench.event(vec![1], false);
    }
    assert_eq!(bench.starts.len(), 3);
}

#[test]
fn a_receiver_that_only_fails_is_tried_on_however_many_there_are() {
    let mut bench = Bench::new(Policy { jitter: 0.0, pause_after: Duration::MAX, ..Policy::default() });
    bench.webhook(1, 1, |webhook| webhook.max_in_flight = Some(1));
    // New work only: its turns are counted, and nothing old ends the count.
    for turn in 0..600 {
        bench.event(vec![1], false);
        assert_eq!(bench.starts.len(), 1, "turn {turn}");
        let start = bench.starts.remove(0);
        bench.end(&start, answered(404, 0));
        bench.record();
    }
}

/// A scheduler that has started an hour after what waits on disk came due. Its first load of planned attempts is under way, and
/// its webhook, which was paused, has been resumed since: its backlog is being read too. And the number of that load.
fn resumed_while_loading(bounds: Bounds) -> (Scheduler, u64) {
    let mut scheduler = Scheduler::new(Arc::new(Policy::default()), 7, START).with_bounds(bounds);
    let active = Arc::new(webhook(1, 1));
    let pause = Some(Pause { since: START, cause: PauseCause::Gone });
    scheduler.take(START, Input::Fact(Fact::Webhook(Arc::new(Webhook { pause, ..Webhook::clone(&active) }))));
    let outputs = scheduler.step(START, Input::Tick);
    assert!(matches!(outputs[..], [Output::LoadDue(_)]), "{outputs:?}");
    scheduler.take(START, Input::Fact(Fact::Webhook(active)));
    let outputs = scheduler.step(START, Input::Fact(Fact::Resumed { webhook: 1, rate: None }));
    let [Output::LoadBacklog { load, .. }] = outputs[..] else { panic!("{outputs:?}") };
    (scheduler, load)
}

fn first_attempt(number: i64, due_at: Timestamp) -> Due {
    let delivery = DeliveryId { event: EventId::first_at(START.0 - 7_200_000_000 + number), place: 0 };
    Due { delivery, webhook: 1, due_at, attempts_made: 0, retries_made: 0, reason: Reason::First }
}

/// Answers everything that it asks of its disk, on which there are these rows; what it starts.
fn read_all(scheduler: &mut Scheduler, now: Timestamp, mut outputs: Vec<Output>, rows: &[Due]) -> Vec<DeliveryId> {
    let mut started = Vec::new();
    while !outputs.is_empty() {
        for output in std::mem::take(&mut outputs) {
            match output {
                Output::Start(ref start) => started.push(start.due.delivery),
                Output::LoadBacklog { webhook, load, until, limit, .. } => {
                    let found = rows.iter().filter(|due| due.due_at < until && due.webhook == webhook).take(limit);
                    let rows = Some(found.map(|due| (*due, OrderKey::NONE)).collect());
                    outputs.extend(scheduler.step(now, Input::Backlog { webhook, load, rows }));
                }
                Output::LoadDue(load) => {
                    let found = rows
                        .iter()
                        .filter(|due| due.due_at < load.until && Some((due.due_at, due.delivery)) > load.after);
                    let found = found.take(load.limit).copied().collect();
                    outputs.extend(scheduler.step(now, Input::Due(found)));
                }
                Output::Settle(_)
                | Output::Pause { .. }
                | Output::LoadArrivals(_)
                | Output::LoadNamed(_)
                | Output::Quiet(_)
                | Output::Dropped(_)
                | Output::HandOver { .. }
                | Output::PauseReplay { .. }
                | Output::HeldSent { .. }
                | Output::LeaveAlone { .. }
                | Output::Failing { .. } => panic!("{output:?}"),
            }
        }
    }
    started
}

#[test]
fn what_a_load_brings_of_a_webhook_that_was_resumed_meanwhile_is_not_passed_by_its_backlog() {
    let (mut scheduler, load) = resumed_while_loading(Bounds::default());
    let hour_ago = Timestamp(START.0 - 3_600_000_000);
    let rows: Vec<Due> = (0..4).map(|number| first_attempt(number, hour_ago)).collect();
    let outputs = scheduler.step(START, Input::Due(rows[..2].to_vec()));
    let starts = |output: &Output| matches!(output, Output::Start(_));
    assert!(!outputs.iter().any(starts), "it waits for what may be older: {outputs:?}");
    let read = rows.iter().map(|due| (*due, OrderKey::NONE)).collect();
    let outputs = scheduler.step(START, Input::Backlog { webhook: 1, load, rows: Some(read) });
    let sent = read_all(&mut scheduler, START, outputs, &rows);
    assert_eq!(sent, rows.iter().map(|due| due.delivery).collect::<Vec<_>>());
}

#[test]
fn what_a_resumed_webhook_has_planned_is_no_concern_of_its_backlog() {
    let (mut scheduler, load) = resumed_while_loading(Bounds { due: 2, ..Bounds::default() });
    let soon = START.plus(Duration::from_secs(10));
    let rows = [first_attempt(0, soon), first_attempt(1, soon)];
    // A load that was full has ended between attempts of the same instant, perhaps.
    scheduler.take(START, Input::Due(rows.to_vec()));
    let outputs = scheduler.step(START, Input::Backlog { webhook: 1, load, rows: Some(Vec::new()) });
    assert_eq!(read_all(&mut scheduler, START, outputs, &[]), []);
    let outputs = scheduler.step(soon, Input::Tick);
    assert_eq!(read_all(&mut scheduler, soon, outputs, &[]), rows.map(|due| due.delivery));
}

#[test]
fn what_is_planned_where_a_load_ended_outlasts_a_pause() {
    let (mut scheduler, load) = resumed_while_loading(Bounds { due: 2, ..Bounds::default() });
    let soon = START.plus(Duration::from_secs(10));
    let rows = [first_attempt(0, soon), first_attempt(1, soon)];
    scheduler.take(START, Input::Backlog { webhook: 1, load, rows: Some(Vec::new()) });
    // The next load goes on after these, once it can be done. A pause lets go of them: only the backlog brings them again.
    let outputs = scheduler.step(START, Input::Due(rows.to_vec()));
    let next = |output: &Output| matches!(output, Output::LoadDue(LoadDue { after: Some(_), .. }));
    assert!(outputs.iter().any(next), "{outputs:?}");
    scheduler.take(START, Input::DueFailed);
    let active = Arc::new(webhook(1, 1));
    let pause = Some(Pause { since: START, cause: PauseCause::Gone });
    scheduler.take(START, Input::Fact(Fact::Webhook(Arc::new(Webhook { pause, ..Webhook::clone(&active) }))));
    scheduler.take(START, Input::Fact(Fact::Webhook(active)));
    let outputs = scheduler.step(START, Input::Fact(Fact::Resumed { webhook: 1, rate: None }));
    assert_eq!(read_all(&mut scheduler, START, outputs, &rows), []);
    let outputs = scheduler.step(soon, Input::Tick);
    assert_eq!(read_all(&mut scheduler, soon, outputs, &rows), rows.map(|due| due.delivery));
}

#[test]
fn what_comes_due_with_the_resume_itself_waits_for_older_ones_of_the_backlog() {
    let mut bench = Bench::new(Policy { jitter: 0.0, ..Policy::default() });
    let active = bench.webhook(1, 1, |_| {});
    let events: Vec<EventId> = (0..3).map(|_| bench.event(vec![1], false)).collect();
    let retried = bench.starts.pop().expect("it is sent");
    let pause = Some(Pause { since: bench.now, cause: PauseCause::Gone });
    bench.take(Input::Fact(Fact::Webhook(Arc::new(Webhook { pause, ..Webhook::clone(&active) }))));
    // They end during the pause, the youngest first, and are planned for later.
    let others = std::mem::take(&mut bench.starts);
    for start in [retried].iter().chain(&others) {
        bench.end(start, answered(500, 1));
    }
    bench.record();
    bench.now = bench.now.plus(Duration::from_secs(3_600));
    // Nothing has happened between their time and the resume.
    bench.scheduler.take(bench.now, Input::Fact(Fact::Webhook(active)));
    bench.take(Input::Fact(Fact::Resumed { webhook: 1, rate: None }));
    assert_eq!(bench.starts.iter().map(|start| start.due.delivery.event).collect::<Vec<_>>(), events);
}

#[test]
fn what_comes_due_while_a_deleted_webhook_still_has_an_attempt_in_flight_is_forgotten() {
    let mut bench = Bench::new(Policy { jitter: 0.0, ..Policy::default() });
    bench.webhook(1, 1, |_| {});
    bench.event(vec![1], false);
    bench.event(vec![1], false);
    let (slow, failed) = (bench.starts.remove(0), bench.starts.remove(0));
    bench.end(&failed, answered(500, 0));
    bench.record();
    bench.take(Input::Fact(Fact::WebhookDeleted { webhook: 1 }));
    bench.now = bench.now.plus(Duration::from_secs(40));
    bench.take(Input::Tick);
    bench.end(&slow, answered(200, 0));
    bench.record();
    assert_eq!((bench.scheduler.known(), bench.scheduler.in_flight(), bench.starts.len()), (0, 0, 0));
}
