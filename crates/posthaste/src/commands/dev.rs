//! `posthaste dev`: everything in one process, for somebody who sees it for the first time.

mod banner;
mod browser;
mod fresh;
mod lines;
mod ports;
mod seed;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use domain::directory::SharedDirectory;
use domain::id::EventId;
use domain::key_pair::KeyPair;
use domain::store::Fact;
use domain::time::Clock;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use crate::client::Client;
use crate::client::connect::Roots;
use crate::client::known::{self, Known};
use crate::clock::SystemClock;
use crate::commands::dashboard;
use crate::commands::serve::drain;
use crate::exit::{Ended, Stop};
use crate::inbox::answer::Answer;
use crate::inbox::{Inbox, KnownSigners, Signers, authority};
use crate::keeping::Place;
use crate::output::Console;
use crate::service_manager::ServiceManager;
use crate::settings::source::Environment;
use crate::settings::{self, BadSetting, Mode, Settings, Typed};
use crate::signals::Signals;
use crate::wiring::{self, Service};
use crate::{descriptors, embedded, encryption_key, logging, platform_key};

use banner::Banner;
use lines::Lines;

/// The type of the first sample event.
const SAMPLE: &str = "alert.domain_matched";
/// The boxes of the inbox, each with the name of the webhook that goes there.
const BOXES: [(&str, &str, Answer); 2] =
    [("demo", "Demo inbox", Answer::Ok), ("flaky", "Flaky inbox", Answer::FailTwice)];
/// After this long it is said what to do next, whatever the sample event does.
const NEXT_AFTER: Duration = Duration::from_secs(10);

/// What to start.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// No webhooks and no sample event
    #[arg(long)]
    no_seed: bool,
    /// Empty the store first
    #[arg(long)]
    fresh: bool,
    /// Send sample events all the time, such as 2/s
    #[arg(long, value_name = "RATE")]
    traffic: Option<seed::Rate>,
    /// Open the dashboard in a browser, signed in
    #[arg(long)]
    open: bool,
    /// Where the inbox listens
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8401")]
    inbox_listen: SocketAddr,
    #[command(flatten)]
    typed: Box<Typed>,
}

/// What runs.
struct Running {
    service: Service,
    inbox: Arc<Inbox>,
    facts: UnboundedReceiver<Fact>,
    client: Client,
    banner: Banner,
}

/// Runs it until Ctrl-C.
pub(crate) async fn run(options: Options, console: &Console, environment: &Environment) -> Ended {
    let began = Instant::now();
    let settings = settings::resolve(&options.typed, environment, Mode::Dev)?;
    logging::start(&settings, environment.is_plain());
    descriptors::raise(settings.policy.slots);
    let mut signals = Signals::listen().map_err(|error| Stop::failure(format!("Signals cannot be heard: {error}.")))?;
    let mut running = start(&options, settings).await?;
    running.banner.print(console);
    let sample = first_event(&options, &running).await?;
    // Only now it is true: the store answers, and the sample was taken.
    running.client.get("/readyz").await?;
    running.banner.ready(console, began.elapsed(), sample.as_ref().map(|(_, name)| &**name));
    if options.open && !browser::open(&running.banner.dashboard).await {
        console.talk("No browser could be opened from here: open the dashboard's link yourself.");
    }
    let sample = sample.map(|(event, _)| event);
    talk(&options, &mut running, sample, console, &mut signals).await?;
    console.talk("Stopping: attempts in flight may end.");
    drain(running.service, &mut signals).await
}

