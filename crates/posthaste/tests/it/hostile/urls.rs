//! Groups U and L: URL text given for a webhook, at its creation and by PATCH.

use serde_json::json;

use super::seen::{Played, Seen};
use super::stage::{NOTHING_OPENED, Stage};
use crate::receiver::status;
use crate::room::{Room, attempt};
use crate::table::Row;

/// How rows are stored whose note says so.
const STORED: [(&str, &str); 8] = [
    ("U015", "https://example.com/"),
    ("U025", "https://example.com/%0d%0aHost:%20x"),
    ("U044", "https://example.com/"),
    ("U045", "https://example.com/"),
    ("U071", "https://example.com/etc/passwd"),
    ("U072", "https://example.com/"),
    ("U073", "https://example.com/%2e%2e/%2f"),
    ("U046", "https://example.com:8443/"),
];

pub(super) async fn play(stage: &Stage, row: &Row) -> Played {
    // Most URLs are refused for what they are: no opened range may have a say in it.
    let condition = if row.condition.is_empty() { NOTHING_OPENED } else { &row.condition };
    let room = Room::open(&stage.server(condition).await.api, &row.id.to_ascii_lowercase()).await;
    let url = row.text();
    let created = room.try_webhook(&url, json!({})).await;
    let mut seen = Seen::reply_about(&created, "/url");
    if let Some((_, stored)) = STORED.iter().find(|(id, _)| *id == row.id) {
        let answered = created.json()["url"].clone();
        seen.must(answered == *stored, format!("stored as {answered}"));
    }
    if row.id == "U052" {
        seen.must(created.text().contains("xn--pple-43d.com"), "the hint does not name xn--pple-43d.com");
    }
    if row.id == "U025" {
        seen = seen.and(sent_as_stored(stage).await);
    }
    let listed = room.api.get(&room.path("webhooks")).await.expect(200);
    let kept = listed["data"].as_array().map_or(0, Vec::len);
    seen.must(kept == usize::from(seen.fits("accept")), format!("{kept} webhooks are kept"));
    seen.and(change(&room, &url).await).into()
}

/// The same text by PATCH: what is refused must change nothing.
async fn change(room: &Room, url: &str) -> Seen {
    // A name that does not resolve yet is taken by every server.
    let id = room.webhook("https://not-yet.example.net/").await["id"].clone();
    let path = room.path(&format!("webhooks/{}", id.as_str().expect("an id")));
    let before = room.api.get(&path).await.expect(200);
    let changed = room.api.patch(&path, &json!({"url": url})).await;
    let mut seen = Seen::reply_about(&changed, "/url");
    if !seen.fits("accept") {
        seen.must(room.api.get(&path).await.expect(200) == before, "a refused PATCH changed the webhook");
    }
    seen
}

/// What is percent-encoded goes out as it is stored. The row's own port, 443, is not the tests' to listen on.
async fn sent_as_stored(stage: &Stage) -> Seen {
    let receiver = stage.receiver(status(200)).await;
    let url = format!("https://u025.example.com:{}/%0d%0aHost:%20x", receiver.port());
    let own = Room::open(&stage.main.api, "u025-sent").await;
    let (_, _) = attempt(&own, &url).await;
    let mut seen = Seen::word("accept");
    let paths: Vec<String> = receiver.requests().iter().map(|request| request.path().to_owned()).collect();
    seen.must(paths == ["/%0d%0aHost:%20x"], format!("sent as {paths:?}"));
    seen
}
