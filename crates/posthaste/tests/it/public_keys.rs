//! Webhooks that sign with ed25519: first attempt, retry, replay and test are checked with the public key by other people's
//! libraries, through the guide's own code; over a rotation, `kill -9` and a restart.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::backup::posthaste;
use crate::certificates::Leaf;
use crate::python::{javascript, programs};
use crate::receiver::{Receiver, Request, Script, status};
use crate::room::{Room, start, surroundings};
use crate::wait;

/// For a request to arrive.
const SENT_MAX: Duration = Duration::from_secs(60);

/// The guide's code below a heading, in a file.
fn guide_code(heading: &str, file: PathBuf) -> PathBuf {
    let guide = include_str!("../../../../docs/guides/receiving.md");
    let (_, section) = guide.split_once(&format!("\n#### {heading}\n")).expect("the guide has it");
    let code = section.split("```").nth(1).and_then(|fenced| fenced.split_once('\n')).expect("code").1;
    std::fs::write(&file, code).expect("it is written");
    file
}

/// The programs of other people that check: each with the code that it runs.
struct Checkers {
    python: PathBuf,
    node: PathBuf,
}

impl Checkers {
    fn new(folder: &Path) -> Self {
        let python = guide_code("Python, with the public key", folder.join("code.py"));
        Self { python, node: guide_code("Node, with the public key", folder.join("code.mjs")) }
    }

    /// Each request fits these keys, in both programs, and a changed one none.
    fn assert(&self, requests: &[Request], keys: &[&str], expected: &[bool]) {
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../receivers/venv/bin/python");
        let mut python = Command::new(venv);
        python.arg(programs().join("public_key.py")).arg(&self.python);
        let mut node = Command::new("node");
        node.arg(programs().join("public_key.mjs")).arg(&self.node);
        for mut command in [python, node] {
            let mut child =
                command.args(keys).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs: see setup.sh");
            let mut stdin = child.stdin.take().expect("stdin is piped");
            for request in requests {
                writeln!(stdin, "{}", told(request)).expect("it reads");
            }
            drop(stdin);
            let output = child.wait_with_output().expect("it ends");
            assert!(output.status.success(), "{command:?} ended with {}", output.status);
            let text = String::from_utf8(output.stdout).expect("text");
            let found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            assert_eq!(found.len(), requests.len());
            for found in found {
                assert_eq!(found["fits"], json!(expected), "{command:?}");
                assert_eq!(found["tampered"], json!(vec![false; keys.len()]), "{command:?}");
            }
        }
    }
}

/// A request as the programs read it.
fn told(request: &Request) -> Value {
    let headers = request.headers().map(|(name, value)| (name.to_ascii_lowercase(), json!(value)));
    json!({"headers": headers.collect::<serde_json::Map<_, _>>(), "body": BASE64.encode(&request.body)})
}

/// What the log says was sent as `webhook-signature`, attempt by attempt.
async fn logged(room: &Room, delivery: &str, attempts: usize) -> Vec<String> {
    let delivery = room.delivery(delivery, attempts).await;
    let attempts = delivery["attempts"].as_array().expect("attempts").iter();
    let mut logged: Vec<(u64, String)> = attempts
        .map(|attempt| {
            let headers = attempt["request"]["headers"].as_array().expect("headers");
            let header = headers.iter().find(|header| header["name"] == "webhook-signature").expect("it was signed");
            (attempt["number"].as_u64().expect("a number"), header["value"].as_str().expect("a value").to_owned())
        })
        .collect();
    logged.sort();
    logged.into_iter().map(|(_, value)| value).collect()
}

fn signatures(request: &Request) -> &str {
    request.header("webhook-signature").expect("it is signed")
}