async fn start(options: &Options, mut settings: Settings) -> Result<Running, Stop> {
    let place = Place::of(&settings, Mode::Dev)?;
    let data = place.as_ref().and_then(Place::directory).map(Path::to_owned);
    let data = data.ok_or_else(|| BadSetting::new("data", "say where everything is to be kept"))?;
    embedded::may_be_there(&data)?;
    if options.fresh {
        fresh::empty(&data)?;
    }
    let unusable = |error| BadSetting::new("data", format!("{} cannot be used: {error}", data.display()));
    embedded::make(&data)?;
    let found = encryption_key::find(&settings, &data)?;
    let authority = authority::open(&data).map_err(unusable)?;
    settings.trust_ca.push(authority.certificate.clone());
    let directory = SharedDirectory::default();
    let in_use = |error| BadSetting::new("listen", format!("no port is free: {error}"));
    let inbox_bound = ports::bind(options.inbox_listen, Some(settings.listen.port())).map_err(in_use)?;
    let api = ports::bind(settings.listen, Some(options.inbox_listen.port())).map_err(in_use)?;
    let boxes: Vec<(&'static str, Answer)> = BOXES.iter().map(|(name, _, answer)| (*name, *answer)).collect();
    let prefix = &settings.policy.brand.header_prefix;
    let inbox = Arc::new(Inbox::new(
        &boxes,
        inbox_bound.address.port(),
        signers(directory.clone()),
        prefix,
        Arc::new(SystemClock),
    ));
    if let Some(listener) = ports::also_v6(&inbox_bound) {
        tokio::spawn(Arc::clone(&inbox).serve(listener, authority.acceptor.clone()));
    }
    tokio::spawn(Arc::clone(&inbox).serve(inbox_bound.listener, authority.acceptor));
    let (tap, facts) = unbounded_channel();
    let service = wiring::start(wiring::Start {
        settings: &settings,
        place: &Place::Directory(data.clone()),
        key: &found.key,
        listener: api.listener,
        directory,
        tap: Some(tap),
        manager: ServiceManager::none(),
        tracer: None,
        inbox: Some(inbox.clone()),
    })
    .await?;
    let key = key(&settings, &service, &data).await?;
    let url = format!("http://{}", service.address);
    Known { url: url.clone(), key: key.to_string() }.write(&data).map_err(unusable)?;
    let base = Url::parse(&url).map_err(|error| Stop::failure(format!("{url} is no URL: {error}")))?;
    let client = Client::new(base, Some(key.clone()), Roots::default());
    let banner = Banner {
        dashboard: dashboard::link(&client).await?,
        schedule: settings.policy.retry_schedule.clone(),
        api: service.address,
        api_taken: api.taken,
        key: key.to_string(),
        inbox: inbox_bound.address.port(),
        inbox_taken: inbox_bound.taken,
        boxes,
        authority: authority.certificate,
        known: known::is_here(&data),
        data,
        key_made: found.made,
    };
    Ok(Running { service, inbox, facts, client, banner })
}

/// The key of the settings, the one of the last run, or a new one.
async fn key(settings: &Settings, service: &Service, data: &Path) -> Result<Zeroizing<String>, Stop> {
    if let Some(key) = &settings.platform_key {
        return Ok(key.clone());
    }
    let now = SystemClock.now();
    match Known::read(data).map(|known| Zeroizing::new(known.key)) {
        Some(key) if platform_key::is_valid(&service.directory, &key, now) => Ok(key),
        Some(_) | None => platform_key::make(&*service.store, "dev", now).await,
    }
}

/// The inbox checks signatures with what signs: secrets and key pairs, the new ones and the old.
fn signers(directory: SharedDirectory) -> KnownSigners {
    Arc::new(move |id: &str| {
        let (now, directory) = (SystemClock.now(), directory.read());
        let secrets = &directory.webhooks().find(|webhook| webhook.id.as_str() == id)?.secrets;
        Some(Signers {
            secrets: secrets.overlapping(now).into_iter().chain([&secrets.current]).cloned().collect(),
            keys: secrets.pairs_at(now).map(KeyPair::public).collect(),
        })
    })
}

/// Makes the webhooks and sends the sample, unless nothing is wanted: its id and its type.
async fn first_event(options: &Options, running: &Running) -> Result<Option<(EventId, Arc<str>)>, Stop> {
    if options.no_seed {
        return Ok(None);
    }
    for (name, title, _) in BOXES {
        seed::webhook(&running.client, title, &running.banner.inbox_url(name)).await?;
    }
    let types = &running.service.catalogue;
    // An operator's catalogue may have taken the place of the built-in one.
    let Some(event_type) = types.get(SAMPLE).or_else(|| types.types().first()) else { return Ok(None) };
    let id = seed::sample(&running.client, event_type).await?;
    Ok(id.parse().ok().map(|id| (id, Arc::clone(&event_type.name))))
}

/// A line for each attempt, until a signal.
async fn talk(
    options: &Options,
    running: &mut Running,
    sample: Option<EventId>,
    console: &Console,
    signals: &mut Signals,
) -> Result<(), Stop> {
    let Running { service, inbox, facts, client, banner } = running;
    let mut lines = Lines::new(service.store.clone(), service.directory.clone(), Arc::clone(inbox));
    let catalogue = Arc::clone(&service.catalogue);
    let traffic = async {
        match options.traffic {
            Some(rate) => seed::traffic(client, &catalogue, rate, console).await,
            None => std::future::pending().await,
        }
    };
    let mut traffic = std::pin::pin!(traffic);
    let mut next = std::pin::pin!(tokio::time::sleep(if sample.is_some() { NEXT_AFTER } else { Duration::ZERO }));
    let (mut waiting, mut said) = (BOXES.len(), false);
    loop {
        tokio::select! {
            () = signals.next() => return Ok(()),
            why = service.failed() => return Err(Stop::failure(format!("The store has failed; start again to recover: {why}."))),
            () = &mut traffic => {}
            () = &mut next, if !said => { banner.next(console); said = true; }
            Some(fact) = facts.recv() => {
                let ended = lines.say(&fact, console).await;
                if ended.is_some_and(|delivery| Some(delivery.event) == sample) {
                    waiting = waiting.saturating_sub(1);
                }
                if waiting == 0 && !said { banner.next(console); said = true; }
            }
        }
    }
}
