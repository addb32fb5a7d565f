//! Group T: the routes of the API under foreign keys, absurd inputs and odd addresses.

use serde_json::{Value, json};

use super::events::key_of;
use super::seen::{Played, Seen, shorten};
use super::stage::Stage;
use crate::api::{Api, Reply};
use crate::receiver::status;
use crate::room::Room;
use crate::table::Row;

mod access;
mod secrets;
mod sessions;

/// Two accounts with a key each, and things of b that a must not reach.
pub(super) struct Pair {
    a: Room,
    b: Room,
    key_a: Api,
    webhook_b: String,
    event_b: String,
    delivery_b: String,
    replay_b: String,
    /// A cursor of b's deliveries.
    cursor_b: String,
    /// A delivery of a that was delivered.
    delivered_a: String,
}

impl Pair {
    async fn make(stage: &Stage) -> Self {
        let (a, b) = (Room::open(&stage.main.api, "t-a").await, Room::open(&stage.main.api, "t-b").await);
        let receiver = stage.receiver(status(200)).await;
        let url = |name: &str| format!("https://{name}.example.com:{}/", receiver.port());
        a.webhook(&url("t-a")).await;
        let webhook_b = b.webhook(&url("t-b")).await["id"].as_str().expect("an id").to_owned();
        b.post("").await;
        let event_b = b.post("").await;
        let delivery_b = b.attempted(&event_b, 1).await["id"].as_str().expect("an id").to_owned();
        let page = b.api.get(&b.path("deliveries?limit=1")).await.expect(200);
        let cursor_b = page["next_cursor"].as_str().expect("two deliveries").to_owned();
        let replay = b.api.post(&b.path("replays"), &json!({"webhook": webhook_b})).await.expect(202);
        let replay_b = replay["id"].as_str().expect("an id").to_owned();
        let delivered_a = delivered(&a).await;
        let key_a = key_of(&a, &["account", "events:write"]).await;
        Self { a, b, key_a, webhook_b, event_b, delivery_b, replay_b, cursor_b, delivered_a }
    }
}

/// A delivery that was delivered. On a busy machine an attempt may run out of time; then its delivery waits for the next one, and
/// another is taken.
async fn delivered(room: &Room) -> String {
    for _ in 0..5 {
        let event = room.post("").await;
        let delivery = room.attempted(&event, 1).await;
        if delivery["status"] == "delivered" {
            return delivery["id"].as_str().expect("an id").to_owned();
        }
    }
    panic!("nothing is delivered");
}

pub(super) async fn play(stage: &Stage, row: &Row) -> Played {
    if row.id == "T105" {
        return Played::left_out("nothing from outside makes the shipped binary panic");
    }
    let pair = stage.pair.get_or_init(async || Pair::make(stage).await).await;
    let number: u32 = row.id[1..].parse().expect("a number");
    match number {
        1..=9 => access::wrong_key(stage, row).await,
        10..=29 => foreign(pair, row).await,
        42..=44 => changed(pair, row).await,
        45 => empty_schedule(pair, row).await,
        62..=64 => odd_name(stage, pair, row).await,
        65 => stale(pair, row).await,
        67 => resumed(stage, row).await,
        70 => hundred_tests(stage, row).await,
        83..=91 => access::odd_address(pair, row).await,
        92..=94 => sessions::cross_site(stage, row).await,
        95 => sessions::framed(stage).await,
        96 => access::preflight(pair, row).await,
        97 => sessions::link_used_twice(stage).await,
        98 | 99 => sessions::portal(stage, pair, row).await,
        100..=104 | 109 => secrets::play(stage, row).await,
        106 | 108 => access::sign_ins(stage, row).await,
        107 => access::thousand_requests(stage, row).await,
        115 => access::last_event_id(pair, row).await,
        _ => refused(pair, row).await,
    }
    .into()
}

