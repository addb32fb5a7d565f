//! Wiring: the store, the network, the dispatcher and the API, put together and taken down again.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dispatch::Dispatch;
use domain::address::AddressRules;
use domain::catalogue::Catalogue;
use domain::directory::SharedDirectory;
use domain::endpoint_url::UrlRules;
use domain::in_flight::InFlight;
use domain::key::hash_key;
use domain::policy::Policy;
use domain::store::{Fact, Store};
use domain::time::Clock;
use domain::trace::Tracer;
use domain::waiting::Waiting;
use outbound::{BadSettings, Network};
use server::{App, Carrier, Dashboard, DashboardFile, Health, Listening, Live, Outside, ShownSetting};
use store::postgres::Whose;
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

use crate::clock::SystemClock;
use crate::exit::Stop;
use crate::keeping::{Kept, Opening, Place};
use crate::service_manager::ServiceManager;
use crate::settings::resolved::Shown;
use crate::settings::{BadSetting, Settings};
use crate::sharing::Shared;
use crate::{chance, encryption_key, figures, trusted, watchdog};

/// How long the attempts in flight, and the answers under way, may take to end.
const DRAIN_WITHIN: Duration = Duration::from_secs(7);

/// What a service is started with.
pub(crate) struct Start<'a> {
    /// The settings.
    pub(crate) settings: &'a Settings,
    /// Where everything is kept.
    pub(crate) place: &'a Place,
    /// The key that encrypts at rest.
    pub(crate) key: &'a [u8; 32],
    /// Where the API is to be served.
    pub(crate) listener: TcpListener,
    /// Filled by the store.
    pub(crate) directory: SharedDirectory,
    /// Who else wants to know what is committed.
    pub(crate) tap: Option<UnboundedSender<Fact>>,
    /// Who wants to know that it works.
    pub(crate) manager: ServiceManager,
    /// Who collects traces.
    pub(crate) tracer: Option<Arc<dyn Tracer>>,
    /// The test receiver of `dev`.
    pub(crate) inbox: Option<Arc<dyn server::Inbox>>,
}

/// A running service.
pub(crate) struct Service {
    /// Where the API listens.
    pub(crate) address: SocketAddr,
    /// Where everything is kept.
    pub(crate) store: Arc<dyn Store>,
    kept: Kept,
    /// Accounts, webhooks and keys.
    pub(crate) directory: SharedDirectory,
    /// The types of events.
    pub(crate) catalogue: Arc<Catalogue>,
    dispatch: Arc<Dispatch>,
    stop: watch::Sender<bool>,
    serving: Vec<JoinHandle<()>>,
    failure: watch::Receiver<Option<String>>,
    watching: JoinHandle<()>,
}

