//! The way out: what the operator set, put together once, and used by all.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use domain::address::IpRange;
use domain::attempt::{ErrorCode, Outcome};
use domain::endpoint_url::EndpointUrl;
use domain::seldom::Seldom;
use domain::time::Timestamp;
use domain::transport::{Look, Names, Outgoing, Transport, Untried};
use tokio::time::Instant;

use crate::attempt::attempt;
use crate::certificate_ends::CertificateEnds;
use crate::dial::Dialler;
use crate::guard::Guard;
use crate::http2::Http2;
use crate::look::look;
use crate::pool::{Pool, WAITING_MAX};
use crate::resolver::Resolver;
use crate::tls::Tls;

/// How often connections are let go that the peer has closed, or that are too old.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// What the operator set.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Ranges that may be dialled though they are not public (`--allow-private`).
    pub opened: Vec<IpRange>,
    /// The DNS server to ask instead of the system's (`--resolver`).
    pub resolver: Option<SocketAddr>,
    /// Extra root certificates (`--trust-ca`): the bytes of files in PEM.
    pub trust_ca: Vec<Vec<u8>>,
    /// The addresses that sockets are bound to (`--egress-ip`); any if empty.
    pub egress: Vec<IpAddr>,
    /// The addresses as which receivers see those of `egress`, behind a translation: this machine's own, too.
    pub published: Vec<IpAddr>,
}

/// A setting with which nothing could be sent; the text names it.
#[derive(Debug, thiserror::Error)]
pub enum BadSettings {
    /// A root certificate cannot be used.
    #[error("--trust-ca: file {file}: {what}")]
    TrustCa {
        /// The place of its file in [`Settings::trust_ca`], from 0.
        file: usize,
        /// What is wrong with it.
        what: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
    /// This machine does not have the address.
    #[error("--egress-ip: {address} cannot be sent from: {error}")]
    Egress {
        /// The address.
        address: IpAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The resolver cannot be set up.
    #[error("--resolver: {0}")]
    Resolver(String),
    /// This machine's addresses cannot be listed, so that they could not be guarded.
    #[error("the addresses of this machine cannot be listed: {0}")]
    Interfaces(std::io::Error),
}

/// Sends requests and looks names up. Cheap to clone; all clones share connections and look-ups.
#[derive(Clone)]
pub struct Network(Arc<Inner>);

/// The parts of a network.
pub(crate) struct Inner {
    pub(crate) guard: Arc<Guard>,
    pub(crate) resolver: Resolver,
    pub(crate) dialler: Dialler,
    pub(crate) tls: Tls,
    pub(crate) pool: Pool,
    pub(crate) http2: Http2,
    pub(crate) certificate_ends: CertificateEnds,
    /// Attempts that could not be made.
    pub(crate) untried: Seldom,
}

impl Network {
    /// Sets everything up. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The setting with which nothing could be sent.
    pub fn new(settings: Settings) -> Result<Self, BadSettings> {
        let Settings { opened, resolver, trust_ca, egress, published } = settings;
        for address in &egress {
            std::net::TcpListener::bind((*address, 0))
                .map_err(|error| BadSettings::Egress { address: *address, error })?;
        }
        let guard = Arc::new(Guard::new(opened, &[&egress[..], &published].concat()).map_err(BadSettings::Interfaces)?);
        let resolver =
            Resolver::new(resolver, Arc::clone(&guard)).map_err(|error| BadSettings::Resolver(error.to_string()))?;
        let tls = Tls::new(&trust_ca)?;
        let dialler = Dialler::new(&egress);
        let (pool, http2, certificate_ends) = (Pool::new(WAITING_MAX), Http2::default(), CertificateEnds::default());
        let inner = Arc::new(Inner {
            guard,
            resolver,
            dialler,
            tls,
            pool,
            http2,
            certificate_ends,
            untried: Seldom::default(),
        });
        tokio::spawn(keep_swept(Arc::downgrade(&inner)));
        Ok(Self(inner))
    }

    /// How many HTTP/1.1 connections wait for a request.
    #[must_use]
    pub fn waiting_connections(&self) -> usize {
        self.0.pool.len()
    }
}

/// Sweeps every now and then, for as long as the network is in use.
async fn keep_swept(network: Weak<Inner>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(network) = network.upgrade() else { return };
        let now = Instant::now();
        network.pool.sweep(now);
        network.http2.sweep(now);
    }
}

#[async_trait]
impl Transport for Network {
    async fn send(&self, request: Outgoing) -> Result<Outcome, Untried> {
        attempt(&self.0, &request).await
    }
}

#[async_trait]
impl Names for Network {
    async fn resolve(&self, name: &str, within: Duration) -> Result<Vec<IpAddr>, ErrorCode> {
        match tokio::time::timeout(within, self.0.resolver.addresses(name)).await {
            Ok(Ok(answer)) => Ok(answer.addresses),
            Ok(Err(stop)) => Err(stop.failure(ErrorCode::DnsFailed).code),
            Err(_) => Err(ErrorCode::DnsTimeout),
        }
    }

    fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        self.0.guard.refusal(address)
    }

    fn opened(&self, address: IpAddr) -> bool {
        self.0.guard.opens(address)
    }

    async fn look(&self, url: &EndpointUrl, headers: &[(String, String)], within: Duration) -> Look {
        look(&self.0, url, headers, within).await
    }

    fn certificate_ends_at(&self, url: &EndpointUrl) -> Option<Timestamp> {
        self.0.certificate_ends.of(url)
    }
}
