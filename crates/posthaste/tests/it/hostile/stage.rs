//! What all rows share: the name server, the authority, the servers, and rooms: an account of its own per row.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{Mutex, OnceCell};

use crate::certificates::{Authority, Leaf};
use crate::dns::{Dns, Script as Names};
use crate::receiver::{Receiver, Script, Step};
use crate::room::{Room, start};
use crate::server::{Launch, Server};

/// What the servers open where a row does not say otherwise: the "public" address of the tests, and a block for
/// answers with many addresses.
const PUBLIC: &str = "127.0.0.2/32,127.1.0.0/16";

/// A condition beside those of the table: the settings that a server has by default.
pub(super) const NOTHING_OPENED: &str = "nothing opened";

/// What all rows share.
pub(super) struct Stage {
    pub(super) dns: Dns,
    pub(super) authority: Authority,
    /// TLS with a good certificate.
    pub(super) tls: Arc<rustls::ServerConfig>,
    /// The server without special settings.
    pub(super) main: Arc<Server>,
    /// What `HTTPS_PROXY` of every server names.
    pub(super) proxy: Receiver,
    /// Servers by the condition that they were started for.
    others: Mutex<HashMap<String, Arc<Server>>>,
    /// How many rooms each row has had: a row that is played again has another.
    rooms: Mutex<HashMap<String, usize>>,
    /// Accounts a and b of the T rows, once made.
    pub(super) pair: OnceCell<super::routes::Pair>,
}

impl Stage {
    pub(super) async fn set() -> Self {
        let dns = Dns::start().await;
        dns.fallback(Names::addresses("127.0.0.2"));
        // Given for many a webhook, on servers that open nothing; no event is ever sent to it.
        dns.set("example.com", Names::addresses("93.184.215.14"));
        let authority = Authority::new();
        let proxy = Receiver::start_at("127.0.0.1:0", Script::answering(None, vec![Step::Close])).await;
        let main = Arc::new(start(launch(&dns, &authority, &proxy).flag("--allow-private", PUBLIC)).await);
        let tls = authority.config(Leaf::Good);
        let (others, rooms, pair) = (Mutex::default(), Mutex::default(), OnceCell::new());
        Self { dns, authority, tls, main, proxy, others, rooms, pair }
    }

    /// How a server is started that opens the "public" address.
    pub(super) fn launch(&self) -> Launch {
        launch(&self.dns, &self.authority, &self.proxy).flag("--allow-private", PUBLIC)
    }

    /// The same, with another name server.
    pub(super) fn launch_asking(&self, dns: &Dns) -> Launch {
        launch(dns, &self.authority, &self.proxy).flag("--allow-private", PUBLIC)
    }

    /// The server for a row's condition: the main one, or one with the settings that the condition names.
    pub(super) async fn server(&self, condition: &str) -> Arc<Server> {
        let settings = condition.split(';').next().unwrap_or_default().trim();
        let flags = match settings {
            "brand configured as X-Acme" => format!("--allow-private {PUBLIC} --brand Acme --header-prefix X-Acme"),
            NOTHING_OPENED => String::new(),
            settings if settings.starts_with("--") => settings.to_owned(),
            _ => return Arc::clone(&self.main),
        };
        let mut others = self.others.lock().await;
        if let Some(server) = others.get(&flags) {
            return Arc::clone(server);
        }
        let server = Arc::new(start(launch(&self.dns, &self.authority, &self.proxy).flags(&flags)).await);
        others.insert(flags, Arc::clone(&server));
        server
    }

    /// An account of its own for each play of a row, on the server of its condition.
    pub(super) async fn room(&self, row: &crate::table::Row) -> Room {
        let server = self.server(&row.condition).await;
        let mut account = row.id.to_ascii_lowercase();
        let mut rooms = self.rooms.lock().await;
        let before = rooms.entry(account.clone()).or_default();
        if *before > 0 {
            account = format!("{account}-{before}");
        }
        *before += 1;
        drop(rooms);
        Room::open(&server.api, &account).await
    }

    /// A receiver with a good certificate that always does the same.
    pub(super) async fn receiver(&self, steps: Vec<Step>) -> Receiver {
        Receiver::start(Script::answering(Some(Arc::clone(&self.tls)), steps)).await
    }
}

fn launch(dns: &Dns, authority: &Authority, proxy: &Receiver) -> Launch {
    let launch = Launch::new();
    let roots = authority.write(launch.folder());
    let proxy = format!("http://{}", proxy.address);
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
        .into_iter()
        .fold(launch, |launch, name| launch.environment(name, &proxy))
        .environment("NO_PROXY", "")
        .flag("--resolver", dns.address)
        .flag("--trust-ca", roots.display())
        // So long that nothing is tried again while the rows are played.
        .flag("--retry-schedule", "1h,2h")
        .flag("--jitter", "0")
}

/// A port of 127.0.0.1 and the same one of 127.0.0.2, both listened on: what is dialled there is seen.
pub(super) async fn two_receivers(tls: &Arc<rustls::ServerConfig>, steps: Vec<Step>) -> (Receiver, Receiver) {
    loop {
        let public = Receiver::start(Script::answering(Some(Arc::clone(tls)), steps.clone())).await;
        let private = format!("127.0.0.1:{}", public.port());
        // The port may be taken on the other address.
        if let Ok(listener) = TcpListener::bind(&private).await {
            drop(listener);
            return (public, Receiver::start_at(&private, Script::answering(Some(Arc::clone(tls)), steps)).await);
        }
    }
}