/// Starts everything; once this returns, requests are answered.
///
/// # Errors
/// The setting with which it cannot be started.
pub(crate) async fn start(start: Start<'_>) -> Result<Service, Stop> {
    let Start { settings, place, key, listener, directory, tap, inbox, manager, tracer } = start;
    let catalogue = Arc::new(catalogue(settings)?);
    let network = Arc::new(network(settings)?);
    let metrics = metrics_listener(settings)?;
    let address = listener.local_addr().map_err(|error| BadSetting::new("listen", error.to_string()))?;
    let clock = Arc::new(SystemClock);
    let live = Live::new(clock.now());
    let (feed, facts) = dispatch::feed();
    let (failed, failure) = watch::channel(None);
    let (live_hook, feed_hook) = (live.clone(), feed.clone());
    let shared = Shared::of(place, settings, address.port(), &feed)?;
    let (shared_hook, directory_hook) = (shared.clone(), directory.clone());
    let facts_hook = move |facts: Vec<Fact>, whose| {
        if let Some(shared) = shared_hook.as_ref().filter(|_| whose == Whose::Ours) {
            shared.tell_owners(&facts, &directory_hook);
        }
        live_hook.publish(&facts);
        if let Some(tap) = &tap {
            for fact in &facts {
                // Who tapped may have gone: then nobody wants to know.
                let _gone = tap.send(fact.clone());
            }
        }
        feed_hook.publish(facts);
    };
    let opening = Opening {
        settings,
        key,
        directory: directory.clone(),
        facts: Box::new(facts_hook),
        failed,
        holdings: shared.as_ref().map(Shared::holdings),
    };
    let (kept, known) = Kept::open(place, opening).await?;
    let store = kept.store();
    if let Some(chronicle) = kept.chronicle() {
        live.follow(chronicle);
    }
    feed.publish(known);
    let policy = Arc::new(settings.policy.clone());
    let in_flight = InFlight::default();
    let carrier = Carrier::new(network.clone(), u32::from_le_bytes(chance::bytes()))
        .of_node(shared.as_ref().map(Shared::holdings));
    let dispatch = Arc::new(dispatch::start(
        dispatch::Parts {
            policy: Arc::clone(&policy),
            store: store.clone(),
            directory: directory.clone(),
            transport: Arc::new(carrier.clone()),
            clock: clock.clone(),
            in_flight: in_flight.clone(),
            tracer: tracer.clone(),
            seed: u64::from_le_bytes(chance::bytes()),
            sharing: shared.as_ref().zip(kept.arrivals()).map(|(shared, arrivals)| shared.sharing(arrivals)),
        },
        &feed,
        facts,
    ));
    let waiting: Arc<dyn Waiting> = Arc::new(feed);
    let health = Health::default();
    let held = shared.as_ref().map(Shared::holdings);
    let figures = Arc::new(figures::registry(kept.figures(), dispatch.gauges(), place.directory(), held));
    let directory_of_data = place.directory().map(Path::to_owned);
    let of_store = kept.figures();
    let disk: Arc<dyn Fn() -> server::Disk + Send + Sync> =
        Arc::new(move || figures::disk(directory_of_data.as_deref(), &of_store));
    let listening = Listening {
        store: store.clone(),
        directory: directory.clone(),
        clock: clock.clone(),
        carrier: carrier.clone(),
    };
    let begun = listening.begin().await;
    begun.map_err(|error| Stop::failure(format!("A webhook that is listened to could not be paused: {error}.")))?;
    let outside = outside(settings, address)?;
    let ui = ui(settings, &outside);
    let app = || App {
        store: store.clone(),
        directory: directory.clone(),
        catalogue: Arc::clone(&catalogue),
        policy: Arc::<Policy>::clone(&policy),
        clock: clock.clone(),
        in_flight: in_flight.clone(),
        waiting: Arc::clone(&waiting),
        names: network.clone(),
        carrier: carrier.clone(),
        url_rules: url_rules(settings),
        egress: published(settings),
        outside: outside.clone(),
        trusted_proxies: settings.trusted_proxies.clone(),
        platform_key: settings.platform_key.as_ref().map(|key| hash_key(key)),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: encryption_key::shown(settings, place.directory()).iter().map(shown).collect(),
        live: live.clone(),
        cluster: shared.as_ref().map(Shared::cluster),
        health: health.clone(),
        disk: disk.clone(),
        figures: Arc::clone(&figures),
        tracer: tracer.clone(),
        inbox: inbox.clone(),
        dashboard: ui.clone(),
        random: Arc::new(chance::fill),
    };
    let (stop, stopped) = watch::channel(false);
    let asked = (Arc::clone(&dispatch), Arc::clone(&waiting));
    let watching = tokio::spawn(watchdog::watch(asked, kept.clone(), clock.clone(), health.clone(), manager));
    let mut serving = vec![tokio::spawn(server::serve(app(), listener, said(stopped.clone())))];
    if let Some(listener) = metrics {
        serving.push(tokio::spawn(server::serve_metrics(server::metrics_router(app()), listener, said(stopped))));
    }
    Ok(Service { address, store, kept, directory, catalogue, dispatch, stop, serving, failure, watching })
}

