//! The seam to the network: a request goes in, an outcome comes out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::attempt::{ErrorCode, Failure, Outcome};
use crate::endpoint_url::EndpointUrl;
use crate::time::Timestamp;

/// A request as it is to go out.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Where to.
    pub url: Arc<EndpointUrl>,
    /// All headers but `Host` and `Content-Length`, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// The deadline, counted from the call: look-up, connection, TLS, request and answer head together.
    pub timeout: Duration,
    /// Whether HTTP/2 is offered; HTTP/1.1 always is.
    pub http2: bool,
}

/// A request that could not even be tried: this machine had no file descriptor, memory or local port for a connection. That
/// says nothing about the receiver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Untried(
    /// What the system said.
    pub String,
);

/// Sends one request. Never follows a redirect, never retries: every failure of an attempt is an [`Outcome`].
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends `request` and waits for its outcome, at most a little longer than its deadline.
    ///
    /// # Errors
    /// [`Untried`]: nothing has left this machine, and no attempt was made.
    async fn send(&self, request: Outgoing) -> Result<Outcome, Untried>;
}

/// What a look at a URL found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The address that was dialled, or would have been.
    pub remote_address: Option<SocketAddr>,
    /// When the certificate ends, if one was shown that holds.
    pub certificate_ends_at: Option<Timestamp>,
    /// What answered, or why nothing did.
    pub result: Result<Seen, Failure>,
}

/// The head of an answer to a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The status code, 200–599.
    pub status: u16,
    /// Where it leads elsewhere, as it was written.
    pub location: Option<String>,
}

/// Looks names up, judges addresses, and looks at what answers, when a URL is saved or checked.
#[async_trait]
pub trait Names: Send + Sync {
    /// All addresses of `name`.
    ///
    /// # Errors
    /// [`ErrorCode::DnsNotFound`], [`ErrorCode::DnsTimeout`] (nothing within `within`) or [`ErrorCode::DnsFailed`].
    async fn resolve(&self, name: &str, within: Duration) -> Result<Vec<IpAddr>, ErrorCode>;

    /// Why `address` may not be dialled; `None` if it may.
    fn refusal(&self, address: IpAddr) -> Option<&'static str>;

    /// Whether `address` lies in a range that the operator opened.
    fn opened(&self, address: IpAddr) -> bool;

    /// Connects to `url` as an attempt would, and asks for the head of an answer alone (`HEAD`), with these headers. Never
    /// follows a redirect, and dials no address that an attempt would not.
    async fn look(&self, url: &EndpointUrl, headers: &[(String, String)], within: Duration) -> Look;

    /// When the certificate ends that was shown at the last handshake with `url`'s origin, attempts and looks alike; `None`
    /// if this process has made none.
    fn certificate_ends_at(&self, url: &EndpointUrl) -> Option<Timestamp>;
}