/// Method, path and body of a row that is a request, its placeholders filled in.
fn request(pair: &Pair, row: &Row, own_webhook: &str) -> (String, String, String) {
    let text = row.text();
    let (method, rest) = text.split_once(' ').expect("a method");
    let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
    let id_of_b = match path {
        path if path.contains("/events/") => &pair.event_b,
        path if path.contains("/deliveries/") => &pair.delivery_b,
        path if path.contains("/replays/") => &pair.replay_b,
        _ => &pair.webhook_b,
    };
    let fill = |text: &str| {
        text.replace("/accounts/a/", &format!("/accounts/{}/", pair.a.account))
            .replace("/accounts/b/", &format!("/accounts/{}/", pair.b.account))
            .replace("{id-of-b}", id_of_b)
            .replace("{id}", own_webhook)
            .replace("{delivered}", &pair.delivered_a)
            .replace("{cursor-of-account-b}", &pair.cursor_b)
    };
    (method.to_owned(), fill(path), fill(body))
}

/// T010–T029: with a key of account a.
async fn foreign(pair: &Pair, row: &Row) -> Seen {
    let (method, path, body) = request(pair, row, "");
    let reply = pair.key_a.send(&method, &path, &[], body.as_bytes()).await;
    let mut seen = Seen::reply(&reply);
    if row.expected == ["status:404"] {
        let never = path
            .replace(&format!("/accounts/{}/", pair.b.account), "/accounts/never-was/")
            .replace(&pair.webhook_b, "wh_00000000000000000000")
            .replace(&pair.event_b, "evt_0000000000000")
            .replace(&pair.replay_b, "rpl_00000000000000000000")
            .replace(&pair.delivery_b, "dlv_000000000000000");
        let other = pair.key_a.send(&method, &never, &[], body.as_bytes()).await;
        seen.must(same(&reply, &other), format!("another answer than for what never was: {}", shorten(&other.text())));
    }
    let intact = pair.b.api.get(&pair.b.path(&format!("webhooks/{}", pair.webhook_b))).await.expect(200);
    seen.must(intact["status"] == "active", "b's webhook was changed");
    let replays = pair.b.api.get(&pair.b.path("replays")).await.expect(200)["data"].clone();
    let only = replays.as_array().is_some_and(|all| all.len() == 1 && all[0]["id"] == *pair.replay_b);
    seen.must(only, format!("b's replays are {replays}"));
    seen
}

/// Whether two problems are the same but for the id of their request.
fn same(one: &Reply, other: &Reply) -> bool {
    let plain = |reply: &Reply| {
        let mut json = reply.json();
        if let Some(members) = json.as_object_mut() {
            members.remove("request_id");
        }
        json
    };
    one.status == other.status && plain(one) == plain(other)
}

/// A webhook of account a for this row alone; nothing is sent to it.
async fn own_webhook(pair: &Pair) -> (String, Value) {
    let webhook =
        pair.a.try_webhook("https://not-yet.example.net/", json!({"events": ["enrichment.failed"]})).await.expect(201);
    let path = pair.a.path(&format!("webhooks/{}", webhook["id"].as_str().expect("an id")));
    let shown = pair.a.api.get(&path).await.expect(200);
    (path, shown)
}

/// A request with the platform's key that must be refused and change nothing.
async fn refused(pair: &Pair, row: &Row) -> Seen {
    let (path_of_webhook, before) = own_webhook(pair).await;
    let (method, path, body) = request(pair, row, before["id"].as_str().expect("an id"));
    let seen = Seen::reply(&pair.a.api.send(&method, &path, &[], body.as_bytes()).await);
    let after = pair.a.api.get(&path_of_webhook).await.expect(200);
    let unchanged = after == before;
    let mut seen = seen;
    seen.must(unchanged || seen.fits("accept"), format!("changed to {after}"));
    seen
}

/// T042–T044: what is taken must be there.
async fn changed(pair: &Pair, row: &Row) -> Seen {
    let (webhook, before) = own_webhook(pair).await;
    let (method, path, body) = request(pair, row, before["id"].as_str().expect("an id"));
    let mut seen = Seen::reply(&pair.a.api.send(&method, &path, &[], body.as_bytes()).await);
    let events = pair.a.api.get(&webhook).await.expect(200)["events"].clone();
    let wanted: Value = serde_json::from_str::<Value>(&body).expect("JSON")["events"].clone();
    seen.must(events[0] == wanted[0], format!("the webhook takes {events}"));
    seen
}

