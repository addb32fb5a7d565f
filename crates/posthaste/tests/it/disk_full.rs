//! A full disk: what is new is refused with 503, reading goes on, and once there is space again it is accepted again,
//! without a start. On a small file system in memory, in a mount namespace of its own.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::room::{Room, start};
use crate::server::Launch;
use crate::wait;

/// For what takes moments on an idle machine.
const SOON: Duration = Duration::from_secs(60);
/// Mounts, and goes on with the binary.
const MOUNTED: &str = r#"mount -t tmpfs -o size=160m tmpfs "$POSTHASTE_TEST_MOUNT" && exec "$0" "$@""#;

/// Whether this machine lets a test mount something for itself.
fn may_mount(dir: &Path) -> bool {
    let mount = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "tmpfs"]).arg(dir).output();
    mount.is_ok_and(|mounted| mounted.status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_what_is_new_until_there_is_space() {
    let launch = Launch::embedded();
    let data = launch.data();
    std::fs::create_dir(&data).expect("a new directory");
    if !may_mount(&data) {
        println!("left out: this machine lets nobody mount a file system of his own");
        return;
    }
    let mount = data.to_str().expect("a plain path").to_owned();
    let launch = launch.environment("POSTHASTE_TEST_MOUNT", &mount).under(&["unshare", "-rm", "sh", "-c", MOUNTED]);
    let begun = Instant::now();
    let server = start(launch).await;
    let room = Room::open(&server.api, "default").await;
    let before = room.post("").await;

    // The server's own view of the mount.
    let inside = Path::new("/proc").join(server.pid.to_string()).join("root").join(mount.trim_start_matches('/'));
    assert_eq!(std::fs::metadata(inside.join("ballast")).expect("it is kept back").len(), 64 << 20);
    let filler = inside.join("filler");
    let mut file = File::create(&filler).expect("a new file");
    let event = json!({"event": "alert.rule_created", "data": {"text": "x".repeat(200_000)}}).to_string();
    let post = async || server.api.send("POST", "/v1/events", &[], event.as_bytes()).await;
    // The store's own files have some room left; each event takes of it.
    let mut accepted = 0;
    let refused = loop {
        while file.write_all(&[0; 65_536]).is_ok() {}
        let reply = post().await;
        if reply.status != 202 {
            break reply;
        }
        accepted += 1;
        assert!(accepted < 1_000, "the disk is never full");
    };
    let problem = refused.expect(503);
    for _ in 0..100 {
        assert_eq!(post().await.status, 503);
    }
    let said = server.said();
    for what in ["the disk is full", "request failed"] {
        let most = 1 + begun.elapsed().as_secs() as usize / 10;
        let count = said.matches(what).count();
        assert!((1..=most).contains(&count), "{what}: {count}, on that same disk");
    }
    assert_eq!(problem["code"], "disk_full", "{problem}");
    let kept = room.api.get(&room.path("events?limit=100")).await.expect(200);
    assert_eq!(kept["data"].as_array().map(Vec::len), Some(1 + accepted), "reading goes on, and nothing is lost");
    // Others have some of what was given up: it cannot be taken again.
    file.write_all(&[0; 16 << 20]).expect("there is room");
    let new = json!({"url": "https://hooks.example.com/in", "events": ["*"]});
    let account = json!({"name": "Another"});
    for (path, body) in [(room.path("webhooks"), &new), ("/v1/accounts".to_owned(), &account)] {
        let problem = room.api.post(&path, body).await.expect(503);
        assert_eq!(problem["code"], "disk_full", "nothing new is made, though there would be room: {problem}");
    }
    let name = json!({"name": "Renamed"});
    room.api.patch("/v1/accounts/default", &name).await.expect(200);
    // While others have all of it, nothing changes.
    while file.write_all(&[0; 65_536]).is_ok() {}
    assert_eq!(post().await.status, 503);

    drop(file);
    std::fs::remove_file(&filler).expect("it is ours");
    wait::until("an acceptance", SOON, async || (post().await.status == 202).then_some(())).await;
    room.api.get(&room.path(&format!("events/{before}"))).await.expect(200);
    assert_eq!(std::fs::metadata(inside.join("ballast")).expect("it is there").len(), 64 << 20, "and kept back again");
}
