//! An account is erased: it is gone at once, and soon no byte of it is left in any file, or no row of it in the database, also after
//! a crash meanwhile.

use std::time::Duration;

use data_encoding::HEXLOWER;
use serde_json::json;

use crate::receiver::{Receiver, Script, Step};
use crate::room::start;
use crate::server::{Launch, Server};
use crate::wait;

/// In the account's data, in its webhook, and in its receiver's answers.
const CANARIES: [&str; 3] = ["canary-in-the-payload", "canary-of-a-webhook", "canary-in-an-answer"];

/// Those that are still kept somewhere.
fn held(server: &Server) -> Vec<&'static str> {
    let stored = server.stored();
    let is_in = |canary: &&str| stored.contains(*canary) || stored.contains(&HEXLOWER.encode(canary.as_bytes()));
    CANARIES.into_iter().filter(is_in).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_an_erased_account() {
    let answer = b"HTTP/1.1 500 X\r\nContent-Length: 19\r\n\r\ncanary-in-an-answer".to_vec();
    let receiver = Receiver::start(Script::answering(None, vec![Step::Write(answer)])).await;
    let launch = Launch::new().flag("--allow-private", "127.0.0.0/8").flags("--allow-http --retry-schedule 1ms,1h");
    let server = start(launch.clone()).await;
    let api = server.api.clone();
    api.post("/v1/accounts", &json!({"id": "erased"})).await.expect(201);
    let url = format!("http://{}/", receiver.address);
    let webhook = json!({"name": "canary-of-a-webhook", "url": url, "events": ["*"]});
    api.post("/v1/accounts/erased/webhooks", &webhook).await.expect(201);
    let event = r#"{"account":"erased","event":"alert.rule_created","data":{"is":"canary-in-the-payload"}}"#;
    // More than one transaction of the erasure takes.
    for _ in 0..5 {
        let batch = format!("[{}]", vec![event; 100].join(","));
        api.send("POST", "/v1/events", &[], batch.as_bytes()).await.expect(200);
    }
    let kept = api.post("/v1/events", &json!({"event": "alert.rule_created", "data": {}})).await.expect(202);
    wait::until("an attempt", Duration::from_secs(60), async || {
        let tried = api.get("/v1/accounts/erased/deliveries?error=http_5xx&limit=1").await.expect(200);
        tried["data"].as_array().is_some_and(|rows| !rows.is_empty()).then_some(())
    })
    .await;
    assert!(!held(&server).is_empty(), "it is there, so that it could be left");
    api.delete("/v1/accounts/erased").await.expect(204);
    assert_eq!(api.get("/v1/accounts/erased").await.status, 404);
    assert_eq!(api.get("/v1/accounts/erased/events").await.status, 404);
    // A crash in the middle of it: the next start goes on.
    let server = start(server.kill()).await;
    assert_eq!(server.api.get("/v1/accounts/erased").await.status, 404);
    wait::until("the last byte to go", Duration::from_secs(60), async || held(&server).is_empty().then_some(())).await;
    let path = format!("/v1/accounts/default/events/{}", kept["id"].as_str().expect("an id"));
    server.api.get(&path).await.expect(200);
    // The name may be used again, for another account.
    server.api.post("/v1/accounts", &json!({"id": "erased"})).await.expect(201);
    let events = server.api.get("/v1/accounts/erased/events").await.expect(200);
    assert_eq!(events["data"], json!([]));
}
