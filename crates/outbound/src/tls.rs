//! TLS 1.2 and newer: whose certificates are trusted, and what it means when a handshake fails.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use domain::attempt::{ErrorCode, Failure};
use domain::endpoint_url::HostName;
use domain::time::Timestamp;
use rustls::client::Resumption;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, InvalidMessage, OtherError, PeerIncompatible, RootCertStore,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::network::BadSettings;

/// How many receivers' sessions are remembered, to be resumed.
const SESSIONS: usize = 4_096;
/// How many of a certificate's names a failure repeats.
const NAMES_SHOWN: usize = 5;

/// Makes handshakes.
pub(crate) struct Tls {
    http1: TlsConnector,
    http1_and_2: TlsConnector,
}

/// A finished handshake.
pub(crate) struct Handshake {
    pub(crate) stream: TlsStream<TcpStream>,
    /// Whether the peer chose HTTP/2.
    pub(crate) is_http2: bool,
}

impl Tls {
    /// Trusts the system's root certificates, or Mozilla's if it has none, and those in `extra`, files in PEM.
    ///
    /// # Errors
    /// [`BadSettings`].
    pub(crate) fn new(extra: &[Vec<u8>]) -> Result<Self, BadSettings> {
        let roots = Arc::new(roots(extra)?);
        let connector = |protocols: &[&[u8]]| {
            // The provider is named, so that no other crate's choice of a default can change it.
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(BadSettings::Tls)?
                .with_root_certificates(Arc::clone(&roots))
                .with_no_client_auth();
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            config.resumption = Resumption::in_memory_sessions(SESSIONS);
            Ok::<_, BadSettings>(TlsConnector::from(Arc::new(config)))
        };
        Ok(Self { http1: connector(&[b"http/1.1"])?, http1_and_2: connector(&[b"h2", b"http/1.1"])? })
    }

    /// Shakes hands with `host` over `tcp`.
    pub(crate) async fn shake_hands(
        &self,
        tcp: TcpStream,
        host: &HostName,
        offers_http2: bool,
    ) -> Result<Handshake, Failure> {
        let name = match host {
            HostName::Ip(ip) => ServerName::IpAddress((*ip).into()),
            HostName::Name(name) => ServerName::try_from(name.clone()).map_err(|error| other(&error.to_string()))?,
        };
        let connector = if offers_http2 { &self.http1_and_2 } else { &self.http1 };
        let stream = connector.connect(name, tcp).await.map_err(|error| {
            if is_fault(&error) {
                return failure(&error);
            }
            Failure { code: ErrorCode::ConnectionReset, detail: String::new() }
        })?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Handshake { stream, is_http2 })
    }
}

fn roots(extra: &[Vec<u8>]) -> Result<RootCertStore, BadSettings> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "a root certificate of the system cannot be read");
    }
    let (added, _) = roots.add_parsable_certificates(native.certs);
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for (file, pem) in extra.iter().enumerate() {
        let bad = |what: String| BadSettings::TrustCa { file, what };
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate =
                certificate.map_err(|error| bad(format!("a certificate in it cannot be read ({error})")))?;
            let added = roots.add(certificate);
            added.map_err(|error| bad(format!("a certificate in it cannot be a root ({error})")))?;
            count += 1;
        }
        if count == 0 {
            return Err(bad("it holds no certificate in PEM".to_owned()));
        }
    }
    Ok(roots)
}

/// Whether an error of a stream is TLS's own, rather than the connection's.
pub(crate) fn is_fault(error: &io::Error) -> bool {
    rustls_error(error).is_some()
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What an error of TLS means for the attempt. The detail has the form that `domain::explain` reads.
pub(crate) fn failure(error: &io::Error) -> Failure {
    let Some(error) = rustls_error(error) else { return other(&error.to_string()) };
    if let rustls::Error::InvalidCertificate(fault) = error {
        return certificate_failure(fault);
    }
    if is_about_versions(error) {
        return other("the peer offers no TLS 1.2 or newer");
    }
    if matches!(error, rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) {
        return other("what answered is not TLS");
    }
    other(&error.to_string())
}

fn is_about_versions(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)
            | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
            | rustls::Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion)
    )
}

