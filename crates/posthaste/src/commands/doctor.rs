//! `posthaste doctor`: what can be found out about this machine and the server, one line each.

use std::net::ToSocketAddrs;

use clap::Args;
use serde_json::json;

use crate::cli::Session;
use crate::client::known::Server;
use crate::exit::{Ended, Exit};
use crate::output::{Tone, visible};
use crate::settings::{self, Mode, Typed};

/// What to look at.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Look at the settings of `posthaste dev`
    #[arg(long)]
    dev: bool,
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

/// Looks, and ends with a failure if anything is wrong.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    let mut findings = vec![
        Finding { name: "server", found: server(session).await },
        Finding { name: "key", found: key(session).await },
        Finding { name: "roots", found: roots() },
        Finding { name: "names", found: names().await },
    ];
    findings.extend(settings(options, session));
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
        session.console.value(&json!({"check": name, "ok": ok, "found": said}));
    } else {
        let icon = if ok { session.console.tone(Tone::Ok, "✓") } else { session.console.tone(Tone::Bad, "✕") };
        session.console.line(&format!("{icon} {name:<9} {}", visible(said)));
    }
}

async fn server(session: &Session<'_>) -> Result<String, String> {
    let version = session.client.get("/version").await.and_then(|answer| answer.value()).map_err(|stop| stop.said)?;
    session.client.get("/readyz").await.map_err(|stop| format!("it answers, and is not ready: {}", stop.said))?;
    Ok(format!("{} answers: {version}", session.client.address("")))
}

async fn key(session: &Session<'_>) -> Result<String, String> {
    let webhooks = crate::client::path::path(&["accounts", &session.account, "webhooks"]);
    session.client.get(&webhooks).await.map(|_| format!("opens account {}", session.account)).map_err(|stop| stop.said)
}

fn roots() -> Result<String, String> {
    let found = rustls_native_certs::load_native_certs();
    match found.certs.len() {
        0 => Err("the system has no root certificates: install ca-certificates".to_owned()),
        count => Ok(format!("{count} root certificates of the system")),
    }
}

async fn names() -> Result<String, String> {
    let found = tokio::task::spawn_blocking(|| ("localhost", 0).to_socket_addrs().map(Iterator::count)).await;
    match found {
        Ok(Ok(count)) if count > 0 => Ok("the system's resolver answers".to_owned()),
        Ok(Ok(_)) => Err("the system's resolver knows no address of localhost".to_owned()),
        Ok(Err(error)) => Err(format!("the system's resolver does not answer: {error}; see --resolver")),
        Err(error) => Err(error.to_string()),
    }
}

fn settings(options: &Options, session: &Session<'_>) -> Vec<Finding> {
    let mode = if options.dev { Mode::Dev } else { Mode::Serve };
    let settings = match settings::resolve(&options.typed, session.environment, mode) {
        Ok(settings) => settings,
        Err(bad) => return vec![Finding { name: "settings", found: Err(bad.to_string()) }],
    };
    let mut findings = vec![Finding { name: "settings", found: Ok(format!("{} are fine", settings.shown.len())) }];
    if let Some(data) = settings.data {
        findings.push(Finding { name: "data", found: writable(&data) });
    }
    findings
}

fn writable(data: &std::path::Path) -> Result<String, String> {
    let shown = data.display();
    match std::fs::metadata(data) {
        Ok(found) if !found.is_dir() => Err(format!("{shown} is no directory")),
        Ok(found) if found.permissions().readonly() => Err(format!("{shown} cannot be written to")),
        Ok(_) => Ok(format!("{shown} is there")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(format!("{shown} will be made at the first start"))
        }
        Err(error) => Err(format!("{shown}: {error}")),
    }
}
