//! A certificate authority of the tests, and the certificates that a receiver may show, good and bad.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The names that a good certificate is for.
const NAMES: &str = "*.example.com";

/// What a receiver shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// A good certificate for `*.example.com` and `localhost`.
    Good,
    /// Signed by itself.
    SelfSigned,
    /// Signed by an intermediate authority that is not shown.
    IntermediateMissing,
    /// Its time has ended.
    Expired,
    /// For another name.
    OtherName,
    /// The name stands in the common name only.
    CommonNameOnly,
    /// Its authority may sign for other names only.
    ConstraintBroken,
    /// Good, with a chain of 1 MiB.
    HugeChain,
    /// Good, but the receiver demands a certificate of the client.
    ClientAsked,
}

/// The authority.
pub(crate) struct Authority {
    params: CertificateParams,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// Its certificate as PEM.
    pub(crate) pem: String,
}

impl Authority {
    /// A new authority.
    pub(crate) fn new() -> Self {
        let params = authority("posthaste tests");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Self { issuer: Issuer::new(params.clone(), key), params, certificate: der, pem }
    }

    /// Its certificate as a file in `folder`, for `--trust-ca`.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("tests-ca.pem");
        std::fs::write(&path, &self.pem).expect("the file is written");
        path
    }

    /// The TLS settings of a receiver that shows `leaf`.
    pub(crate) fn config(&self, leaf: Leaf) -> Arc<ServerConfig> {
        let key = KeyPair::generate().expect("a key");
        let good = || leaf_params(&[NAMES, "localhost"]);
        let chain = match leaf {
            Leaf::Good | Leaf::ClientAsked => vec![self.sign(&good(), &key)],
            Leaf::SelfSigned => vec![good().self_signed(&key).expect("a certificate").der().clone()],
            Leaf::IntermediateMissing => vec![below(&self.intermediate(None).0, &good(), &key)],
            Leaf::Expired => {
                let mut params = good();
                params.not_before = rcgen::date_time_ymd(2020, 1, 1);
                params.not_after = rcgen::date_time_ymd(2021, 1, 1);
                vec![self.sign(&params, &key)]
            }
            Leaf::OtherName => vec![self.sign(&leaf_params(&["other.example.org"]), &key)],
            Leaf::CommonNameOnly => {
                let mut params = leaf_params(&[]);
                params.distinguished_name.push(DnType::CommonName, "r065.example.com");
                vec![self.sign(&params, &key)]
            }
            Leaf::ConstraintBroken => {
                let allowed = vec![GeneralSubtree::DnsName("example.org".to_owned())];
                let (issuer, certificate) = self.intermediate(Some(allowed));
                vec![below(&issuer, &good(), &key), certificate]
            }
            Leaf::HugeChain => {
                let mut chain = vec![self.sign(&good(), &key)];
                chain.extend((0..16).map(|_| self.bulky()));
                chain
            }
        };
        self.serving(chain, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())), leaf)
    }

    /// The TLS settings of a receiver whose chain is signed with SHA-1, made by the `openssl` command; `None` where there
    /// is none that still does that.
    pub(crate) fn sha1_config(&self, folder: &Path) -> Option<Arc<ServerConfig>> {
        let run = |arguments: &str| {
            let run = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
            run.is_ok_and(|output| output.status.success())
        };
        std::fs::write(folder.join("sha1-ca.key"), self.issuer.key().serialize_pem()).ok()?;
        std::fs::write(folder.join("sha1-ca.pem"), &self.pem).ok()?;
        std::fs::write(folder.join("sha1.ext"), "subjectAltName=DNS:*.example.com").ok()?;
        let made = run("req -newkey rsa:2048 -nodes -subj /CN=sha1 -keyout sha1.key -out sha1.csr")
            && run(
                "x509 -req -sha1 -days 9 -in sha1.csr -CA sha1-ca.pem -CAkey sha1-ca.key -CAcreateserial -extfile sha1.ext -out sha1.pem",
            );
        if !made {
            return None;
        }
        let chain = vec![CertificateDer::from_pem_file(folder.join("sha1.pem")).ok()?];
        Some(self.serving(chain, PrivateKeyDer::from_pem_file(folder.join("sha1.key")).ok()?, Leaf::Good))
    }

    /// A good certificate and its key as one PEM file in `folder`, for a receiver that is another program.
    pub(crate) fn pem_file(&self, folder: &Path) -> PathBuf {
        let key = KeyPair::generate().expect("a key");
        let certificate = leaf_params(&[NAMES, "localhost"]).signed_by(&key, &self.issuer).expect("a certificate");
        let path = folder.join("receiver.pem");
        std::fs::write(&path, certificate.pem() + &key.serialize_pem()).expect("the file is written");
        path
    }

    /// A certificate that is its own authority's, for `localhost`, as `openssl req -x509` makes it, and with its key: two PEM files in
    /// `folder`. Its time ends in the given year.
    pub(crate) fn own(folder: &Path, until: i32) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let (alone, with_key) =
            (folder.join(format!("own-{until}.pem")), folder.join(format!("own-{until}-and-key.pem")));
        std::fs::write(&alone, &pem).expect("the file is written");
        std::fs::write(&with_key, pem + &key.serialize_pem()).expect("the file is written");
        (alone, with_key)
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> CertificateDer<'static> {
        below(&self.issuer, params, key)
    }

    fn intermediate(
        &self,
        allowed: Option<Vec<GeneralSubtree>>,
    ) -> (Issuer<'static, KeyPair>, CertificateDer<'static>) {
        let mut params = authority("posthaste tests, below");
        params.name_constraints =
            allowed.map(|permitted_subtrees| NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
        let key = KeyPair::generate().expect("a key");
        let certificate = self.sign(&params, &key);
        (Issuer::new(params, key), certificate)
    }

    /// A certificate of about 64 KiB.
    fn bulky(&self) -> CertificateDer<'static> {
        let mut params = self.params.clone();
        let extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55_555, 1], vec![0; 64 * 1024]);
        params.custom_extensions = vec![extension];
        self.sign(&params, &KeyPair::generate().expect("a key"))
    }

    fn serving(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        leaf: Leaf,
    ) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the versions that the provider knows");
        let builder = if leaf == Leaf::ClientAsked {
            builder.with_client_cert_verifier(self.client_verifier(provider))
        } else {
            builder.with_no_client_auth()
        };
        Arc::new(builder.with_single_cert(chain, key).expect("a chain and its key"))
    }

    fn client_verifier(&self, provider: Arc<CryptoProvider>) -> Arc<dyn rustls::server::danger::ClientCertVerifier> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a root");
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("a verifier")
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn below(issuer: &Issuer<'_, KeyPair>, params: &CertificateParams, key: &KeyPair) -> CertificateDer<'static> {
    params.signed_by(key, issuer).expect("a certificate").der().clone()
}

#[cfg(test)]
mod tests {
    use rustls::{CertificateError, ClientConfig};
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::receiver::{Receiver, Script, status};

    /// What a client that trusts the authority says of a receiver.
    async fn judged(authority: &Authority, config: Arc<ServerConfig>) -> Result<(), rustls::Error> {
        let receiver = Receiver::start(Script::answering(Some(config), status(200))).await;
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the versions that the provider knows")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(receiver.address).await.expect("a connection");
        let name = "r065.example.com".try_into().expect("a name");
        match TlsConnector::from(Arc::new(client)).connect(name, stream).await {
            Ok(_connected) => Ok(()),
            Err(error) => Err(error.downcast::<rustls::Error>().expect("a fault of TLS")),
        }
    }

    #[tokio::test]
    async fn each_certificate_has_its_fault_and_no_other() {
        let authority = Authority::new();
        let fault = async |leaf| match judged(&authority, authority.config(leaf)).await {
            Ok(()) => "none".to_owned(),
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(error))) => error.to_string(),
            Err(error) => format!("{error:?}"),
        };
        assert_eq!(fault(Leaf::Good).await, "none");
        assert!(fault(Leaf::SelfSigned).await.contains("UnknownIssuer"));
        assert!(fault(Leaf::IntermediateMissing).await.contains("UnknownIssuer"));
        assert!(fault(Leaf::Expired).await.contains("Expired"));
        assert!(fault(Leaf::OtherName).await.contains("NotValidForName"));
        assert!(fault(Leaf::CommonNameOnly).await.contains("NotValidForName"));
        assert!(fault(Leaf::ConstraintBroken).await.contains("NameConstraint"));
        assert!(fault(Leaf::HugeChain).await.contains("HandshakePayloadTooLarge"));
        let folder = tempfile::tempdir().expect("a folder");
        if let Some(config) = authority.sha1_config(folder.path()) {
            let said = judged(&authority, config).await.expect_err("no client takes SHA-1");
            assert!(format!("{said:?}").contains("Signature"), "{said:?}");
        }
    }
}