impl Service {
    /// Waits for the store to fail; why it did.
    pub(crate) async fn failed(&mut self) -> String {
        match self.failure.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            // The store has ended without a fault: it was told to.
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes no further request, lets what is under way end, and closes the store.
    pub(crate) async fn drain(self) {
        self.watching.abort();
        self.stop.send_replace(true);
        let ended = async {
            self.dispatch.drain().await;
            for serving in self.serving {
                if let Err(error) = serving.await {
                    tracing::error!(%error, "a part of the server has panicked");
                }
            }
        };
        if tokio::time::timeout(DRAIN_WITHIN, ended).await.is_err() {
            tracing::warn!("some attempts did not end in time; they are made again after the next start");
        }
        self.kept.stop().await;
    }
}

/// Ends when it is said that everything is to stop.
async fn said(mut stopped: watch::Receiver<bool>) {
    // An error means that whoever could have said it is gone.
    let _said = stopped.wait_for(|stopped| *stopped).await;
}

fn shown(setting: &Shown) -> ShownSetting {
    let (name, value) = (setting.name.to_owned(), setting.value.clone());
    ShownSetting { name, value, origin: setting.origin.to_string() }
}

fn catalogue(settings: &Settings) -> Result<Catalogue, BadSetting> {
    let Some(file) = &settings.catalogue else { return Ok(Catalogue::builtin()) };
    let bad = |said: String| BadSetting::new("catalogue", format!("{}: {said}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| bad(error.to_string()))?;
    Catalogue::parse(&text).map_err(|error| bad(error.to_string()))
}

/// The network as the settings have it.
///
/// # Errors
/// The setting that cannot be used.
pub(crate) fn network(settings: &Settings) -> Result<Network, Stop> {
    let read = |file: &std::path::PathBuf| trusted::read(file).map_err(|said| BadSetting::new("trust-ca", said));
    let parts = outbound::Settings {
        opened: settings.allow_private.clone(),
        resolver: settings.resolver,
        trust_ca: settings.trust_ca.iter().map(read).collect::<Result<_, _>>()?,
        egress: bound(settings),
        published: published(settings),
    };
    Network::new(parts).map_err(|error| match error {
        BadSettings::TrustCa { file, what } => {
            let said = settings.trust_ca.get(file).map(|file| trusted::unusable(file, &what));
            BadSetting::new("trust-ca", said.unwrap_or(what)).into()
        }
        // Its sentences start with the setting's flag.
        error @ (BadSettings::Egress { .. } | BadSettings::Resolver(_)) => Stop::usage(format!("Setting {error}")),
        error @ (BadSettings::Tls(_) | BadSettings::Interfaces(_)) => Stop::failure(format!("{error}.")),
    })
}

/// The addresses that requests are sent from.
fn bound(settings: &Settings) -> Vec<IpAddr> {
    settings.egress_ips.iter().map(|(bind, _)| *bind).collect()
}

/// The addresses as which receivers see us.
fn published(settings: &Settings) -> Vec<IpAddr> {
    settings.egress_ips.iter().map(|(_, public)| *public).collect()
}

fn url_rules(settings: &Settings) -> UrlRules {
    let own_host = settings.public_url.as_deref().and_then(|url| Url::parse(url).ok()?.host_str().map(str::to_owned));
    UrlRules {
        addresses: AddressRules {
            opened: settings.allow_private.clone(),
            own: [bound(settings), published(settings)].concat(),
        },
        allow_http: settings.allow_http,
        own_hosts: own_host.into_iter().collect(),
    }
}

/// The dashboard, and the path under which a browser reaches it.
fn ui(settings: &Settings, outside: &Outside) -> Dashboard {
    let file = |file: &dashboard::File| DashboardFile {
        path: file.path,
        media: file.media,
        plain: file.plain,
        gzip: file.gzip,
        brotli: file.brotli,
    };
    Dashboard {
        files: dashboard::FILES.iter().map(file).collect(),
        base: outside.folder(),
        portal_origins: settings.portal_origins.clone(),
    }
}

/// How this server is reached: as the settings say, or where it listens.
fn outside(settings: &Settings, address: SocketAddr) -> Result<Outside, BadSetting> {
    let here = match address.ip() {
        // An address that stands for all of this machine's is none that a browser can go to.
        ip if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        _ => address,
    };
    let url = settings.public_url.clone().unwrap_or_else(|| format!("http://{here}"));
    let bad = |error: url::ParseError| BadSetting::new("public-url", format!("{url:?} is no URL: {error}"));
    Ok(Outside::new(&Url::parse(&url).map_err(bad)?))
}

/// Listens on the address that a setting names.
pub(crate) fn listen(setting: &'static str, address: SocketAddr) -> Result<TcpListener, BadSetting> {
    server::bind(address).map_err(|error| {
        let kind = error.kind();
        let mend = if kind == std::io::ErrorKind::AddrInUse {
            ": another process listens there; end it, or name another port"
        } else if kind == std::io::ErrorKind::AddrNotAvailable {
            ": this machine has no such address; name one of its own, or 0.0.0.0 for all of them"
        } else if kind == std::io::ErrorKind::PermissionDenied {
            ": this user may not; name a port from 1024 on, or give the program CAP_NET_BIND_SERVICE"
        } else {
            ""
        };
        BadSetting::new(setting, format!("cannot listen on {address} ({error}){mend}"))
    })
}

fn metrics_listener(settings: &Settings) -> Result<Option<TcpListener>, BadSetting> {
    let Some(address) = settings.metrics_listen else { return Ok(None) };
    listen("metrics-listen", address).map(Some)
}
