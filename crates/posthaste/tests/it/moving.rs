//! Moving house: a server that was killed, a move that was killed in its middle, and a server that goes on in the database
//! with the same ids, secrets, keys and everything that waited.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::time::Timestamp;
use serde_json::{Value, json};
use store::conformance::cluster::Cluster;
use store::postgres::{Address, migrate};

use crate::api::Api;
use crate::receiver::{Receiver, Request, Script, status};
use crate::room::start;
use crate::running::{self, Running};
use crate::server::{ENCRYPTION_KEY, Launch};
use crate::wait;

const WITHIN: Duration = Duration::from_secs(90);
const ACCOUNT: &str = "/v1/accounts/default";
const EVENTS: usize = 15;
/// For tables that are made ahead of the move: it makes those of other days.
const SOME_DAY: Timestamp = Timestamp(1_795_464_000_123_456);

fn posthaste(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command.args(arguments).current_dir(folder).env_clear().env("POSTHASTE_ENCRYPTION_KEY", ENCRYPTION_KEY);
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

async fn webhook(api: &Api, receiver: &Receiver, name: &str, schedule: Value) -> (String, String) {
    let url = format!("http://{}/{name}", receiver.address);
    let body = json!({"name": name, "url": url, "events": ["*"], "retry_schedule": schedule});
    let made = api.post(&format!("{ACCOUNT}/webhooks"), &body).await.expect(201);
    let text = |member: &str| made[member].as_str().expect("a text").to_owned();
    (text("id"), text("secret"))
}

async fn post(api: &Api, n: usize, key: &str) -> Value {
    let body = format!(r#"{{"event":"alert.rule_created","data":{{"n":{n}}}}}"#);
    api.send("POST", "/v1/events", &[("Idempotency-Key", key)], body.as_bytes()).await.expect(202)
}

async fn listed(api: &Api, filter: &str) -> Vec<Value> {
    let path = format!("{ACCOUNT}/deliveries?limit=100{filter}");
    api.get(&path).await.expect(200)["data"].as_array().expect("a list").clone()
}

/// Everything about the deliveries of these webhooks.
async fn log(api: &Api, webhooks: &[&str]) -> Vec<Value> {
    let mut all = Vec::new();
    let mut rows = Vec::new();
    for webhook in webhooks {
        rows.extend(listed(api, &format!("&webhook={webhook}")).await);
    }
    for row in rows {
        let id = row["id"].as_str().expect("an id");
        all.push(api.get(&format!("{ACCOUNT}/deliveries/{id}")).await.expect(200));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_moves_into_a_database_over_two_kills() {
    let _machine = wait::the_machine().await;
    let well = Arc::new(AtomicBool::new(false));
    let answer = {
        let well = Arc::clone(&well);
        move |request: &Request| {
            status(if well.load(Ordering::SeqCst) || request.path() == "/well" { 200 } else { 500 })
        }
    };
    let receiver = Receiver::start(Script::choosing(None, Arc::new(answer))).await;
    let launch = Launch::embedded()
        .flag("--allow-private", "127.0.0.0/8")
        .flags("--allow-http --jitter 0")
        .environment("POSTHASTE_ENCRYPTION_KEY", ENCRYPTION_KEY);
    let server = start(launch.clone()).await;
    let api = &server.api;
    let (well_id, secret) = webhook(api, &receiver, "well", json!(["1h"])).await;
    let (fails, _) = webhook(api, &receiver, "fails", json!(["1ms"])).await;
    let (held, _) = webhook(api, &receiver, "held", json!(["1h"])).await;
    let (retried, _) = webhook(api, &receiver, "retried", json!(["1s", "1h"])).await;
    let (due, _) =
        webhook(api, &receiver, "due", json!(["5s", "5s", "5s", "5s", "5s", "5s", "5s", "5s", "5s", "1h"])).await;
    let still = [&*well_id, &fails, &held, &retried];
    api.post(&format!("{ACCOUNT}/webhooks/{held}/pause"), &json!({})).await.expect(200);
    let mut first = Value::Null;
    for n in 0..EVENTS {
        let accepted = post(api, n, &format!("key-{n}")).await;
        if n == 0 {
            first = accepted;
        }
    }
    wait::until("the attempts", WITHIN, async || {
        let (failed, delivered) = (listed(api, "&status=failed").await, listed(api, "&status=delivered").await);
        let waiting = listed(api, &format!("&status=pending&webhook={retried}")).await;
        let tried = waiting.iter().filter(|row| row["attempts_made"] == 2).count();
        (failed.len() == EVENTS && delivered.len() == EVENTS && tried == EVENTS).then_some(())
    })
    .await;
    let asked = json!({"webhook": fails, "status": "failed", "rate": 1});
    let replay = api.post(&format!("{ACCOUNT}/replays"), &asked).await.expect(202);
    let replay = format!("{ACCOUNT}/replays/{}", replay["id"].as_str().expect("an id"));
    api.post(&format!("{replay}/pause"), &json!({})).await.expect(200);
    wait::until("what was handed over to fail again", WITHIN, async || {
        (listed(api, "&status=failed").await.len() == EVENTS).then_some(())
    })
    .await;
    let (before, replay_before) = (log(api, &still).await, api.get(&replay).await.expect(200));
    assert_eq!(before.len(), EVENTS * 4);
    let (folder, data) = (launch.folder().to_owned(), launch.data().display().to_string());
    // A transaction that is prepared holds its locks without a connection.
    let cluster = Cluster::start(&["max_prepared_transactions = 1"]);
    let database = cluster.database();
    let (code, said) = posthaste(&folder, &["migrate", "--from", &data, "--to", &database]);
    assert!(code == Some(5) && said.contains("in use by another process"), "{code:?} {said}");
    server.kill();

    // The move is held up in its middle, where it has carried the events and comes to what waits, and is killed there.
    let address = Address::parse(&database).expect("an address");
    migrate(&address, SOME_DAY).await.expect("its tables are made");
    let name = database.rsplit('/').next().expect("a name").to_owned();
    let sql = |sql: &str| cluster.run_sql(&name, sql);
    sql("BEGIN; LOCK TABLE hot IN SHARE MODE; PREPARE TRANSACTION 'held up'");
    let variables = [("POSTHASTE_ENCRYPTION_KEY", ENCRYPTION_KEY)];
    let moving = Running::start_with(&folder, &["migrate", "--from", &data, "--to", &database], &variables);
    let moving = tokio::task::spawn_blocking(move || {
        moving.talks(&["carried over: deliveries that have ended"]);
        moving.end("-KILL")
    });
    assert!(!moving.await.expect("it is read").0.success(), "it was killed");
    assert_eq!((sql("SELECT count(*) FROM events"), sql("SELECT count(*) FROM hot")), (EVENTS.to_string(), "0".into()));
    sql("ROLLBACK PREPARED 'held up'");

    let moved = launch.clone().on(&database);
    let refused = tokio::task::spawn_blocking({
        let moved = moved.clone();
        move || moved.try_start().map(|_| ())
    });
    let refused = refused.await.expect("it ends").expect_err("it is not all there");
    assert!(refused.said.contains("a store is being moved into the database"), "{}", refused.said);
    let (code, said) = posthaste(&folder, &["--json", "migrate", "--from", &data, "--to", &database]);
    assert_eq!(code, Some(0), "{said}");
    let said: Value = serde_json::from_str(&said).expect("one JSON document");
    assert_eq!(
        (&said["resumed"], &said["compared"], &said["rows"]["events"]),
        (&json!(true), &json!(true), &json!(EVENTS))
    );
    let (code, again) = posthaste(&folder, &["migrate", "--from", &data, "--to", &database]);
    assert!(code == Some(0) && again.contains("It was moved already"), "{code:?} {again}");
    let refused = tokio::task::spawn_blocking(move || launch.try_start().map(|_| ()));
    let refused = refused.await.expect("it ends").expect_err("it was moved");
    let place = format!("the database {name} at {}", address.hosts());
    assert!(refused.said.contains(&format!("was moved into {place}: it is served from there")), "{}", refused.said);
    let other = cluster.database();
    let (code, said) = posthaste(&folder, &["migrate", "--from", &data, "--to", &other]);
    assert!(code == Some(5) && said.contains(&format!("was moved already, into {place}.")), "{code:?} {said}");
    let (code, said) = posthaste(&folder, &["backup", "--data", &data, "--to", "backup"]);
    assert!(code == Some(5) && said.contains("Back the database up") && !folder.join("backup").exists(), "{said}");
    let (code, said) = posthaste(&folder, &["doctor", "--offline", "--data", &data]);
    assert!(code == Some(1) && said.contains("✕ store      everything in"), "{said}");
    let rotate = ["keys", "rotate-encryption", "--data", &data, "--new-key", "new.key"];
    let (code, said) = posthaste(&folder, &rotate);
    assert!(code == Some(5) && said.contains("Nothing was changed: everything in"), "{code:?} {said}");
    assert!(said.contains(&format!("was moved into {place}")) && !folder.join("new.key").exists(), "{said}");

    let server = start(moved).await;
    let api = &server.api;
    assert_eq!(log(api, &still).await, before);
    assert_eq!(api.get(&replay).await.expect(200), replay_before);
    let repeated = post(api, 0, "key-0").await;
    assert_eq!((&repeated["id"], &repeated["timestamp"]), (&first["id"], &first["timestamp"]), "{repeated}");
    let shown = api.get(&format!("{ACCOUNT}/webhooks/{well_id}/secret")).await.expect(200);
    assert_eq!(shown["secret"], secret.as_str());

    well.store(true, Ordering::SeqCst);
    let new = post(api, EVENTS, "after").await;
    let timestamp = |event: &Value| event["timestamp"].as_str().expect("a timestamp").to_owned();
    assert!(before.iter().all(|delivery| timestamp(delivery) < timestamp(&new)), "{new}");
    let sent = wait::until("the new event", WITHIN, async || {
        let wanted = |request: &Request| request.path() == "/well" && request.json()["data"]["n"] == EVENTS;
        receiver.requests_where(wanted).pop()
    })
    .await;
    std::fs::write(folder.join("body"), &sent.body).expect("it is written");
    let signature = sent.header("X-CronDB-Signature").expect("a signature");
    let (code, said) = posthaste(&folder, &["verify", "--body", "body", "--signature", signature, "--secret", &secret]);
    assert_eq!(code, Some(0), "{said}");
    api.post(&format!("{replay}/resume"), &json!({"rate": 1000})).await.expect(200);
    let resumed = json!({"held": "deliver"});
    api.post(&format!("{ACCOUNT}/webhooks/{held}/resume"), &resumed).await.expect(200);
    wait::until("the replay, the retries that came due, and what was held", WITHIN, async || {
        let done = api.get(&replay).await.expect(200)["status"] == "done";
        let delivered = listed(api, &format!("&status=delivered&webhook={due}")).await.len();
        let left = listed(api, "&status=held").await.len();
        (done && left == 0 && delivered == EVENTS + 1).then_some(())
    })
    .await;
    let waits = listed(api, &format!("&status=pending&webhook={retried}")).await;
    assert_eq!(waits.len(), EVENTS, "their retries are an hour away");
    assert!(server.terminate().success(), "SIGTERM ends it well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_killed_is_given_up_and_the_directory_served_on() {
    let launch = Launch::embedded().environment("POSTHASTE_ENCRYPTION_KEY", ENCRYPTION_KEY);
    let server = start(launch.clone()).await;
    post(&server.api, 0, "one").await;
    let cluster = Cluster::start(&["max_prepared_transactions = 1"]);
    let database = cluster.database();
    let (folder, data) = (launch.folder().to_owned(), launch.data().display().to_string());
    let abandon = ["migrate", "--from", &*data, "--to", &database, "--abandon"];
    let (code, said) = posthaste(&folder, &abandon);
    assert!(code == Some(5) && said.contains("stop the server first"), "{code:?} {said}");
    let launch = server.kill();
    let (code, said) = posthaste(&folder, &abandon);
    assert!(code == Some(5) && said.contains("no move that is unfinished"), "{code:?} {said}");

    let address = Address::parse(&database).expect("an address");
    migrate(&address, SOME_DAY).await.expect("its tables are made");
    let looked_at = || {
        let (code, said) = posthaste(&folder, &["doctor", "--offline", "--database", &database]);
        assert!(said.contains("it is empty: what a store needs will be made at the first start"), "{code:?} {said}");
    };
    // Tables without a store in them.
    looked_at();
    let name = database.rsplit('/').next().expect("a name").to_owned();
    let sql = |sql: &str| cluster.run_sql(&name, sql);
    sql("BEGIN; LOCK TABLE events IN SHARE MODE; PREPARE TRANSACTION 'held up'");
    let variables = [("POSTHASTE_ENCRYPTION_KEY", ENCRYPTION_KEY)];
    let moving = Running::start_with(&folder, &abandon[..5], &variables);
    wait::until("the mark of the move", WITHIN, async || {
        (sql("SELECT count(*) FROM marks WHERE name = 'move'").trim() == "1").then_some(())
    })
    .await;
    moving.end("-KILL");
    sql("ROLLBACK PREPARED 'held up'");
    // Served meanwhile, it has other rows than those that went over: what is left is to take them out.
    let launch = start(launch).await.kill();
    let (code, said) = posthaste(&folder, &abandon[..5]);
    assert!(code == Some(5) && said.contains("empty this one: the same command with --abandon"), "{code:?} {said}");
    let (code, said) = posthaste(&folder, &[&abandon[..], &["--json"]].concat());
    assert!(code == Some(0) && said.contains("\"abandoned\":true"), "{code:?} {said}");
    assert_eq!(sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace").trim(), "0");
    looked_at();
    let server = start(launch).await;
    assert_eq!(
        server.api.get(&format!("{ACCOUNT}/events")).await.expect(200)["data"].as_array().map(Vec::len),
        Some(1)
    );
    let _launch = server.kill();
    let (code, said) = posthaste(&folder, &abandon[..5]);
    assert!(code == Some(0) && said.contains("✓ Moved, and every row compared"), "{code:?} {said}");
}

#[test]
fn what_is_wrong_is_told_by_the_options_that_there_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let says = |from: &str, to: &str, words: &[&str]| {
        let (code, out, err) = running::run(folder.path(), &["migrate", "--from", from, "--to", to]);
        assert!(code == Some(2) && out.is_empty(), "{code:?} {out}{err}");
        assert!(words.iter().all(|word| err.contains(word)), "{words:?}: {err}");
    };
    let nobody = "postgres://posthaste@127.0.0.1:1/x";
    says(".", "foo", &["Setting database: ", "given by: --to"]);
    says("nope", nobody, &["there is no directory nope", "given by: --from"]);
    says(".", nobody, &["there is no store in .", "given by: --from"]);
    assert!(!folder.path().join("nope").exists(), "nothing was made");
    let (code, _, err) = running::run(folder.path(), &["keys", "rotate-encryption", "--data", "nope"]);
    assert!(code == Some(2) && err.contains("there is no directory nope"), "{code:?} {err}");
}
