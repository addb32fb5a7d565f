//! What went wrong with an attempt, in a sentence and a hint: one table for API, dashboard and CLI. Every value in it is
//! the attempt's own.

use std::time::Duration;

use crate::attempt::{Attempt, ErrorCode, Failure, KEPT_CONNECTION, NOT_DIALLED, Reason};
use crate::endpoint_url::EndpointUrl;
use crate::id::DeliveryId;
use crate::retry_after::{retry_after, whole_seconds};
use crate::time::Timestamp;

mod listened;
mod look;
mod words;

pub use look::explain_look;
use words::{clock, day, excerpt, kibibytes, sentence, span, tame};

/// A receiver that asks for longer than this has no time in mind.
const TOLD_MAX: Duration = Duration::from_secs(366 * 86_400);

/// A failed attempt, and what the sentences about it need.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// Why it failed; usually the attempt's own [`Attempt::failure`].
    pub failure: &'a Failure,
    /// The attempt.
    pub attempt: &'a Attempt,
    /// The delivery that it belongs to.
    pub delivery: DeliveryId,
    /// How many bytes the request's body had; 0 if that is no longer known.
    pub request_bytes: usize,
    /// The deadline of the attempt.
    pub timeout: Duration,
    /// When it is tried again; `None` once the delivery has ended.
    pub next_attempt_at: Option<Timestamp>,
    /// When the schedule's last retry is due.
    pub last_attempt_at: Option<Timestamp>,
    /// The name of another webhook of the account and its host, where that host looks much like this one's.
    pub look_alike: Option<(&'a str, &'a str)>,
}

/// What to tell people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What happened, as a sentence.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// The sentence and the hint for a failed attempt.
#[must_use]
pub fn explain(case: &Case<'_>) -> Explanation {
    let (message, hint) = listened::listened(case).unwrap_or_else(|| of_receiver(case));
    Explanation { message, hint }
}

fn of_receiver(case: &Case<'_>) -> (String, String) {
    match case.failure.code {
        ErrorCode::DnsNotFound => dns_not_found(case),
        ErrorCode::DnsTimeout => ("The name servers did not answer in time.".to_owned(), case.usually_passes()),
        ErrorCode::DnsFailed => (
            case.with_detail("The name servers answered with an error"),
            format!("Check the DNS zone of {}.", case.host()),
        ),
        ErrorCode::ConnectRefused => (
            format!("Nothing accepts connections on {}.", case.peer()),
            "Is the server running? Own machine: `posthaste listen`.".to_owned(),
        ),
        ErrorCode::ConnectTimeout if case.failure.detail == NOT_DIALLED => (
            "Nothing was dialled: this server has no file descriptor or local port left.".to_owned(),
            "Try again; operator: raise the limit of open files.".to_owned(),
        ),
        ErrorCode::ConnectTimeout => (
            format!("No connection to {} within {}.", case.peer(), span(case.timeout)),
            "A firewall? Allow our addresses (Addresses).".to_owned(),
        ),
        ErrorCode::AddressBlocked => address_blocked(case),
        ErrorCode::TlsExpired => tls_expired(case),
        ErrorCode::TlsNameMismatch => tls_name_mismatch(case),
        ErrorCode::TlsUnknownIssuer => (
            "The certificate's issuer is not trusted.".to_owned(),
            "Send the full chain; operator: `--trust-ca`.".to_owned(),
        ),
        ErrorCode::TlsOther => (case.with_detail("TLS failed"), tls_hint(&case.failure.detail)),
        ErrorCode::ResponseTimeout => (
            format!("Connected, but no answer within {}.", span(case.timeout)),
            "Answer 2xx at once, work later.".to_owned(),
        ),
        ErrorCode::ConnectionReset if case.failure.detail == KEPT_CONNECTION => (
            "The server closed a connection that it had kept open, before answering this request on it.".to_owned(),
            kept_hint(case.request_bytes),
        ),
        ErrorCode::ConnectionReset => {
            ("The server closed the connection before answering.".to_owned(), reset_hint(case.request_bytes))
        }
        ErrorCode::BadHttp => {
            ("The answer was not valid HTTP.".to_owned(), sentence("Look at it with `curl -v`", &case.failure.detail))
        }
        ErrorCode::Http3xx => redirect(case),
        ErrorCode::Http4xx => client_error(case),
        ErrorCode::Http5xx => server_error(case),
    }
}

