//! `posthaste serve`: production.

use clap::Args;
use domain::directory::SharedDirectory;
use domain::time::Clock;
use serde_json::json;

use crate::clock::SystemClock;
use crate::exit::{Ended, Exit, Stop};
use crate::keeping::Place;
use crate::output::Console;
use crate::service_manager::ServiceManager;
use crate::settings::source::Environment;
use crate::settings::{self, BadSetting, Mode, Settings, Typed};
use crate::signals::Signals;
use crate::wiring::{self, Service};
use crate::{descriptors, embedded, encryption_key, logging, platform_key, traces};

/// Keys given by hand that are shorter than this are worth a warning.
const KEY_WISE: usize = 24;

/// The settings.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    typed: Box<Typed>,
}

/// Serves until a signal, or until the store fails.
pub(crate) async fn run(options: Options, console: &Console, environment: &Environment) -> Ended {
    let settings = settings::resolve(&options.typed, environment, Mode::Serve)?;
    let place = place(&settings)?;
    logging::start(&settings, environment.is_plain());
    descriptors::raise(settings.policy.slots);
    let mut signals = Signals::listen().map_err(|error| Stop::failure(format!("Signals cannot be heard: {error}.")))?;
    let manager = ServiceManager::of(environment);
    let mut service = start(&settings, &place, console, &manager).await?;
    let address = service.address;
    if console.json() {
        console.value(&json!({"listening": format!("http://{address}")}));
    } else {
        console.line(&format!("listening on http://{address}"));
    }
    manager.ready(&format!("listening on http://{address}"));
    tokio::select! {
        () = signals.next() => {}
        why = service.failed() => return Err(Stop::failure(format!("The store has failed; start again to recover: {why}."))),
    }
    manager.stopping();
    tracing::info!("stopping: attempts in flight may end");
    let ended = drain(service, &mut signals).await;
    traces::end().await;
    ended
}

/// Lets what is under way end; a second signal stops at once.
pub(super) async fn drain(service: Service, signals: &mut Signals) -> Ended {
    tokio::select! {
        () = service.drain() => Ok(Exit::Ok),
        () = signals.next() => Ok(Exit::Interrupted),
    }
}

/// Where everything is to be kept.
fn place(settings: &Settings) -> Result<Place, BadSetting> {
    Place::of(settings, Mode::Serve)?.ok_or_else(|| {
        BadSetting::new(
            "data",
            "say where everything is to be kept: --data DIR, POSTHASTE_DATA or data in posthaste.toml; \
             or in PostgreSQL: --database URL",
        )
    })
}

async fn start(
    settings: &Settings,
    place: &Place,
    console: &Console,
    manager: &ServiceManager,
) -> Result<Service, Stop> {
    if let Place::Directory(data) = place {
        embedded::may_be_there(data)?;
    }
    let listener = wiring::listen("listen", settings.listen)?;
    let found = match place {
        Place::Directory(data) => encryption_key::find(settings, data)?,
        Place::Database(_) => encryption_key::given(settings)?,
    };
    // At once: the next start finds it and says nothing of it, whatever becomes of this one.
    if let Some(file) = found.made {
        let warning = "keep a copy elsewhere: without it the store cannot be opened";
        console.complain(&format!("encryption key made: {} ({warning})", file.display()));
    }
    let service = wiring::start(wiring::Start {
        settings,
        place,
        key: &found.key,
        listener,
        directory: SharedDirectory::default(),
        tap: None,
        manager: manager.clone(),
        tracer: traces::start(settings)?,
        inbox: None,
    })
    .await?;
    match &settings.platform_key {
        Some(key) if key.len() < KEY_WISE => {
            tracing::warn!("the platform key is short: {KEY_WISE} characters or more are wise")
        }
        Some(_) => {}
        None if platform_key::any(&service.directory) => {}
        None => match platform_key::make_first(&*service.store, SystemClock.now()).await? {
            Some(key) => console.complain(&format!("platform key made, shown this once: {}", key.as_str())),
            None => console.complain("another node that starts now has made the platform key, and shows it"),
        },
    }
    Ok(service)
}
