//! Replays by themselves: how much is handed over when, and what makes one stand still.

use std::collections::BTreeMap;

use domain::attempt::ErrorCode;
use domain::filter::DeliveryFilter;
use domain::replay::{PassedOver, Results, State};

use super::*;

const NOW: Timestamp = Timestamp(1_795_464_000_000_000);

/// One process owns everything.
fn everybody(_account: u32) -> bool {
    true
}

fn replay(number: u32, webhook: Option<u32>) -> Replay {
    Replay {
        number,
        id: format!("rpl_{number}").parse().expect("an id"),
        account: 1,
        webhook,
        filter: DeliveryFilter::default(),
        rate: None,
        by: "ops".to_owned(),
        created_at: NOW,
        state: State::Running,
        total: 1_000,
        left_out: PassedOver::default(),
        handed_over: 0,
        passed_over: PassedOver::default(),
        results: Results::default(),
        errors: BTreeMap::new(),
        streak: 0,
        ran: Duration::ZERO,
        running_since: Some(NOW),
        paced_until: NOW,
    }
}

fn learn(replays: &mut Replays, replay: &Replay) {
    replays.learn(Arc::new(replay.clone()));
}

/// What is to be done, answered at once as made.
fn steps(replays: &mut Replays, now: Timestamp) -> Vec<Step> {
    let steps = replays.steps(now, 20, everybody);
    for step in &steps {
        let (Step::HandOver { replay, .. } | Step::Pause { replay, .. }) = step;
        replays.stepped(now, *replay, true);
    }
    steps
}

fn counts(replays: &mut Replays, now: Timestamp) -> Vec<(u32, u32)> {
    let count = |step| match step {
        Step::HandOver { replay, count, .. } => (replay, count),
        Step::Pause { .. } => unreachable!("nothing makes it stand still"),
    };
    steps(replays, now).into_iter().map(count).collect()
}

#[test]
fn it_starts_with_few_and_never_has_many_waiting() {
    let (mut replays, mut one) = (Replays::default(), replay(1, Some(7)));
    learn(&mut replays, &one);
    assert_eq!(counts(&mut replays, NOW), [(1, 20)]);
    one.handed_over = 20;
    learn(&mut replays, &one);
    assert_eq!(counts(&mut replays, NOW), [], "they wait to be sent");
    assert_eq!(replays.wake_at(everybody), None);
    (one.results.delivered, one.streak) = (10, 10);
    learn(&mut replays, &one);
    assert_eq!(counts(&mut replays, NOW), [(1, 10)]);
    (one.handed_over, one.results.delivered, one.streak) = (300, 290, 290);
    learn(&mut replays, &one);
    assert_eq!(counts(&mut replays, NOW), [(1, 190)]);
    (one.handed_over, one.results.delivered) = (995, 995);
    learn(&mut replays, &one);
    assert_eq!(counts(&mut replays, NOW), [(1, 5)], "no more than are left");
}

#[test]
fn a_step_under_way_is_waited_for_and_a_failed_one_comes_again() {
    let mut replays = Replays::default();
    learn(&mut replays, &replay(1, None));
    assert_eq!(replays.steps(NOW, 20, everybody).len(), 1);
    learn(&mut replays, &replay(1, None));
    assert_eq!(replays.steps(NOW, 20, everybody).len(), 0);
    replays.stepped(NOW, 1, false);
    assert_eq!(replays.steps(NOW, 20, everybody).len(), 0);
    let again = replays.wake_at(everybody).expect("it comes again");
    assert_eq!((again.since(NOW), replays.steps(again, 20, everybody).len()), (AGAIN_AFTER, 1));
}

#[test]
fn a_rate_is_kept() {
    let (mut replays, mut now, mut sent) = (Replays::default(), NOW, 0);
    let mut one = Replay { rate: Some(30), streak: 1_000, ..replay(1, None) };
    learn(&mut replays, &one);
    while now < NOW.plus(Duration::from_secs(10)) {
        for (_, count) in counts(&mut replays, now) {
            sent += count;
            one.handed_over += u64::from(count);
            one.results.delivered += u64::from(count);
            one.paced_until = one.next_at(now).plus(Duration::from_secs(1) * count / 30);
            learn(&mut replays, &one);
        }
        now = replays.wake_at(everybody).expect("there is more").max(now.plus(Duration::from_millis(1)));
    }
    assert!((290..=330).contains(&sent), "{sent} in 10 s");
    // The clock is set back by an hour: the pace of before counts no more.
    let back = now.minus(Duration::from_secs(3_600));
    assert_eq!(counts(&mut replays, back), [(1, 30)]);
}

