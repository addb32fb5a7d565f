//! Another encryption key, and `kill -9` at any moment of it: the store opens with the key that is found, and every secret is
//! what it was.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::backup::posthaste;
use crate::room::start;
use crate::server::Launch;

/// Kills at chance moments.
const ROUNDS: usize = 12;
/// Webhooks, so that sealing takes a while.
const WEBHOOKS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_is_killed_leaves_the_old_key_or_the_new_one() {
    let launch = Launch::embedded();
    let data = launch.data().to_str().expect("a plain path").to_owned();
    let arguments = ["keys", "rotate-encryption", "--data", &data];
    let server = start(launch.clone()).await;
    let mut secrets = Vec::new();
    for n in 0..WEBHOOKS {
        let body = json!({"name": format!("w{n}"), "url": format!("https://w{n}.example.com/"), "events": ["*"]});
        let headers = [("Idempotency-Key", &*format!("webhook-{n}"))];
        let text = body.to_string();
        let made =
            server.api.send("POST", "/v1/accounts/default/webhooks", &headers, text.as_bytes()).await.expect(201);
        secrets.push((made["id"].clone(), made["secret"].clone(), text));
    }
    let held = posthaste(launch.folder(), &arguments);
    let said = String::from_utf8_lossy(&held.stderr);
    assert!(held.status.code() == Some(5) && said.contains("in use by another process"), "{}: {said}", held.status);
    let mut launch = server.kill();
    let seed = fastrand::Rng::new().u64(..);
    println!("kills at moments by the seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let key = |launch: &Launch| std::fs::read(launch.data().join("encryption.key")).expect("there is a key");
    let first = key(&launch);
    let mut rotated = 0;
    for round in 0..ROUNDS {
        let before = key(&launch);
        let mut child = Command::new(env!("CARGO_BIN_EXE_posthaste"))
            .args(arguments)
            .current_dir(launch.folder())
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        // The last round is not killed.
        if round + 1 < ROUNDS {
            tokio::time::sleep(Duration::from_micros(chance.u64(1_000..80_000))).await;
            child.kill().expect("it can be killed");
        }
        let ended = child.wait().expect("it ends");
        assert!(ended.success() || round + 1 < ROUNDS, "nobody killed the last one");
        let server = start(launch).await;
        let (id, secret, _) = &secrets[round % WEBHOOKS];
        let path = format!("/v1/accounts/default/webhooks/{}/secret", id.as_str().expect("an id"));
        assert_eq!(server.api.get(&path).await.expect(200)["secret"], *secret);
        launch = server.kill();
        rotated += usize::from(key(&launch) != before);
    }
    println!("{rotated} of {ROUNDS} rotations came to their end");
    assert_ne!(key(&launch), first);
    // Backups of any time can be opened: no key is ever gone.
    let kept = std::fs::read_dir(launch.data()).expect("a directory").filter(|entry| {
        let path = entry.as_ref().expect("an entry").path();
        let is_old = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("encryption.key.old"));
        is_old && std::fs::read(&path).expect("a key") == first
    });
    assert_eq!(kept.count(), 1);
    let doctor = posthaste(launch.folder(), &["doctor", "--offline", "--data", &data]);
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(said.contains("the key opens the store; encryption.key.old, which backups"), "{said}");
    let server = start(launch).await;
    for (n, (_, secret, text)) in secrets.iter().enumerate() {
        // What an idempotency key was answered is sealed too.
        let headers = [("Idempotency-Key", &*format!("webhook-{n}"))];
        let again =
            server.api.send("POST", "/v1/accounts/default/webhooks", &headers, text.as_bytes()).await.expect(201);
        assert_eq!(again["secret"], *secret);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_environment_is_rotated_into_a_file() {
    let old = data_encoding::BASE64.encode(&[5; 32]);
    let launch = Launch::embedded();
    let server = start(launch.clone().environment("POSTHASTE_ENCRYPTION_KEY", &old)).await;
    let webhook = json!({"name": "w", "url": "https://w.example.com/", "events": ["*"]});
    let made = server.api.post("/v1/accounts/default/webhooks", &webhook).await.expect(201);
    assert!(server.terminate().success());
    let file = launch.folder().join("new.key");
    let rotate = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
        command.args(["keys", "rotate-encryption", "--data"]).arg(launch.data()).current_dir(launch.folder());
        command.env_clear().env("POSTHASTE_ENCRYPTION_KEY", &old);
        command
    };
    let refused = rotate().output().expect("it runs");
    assert_eq!(refused.status.code(), Some(2), "it must be said where the new key goes");
    let done = rotate().arg("--new-key").arg(&file).output().expect("it runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let server =
        start(launch.clone().environment("POSTHASTE_ENCRYPTION_KEY_FILE", file.to_str().expect("plain"))).await;
    let path = format!("/v1/accounts/default/webhooks/{}/secret", made["id"].as_str().expect("an id"));
    assert_eq!(server.api.get(&path).await.expect(200)["secret"], made["secret"]);
    assert!(!launch.data().join("encryption.key").exists());
}
