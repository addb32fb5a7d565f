//! The sentences and hints of failed attempts.

use super::*;
use crate::attempt::{Answer, KEPT_CONNECTION, LISTENER_LEFT, NOBODY_LISTENS, Reason, Timing};
use crate::id::EventId;
use crate::signature::SentRequest;

type Headers = &'static [(&'static str, &'static str)];

/// A failed attempt at 14:02:11, retried at 14:02:41.
struct Failed {
    url: &'static str,
    code: ErrorCode,
    detail: &'static str,
    remote: Option<&'static str>,
    /// Status, headers, body.
    answer: Option<(u16, Headers, &'static str)>,
    bytes: usize,
    look_alike: Option<(&'static str, &'static str)>,
    ended: bool,
    reason: Reason,
}

const PLAIN: Failed = Failed {
    url: "https://hooks.crm.example.com/crondb",
    code: ErrorCode::DnsTimeout,
    detail: "",
    remote: None,
    answer: None,
    bytes: 600,
    look_alike: None,
    ended: false,
    reason: Reason::First,
};

const DELIVERY: DeliveryId = DeliveryId { event: EventId(7), place: 0 };

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn explained(failed: &Failed) -> Explanation {
    let failure = Failure { code: failed.code, detail: failed.detail.to_owned() };
    let attempt = Attempt {
        number: 1,
        reason: failed.reason,
        started_at: at("2026-11-23T14:02:11Z"),
        duration: Duration::from_millis(12),
        timing: Timing::default(),
        request: SentRequest {
            url: failed.url.to_owned(),
            prefix: "X-CronDB".to_owned(),
            user_agent: "CronDB-Webhooks/0".to_owned(),
            signed_at: 0,
            signature: [0; 32],
            standard: Vec::new(),
            ed25519: Vec::new(),
            custom: Vec::new(),
        },
        answer: failed.answer.map(|(status, headers, body)| Answer {
            status,
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect(),
            body: body.as_bytes().to_vec(),
            truncated: false,
        }),
        failure: Some(failure.clone()),
        remote_address: failed.remote.map(|peer| peer.parse().expect("an address with a port")),
    };
    explain(&Case {
        failure: &failure,
        attempt: &attempt,
        delivery: DELIVERY,
        request_bytes: failed.bytes,
        timeout: Duration::from_secs(5),
        next_attempt_at: (!failed.ended).then(|| at("2026-11-23T14:02:41Z")),
        last_attempt_at: (!failed.ended).then(|| at("2026-11-23T21:14:00Z")),
        look_alike: failed.look_alike,
    })
}

fn check(failed: &Failed, message: &str, hint: &str) {
    assert_eq!(explained(failed), Explanation { message: message.to_owned(), hint: hint.to_owned() });
}

#[test]
fn names() {
    let not_found = Failed { url: "https://hooks.crm.exmaple.com/", code: ErrorCode::DnsNotFound, ..PLAIN };
    check(
        &not_found,
        "The name hooks.crm.exmaple.com does not exist.",
        "Spelling? Check the name in the webhook's URL.",
    );
    check(
        &Failed { look_alike: Some(("CRM Sync", "hooks.crm.example.com")), detail: "no address", ..not_found },
        "The name hooks.crm.exmaple.com has no address.",
        "Spelling? CRM Sync uses hooks.crm.example.com.",
    );
    check(&PLAIN, "The name servers did not answer in time.", "Usually passes; next try 14:02:41 UTC.");
    check(&Failed { ended: true, ..PLAIN }, "The name servers did not answer in time.", "Usually passes; Replay.");
    check(
        &Failed { code: ErrorCode::DnsFailed, detail: "SERVFAIL", ..PLAIN },
        "The name servers answered with an error: SERVFAIL.",
        "Check the DNS zone of hooks.crm.example.com.",
    );
}

#[test]
fn connections() {
    let peer = Failed { remote: Some("8.8.4.4:443"), ..PLAIN };
    check(
        &Failed { code: ErrorCode::ConnectRefused, ..peer },
        "Nothing accepts connections on 8.8.4.4:443.",
        "Is the server running? Own machine: `posthaste listen`.",
    );
    check(
        &Failed { code: ErrorCode::ConnectTimeout, remote: Some("[2a00::1]:443"), ..PLAIN },
        "No connection to [2a00::1]:443 within 5 s.",
        "A firewall? Allow our addresses (Addresses).",
    );
    check(
        &Failed { code: ErrorCode::AddressBlocked, detail: "10.0.0.7 (private)", ..PLAIN },
        "The name leads to 10.0.0.7, which is not public. Nothing was sent.",
        "Operator: `--allow-private 10.0.0.7`.",
    );
    check(
        &Failed { code: ErrorCode::ResponseTimeout, ..PLAIN },
        "Connected, but no answer within 5 s.",
        "Answer 2xx at once, work later.",
    );
    check(
        &Failed { code: ErrorCode::ConnectionReset, bytes: 83_000, ..PLAIN },
        "The server closed the connection before answering.",
        "Often a crash or a body limit (we sent 82 KiB).",
    );
    check(
        &Failed { code: ErrorCode::ConnectionReset, detail: KEPT_CONNECTION, bytes: 83_000, ..PLAIN },
        "The server closed a connection that it had kept open, before answering this request on it.",
        "Keep idle connections open for over 60 s, or answer with `Connection: close`. Else often a crash or a body limit (we sent 82 KiB).",
    );
    check(
        &Failed { code: ErrorCode::BadHttp, detail: "the status is 600", ..PLAIN },
        "The answer was not valid HTTP.",
        "Look at it with `curl -v`: the status is 600.",
    );
}

/// Their URL is a name of ours that nobody can look up.
#[test]
fn requests_that_listen_makes() {
    let carried = Failed { url: "https://wh-abc123.listen.invalid/", ..PLAIN };
    check(
        &Failed { code: ErrorCode::ConnectRefused, detail: "Connection refused (os error 111)", ..carried },
        "Nothing accepts connections at the URL that `posthaste listen` was given.",
        "Is your server running there?",
    );
    let again = "Start it again; where it was made with `--keep`, `--webhook` goes on with it.";
    check(
        &Failed { code: ErrorCode::ConnectTimeout, detail: NOBODY_LISTENS, ..carried },
        "No `posthaste listen` was there within 5 s to make the request.",
        again,
    );
    check(
        &Failed { code: ErrorCode::ConnectionReset, detail: LISTENER_LEFT, ..carried },
        "The `posthaste listen` that was to make the request has ended.",
        again,
    );
    for code in ErrorCode::ALL {
        let Explanation { message, hint } = explained(&Failed { code, ..carried });
        assert!(!format!("{message} {hint}").contains("listen.invalid"), "{code:?}");
        assert!(message.ends_with('.') && hint.ends_with(['.', '?']), "{code:?}: {message} {hint}");
    }
}

#[test]
fn certificates() {
    let expired = Failed { code: ErrorCode::TlsExpired, detail: "2026-11-21T00:00:00Z", ..PLAIN };
    check(&expired, "The certificate ended on 21 Nov.", "Renew it; retries go on until 21:14:00 UTC.");
    check(&Failed { ended: true, ..expired }, "The certificate ended on 21 Nov.", "Renew it.");
    check(
        &Failed { detail: "from 2027-01-01T00:00:00Z", ..expired },
        "The certificate is not valid before 1 Jan 2027.",
        "Check the server's certificate and its clock.",
    );
    check(
        &Failed { code: ErrorCode::TlsNameMismatch, detail: "*.acme.com", ..PLAIN },
        "The certificate is for *.acme.com, not this name.",
        "Fix the certificate or the URL.",
    );
    check(
        &Failed { code: ErrorCode::TlsUnknownIssuer, ..PLAIN },
        "The certificate's issuer is not trusted.",
        "Send the full chain; operator: `--trust-ca`.",
    );
    check(
        &Failed { code: ErrorCode::TlsOther, detail: "the peer offers only TLS 1.1", ..PLAIN },
        "TLS failed: the peer offers only TLS 1.1.",
        "TLS 1.2 or newer is needed.",
    );
    for (detail, hint) in [
        (
            "the certificate does not hold: a signature does not hold, or its RSA key has less than 2048 bits",
            "Issue it anew, with ECDSA or an RSA key of 2048 bits or more.",
        ),
        (
            "the certificate does not hold: it is not for servers (extended key usage)",
            "Issue one for servers (serverAuth).",
        ),
    ] {
        check(&Failed { code: ErrorCode::TlsOther, detail, ..PLAIN }, &format!("TLS failed: {detail}."), hint);
    }
    check(
        &Failed { code: ErrorCode::ConnectTimeout, detail: crate::attempt::NOT_DIALLED, ..PLAIN },
        "Nothing was dialled: this server has no file descriptor or local port left.",
        "Try again; operator: raise the limit of open files.",
    );
    check(
        &Failed { code: ErrorCode::TlsOther, detail: "received fatal alert: CertificateRequired", ..PLAIN },
        "TLS failed: received fatal alert: CertificateRequired.",
        "It asks for a client certificate, and we have none: check the signature instead.",
    );
    check(
        &Failed { code: ErrorCode::TlsOther, detail: "received fatal alert: HandshakeFailure", ..PLAIN },
        "TLS failed: received fatal alert: HandshakeFailure.",
        "Check its TLS settings: we speak TLS 1.2 and 1.3.",
    );
}

#[test]
fn redirects() {
    let moved = Failed { code: ErrorCode::Http3xx, ..PLAIN };
    check(
        &Failed { answer: Some((301, &[("location", "https://www.example.com/\u{1b}[2J")], "")), ..moved },
        "Redirects to https://www.example.com/ [2J; we do not follow.",
        "Use the new URL.",
    );
    check(
        &Failed { answer: Some((304, &[], "")), ..moved },
        "Your server answered 304 Not Modified; only 2xx counts.",
        "Answer 2xx at the webhook's own URL.",
    );
}

#[test]
fn refusals_of_the_receiver() {
    let refused = |status, headers, body| Failed {
        code: ErrorCode::Http4xx,
        answer: Some((status, headers, body)),
        bytes: 83_000,
        ..PLAIN
    };
    check(
        &refused(422, &[], r#"{"error":"missing id"}"#),
        "Your server refused the request: \"missing id\".",
        "Its answer is below.",
    );
    check(&refused(400, &[], "<h1>no</h1>"), "Your server refused the request with 400.", "Its answer is below.");
    check(
        &refused(418, &[], ""),
        "Your server refused the request with 418.",
        &format!("Look in its log at 14:02:11 UTC for `{DELIVERY}`."),
    );
    for status in [401, 403] {
        check(
            &refused(status, &[], "no"),
            "Your server refused access.",
            "A header missing, or the signature check fails: Signature check.",
        );
    }
    check(&refused(404, &[], ""), "This URL does not exist there.", "Check the path.");
    check(&refused(405, &[], ""), "This URL takes no POST.", "Check the path.");
    check(
        &refused(410, &[], ""),
        "410 Gone: it asks us to stop. The webhook is paused, events are held.",
        "Resume when ready.",
    );
    check(
        &Failed { reason: Reason::Test, ..refused(410, &[], "") },
        "410 Gone: it asks us to stop. A test pauses nothing: the first event that is answered so does.",
        "Answer 2xx if the events are wanted.",
    );
    check(&refused(413, &[], ""), "The body (82 KiB) is too big for your server.", "nginx: `client_max_body_size`.");
    check(
        &refused(429, &[("Retry-After", "30")], ""),
        "Too many requests; it asked for 30 s.",
        "Set a rate for this webhook.",
    );
    for unheeded in [
        &[("Retry-After", "soon")],
        &[("Retry-After", "+15")],
        &[("Retry-After", "0")],
        &[("Retry-After", "Mon, 23 Nov 2026 14:02:11 GMT")],
    ] {
        check(&refused(429, unheeded, ""), "Too many requests.", "Set a rate for this webhook.");
    }
    for (told, words) in [
        (&[("Retry-After", "Mon, 23 Nov 2026 14:03:41 GMT")], "1 m 30 s"),
        (&[("Retry-After", "99999999999")], "over a year"),
    ] {
        let message = format!("Too many requests; it asked for {words}.");
        check(&refused(429, told, ""), &message, "Set a rate for this webhook.");
    }
}

#[test]
fn failures_of_the_receiver() {
    let failed = |status| Failed { code: ErrorCode::Http5xx, answer: Some((status, &[], "db locked")), ..PLAIN };
    check(
        &failed(500),
        "Your server answered 500. It reached your code.",
        &format!("Look in its log at 14:02:11 UTC for `{DELIVERY}`."),
    );
    let asks = |status| Failed { answer: Some((status, &[("Retry-After", "15")], "")), ..failed(status) };
    for status in [502, 504] {
        for failed in [failed(status), asks(status)] {
            check(&failed, "A proxy in front of your server could not reach it.", "Check the app behind it.");
        }
    }
    let away = "Your server, or a proxy in front of it, is not available";
    check(&failed(503), &format!("{away}."), "Check the app.");
    check(&asks(503), &format!("{away}; it asked for 15 s."), "Check the app.");
}

#[test]
fn after_the_sixth() {
    let explained = explain_failed(6, Duration::from_secs(25_950));
    assert_eq!(explained.message, "6 attempts over 7 h 12 m failed.");
    assert_eq!(explained.hint, "Fix, then Replay.");
    assert_eq!(explain_failed(1, Duration::ZERO).message, "1 attempt over 0 ms failed.");
}

/// Whatever a code comes with, or without, there is a sentence, and it ends like one.
#[test]
fn every_code_has_its_words() {
    for code in ErrorCode::ALL {
        let Explanation { message, hint } = explained(&Failed { code, url: "broken", ..PLAIN });
        assert!(message.ends_with('.') && message.len() > 10, "{code:?}: {message}");
        assert!(hint.ends_with(['.', '?']) && hint.len() > 6, "{code:?}: {hint}");
    }
}