/// The words for a delivery whose last retry failed: `attempts` of them, over `elapsed` from the first to the last.
#[must_use]
pub fn explain_failed(attempts: u16, elapsed: Duration) -> Explanation {
    let plural = if attempts == 1 { "" } else { "s" };
    Explanation {
        message: format!("{attempts} attempt{plural} over {} failed.", span(elapsed)),
        hint: "Fix, then Replay.".to_owned(),
    }
}

impl Case<'_> {
    fn url(&self) -> Option<EndpointUrl> {
        EndpointUrl::stored(&self.attempt.request.url).ok()
    }

    fn host(&self) -> String {
        match self.url() {
            None => "the host".to_owned(),
            Some(url) if url.host().listened().is_some() => "the URL that `posthaste listen` was given".to_owned(),
            Some(url) => url.host().to_string(),
        }
    }

    /// The address that was dialled; the host if it never came to that.
    fn peer(&self) -> String {
        match (self.attempt.remote_address, self.url()) {
            (Some(peer), _) => peer.to_string(),
            (None, Some(url)) => format!("{}:{}", url.host(), url.port()),
            (None, None) => "the server".to_owned(),
        }
    }

    fn with_detail(&self, start: &str) -> String {
        sentence(start, &self.failure.detail)
    }

    fn usually_passes(&self) -> String {
        match self.next_attempt_at {
            Some(at) => format!("Usually passes; next try {}.", clock(at, self.attempt.started_at)),
            None => "Usually passes; Replay.".to_owned(),
        }
    }

    /// Where in the receiver's log to look.
    fn look_in_log(&self) -> String {
        let at = clock(self.attempt.started_at, self.attempt.started_at);
        format!("Look in its log at {at} for `{}`.", self.delivery)
    }

    fn header(&self, name: &str) -> Option<String> {
        let answer = self.attempt.answer.as_ref()?;
        let (_, value) = answer.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name))?;
        Some(tame(&String::from_utf8_lossy(value), 200))
    }

    /// `; it asked for 30 s`, if it did, and is heeded.
    fn asked_for(&self) -> String {
        let answer = self.attempt.answer.as_ref();
        match answer.and_then(|answer| retry_after(answer, self.attempt.ended_at())) {
            None | Some(Duration::ZERO) => String::new(),
            Some(asked) if asked > TOLD_MAX => "; it asked for over a year".to_owned(),
            Some(asked) => format!("; it asked for {}", span(whole_seconds(asked))),
        }
    }
}

fn dns_not_found(case: &Case<'_>) -> (String, String) {
    let host = case.host();
    let message = if case.failure.detail.is_empty() {
        format!("The name {host} does not exist.")
    } else {
        format!("The name {host} has no address.")
    };
    let hint = match case.look_alike {
        Some((webhook, other)) => format!("Spelling? {webhook} uses {other}."),
        None => "Spelling? Check the name in the webhook's URL.".to_owned(),
    };
    (message, hint)
}

/// The detail reads `10.0.0.7 (private)`.
fn address_blocked(case: &Case<'_>) -> (String, String) {
    let address = case.failure.detail.split(' ').next().filter(|address| !address.is_empty());
    let Some(address) = address else {
        let message = "The name leads to an address that is not public. Nothing was sent.".to_owned();
        return (message, "Operator: `--allow-private`.".to_owned());
    };
    (
        format!("The name leads to {address}, which is not public. Nothing was sent."),
        format!("Operator: `--allow-private {address}`."),
    )
}

/// The detail is the instant at which the certificate ended, or `from` and the instant at which it will begin.
fn tls_expired(case: &Case<'_>) -> (String, String) {
    let started_at = case.attempt.started_at;
    let until = case.last_attempt_at.map(|at| format!("; retries go on until {}", clock(at, started_at)));
    let hint = format!("Renew it{}.", until.unwrap_or_default());
    let detail = case.failure.detail.as_str();
    if let Some(Ok(from)) = detail.strip_prefix("from ").map(str::parse) {
        let message = format!("The certificate is not valid before {}.", day(from, started_at));
        return (message, "Check the server's certificate and its clock.".to_owned());
    }
    let message = match detail.parse() {
        Ok(end) => format!("The certificate ended on {}.", day(end, started_at)),
        Err(_) => "The certificate is outside its dates.".to_owned(),
    };
    (message, hint)
}

/// The detail is the list of names that the certificate is for.
fn tls_name_mismatch(case: &Case<'_>) -> (String, String) {
    let message = match case.failure.detail.as_str() {
        "" => format!("The certificate is not for {}.", case.host()),
        names => format!("The certificate is for {}, not this name.", tame(names, 200)),
    };
    (message, "Fix the certificate or the URL.".to_owned())
}

