//! Figures: what is summed up, and how percentiles come out of buckets.

use super::*;
use crate::attempt::{Answer, Failure, Reason, Timing};
use crate::signature::SentRequest;

fn attempt(at: i64, status: Option<u16>, code: Option<ErrorCode>) -> Attempt {
    Attempt {
        number: 1,
        reason: Reason::First,
        started_at: Timestamp(at),
        duration: Duration::from_millis(10),
        timing: Timing::default(),
        request: SentRequest {
            url: String::new(),
            prefix: String::new(),
            user_agent: String::new(),
            signed_at: 0,
            signature: [0; 32],
            standard: Vec::new(),
            ed25519: Vec::new(),
            custom: Vec::new(),
        },
        answer: status.map(|status| Answer { status, headers: Vec::new(), body: Vec::new(), truncated: false }),
        failure: code.map(|code| Failure { code, detail: String::new() }),
        remote_address: None,
    }
}

fn good(at: i64) -> Attempt {
    attempt(at, Some(200), None)
}

fn gone(at: i64) -> Attempt {
    attempt(at, Some(410), Some(ErrorCode::Http4xx))
}

fn refused(at: i64) -> Attempt {
    attempt(at, None, Some(ErrorCode::ConnectRefused))
}

fn figures(attempts: &[Attempt]) -> Figures {
    let mut figures = Figures::default();
    for attempt in attempts {
        figures.attempted(attempt);
    }
    figures
}

#[test]
fn attempts_are_told_apart_by_why_they_missed() {
    let figures = figures(&[good(1), gone(2), refused(3), gone(4)]);
    assert_eq!((figures.attempts(), figures.succeeded, figures.misses_in_a_row), (4, 1, 3));
    let misses: Vec<_> =
        figures.misses.iter().map(|(miss, number)| (miss.code.as_str(), miss.status, *number)).collect();
    assert_eq!(misses, [("connect_refused", None, 1), ("http_4xx", Some(410), 2)]);
    assert_eq!(figures.latency.number(), 3, "a refused connection is no answer");
    assert_eq!(figures.last_success_at, Some(Timestamp(10_001)));
    assert_eq!(figures.last_attempt_at, Some(Timestamp(10_004)));
}

#[test]
fn the_sum_of_parts_is_the_whole() {
    let all = [gone(1), good(2), refused(3), gone(4), gone(5), good(6), gone(7)];
    for cut in 0..=all.len() {
        let (first, second) = all.split_at(cut);
        assert_eq!(Figures::sum([&figures(first), &figures(second)]), figures(&all), "cut at {cut}");
    }
    let mut ends = Figures::default();
    assert_eq!(ends.success(), None);
    for (end, retried) in
        [(End::Delivered, false), (End::Delivered, true), (End::Failed, true), (End::Cancelled, false)]
    {
        ends.ended(end, retried);
    }
    assert_eq!((ends.delivered, ends.delivered_after_retry, ends.failed, ends.cancelled), (2, 1, 1, 1));
    assert_eq!(ends.success(), Some(2.0 / 3.0));
}

#[test]
fn health_is_judged_by_the_last_day_and_hour() {
    let none = Figures::default();
    assert_eq!(Health::judge(&none, &none), Health::NoTraffic);
    let well = figures(&[gone(1), good(2)]);
    assert_eq!(Health::judge(&well, &none), Health::Healthy);
    let hour = Figures { delivered: 94, failed: 6, ..Figures::default() };
    assert_eq!(Health::judge(&well, &hour), Health::Degraded);
    assert_eq!(Health::judge(&well, &Figures { delivered: 95, failed: 5, ..hour }), Health::Healthy);
    let few = figures(&vec![refused(1); 9]);
    assert_eq!(Health::judge(&few, &none), Health::Degraded);
    let mut dead = well;
    dead.add(&few);
    assert_eq!(Health::judge(&dead, &none), Health::Healthy);
    dead.attempted(&gone(3));
    assert_eq!(Health::judge(&dead, &none), Health::Failing);
}

#[test]
fn windows_are_whole_steps() {
    let now: Timestamp = "2026-11-25T14:01:30Z".parse().expect("an instant");
    let window = |length: u64, step: Option<&str>| {
        let step = step.map(|text| Step::parse(text).expect("a step"));
        Window::back(now, Duration::from_secs(length), step)
    };
    let day = window(86_400, None).expect("a window");
    assert_eq!((day.step, day.since().to_string()), (Step::HOUR, "2026-11-24T14:00:00.000000Z".to_owned()));
    let starts: Vec<_> = day.starts().collect();
    assert_eq!((starts.len(), starts[24].to_string()), (25, "2026-11-25T14:00:00.000000Z".to_owned()));
    assert_eq!(window(3_600, None).expect("a window").starts().count(), 61);
    assert_eq!(window(30 * 86_400, None).expect("a window").since().to_string(), "2026-10-26T00:00:00.000000Z");
    assert_eq!(window(86_400, Some("1m")).expect("a window").starts().count(), 1_441);
    assert_eq!(window(0, None), Err(BadWindow::Length(Duration::from_secs(366 * 86_400))));
    assert!(matches!(window(367 * 86_400, None), Err(BadWindow::Length(_))));
    assert_eq!(window(49 * 3_600, Some("30m")), Err(BadWindow::Minutes));
    assert_eq!(window(366 * 86_400, Some("1h")), Err(BadWindow::Steps));
    for text in ["", "0m", "7m", "minute", "25h", "2d", "-1h"] {
        assert_eq!(Step::parse(text), Err(BadWindow::Step), "{text}");
    }
}
