//! What the server's process takes, and what waits in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;
use serde::Serialize;
use tokio::time::Instant;

use super::pool::Pool;
use super::tally::Tally;
use crate::bench::Failed;
use crate::bench::server::of_status;

const MIB: f64 = 1_048_576.0;

/// The process as it was at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// Seconds since the load began.
    pub(crate) at: f64,
    /// Resident memory, in MiB.
    pub(crate) resident_mib: f64,
    /// Open file descriptors.
    pub(crate) descriptors: f64,
    /// Threads.
    pub(crate) threads: f64,
    /// What it keeps on disk, in MiB: its data folder, or its tables where they are in a database.
    pub(crate) data_mib: f64,
    /// Processor time that it took since its start, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Events accepted so far.
    pub(crate) accepted: f64,
    /// Attempts made so far.
    pub(crate) attempts: f64,
    /// Deliveries in the dispatcher's memory.
    pub(crate) known: f64,
    /// Deliveries in flight.
    pub(crate) in_flight: f64,
    /// Events that wait for the disk.
    pub(crate) waiting: f64,
    /// How late the oldest due delivery is, in seconds.
    pub(crate) oldest_due: f64,
    /// Webhooks.
    pub(crate) webhooks: f64,
    /// Webhooks that are paused.
    pub(crate) paused: f64,
}

impl Sample {
    /// The sample as a line.
    pub(crate) fn line(&self) -> String {
        format!(
            "{:>6.1} s  {:>6.1} MiB resident, {:>4} descriptors, {:>3} threads, {:>7.1} MiB on disk; {} events accepted, {} attempts; \
             {} known, {} in flight, {} for the disk, oldest due {:.1} s; {} webhooks, {} paused",
            self.at,
            self.resident_mib,
            self.descriptors,
            self.threads,
            self.data_mib,
            self.accepted,
            self.attempts,
            self.known,
            self.in_flight,
            self.waiting,
            self.oldest_due,
            self.webhooks,
            self.paused
        )
    }
}

/// Looks at a server's process.
pub(super) struct Look {
    pub(super) process: u32,
    /// Its data folder; `None` where it keeps everything in a database.
    pub(super) data: Option<PathBuf>,
    pub(super) pool: Arc<Pool>,
    pub(super) tally: Arc<Tally>,
    pub(super) start: Instant,
}

impl Look {
    /// The process now.
    ///
    /// # Errors
    /// [`Failed`]: it has ended, or does not answer.
    pub(super) async fn take(&self) -> Result<Sample, Failed> {
        let answer = self.pool.ask(Method::GET, "/metrics", &[], Bytes::new()).await?;
        let figures = String::from_utf8_lossy(&answer.body).into_owned();
        let figure = |name: &str| sum_of(&figures, name);
        let gone = |error: std::io::Error| Failed(format!("the server's process cannot be looked at: {error}"));
        let process = self.process;
        let status = fs::read_to_string(format!("/proc/{process}/status")).map_err(gone)?;
        let of_status = |name: &str| of_status(&status, name).unwrap_or_default() as f64;
        let data_mib = match &self.data {
            Some(folder) => size_of(folder) as f64 / MIB,
            None => self.pool.get("/v1/system").await?["store_bytes"].as_f64().unwrap_or_default() / MIB,
        };
        Ok(Sample {
            at: self.start.elapsed().as_secs_f64(),
            resident_mib: of_status("VmRSS:") / 1_024.0,
            descriptors: fs::read_dir(format!("/proc/{process}/fd")).map_err(gone)?.count() as f64,
            threads: of_status("Threads:"),
            data_mib,
            cpu_seconds: figure("process_cpu_seconds_total"),
            accepted: self.tally.accepted.load(std::sync::atomic::Ordering::Relaxed) as f64,
            attempts: figure("posthaste_attempts_total"),
            known: figure("posthaste_dispatch_known_deliveries"),
            in_flight: figure("posthaste_in_flight"),
            waiting: figure("posthaste_store_waiting_events"),
            oldest_due: figure("posthaste_oldest_due_seconds"),
            webhooks: figure("posthaste_webhooks"),
            paused: figure("posthaste_webhooks_paused"),
        })
    }
}

/// A figure of `/metrics`, the sum over its labels.
fn sum_of(figures: &str, name: &str) -> f64 {
    let values = figures.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        (rest.starts_with(' ') || rest.starts_with('{')).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    });
    // An empty sum of floats is −0.
    values.fold(0.0, |sum, value| sum + value)
}

/// Bytes of all files below a folder; one that goes meanwhile has none.
fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_of(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_by_their_whole_name() {
        let figures = "# TYPE posthaste_webhooks gauge\nposthaste_webhooks 12\nposthaste_webhooks_paused 3\n\
                       posthaste_attempts_total{outcome=\"success\"} 40\nposthaste_attempts_total{outcome=\"http_5xx\"} 2\n";
        for (name, value) in [("posthaste_webhooks", 12.0), ("posthaste_attempts_total", 42.0), ("nothing", 0.0)] {
            assert!((sum_of(figures, name) - value).abs() < 1e-9, "{name}");
        }
    }
}
