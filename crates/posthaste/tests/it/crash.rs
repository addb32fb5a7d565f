//! `kill -9` at random moments under load: everything that was acknowledged is delivered, nothing is lost, and what is sent
//! twice was in flight.

mod ledger;
mod load;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::api::Api;
use crate::certificates::{Authority, Leaf};
use crate::receiver::{Receiver, Request, Script, Step, status};
use crate::room::{start, surroundings};
use crate::wait;
use ledger::{Came, Kept, Ledger};
use load::Load;

/// Kills, where the environment asks for no other number.
const ROUNDS: usize = 50;
/// Events that are acknowledged in each round before its kill.
const EVENTS_MIN: usize = 200;
/// After the last start, something of what is left has to arrive within this, as long as anything is left. Where nodes share a database
/// a new one waits for the leases of the dead, so almost everything is left: the webhook that fails at first gets it one by one.
const STILL_MAX: Duration = Duration::from_secs(120);
/// So many requests are something.
const SOMETHING: usize = 100;

/// The webhooks: what each takes. One of them fails every first attempt, one is slow.
const WEBHOOKS: [&[&str]; 5] = [
    &["*"],
    &["alert.*"],
    &["watchlist.*", "sequence.*"],
    &["sequence.email_sent", "enrichment.*"],
    &["alert.rule_created", "watchlist.domain_added"],
];
const FAILS_FIRST: usize = 2;
const SLOW: usize = 3;

#[expect(clippy::disallowed_methods, reason = "the length of the test is its caller's to choose")]
fn rounds() -> usize {
    std::env::var("POSTHASTE_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_by_kill_9() {
    let _machine = wait::the_machine().await;
    let (ledger, rounds) = (Arc::new(Ledger::default()), rounds());
    let (_dns, authority, launch) = surroundings().await;
    let launch = launch.flag("--retry-schedule", "1s,1s,1s,1s,1s");
    let receiver = receiver(&authority, &ledger).await;
    let mut server = start(launch.clone()).await;
    for (place, events) in WEBHOOKS.iter().enumerate() {
        let url = format!("https://w{place}.example.com:{}/{place}", receiver.port());
        let body = json!({"name": "crash", "url": url, "events": events, "id": format!("wh_{place}")});
        server.api.post("/v1/accounts/default/webhooks", &body).await.expect(201);
    }
    let seed = fastrand::Rng::new().u64(..);
    println!("kills at moments by the seed {seed}");
    let (mut chance, load) = (fastrand::Rng::with_seed(seed), Load::new(&ledger));
    for round in 0..rounds {
        ledger.begin_round(round);
        // As soon as there are enough events, or up to a tenth of a second later.
        let later = Duration::from_micros(chance.u64(0..100_000));
        load.until_killed(server, EVENTS_MIN, later).await;
        // What the dead process has sent belongs to this round.
        receiver.let_go().await;
        ledger.begin_round(round + 1);
        server = start(launch.clone()).await;
    }
    load.repeat_unanswered(&server.api).await;
    drain(&server.api, &ledger).await;
    println!("{}", ledger.judge(&kept(&server.api).await));
    assert!(server.terminate().success(), "SIGTERM ends it well");
}

/// One receiver for all webhooks; it writes every request into the ledger before it answers.
async fn receiver(authority: &Authority, ledger: &Arc<Ledger>) -> Receiver {
    let ledger = Arc::clone(ledger);
    let answer = move |request: &Request| {
        let webhook: usize = request.path().trim_start_matches('/').parse().expect("the place of a webhook");
        let number: u16 = request.header("X-CronDB-Attempt").and_then(|text| text.parse().ok()).expect("a number");
        let success = webhook != FAILS_FIRST || number > 1;
        ledger.came(Came {
            webhook,
            delivery: request.delivery().to_owned(),
            number,
            success,
            body: request.body.clone(),
        });
        let mut steps = status(if success { 200 } else { 500 });
        if webhook == SLOW {
            steps.insert(0, Step::Pause(Duration::from_millis(20)));
        }
        steps
    };
    Receiver::start(Script::choosing(Some(authority.config(Leaf::Good)), Arc::new(answer))).await
}

/// Waits until nothing is unfinished, for as long as it goes on.
async fn drain(api: &Api, ledger: &Ledger) {
    loop {
        let enough = ledger.arrived() + SOMETHING;
        let ended = wait::until("the rest to be delivered", STILL_MAX, async || {
            let left = api.get("/v1/accounts/default/deliveries?status=pending,sending,held&limit=1").await.expect(200);
            let ended = left["data"].as_array().is_some_and(Vec::is_empty);
            (ended || ledger.arrived() >= enough).then_some(ended)
        })
        .await;
        if ended {
            return;
        }
    }
}

/// Every delivery as the API has it, by its id.
async fn kept(api: &Api) -> HashMap<String, Kept> {
    let (mut all, mut cursor) = (HashMap::new(), String::new());
    loop {
        let page = api.get(&format!("/v1/accounts/default/deliveries?limit=100{cursor}")).await.expect(200);
        for row in page["data"].as_array().expect("rows") {
            let text = |name: &str| row[name].as_str().expect("text").to_owned();
            let kept = Kept { event: text("event_id"), webhook: text("webhook_id"), status: text("status") };
            assert!(all.insert(text("id"), kept).is_none(), "a delivery is listed twice");
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}
