//! The grammar: what it reads, what it refuses, and that it reads what it writes.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// 2026-03-18T14:30:00Z.
const NOW: Timestamp = Timestamp(1_773_844_200_000_000);

fn refused(line: &str) -> Vec<(String, String)> {
    let refusals = DeliveryFilter::parse_line(line, NOW).expect_err(line);
    assert!(refusals.iter().all(|refusal| refusal.code == FILTER_INVALID));
    refusals.into_iter().map(|refusal| (refusal.pointer, refusal.detail)).collect()
}

#[test]
fn the_line_of_the_interfaces() {
    let line = r#"status=failed,pending event=alert.* code=5xx,404 error=response_timeout since=24h until=2026-03-18T12:00:00Z webhook=wh_abc123 q="new \"startup\"""#;
    let filter = DeliveryFilter::parse_line(line, NOW).expect("a filter");
    assert_eq!(filter.status, [DeliveryStatus::Failed, DeliveryStatus::Pending]);
    assert_eq!(filter.events[0].as_str(), "alert.*");
    assert_eq!(filter.code, [CodePattern::Class(5), CodePattern::Exact(404)]);
    assert_eq!(filter.error, [ErrorCode::ResponseTimeout]);
    assert_eq!(filter.since, Some(Timestamp(NOW.0 - 86_400_000_000)));
    assert_eq!(filter.until.map(|until| until.to_string()).as_deref(), Some("2026-03-18T12:00:00.000000Z"));
    assert_eq!(filter.webhook.as_ref().map(WebhookId::as_str), Some("wh_abc123"));
    assert_eq!(filter.q.as_deref(), Some("new \"startup\""));
}

#[test]
fn the_query_is_text_and_lists_add_up() {
    let pairs = [("q", "' OR 1=1--"), ("status", "failed"), ("status", "held,failed")];
    let filter = DeliveryFilter::parse(pairs, NOW).expect("a filter");
    assert_eq!(filter.q.as_deref(), Some("' OR 1=1--"));
    assert_eq!(filter.status, [DeliveryStatus::Failed, DeliveryStatus::Held]);
    assert_eq!(DeliveryFilter::parse([], NOW), Ok(DeliveryFilter::default()));
    assert_eq!(DeliveryFilter::parse_line(" ", NOW), Ok(DeliveryFilter::default()));
}

#[test]
fn the_last_day_of_all_is_without_end() {
    for text in ["9999-12-31T23:59:59Z", "9999-12-30T23:00:00.5Z", "9999-12-31T23:59:59+02:00"] {
        let line = format!("since={text} until={text}");
        let filter = DeliveryFilter::parse_line(&line, NOW).expect("a filter");
        assert!(filter.since == filter.until && filter.until > Some(NOW), "{filter:?}");
        assert_eq!(DeliveryFilter::parse_line(&filter.to_string(), NOW), Ok(filter), "it is read back");
    }
    for text in ["9999-12-32T00:00:00Z", "9999-12-31T25:00:00Z", "9999-12-31", "10000-01-01T00:00:00Z"] {
        assert_eq!(refused(&format!("until={text}")).len(), 1, "{text}");
    }
}

#[test]
fn each_fault_at_its_key() {
    for (line, pointer, part) in [
        ("status=lost", "status", "`lost` is no status of a delivery; those are pending, sending,"),
        ("since=yesterday", "since", "`yesterday` is neither a span such as 24h nor a time"),
        ("until=-5s", "until", "neither a span"),
        ("since=999999d", "since", "before 1970"),
        ("code=5xy", "code", "`5xy` is no status code"),
        ("code=600", "code", "no status code"),
        ("code=5XX", "code", "no status code"),
        ("error=nope", "error", "`nope` is no error of an attempt; those are dns_not_found,"),
        ("event=ALERT.*", "event", "no event type"),
        ("webhook=7", "webhook", "no webhook's id"),
        ("status=", "status", "has no value"),
        ("status=failed,", "status", "`` is no status"),
        ("q=", "q", "has no value"),
        ("test=", "test", "has no value"),
        ("test=yes", "test", "`yes` is neither `true` nor `false`"),
        ("test=true test=true", "test", "given twice"),
        ("q=a q=b", "q", "given twice"),
        ("colour=red", "colour", "those are status, event, code,"),
        ("acme", "acme", "write q=acme"),
        ("q=\"open", "q", "not closed"),
        ("q=\"a\"b", "q", "followed by more"),
        ("since=1h until=2h", "since", "is after `until`"),
    ] {
        let refusals = refused(line);
        assert_eq!(refusals.len(), 1, "{line}");
        assert_eq!(refusals[0].0, pointer, "{line}");
        assert!(refusals[0].1.contains(part), "{line}: {}", refusals[0].1);
    }
    assert_eq!(refused("status=lost code=x error=y since=z").len(), 4);
    assert!(refused(&format!("q={}", "a".repeat(SEARCH_LEN_MAX + 1)))[0].1.contains("at most 200"));
}

