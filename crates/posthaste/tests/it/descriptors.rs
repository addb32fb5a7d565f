//! A server that has no file descriptor left: that is its own shortage, and no failure of a customer's.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::receiver::{Receiver, Script, status};
use crate::room::{Room, start};
use crate::server::Launch;
use crate::wait;

/// For what takes moments on an idle machine.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_an_attempt_waits_and_nothing_is_recorded() {
    let receiver = Receiver::start(Script::answering(None, status(200))).await;
    let launch = Launch::new().flag("--allow-private", "127.0.0.0/8").flags("--allow-http");
    let begun = Instant::now();
    let server = start(launch.under(&["sh", "-c", r#"ulimit -n 64; exec "$0" "$@""#])).await;
    let room = Room::open(&server.api, "scarce").await;
    room.webhook(&format!("http://{}/", receiver.address)).await;
    let mut kept = server.api.connect().await.expect("a connection");
    // The first answer shows that it is accepted.
    let head = format!("Host: x\r\nAuthorization: Bearer {}\r\n", server.api.key());
    let mut answer = [0; 4_096];
    kept.write_all(format!("GET /v1/accounts/scarce HTTP/1.1\r\n{head}\r\n").as_bytes()).await.expect("it is sent");
    assert!(kept.read(&mut answer).await.expect("an answer") > 0);
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(server.api.connect().await.expect("the system takes it"));
    }
    let short = async || server.said().contains("a connection could not be accepted").then_some(());
    wait::until("a server without descriptors", SOON, short).await;
    let body = json!({"account": "scarce", "event": "alert.rule_created", "data": {}}).to_string();
    let post = format!(
        "POST /v1/events HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    kept.write_all(post.as_bytes()).await.expect("it is sent");
    let read = kept.read(&mut answer).await.expect("an answer");
    let text = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(text.starts_with("HTTP/1.1 202 "), "{text}");
    wait::until("a word about it", SOON, async || server.said().contains("attempts cannot be made").then_some(()))
        .await;
    assert!(server.said().contains("LimitNOFILE"), "{}", server.said());
    let event = text.split('"').find(|part| part.starts_with("evt_")).expect("an id").to_owned();

    drop(idle);
    let delivery = room.attempted(&event, 1).await;
    assert_eq!(
        (&delivery["status"], &delivery["attempts"][0]["status_code"]),
        (&json!("delivered"), &json!(200)),
        "{delivery}"
    );
    assert_eq!(delivery["attempts"].as_array().map(Vec::len), Some(1));
    let said = server.said();
    for what in ["could not be accepted", "attempts cannot be made"] {
        let most = 1 + begun.elapsed().as_secs() / 10;
        assert!(said.matches(what).count() as u64 <= most, "{said}");
    }
}
