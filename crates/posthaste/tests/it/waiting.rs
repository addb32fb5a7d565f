//! `posthaste send --wait` over an end of the server: the event was accepted, so it is waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::receiver::{Receiver, Request, Script, status};
use crate::room::{Room, start};
use crate::running::Running;
use crate::server::{Launch, PLATFORM_KEY};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_accepted_is_waited_for_over_an_end_of_the_server() {
    let well = Arc::new(AtomicBool::new(false));
    let answer = {
        let well = Arc::clone(&well);
        move |_: &Request| status(if well.load(Ordering::SeqCst) { 200 } else { 500 })
    };
    let receiver = Receiver::start(Script::choosing(None, Arc::new(answer))).await;
    let launch = Launch::new()
        .flags("--allow-private 127.0.0.0/8 --allow-http --jitter 0")
        .flag("--retry-schedule", "1s,1s,1s,1s,1s,1s,1s,1s,1s,1s");
    let server = start(launch).await;
    let room = Room::open(&server.api, "waits").await;
    room.webhook(&format!("http://{}/", receiver.address)).await;
    let (address, folder) = (server.api.address, tempfile::tempdir().expect("a folder"));
    let url = format!("http://{address}");
    let variables = [("POSTHASTE_URL", &*url), ("POSTHASTE_KEY", PLATFORM_KEY), ("POSTHASTE_ACCOUNT", &*room.account)];
    let arguments = ["send", "watchlist.domain_changed", "--wait", "--within", "2m"];
    let sending = Running::start_with(folder.path(), &arguments, &variables);
    tokio::task::block_in_place(|| sending.until(&["500", "attempt 1"]));
    let launch = server.kill().at(address);
    tokio::task::block_in_place(|| sending.talks(&["The server cannot be asked; trying again."]));
    well.store(true, Ordering::SeqCst);
    let _server = start(launch).await;
    tokio::task::block_in_place(|| sending.until(&["All delivered in"]));
    assert_eq!(sending.ended().0.code(), Some(0));
}
