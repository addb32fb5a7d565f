//! Connections to the server: plain, or TLS against the system's roots and the ones given.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use domain::attempt::ErrorCode;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use url::Url;

use crate::trusted;

/// How long a connection, TLS included, may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// The certificates that are trusted: the system's, and those of PEM files. They are read once; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roots {
    files: Arc<[PathBuf]>,
    config: Arc<OnceLock<Result<Arc<rustls::ClientConfig>, String>>>,
}

impl Roots {
    /// Those of these files, besides the system's.
    pub(crate) fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { files: files.into_iter().collect(), ..Self::default() }
    }

    /// Reads them, unless that was done.
    ///
    /// # Errors
    /// What is wrong with a file, and the way out.
    pub(crate) fn read(&self) -> Result<Arc<rustls::ClientConfig>, String> {
        self.config.get_or_init(|| tls(&self.files).map(Arc::new)).clone()
    }
}

/// Why it did not come to a connection.
#[derive(Debug)]
pub(crate) struct NotConnected {
    /// What kind of failure it is, in the words of attempts.
    pub(crate) code: ErrorCode,
    /// The system's own words.
    pub(crate) said: String,
}

impl NotConnected {
    fn new(code: ErrorCode, said: impl ToString) -> Self {
        Self { code, said: said.to_string() }
    }

    fn of_connect(error: &io::Error) -> Self {
        let known = [
            (io::ErrorKind::ConnectionRefused, ErrorCode::ConnectRefused),
            (io::ErrorKind::TimedOut, ErrorCode::ConnectTimeout),
            (io::ErrorKind::ConnectionReset, ErrorCode::ConnectionReset),
        ];
        let code = known.into_iter().find(|(kind, _)| *kind == error.kind()).map(|(_, code)| code);
        // The system's look-up has no kind of its own.
        Self::new(code.unwrap_or(ErrorCode::DnsFailed), error)
    }
}

/// Connects to the server of `base`.
///
/// # Errors
/// Why it did not come to a connection.
pub(crate) async fn connect(base: &Url, roots: &Roots) -> Result<SendRequest<Full<Bytes>>, NotConnected> {
    let connecting = async {
        let no_name = || NotConnected::new(ErrorCode::DnsFailed, "the URL has no host and port");
        let host = base.host_str().ok_or_else(no_name)?.trim_matches(['[', ']']);
        let port = base.port_or_known_default().ok_or_else(no_name)?;
        let stream = TcpStream::connect((host, port)).await.map_err(|error| NotConnected::of_connect(&error))?;
        stream.set_nodelay(true).map_err(|error| NotConnected::of_connect(&error))?;
        if base.scheme() == "http" {
            return greet(stream).await;
        }
        let tls_fault = |said: String| NotConnected::new(ErrorCode::TlsOther, said);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| tls_fault(error.to_string()))?;
        let connector = tokio_rustls::TlsConnector::from(roots.read().map_err(tls_fault)?);
        greet(connector.connect(name, stream).await.map_err(|error| tls_fault(error.to_string()))?).await
    };
    match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
        Ok(connected) => connected,
        Err(_) => {
            let said = format!("no connection within {} s", CONNECT_WITHIN.as_secs());
            Err(NotConnected::new(ErrorCode::ConnectTimeout, said))
        }
    }
}

async fn greet<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, NotConnected>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let greeted = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = greeted.map_err(|error| NotConnected::new(ErrorCode::ConnectionReset, error))?;
    // Ends with the last request; a fault of it shows in the answer.
    tokio::spawn(connection);
    Ok(sender)
}

fn tls(files: &[PathBuf]) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    files.iter().try_for_each(|file| trusted::add(file, &mut roots))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth())
}
