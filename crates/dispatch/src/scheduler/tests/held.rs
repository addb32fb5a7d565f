//! What a pause has held, at its rate, over a restart; and a lane that does nothing but fail.

use super::*;

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
