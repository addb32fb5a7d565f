//! The built-in inbox of `posthaste dev`: a test receiver over HTTPS that checks each signature, keeps what came, and
//! answers as it is told.

pub(crate) mod answer;
pub(crate) mod authority;
mod in_dashboard;
mod log;
mod routes;
mod verdict;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::time::Clock;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use answer::Answer;
use log::Log;
pub(crate) use verdict::{Signers, Verdict};

/// What signs for a webhook now, by its id; `None` for one that is not known.
pub(crate) type KnownSigners = Arc<dyn Fn(&str) -> Option<Signers> + Send + Sync>;

/// The address of a box.
pub(crate) fn url(port: u16, name: &str) -> String {
    format!("https://localhost:{port}/inbox/{name}")
}

/// The inbox: boxes by name.
pub(crate) struct Inbox {
    boxes: BTreeMap<String, Mutex<Log>>,
    signers: KnownSigners,
    signature_header: String,
    headers_start: String,
    port: u16,
    clock: Arc<dyn Clock>,
}

impl Inbox {
    /// An inbox with these boxes, reached on `port`. `prefix` is the brand's, such as `X-CronDB`.
    pub(crate) fn new(
        boxes: &[(&str, Answer)],
        port: u16,
        signers: KnownSigners,
        prefix: &str,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let boxes = boxes.iter().map(|(name, answer)| ((*name).to_owned(), Mutex::new(Log::new(*answer)))).collect();
        let prefix = prefix.to_ascii_lowercase();
        Self { boxes, signers, signature_header: format!("{prefix}-signature"), headers_start: prefix, port, clock }
    }

    /// What the inbox found when it checked this attempt's signature; `None` if the attempt did not come here.
    pub(crate) fn verdict(&self, delivery: &str, attempt: u16) -> Option<Verdict> {
        self.boxes.keys().find_map(|name| self.log(name)?.verdict(delivery, attempt))
    }

    fn log(&self, name: &str) -> Option<MutexGuard<'_, Log>> {
        Some(self.boxes.get(name)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes connections until the listener fails for good.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, tls: TlsAcceptor) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(Arc::clone(&self).converse(stream, tls.clone()));
                }
                Err(error) => {
                    // Out of descriptors, most likely: some are given back while we wait.
                    tracing::warn!(%error, "the inbox cannot take a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn converse(self: Arc<Self>, stream: TcpStream, tls: TlsAcceptor) {
        // A handshake or a connection that fails is the other side's to report: that side is what is tested here.
        let Ok(stream) = tls.accept(stream).await else { return };
        let service = service_fn(|request| {
            let inbox = Arc::clone(&self);
            async move { inbox.answer(request).await }
        });
        let mut server = http1::Builder::new();
        let _theirs_to_report = server.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
    }
}
