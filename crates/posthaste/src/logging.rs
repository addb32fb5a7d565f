//! Log lines: to stderr, as text or as JSON. Text of strangers is one escaped field of a line.

use std::io::IsTerminal;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::Settings;
use crate::settings::resolved::LogFormat;

/// Starts logging as the settings say.
pub(crate) fn start(settings: &Settings, plain: bool) {
    let filter: Targets = settings.log.parse().unwrap_or_default();
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = match settings.log_format {
        LogFormat::Text => registry.with(lines.with_ansi(!plain && std::io::stderr().is_terminal())).try_init(),
        LogFormat::Json => registry.with(lines.json()).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
}