/// The requests after the first `known`, once there are `count`.
async fn next(receiver: &Receiver, known: &mut usize, count: usize) -> Vec<Request> {
    let from = *known;
    let requests = wait::until("the next requests", SENT_MAX, async || {
        let requests = receiver.requests();
        (requests.len() >= from + count).then(|| requests[from..from + count].to_vec())
    })
    .await;
    *known += count;
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn public_keys_check_every_request_over_rotation_and_kill_9() {
    let (_dns, authority, launch) = surroundings().await;
    let checkers = Checkers::new(launch.folder());
    let launch = launch.flags("--retry-schedule 100ms,1h --jitter 0");
    // Every first attempt at /retry fails.
    let answer = |request: &Request| {
        let fails = request.path() == "/retry" && request.header("X-CronDB-Attempt") == Some("1");
        status(if fails { 500 } else { 200 })
    };
    let receiver = Receiver::start(Script::choosing(Some(authority.config(Leaf::Good)), Arc::new(answer))).await;
    let server = start(launch).await;
    let room = Room::open(&server.api, "keys").await;
    let url = format!("https://keys.example.com:{}/retry", receiver.port());
    let webhook = room.try_webhook(&url, json!({"signing": "ed25519"})).await.expect(201);
    let id = webhook["id"].as_str().expect("an id").to_owned();
    let (path, set) = (room.path(&format!("webhooks/{id}")), format!("/.well-known/webhooks/{id}/keys"));
    let (first, secret) =
        (webhook["public_key"].as_str().expect("a key"), webhook["secret"].as_str().expect("a secret"));
    let other = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    // First attempt, retry, replay and test; the HMACs beside go on as ever.
    let mut known = 0;
    let event = room.post("").await;
    let mut requests = next(&receiver, &mut known, 2).await;
    let delivery = room.attempted(&event, 2).await["id"].as_str().expect("an id").to_owned();
    room.api.send("POST", &room.path(&format!("deliveries/{delivery}/replay")), &[], b"").await.expect(202);
    requests.extend(next(&receiver, &mut known, 1).await);
    let before = logged(&room, &delivery, 3).await;
    assert_eq!(before, requests.iter().map(signatures).collect::<Vec<_>>(), "the log shows what was sent");
    room.api.post(&format!("{path}/test"), &json!({"event": "sequence.email_replied"})).await.expect(200);
    requests.extend(next(&receiver, &mut known, 1).await);
    let attempts: Vec<_> = requests.iter().filter_map(|request| request.header("X-CronDB-Attempt")).collect();
    assert_eq!(attempts, ["1", "2", "3", "1"]);
    checkers.assert(&requests, &[first, other], &[true, false]);
    for said in javascript(&requests.iter().map(told).collect::<Vec<_>>(), &[secret]) {
        assert_eq!(said["library"][0], true, "a library that knows v1 alone");
    }

    // While a rotation overlaps, both keys check every request, and both are published.
    let rotated = room.api.post(&format!("{path}/secret/rotate"), &json!({"overlap": "1h"})).await.expect(200);
    let second = rotated["public_key"].as_str().expect("a key").to_owned();
    room.post("").await;
    checkers.assert(&next(&receiver, &mut known, 2).await, &[first, &second, other], &[true, true, false]);
    let published = room.api.without_key().get(&set).await.expect(200);
    let keys = |set: &Value| -> Vec<String> {
        let keys = set["keys"].as_array().expect("keys").iter();
        keys.map(|key| key["public_key"].as_str().expect("a key").to_owned()).collect()
    };
    assert_eq!(keys(&published), [second.as_str(), first]);

    // Nothing of that is lost by `kill -9`: neither the keys nor what the log says of a key that is on its way out.
    let server = start(server.kill()).await;
    let room = Room::open(&server.api, "keys").await;
    assert_eq!(room.api.without_key().get(&set).await.expect(200), published);
    assert_eq!(logged(&room, &delivery, 3).await, before);
    room.post("").await;
    let during = next(&receiver, &mut known, 2).await;
    checkers.assert(&during, &[first, &second], &[true, true]);
    room.api.send("POST", &format!("{path}/secret/confirm"), &[], b"").await.expect(200);
    room.post("").await;
    let after = next(&receiver, &mut known, 2).await;
    checkers.assert(&after, &[first, &second], &[false, true]);
    assert_eq!(logged(&room, &delivery, 3).await, before, "the log knows what the old key signed");

    // The command line says the same.
    let file = server.launch().folder().join("received.json");
    std::fs::write(&file, &after[0].body).expect("it is written");
    let file = file.to_str().expect("a plain path");
    let header = |name| after[0].header(name).expect("a header");
    let (request, at) = (header("webhook-id"), header("webhook-timestamp"));
    let verify = |keys: &[&str]| {
        let mut arguments = vec!["verify", "--body", file, "--signature", signatures(&after[0])];
        arguments.extend(["--id", request, "--timestamp", at]);
        arguments.extend(keys.iter().flat_map(|key| ["--public-key", *key]));
        posthaste(server.launch().folder(), &arguments).status.code()
    };
    assert_eq!((verify(&[&second]), verify(&[first, &second]), verify(&[first])), (Some(0), Some(0), Some(1)));
    assert_eq!(verify(&["whpk_short"]), Some(2));
    let shown = server.client("keys", &["webhooks", "secret", &id]);
    assert_eq!(shown.lines().nth(1), Some(second.as_str()));
    server.client("keys", &["webhooks", "edit", &id, "--signing", "hmac"]);
    room.api.without_key().get(&set).await.expect(404);
    room.post("").await;
    let plain = next(&receiver, &mut known, 1).await;
    assert!(!signatures(&plain[0]).contains("v1a"), "no key pair signs any more");
}
