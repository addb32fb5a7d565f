//! `posthaste verify` on a webhook that signs with ed25519, against `dev` and its inbox: both check with the public key.

use std::path::Path;
use std::process::Command;

use domain::brand::Brand;
use domain::id::{DeliveryId, EventId, WebhookId};
use domain::secret::SigningSecret;
use domain::signature::{self, SentRequest, SigningSecrets, ToSign};
use domain::time::Timestamp;
use serde_json::Value;

use crate::running::{Running, run};

const DEV: [&str; 7] =
    ["dev", "--listen", "127.0.0.1:0", "--inbox-listen", "127.0.0.1:0", "--retry-schedule", "50ms,100ms,1s"];

fn json(directory: &Path, arguments: &[&str]) -> Value {
    let (code, out, err) = run(directory, &[arguments, &["--json"]].concat());
    assert_eq!(code, Some(0), "{arguments:?}: {out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"))
}

#[test]
fn a_public_key_checks_and_explains() {
    let directory = tempfile::tempdir().expect("a directory");
    let folder = directory.path();
    let dev = Running::start(folder, &DEV);
    dev.until(&["Stop with Ctrl-C."]);
    let listed = json(folder, &["webhooks", "list"]);
    let mut webhooks = listed["data"].as_array().expect("a list").iter();
    let demo = webhooks.find(|webhook| webhook["name"] == "Demo inbox").expect("dev has made it");
    let webhook = demo["id"].as_str().expect("an id");
    let edited = json(folder, &["webhooks", "edit", webhook, "--signing", "ed25519"]);
    let key = edited["public_key"].as_str().expect("a public key");
    let (code, out, err) = run(folder, &["send", "watchlist.domain_changed", "--wait", "--within", "1m"]);
    assert_eq!(code, Some(0), "{out}{err}");
    dev.until(&["watchlist.domain_changed  → Demo inbox", "signature verified, by the public key too"]);

    let filter = format!("webhook={webhook}");
    let delivery_of = |event: &str| {
        let listed = json(folder, &["deliveries", "list", &filter, event]);
        json(folder, &["deliveries", "show", listed["data"][0]["id"].as_str().expect("an id")])
    };
    let delivery = delivery_of("event=watchlist.*");
    let attempt = &delivery["attempts"][0];
    let (id, request) = (attempt["id"].as_str().expect("an id"), &attempt["request"]);
    let header = |name: &str| {
        let mut headers = request["headers"].as_array().expect("headers").iter();
        let header = headers.find(|header| header["name"] == name).expect("it was sent");
        header["value"].as_str().expect("a value").to_owned()
    };
    let body = request["body"].as_str().expect("a body");
    std::fs::write(folder.join("body.json"), body).expect("it is written");
    std::fs::write(folder.join("empty.json"), "").expect("it is written");
    std::fs::write(folder.join("other.json"), body.replacen(':', ": ", 1)).expect("it is written");
    let signatures = header("webhook-signature");
    let explain = |file: &str, more: &[&str]| {
        let (code, out, err) = run(folder, &[&["verify", "--explain", id, "--body", file], more].concat());
        (code, format!("{out}{err}"))
    };
    let says = |found: (Option<i32>, String), code, words: &[&str]| {
        assert_eq!(found.0, Some(code), "{}", found.1);
        assert!(words.iter().all(|word| found.1.contains(word)), "{words:?}: {}", found.1);
    };
    let other = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let current = format!("{key}     current public key of {webhook}");
    says(explain("body.json", &[]), 0, &["current secret", &current]);
    says(explain("body.json", &["--public-key", key]), 0, &["✓ webhook-signature fits.", "yours fits v1a"]);
    says(explain("body.json", &["--public-key", other, "--public-key", key]), 0, &["yours fits v1a"]);
    says(explain("body.json", &["--public-key", key, "--signature", &signatures]), 0, &["what we sent"]);
    says(explain("body.json", &["--public-key", key, "--signature", "v1a,AAAA"]), 1, &["yours is another"]);
    says(explain("body.json", &["--public-key", other]), 1, &["✕ webhook-signature does not", "yours does not fit"]);
    says(explain("other.json", &["--public-key", key]), 1, &["re-serialised", "Verify the raw bytes"]);
    says(explain("body.json", &["--public-key", "whpk_short"]), 2, &["Give the whole public key"]);
    let (_, told) = explain("body.json", &["--public-key", other, "--json"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["verdict"], &told["public_key_fits"]), (&"mismatch".into(), &false.into()));

    // A rotation: the old key goes on for a while, and then it is none of the webhook's.
    run(folder, &["webhooks", "rotate", webhook, "--overlap", "1h"]);
    says(explain("body.json", &[]), 0, &[&format!("{key}     previous public key of {webhook}")]);
    run(folder, &["webhooks", "confirm", webhook]);
    says(explain("body.json", &[]), 0, &["none of", "they were rotated since"]);
    let first = delivery_of("event=alert.*");
    let first = &first["attempts"][0];
    std::fs::write(folder.join("first.json"), first["request"]["body"].as_str().expect("a body")).expect("written");
    let arguments = ["verify", "--explain", first["id"].as_str().expect("an id"), "--body", "first.json"];
    let (code, out, _) = run(folder, &[&arguments[..], &["--public-key", key]].concat());
    says((code, out), 1, &["did not sign this with a key pair"]);

    // What the account hides in its log is in what was signed: that is told apart from a copy that is another.
    let (code, out, err) = run(folder, &["accounts", "log", "default", "--redact", "/domain"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let redacted = delivery_of("event=watchlist.*");
    assert!(redacted["attempts"][0]["request"]["redacted"] == true, "{redacted}");
    says(explain("body.json", &["--public-key", key]), 0, &["✓ webhook-signature fits.", "yours fits v1a"]);
    let length = format!("we signed {}", body.len());
    for more in [&["--public-key", key][..], &[]] {
        says(explain("other.json", more), 1, &["the log hides values of it", &length, "Verify the raw bytes"]);
        says(explain("empty.json", more), 1, &["your copy is empty", &length, "Keep the raw bytes"]);
    }
    run(folder, &["accounts", "log", "default", "--redact", "none"]);
    let arguments = ["verify", "--explain", first["id"].as_str().expect("an id"), "--body", "empty.json"];
    let (code, out, _) = run(folder, &arguments);
    says((code, out), 1, &["your copy is empty", "Keep the raw bytes"]);

    // The code that is shown does as it says.
    let (code, shown, _) = run(folder, &["verify", "--example", "openssl", "--signing", "ed25519"]);
    assert_eq!(code, Some(0));
    let check = |public_key: &str, timestamp: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &shown]).current_dir(folder).env("PUBLIC_KEY", public_key).env("TIMESTAMP", timestamp);
        shell.env("ID", header("webhook-id")).env("SIGNATURES", &signatures);
        String::from_utf8(shell.output().expect("sh runs").stdout).expect("text").trim().to_owned()
    };
    let at = header("webhook-timestamp");
    assert_eq!([check(key, &at), check(other, &at), check(key, "1")], ["valid", "invalid", "invalid"]);
    let (code, _, err) = run(folder, &["verify", "--example", "go", "--signing", "ed25519"]);
    assert!(code == Some(2) && err.contains("python, node and openssl"), "{err}");
    let (code, _, err) = run(folder, &["verify", "--body", "body.json", "--public-key", key]);
    assert!(code == Some(2) && err.contains("--id DLV --timestamp SECONDS"), "{err}");
    assert_eq!(dev.end("-INT").0.code(), Some(0));
}

