//! Figures of the parts that the API does not know: the store's writer, the dispatcher, the disk and the process.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dispatch::Gauges;
use domain::histogram::Histogram;
use domain::shard::{Holdings, SHARDS};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// The figures of these parts, as `/metrics` shows them.
pub(crate) fn registry(
    store: Arc<store::Figures>,
    dispatch: Arc<Gauges>,
    data: Option<&Path>,
    holdings: Option<Holdings>,
) -> Registry {
    // The names that every Prometheus client gives to the figures of a process have no prefix.
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process));
    let ours = registry.sub_registry_with_prefix("posthaste");
    ours.register_collector(Box::new(Store(store)));
    ours.register_collector(Box::new(Dispatcher(dispatch)));
    if let Some(data) = data {
        ours.register_collector(Box::new(Disk(data.to_owned())));
    }
    ours.register_collector(Box::new(Shards(holdings)));
    registry
}

/// How much room there is where the data is, and how much of it the store takes; of a database that is elsewhere only
/// the latter is known.
pub(crate) fn disk(data: Option<&Path>, store: &store::Figures) -> server::Disk {
    let Some(data) = data else {
        let store = store.table_bytes.load(Ordering::Relaxed);
        return server::Disk { free: None, total: None, store };
    };
    let found = rustix::fs::statvfs(data).ok();
    let found = found.as_ref();
    server::Disk {
        free: found.map(|found| found.f_bavail.saturating_mul(found.f_frsize)),
        total: found.map(|found| found.f_blocks.saturating_mul(found.f_frsize)),
        store: ["posthaste.db", "posthaste.db-wal"].iter().map(|name| file_size(&data.join(name))).sum(),
    }
}

fn file_size(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |found| found.len())
}

/// Bytes that may still be written to the file system of a directory.
///
/// # Errors
/// When the system does not tell.
pub(crate) fn disk_free(directory: &Path) -> std::io::Result<u64> {
    let found = rustix::fs::statvfs(directory)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Writes figures, one after the other.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        let found = histogram.snapshot();
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(found.sum, found.count, &found.buckets, None)
    }
}

#[derive(Debug)]
struct Store(Arc<store::Figures>);

impl Collector for Store {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (store, mut out) = (&*self.0, Out(encoder));
        let size = |number: &std::sync::atomic::AtomicUsize| number.load(Ordering::Relaxed) as f64;
        let count = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed) as f64;
        out.histogram(
            "store_commit_duration_seconds",
            "From the start of a transaction to its end, fsync included",
            &store.commit_durations,
        )?;
        out.gauge("store_waiting_events", "Events that wait to be written", size(&store.waiting_events))?;
        out.gauge("store_waiting_bytes", "Bytes of the events that wait to be written", size(&store.waiting_bytes))?;
        out.counter(
            "store_refused_events",
            "Events refused since too many waited to be written, or the disk was full",
            count(&store.refused_events),
        )?;
        out.gauge("store_fresh_deliveries", "Deliveries in memory that have no row yet", size(&store.fresh))?;
        out.counter("store_retained_events", "Events that retention has deleted", count(&store.retained_events))?;
        out.counter(
            "store_connections_lost",
            "How often the connection to the database was lost",
            count(&store.connections_lost),
        )?;
        out.gauge(
            "store_set_aside_ends",
            "Ends of attempts that the database refuses to record while it records others: their deliveries wait",
            size(&store.set_aside),
        )?;
        out.gauge(
            "store_timestamp_lead_seconds",
            "By how much the latest event's timestamp led the clock: over 5, the clock was set back",
            count(&store.timestamp_lead_ms) / 1e3,
        )
    }
}

#[derive(Debug)]
struct Dispatcher(Arc<Gauges>);

impl Collector for Dispatcher {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (dispatch, mut out) = (&*self.0, Out(encoder));
        let size = |number: &std::sync::atomic::AtomicUsize| number.load(Ordering::Relaxed) as f64;
        out.histogram("attempt_lag_seconds", "How long after they were due attempts started", &dispatch.lag)?;
        out.gauge("dispatch_known_deliveries", "Deliveries in the dispatcher's memory", size(&dispatch.known))?;
        out.gauge(
            "dispatch_failing_lanes",
            "Webhooks that hold one slot at most since their attempts keep failing",
            size(&dispatch.failing_lanes),
        )
    }
}

/// This node's part of the work; nobody has another part where it is not shared.
#[derive(Debug)]
struct Shards(Option<Holdings>);

impl Collector for Shards {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        let held = self.0.as_ref().map_or(usize::from(SHARDS), |holdings| holdings.all().len());
        out.gauge("shards_held", "Shards that this node holds", held as f64)?;
        let help = "Ends of attempts that were not recorded, since another node had taken the shard";
        out.counter("shards_refused_records", help, self.0.as_ref().map_or(0.0, |holdings| holdings.refused() as f64))
    }
}

#[derive(Debug)]
struct Disk(PathBuf);

impl Collector for Disk {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        if let Ok(free) = disk_free(&self.0) {
            out.gauge("disk_free_bytes", "Bytes that may still be written where the data is", free as f64)?;
        }
        let size = |name: &str| file_size(&self.0.join(name)) as f64;
        out.gauge("store_file_bytes", "Size of the database", size("posthaste.db"))?;
        out.gauge("store_log_bytes", "Size of SQLite's log beside the database", size("posthaste.db-wal"))
    }
}

/// The process, where there is a `/proc`.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        if let Some(pages) = field("/proc/self/statm", 1) {
            let bytes = pages * rustix::param::page_size() as f64;
            out.gauge("process_resident_memory_bytes", "Resident memory", bytes)?;
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            out.gauge("process_open_fds", "Open descriptors", open.count() as f64)?;
        }
        if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            out.gauge("process_max_fds", "How many descriptors may be open", most as f64)?;
        }
        // The name of the program, in brackets, is the second field; what comes after it is counted from 0.
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |place: usize| fields.get(place).and_then(|text| text.parse::<f64>().ok());
        if let (Some(user), Some(system)) = (ticks(11), ticks(12)) {
            let seconds = (user + system) / rustix::param::clock_ticks_per_second() as f64;
            out.counter("process_cpu_seconds", "Processor time used", seconds)?;
        }
        Ok(())
    }
}

/// A number of a file of `/proc`.
fn field(file: &str, place: usize) -> Option<f64> {
    std::fs::read_to_string(file).ok()?.split_whitespace().nth(place)?.parse().ok()
}
