//! What is said of attempts that `posthaste listen` makes: their URL is a name that only we know, and what fails is on the machine
//! where it runs.

use super::Case;
use super::words::{sentence, span};
use crate::attempt::{ErrorCode, LISTENER_LEFT, NOBODY_LISTENS};

/// The sentence and the hint, where those for a receiver would name its host.
pub(super) fn listened(case: &Case<'_>) -> Option<(String, String)> {
    case.url()?.host().listened()?;
    let detail = case.failure.detail.as_str();
    let again = || "Start it again; where it was made with `--keep`, `--webhook` goes on with it.".to_owned();
    Some(match case.failure.code {
        ErrorCode::ConnectRefused => (
            "Nothing accepts connections at the URL that `posthaste listen` was given.".to_owned(),
            "Is your server running there?".to_owned(),
        ),
        ErrorCode::ConnectTimeout if detail == NOBODY_LISTENS => {
            (format!("No `posthaste listen` was there within {} to make the request.", span(case.timeout)), again())
        }
        ErrorCode::ConnectTimeout => (
            format!("No connection to the URL that `posthaste listen` was given within {}.", span(case.timeout)),
            "Can it be reached from the machine where that runs?".to_owned(),
        ),
        ErrorCode::ConnectionReset if detail == LISTENER_LEFT => {
            ("The `posthaste listen` that was to make the request has ended.".to_owned(), again())
        }
        ErrorCode::DnsNotFound | ErrorCode::DnsTimeout | ErrorCode::DnsFailed => (
            sentence("The name in the URL that `posthaste listen` was given leads nowhere", detail),
            "Check that URL, and the names that its machine knows.".to_owned(),
        ),
        ErrorCode::AddressBlocked
        | ErrorCode::TlsExpired
        | ErrorCode::TlsNameMismatch
        | ErrorCode::TlsUnknownIssuer
        | ErrorCode::TlsOther
        | ErrorCode::ResponseTimeout
        | ErrorCode::ConnectionReset
        | ErrorCode::BadHttp
        | ErrorCode::Http3xx
        | ErrorCode::Http4xx
        | ErrorCode::Http5xx => return None,
    })
}
