//! One server with the page's own settings, but for what loopback needs, and receivers for it.

use std::sync::Arc;

use crate::certificates::{Authority, Leaf};
use crate::dns::{Dns, Script as Names};
use crate::receiver::{Answer, Receiver, Script, Step};
use crate::room::{Room, start};
use crate::server::{Launch, Server};

/// The address that requests must come from.
pub(super) const SOURCE: &str = "127.0.0.2";

/// What the proofs share.
pub(super) struct Stage {
    /// The server: the page's schedule, time-out and brand, which are the defaults.
    pub(super) server: Server,
    tls: Arc<rustls::ServerConfig>,
}

impl Stage {
    pub(super) async fn set() -> Self {
        let dns = Dns::start().await;
        dns.fallback(Names::addresses("127.0.0.3"));
        let authority = Authority::new();
        let launch = Launch::new();
        let roots = authority.write(launch.folder());
        let launch = launch
            .flag("--resolver", dns.address)
            .flag("--trust-ca", roots.display())
            .flag("--allow-private", "127.0.0.3/32")
            .flag("--egress-ip", SOURCE);
        Self { server: start(launch).await, tls: authority.config(Leaf::Good) }
    }

    /// A receiver that always does the same.
    pub(super) async fn receiver(&self, steps: Vec<Step>) -> Receiver {
        self.choosing(Arc::new(move |_| steps.clone())).await
    }

    /// A receiver that chooses by the request.
    pub(super) async fn choosing(&self, answer: Answer) -> Receiver {
        Receiver::start_at("127.0.0.3:0", Script::choosing(Some(Arc::clone(&self.tls)), answer)).await
    }

    /// An account of its own.
    pub(super) async fn room(&self, name: &str) -> Room {
        Room::open(&self.server.api, name).await
    }
}

/// The URL of a receiver under a name.
pub(super) fn url(name: &str, receiver: &Receiver) -> String {
    format!("https://{name}.example.com:{}/hook", receiver.port())
}
