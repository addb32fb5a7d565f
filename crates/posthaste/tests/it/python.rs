//! Real receivers: the page's own Python and the Standard Webhooks libraries for Python and JavaScript check every kind of
//! request that we send, and refuse each of them once a bit is changed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::room::{Room, start, surroundings};
use crate::wait;

/// For a receiver to say something.
const SAID_MAX: Duration = Duration::from_secs(30);

/// The Python receiver as a process; it is killed when this is dropped.
struct Python {
    child: Child,
    lines: Receiver<String>,
    port: u16,
}

/// Where the receivers' programs lie.
pub(crate) fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/receivers")
}

impl Python {
    fn start(certificate: &Path, secrets: &[&str]) -> Self {
        let python = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../receivers/venv/bin/python");
        let ready = python.exists() && programs().join("node_modules/standardwebhooks").exists();
        assert!(
            ready,
            "the receivers' libraries are not installed: run crates/posthaste/tests/receivers/setup.sh first (./test does)"
        );
        let mut command = Command::new(python);
        command.arg(programs().join("verify.py")).arg(certificate).args(secrets);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("Python runs");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _nobody_waits_any_more = sender.send(line);
            }
        });
        let first = lines.recv_timeout(SAID_MAX).expect("the receiver listens");
        let port = first.strip_prefix("listening on ").and_then(|port| port.parse().ok()).expect("a port");
        Self { child, lines, port }
    }

    /// The next request that it checked.
    fn next(&self) -> Value {
        let line = self.lines.recv_timeout(SAID_MAX).expect("a request arrives");
        serde_json::from_str(&line).expect("JSON")
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}

/// What the JavaScript library says of these requests.
pub(crate) fn javascript(requests: &[Value], secrets: &[&str]) -> Vec<Value> {
    let mut command = Command::new("node");
    command.arg(programs().join("verify.mjs")).args(secrets).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("Node.js runs");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    for request in requests {
        writeln!(stdin, "{request}").expect("it reads");
    }
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "verify.mjs ended with {}", output.status);
    let lines = String::from_utf8(output.stdout).expect("text");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Every check holds under the first secret, and none for a changed request.
fn assert_verified(request: &Value, checks: &[&str], also: &str) {
    for check in checks {
        assert_eq!(request[*check][0], true, "{check} refuses {also}");
        assert_eq!(request[format!("{check}_tampered")][0], false, "{check} takes a changed {also}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_receivers_verify_every_request() {
    let secret = format!("whsec_{}", BASE64.encode(b"thirty-two bytes of a secret ...".as_slice()));
    let (_dns, authority, launch) = surroundings().await;
    let python = Python::start(&authority.pem_file(launch.folder()), &[&secret]);
    let server = start(launch).await;
    let room = Room::open(&server.api, "python").await;
    // The first and the second attempt of a delivery fail.
    let url = format!("https://python.example.com:{}/fail/1,2", python.port);
    let more = json!({"secret": secret, "retry_schedule": ["100ms", "200ms", "1h"]});
    let webhook = room.try_webhook(&url, more).await.expect(201);
    let path = room.path(&format!("webhooks/{}", webhook["id"].as_str().expect("an id")));

    // First attempt and two retries; in every spelling that JSON has for text and numbers.
    let event =
        room.post(r#","odd":["\u00e9 é 日本 \ud83d\ude00",1e400,0.10,9223372036854775808,"a\/b"],"pad":"x""#).await;
    let mut requests: Vec<Value> = (0..3).map(|_| python.next()).collect();
    let delivery = room.attempted(&event, 3).await["id"].as_str().expect("an id").to_owned();
    room.api.send("POST", &room.path(&format!("deliveries/{delivery}/replay")), &[], b"").await.expect(202);
    requests.push(python.next());
    let numbers: Vec<u64> = requests.iter().filter_map(|request| request["attempt"].as_u64()).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    assert!(requests.iter().all(|request| request["body"] == requests[0]["body"]), "the same bytes each time");

    // A test.
    let tested = room.api.post(&format!("{path}/test"), &json!({"event": "sequence.email_replied"})).await.expect(200);
    assert_eq!(tested["attempt"]["reason"], "test");
    requests.push(python.next());
    for request in &requests {
        assert_verified(request, &["page", "library"], &request["attempt"].to_string());
    }
    for (request, said) in requests.iter().zip(javascript(&requests, &[&secret])) {
        assert_verified(&said, &["library"], &request["attempt"].to_string());
    }

    // While a rotation overlaps, both secrets verify with the libraries, and the page's check goes on with the old one.
    let rotated = room.api.post(&format!("{path}/secret/rotate"), &json!({"overlap": "1h"})).await.expect(200);
    let new = rotated["secret"].as_str().expect("a secret").to_owned();
    room.post("").await;
    let during = python.next();
    assert_verified(&during, &["page", "library"], "request during the overlap");
    for secret in [&secret, &new] {
        assert_verified(
            &javascript(std::slice::from_ref(&during), &[secret])[0],
            &["library"],
            "request during the overlap",
        );
    }
    // Its retries, still in the overlap, come before what follows.
    let _retries = (python.next(), python.next());
    room.api.send("POST", &format!("{path}/secret/confirm"), &[], b"").await.expect(200);
    room.post("").await;
    let after = wait::until("a request signed with the new secret alone", SAID_MAX, async || {
        let request = python.next();
        (request["page"][0] == false).then_some(request)
    })
    .await;
    assert_eq!(after["library"][0], false, "the old secret no longer signs");
    assert_verified(&javascript(&[after], &[&new])[0], &["library"], "request after the overlap");
}
