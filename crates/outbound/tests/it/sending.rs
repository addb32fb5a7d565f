//! What the tests send, and how they read what came of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::attempt::{ErrorCode, Outcome};
use domain::endpoint_url::EndpointUrl;
use domain::transport::{Outgoing, Transport as _};
use outbound::{Network, Settings};

/// Longer than anything takes that is meant to succeed.
pub(crate) const PATIENT: Duration = Duration::from_secs(60);
/// For attempts that are meant to end by their deadline.
pub(crate) const SHORT: Duration = Duration::from_millis(400);
/// For answers that come at once, and then go on until the deadline.
pub(crate) const ANSWERED: Duration = Duration::from_secs(3);
/// By how much an attempt may exceed its deadline here, where machines are busy; the contract says 250 ms. Receivers that hang
/// do so for ever.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// A network in which 127.0.0.2 is public.
pub(crate) fn network() -> Network {
    with(Settings::default())
}

/// The same, with other settings as given.
pub(crate) fn with(settings: Settings) -> Network {
    let opened = vec!["127.0.0.2".parse().expect("a range")];
    Network::new(Settings { opened, ..settings }).expect("the settings are good")
}

/// A request to `url`, with a body of `{}`.
pub(crate) fn request(url: &str) -> Outgoing {
    Outgoing {
        url: Arc::new(EndpointUrl::stored(url).expect("a URL in its stored form")),
        headers: vec![("X-CronDB-Event".into(), "watchlist.domain_changed".into()), ("X-Key".into(), "a b".into())],
        body: Bytes::from_static(b"{}"),
        timeout: PATIENT,
        http2: false,
    }
}

/// Sends, and checks that the deadline holds.
pub(crate) async fn send(network: &Network, request: Outgoing) -> Outcome {
    let timeout = request.timeout;
    let outcome = network.send(request).await.expect("this machine has what it takes");
    assert!(outcome.duration <= timeout + GRACE, "{:?} for a deadline of {timeout:?}", outcome.duration);
    outcome
}

/// The outcome in one word: the status, or the code of the failure.
pub(crate) fn word(outcome: &Outcome) -> String {
    match &outcome.result {
        Ok(answer) => answer.status.to_string(),
        Err(failure) => failure.code.as_str().to_owned(),
    }
}

/// The code and the detail of a failure.
pub(crate) fn failure(outcome: &Outcome) -> (ErrorCode, &str) {
    let failure = outcome.result.as_ref().expect_err("the attempt fails");
    (failure.code, &failure.detail)
}
