//! What a soak came to: its second quarter beside its last one, and whether anything has grown.

use std::collections::BTreeMap;

use serde::Serialize;

use super::process::Sample;

/// Runs shorter than this, in minutes, are not judged: what fills at first is not full yet.
const JUDGED_FROM: f64 = 4.0;
/// By how much descriptors and threads may differ between two quarters.
const DESCRIPTORS_MORE: f64 = 16.0;
const THREADS_MORE: f64 = 4.0;
/// By how much memory may: a part of it and so many MiB.
const MEMORY_PART: f64 = 0.2;
const MEMORY_MORE: f64 = 32.0;

/// A quarter of a run. Counts are medians, so that one busy moment says nothing; the rest are means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Quarter {
    /// Resident memory, in MiB.
    pub(crate) resident_mib: f64,
    /// Open file descriptors.
    pub(crate) descriptors: f64,
    /// Threads.
    pub(crate) threads: f64,
    /// What it keeps on disk, in MiB.
    pub(crate) data_mib: f64,
    /// Events accepted per second.
    pub(crate) events_per_second: f64,
    /// Attempts per second.
    pub(crate) attempts_per_second: f64,
    /// Processor time for an attempt and its part of everything else, in microseconds.
    pub(crate) cpu_us_per_attempt: f64,
    /// Deliveries in the dispatcher's memory.
    pub(crate) known: f64,
    /// How late the oldest due delivery is, in seconds.
    pub(crate) oldest_due: f64,
}

impl Quarter {
    /// Of these samples.
    fn of(samples: &[Sample]) -> Self {
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Self::default() };
        let mean = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / samples.len() as f64;
        let median = |of: fn(&Sample) -> f64| {
            let mut all: Vec<f64> = samples.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let spent = |of: fn(&Sample) -> f64| of(last) - of(first);
        let (seconds, attempts) = (spent(|sample| sample.at).max(1e-3), spent(|sample| sample.attempts));
        Self {
            resident_mib: mean(|sample| sample.resident_mib),
            descriptors: median(|sample| sample.descriptors),
            threads: median(|sample| sample.threads),
            data_mib: mean(|sample| sample.data_mib),
            events_per_second: spent(|sample| sample.accepted) / seconds,
            attempts_per_second: attempts / seconds,
            cpu_us_per_attempt: spent(|sample| sample.cpu_seconds) * 1e6 / attempts.max(1.0),
            known: mean(|sample| sample.known),
            oldest_due: mean(|sample| sample.oldest_due),
        }
    }
}

/// What has grown from one quarter to another, in sentences.
fn grown(second: &Quarter, last: &Quarter) -> Vec<String> {
    let mut grown = Vec::new();
    let bounds = [
        ("open descriptors", second.descriptors, last.descriptors, second.descriptors + DESCRIPTORS_MORE),
        ("threads", second.threads, last.threads, second.threads + THREADS_MORE),
        (
            "MiB of resident memory",
            second.resident_mib,
            last.resident_mib,
            second.resident_mib * (1.0 + MEMORY_PART) + MEMORY_MORE,
        ),
    ];
    for (what, before, after, most) in bounds {
        if after > most {
            grown.push(format!("{what} have grown: {before:.0} in the second quarter, {after:.0} in the last"));
        }
    }
    grown
}

/// Everything that a soak has seen.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SoakReport {
    /// How long the load lasted, in minutes.
    pub(crate) minutes: f64,
    /// Events per second that were asked for.
    pub(crate) rate: u32,
    /// `embedded` or `postgresql`.
    pub(crate) store: &'static str,
    /// Accounts that stayed.
    pub(crate) accounts: u64,
    /// Events accepted, of the accounts that stayed.
    pub(crate) accepted: u64,
    /// Of these, those that did not arrive at the webhook that gets all of its account.
    pub(crate) missing: u64,
    /// Deliveries that had not ended when the load had, and everything was given time to.
    pub(crate) unfinished: u64,
    /// Requests and events that got 429 or 503 with `Retry-After`.
    pub(crate) refused: u64,
    /// Requests that came to the receivers.
    pub(crate) received: u64,
    /// What else was done, and how often.
    pub(crate) did: BTreeMap<&'static str, u64>,
    /// Before the load.
    pub(crate) before: Sample,
    /// The second quarter of the run: the first is a warm-up.
    pub(crate) second_quarter: Quarter,
    /// The last one.
    pub(crate) last_quarter: Quarter,
    /// After the load, once everything had ended.
    pub(crate) after: Sample,
    /// Whether the run was long enough to judge what has grown.
    pub(crate) judged: bool,
    /// What went wrong, in sentences; empty if nothing did.
    pub(crate) faults: Vec<String>,
    /// All samples.
    pub(crate) samples: Vec<Sample>,
}