#[test]
fn matches_by_every_column() {
    let delivery = Delivery {
        id: "dlv_000000000000000".parse().expect("an id"),
        account: "default".parse().expect("an id"),
        webhook: "wh_abc123".parse().expect("an id"),
        event_type: Arc::from("alert.domain_matched"),
        timestamp: NOW,
        status: DeliveryStatus::Failed,
        test: false,
        attempts_made: 6,
        retries_made: 5,
        next_attempt_at: None,
        ended_at: Some(NOW),
        last_status_code: Some(503),
        last_error: Some(ErrorCode::Http5xx),
        last_duration: None,
    };
    let matches = |line: &str| DeliveryFilter::parse_line(line, NOW).expect("a filter").matches(&delivery);
    for line in [
        "",
        "status=held,failed",
        "event=alert.*",
        "event=a.b,*",
        "code=503",
        "code=404,5xx",
        "error=http_5xx",
        "webhook=wh_abc123",
        "since=2026-03-18T14:30:00Z",
        "until=2026-03-18T14:30:00.000001Z",
        "q=anything",
    ] {
        assert!(matches(line), "{line}");
    }
    for line in [
        "status=held",
        "event=watchlist.*",
        "event=alert.domain",
        "code=500",
        "code=4xx",
        "error=http_4xx",
        "webhook=wh_other",
        "since=2026-03-18T14:30:00.000001Z",
        "until=2026-03-18T14:30:00Z",
        "status=failed code=404",
    ] {
        assert!(!matches(line), "{line}");
    }
}

fn filters() -> impl Strategy<Value = DeliveryFilter> {
    let pattern = prop::sample::select(vec!["*", "alert.*", "sequence.email_sent", "a.b.*"])
        .prop_map(|text| EventPattern::parse(text).expect("a pattern"));
    let code = prop_oneof![(1u8..=5).prop_map(CodePattern::Class), (100u16..600).prop_map(CodePattern::Exact)];
    let instant = 0i64..4_000_000_000_000_000;
    (
        prop::option::of("wh_[a-zA-Z0-9_-]{1,64}"),
        prop::collection::hash_set(pattern, 0..3),
        prop::sample::subsequence(DeliveryStatus::ALL.to_vec(), 0..=6),
        prop::collection::hash_set(code, 0..4),
        prop::sample::subsequence(ErrorCode::ALL.to_vec(), 0..=16),
        (prop::option::of(instant.clone()), prop::option::of(instant)),
        (prop::option::of(prop_oneof!["\\PC{1,40}", "[ \"\\\\=\n\ta,]{1,12}"]), prop::option::of(any::<bool>())),
    )
        .prop_map(|(webhook, events, status, code, error, (since, until), (q, test))| {
            let until = until.map(|until| until.max(since.unwrap_or(0)));
            DeliveryFilter {
                webhook: webhook.map(|text| text.parse().expect("an id")),
                events: events.into_iter().collect(),
                status,
                code: code.into_iter().collect(),
                error,
                test,
                since: since.map(Timestamp),
                until: until.map(Timestamp),
                q,
            }
        })
}

proptest! {
    #[test]
    fn reads_what_it_writes(filter in filters(), now in 0i64..4_000_000_000_000_000) {
        let line = filter.to_string();
        prop_assert_eq!(DeliveryFilter::parse_line(&line, Timestamp(now)), Ok(filter.clone()), "{}", line);
        let pairs = filter.pairs();
        let pairs = pairs.iter().map(|(key, value)| (*key, value.as_str()));
        prop_assert_eq!(DeliveryFilter::parse(pairs, Timestamp(now)), Ok(filter.clone()));
        let json = serde_json::to_string(&filter).expect("JSON");
        prop_assert_eq!(serde_json::from_str(&json).ok(), Some(filter));
    }

    #[test]
    fn no_line_panics(line in "\\PC*", words in "([a-z]{0,6}=?\"?[\\\\ ,x5.*-]{0,4}\"?){0,5}") {
        for line in [line, words] {
            if let Ok(filter) = DeliveryFilter::parse_line(&line, NOW) {
                prop_assert_eq!(DeliveryFilter::parse_line(&filter.to_string(), NOW), Ok(filter));
            }
        }
    }
}
