//! Following a replay in bulk: a bar on a terminal, a line of JSON for each change otherwise.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::cli::Session;
use crate::client::path::path;
use crate::client::patience::Patience;
use crate::exit::{Ended, Exit, Stop};
use crate::output::value::{number, text};
use crate::output::{Console, replay};

/// How often is looked.
const LOOK: Duration = Duration::from_millis(250);

/// Says, wherever the command is left before the replay has ended, that the replay goes on.
struct GoesOn<'a> {
    console: &'a Console,
    id: &'a str,
    bar: ProgressBar,
}

impl Drop for GoesOn<'_> {
    fn drop(&mut self) {
        if !self.bar.is_finished() {
            self.bar.abandon();
            self.console.talk(&format!(
                "\nThe replay goes on without you: `posthaste replay show {0} --follow`, `posthaste replay stop {0}`",
                self.id
            ));
        }
    }
}

/// Follows it until it ends, or stands still. A server that is away is waited for: the replay goes on with it.
pub(super) async fn to_the_end(session: &Session<'_>, id: &str, mut patience: Patience) -> Ended {
    let Session { console, client, account, .. } = session;
    let bar = if console.json() { ProgressBar::hidden() } else { progress() };
    let following = GoesOn { console, id, bar };
    let mut told = Value::Null;
    loop {
        let looked = client.get(&path(&["accounts", account, "replays", id])).await;
        let seen = match looked.and_then(|answer| answer.value()) {
            Ok(seen) => seen,
            Err(stop) => {
                if let Some(away) = patience.after(stop)? {
                    following.bar.suspend(|| away.say(console));
                }
                patience.wait().await;
                continue;
            }
        };
        patience.reached();
        if console.json() && changed(&told, &seen) {
            console.value(&seen);
        }
        draw(&following.bar, &seen);
        if !matches!(text(&seen, "status"), "running" | "queued") {
            following.bar.finish_and_clear();
            return ended(session, &seen);
        }
        if console.closed() {
            return Ok(Exit::Ok);
        }
        told = seen;
        tokio::time::sleep(LOOK).await;
    }
}

fn progress() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    // A template that indicatif cannot read leaves its default.
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len}  {msg}") {
        bar.set_style(style);
    }
    bar
}

fn draw(bar: &ProgressBar, seen: &Value) {
    bar.set_length(number(seen, "total").unwrap_or(0));
    bar.set_position(replay::settled(seen));
    let results = &seen["results"];
    let failed = number(results, "failed").unwrap_or(0) + number(results, "retrying").unwrap_or(0);
    let mut message = format!(
        "✓ {} delivered  ✕ {} failed",
        replay::count(number(results, "delivered").unwrap_or(0)),
        replay::count(failed)
    );
    if let Some(seconds) = number(&seen["eta"], "seconds") {
        message.push_str(&format!("  {} left", crate::output::span::spoken(Duration::from_secs(seconds))));
    }
    if !seen["waits_for"].is_null() {
        message = format!("queued behind {}", text(seen, "waits_for"));
    }
    bar.set_message(message);
}

/// Whether there is something to tell: what passes by itself is left out.
fn changed(told: &Value, seen: &Value) -> bool {
    let what = |value: &Value| {
        let mut value = value.clone();
        if let Some(members) = value.as_object_mut() {
            members.remove("ran_ms");
            members.remove("eta");
        }
        value
    };
    what(told) != what(seen)
}

/// The last words, and how the command ends by the replay.
fn ended(session: &Session<'_>, seen: &Value) -> Result<Exit, Stop> {
    let console = session.console;
    if !console.json() {
        let of = number(seen, "total").unwrap_or(0);
        let status = text(seen, "status");
        console.line(&format!("{status}: {} of {} sent.", replay::count(replay::sent(seen)), replay::count(of)));
        for line in replay::particulars(seen) {
            console.line(&format!("  {}", crate::output::visible(&line)));
        }
    }
    let results = &seen["results"];
    let failed = number(results, "failed").unwrap_or(0) + number(results, "retrying").unwrap_or(0);
    Ok(if failed > 0 { Exit::DeliveryFailed } else { Exit::Ok })
}
