//! The figures of a benchmark, as a table and as JSON.

use std::time::Duration;

use serde::Serialize;

/// Median and 99th percentile of a set of latencies, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) samples: usize,
}

impl Latency {
    /// The percentiles of `samples`; all zero for none.
    pub(crate) fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let at = |share: f64| {
            let index = (samples.len().saturating_sub(1) as f64 * share).round() as usize;
            samples.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1_000.0)
        };
        Self { p50_ms: at(0.5), p99_ms: at(0.99), samples: samples.len() }
    }
}

/// Everything that one run has measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// Processors that the run could use.
    pub(crate) cores: usize,
    /// Kept connections of the load.
    pub(crate) connections: usize,
    /// Bare exchanges per second: the mean of three measurements, before, between and after.
    pub(crate) bare_per_second: f64,
    /// Events accepted per second, each a request of its own, fsynced before its answer; nobody takes them.
    pub(crate) accepted_per_second: f64,
    /// Events per second that were accepted, sent, answered with 200 and recorded.
    pub(crate) end_to_end_per_second: f64,
    /// `accepted_per_second` ÷ the mean of the bare exchanges before and after it.
    pub(crate) accepted_ratio: f64,
    /// `end_to_end_per_second` ÷ the mean of the bare exchanges before and after it.
    pub(crate) end_to_end_ratio: f64,
    /// Events per second at which latency was measured.
    pub(crate) rate: u32,
    /// From the start of the producer's request to the arrival of the webhook's.
    pub(crate) latency: Latency,
    /// The same for nine webhooks while a tenth hangs, if measured.
    pub(crate) beside_a_hanging_one: Option<Latency>,
    /// p99 beside a hanging webhook ÷ p99 without it.
    pub(crate) hanging_p99_ratio: Option<f64>,
}

impl Report {
    /// The report as lines of a table: what, figure, ratio.
    pub(crate) fn lines(&self) -> Vec<String> {
        let row = |what: &str, figure: String, ratio: String| format!("{what:<46} {figure:>16} {ratio:>8}");
        let mut lines = vec![
            row("measured on this machine, in one run", format!("{} cores", self.cores), "ratio".to_owned()),
            row("bare HTTP exchange", format!("{:.0}/s", self.bare_per_second), "1.00".to_owned()),
            row(
                "accepted (single requests, fsynced)",
                format!("{:.0}/s", self.accepted_per_second),
                format!("{:.2}", self.accepted_ratio),
            ),
            row(
                "end to end (accepted, sent, 200, recorded)",
                format!("{:.0}/s", self.end_to_end_per_second),
                format!("{:.2}", self.end_to_end_ratio),
            ),
            row(
                &format!("request to arrival at {}/s, p50", self.rate),
                format!("{:.2} ms", self.latency.p50_ms),
                String::new(),
            ),
            row(
                &format!("request to arrival at {}/s, p99", self.rate),
                format!("{:.2} ms", self.latency.p99_ms),
                String::new(),
            ),
        ];
        if let (Some(beside), Some(ratio)) = (self.beside_a_hanging_one, self.hanging_p99_ratio) {
            lines.push(row(
                "the same, one webhook in ten hangs, p99",
                format!("{:.2} ms", beside.p99_ms),
                format!("{ratio:.2}"),
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let latency = Latency::of((1..=100).rev().map(Duration::from_millis).collect());
        assert!((latency.p50_ms - 51.0).abs() < 1.1 && (latency.p99_ms - 99.0).abs() < 1.1, "{latency:?}");
        assert_eq!(Latency::of(Vec::new()).samples, 0);
    }
}
