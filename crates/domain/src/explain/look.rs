//! The same words for a look at a URL that no attempt was made to yet.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Case, Explanation, explain};
use crate::attempt::{Attempt, Failure, Reason, Timing};
use crate::endpoint_url::EndpointUrl;
use crate::id::{DeliveryId, EventId};
use crate::signature::SentRequest;
use crate::time::Timestamp;

/// The sentence and the hint for a look at `url` that nothing answered.
#[must_use]
pub fn explain_look(
    url: &EndpointUrl,
    failure: &Failure,
    remote_address: Option<SocketAddr>,
    looked_at: Timestamp,
    timeout: Duration,
) -> Explanation {
    // What an attempt would have come to, with nothing in it that was sent.
    let request = SentRequest {
        url: url.as_str().to_owned(),
        prefix: String::new(),
        user_agent: String::new(),
        signed_at: looked_at.seconds(),
        signature: [0; 32],
        standard: Vec::new(),
        ed25519: Vec::new(),
        custom: Vec::new(),
    };
    let attempt = Attempt {
        number: 1,
        reason: Reason::Test,
        started_at: looked_at,
        duration: Duration::ZERO,
        timing: Timing::default(),
        request,
        answer: None,
        failure: None,
        remote_address,
    };
    explain(&Case {
        failure,
        attempt: &attempt,
        delivery: DeliveryId { event: EventId(0), place: 0 },
        request_bytes: 0,
        timeout,
        next_attempt_at: None,
        last_attempt_at: None,
        look_alike: None,
    })
}
