//! Backups of a server under load: what was acknowledged before one began is in it, and goes on from it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use crate::api::Api;
use crate::receiver::{Receiver, Script, status};
use crate::room::start;
use crate::server::Launch;
use crate::wait;

/// Events that are acknowledged before the backup begins.
const EVENTS: usize = 200;
/// For what is left to be delivered from the backup.
const DELIVERED_MAX: Duration = Duration::from_secs(120);

/// The binary with these arguments, without a server.
pub(crate) fn posthaste(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command.args(arguments).current_dir(folder).env_clear().output().expect("the binary runs")
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn text(path: &Path) -> String {
    path.to_str().expect("a plain path").to_owned()
}

async fn run(folder: PathBuf, arguments: Vec<String>) -> Output {
    let call = move || posthaste(&folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(call).await.expect("it runs")
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Posts events until it is told to stop; keeps the ids of those that were acknowledged.
fn load(api: &Api, acknowledged: &Arc<Mutex<Vec<String>>>, stop: &Arc<AtomicBool>) -> JoinSet<()> {
    let count = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..8 {
        let (api, acknowledged, stop, count) = (api.clone(), acknowledged.clone(), stop.clone(), count.clone());
        workers.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let n = count.fetch_add(1, Ordering::SeqCst);
                let body = format!(r#"{{"event":"alert.rule_created","data":{{"n":{n}}}}}"#);
                let Ok(reply) = api.try_send("POST", "/v1/events", &[], body.as_bytes()).await else { return };
                if reply.status == 202 {
                    let id = reply.json()["id"].as_str().expect("an id").to_owned();
                    acknowledged.lock().expect("no panic before").push(id);
                }
            }
        });
    }
    workers
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_backup_is_delivered_from_it() {
    let healed = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&healed);
    let answer = move |_: &_| status(if well.load(Ordering::SeqCst) { 200 } else { 500 });
    let receiver = Receiver::start(Script::choosing(None, Arc::new(answer))).await;
    let launch = Launch::embedded()
        .flag("--allow-private", "127.0.0.0/8")
        .flags("--allow-http --jitter 0 --max-in-flight 100")
        .flag("--retry-schedule", ["5s"; 20].join(","));
    let server = start(launch.clone()).await;
    let url = format!("http://{}/", receiver.address);
    let webhook = json!({"name": "backed up", "url": url, "events": ["*"]});
    let webhook = server.api.post("/v1/accounts/default/webhooks", &webhook).await.expect(201);
    let secret = webhook["secret"].as_str().expect("a secret").to_owned();
    let (acknowledged, stop) = (Arc::default(), Arc::default());
    let mut workers = load(&server.api, &acknowledged, &stop);
    let so_far = || acknowledged.lock().expect("no panic before").clone();
    wait::until("enough events", DELIVERED_MAX, async || (so_far().len() >= EVENTS).then_some(())).await;

    let before = so_far();
    let folder = launch.folder().to_owned();
    let (data, backup) = (text(&launch.data()), text(&folder.join("backup")));
    let made = run(folder.clone(), words(&format!("--json backup --data {data} --to {backup} --with-key"))).await;
    assert!(made.status.success(), "{}", said(&made));
    let printed: Value = serde_json::from_slice(&made.stdout).expect("one JSON document");
    let mut files = std::fs::read_dir(folder.join("backup")).expect("it is there");
    assert!(
        files.all(|file| !text(&file.expect("a file").path()).contains(".db-")),
        "nothing but what the manifest names"
    );
    assert!(printed["manifest"]["rows"]["events"].as_u64().expect("a number") as usize >= before.len());
    assert!(so_far().len() > before.len(), "events were accepted while the backup was made");
    let again = run(folder.clone(), words(&format!("backup --data {data} --to {backup}"))).await;
    assert_eq!(again.status.code(), Some(5), "a backup is not overwritten: {}", said(&again));
    let keyless = run(folder.clone(), words(&format!("backup --data {data} --to {backup}-keyless"))).await;
    assert!(said(&keyless).contains("NOT in the backup"), "{}", said(&keyless));
    assert!(!folder.join("backup-keyless/encryption.key").exists());
    stop.store(true, Ordering::SeqCst);
    while workers.join_next().await.is_some() {}
    server.kill();
    healed.store(true, Ordering::SeqCst);

    let verified = run(folder.clone(), words(&format!("backup verify {backup}"))).await;
    assert!(verified.status.success(), "{}", said(&verified));
    let refused = run(folder.clone(), words(&format!("restore --from {backup} --data {data}"))).await;
    assert_eq!(refused.status.code(), Some(5), "{}", said(&refused));
    let restored = launch.clone().elsewhere();
    let target = text(&restored.data());
    let done = run(folder.clone(), words(&format!("restore --from {backup} --data {target}"))).await;
    assert!(done.status.success(), "{}", said(&done));
    let server = start(restored).await;
    let path = format!("/v1/accounts/default/webhooks/{}/secret", webhook["id"].as_str().expect("an id"));
    assert_eq!(server.api.get(&path).await.expect(200)["secret"], secret.as_str());
    wait::until("the rest to be delivered", DELIVERED_MAX, async || {
        let left = server.api.get("/v1/accounts/default/deliveries?status=pending,sending&limit=1").await.expect(200);
        left["data"].as_array().is_some_and(Vec::is_empty).then_some(())
    })
    .await;
    for id in before {
        let event = server.api.get(&format!("/v1/accounts/default/events/{id}")).await.expect(200);
        assert_eq!(event["deliveries"][0]["status"], "delivered", "{event}");
    }
    assert!(server.terminate().success());
    damage(&folder, &backup).await;
}

/// A backup of which one byte is another is refused, whichever file it is in.
async fn damage(folder: &Path, backup: &str) {
    for file in ["posthaste.db", "encryption.key", "manifest.json"] {
        let path = Path::new(backup).join(file);
        let whole = std::fs::read(&path).expect("it is read");
        let mut bytes = whole.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, &bytes).expect("it is written");
        let verified = run(folder.to_owned(), words(&format!("backup verify {backup}"))).await;
        assert_eq!(verified.status.code(), Some(1), "{file}: {}", said(&verified));
        let target = format!("{backup}-of-{file}");
        let restored = run(folder.to_owned(), words(&format!("restore --from {backup} --data {target}"))).await;
        assert_eq!(restored.status.code(), Some(1), "{file}: {}", said(&restored));
        assert!(!Path::new(&target).exists(), "nothing is left of a restore that was refused");
        std::fs::write(&path, &whole).expect("it is written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_without_its_key_says_what_is_missing() {
    let launch = Launch::embedded();
    let folder = launch.folder().to_owned();
    let server = start(launch.clone()).await;
    let (data, backup) = (text(&launch.data()), text(&folder.join("backup")));
    let made = run(folder.clone(), words(&format!("backup --data {data} --to {backup}"))).await;
    assert!(made.status.success(), "{}", said(&made));
    assert!(server.terminate().success());
    let restored = launch.clone().elsewhere();
    let target = text(&restored.data());
    let done = run(folder.clone(), words(&format!("restore --from {backup} --data {target}"))).await;
    assert!(done.status.success() && said(&done).contains("encryption key is not in the backup"), "{}", said(&done));
    let refused = tokio::task::spawn_blocking({
        let restored = restored.clone();
        move || restored.try_start().expect_err("its key is missing")
    });
    let refused = refused.await.expect("it runs");
    assert!(refused.status.code() == Some(2) && refused.said.contains("encryption-key"), "{}", refused.said);
    std::fs::copy(launch.data().join("encryption.key"), restored.data().join("encryption.key")).expect("it is copied");
    let server = start(restored).await;
    server.api.get("/v1/accounts/default").await.expect(200);
}

/// Writes another layout into the header of a database, as a newer release would have. Nobody may serve it.
fn newer(database: &Path) {
    let mut bytes = std::fs::read(database).expect("it is read");
    // Where SQLite keeps `user_version`.
    bytes[60..64].copy_from_slice(&99u32.to_be_bytes());
    std::fs::write(database, bytes).expect("it is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_release_has_written_is_not_called_damaged() {
    let launch = Launch::embedded();
    let folder = launch.folder().to_owned();
    assert!(start(launch.clone()).await.terminate().success());
    let (data, backup) = (text(&launch.data()), text(&folder.join("backup")));
    let made = run(folder.clone(), words(&format!("backup --data {data} --to {backup}"))).await;
    assert!(made.status.success(), "{}", said(&made));
    let refuses = async |command: &str, expected: &[&str]| {
        let refused = run(folder.clone(), words(command)).await;
        let said = said(&refused);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(expected.iter().all(|word| said.contains(word)) && !said.contains("damaged"), "{said}");
    };

    newer(&launch.data().join("posthaste.db"));
    let command = format!("backup --data {data} --to {}", text(&folder.join("other")));
    refuses(&command, &["written by a newer posthaste, with layout 99", "Back it up with the release that serves it"])
        .await;
    assert!(!folder.join("other").exists() && !folder.join("other.part").exists(), "nothing is left of it");

    let database = Path::new(&backup).join("posthaste.db");
    newer(&database);
    let manifest = Path::new(&backup).join("manifest.json");
    let mut written: Value = serde_json::from_slice(&std::fs::read(&manifest).expect("it is read")).expect("JSON");
    let hash = Sha256::digest(std::fs::read(&database).expect("it is read"));
    written["files"][0]["sha256"] = data_encoding::HEXLOWER.encode(&hash).into();
    written["version"] = "9.9.9".into();
    std::fs::write(&manifest, written.to_string()).expect("it is written");
    let target = text(&folder.join("target"));
    let newer = ["was made by a newer posthaste, 9.9.9", "use 9.9.9 or a later one"];
    refuses(&format!("backup verify {backup}"), &newer).await;
    refuses(&format!("restore --from {backup} --data {target}"), &newer).await;
    std::fs::write(&manifest, r#"{"format": 2, "version": "9.9.9", "other": "members"}"#).expect("it is written");
    refuses(&format!("backup verify {backup}"), &newer).await;
    assert!(!Path::new(&target).exists(), "nothing was restored");
}
