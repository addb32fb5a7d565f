//! `kill -9` at random moments under load: everything that was acknowledged is delivered, nothing is lost, and what is sent
//! twice was in flight.

mod ledger;
mod load;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::certificates::{Authority, Leaf};
use crate::dns::{Dns, Script as Names};
use crate::receiver::{Receiver, Script, Step, status};
use crate::room::{Room, start};
use crate::server::{Launch, Server};
use crate::wait;
use ledger::{Ledger, WEBHOOKS};
use load::Load;

/// Kills, where the environment asks for no other number.
const ROUNDS: usize = 50;
/// Events that are acknowledged in each round before it may end.
const EVENTS_MIN: usize = 200;
/// For what is left to be delivered after the last start.
const DRAIN_MAX: Duration = Duration::from_secs(120);

#[expect(clippy::disallowed_methods, reason = "the length of the test is its caller's to choose")]
fn rounds() -> usize {
    std::env::var("POSTHASTE_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_by_kill_9() {
    let _machine = wait::the_machine().await;
    let ledger = Arc::new(Ledger::default());
    let receiver = receiver(&ledger).await;
    let (launch, rounds) = (launch(&receiver).await, rounds());
    let mut server = start(launch.clone()).await;
    set_up(&server, receiver.0.port()).await;
    let seed = fastrand::Rng::new().u64(..);
    println!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut load = Load::default();
    for round in 0..rounds {
        ledger.round_begins(round);
        // A kill may come as soon as there are enough events, and up to a tenth of a second later.
        load.run(&server, &ledger, EVENTS_MIN, Duration::from_micros(chance.u64(0..100_000)), async |server| server).await;
        server.kill();
        server = start(launch.clone()).await;
    }
    ledger.round_begins(rounds);
    load.repeat_unanswered(&server, &ledger).await;
    drain(&server, &ledger).await;
    let kept = kept(&server).await;
    let told = ledger.judge(&kept, rounds);
    println!("{told}");
    assert!(server.terminate().success(), "SIGTERM ends it well");
}
