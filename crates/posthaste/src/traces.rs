//! Traces: spans for accepting, committing and attempts, sent to a collector by OTLP over HTTP. Only in a build with the
//! feature `otel`.
//!
//! The spans are made where time passes, as plain values; only here is it known what OpenTelemetry calls them.

use std::sync::Arc;

use domain::trace::Tracer;

use crate::exit::Stop;
#[cfg(not(feature = "otel"))]
use crate::settings::BadSetting;
use crate::settings::Settings;

#[cfg(feature = "otel")]
mod otlp;

/// Starts to collect traces, if the settings name a collector.
///
/// # Errors
/// When the collector's URL cannot be used, or this build has no traces.
#[cfg(feature = "otel")]
pub(crate) fn start(settings: &Settings) -> Result<Option<Arc<dyn Tracer>>, Stop> {
    let Some(endpoint) = &settings.otlp_endpoint else { return Ok(None) };
    Ok(Some(otlp::start(endpoint)?))
}

/// Starts to collect traces, if the settings name a collector.
///
/// # Errors
/// When the collector's URL cannot be used, or this build has no traces.
#[cfg(not(feature = "otel"))]
pub(crate) fn start(settings: &Settings) -> Result<Option<Arc<dyn Tracer>>, Stop> {
    match settings.otlp_endpoint {
        None => Ok(None),
        Some(_) => {
            let said = "this build has no traces: build it with --features otel, or leave the setting out";
            Err(BadSetting::new("otlp-endpoint", said).into())
        }
    }
}

/// Sends what has been collected.
pub(crate) async fn end() {
    #[cfg(feature = "otel")]
    otlp::end().await;
}
