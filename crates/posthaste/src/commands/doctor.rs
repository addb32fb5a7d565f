//! `posthaste doctor`: what can be found out about this machine and the server, one line each, with the way out of what is
//! wrong.

mod machine;
mod ownership;

use clap::Args;
use domain::time::Clock as _;
use domain::vault::Vault;
use serde_json::json;
use store::postgres::{self, Address};

use crate::cli::Session;
use crate::client::known::{self, Server};
use crate::clock::SystemClock;
use crate::exit::{Ended, Exit};
use crate::keeping::{Place, clocks_agree};
use crate::output::{Tone, visible};
use crate::settings::{self, Mode, Settings, Typed};
use crate::{encryption_key, wiring};

/// What to look at.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Look at the settings of `posthaste dev`
    #[arg(long)]
    dev: bool,
    /// Look at this machine only, not at a server
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    typed: Box<Typed>,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// One thing that was looked at.
struct Finding {
    name: &'static str,
    /// What was found, or what is wrong and the way out.
    found: Result<String, String>,
}

impl Finding {
    const fn ok(name: &'static str, said: String) -> Self {
        Self { name, found: Ok(said) }
    }

    const fn bad(name: &'static str, said: String) -> Self {
        Self { name, found: Err(said) }
    }
}

/// Looks, and ends with a failure if anything is wrong.
///
/// What could never be served is no finding, but a wrong command line.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    let mode = if options.dev { Mode::Dev } else { Mode::Serve };
    let resolved = settings::resolve(&options.typed, session.environment, mode);
    if let Ok(settings) = &resolved {
        Place::of(settings, mode)?;
    }
    let mut findings = Vec::new();
    if !options.offline {
        let place = resolved.as_ref().is_ok_and(|settings| settings.data.is_some() || settings.database.is_some());
        findings.extend(server(session, place && !known::is_named(&options.server, session.environment)).await);
    }
    findings.push(Finding { name: "roots", found: roots() });
    findings.push(machine::descriptors());
    match resolved {
        Ok(settings) => findings.extend(of_settings(settings).await),
        // On one line, like all else that was found.
        Err(bad) => findings.push(Finding::bad("settings", bad.to_string().replace("\n  ", "; "))),
    }
    let bad = findings.iter().filter(|finding| finding.found.is_err()).count();
    for finding in &findings {
        say(finding, session);
    }
    Ok(if bad == 0 { Exit::Ok } else { Exit::Failure })
}

fn say(Finding { name, found }: &Finding, session: &Session<'_>) {
    let (ok, said) = match found {
        Ok(said) => (true, said),
        Err(said) => (false, said),
    };
    if session.console.json() {
        session.console.value(&json!({"check": name, "ok": ok, "found": on_one_line(said)}));
    } else {
        let icon = if ok { session.console.tone(Tone::Ok, "✓") } else { session.console.tone(Tone::Bad, "✕") };
        session.console.line(&format!("{icon} {name:<10} {}", visible(&on_one_line(said))));
    }
}

/// What was said over several lines, each a sentence of its own, on the one line of a finding.
fn on_one_line(said: &str) -> String {
    said.split('\n').map(str::trim).collect::<Vec<_>>().join(" ")
}

/// The server, and what the key opens there. Whoever asks about a directory or a database and names no server is not told that
/// there has to be one.
async fn server(session: &Session<'_>, may_lack: bool) -> Vec<Finding> {
    let version = session.client.get("/version").await.and_then(|answer| answer.value());
    if may_lack && version.as_ref().is_err_and(|stop| stop.exit == Exit::Unreachable) {
        let said = format!("none was named, and none answers at {}", session.client.address(""));
        return vec![Finding::ok("server", said)];
    }
    let found = match version {
        Ok(version) => ready(session).await.map(|()| format!("{} answers: {version}", session.client.address(""))),
        Err(stop) => Err(stop.said),
    };
    vec![Finding { name: "server", found }, Finding { name: "key", found: key(session).await }]
}

async fn ready(session: &Session<'_>) -> Result<(), String> {
    let answer = session.client.get("/readyz").await;
    answer.map(|_| ()).map_err(|stop| format!("it answers, and is not ready: {}", stop.said))
}

async fn key(session: &Session<'_>) -> Result<String, String> {
    let webhooks = crate::client::path::path(&["accounts", &session.account, "webhooks"]);
    session.client.get(&webhooks).await.map(|_| format!("opens account {}", session.account)).map_err(|stop| stop.said)
}

/// Whether a node could serve this database, with this key.
async fn database(address: &Address, key: Option<&[u8; 32]>) -> Result<String, String> {
    let vault = key.map(Vault::new);
    let found = postgres::look(address, vault.as_ref()).await;
    let hosts = address.hosts();
    let found = found.map_err(|error| format!("{hosts}: {error}"))?;
    clocks_agree(SystemClock.now(), found.time).map_err(|said| format!("{hosts}: {said}"))?;
    if let Some(short) = found.short {
        return Err(format!("{hosts}: {short}"));
    }
    let encrypted = if found.encrypted { "encrypted" } else { "not encrypted" };
    let holds = match (found.layout, key) {
        (None | Some(0), Some(_)) => "it is empty: what a store needs will be made at the first start".to_owned(),
        (None | Some(0), None) => {
            return Err(format!("{hosts}: it is empty, and there is no key to seal with: {}", encryption_key::GIVE));
        }
        (Some(layout), Some(_)) => format!("layout {layout}, the key opens it, {} nodes live", found.nodes),
        (Some(layout), None) => {
            return Err(format!("{hosts}: layout {layout}, and no key to open it: give POSTHASTE_ENCRYPTION_KEY"));
        }
    };
    Ok(format!("{hosts}: PostgreSQL {}, {encrypted}; {holds}", found.version))
}

fn roots() -> Result<String, String> {
    let found = rustls_native_certs::load_native_certs();
    match found.certs.len() {
        0 => Err("the system has no root certificates: install ca-certificates".to_owned()),
        count => Ok(format!("{count} root certificates of the system")),
    }
}

async fn of_settings(settings: Settings) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("settings", format!("{} are fine", settings.shown.len()))];
    findings.extend(machine::files(&settings));
    match wiring::network(&settings) {
        Ok(network) => findings.push(machine::names(&network).await),
        Err(stop) => findings.push(Finding::bad("network", stop.said)),
    }
    findings.push(machine::egress(&settings));
    findings.push(machine::clock(settings.data.as_deref()));
    if let Some(address) = &settings.database {
        findings.push(Finding { name: "database", found: database(address, settings.encryption_key.as_deref()).await });
    }
    let Some(data) = settings.data.clone() else { return findings };
    // A whole store is read: that takes as long as the disk does.
    match tokio::task::spawn_blocking(move || machine::data(&settings, &data)).await {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(Finding::bad("data", error.to_string())),
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_on_one_line() {
        let said = "it answers, and is not ready: It waits.\n  The server's log has more under request id req_1.";
        let one = "it answers, and is not ready: It waits. The server's log has more under request id req_1.";
        assert_eq!(visible(&on_one_line(said)), one);
        assert_eq!(on_one_line("as it is"), "as it is");
    }
}
