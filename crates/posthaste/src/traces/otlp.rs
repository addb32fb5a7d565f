//! Spans to a collector, by OTLP over HTTP: in batches, from a thread of their own; what does not fit is dropped.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use domain::time::Timestamp;
use domain::trace::{Span, SpanName, TraceParent, Tracer};
use http_body_util::{BodyExt as _, Full, Limited};
use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;
use url::Url;

use crate::client::connect::{Roots, connect};
use crate::exit::Stop;
use crate::settings::BadSetting;

/// How long a collector may take.
const EXPORT_WITHIN: Duration = Duration::from_secs(10);
/// How much of a collector's answer is read.
const ANSWER_MAX: usize = 64 * 1024;

/// What sends the spans; it is there until the process ends.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Starts to send spans to the collector at `endpoint`.
pub(super) fn start(endpoint: &Url) -> Result<Arc<dyn Tracer>, Stop> {
    let mut traces = endpoint.clone();
    if traces.path() == "/" {
        traces.set_path("/v1/traces");
    }
    let client = Client { base: endpoint.clone(), roots: Roots::default(), runtime: Handle::current() };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(traces.as_str())
        .with_timeout(EXPORT_WITHIN)
        .build()
        .map_err(|error| BadSetting::new("otlp-endpoint", error.to_string()))?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_service_name("posthaste").with_attribute(version).build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let tracer = provider.tracer("posthaste");
    // It is started once; a second one would only be another sender.
    let _first = PROVIDER.set(provider);
    Ok(Arc::new(Otlp(tracer)))
}

/// Sends what has been collected, at most for as long as a collector may take.
pub(super) async fn end() {
    let Some(provider) = PROVIDER.get().cloned() else { return };
    let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(EXPORT_WITHIN));
    match ended.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the last spans could not be sent"),
        Err(error) => tracing::warn!(%error, "the last spans could not be sent"),
    }
}

struct Otlp(SdkTracer);

impl Tracer for Otlp {
    fn ended(&self, span: Span) {
        let attributes = span.attributes.into_iter().map(|(name, value)| KeyValue::new(name, value));
        let kind = match span.name {
            SpanName::Accept => SpanKind::Server,
            SpanName::Commit => SpanKind::Internal,
            SpanName::Attempt => SpanKind::Client,
        };
        let mut builder = SpanBuilder::from_name(span.name.as_str())
            .with_kind(kind)
            .with_start_time(system_time(span.started_at))
            .with_attributes(attributes);
        let mut parent = Context::new();
        match (span.name, span.trace.map(context)) {
            // An attempt may be hours after its event: a trace of its own, linked to the producer's.
            (SpanName::Attempt, Some(producer)) => {
                builder = builder.with_links(vec![Link::new(producer, Vec::new(), 0)]);
            }
            (_, Some(producer)) => parent = parent.with_remote_span_context(producer),
            (_, None) => {}
        }
        let mut started = builder.start_with_context(&self.0, &parent);
        if let Some(code) = span.error {
            started.set_attribute(KeyValue::new("error.type", code));
            started.set_status(Status::error(code));
        }
        started.end_with_timestamp(system_time(span.ended_at));
    }
}

fn context(parent: TraceParent) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(parent.trace_id),
        SpanId::from_bytes(parent.span_id),
        TraceFlags::new(parent.flags),
        true,
        TraceState::default(),
    )
}

fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(at.0.unsigned_abs())
}

/// Posts to the collector, on the process's own runtime: the thread that batches spans has none.
#[derive(Debug)]
struct Client {
    base: Url,
    roots: Roots,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (base, roots) = (self.base.clone(), self.roots.clone());
        let posting = async move { tokio::time::timeout(EXPORT_WITHIN, post(&base, &roots, request)).await };
        let sent = self.runtime.spawn(posting);
        sent.await??
    }
}

async fn post(base: &Url, roots: &Roots, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let connected = connect(base, roots).await;
    let mut sender = connected.map_err(|fault| format!("no connection to the collector: {}", fault.said))?;
    // Over a connection of its own the target is the path, and the host a header.
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).parse()?;
    *request.uri_mut() = path;
    request.headers_mut().insert(http::header::HOST, authority.parse()?);
    let answer = sender.send_request(request.map(Full::new)).await?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_MAX).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}
