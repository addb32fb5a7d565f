//! What `dev` says at its start, and what to do next.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::retry::RetrySchedule;
use serde_json::json;

use crate::inbox::answer::Answer;
use crate::output::{Console, Tone, span};

/// What the banner tells.
#[derive(Debug)]
pub(super) struct Banner {
    /// The data directory.
    pub(super) data: PathBuf,
    /// Where the encryption key is, if it was made just now.
    pub(super) key_made: Option<PathBuf>,
    /// The one-time link that signs a browser in.
    pub(super) dashboard: String,
    /// The retry schedule in force.
    pub(super) schedule: RetrySchedule,
    /// Where the API listens.
    pub(super) api: SocketAddr,
    /// The port that was wanted for it, if it was taken.
    pub(super) api_taken: Option<u16>,
    /// The platform key.
    pub(super) key: String,
    /// The inbox's port.
    pub(super) inbox: u16,
    /// The port that was wanted for it, if it was taken.
    pub(super) inbox_taken: Option<u16>,
    /// Its boxes, each with its answer.
    pub(super) boxes: Vec<(&'static str, Answer)>,
    /// The certificate of the inbox's authority.
    pub(super) authority: PathBuf,
    /// Whether client commands here find URL and key by themselves.
    pub(super) known: bool,
}

impl Banner {
    /// Says what was started.
    pub(super) fn print(&self, console: &Console) {
        if console.json() {
            console.value(&json!({
                "type": "started", "version": env!("CARGO_PKG_VERSION"), "data": self.data, "dashboard": self.dashboard, "api": self.api_url(),
                "docs": self.docs_url(), "key": self.key, "retry_schedule": self.schedule,
                "inboxes": self.boxes.iter().map(|(name, answer)| json!({"url": self.inbox_url(name), "answers": answer})).collect::<Vec<_>>(),
                "inbox_ca": self.authority, "encryption_key_made": self.key_made,
            }));
            return;
        }
        let version = env!("CARGO_PKG_VERSION");
        let delays: Vec<String> = self.schedule.delays().iter().map(|delay| span::spoken(*delay)).collect();
        console.line(&format!(
            "\nposthaste {version}  dev mode: short retries ({}), loopback and http allowed, data in {}\n",
            delays.join(", "),
            shown(&self.data),
        ));
        console.line(&format!("  Dashboard  {}", self.dashboard));
        console.line(&format!("  API        {:<38} key {}", self.api_url(), self.key));
        console.line(&format!("  API docs   {}{}", self.docs_url(), taken(self.api_taken)));
        for (place, (name, answer)) in self.boxes.iter().enumerate() {
            let label = if place == 0 { "Inbox" } else { "" };
            console.line(&format!("  {label:<10} {:<38} {}", self.inbox_url(name), answer.said()));
        }
        let authority = format!("its certificate's authority: curl --cacert {}", shown(&self.authority));
        console.line(&format!("  {:<10} {authority}{}", "", taken(self.inbox_taken)));
        if let Some(file) = &self.key_made {
            console.line(&format!("  {:<10} with a key made just now: {}", "Encrypted", shown(file)));
        }
        console.line("");
    }

    fn api_url(&self) -> String {
        format!("http://{}/v1", self.api)
    }

    fn docs_url(&self) -> String {
        format!("http://{}/docs", self.api)
    }

    /// The address of a box.
    pub(super) fn inbox_url(&self, name: &str) -> String {
        crate::inbox::url(self.inbox, name)
    }

    /// Says that everything is up: only when it is.
    pub(super) fn ready(&self, console: &Console, took: Duration, sample: Option<&str>) {
        if console.json() {
            let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            console.value(&json!({"type": "ready", "after_ms": took, "sample": sample}));
            return;
        }
        let sample = sample.map_or(String::new(), |name| format!(" Sent 1 sample event: {name}"));
        let mark = console.tone(Tone::Ok, "✓");
        console.line(&format!("  {mark} ready in {}.{sample}", span::spoken(took)));
        if !sample.is_empty() {
            console.line("");
        }
    }

    /// What to do next.
    pub(super) fn next(&self, console: &Console) {
        if console.json() {
            return;
        }
        let binary = binary();
        console.line("\n  Next, in another terminal:");
        if !self.known {
            console.line(&format!("    export POSTHASTE_URL=http://{} POSTHASTE_KEY={}", self.api, self.key));
        }
        let next = [
            ("send enrichment.completed", "send an event (its example as data)"),
            ("send watchlist.domain_changed --wait", "and wait for its deliveries"),
            ("listen http://localhost:3000/hook", "point it at your own code"),
            ("deliveries list", "the log"),
            ("verify --example python", "code that checks the signature"),
        ];
        let width = next.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
        for (command, says) in next {
            console.line(&format!("    {binary} {command:<width$}   {says}"));
        }
        console.line("  Stop with Ctrl-C.\n");
    }
}

fn taken(port: Option<u16>) -> String {
    port.map_or(String::new(), |port| format!("   (port {port} is taken)"))
}

/// A path as it can be typed here: relative paths start with `./`.
fn shown(path: &Path) -> String {
    if path.is_relative() && !path.starts_with(".") && !path.starts_with("..") {
        format!("./{}", path.display())
    } else {
        path.display().to_string()
    }
}

/// How this binary can be started from here: its real path, shortened where it lies below this directory.
fn binary() -> String {
    let Ok(path) = std::env::current_exe() else { return "posthaste".to_owned() };
    let here = std::env::current_dir().ok();
    match here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned)) {
        Some(below) => shown(&below),
        None => shown(&path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_can_be_typed_as_they_are_shown() {
        assert_eq!(shown(Path::new(".posthaste")), "./.posthaste");
        assert_eq!(shown(Path::new("/var/lib/x")), "/var/lib/x");
        assert_eq!(shown(Path::new("../x")), "../x");
    }
}