#[test]
fn failures_in_a_row_make_it_stand_still() {
    let (mut replays, mut one) = (Replays::default(), replay(1, Some(7)));
    (one.handed_over, one.results.retrying, one.streak) = (19, 19, -19);
    one.errors.insert(ErrorCode::ConnectRefused, 19);
    learn(&mut replays, &one);
    assert_eq!(counts(&mut replays, NOW), [(1, 20)]);
    (one.handed_over, one.results.retrying, one.streak) = (39, 20, -20);
    learn(&mut replays, &one);
    let cause = Cause::Failures { in_a_row: 20, last: Some(ErrorCode::ConnectRefused) };
    assert_eq!(steps(&mut replays, NOW), [Step::Pause { account: 1, replay: 1, cause }]);
    one.state = State::Paused { since: NOW, cause: Cause::WebhookPaused };
    learn(&mut replays, &one);
    assert_eq!(steps(&mut replays, NOW), []);
}

#[test]
fn a_paused_webhook_stops_its_own_replay_and_does_not_hold_one_of_all_up() {
    let mut replays = Replays::default();
    let mut paused = webhook(7);
    learn(&mut replays, &replay(1, Some(7)));
    replays.webhook(&paused);
    assert_eq!(steps(&mut replays, NOW), [Step::Pause { account: 1, replay: 1, cause: Cause::WebhookPaused }]);
    paused.pause = None;
    replays.webhook(&paused);
    assert_eq!(counts(&mut replays, NOW), [(1, 20)]);
    learn(&mut replays, &Replay { state: State::Done { at: NOW }, ..replay(1, Some(7)) });
    let all = Replay { handed_over: 20, ..replay(2, None) };
    learn(&mut replays, &replay(2, None));
    learn(&mut replays, &all);
    assert_eq!(counts(&mut replays, NOW), []);
    replays.webhook(&webhook(7));
    assert_eq!(counts(&mut replays, NOW), [(2, 20)], "what waited may be held now");
}

#[test]
fn one_goes_at_a_time_for_each_webhook() {
    let mut replays = Replays::default();
    let mut all = [replay(1, Some(7)), replay(2, Some(8)), replay(3, None), replay(4, Some(9)), replay(5, Some(7))];
    all[4].account = 2;
    all[4].webhook = Some(70);
    for replay in &all {
        learn(&mut replays, replay);
        assert_eq!(
            replays.candidates(everybody).contains(&replay.number),
            replay.waits_for(&all).is_none(),
            "replay {}",
            replay.number
        );
    }
    assert_eq!(counts(&mut replays, NOW).iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 5]);
    all[0].state = State::Paused { since: NOW, cause: Cause::WebhookPaused };
    all[1].handed_over = 1_000;
    learn(&mut replays, &all[0]);
    learn(&mut replays, &all[1]);
    assert_eq!(replays.candidates(everybody), [5], "a paused one keeps its place");
    all[0].state = State::Stopped { at: NOW, by: "ops".to_owned() };
    learn(&mut replays, &all[0]);
    assert_eq!(replays.candidates(everybody), [3, 5]);
}

/// A paused webhook of account 1.
fn webhook(number: u32) -> Webhook {
    use domain::webhook::{Pause, PauseCause};
    let account = domain::key::Account {
        number: 1,
        id: "acme".parse().expect("an id"),
        name: "Acme".to_owned(),
        log: Default::default(),
        limits: Default::default(),
        created_at: NOW,
        updated_at: NOW,
        version: 1,
    };
    let url = domain::endpoint_url::EndpointUrl::stored("https://example.com/in").expect("a URL");
    let events = domain::event_filter::EventFilter::stored(vec!["*".to_owned()]);
    let secret = domain::secret::SigningSecret::from_bytes(&[9; 32]);
    let id = format!("wh_{number}").parse().expect("an id");
    let pause = Some(Pause { since: NOW, cause: PauseCause::Gone });
    Webhook { number, pause, ..Webhook::new(&account, id, Arc::new(url), events, secret, NOW) }
}