#[test]
fn spaces_that_the_producer_wrote_are_nobody_s_fault() {
    let directory = tempfile::tempdir().expect("a directory");
    let folder = directory.path();
    let secret = |byte| format!("whsec_{}", data_encoding::BASE64.encode(&[byte; 32]));
    let (right, wrong) = (secret(1), secret(2));
    let webhook: WebhookId = "wh_crm".parse().expect("an id");
    let data = br#"{"domain": "example.com", "changes": []}"#;
    let body = signature::body("watchlist.domain_changed", &webhook, Timestamp(1_795_464_000_123_456), data);
    let current = SigningSecret::parse(&right).expect("a secret");
    let sent = SentRequest::sign(&ToSign {
        delivery: DeliveryId { event: EventId::first_at(0), place: 0 },
        body: &body,
        now: Timestamp(1_795_464_000_200_000),
        secrets: &SigningSecrets { current, previous: None, pairs: None },
        url: "https://example.com/",
        brand: &Brand::default(),
        custom: &[],
    });
    let header = format!("sha256={}", data_encoding::HEXLOWER.encode(&sent.signature));
    let text = std::str::from_utf8(&body).expect("text");
    std::fs::write(folder.join("body.json"), &body).expect("it is written");
    std::fs::write(folder.join("again.json"), text.replace(",\"", ", \"")).expect("it is written");
    let check = |file: &str, how: &[&str], code, words: &str| {
        let (ended, out, err) = run(folder, &[&["verify", "--body", file], how].concat());
        assert!(ended == Some(code) && out.contains(words), "{file} {how:?}: {ended:?} {words:?} {out}{err}");
        assert_eq!(out.contains("written again"), file == "again.json", "{out}");
    };
    check("body.json", &["--signature", &header, "--secret", &right], 0, "✓ The signature fits");
    check("body.json", &["--signature", &header, "--secret", &wrong], 1, "→ Likely: another secret");
    check(
        "again.json",
        &["--signature", &header, "--secret", &right],
        1,
        "→ Likely: the file has spaces around `data`",
    );
    let key = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let v1a = format!("v1a,{}", data_encoding::BASE64.encode(&[1; 64]));
    let by_key = ["--public-key", key, "--id", "dlv_1", "--timestamp", "1", "--signature", &v1a];
    check("body.json", &by_key, 1, "or id and time of another request");
}