impl SoakReport {
    /// Holds the quarters of `samples` against each other; what has grown is a fault.
    pub(super) fn judge(&mut self, samples: Vec<Sample>) {
        let quarter = samples.len() / 4;
        self.second_quarter = Quarter::of(&samples[quarter..quarter * 2]);
        self.last_quarter = Quarter::of(&samples[quarter * 3..]);
        self.judged = self.minutes >= JUDGED_FROM;
        if self.judged {
            self.faults.extend(grown(&self.second_quarter, &self.last_quarter));
        }
        self.samples = samples;
    }

    /// The report as lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!(
                "{:.1} minutes at {} events/s to {} accounts ({}): {} accepted, {} missing, {} deliveries unfinished, {} refused for now, \
                 {} requests received",
                self.minutes,
                self.rate,
                self.accounts,
                self.store,
                self.accepted,
                self.missing,
                self.unfinished,
                self.refused,
                self.received
            ),
            format!("{:<24} {:>10} {:>15} {:>13} {:>10}", "", "before", "second quarter", "last quarter", "after"),
        ];
        let (second, last) = (&self.second_quarter, &self.last_quarter);
        let row = |what: &str, before: Option<f64>, second: f64, last: f64, after: Option<f64>| {
            let told = |figure: Option<f64>| figure.map(|figure| format!("{figure:.1}")).unwrap_or_default();
            format!("{what:<24} {:>10} {second:>15.1} {last:>13.1} {:>10}", told(before), told(after))
        };
        for (what, of_sample, of_quarter) in [
            (
                "resident memory, MiB",
                (|s| s.resident_mib) as fn(&Sample) -> f64,
                (|q| q.resident_mib) as fn(&Quarter) -> f64,
            ),
            ("descriptors", |s| s.descriptors, |q| q.descriptors),
            ("threads", |s| s.threads, |q| q.threads),
            ("on disk, MiB", |s| s.data_mib, |q| q.data_mib),
            ("known deliveries", |s| s.known, |q| q.known),
            ("oldest due, s", |s| s.oldest_due, |q| q.oldest_due),
        ] {
            let (before, after) = (of_sample(&self.before), of_sample(&self.after));
            lines.push(row(what, Some(before), of_quarter(second), of_quarter(last), Some(after)));
        }
        for (what, of_quarter) in [
            ("events/s", (|q| q.events_per_second) as fn(&Quarter) -> f64),
            ("attempts/s", |q| q.attempts_per_second),
            ("CPU per attempt, µs", |q| q.cpu_us_per_attempt),
        ] {
            lines.push(row(what, None, of_quarter(second), of_quarter(last), None));
        }
        let did: Vec<_> = self.did.iter().map(|(what, number)| format!("{number} {what}")).collect();
        lines.push(did.join(", "));
        if !self.judged {
            lines.push(format!("too short to judge what grows: {JUDGED_FROM} minutes at least"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quarter(resident_mib: f64, descriptors: f64, threads: f64) -> Quarter {
        Quarter { resident_mib, descriptors, threads, ..Quarter::default() }
    }

    #[test]
    fn what_has_grown_is_said() {
        let second = quarter(100.0, 80.0, 10.0);
        assert!(grown(&second, &quarter(151.0, 96.0, 14.0)).is_empty());
        assert!(grown(&second, &quarter(10.0, 8.0, 1.0)).is_empty());
        assert_eq!(
            grown(&second, &quarter(153.0, 97.0, 15.0)),
            [
                "open descriptors have grown: 80 in the second quarter, 97 in the last",
                "threads have grown: 10 in the second quarter, 15 in the last",
                "MiB of resident memory have grown: 100 in the second quarter, 153 in the last",
            ]
        );
    }

    #[test]
    fn a_quarter_is_reckoned_from_its_samples() {
        let sample = |at: f64, descriptors: f64| Sample {
            at,
            descriptors,
            attempts: at * 10.0,
            accepted: at * 4.0,
            cpu_seconds: at * 0.01,
            ..Sample::default()
        };
        let found = Quarter::of(&[sample(1.0, 5.0), sample(2.0, 900.0), sample(3.0, 6.0)]);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(near(found.descriptors, 6.0) && near(found.events_per_second, 4.0), "{found:?}");
        assert!(near(found.attempts_per_second, 10.0) && near(found.cpu_us_per_attempt, 1_000.0), "{found:?}");
        assert_eq!(Quarter::of(&[]), Quarter::default());
    }
}