fn other(detail: &str) -> Failure {
    Failure { code: ErrorCode::TlsOther, detail: detail.to_owned() }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library adds kinds; whatever is not told apart is `tls_other`")]
fn certificate_failure(fault: &CertificateError) -> Failure {
    let (code, detail) = match fault {
        CertificateError::ExpiredContext { not_after, .. } => (ErrorCode::TlsExpired, instant(*not_after)),
        CertificateError::NotValidYetContext { not_before, .. } => {
            (ErrorCode::TlsExpired, format!("from {}", instant(*not_before)))
        }
        CertificateError::Expired | CertificateError::NotValidYet => (ErrorCode::TlsExpired, String::new()),
        CertificateError::NotValidForNameContext { presented, .. } => (ErrorCode::TlsNameMismatch, names(presented)),
        CertificateError::NotValidForName => (ErrorCode::TlsNameMismatch, String::new()),
        CertificateError::UnknownIssuer => (ErrorCode::TlsUnknownIssuer, String::new()),
        // A self-signed certificate that calls itself an authority, as `openssl req -x509` makes them: the library
        // stops at the latter, but that nobody vouches for it is what its owner has to know.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            (ErrorCode::TlsUnknownIssuer, String::new())
        }
        fault => (ErrorCode::TlsOther, format!("the certificate does not hold: {}", words(fault))),
    };
    Failure { code, detail }
}

/// What is wrong with a certificate, where the library says no more than a name of its own code.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library adds kinds; what is no sentence is a name")]
fn words(fault: &CertificateError) -> String {
    let said = match fault {
        CertificateError::ExpiredRevocationListContext { .. } => return fault.to_string(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            return "it is not for servers (extended key usage)".to_owned();
        }
        // The library takes no shorter keys of RSA, and does not tell them from signatures that are wrong.
        CertificateError::BadSignature => {
            return "a signature does not hold, or its RSA key has less than 2048 bits".to_owned();
        }
        CertificateError::Other(OtherError(inside)) => format!("{inside:?}"),
        other => format!("{other:?}"),
    };
    match said.split(|character: char| !character.is_ascii_alphanumeric()).next().unwrap_or_default() {
        "NameConstraintViolation" => {
            "an authority of its chain may not issue certificates for this name (name constraint)".to_owned()
        }
        name => spelled(name),
    }
}

/// `BadSignature` as `bad signature`.
fn spelled(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    for character in name.chars() {
        if character.is_ascii_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.push(character.to_ascii_lowercase());
    }
    out
}

fn instant(time: UnixTime) -> String {
    Timestamp(0).plus(Duration::from_secs(time.as_secs())).to_string()
}

/// The names of a certificate that a server can have, as many as fit into a sentence: no e-mail addresses and the like. The library
/// writes `DnsName("a.example.com")` and `IpAddress(192.0.2.7)`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inside = name.strip_prefix("DnsName(\"").and_then(|rest| rest.strip_suffix("\")"));
        let inside = inside.or_else(|| name.strip_prefix("IpAddress(").and_then(|rest| rest.strip_suffix(')')));
        inside.map(str::to_owned)
    };
    let mut shown: Vec<String> = presented.iter().filter_map(bare).take(NAMES_SHOWN + 1).collect();
    if shown.len() > NAMES_SHOWN {
        shown.truncate(NAMES_SHOWN);
        shown.push("…".to_owned());
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_in_words() {
        #[derive(Debug, thiserror::Error)]
        #[error("{self:?}")]
        enum Odd {
            NameConstraintViolation,
            TrailingData(u8),
        }
        let other = |odd| CertificateError::Other(OtherError(Arc::new(odd)));
        for (fault, said) in [
            (CertificateError::BadSignature, "a signature does not hold, or its RSA key has less than 2048 bits"),
            (CertificateError::InvalidPurpose, "it is not for servers (extended key usage)"),
            (CertificateError::BadEncoding, "bad encoding"),
            (other(Odd::TrailingData(7)), "trailing data"),
            (
                other(Odd::NameConstraintViolation),
                "an authority of its chain may not issue certificates for this name (name constraint)",
            ),
        ] {
            let Failure { code, detail } = certificate_failure(&fault);
            assert_eq!((code, detail), (ErrorCode::TlsOther, format!("the certificate does not hold: {said}")));
        }
    }
}
