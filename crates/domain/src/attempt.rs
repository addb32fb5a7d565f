//! One HTTP request of a delivery: why it was made, what went out, what came back.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{AttemptId, ReplayId};
use crate::signature::SentRequest;
use crate::time::Timestamp;

/// Why an attempt was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The first attempt after acceptance.
    First,
    /// A retry by the schedule.
    Retry,
    /// Sent again by hand; a replay starts the schedule afresh.
    Replay,
    /// A test that a person asked for.
    Test,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::First, Self::Retry, Self::Replay, Self::Test];

    /// The word for it in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Retry => "retry",
            Self::Replay => "replay",
            Self::Test => "test",
        }
    }
}

/// Where the time of an attempt went. A stage that was not reached, or not needed, is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// From due to the start of the attempt. Not part of the attempt's own duration.
    pub queue: Duration,
    /// The name look-up.
    pub dns: Option<Duration>,
    /// The TCP connection.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the first byte of the request to the end of the answer's head.
    pub first_byte: Option<Duration>,
}

/// What went wrong below HTTP, or in it; the words of `interfaces.md`, less the three that come from a status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The name does not exist, or has no address.
    DnsNotFound,
    /// The name servers did not answer in time.
    DnsTimeout,
    /// The name servers answered with an error.
    DnsFailed,
    /// Nothing accepts connections at the address.
    ConnectRefused,
    /// No TCP connection within the deadline.
    ConnectTimeout,
    /// The name leads to an address that is not public; nothing was sent.
    AddressBlocked,
    /// The certificate has ended, or is not valid yet.
    TlsExpired,
    /// The certificate is for another name.
    TlsNameMismatch,
    /// The certificate's issuer is not trusted.
    TlsUnknownIssuer,
    /// Any other fault of TLS.
    TlsOther,
    /// Connected, but no complete answer head within the deadline.
    ResponseTimeout,
    /// Closed or reset before the answer's head was complete.
    ConnectionReset,
    /// What came was not a valid HTTP answer.
    BadHttp,
    /// A redirect; it is never followed.
    #[serde(rename = "http_3xx")]
    Http3xx,
    /// The receiver refused the request.
    #[serde(rename = "http_4xx")]
    Http4xx,
    /// The receiver failed.
    #[serde(rename = "http_5xx")]
    Http5xx,
}

impl ErrorCode {
    /// Every code, in the order of `interfaces.md`.
    pub const ALL: [Self; 16] = [
        Self::DnsNotFound,
        Self::DnsTimeout,
        Self::DnsFailed,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::AddressBlocked,
        Self::TlsExpired,
        Self::TlsNameMismatch,
        Self::TlsUnknownIssuer,
        Self::TlsOther,
        Self::ResponseTimeout,
        Self::ConnectionReset,
        Self::BadHttp,
        Self::Http3xx,
        Self::Http4xx,
        Self::Http5xx,
    ];

    /// The code as API, dashboard and CLI write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DnsNotFound => "dns_not_found",
            Self::DnsTimeout => "dns_timeout",
            Self::DnsFailed => "dns_failed",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::AddressBlocked => "address_blocked",
            Self::TlsExpired => "tls_expired",
            Self::TlsNameMismatch => "tls_name_mismatch",
            Self::TlsUnknownIssuer => "tls_unknown_issuer",
            Self::TlsOther => "tls_other",
            Self::ResponseTimeout => "response_timeout",
            Self::ConnectionReset => "connection_reset",
            Self::BadHttp => "bad_http",
            Self::Http3xx => "http_3xx",
            Self::Http4xx => "http_4xx",
            Self::Http5xx => "http_5xx",
        }
    }

    /// The code that [`Self::as_str`] writes as `text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

/// Why an attempt failed: the code, and the fact that its sentence needs (an address, a date, a name).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure it was.
    pub code: ErrorCode,
    /// The particular: an address, the end of a certificate, the library's own words. Empty where the code says all.
    pub detail: String,
}

/// [`Failure::detail`] of an [`ErrorCode::ConnectionReset`] on a connection that had carried an answer before.
pub const KEPT_CONNECTION: &str = "a kept connection";

/// [`Failure::detail`] of an [`ErrorCode::ConnectTimeout`] where `posthaste listen` makes the requests, and none is there.
pub const NOBODY_LISTENS: &str = "the command that listens is not connected";
/// [`Failure::detail`] of an [`ErrorCode::ConnectionReset`] where it has gone for good.
pub const LISTENER_LEFT: &str = "the command that listens went away";

/// [`Failure::detail`] of an [`ErrorCode::ConnectTimeout`] of a look for which this machine had no file descriptor or local port
/// left. An attempt does not end so: it is made later.
pub const NOT_DIALLED: &str = "nothing was dialled";

/// The receiver's answer, as opaque bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The status code, 200–599.
    pub status: u16,
    /// The headers in the order in which they came, values as bytes.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The first bytes of the body, at most [`ANSWER_KEPT_MAX`], never decompressed.
    pub body: Vec<u8>,
    /// Whether more came than was kept, or the body ended early.
    pub truncated: bool,
}

/// How many bytes of an answer's body are kept.
pub const ANSWER_KEPT_MAX: usize = 16 * 1024;
/// How many bytes of an answer's body are read before the connection is closed.
pub const ANSWER_READ_MAX: usize = 64 * 1024;

/// What one request came to, as the transport saw it. Every failure is an outcome; what could not even be tried is none
/// ([`crate::transport::Untried`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The answer, or why there is none. A status outside 200–599 is [`ErrorCode::BadHttp`].
    pub result: Result<Answer, Failure>,
    /// The address that was dialled, or would have been.
    pub remote_address: Option<SocketAddr>,
    /// Where the time went; `queue` is left at zero.
    pub timing: Timing,
    /// From the start of the attempt to its end.
    pub duration: Duration,
}

/// An attempt as it is kept: everything that the log shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The attempt's number in its delivery, from 1; it grows over replays.
    pub number: u16,
    /// Why it was made.
    pub reason: Reason,
    /// When it started.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// Where the time went.
    pub timing: Timing,
    /// What went out, less what can be derived; `None` if a request could not be built.
    pub request: SentRequest,
    /// What came back, if anything did.
    pub answer: Option<Answer>,
    /// Why it failed; `None` for a success.
    pub failure: Option<Failure>,
    /// The peer.
    pub remote_address: Option<SocketAddr>,
}

impl Attempt {
    /// When it ended: what the delay of a retry counts from.
    #[must_use]
    pub fn ended_at(&self) -> Timestamp {
        self.started_at.plus(self.duration)
    }

    /// The status code of the answer, if there was one.
    #[must_use]
    pub fn status_code(&self) -> Option<u16> {
        self.answer.as_ref().map(|answer| answer.status)
    }
}

/// An attempt with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedAttempt {
    /// Its id.
    pub id: AttemptId,
    /// What happened.
    pub attempt: Attempt,
    /// The replay in bulk that it is part of.
    pub replay: Option<ReplayId>,
}