async fn empty_schedule(pair: &Pair, row: &Row) -> Seen {
    let (webhook, before) = own_webhook(pair).await;
    let (method, path, body) = request(pair, row, before["id"].as_str().expect("an id"));
    let mut seen = Seen::reply(&pair.a.api.send(&method, &path, &[], body.as_bytes()).await);
    if seen.fits("accept") {
        let schedule = pair.a.api.get(&webhook).await.expect(200)["retry_schedule"].clone();
        seen.must(schedule == json!([]), format!("taken as {schedule}"));
    }
    seen
}

/// T062–T064: a name that would be something else in another language.
async fn odd_name(stage: &Stage, pair: &Pair, row: &Row) -> Seen {
    let (webhook, before) = own_webhook(pair).await;
    let (method, path, body) = request(pair, row, before["id"].as_str().expect("an id"));
    let reply = pair.a.api.send(&method, &path, &[], body.as_bytes()).await;
    let mut seen = Seen::reply(&reply);
    if !seen.fits("accept") {
        return seen;
    }
    let given = serde_json::from_str::<Value>(&body).expect("JSON")["name"].clone();
    let shown = pair.a.api.get(&webhook).await;
    let kept = shown.json()["name"] == given
        && shown.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    let printed = stage.main.client(&pair.a.account, &["webhooks", "list", "--limit", "100"]);
    let turned =
        |text: &str| text.chars().any(|c| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c));
    seen.must(!turned(&printed), "the client prints what turns the line around");
    seen.check("shown_as_text", kept, "the name is not kept as it was given")
}

async fn stale(pair: &Pair, _row: &Row) -> Seen {
    let (path, _) = own_webhook(pair).await;
    let tag = pair.a.api.get(&path).await.header("etag").expect("an ETag").to_owned();
    pair.a.api.patch(&path, &json!({"name": "changed meanwhile"})).await.expect(200);
    let mut seen = Seen::reply(&pair.a.api.send("PATCH", &path, &[("If-Match", &tag)], br#"{"name":"late"}"#).await);
    seen.must(pair.a.api.get(&path).await.json()["name"] == "changed meanwhile", "it was changed");
    seen
}

/// T067: resuming without a word on what is held must not cancel it.
async fn resumed(stage: &Stage, row: &Row) -> Seen {
    let room = stage.room(row).await;
    let receiver = stage.receiver(status(200)).await;
    let webhook = room.webhook(&format!("https://t067.example.com:{}/", receiver.port())).await;
    let webhook = room.path(&format!("webhooks/{}", webhook["id"].as_str().expect("an id")));
    room.api.post(&format!("{webhook}/pause"), &json!({})).await.expect(200);
    let event = room.post("").await;
    let mut seen = Seen::reply(&room.api.post(&format!("{webhook}/resume"), &json!({})).await);
    let status =
        room.api.get(&room.path(&format!("events/{event}"))).await.expect(200)["deliveries"][0]["status"].clone();
    seen.must(status != "cancelled", "what was held is cancelled");
    seen
}

/// T070: 100 tests in a row, which take less than 10 s.
async fn hundred_tests(stage: &Stage, row: &Row) -> Seen {
    let room = stage.room(row).await;
    let receiver = stage.receiver(status(200)).await;
    let webhook = room.webhook(&format!("https://t070.example.com:{}/", receiver.port())).await;
    let path = room.path(&format!("webhooks/{}/test", webhook["id"].as_str().expect("an id")));
    for _ in 0..100 {
        let reply = room.api.post(&path, &json!({"event": "alert.rule_created"})).await;
        if reply.status != 200 {
            let mut seen = Seen::reply(&reply);
            seen.must(reply.header("retry-after").is_some(), "no Retry-After");
            return seen;
        }
    }
    Seen::word("all were sent")
}