fn tls_hint(detail: &str) -> String {
    if detail.contains("not TLS") {
        return "Is this the port for https?".to_owned();
    }
    if detail.contains("CertificateRequired") {
        return "It asks for a client certificate, and we have none: check the signature instead.".to_owned();
    }
    if detail.contains("2048 bits") {
        return "Issue it anew, with ECDSA or an RSA key of 2048 bits or more.".to_owned();
    }
    if detail.contains("not for servers") {
        return "Issue one for servers (serverAuth).".to_owned();
    }
    if detail.contains("certificate") {
        return "Check the certificate and its chain.".to_owned();
    }
    if detail.contains("offers only TLS") || detail.contains("ProtocolVersion") {
        return "TLS 1.2 or newer is needed.".to_owned();
    }
    "Check its TLS settings: we speak TLS 1.2 and 1.3.".to_owned()
}

fn reset_hint(request_bytes: usize) -> String {
    if request_bytes == 0 {
        return "Often a crash or a body limit.".to_owned();
    }
    format!("Often a crash or a body limit (we sent {}).", kibibytes(request_bytes))
}

/// A server that closes idle connections without a word may do it just as a request comes, as one that falls over does.
fn kept_hint(request_bytes: usize) -> String {
    let idle = "Keep idle connections open for over 60 s, or answer with `Connection: close`";
    format!("{idle}. {}", reset_hint(request_bytes).replace("Often", "Else often"))
}

fn redirect(case: &Case<'_>) -> (String, String) {
    match case.header("location").filter(|location| !location.is_empty()) {
        Some(location) => (format!("Redirects to {location}; we do not follow."), "Use the new URL.".to_owned()),
        None if status(case) == 304 => (
            "Your server answered 304 Not Modified; only 2xx counts.".to_owned(),
            "Answer 2xx at the webhook's own URL.".to_owned(),
        ),
        None => (
            format!("Your server answered {}, a redirect; we do not follow.", status(case)),
            "Answer 2xx at the webhook's own URL.".to_owned(),
        ),
    }
}

fn client_error(case: &Case<'_>) -> (String, String) {
    let (message, hint) = match status(case) {
        401 | 403 => (
            "Your server refused access.".to_owned(),
            "A header missing, or the signature check fails: Signature check.".to_owned(),
        ),
        404 => ("This URL does not exist there.".to_owned(), "Check the path.".to_owned()),
        405 => ("This URL takes no POST.".to_owned(), "Check the path.".to_owned()),
        410 if case.attempt.reason == Reason::Test => (
            "410 Gone: it asks us to stop. A test pauses nothing: the first event that is answered so does.".to_owned(),
            "Answer 2xx if the events are wanted.".to_owned(),
        ),
        410 => (
            "410 Gone: it asks us to stop. The webhook is paused, events are held.".to_owned(),
            "Resume when ready.".to_owned(),
        ),
        413 if case.request_bytes > 0 => (
            format!("The body ({}) is too big for your server.", kibibytes(case.request_bytes)),
            "nginx: `client_max_body_size`.".to_owned(),
        ),
        413 => ("The body is too big for your server.".to_owned(), "nginx: `client_max_body_size`.".to_owned()),
        429 => (format!("Too many requests{}.", case.asked_for()), "Set a rate for this webhook.".to_owned()),
        _ => refused_request(case),
    };
    (message, hint)
}

fn refused_request(case: &Case<'_>) -> (String, String) {
    let body = case.attempt.answer.as_ref().map_or(&[][..], |answer| &answer.body);
    match excerpt(body) {
        Some(words) => (format!("Your server refused the request: \"{words}\"."), "Its answer is below.".to_owned()),
        None if body.is_empty() => {
            (format!("Your server refused the request with {}.", status(case)), case.look_in_log())
        }
        None => (format!("Your server refused the request with {}.", status(case)), "Its answer is below.".to_owned()),
    }
}

fn server_error(case: &Case<'_>) -> (String, String) {
    match status(case) {
        503 => (
            format!("Your server, or a proxy in front of it, is not available{}.", case.asked_for()),
            "Check the app.".to_owned(),
        ),
        502 | 504 => {
            ("A proxy in front of your server could not reach it.".to_owned(), "Check the app behind it.".to_owned())
        }
        other => (format!("Your server answered {other}. It reached your code."), case.look_in_log()),
    }
}

fn status(case: &Case<'_>) -> u16 {
    case.attempt.status_code().unwrap_or_default()
}

#[cfg(test)]
mod tests;
