//! Group H: custom headers given for a webhook, at its creation and by PATCH; those that are taken must arrive.

use serde_json::{Value, json};

use super::seen::{Played, Seen};
use super::stage::Stage;
use crate::api::Reply;
use crate::receiver::{Receiver, status};
use crate::room::Room;
use crate::table::Row;

type Pairs = Vec<(String, String)>;

pub(super) async fn play(stage: &Stage, row: &Row) -> Played {
    let receiver = stage.receiver(status(200)).await;
    let room = stage.room(row).await;
    let url = format!("https://{}.example.com:{}/", room.account, receiver.port());
    let pairs = pairs(row);
    let created = create(&room, &url, &pairs).await;
    let mut seen = Seen::reply_about(&created, "/headers");
    let listed = room.api.get(&room.path("webhooks")).await.expect(200);
    let kept = listed["data"].as_array().map_or(0, Vec::len);
    seen.must(kept == usize::from(seen.fits("accept")), format!("{kept} webhooks are kept"));
    if seen.fits("accept") {
        masked(&created.json(), &pairs, &mut seen);
        arrived(&room, &receiver, &pairs, &mut seen).await;
        if row.id == "H050" {
            let own = create(&room, &url, &vec![("X-Acme-Foo".to_owned(), "v".to_owned())]).await;
            seen.must(Seen::reply(&own).fits("refuse:header_forbidden"), "the configured prefix is not reserved");
        }
    }
    seen.and(change(&room, &pairs).await).into()
}

/// The headers that a row gives.
fn pairs(row: &Row) -> Pairs {
    match row.id.as_str() {
        "H046" => (0..21).map(|n| (format!("X-{n:02}"), "123456".to_owned())).collect(),
        "H048" => (0..4).map(|n| (format!("X-{n}"), "a".repeat(1_050 - 3))).collect(),
        _ => {
            let split = |text: &str| {
                let (name, value) = text.split_once(": ").expect("a name and a value");
                (name.to_owned(), value.to_owned())
            };
            row.text().split(" && ").map(split).collect()
        }
    }
}

/// Written by hand: a name may stand twice.
fn members(pairs: &Pairs) -> String {
    let member = |(name, value): &(String, String)| format!("{}:{}", json!(name), json!(value));
    format!("{{{}}}", pairs.iter().map(member).collect::<Vec<_>>().join(","))
}

async fn create(room: &Room, url: &str, pairs: &Pairs) -> Reply {
    let body = format!(r#"{{"name":"headers","url":{},"events":["*"],"headers":{}}}"#, json!(url), members(pairs));
    room.api.send("POST", &room.path("webhooks"), &[], body.as_bytes()).await
}

/// No value is ever shown.
fn masked(webhook: &Value, pairs: &Pairs, seen: &mut Seen) {
    for (name, value) in pairs {
        let shown = webhook["headers"][name].as_str();
        seen.must(shown.is_some(), format!("{name} is not listed"));
        seen.must(value.is_empty() || shown != Some(value), format!("the value of {name} is shown"));
    }
}

/// Every header arrives as it was given.
async fn arrived(room: &Room, receiver: &Receiver, pairs: &Pairs, seen: &mut Seen) {
    let event = room.post("").await;
    let attempt = room.attempted(&event, 1).await["attempts"][0].clone();
    seen.must(Seen::attempt(&attempt).fits("delivered"), format!("not delivered: {}", attempt["error"]));
    let requests = receiver.requests();
    let Some(request) = requests.first() else { return };
    for (name, value) in pairs {
        let came: Vec<&str> =
            request.headers().filter(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect();
        seen.must(came == [value.as_str()], format!("{name} arrived as {came:?}"));
    }
}

/// The same headers by PATCH: what is refused must change nothing.
async fn change(room: &Room, pairs: &Pairs) -> Seen {
    let id = room.webhook("https://not-yet.example.net/").await["id"].clone();
    let path = room.path(&format!("webhooks/{}", id.as_str().expect("an id")));
    let before = room.api.get(&path).await.expect(200);
    let body = format!(r#"{{"headers":{}}}"#, members(pairs));
    let changed = room.api.send("PATCH", &path, &[], body.as_bytes()).await;
    let mut seen = Seen::reply_about(&changed, "/headers");
    if !seen.fits("accept") {
        seen.must(room.api.get(&path).await.expect(200) == before, "a refused PATCH changed the webhook");
    }
    seen
}
