//! What an operator relies on: figures with bounded labels and documented names, log lines that a machine can read, and
//! `doctor`, `ready` and `config show`.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::certificates::{Authority, Leaf};
use crate::receiver::{Receiver, Script, status};
use crate::room::{Room, start};
use crate::server::Launch;

/// Names of labels, and how many values each may have: those that the code knows.
const LABELS: [(&str, usize); 5] = [("outcome", 17), ("status", 3), ("class", 5), ("code", 40), ("le", 20)];
const GUIDE: &str = include_str!("../../../../docs/guides/operating.md");

/// The figures: for each sample its name and its labels.
fn samples(text: &str) -> Vec<(String, BTreeMap<String, String>)> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (series, _value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
            let pair = |label: &str| {
                let (name, value) = label.split_once('=').expect("a label");
                (name.to_owned(), value.trim_matches('"').to_owned())
            };
            (name.to_owned(), labels.map(pair).collect())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_bounded_named_by_the_rules_and_in_the_guide() {
    let receiver = Receiver::start(Script::answering(None, status(503))).await;
    let launch = Launch::new().flag("--allow-private", "127.0.0.0/8").flags("--allow-http");
    let server = start(launch).await;
    for n in 0..3 {
        let room = Room::open(&server.api, &format!("figures-{n}")).await;
        room.webhook(&format!("http://{}/", receiver.address)).await;
        let event = room.post("").await;
        let delivery = room.attempted(&event, 1).await;
        let cancel = room.path(&format!("deliveries/{}/cancel", delivery["id"].as_str().expect("an id")));
        server.api.post(&cancel, &json!({})).await.expect(200);
        let bad = json!({"account": room.account, "event": format!("no.such_type_{n}"), "data": {}});
        server.api.post("/v1/events", &bad).await.expect(422);
        let mixed = format!(r#"[{{"event":"alert.rule_created","data":{{}}}},{{"event":"nothing.{n}","data":{{}}}}]"#);
        server.api.send("POST", "/v1/events", &[], mixed.as_bytes()).await.expect(200);
    }
    let text = server.api.get("/metrics").await.text();
    let all = samples(&text);
    let mut values = BTreeMap::<_, BTreeSet<_>>::new();
    for (name, labels) in &all {
        assert!(name.starts_with("posthaste_") || name.starts_with("process_"), "{name}");
        for (label, value) in labels {
            values.entry(label.clone()).or_default().insert(value.clone());
            for stranger in ["figures-", "evt_", "wh_", "dlv_", "key_", "127.0.0", "no.such", "nothing."] {
                assert!(!value.contains(stranger), "{name} has {label}={value:?}");
            }
        }
    }
    for (label, found) in values {
        let bound = LABELS.iter().find(|(name, _)| *name == label).unwrap_or_else(|| panic!("{label} is no label"));
        assert!(found.len() <= bound.1, "{label}: {found:?}");
    }
    let mut documented = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a type");
        let shown = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        let unit = ["seconds", "bytes"].into_iter().find(|unit| name.contains(unit));
        assert!(unit.is_none_or(|unit| name.ends_with(unit)), "{name}: a unit stands at the end");
        assert!(kind != "histogram" || unit.is_some(), "{name} has no unit");
        assert!(GUIDE.contains(&format!("| `{shown}` |")), "{shown} is not in the guide");
        documented.insert(shown);
    }
    let in_database = server.launch().database().is_some();
    for row in GUIDE.lines().filter_map(|line| line.strip_prefix("| `p")) {
        let name = format!("p{}", row.split('`').next().expect("a name"));
        let figure = name.starts_with("posthaste_") || name.starts_with("process_");
        if in_database && row.contains("absent with a database") {
            documented.insert(name.clone());
        }
        assert!(!figure || documented.contains(&name), "the guide has {name}, and /metrics has not");
    }
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
        line.trim().parse::<f64>().expect("a number")
    };
    assert!(value("posthaste_events_accepted_total ") >= 6.0);
    assert!(value("posthaste_events_refused_total{code=\"input_invalid\"} ") >= 6.0);
    assert!(value("posthaste_attempts_total{outcome=\"http_5xx\"} ") >= 3.0);
    assert!(value("posthaste_store_commit_duration_seconds_count ") >= 3.0);
    assert!(value("posthaste_attempt_lag_seconds_count ") >= 3.0);
    assert!(value("process_resident_memory_bytes ") > 1e6);
    assert!(in_database || value("posthaste_disk_free_bytes ") > 0.0);
    let rules = include_str!("../../../../packaging/alerts.yml");
    for word in rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        if word.starts_with("posthaste_") || word.starts_with("process_") {
            let base = word.trim_end_matches("_bucket");
            assert!(documented.contains(base), "a rule names {word}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_are_json_with_stable_members_and_no_secret() {
    let launch = Launch::new().flags("--log-format json --log debug");
    let server = start(launch).await;
    let secret = format!("whsec_{}", data_encoding::BASE64.encode(b"canary-of-the-log-lines-32-bytes"));
    let webhook = json!({"name": "logged", "url": "https://logged.example.com/canary-path?canary-query", "events": ["*"],
        "secret": secret, "headers": {"X-Api-Key": "canary-header-value"}});
    server.api.post("/v1/accounts/default/webhooks", &webhook).await.expect(201);
    let refused = server.api.get("/v1/accounts/nobody").await;
    assert_eq!(refused.status, 404);
    let request_id = refused.json()["request_id"].as_str().expect("an id").to_owned();
    let event = json!({"event": "alert.rule_created", "data": {"canary": "canary-payload"}});
    server.api.post("/v1/events", &event).await.expect(202);
    server.api.with_key("phk_canary_of_a_wrong_key_0123456789").get("/v1/accounts").await.expect(401);
    let said = server.said();
    let lines: Vec<Value> = said
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        for member in ["timestamp", "level", "target"] {
            assert!(line[member].is_string(), "{member} is missing in {line}");
        }
        assert!(line["fields"]["message"].is_string(), "{line}");
        instant(line["timestamp"].as_str().expect("text"));
    }
    let said_of = |message: &str| lines.iter().find(|line| line["fields"]["message"] == message).cloned();
    let created = said_of("webhook created").expect("it is told");
    assert_eq!((&created["level"], &created["fields"]["account"]), (&json!("INFO"), &json!("default")));
    let told = lines.iter().any(|line| line["fields"]["request_id"] == *request_id && line["level"] == "DEBUG");
    assert!(told, "a refused request is found by its id:\n{said}");
    let canaries = ["canary-header-value", "canary-payload", "canary-path", "canary-query", "phk_", &secret];
    for canary in canaries {
        assert!(!said.contains(canary), "{canary} is in the log:\n{said}");
    }
}

/// Panics if it is no instant of RFC 3339.
fn instant(text: &str) {
    assert!(text.ends_with('Z') && text.len() >= 20 && text.as_bytes()[10] == b'T', "{text}");
}

fn run(launch: &Launch, arguments: &[&str]) -> (Option<i32>, String) {
    let (code, said, _) = crate::running::run(launch.folder(), arguments);
    (code, said)
}

fn findings(said: &str) -> BTreeMap<String, (bool, String)> {
    let line = |line: &str| {
        let found: Value = serde_json::from_str(line).expect("JSON");
        let text = |name: &str| found[name].as_str().expect("text").to_owned();
        (text("check"), (found["ok"].as_bool().expect("a switch"), text("found")))
    };
    said.lines().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_what_is_wrong_and_says_the_way_out() {
    let launch = Launch::embedded();
    let server = start(launch.clone()).await;
    server.api.post("/v1/events", &json!({"event": "alert.rule_created", "data": {}})).await.expect(202);
    let data = launch.data();
    let arguments =
        ["--json", "doctor", "--offline", "--data", data.to_str().expect("plain"), "--resolver", "127.0.0.1:9"];
    // While it is served.
    let (_, said) = run(&launch, &arguments);
    let found = findings(&said);
    for check in ["data", "space", "fsync", "encryption", "store", "clock", "egress", "settings"] {
        assert!(found.get(check).is_some_and(|(ok, _)| *ok || check == "space"), "{check}: {said}");
    }
    assert!(found["store"].1.contains("1 events"), "{said}");
    assert!(!found["names"].0, "nobody answers there: {said}");
    assert_eq!(run(&launch, &["ready", "--server", &format!("http://{}", server.api.address)]).0, Some(0));
    let address = server.api.address;
    assert!(server.terminate().success());
    assert_eq!(run(&launch, &["ready", "--server", &format!("http://{address}")]).0, Some(6));

    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let key = data.join("encryption.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
    let (code, said) = run(&launch, &arguments);
    let found = findings(&said);
    assert_eq!(code, Some(1));
    assert!(!found["data"].0 && found["data"].1.contains("chmod 700"), "{said}");
    assert!(!found["encryption"].0 && found["encryption"].1.contains("chmod 600"), "{said}");
    std::fs::write(&key, data_encoding::BASE64.encode(&[1; 32])).expect("it is written");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    let (_, said) = run(&launch, &arguments);
    assert!(findings(&said)["encryption"].1.contains("another key"), "{said}");
    let lock = data.join("lock");
    std::fs::remove_file(&lock).and_then(|()| std::fs::create_dir(&lock)).expect("it is ours");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).expect("it is ours");
    let (_, said) = run(&launch, &arguments);
    let found = &findings(&said)["data"];
    assert!(!found.0 && found.1.contains("lock is a directory where a file has to be: move it away"), "{said}");
    std::fs::remove_dir(&lock).expect("it is empty");
    let database = data.join("posthaste.db");
    let bytes = std::fs::read(&database).expect("it is read");
    std::fs::write(&database, &bytes[..bytes.len() / 2]).expect("it is written");
    let (_, said) = run(&launch, &arguments);
    let store = &findings(&said)["store"];
    assert!(!store.0 && store.1.contains("restore a backup"), "{said}");
}

/// Root can write everything, and says nothing of the user who serves by that.
#[test]
fn doctor_that_root_runs_tells_who_else_could_write() {
    let launch = Launch::embedded();
    let data = launch.data();
    let arguments = ["--json", "doctor", "--offline", "--data", data.to_str().expect("plain")];
    let looked = || findings(&run(&launch, &arguments).1)["data"].clone();
    drop(launch.start().kill());
    let serves = 4_711;
    if std::os::unix::fs::chown(&data, Some(serves), None).is_err() {
        // Another user than root cannot give anything away, and finds out by trying.
        assert!(looked().0, "{:?}", looked());
        return;
    }
    let (ok, said) = looked();
    assert!(!ok && said.contains("belongs to root") && said.contains("to user 4711: give all of it"), "{said}");
    for file in std::fs::read_dir(&data).expect("a directory").flatten() {
        std::os::unix::fs::chown(file.path(), Some(serves), None).expect("root may");
    }
    let (ok, said) = looked();
    assert!(ok && said.contains("it belongs to user 4711, who can write it"), "{said}");
}

#[test]
fn config_show_tells_where_each_value_comes_from_and_masks_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("posthaste.toml"), "timeout = \"4s\"\njitter = 0.2\n").expect("it is written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command.args(["config", "show", "--json", "--retention", "9d"]).current_dir(folder.path()).env_clear();
    command.env("POSTHASTE_JITTER", "0.3").env("POSTHASTE_PLATFORM_KEY", "phk_canary_of_the_settings_0123");
    let output = command.output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows: Vec<Value> = serde_json::from_str(&said).expect("a list");
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).expect("a setting").clone();
    for (name, value, origin) in [
        ("retention", "9d", "--retention"),
        ("jitter", "0.3", "POSTHASTE_JITTER"),
        ("timeout", "4s", "posthaste.toml"),
        ("max-in-flight", "10", "default"),
        ("platform-key", "••••••••", "POSTHASTE_PLATFORM_KEY"),
    ] {
        assert_eq!((&row(name)["value"], &row(name)["origin"]), (&json!(value), &json!(origin)), "{name}");
    }
    assert!(!said.contains("canary"), "secrets are masked");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_keep_no_more_threads_than_are_allowed() {
    // Sixteen for what blocks; the workers; the store's own, and those that come and go at the start.
    let most = 16 + std::thread::available_parallelism().map_or(1, usize::from) + 6;
    let server = start(Launch::embedded()).await;
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let api = server.api.clone();
        readers.spawn(async move {
            for _ in 0..60 {
                api.get("/v1/accounts/default/deliveries").await.expect(200);
            }
        });
    }
    while let Some(read) = readers.join_next().await {
        read.expect("every list is answered");
    }
    let Some(threads) = server.threads() else { return };
    assert!(threads <= most as u64, "{threads} threads, {most} at most");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_needs_no_server_that_nobody_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let looks = |more: &[&str]| {
        let arguments = [&["--json", "doctor", "--data", "data"], more].concat();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_posthaste"))
            .args(arguments)
            .current_dir(folder.path())
            .env_clear()
            .output()
            .expect("the binary runs");
        let said = String::from_utf8(output.stdout).expect("text");
        let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.filter(|line| line["check"] == "server").map(|line| line["ok"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(looks(&[]), [json!(true)]);
    assert_eq!(looks(&["--server", "http://127.0.0.1:9"]), [json!(false)], "that one was asked about");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_roots_that_cannot_be_used_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("empty.pem"), "").expect("it is written");
    std::fs::write(folder.path().join("text.pem"), "no certificate").expect("it is written");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(folder.path().join("broken.pem"), broken).expect("it is written");
    std::fs::create_dir(folder.path().join("folder.pem")).expect("it is made");
    let good = Authority::new();
    std::fs::write(folder.path().join("good.pem"), &good.pem).expect("it is written");
    for (file, expected) in [
        ("none.pem", "there is no file none.pem: name a PEM file"),
        ("folder.pem", "folder.pem is a directory: name a PEM file"),
        ("empty.pem", "empty.pem: it holds no certificate in PEM; name a file of root certificates"),
        ("text.pem", "text.pem: it holds no certificate in PEM; name a file of root certificates"),
        ("broken.pem", "broken.pem: a certificate in it cannot be"),
    ] {
        let served =
            ["serve", "--data", "data", "--listen", "127.0.0.1:0", "--trust-ca", "good.pem", "--trust-ca", file];
        let (code, _, said) = crate::running::run(folder.path(), &served);
        assert!(code == Some(2) && said.contains("Setting trust-ca: ") && said.contains(expected), "{code:?} {said}");
        let looked = ["doctor", "--offline", "--data", "data", "--trust-ca", file];
        let (code, said, _) = crate::running::run(folder.path(), &looked);
        assert!(code == Some(1) && said.contains(expected), "{code:?} {said}");
        let asked = ["accounts", "list", "--server", "https://127.0.0.1:9"];
        let (code, said) = asks(folder.path(), file, &asked);
        assert!(code == Some(2) && said.contains("given by: POSTHASTE_TRUST_CA"), "{code:?} {said}");
        assert!(said.contains(expected), "{said}");
    }
    // One that is none of the server's issuers.
    let receiver = Receiver::start(Script::answering(Some(Authority::new().config(Leaf::Good)), status(200))).await;
    let url = format!("https://{}", receiver.address);
    let (code, said) = asks(folder.path(), "good.pem", &["accounts", "list", "--server", &url]);
    assert!(code == Some(6) && said.contains("PEM file by POSTHASTE_TRUST_CA"), "{code:?} {said}");
}

/// What a client says that is to trust a file.
fn asks(folder: &Path, trusts: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command.args(arguments).current_dir(folder).env_clear().env("POSTHASTE_TRUST_CA", trusts);
    let done = command.output().expect("the binary runs");
    (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_terminal_ends_it_in_peace() {
    let server = start(Launch::new()).await;
    let ended = tokio::task::spawn_blocking(move || server.signal("HUP")).await.expect("it does not panic");
    assert!(ended.success(), "{ended}");
}
