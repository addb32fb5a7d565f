//! TLS to the database: rustls, under the driver's seam.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as Stream;

use super::address::{Address, Certificate};
use super::fault::Fault;

/// Makes TLS connections.
#[derive(Clone)]
pub(super) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// As an address has it.
    pub(super) fn of(address: &Address) -> Result<Self, Fault> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let refused = |error: &dyn std::fmt::Display| Fault::Refused(format!("TLS cannot be used: {error}"));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(&error))?;
        let config = if address.is_encrypted() && address.certificate == Certificate::Checked {
            let mut roots = RootCertStore::empty();
            let mut named = Vec::new();
            match &address.roots {
                Some(file) => {
                    let bad = |error: &dyn std::fmt::Display| {
                        refused(&format_args!("sslrootcert {}: {error}", file.display()))
                    };
                    for root in CertificateDer::pem_file_iter(file).map_err(|error| bad(&error))? {
                        let root = root.map_err(|error| bad(&error))?;
                        roots.add(root.clone()).map_err(|error| bad(&error))?;
                        named.push(root);
                    }
                    if roots.is_empty() {
                        return Err(bad(&"there is no certificate in it"));
                    }
                }
                None => {
                    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                    if roots.is_empty() {
                        let way = "install ca-certificates, or name a file by sslrootcert";
                        return Err(refused(&format_args!("the system has no root certificates: {way}")));
                    }
                }
            }
            let issuers = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| refused(&error))?;
            let trusted = Arc::new(TrustedCertificate { issuers, named });
            builder.dangerous().with_custom_certificate_verifier(trusted).with_no_client_auth()
        } else {
            let any = Arc::new(AnyCertificate(provider));
            builder.dangerous().with_custom_certificate_verifier(any).with_no_client_auth()
        };
        Ok(Self(Arc::new(config)))
    }
}

/// What the driver calls a handshake that came to nothing. It tells no more of its kinds of errors.
const HANDSHAKE: &str = "error performing TLS handshake";

/// How to mend a fault of TLS that stays until somebody does; `None` for any other fault, and for a connection that was lost meanwhile.
pub(super) fn mend(error: &tokio_postgres::Error) -> Option<&'static str> {
    let cause = std::error::Error::source(error)?;
    let Some(lost) = cause.downcast_ref::<io::Error>() else {
        let without = "have it speak TLS (ssl = on), or ask for none by sslmode=prefer or disable";
        return (error.to_string() == HANDSHAKE).then_some(without);
    };
    Some(of_handshake(lost.get_ref()?.downcast_ref()?))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library adds kinds; whatever is not told apart is an odd handshake"
)]
fn of_handshake(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "name the PEM file of the authority that has issued its certificate, by sslrootcert in the address"
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "name the host as its certificate does (in subjectAltName), or give it a certificate for this name",
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "renew its certificate, or set the clock that is wrong",
        rustls::Error::InvalidCertificate(_) => "give it a certificate that holds, with its chain",
        _ => "see to its TLS: 1.2 or newer is needed",
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Encrypted<S>;
    type TlsConnect = Connect;
    type Error = std::convert::Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<Connect, Self::Error> {
        Ok(Connect { connector: TlsConnector::from(Arc::clone(&self.0)), host: host.to_owned() })
    }
}

/// One TLS connection that is to be made.
pub(super) struct Connect {
    connector: TlsConnector,
    host: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Connect {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from(self.host).map_err(io::Error::other)?;
            Ok(Encrypted(Box::new(self.connector.connect(name, stream).await?)))
        })
    }
}

/// A stream over TLS.
pub(super) struct Encrypted<S>(Box<Stream<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}

/// Takes a certificate that a trusted issuer has signed for the host's name, as browsers do; and, as with libpq, the very certificate that
/// `sslrootcert` names, for its name and in its time: `openssl req -x509` makes one for a server that says of itself that it is an issuer's.
#[derive(Debug)]
struct TrustedCertificate {
    issuers: Arc<WebPkiServerVerifier>,
    /// What `sslrootcert` names.
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for TrustedCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.issuers.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // What it is used for is told after its time was looked at, in words that are the library's own.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_))) if self.named.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.issuers.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.issuers.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issuers.supported_verify_schemes()
    }
}

/// Takes any certificate: `sslmode=require` encrypts and does not ask whose it is, as with libpq. Nothing is read of it: to check by it that the
/// other side has its key would say nothing of who that is, and would refuse certificates of version 1, which `openssl x509 -req` makes.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
