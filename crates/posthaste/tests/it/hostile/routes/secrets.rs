//! Rows of group T about secrets: a canary secret and a canary header value, and where they must not turn up.

use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use domain::secret::SigningSecret;
use domain::signature::{Check, verify};
use serde_json::{Value, json};

use super::super::seen::Seen;
use super::super::stage::Stage;
use crate::receiver::{Request, status};
use crate::room::Room;
use crate::table::Row;
use crate::wait;

/// The bytes of the canary secret.
const SECRET_BYTES: &[u8; 32] = b"canary-of-the-signing-secret-32b";
/// The value of the canary header.
const VALUE: &str = "canary-of-a-custom-header-value";

pub(super) async fn play(stage: &Stage, row: &Row) -> Seen {
    if row.id == "T109" {
        return old_secret(stage, row).await;
    }
    let room = stage.room(row).await;
    let receiver = stage.receiver(status(500)).await;
    let url = format!("https://{}.example.com:{}/", room.account, receiver.port());
    let secrets = json!({"secret": secret(), "headers": {"X-Canary": VALUE}});
    let webhook = room.try_webhook(&url, secrets).await.expect(201);
    let (delivery, request) = sent(&room, &receiver).await;
    assert_eq!(request.header("X-Canary"), Some(VALUE), "the canary is sent, so that it could turn up");
    let path = room.path(&format!("webhooks/{}", webhook["id"].as_str().expect("an id")));
    let texts = match row.id.as_str() {
        "T100" => {
            let shown = [room.api.get(&path).await.text(), room.api.get(&room.path("webhooks")).await.text()];
            let printed = stage.main.client(&room.account, &["webhooks", "list"]);
            vec![shown.concat(), printed, delivery.to_string(), webhook["headers"].to_string()]
        }
        "T101" => error_answers(&room, &path).await,
        "T104" => {
            let exported = room.api.get(&room.path("deliveries/export?attempts=true")).await.text();
            vec![exported, stage.main.client(&room.account, &["deliveries", "export", "--attempts"])]
        }
        "T102" => vec![stage.main.api.get("/metrics").await.text()],
        _ => vec![stage.main.stored(), stage.main.said()],
    };
    let hits = texts.iter().filter(|text| turns_up(text)).count();
    let empty = texts.iter().any(String::is_empty);
    Seen::default().check("no_secret", hits == 0 && !empty, format!("{hits} texts hold a canary"))
}

fn secret() -> String {
    format!("whsec_{}", BASE64.encode(SECRET_BYTES))
}

fn turns_up(text: &str) -> bool {
    let plain = String::from_utf8_lossy(SECRET_BYTES);
    let canaries = [VALUE, &secret(), &BASE64.encode(SECRET_BYTES), &plain];
    // A dump of a database shows bytes in hexadecimal.
    canaries.iter().any(|canary| text.contains(*canary) || text.contains(&HEXLOWER.encode(canary.as_bytes())))
}

/// Answers to requests that hold a canary and something wrong.
async fn error_answers(room: &Room, webhook: &str) -> Vec<String> {
    let headers = json!({"X-Canary": VALUE, "Host": VALUE, "X A": VALUE, "X-B": format!("{VALUE}\u{1}")});
    let bad_secret = format!("{}!", secret());
    let replies = [
        room.api.patch(webhook, &json!({"headers": headers, "timeout": VALUE.len()})).await,
        room.try_webhook("http://example.com/", json!({"secret": secret(), "headers": headers})).await,
        room.try_webhook("https://example.com/", json!({"secret": bad_secret})).await,
        room.api.patch(webhook, &json!({"secret": secret()})).await,
    ];
    assert!(replies.iter().all(|reply| reply.status == 422), "each of these is refused");
    replies.iter().map(crate::api::Reply::text).collect()
}

/// T109: while the overlap lasts the old secret signs too; after it, it signs nothing.
async fn old_secret(stage: &Stage, row: &Row) -> Seen {
    let room = stage.room(row).await;
    let receiver = stage.receiver(status(200)).await;
    let webhook = room.webhook(&format!("https://t109.example.com:{}/", receiver.port())).await;
    let path = room.path(&format!("webhooks/{}/secret", webhook["id"].as_str().expect("an id")));
    let old = SigningSecret::parse(webhook["secret"].as_str().expect("a secret")).expect("a secret");
    let rotated = room.api.post(&format!("{path}/rotate"), &json!({"overlap": "30s"})).await.expect(200);
    let new = SigningSecret::parse(rotated["secret"].as_str().expect("a secret")).expect("a secret");
    let (_, during) = sent(&room, &receiver).await;
    wait::until("the end of the overlap", Duration::from_secs(90), async || {
        let shown: Value = room.api.get(&path).await.expect(200);
        shown["previous"].is_null().then_some(())
    })
    .await;
    let (_, after) = sent(&room, &receiver).await;
    let mut seen = Seen::default();
    seen.must(signed(&during, &old) && count(&during) == 2, "during the overlap not as the page's verify has it");
    seen.must(signed(&after, &new), "after the overlap not signed with the new secret");
    seen.check("absent", !signed(&after, &old) && count(&after) == 1, "the old secret still signs")
}

/// The delivery of another event, and its request. On a busy machine an attempt may run out of time before it is sent; then another is taken.
async fn sent(room: &Room, receiver: &crate::receiver::Receiver) -> (Value, Request) {
    for _ in 0..5 {
        let event = room.post("").await;
        let delivery = room.attempted(&event, 1).await;
        let of_it = |request: &Request| request.header("webhook-id") == delivery["id"].as_str();
        if let Some(request) = receiver.requests_where(of_it).pop() {
            return (delivery, request);
        }
    }
    panic!("nothing is sent")
}

fn signed(request: &Request, secret: &SigningSecret) -> bool {
    let header = request.header("X-CronDB-Signature").unwrap_or_default();
    verify(&request.body, header, secret) == Check::Valid
}

/// How many signatures the standard header carries.
fn count(request: &Request) -> usize {
    request.header("webhook-signature").unwrap_or_default().split(' ').count()
}
