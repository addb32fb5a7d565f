//! The local certificate authority of the inbox: made once, kept beside the data, trusted by this dispatcher alone.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// The authority's certificate, for `curl --cacert` and for the dispatcher.
const CERTIFICATE: &str = "inbox-ca.pem";
/// The authority's key, mode 0600.
const KEY: &str = "inbox-ca.key";

/// The authority at work.
pub(crate) struct Authority {
    /// Where its certificate lies.
    pub(crate) certificate: PathBuf,
    /// What takes TLS connections for `localhost` with a certificate of this authority.
    pub(crate) acceptor: TlsAcceptor,
}

/// The authority kept in `data`; it is made if there is none, or if what is there cannot be read.
///
/// # Errors
/// When it cannot be made or kept.
pub(crate) fn open(data: &Path) -> io::Result<Authority> {
    let (certificate, key) = (data.join(CERTIFICATE), data.join(KEY));
    let pair = match std::fs::read_to_string(&key).ok().and_then(|pem| KeyPair::from_pem(&pem).ok()) {
        Some(pair) => pair,
        None => make_key(&key)?,
    };
    let params = authority_params();
    if !certificate.exists() {
        std::fs::write(&certificate, params.self_signed(&pair).map_err(io::Error::other)?.pem())?;
    }
    let acceptor = acceptor(&Issuer::from_params(&params, pair))?;
    Ok(Authority { certificate, acceptor })
}

fn make_key(path: &Path) -> io::Result<KeyPair> {
    let pair = KeyPair::generate().map_err(io::Error::other)?;
    crate::private_file::replace(path, pair.serialize_pem().as_bytes())?;
    // A certificate of another key must not stay behind.
    match std::fs::remove_file(path.with_file_name(CERTIFICATE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(pair),
    }
}

/// The same at every start, so that certificates issued later chain to the certificate on disk.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "posthaste dev inbox authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn acceptor(issuer: &Issuer<'_, KeyPair>) -> io::Result<TlsAcceptor> {
    let mut params = CertificateParams::new(["localhost".to_owned()]).map_err(io::Error::other)?;
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    params.subject_alt_names.extend(loopback.map(SanType::IpAddress));
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let pair = KeyPair::generate().map_err(io::Error::other)?;
    let leaf: CertificateDer<'static> = params.signed_by(&pair, issuer).map_err(io::Error::other)?.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(vec![leaf], key))
        .map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
