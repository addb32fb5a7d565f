//! Traces, in a build with the feature `otel`: a small collector gets spans of accepting, committing and attempts, and each
//! leads back to the producer's trace.

use std::time::Duration;

use crate::receiver::{Receiver, Request, Script, status};
use crate::room::{Room, start};
use crate::server::Launch;
use crate::wait;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn holds(request: &Request, hex: &str) -> bool {
    let wanted = data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("hex");
    request.body.windows(wanted.len()).any(|window| window == wanted)
}

fn text(request: &Request) -> String {
    String::from_utf8_lossy(&request.body).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_reach_the_collector_and_lead_back_to_the_producer() {
    let collector = Receiver::start(Script::answering(None, status(200))).await;
    let receiver = Receiver::start(Script::answering(None, status(503))).await;
    let launch = Launch::new()
        .flag("--allow-private", "127.0.0.0/8")
        .flags("--allow-http")
        .flag("--otlp-endpoint", format!("http://{}", collector.address))
        .environment("OTEL_BSP_SCHEDULE_DELAY", "200");
    let server = start(launch).await;
    let room = Room::open(&server.api, "traced").await;
    room.webhook(&format!("http://{}/canary-path", receiver.address)).await;
    let body = r#"{"account":"traced","event":"alert.rule_created","data":{"canary":"payload"}}"#;
    let traceparent = format!("00-{TRACE}-{SPAN}-01");
    let posted = server.api.send("POST", "/v1/events", &[("traceparent", &traceparent)], body.as_bytes()).await;
    let event = posted.expect(202)["id"].as_str().expect("an id").to_owned();
    room.attempted(&event, 1).await;
    let sent = receiver.requests();
    assert!(sent[0].header("traceparent").is_none(), "receivers are strangers");
    assert!(server.terminate().success());
    wait::until("the last spans", Duration::from_secs(30), async || {
        let all: String = collector.requests().iter().map(text).collect();
        ["accept", "commit", "attempt"].iter().all(|name| all.contains(name)).then_some(())
    })
    .await;
    let requests = collector.requests();
    assert!(requests.iter().all(|request| request.path() == "/v1/traces"));
    assert!(requests.iter().any(|request| holds(request, TRACE) && holds(request, SPAN)));
    let all: String = requests.iter().map(text).collect();
    assert!(all.contains("http_5xx") && all.contains("dlv_"), "{all}");
    for canary in ["canary-path", "payload", "whsec_", crate::server::PLATFORM_KEY] {
        assert!(!all.contains(canary), "{canary} is in a span");
    }
}
